//! `cargo xtask test`: every test, and one summary.

mod summary;

use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, Result};

use self::summary::Summary;
use crate::command::{self, Executable};
use crate::privilege::{self, Bpf};
use crate::python;

/// A kernel test that runs for longer than this hangs; the longest takes a fifth of it on a busy
/// host.
const HANGS: Duration = Duration::from_mins(5);
/// The same for cargo, which may first compile everything.
const CARGO_HANGS: Duration = Duration::from_mins(20);

/// Runs the tests whose name contains the filter, or all; the summary is the last line.
pub(crate) fn run(filter: Option<&str>) -> ExitCode {
    let mut summary = Summary::default();
    let mut problems = Vec::new();
    for stage in [unprivileged, kernel] {
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
    println!("{summary}");
    if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What cargo runs: unit, documentation and integration tests that need no privilege.
fn unprivileged(filter: Option<&str>, summary: &mut Summary) -> Result<()> {
    let mut cargo = command::cargo()?;
    cargo.args(["test", "--locked", "--no-fail-fast", "--workspace", "--exclude", "tracer-ebpf"]);
    // Without the `--` a filter could be taken for an option.
    cargo.arg("--").args(filter);
    run_tests(&mut cargo, CARGO_HANGS, summary)
}

/// The tests that load programs into the kernel.
fn kernel(filter: Option<&str>, summary: &mut Summary) -> Result<()> {
    let mut cargo = command::cargo()?;
    cargo.args(["test", "--locked", "-p", "tracer-user", "--features", "kernel-tests"]);
    cargo.args(["--test", "kernel", "--no-run"]);
    let tests = command::build(&mut cargo, "test", "kernel").context("the kernel tests")?;
    let mut command = match privilege::bpf()? {
        Bpf::Directly => Command::new(&tests.path),
        Bpf::Sudo => {
            let mut sudo = Command::new("sudo");
            sudo.args(["-n", "--"]).arg(&tests.path);
            sudo
        }
        Bpf::Impossible(reason) => return skip(&tests, filter, &reason, summary),
    };
    // One at a time: each sees the whole system.
    command.arg("--test-threads=1").args(filter).current_dir(&tests.package);
    if !python::is_installed()? {
        skip_readers(&tests, filter, summary)?;
        command.arg(format!("--skip={}", python::NEEDS_IT));
    }
    run_tests(&mut command, HANGS, summary).context("the kernel tests")
}

/// Counts and reports the tests that cannot run here.
fn skip(
    tests: &Executable,
    filter: Option<&str>,
    reason: &str,
    summary: &mut Summary,
) -> Result<()> {
    let list = command::output(
        Command::new(&tests.path).arg("--list").args(filter).current_dir(&tests.package),
    )?;
    let count = summary::count_listed(&list);
    eprintln!("test: ****************************************************************");
    eprintln!("test: {count} kernel tests SKIPPED: {reason}");
    eprintln!("test: ****************************************************************");
    summary.skipped += count;
    Ok(())
}

/// Counts and reports the tests that need other readers of recordings.
fn skip_readers(tests: &Executable, filter: Option<&str>, summary: &mut Summary) -> Result<()> {
    let list = command::output(
        Command::new(&tests.path).arg("--list").args(filter).current_dir(&tests.package),
    )?;
    let needing: Vec<&str> = list.lines().filter(|it| it.contains(python::NEEDS_IT)).collect();
    let count = summary::count_listed(&needing.join("\n"));
    if count > 0 {
        eprintln!("test: {count} kernel tests SKIPPED: no Python; run `cargo xtask setup`");
    }
    summary.skipped += count;
    Ok(())
}

/// Runs test executables and adds up their results.
fn run_tests(command: &mut Command, hangs: Duration, summary: &mut Summary) -> Result<()> {
    let (status, output) = command::tee(command, hangs)?;
    let results = summary.add(&output);
    let shown = command::describe(command);
    command::succeeded(&shown, status)?;
    anyhow::ensure!(results > 0, "`{shown}` printed no result of any test");
    Ok(())
}
