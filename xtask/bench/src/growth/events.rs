//! Cost of an event, by how many there are.

use std::time::Duration;

use anyhow::{Result, anyhow};

use crate::{
    bench::Bench,
    job::{Job, Loop},
    report::Report,
    rounds::{Plan, Rounds, cell, lost_cell, middle},
    tracers::Tool,
    worker::Work,
};

/// Events of a run, and how many runs there are.
const SIZES: [(u64, usize); 4] = [(10_000, 9), (100_000, 7), (1_000_000, 5), (10_000_000, 2)];
const LONG: (u64, usize) = (100_000_000, 1);
const PATIENCE: Duration = Duration::from_mins(1);

pub(super) fn run(bench: &Bench, report: &mut Report, long: bool) -> Result<()> {
    report.heading("More events");
    report.say("getppid by one thread, everything to null.");
    let mut rows = Vec::new();
    for (events, rounds) in SIZES.into_iter().chain(long.then_some(LONG)) {
        let title = format!("{events} events");
        let plan = Plan {
            title: &title,
            tools: &[Tool::Bare, Tool::Floor, Tool::Null],
            once: &[],
            rounds,
            patience: PATIENCE,
        };
        let make = |bench: &Bench, under: &[String]| {
            let job: Box<dyn Job> = Box::new(Loop::new(bench, under, Work::Getppid, events)?);
            Ok(job)
        };
        let all = Rounds::run(bench, &plan, &make)?;
        for (tool, samples) in all.tools() {
            samples.map_err(|why| anyhow!("{}: {why}", tool.name()))?;
        }
        rows.push(vec![
            events.to_string(),
            middle(all.added(Tool::Null, Tool::Bare, |it| it.cpu), 1),
            cell(all.added_ratio(Tool::Null, Tool::Floor), 2),
            cell(all.summary(Tool::Null, |it| it.tracer), 1),
            middle(all.summary(Tool::Null, |it| it.resident), 1),
            lost_cell(all.lost(Tool::Null)),
        ]);
    }
    report.table(
        &["events", "added CPU ns/call", "ratio", "tracer's CPU ns/call", "its MiB", "lost"],
        &rows,
    );
    report.say(
        "The tracer's own processor time has a fixed part, of what it does each 20 ms while it is \
         attached; it shows where events are few.",
    );
    Ok(())
}
