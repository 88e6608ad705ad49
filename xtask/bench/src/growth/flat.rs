//! Whether memory stays flat at full rate.
#![expect(clippy::print_stderr, reason = "progress")]

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::{
    bench::Bench,
    process,
    report::{Report, Wanted},
    statistics,
    tracers::{Attached, Target, Tool},
    worker::{Work, Worker},
};

const SHORT: Duration = Duration::from_mins(1);
const LONG: Duration = Duration::from_mins(10);
/// Calls between two looks at the memory.
const CALLS: u64 = 200_000;
/// The beginning, in which queues and buffers get their size.
const WARM: f64 = 0.2;

pub(super) fn run(bench: &Bench, report: &mut Report, long: bool) -> Result<()> {
    report.heading("Time");
    let length = if long { LONG } else { SHORT };
    report.say(&format!(
        "One thread makes calls at full speed for {} s for each destination. `first` is resident \
         memory after a fifth of the time, `highest` and `last` are of what follows.",
        length.as_secs()
    ));
    let mut rows = Vec::new();
    let mut grown = Vec::new();
    for tool in [Tool::Null, Tool::Parquet] {
        eprintln!("bench: {} for {} s", tool.name(), length.as_secs());
        let run = measure(bench, tool, length)?;
        rows.push(vec![
            tool.name().to_owned(),
            format!("{:.2}", run.rate / 1e6),
            mib(run.first),
            mib(run.highest),
            mib(run.last),
            run.lost.to_string(),
        ]);
        grown.push((tool, statistics::per(run.last.saturating_sub(run.first), 1024)));
        if tool == Tool::Null {
            report.figure("resident_mib", statistics::per(run.highest, 1024));
        } else {
            report.figure("parquet_resident_mib", statistics::per(run.highest, 1024));
        }
    }
    report.table(
        &["", "million calls a second", "first MiB", "highest MiB", "last MiB", "lost"],
        &rows,
    );
    for (tool, grown) in grown {
        let what = format!("MiB grown, {}", tool.name());
        report.target(&what, grown, Wanted::AtMost(2.0));
    }
    report.end_list();
    Ok(())
}

fn mib(kib: u64) -> String {
    format!("{:.1}", statistics::per(kib, 1024))
}

/// Resident memory over time, in KiB.
struct Run {
    first: u64,
    highest: u64,
    last: u64,
    /// Calls a second.
    rate: f64,
    lost: u64,
}

fn measure(bench: &Bench, tool: Tool, length: Duration) -> Result<Run> {
    let mut worker = Worker::start(bench.work_cpu(), &[])?;
    let target = Target { pid: worker.pid(), tree: false };
    let attached = Attached::start(tool, bench, target)?;
    let pid = attached.pid()?;
    let started = Instant::now();
    let (mut calls, mut warm) = (0, Vec::new());
    while started.elapsed() < length {
        worker.work(Work::Getppid, CALLS)?;
        calls += CALLS;
        if started.elapsed() > length.mul_f64(WARM) {
            warm.push(process::resident_kib(pid)?);
        }
    }
    let millis = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let outcome = attached.finish(Some(calls))?;
    Ok(Run {
        first: *warm.first().context("the memory was not looked at")?,
        highest: warm.iter().copied().max().unwrap_or_default(),
        last: *warm.last().context("the memory was not looked at")?,
        rate: 1e3 * statistics::per(calls, millis),
        lost: outcome.lost.unwrap_or_default(),
    })
}
