//! `growth`: what becomes of cost and memory with more events, more threads, larger scopes, and
//! time.

mod cgroups;
mod events;
mod flat;
mod scopes;
mod threads;

use anyhow::Result;

use crate::{bench::Placement, options::Options, report::Report};

pub(crate) fn run(options: &Options, long: bool) -> Result<Report> {
    let bench = options.bench(Placement::Pinned)?;
    let mut report = Report::default();
    report.say(
        "Work and tracer are pinned to a CPU each, unless it says otherwise; `ratio` is as under \
         *calls*.",
    );
    events::run(&bench, &mut report, long)?;
    scopes::run(&bench, &mut report)?;
    threads::run(&bench, &mut report)?;
    flat::run(&bench, &mut report, long)?;
    Ok(report)
}
