//! What tracing costs, measured beside other tracers: sub-suites of `cargo xtask bench`, each of
//! which prints a section of `docs/benchmarks.md`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it prints its results")]

mod bench;
mod floor;
mod job;
mod machine;
mod options;
mod process;
mod receiver;
mod report;
mod rounds;
mod statistics;
mod tracers;
mod work;
mod worker;

mod calls;
mod peers;

use std::process::ExitCode;

use clap::Parser as _;

use options::{Cli, Verb};
use report::Report;

fn main() -> ExitCode {
    let result = match Cli::parse().verb {
        Verb::Calls(options) => calls::run(&options).map(print),
        Verb::Peers(options) => peers::run(&options).map(print),
        Verb::Worker { cpu } => work::run(cpu),
        Verb::Echo => work::echo(),
        Verb::Receiver => receiver::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tracer-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The section: when and where, then what was measured.
#[expect(clippy::needless_pass_by_value, reason = "the end of it")]
fn print(report: Report) {
    println!("{}\n\n{}", machine::describe(), report.text().trim_end());
}
