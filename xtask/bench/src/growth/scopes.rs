//! Scopes of one to 10,000 processes, and of as many cgroups.
#![expect(clippy::print_stderr, reason = "progress")]

use anyhow::{Context as _, Result};

use super::cgroups::Cgroups;
use crate::{
    bench::{Bench, Role},
    process,
    report::Report,
    rounds::cell,
    statistics::{self, Summary, ratio},
    tracers::{Attached, Target, Tool},
    worker::{Work, Worker},
};

const SIZES: [usize; 5] = [1, 10, 100, 1000, 10_000];
const ROUNDS: usize = 3;
const CALLS: u64 = 500_000;

pub(super) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    report.heading("Larger scopes");
    report.say(
        "`member` is in scope, everything to null; `bystander` is not. `start` is from the start of \
         tracer until it is attached.",
    );
    let mut rows = Vec::new();
    for size in SIZES {
        eprintln!("bench: a scope of {size} processes");
        rows.push(processes(bench, size)?);
    }
    for size in SIZES {
        eprintln!("bench: a scope of {size} cgroups");
        match Cgroups::make(size) {
            Ok(cgroups) => rows.push(of_cgroups(bench, size, &cgroups)?),
            Err(error) => {
                report.say(&format!("A scope of {size} cgroups could not be measured: {error:#}."));
            }
        }
    }
    report.table(&["scope", "member, ratio", "bystander, ratio", "start ms", "its MiB"], &rows);
    Ok(())
}

fn processes(bench: &Bench, size: usize) -> Result<Vec<String>> {
    // The member is one of them.
    let mut crowd = Role::start(&["idle-processes", &size.to_string()])?;
    let pids = crowd.line()?;
    let mut worker = Worker::start(bench.work_cpu(), &[])?;
    let others = pids.split_once(',').map_or("", |(_, others)| others);
    let with_worker = format!("{},{others}", worker.pid());
    let scope = |pids: &str| vec!["-p".to_owned(), pids.trim_end_matches(',').to_owned()];
    let (member, bystander) = (scope(&with_worker), scope(&pids));
    let nowhere = |_: u32| Ok(());
    let found = compare(bench, &mut worker, [&member, &bystander], [&nowhere, &nowhere])?;
    Ok(found.row(&format!("{size} processes")))
}

fn of_cgroups(bench: &Bench, size: usize, cgroups: &Cgroups) -> Result<Vec<String>> {
    let mut worker = Worker::start(bench.work_cpu(), &[])?;
    let scope: Vec<String> = cgroups
        .paths()
        .flat_map(|path| ["--cgroup".to_owned(), path.display().to_string()])
        .collect();
    let enter = |pid| cgroups.enter(pid);
    let leave = |pid| cgroups.leave(pid);
    let found = compare(bench, &mut worker, [&scope, &scope], [&enter, &leave]);
    cgroups.leave(worker.pid())?;
    Ok(found?.row(&format!("{size} cgroups")))
}

/// Figures of all rounds.
#[derive(Default)]
struct Found {
    /// Ratios of member and bystander.
    ratios: [Vec<f64>; 2],
    start: Vec<f64>,
    resident: Vec<f64>,
}

impl Found {
    fn row(self, name: &str) -> Vec<String> {
        let [member, bystander] = self.ratios;
        vec![
            name.to_owned(),
            cell(Summary::of(member), 2),
            cell(Summary::of(bystander), 2),
            cell(Summary::of(self.start), 0),
            cell(Summary::of(self.resident), 1),
        ]
    }
}

/// How a process gets into its place.
type Place<'a> = &'a dyn Fn(u32) -> Result<()>;

/// Measures the worker with both scopes, for each of which it is put into its place.
fn compare(
    bench: &Bench,
    worker: &mut Worker,
    scopes: [&[String]; 2],
    places: [Place<'_>; 2],
) -> Result<Found> {
    let target = Target { pid: worker.pid(), tree: false };
    let mut found = Found::default();
    for _ in 0..ROUNDS {
        let bare = worker.work(Work::Getppid, CALLS)?.cpu_per(CALLS);
        let floor = Attached::start(Tool::Floor, bench, target)?;
        let least = worker.work(Work::Getppid, CALLS)?.cpu_per(CALLS) - bare;
        floor.finish(None)?;
        for (index, (scope, place)) in scopes.into_iter().zip(places).enumerate() {
            place(worker.pid()).context("putting the worker into its place")?;
            let started = std::time::Instant::now();
            let attached = Attached::tracer(bench, scope)?;
            found.start.push(1e3 * started.elapsed().as_secs_f64());
            let cpu = worker.work(Work::Getppid, CALLS)?.cpu_per(CALLS);
            let kib = process::resident_kib(attached.pid()?)?;
            found.resident.push(statistics::per(kib, 1024));
            attached.finish((index == 0).then_some(CALLS))?;
            found.ratios[index].push(ratio(cpu - bare, least));
        }
    }
    Ok(found)
}
