//! `peers`: other tracers on the same calls.

use std::time::Duration;

use anyhow::Result;

use crate::{
    bench::{Bench, Placement, TRACER_CPU, WORK_CPU},
    job::{Job, Loop},
    machine,
    options::Options,
    report::{Report, Wanted},
    rounds::{Plan, Rounds, cell, lost_cell, middle},
    tracers::Tool,
    worker::Work,
};

const ROUNDS: usize = 5;
const CALLS: u64 = 1_000_000;
const PATIENCE: Duration = Duration::from_mins(5);

pub(crate) fn run(options: &Options) -> Result<Report> {
    let bench = options.bench(Placement::Pinned)?;
    let mut report = Report::default();
    report.say(&format!(
        "Every tracer does its work on the same process: `getppid` on CPU {WORK_CPU}, the tracer on \
         CPU {TRACER_CPU}; rounds, `added` and `ratio` are as under *calls*. {CALLS} calls a round, \
         a fifth for perf record and bpftrace's printf, a fiftieth for what stops the process at \
         each call. `tracer's CPU` is of its own process, until all is worked off; of what stays \
         for later (perf's files) it is not. `its MiB` are resident then, the kernel's ring included where it is mapped. What starts the work \
         itself (strace of another call, aprender-profile) has no figures of its own process. `lost` is \
         in events, by the tracer's own word or by what its output lacks."
    ));
    report.say(&format!(
        "Versions: {}; {}; {}.",
        machine::version("strace"),
        machine::version("perf"),
        machine::version("bpftrace")
    ));
    let tools: Vec<Tool> =
        [Tool::Bare, Tool::Floor, Tool::Bystander, Tool::Null, Tool::Parquet, Tool::Otlp]
            .into_iter()
            .chain(Tool::PEERS)
            .collect();
    let plan =
        Plan { title: "peers", tools: &tools, once: &[], rounds: ROUNDS, patience: PATIENCE };
    let make = |bench: &Bench, under: &[String]| {
        let job: Box<dyn Job> = Box::new(Loop::new(bench, under, Work::Getppid, CALLS)?);
        Ok(job)
    };
    let all = Rounds::run(&bench, &plan, &make)?;
    let mut rows = Vec::new();
    let mut absent = Vec::new();
    for (tool, samples) in all.tools() {
        match samples {
            Ok(_) => rows.push(row(&all, tool)),
            Err(why) => absent.push(format!("- {}: {why}", tool.name())),
        }
    }
    report.table(
        &[
            "",
            "added CPU ns/call",
            "ratio",
            "wall ns/call",
            "slower",
            "tracer's CPU ns/call",
            "its MiB",
            "lost",
        ],
        &rows,
    );
    if !absent.is_empty() {
        report.say(&format!("Could not be measured:\n\n{}", absent.join("\n")));
    }
    targets(&mut report, &all);
    Ok(report)
}

fn row(all: &Rounds, tool: Tool) -> Vec<String> {
    vec![
        tool.name().to_owned(),
        middle(all.added(tool, Tool::Bare, |it| it.cpu), 1),
        cell(all.added_ratio(tool, Tool::Floor), 2),
        middle(all.summary(tool, |it| it.wall), 1),
        middle(all.slowdown(tool, |it| it.wall), 1) + " ×",
        middle(all.summary(tool, |it| it.tracer), 1),
        middle(all.summary(tool, |it| it.resident), 1),
        lost_cell(all.lost(tool)),
    ]
}

fn targets(report: &mut Report, all: &Rounds) {
    let wanted = [(Tool::BpftraceHistogram, 3.0), (Tool::PerfRecord, 5.0), (Tool::Strace, 50.0)];
    for (peer, times) in wanted {
        let what = format!("added CPU as a part of that of {}: 1 to", peer.name());
        match all.added_ratio(peer, Tool::Null) {
            Some(ratio) => report.target(&what, ratio.median, Wanted::AtLeast(times)),
            None => report.no_target(&what, "it could not be run"),
        }
    }
    for tool in [Tool::Null, Tool::Parquet] {
        let most = all.summary(tool, |it| it.resident).map_or(f64::NAN, |it| it.high);
        report.target(&format!("MiB resident, {}", tool.name()), most, Wanted::AtMost(64.0));
    }
    report.end_list();
    if let Some(parquet) = all.summary(Tool::Parquet, |it| it.tracer) {
        report.figure("parquet_tracer_ns", parquet.median);
    }
}
