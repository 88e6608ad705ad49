//! Memory, by how many threads there are that have a call under way.
#![expect(clippy::print_stderr, reason = "progress")]

use std::{fs, time::Instant};

use anyhow::{Context as _, Result};

use crate::{
    bench::{Bench, Role},
    process,
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
    let limit = limit()?;
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
    let before = unreclaimable_kib()?;
    for crowd in &mut crowds {
        crowd.go()?;
        crowd.line()?;
    }
    let kernel = unreclaimable_kib()?.saturating_sub(before);
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

/// How many threads the system may have.
fn limit() -> Result<usize> {
    let mut least = usize::MAX;
    for path in ["/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"] {
        let text = fs::read_to_string(path).context(path)?;
        least = least.min(text.trim().parse().context(path)?);
    }
    Ok(least)
}

fn unreclaimable_kib() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
    sum_of(&text, &["SUnreclaim:", "Percpu:"]).context("/proc/meminfo lacks a line")
}

/// The sum of these lines.
fn sum_of(text: &str, names: &[&str]) -> Option<u64> {
    names
        .iter()
        .map(|name| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_meminfo_are_added_up() {
        let text = "SUnreclaim:       100 kB\nPercpu:            20 kB\n";
        assert_eq!(sum_of(text, &["SUnreclaim:", "Percpu:"]), Some(120));
        assert_eq!(sum_of(text, &["Slab:"]), None);
        assert!(unreclaimable_kib().unwrap() > 0);
        assert!(limit().unwrap() > OTHERS);
    }
}
