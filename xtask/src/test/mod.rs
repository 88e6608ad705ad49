//! `cargo xtask test`: every test, and one summary.

mod summary;

use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, Result};

pub(crate) use self::summary::Summary;
use crate::command::{self, Executable};
use crate::edge_cases;
use crate::privilege::{self, Bpf};
use crate::{node, python};

/// A kernel test that runs for longer than this hangs; the longest takes a fifth of it on a busy
/// host.
const HANGS: Duration = Duration::from_mins(5);
/// The same for cargo, which may first compile everything.
const CARGO_HANGS: Duration = Duration::from_mins(20);

/// Runs the tests whose name contains the filter, or all; the summary is the last line.
pub(crate) fn run(filter: Option<&str>) -> ExitCode {
    let summary = run_all(filter);
    println!("{summary}");
    if summary.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs them, and says what became of them.
pub(crate) fn run_all(filter: Option<&str>) -> Summary {
    let mut summary = Summary::default();
    let mut problems = Vec::new();
    for stage in [unprivileged, strace, receivers, kernel] {
        let failed = summary.failed;
        if let Err(error) = stage(filter, &mut summary) {
            problems.push(error);
            // What does not compile, or crashes, is a failure that no result tells.
            summary.failed = summary.failed.max(failed + 1);
        }
    }
    for problem in &problems {
        eprintln!("test: {problem:#}");
    }
    summary
}

/// What cargo runs: unit, documentation and integration tests that need no privilege.
fn unprivileged(filter: Option<&str>, summary: &mut Summary) -> Result<()> {
    let mut cargo = command::cargo()?;
    cargo.args(["test", "--locked", "--no-fail-fast", "--workspace", "--exclude", "tracer-ebpf"]);
    // Without the `--` a filter could be taken for an option.
    cargo.arg("--").args(filter);
    run_tests(&mut cargo, CARGO_HANGS, None, summary)
}

/// The tests that compare with strace: their program is made for the kernel tests.
fn strace(filter: Option<&str>, summary: &mut Summary) -> Result<()> {
    let tests = build("strace").context("the tests with strace")?;
    let mut command = Command::new(&tests.path);
    command.args(filter).current_dir(&tests.package);
    run_tests(&mut command, HANGS, None, summary).context("the tests with strace")
}

/// The tests that send spans to receivers in Python.
fn receivers(filter: Option<&str>, summary: &mut Summary) -> Result<()> {
    let tests = build("otlp").context("the tests with receivers")?;
    let mut command = Command::new(&tests.path);
    command.args(filter).current_dir(&tests.package);
    match python::environment() {
        Ok(python) => {
            command.env("TRACER_PYTHON", python);
            run_tests(&mut command, HANGS, None, summary).context("the tests with receivers")
        }
        Err(error) => skip(&tests, "tests with receivers", filter, &format!("{error:#}"), summary),
    }
}

/// Builds one executable of tests that a feature guards; with all features of tests for this
/// machine, so that what they have in common is built once.
fn build(name: &str) -> Result<Executable> {
    let mut cargo = command::cargo()?;
    cargo.args(["test", "--locked", "-p", "tracer-user", "--features"]);
    cargo.arg("kernel-tests,receiver-tests");
    cargo.args(["--test", name, "--no-run"]);
    command::build(&mut cargo, "test", name)
}

/// The tests that load programs into the kernel.
fn kernel(filter: Option<&str>, summary: &mut Summary) -> Result<()> {
    let tests = build("kernel").context("the kernel tests")?;
    let mut command = match privilege::bpf()? {
        Bpf::Directly => Command::new(&tests.path),
        Bpf::Sudo => {
            let mut sudo = Command::new("sudo");
            sudo.args(["-n", "--"]).arg(&tests.path);
            sudo
        }
        Bpf::Impossible(reason) => return skip(&tests, "kernel tests", filter, &reason, summary),
    };
    // One at a time: each sees the whole system.
    command.arg("--test-threads=1").args(filter).current_dir(&tests.package);
    // Fewer rounds are for virtual machines.
    command.env_remove("TRACER_TEST_REDUCED");
    if let Err(error) = python::environment() {
        skip_those(&tests, filter, ("Python", python::NEEDS_IT), &error, summary)?;
        command.arg(format!("--skip={}", python::NEEDS_IT));
    } else if let Err(error) = node::environment() {
        skip_those(&tests, filter, ("Azurite", node::NEEDS_IT), &error, summary)?;
        command.arg(format!("--skip={}", node::NEEDS_IT));
    }
    let keep = filter.is_none().then_some("host");
    run_tests(&mut command, HANGS, keep, summary).context("the kernel tests")
}

/// Counts and reports the tests that cannot run here.
fn skip(
    tests: &Executable,
    what: &str,
    filter: Option<&str>,
    reason: &str,
    summary: &mut Summary,
) -> Result<()> {
    let list = command::output(
        Command::new(&tests.path).arg("--list").args(filter).current_dir(&tests.package),
    )?;
    let count = summary::count_listed(&list);
    eprintln!("test: ****************************************************************");
    eprintln!("test: {count} {what} SKIPPED: {reason}");
    eprintln!("test: ****************************************************************");
    summary.skipped += count;
    Ok(())
}

/// Counts and reports the kernel tests that need something, as a word in their names says.
fn skip_those(
    tests: &Executable,
    filter: Option<&str>,
    (what, word): (&str, &str),
    reason: &anyhow::Error,
    summary: &mut Summary,
) -> Result<()> {
    let list = command::output(
        Command::new(&tests.path).arg("--list").args(filter).current_dir(&tests.package),
    )?;
    let needing: Vec<&str> = list.lines().filter(|it| it.contains(word)).collect();
    let count = summary::count_listed(&needing.join("\n"));
    eprintln!("test: ****************************************************************");
    eprintln!("test: {count} kernel tests that need {what} SKIPPED: {reason:#}");
    eprintln!("test: ****************************************************************");
    summary.skipped += count;
    Ok(())
}

/// Runs test executables, keeps what they print under a name, and adds up their results.
fn run_tests(
    command: &mut Command,
    hangs: Duration,
    keep: Option<&str>,
    summary: &mut Summary,
) -> Result<()> {
    let (status, output) = command::tee(command, hangs)?;
    if let Some(name) = keep {
        edge_cases::keep(name, &output)?;
    }
    let results = summary.add(&output);
    let shown = command::describe(command);
    command::succeeded(&shown, status)?;
    anyhow::ensure!(results > 0, "`{shown}` printed no result of any test");
    Ok(())
}
