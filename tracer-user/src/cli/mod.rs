//! The command line: parse, run, say what went wrong in one line, exit as promised.

mod args;
mod config;
mod containers;
mod control;
mod doctor;
mod exports;
mod filters;
mod hints;
mod manual;
mod place;
#[cfg(feature = "parquet")]
mod recover;
mod signal_set;
mod signals;
mod summary;
mod trace;
mod units;
mod usage;
mod verb;

use std::{env, ffi::OsString, io::Write, process::ExitCode};

use clap::Parser;

use args::{Cli, Verb};
use usage::UsageError;

/// Exit status of an error at run time.
const RUN_TIME: u8 = 1;
/// Exit status of a mistake on the command line; clap uses the same.
const USAGE: u8 = 2;
/// Exit status with `--fail-on-loss` when anything was lost.
const LOSS: u8 = 3;

/// A message with its exit status.
#[derive(Debug)]
struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    fn run_time(message: impl std::fmt::Display) -> Self {
        Self { message: message.to_string(), code: RUN_TIME }
    }
}

impl From<UsageError> for Failure {
    fn from(error: UsageError) -> Self {
        Self { message: error.to_string(), code: USAGE }
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let args: Vec<OsString> = env::args_os().collect();
    if let Some(hint) = verb::missing(&args) {
        say(&hint);
        return ExitCode::from(USAGE);
    }
    let outcome = match Cli::parse_from(args).verb {
        Verb::Trace(args) => trace::run(*args),
        #[cfg(feature = "parquet")]
        Verb::Recover(args) => recover::run(&args),
        Verb::Doctor(args) => doctor::run(&args),
        Verb::Completions(args) => manual::completions(&args),
        Verb::Man(args) => manual::man(&args),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            say(&failure.message);
            ExitCode::from(failure.code)
        }
    }
}

/// Prints a line on standard error.
fn say(message: &str) {
    #[expect(clippy::let_underscore_must_use, reason = "when it is closed there is nobody to tell")]
    let _ = writeln!(std::io::stderr().lock(), "tracer: {message}");
}
