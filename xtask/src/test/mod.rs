//! `cargo xtask test`: every test, and one summary.

mod summary;

use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

pub(crate) use self::summary::Summary;
use crate::built::{self, Executable, Executables};
use crate::privilege::{self, Bpf};
use crate::{command, edge_cases, node, python};

/// A kernel test that runs for longer than this hangs; the longest takes a fifth of it on a busy
/// host.
const HANGS: Duration = Duration::from_mins(5);

/// How the names of kernel tests begin that only a virtual machine may suffer.
const FOR_GUESTS: [&str; 3] = ["guest::", "lockdown::", "whole_system::"];

/// Runs the tests whose name contains the filter, or all; the summary is the last line.
pub(crate) fn run(filter: Option<&str>) -> ExitCode {
    let summary = run_all(filter);
    summary.print_failures();
    println!("{summary}");
    if summary.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs them, and says what became of them.
pub(crate) fn run_all(filter: Option<&str>) -> Summary {
    let mut summary = Summary::default();
    let mut problems = Vec::new();
    match built::all() {
        Ok(built) => {
            for stage in [unprivileged, documentation, strace, receivers, kernel] {
                let failed = summary.failed;
                if let Err(error) = stage(&built, filter, &mut summary) {
                    problems.push(error);
                    // What crashes is a failure that no result tells.
                    summary.failed = summary.failed.max(failed + 1);
                }
            }
        }
        Err(error) => {
            problems.push(error);
            summary.failed += 1;
        }
    }
    for problem in &problems {
        eprintln!("test: {problem:#}");
        summary.failures.push(format!("test: {problem:#}"));
    }
    summary
}

/// Unit and integration tests that need neither privilege nor other programs. All run, whatever
/// becomes of the first.
fn unprivileged(built: &Executables, filter: Option<&str>, summary: &mut Summary) -> Result<()> {
    let run = |tests| run_tests(&mut command_of(tests, filter), HANGS, None, summary);
    let problems: Vec<_> = built.plain_tests().map(run).filter_map(Result::err).collect();
    let problems: Vec<String> = problems.iter().map(|it| format!("{it:#}")).collect();
    ensure!(problems.is_empty(), "{}", problems.join("; "));
    Ok(())
}

/// The examples in the documentation, which cargo builds and runs.
fn documentation(_: &Executables, filter: Option<&str>, summary: &mut Summary) -> Result<()> {
    let mut cargo = command::cargo()?;
    cargo.args(["test", "--locked", "--no-fail-fast", "--doc"]).args(built::SELECTION);
    // Without the `--` a filter could be taken for an option.
    cargo.arg("--").args(filter);
    run_tests(&mut cargo, HANGS, None, summary)
}

/// The tests that compare with strace: their program is made for the kernel tests.
fn strace(built: &Executables, filter: Option<&str>, summary: &mut Summary) -> Result<()> {
    let tests = built.find("test", "strace")?;
    let mut command = command_of(tests, filter);
    run_tests(&mut command, HANGS, None, summary).context("the tests with strace")
}

/// The tests that send spans to receivers in Python.
fn receivers(built: &Executables, filter: Option<&str>, summary: &mut Summary) -> Result<()> {
    let tests = built.find("test", "otlp")?;
    match python::environment() {
        Ok(python) => {
            let mut command = command_of(tests, filter);
            command.env("TRACER_PYTHON", python);
            run_tests(&mut command, HANGS, None, summary).context("the tests with receivers")
        }
        Err(error) => skip(tests, "tests with receivers", filter, &format!("{error:#}"), summary),
    }
}

/// Runs tests where cargo would.
fn command_of(tests: &Executable, filter: Option<&str>) -> Command {
    let mut command = Command::new(&tests.path);
    command.args(filter).current_dir(&tests.package);
    command
}

/// The tests that load programs into the kernel.
fn kernel(built: &Executables, filter: Option<&str>, summary: &mut Summary) -> Result<()> {
    let tests = built.find("test", "kernel")?;
    let mut command = match privilege::bpf()? {
        Bpf::Directly => Command::new(&tests.path),
        Bpf::Sudo => {
            let mut sudo = Command::new("sudo");
            sudo.args(["-n", "--"]).arg(&tests.path);
            sudo
        }
        Bpf::Impossible(reason) => return skip(tests, "kernel tests", filter, &reason, summary),
    };
    // One at a time: each sees the whole system.
    command.arg("--test-threads=1").args(filter).current_dir(&tests.package);
    command.args(FOR_GUESTS.map(|name| format!("--skip={name}")));
    // Fewer rounds are for virtual machines.
    command.env_remove("TRACER_TEST_REDUCED");
    if let Err(error) = python::environment() {
        skip_those(tests, filter, ("Python", python::NEEDS_IT), &error, summary)?;
        command.arg(format!("--skip={}", python::NEEDS_IT));
    } else if let Err(error) = node::environment() {
        skip_those(tests, filter, ("Azurite", node::NEEDS_IT), &error, summary)?;
        command.arg(format!("--skip={}", node::NEEDS_IT));
    }
    let keep = filter.is_none().then_some("host");
    run_tests(&mut command, HANGS, keep, summary).context("the kernel tests")
}

/// Names the tests that would run, one a line.
fn list(tests: &Executable, filter: Option<&str>) -> Result<String> {
    let mut list = command_of(tests, filter);
    command::output(list.arg("--list").args(FOR_GUESTS.map(|name| format!("--skip={name}"))))
}

/// Counts and reports the tests that cannot run here.
fn skip(
    tests: &Executable,
    what: &str,
    filter: Option<&str>,
    reason: &str,
    summary: &mut Summary,
) -> Result<()> {
    let list = list(tests, filter)?;
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
    let list = list(tests, filter)?;
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
    ensure!(results > 0, "`{shown}` printed no result of any test");
    Ok(())
}
