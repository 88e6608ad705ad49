//! Memory, by how many threads there are that have a call under way.
#![expect(clippy::print_stderr, reason = "progress")]

use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::{
    bench::{Bench, Role},
    machine, process,
    report::Report,
    statistics,
    tracers::Attached,
};

const SIZES: [usize; 6] = [10, 100, 1000, 10_000, 30_000, 100_000];
/// Each stack is two mappings, of which a process may have 65,530.
const OF_A_PROCESS: usize = 10_000;
/// What the rest of the system needs.
const OTHERS: usize = 2000;

pub(super) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    report.heading("More threads");
    report.say(
        "The whole system is traced, to null. So many threads each make a call, and then wait in \
         another, which is under way when tracing stops: its record is made then. `kernel` is by \
         how much the kernel's unreclaimable memory has grown meanwhile, of whatever origin.",
    );
    let limit = machine::most_threads()?;
    let mut rows = Vec::new();
    for size in SIZES {
        if size + OTHERS > limit {
            report.say(&format!(
                "{size} threads are more than this system allows (kernel.pid_max and \
                 kernel.threads-max: {limit})."
            ));
            continue;
        }
        eprintln!("bench: {size} threads");
        rows.push(measure(bench, size).with_context(|| format!("{size} threads"))?);
    }
    report.table(&["threads", "tracer's MiB", "kernel KiB", "ms to stop", "lost"], &rows);
    Ok(())
}

fn measure(bench: &Bench, size: usize) -> Result<Vec<String>> {
    let mut crowds = Vec::new();
    let mut left = size;
    while left > 0 {
        let count = left.min(OF_A_PROCESS);
        let mut crowd = Role::start(&["idle-threads", &count.to_string()])?;
        crowd.line()?;
        crowds.push(crowd);
        left -= count;
    }
    let attached = Attached::tracer(bench, &[])?;
    let before = machine::unreclaimable_kib()?;
    for crowd in &mut crowds {
        crowd.go()?;
        crowd.line()?;
    }
    let kernel = machine::unreclaimable_kib()?.saturating_sub(before);
    let resident = process::resident_kib(attached.pid()?)?;
    let started = Instant::now();
    let calls = u64::try_from(size).unwrap_or(u64::MAX);
    let outcome = attached.finish(Some(calls))?;
    Ok(vec![
        size.to_string(),
        format!("{:.1}", statistics::per(resident, 1024)),
        kernel.to_string(),
        format!("{:.0}", 1e3 * started.elapsed().as_secs_f64()),
        outcome.lost.unwrap_or_default().to_string(),
    ])
}
