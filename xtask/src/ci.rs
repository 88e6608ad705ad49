//! `cargo xtask ci`: all that CI runs; the last line is the summary.

use std::fs;
use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, bail};

use crate::test::Summary;
use crate::{codegen, command, ebpf, edge_cases, lint, setup, test, verifier, vm};

/// The README's command for running the tests, which is a step here.
const TEST: &str = "cargo xtask test";

/// A step that either works or says why not.
type Step = fn() -> Result<()>;

/// Runs every step, up to the first that fails.
pub(crate) fn run(with_guests: bool) -> Result<ExitCode> {
    let start = Instant::now();
    check_readme()?;
    heading(start, "cargo xtask setup");
    setup::programs().context("cargo xtask setup")?;
    // Mostly downloads, and quiet: they go on while the compiler works.
    let environments = thread::Builder::new().name("setup".to_owned());
    let environments = environments.spawn(setup::environments).context("starting a thread")?;
    let steps: [(&str, Step); 4] = [
        ("lint", lint::run),
        ("codegen --check", || codegen::run(true)),
        ("build-ebpf --check", || ebpf::run(true)),
        ("verifier-budget --check", || verifier::run(true)),
    ];
    for (name, step) in steps {
        heading(start, &format!("cargo xtask {name}"));
        step().with_context(|| format!("cargo xtask {name}"))?;
    }
    let environments = environments.join().map_err(|_| anyhow!("the thread of setup panicked"))?;
    environments.context("cargo xtask setup")?;
    heading(start, TEST);
    let mut summary = test::run_all(None);
    eprintln!("test: {summary}");
    let tests = if with_guests { vm::Tests::All } else { vm::Tests::Core };
    heading(start, "cargo xtask vm");
    let others = guests(tests, &mut summary);
    if tests == vm::Tests::All {
        heading(start, "the verdicts in docs/edge-cases.md");
        check_verdicts(&mut summary);
    } else {
        eprintln!("ci: ****************************************************************");
        eprintln!("ci: on other kernels the core of the tests ran, and docs/edge-cases.md was");
        eprintln!("ci: NOT held to it: `cargo xtask ci --guests` runs all and does that.");
        eprintln!("ci: ****************************************************************");
    }
    summary.print_failures();
    eprintln!("\n==== {} s: done", start.elapsed().as_secs());
    if let Some(others) = others {
        println!("5.10 and the newest kernel, without blocking: {others}");
    }
    println!("{summary}");
    Ok(if summary.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Holds the document to what all runs have shown.
fn check_verdicts(summary: &mut Summary) {
    if let Err(error) = edge_cases::check() {
        eprintln!("edge-cases: {error:#}");
        summary.failed += 1;
    }
}

/// Adds the tests in virtual machines; returns what is said of those that do not block.
fn guests(tests: vm::Tests, summary: &mut Summary) -> Option<String> {
    match vm::run_all(tests) {
        Ok(vm::Outcome { blocking, others }) => {
            summary.merge(&blocking);
            Some(others.to_string())
        }
        Err(error) => {
            eprintln!("vm: ****************************************************************");
            eprintln!("vm: no kernel was tried in a virtual machine: {error:#}");
            eprintln!("vm: ****************************************************************");
            summary.failed += 1;
            None
        }
    }
}

fn heading(start: Instant, name: &str) {
    eprintln!("\n==== {} s: {name}", start.elapsed().as_secs());
}

/// The README must tell a newcomer to run what we run.
fn check_readme() -> Result<()> {
    let readme = fs::read_to_string(command::root()?.join("README.md")).context("README.md")?;
    let commands = cargo_commands(&readme);
    match commands.get(1) {
        Some(&TEST) => Ok(()),
        Some(other) => bail!("README.md: the second cargo command is `{other}`, not `{TEST}`"),
        None => bail!("README.md: {} cargo lines in sh blocks, two are wanted", commands.len()),
    }
}

/// The lines in blocks of shell commands that start with `cargo `, with or without a prompt.
fn cargo_commands(readme: &str) -> Vec<&str> {
    let mut commands = Vec::new();
    let mut in_block = false;
    for line in readme.lines() {
        if line.starts_with("```") {
            in_block = line.starts_with("```sh");
        } else if in_block {
            let line = line.strip_prefix("$ ").unwrap_or(line);
            commands.extend(line.starts_with("cargo ").then_some(line));
        }
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_those_of_shell_blocks() {
        let readme = "\
# tracer
cargo not this
```sh
git clone somewhere
cargo build --release
```
```text
cargo nor this
```
```sh
$ cargo xtask test
  cargo nor an indented one
```
";
        assert_eq!(cargo_commands(readme), ["cargo build --release", TEST]);
    }
}
