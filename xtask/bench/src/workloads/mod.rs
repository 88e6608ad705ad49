//! `workloads`: programs as people run them, bare, traced, and under other tracers.

mod scripts;
mod servers;

use std::{collections::BTreeSet, time::Duration};

use anyhow::Result;

use crate::{
    bench::{Bench, Placement},
    job::{Job, Loop, Make},
    options::Options,
    report::{Report, Wanted},
    rounds::{Plan, Rounds, cell, lost_cell, middle},
    tracers::Tool,
    worker::Work,
};

/// Of workloads with a target, and of others.
const ROUNDS: [usize; 2] = [9, 3];
/// For one workload: no round begins later.
const PATIENCE: [Duration; 2] = [Duration::from_secs(150), Duration::from_secs(15)];

const OURS: [Tool; 5] = [Tool::Bare, Tool::Bystander, Tool::Null, Tool::Parquet, Tool::Otlp];

/// How much is wanted, of what kind of figure.
#[derive(Debug, Clone, Copy)]
enum Bound {
    /// Nothing.
    None,
    /// Requests a second that a server may lose.
    Requests,
    /// How much longer a program may take.
    Time,
}

/// A kind of work.
struct Case<'a> {
    title: &'static str,
    placement: Placement,
    bound: Bound,
    make: Box<Make<'a>>,
}

/// Measures all; what cannot be measured is said.
pub(crate) fn run(options: &Options) -> Report {
    let mut report = Report::default();
    report.say(
        "Each kind of work is measured with nothing attached, and with each tracer: ours in three \
         to nine rounds, the others in the first. Calls in a loop are pinned beside the tracer's CPU; \
         servers, programs and threads run wherever the kernel wants, so that on a machine of few \
         CPUs they, their clients, the tracer and what receives its spans are in each other's way. \
         `× as long` is against nothing attached in the same round. `CPU` is of the work (the \
         server, the program with its children), `tracer's CPU` of the tracer's own process, both \
         for one turn. Tracers that cannot follow children (bpftrace, perf trace) trace all processes \
         where there are any. \
         What stops the process at each call gets less to do.",
    );
    let mut absent = BTreeSet::new();
    for case in cases() {
        if let Err(error) = measure(options, &mut report, &case, &mut absent) {
            // The others can still be measured.
            report.heading(case.title);
            report.say(&format!("Could not be measured: {error:#}."));
        }
    }
    if !absent.is_empty() {
        let lines: Vec<String> = absent.into_iter().collect();
        report.say(&format!("What could not be measured, and why:\n\n{}", lines.join("\n")));
    }
    report
}

fn cases() -> Vec<Case<'static>> {
    let calls = |title, placement, work, turns| Case {
        title,
        placement,
        bound: Bound::None,
        make: Box::new(move |bench: &Bench, under: &[String]| {
            let job: Box<dyn Job> = Box::new(Loop::new(bench, under, work, turns)?);
            Ok(job)
        }),
    };
    let (pinned, free) = (Placement::Pinned, Placement::Free);
    vec![
        Case {
            title: "redis-server, one GET of redis-benchmark",
            placement: free,
            bound: Bound::Requests,
            make: Box::new(servers::redis),
        },
        Case {
            title: "nginx, one request of wrk",
            placement: free,
            bound: Bound::Requests,
            make: Box::new(servers::nginx),
        },
        Case {
            title: "git status, in a tree of 20,000 files",
            placement: free,
            bound: Bound::Time,
            make: Box::new(scripts::git),
        },
        Case {
            title: "gcc, a project of 12 files",
            placement: free,
            bound: Bound::Time,
            make: Box::new(scripts::gcc),
        },
        calls("openat, read and close of a small file", pinned, Work::File, 200_000),
        calls("a byte to another process and back", pinned, Work::PingPong, 100_000),
        calls("getppid, 1 thread", free, Work::Getppid, 1_000_000),
        calls("getppid, 2 threads", free, Work::TwoThreads, 1_000_000),
        calls("getppid, 8 threads", free, Work::EightThreads, 1_000_000),
    ]
}

fn measure(
    options: &Options,
    report: &mut Report,
    case: &Case<'_>,
    absent: &mut BTreeSet<String>,
) -> Result<()> {
    let bench = options.bench(case.placement)?;
    let index = usize::from(matches!(case.bound, Bound::None));
    let plan = Plan {
        title: case.title,
        tools: &OURS,
        once: &Tool::PEERS,
        rounds: ROUNDS[index],
        patience: PATIENCE[index],
    };
    let all = Rounds::run(&bench, &plan, &case.make)?;
    report.heading(case.title);
    let mut rows = Vec::new();
    for (tool, samples) in all.tools() {
        match samples {
            Ok(_) => rows.push(row(&all, tool)),
            Err(why) => drop(absent.insert(format!("- {}: {why}", tool.name()))),
        }
    }
    report.table(
        &["", "a second", "× as long", "CPU µs", "tracer's CPU µs", "its MiB", "lost"],
        &rows,
    );
    targets(report, &all, case.bound);
    Ok(())
}

fn row(all: &Rounds, tool: Tool) -> Vec<String> {
    let rate = all.summary(tool, |it| 1e9 / it.wall);
    let digits = if rate.is_some_and(|rate| rate.median < 100.0) { 2 } else { 0 };
    vec![
        tool.name().to_owned(),
        middle(rate, digits),
        cell(all.slowdown(tool, |it| it.wall), 2),
        middle(all.summary(tool, |it| it.cpu / 1e3), 2),
        middle(all.summary(tool, |it| it.tracer / 1e3), 2),
        middle(all.summary(tool, |it| it.resident), 1),
        lost_cell(all.lost(tool)),
    ]
}

/// What of the two settings with a target is too much.
fn targets(report: &mut Report, all: &Rounds, bound: Bound) {
    let slowdown = |tool| all.slowdown(tool, |it| it.wall).map_or(f64::NAN, |it| it.median);
    match bound {
        Bound::None => return,
        Bound::Requests => {
            let lost = |tool| lost_requests(slowdown(tool));
            let what = "requests lost in percent, to Parquet";
            report.target(what, lost(Tool::Parquet), Wanted::AtMost(10.0));
            let what = "requests lost in percent, bystander";
            report.target(what, lost(Tool::Bystander), Wanted::AtMost(3.0));
        }
        Bound::Time => {
            for tool in [Tool::Parquet, Tool::Bystander] {
                let what = format!("percent longer, {}", tool.name());
                report.target(&what, 100.0 * (slowdown(tool) - 1.0), Wanted::AtMost(5.0));
            }
        }
    }
    report.end_list();
}

/// In percent, of a server whose requests take so many times as long.
fn lost_requests(slowdown: f64) -> f64 {
    100.0 * (1.0 - 1.0 / slowdown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_lost_by_what_each_takes_longer() {
        assert_eq!(format!("{:.1}", lost_requests(1.25)), "20.0");
        assert_eq!(format!("{:.1}", lost_requests(0.8)), "-25.0");
        assert!(lost_requests(f64::NAN).is_nan());
    }

    #[test]
    fn every_case_has_a_title_of_its_own() {
        let mut titles: Vec<_> = cases().iter().map(|case| case.title).collect();
        titles.sort_unstable();
        titles.dedup();
        assert_eq!(titles.len(), cases().len());
    }
}
