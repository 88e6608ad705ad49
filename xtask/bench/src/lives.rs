//! `lives`: what tracer adds to a process's life (fork, exec, exit), and the memory that a live
//! process takes.
#![expect(clippy::print_stderr, reason = "progress")]

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::{
    bench::{Bench, Placement, Role, TRACER_CPU, WORK_CPU},
    job::{Job, Loop},
    machine,
    options::Options,
    process,
    report::{Report, Wanted},
    rounds::{Plan, Rounds, cell, lost_cell, middle},
    statistics::{self, Summary},
    tracers::{Attached, NO_CALL, Tool},
    worker::Work,
};

/// Many short rounds: what a life costs drifts by more than tracer adds to it.
const ROUNDS: usize = 31;
const LIVES: u64 = 1000;
const PATIENCE: Duration = Duration::from_mins(3);
const TOOLS: [Tool; 4] = [Tool::Bare, Tool::Bystander, Tool::Lives, Tool::Null];

/// Live processes, in one round each.
const CROWDS: [(usize, usize); 2] = [(2000, 5), (10_000, 3)];
/// Bytes that are freed all the time.
const SETTLED: u64 = 64 << 10;
/// Threads that the rest of the system needs.
const OTHERS: usize = 2000;

pub(crate) fn run(options: &Options) -> Result<Report> {
    let mut report = Report::default();
    lives(options, &mut report, Work::ShortLife, Placement::Pinned)?;
    lives(options, &mut report, Work::Life, Placement::Pinned)?;
    lives(options, &mut report, Work::Life, Placement::Free)?;
    memory(options, &mut report)?;
    Ok(report)
}

fn lives(options: &Options, report: &mut Report, work: Work, placement: Placement) -> Result<()> {
    let bench = options.bench(placement)?;
    let place = match placement {
        Placement::Pinned => format!("work on CPU {WORK_CPU}, tracer on CPU {TRACER_CPU}"),
        Placement::Free => "not pinned".to_owned(),
    };
    let program = if work == Work::ShortLife { "a program of one call" } else { "/bin/true" };
    let title = format!("A life of {program}, {place}");
    let plan = Plan { title: &title, tools: &TOOLS, once: &[], rounds: ROUNDS, patience: PATIENCE };
    let make = |bench: &Bench, under: &[String]| {
        let job: Box<dyn Job> = Box::new(Loop::new(bench, under, work, LIVES)?);
        Ok(job)
    };
    let all = Rounds::run(&bench, &plan, &make)?;
    report.heading(&title);
    if work == Work::ShortLife {
        report.say(&format!(
            "One process makes {LIVES} others in each round and setting, one after the other: `fork`, \
             `execve`, exit, `wait4`. `CPU` is processor time of the parent and of \
             its children, `added` what is beyond the bare life of the same round. Medians of all \
             rounds, with the lowest and the highest in brackets. `births, programs and ends` are the \
             records of processes alone: `-e {NO_CALL}`, which nobody calls. `every call` adds \
             the spans of all calls of parent and child, each with its memory captured: some 5 a \
             life of the program of one call, 25 of /bin/true, which also pays for each call \
             that is looked at and not traced. The target is for the first.",
        ));
    }
    let mut rows = Vec::new();
    for (tool, samples) in all.tools() {
        samples.map_err(|why| anyhow!("{}: {why}", tool.name()))?;
        rows.push(vec![
            tool.name().to_owned(),
            middle(all.summary(tool, |it| it.cpu / 1e3), 1),
            cell(all.added(tool, Tool::Bare, |it| it.cpu / 1e3), 1),
            middle(all.summary(tool, |it| it.wall / 1e3), 1),
            cell(all.added(tool, Tool::Bare, |it| it.wall / 1e3), 1),
            middle(all.summary(tool, |it| it.tracer / 1e3), 1),
            lost_cell(all.lost(tool)),
        ]);
    }
    let head =
        ["", "CPU us/life", "added us", "wall us/life", "added us", "tracer's CPU us/life", "lost"];
    report.table(&head, &rows);
    if work == Work::ShortLife {
        let added = |figure: fn(&crate::job::Sample) -> f64| {
            all.added(Tool::Lives, Tool::Bare, figure).map_or(f64::NAN, |it| it.median / 1e3)
        };
        report.target("us of CPU added to a life", added(|it| it.cpu), Wanted::AtMost(10.0));
        report.target("us of time added to a life", added(|it| it.wall), Wanted::AtMost(10.0));
        report.end_list();
    }
    Ok(())
}

/// What is traced while processes are born.
const SETTINGS: [(&str, Option<&[&str]>); 3] = [
    ("nothing attached", None),
    ("births, programs and ends", Some(&["-e", NO_CALL])),
    ("every call", Some(&[])),
];

fn memory(options: &Options, report: &mut Report) -> Result<()> {
    report.heading("Memory of live processes");
    report.say(
        "So many processes are forked while tracer is attached to their parent, and wait, in a call \
         that is under way. `kernel` is what the objects in use in the kernel's slabs of general sizes, \
         which task storage is made of, have grown a process beyond what they grew with nothing attached \
         in the same round, `tracer` what tracer's resident memory has grown. Bytes; medians of all \
         rounds, with the lowest and the highest in \
         brackets.",
    );
    let bench = options.bench(Placement::Pinned)?;
    let limit = machine::most_threads()?;
    let mut rows = Vec::new();
    let mut targets = Vec::new();
    for (size, rounds) in CROWDS {
        if size + OTHERS > limit {
            report.say(&format!("{size} processes are more than this system allows ({limit})."));
            continue;
        }
        let mut found: [Grown; 3] = Default::default();
        for round in 1..=rounds {
            eprintln!("bench: {size} live processes: round {round} of {rounds}");
            let mut bare = 0.0;
            for (found, (name, scope)) in found.iter_mut().zip(SETTINGS) {
                let (kernel, tracer) = crowd(&bench, size, scope)
                    .with_context(|| format!("{size} live processes, {name}"))?;
                if scope.is_none() {
                    bare = kernel;
                }
                found.kernel.push(kernel - bare);
                found.tracer.push(tracer);
                found.sum.push(kernel - bare + tracer);
            }
        }
        for (found, (name, scope)) in found.into_iter().zip(SETTINGS) {
            if scope.is_none() {
                continue;
            }
            let (kernel, sum) = (Summary::of(found.kernel), Summary::of(found.sum));
            rows.push(vec![
                format!("{size} processes, {name}"),
                cell(kernel, 0),
                cell(Summary::of(found.tracer), 0),
                cell(sum, 0),
            ]);
            // Nobody takes less than nothing: the rest of the system has moved more than this does.
            let sum = sum.filter(|_| kernel.is_some_and(|kernel| kernel.median >= 0.0));
            targets.push((format!("bytes of a live process, {size}, {name}"), sum));
        }
    }
    report.table(&["", "kernel", "tracer", "together"], &rows);
    for (what, sum) in targets {
        match sum {
            Some(sum) => report.target(&what, sum.median, Wanted::AtMost(1024.0)),
            None => report.no_target(&what, "the kernel's memory shrank otherwise meanwhile"),
        }
    }
    report.end_list();
    Ok(())
}

/// Bytes a process, round by round.
#[derive(Default)]
struct Grown {
    kernel: Vec<f64>,
    tracer: Vec<f64>,
    sum: Vec<f64>,
}

/// Bytes by which the kernel and tracer have grown for each process.
fn crowd(bench: &Bench, size: usize, scope: Option<&[&str]>) -> Result<(f64, f64)> {
    settle()?;
    let mut crowd = Role::start(&["idle-processes", "--wait", &size.to_string()])?;
    crowd.line()?;
    let attached = scope
        .map(|scope| {
            let pid = crowd.pid().to_string();
            let scope: Vec<String> =
                ["-p", &pid].iter().chain(scope).map(|&it| it.to_owned()).collect();
            Attached::tracer(bench, &scope)
        })
        .transpose()?;
    let resident = || attached.as_ref().map_or(Ok(0), |it| process::resident_kib(it.pid()?));
    let (kernel, tracer) = (machine::slab_bytes()?, resident()?);
    crowd.go()?;
    let ids = crowd.line()?;
    ensure!(ids.split(',').count() == size, "not all processes are there");
    if let Some(attached) = &attached {
        attached.until_idle()?;
    }
    let kernel = grown(kernel, machine::slab_bytes()?, size);
    let tracer = 1024.0 * grown(tracer, resident()?, size);
    if let Some(attached) = attached {
        let outcome = attached.finish(None)?;
        ensure!(outcome.lost == Some(0), "{:?} events were lost", outcome.lost);
    }
    Ok((kernel, tracer))
}

/// Waits until what ended before has been freed, which the kernel does a moment later.
fn settle() -> Result<()> {
    const INTERVAL: Duration = Duration::from_millis(200);
    const LOOKS: u32 = 50;
    let mut before = machine::slab_bytes()?;
    for _ in 0..LOOKS {
        thread::sleep(INTERVAL);
        let now = machine::slab_bytes()?;
        if now.saturating_add(SETTLED) >= before {
            break;
        }
        before = now;
    }
    Ok(())
}

/// How much for each process.
fn grown(before: u64, after: u64, size: usize) -> f64 {
    let size = u64::try_from(size).unwrap_or(u64::MAX);
    statistics::per(after, size) - statistics::per(before, size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_can_shrink() {
        assert_eq!(grown(100, 300, 200).to_bits(), 1f64.to_bits());
        assert_eq!(grown(300, 100, 100).to_bits(), (-2f64).to_bits());
    }
}
