//! What tracing costs, measured beside other tracers: sub-suites of `cargo xtask bench`, each of
//! which prints a section of `docs/benchmarks.md`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it prints its results")]

mod bench;
mod floor;
mod idle;
mod job;
mod machine;
mod options;
mod process;
mod receiver;
mod report;
mod rounds;
mod statistics;
mod tracers;
mod verifier;
mod work;
mod worker;

mod calls;
mod growth;
mod lives;
mod peers;
mod start;
mod workloads;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;

use options::{Cli, Verb};
use report::Report;

fn main() -> ExitCode {
    match run(Cli::parse().verb) {
        Ok(report) => {
            if let Some(report) = report {
                // The section: when and where, then what was measured.
                println!("{}\n\n{}", machine::describe(), report.text().trim_end());
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("tracer-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures, or plays a role that measuring needs, which reports nothing.
fn run(verb: Verb) -> Result<Option<Report>> {
    match verb {
        Verb::Calls(options) => return calls::run(&options).map(Some),
        Verb::Lives(options) => return lives::run(&options).map(Some),
        Verb::Peers(options) => return peers::run(&options).map(Some),
        Verb::Workloads(options) => return Ok(Some(workloads::run(&options))),
        Verb::Growth { long, options } => return growth::run(&options, long).map(Some),
        Verb::Start(options) => return Ok(Some(start::run(&options))),
        Verb::Now => start::print_now()?,
        Verb::Verifier => verifier::run()?,
        Verb::IdleThreads { count } => idle::threads(count)?,
        Verb::IdleProcesses { count, wait } => idle::processes(count, wait)?,
        Verb::Worker { cpu } => work::run(cpu)?,
        Verb::Echo => work::echo()?,
        Verb::Receiver => receiver::run()?,
    }
    Ok(None)
}
