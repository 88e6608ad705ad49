//! `cargo xtask bench`: sub-suites, each a section of the documentation.

mod document;
mod parts;
mod programs;

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use crate::{built, command, privilege};

const RESULTS: &str = "docs/benchmarks.md";

/// A benchmark that says nothing for so long hangs.
const SILENCE: Duration = Duration::from_mins(30);

/// What can be chosen.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Which sub-suites
    #[arg(value_enum, default_values = ["parts", "calls"])]
    suites: Vec<Suite>,
    /// Write the results to docs/benchmarks.md: the sections that were measured
    #[arg(long)]
    write: bool,
    /// Let `growth` take longer: 100 million events, and 10 minutes at full rate
    #[arg(long)]
    long: bool,
}

/// A sub-suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// Decoding, pushing, exporting, each alone
    Parts,
    /// What tracer adds to a call, and how fast its own side is
    Calls,
    /// What tracer adds to a process's life, and the memory that a live process takes
    Lives,
    /// How long a command waits for its tracer
    Start,
    /// strace, perf, bpftrace and others on the same calls
    Peers,
    /// Servers, git and gcc, files, pipes and threads: bare, traced, and under other tracers
    Workloads,
    /// The highest rates that destinations take for a minute without loss
    Rates,
    /// Cost and memory with many events, threads, processes and cgroups, and for a long time
    Growth,
}

impl Suite {
    /// All headings, in the order of the document.
    fn headings() -> Vec<&'static str> {
        Self::value_variants().iter().map(|suite| suite.heading()).collect()
    }

    const fn heading(self) -> &'static str {
        match self {
            Self::Calls => "What tracing costs",
            Self::Parts => "Parts",
            Self::Lives => "What processes cost",
            Self::Start => "From start to end",
            Self::Peers => "Beside other tracers",
            Self::Workloads => "Workloads",
            Self::Rates => "Rates held without loss",
            Self::Growth => "Growth",
        }
    }

    /// Its name on the command line, and tracer-bench's too.
    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn run(self, long: bool) -> Result<String> {
        match self {
            Self::Parts => parts::run(),
            Self::Calls | Self::Lives | Self::Start => measure(self, &[], &[]),
            Self::Peers => measure(self, &programs::PEERS, &[]),
            Self::Workloads => {
                measure(self, &[&programs::PEERS[..], &programs::WORKLOADS].concat(), &[])
            }
            Self::Rates => rates(),
            Self::Growth => measure(self, &[], if long { &["--long"] } else { &[] }),
        }
    }
}

/// Runs the sub-suites; with `--write` the results go into the documentation.
pub(crate) fn run(options: &Options) -> Result<()> {
    for suite in &options.suites {
        let name = suite.name();
        eprintln!("bench: {name}");
        let text = suite.run(options.long).with_context(|| format!("bench {name}"))?;
        if options.write {
            // After each, so that what was measured is kept when a later one fails.
            write(*suite, &text)?;
        }
    }
    Ok(())
}

fn write(suite: Suite, text: &str) -> Result<()> {
    let path = command::root()?.join(RESULTS);
    let document = fs::read_to_string(&path).with_context(|| format!("reading {RESULTS}"))?;
    let text = format!("`cargo xtask bench {}`. {text}", suite.name());
    let document = document::replace(&document, &Suite::headings(), suite.heading(), &text);
    fs::write(&path, document).with_context(|| format!("writing {RESULTS}"))?;
    println!("written: {RESULTS}, {}", suite.heading());
    Ok(())
}

/// Builds tracer and the suite, installs what it compares with, and runs it as root.
fn measure(suite: Suite, packages: &[&str], flags: &[&str]) -> Result<String> {
    let tracer = build("tracer-user", "tracer")?;
    let bench = build("tracer-bench", "tracer-bench")?;
    let peers = programs::install(packages)?;
    let mut program = privilege::as_root(&bench)?;
    program.arg(suite.name()).args(flags).arg("--tracer").arg(tracer).arg("--peers").arg(peers);
    let shown = command::describe(&program);
    let (status, output) = command::tee(&mut program, SILENCE)?;
    command::succeeded(&shown, status)?;
    Ok(output)
}

/// Finds the highest rates that the whole program takes.
fn rates() -> Result<String> {
    let mut cargo = command::cargo()?;
    cargo.args(["bench", "--locked", "-p", "tracer-user", "--bench", "rates", "--no-run"]);
    let built = built::build(&mut cargo)?;
    let mut program = privilege::as_root(&built.find("bench", "rates")?.path)?;
    let shown = command::describe(&program);
    let (status, output) = command::tee(&mut program, SILENCE)?;
    command::succeeded(&shown, status)?;
    Ok(output)
}

/// Builds a program with optimizations.
fn build(package: &str, name: &str) -> Result<std::path::PathBuf> {
    let mut cargo = command::cargo()?;
    cargo.args(["build", "--locked", "--release", "-p", package, "--bin", name]);
    Ok(built::build(&mut cargo)?.program(name)?.path.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_has_a_name_and_a_heading_of_its_own() {
        let mut headings = Suite::headings();
        headings.sort_unstable();
        headings.dedup();
        assert_eq!(headings.len(), Suite::value_variants().len());
        assert_eq!(Suite::Calls.name(), "calls");
    }
}
