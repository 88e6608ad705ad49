//! What runs in the guests: the kernel tests and the programs they start.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::{command, python};

/// Tests that are left out, and why.
const LEFT_OUT: [(&str, &str); 2] = [
    ("sixteen_million", "too long under emulation"),
    (python::NEEDS_IT, "no Python in the guests"),
];

/// The programs that are built here.
pub(super) struct Programs {
    /// The test executable.
    pub(super) tests: PathBuf,
    pub(super) tracer: PathBuf,
    pub(super) workload: PathBuf,
}

/// Which tests run.
pub(super) struct Selection {
    /// The command line of the test executable.
    pub(super) args: Vec<String>,
    /// How many run.
    pub(super) run: u64,
    /// The names of those left out, each with the reason.
    pub(super) skipped: Vec<(String, String)>,
}

/// Builds the tests; cargo builds the programs that they use too.
pub(super) fn build() -> Result<Programs> {
    let mut cargo = command::cargo()?;
    // Optimized: emulation is slow enough.
    cargo.args(["test", "--locked", "--release", "-p", "tracer-user"]);
    cargo.args(["--features", "kernel-tests", "--test", "kernel", "--no-run"]);
    let tests = command::build(&mut cargo, "test", "kernel").context("the kernel tests")?.path;
    // Tests are in `deps`, programs above it.
    let folder = tests.ancestors().nth(2).context("the kernel tests are in no folder")?;
    let [tracer, workload] = ["tracer", "tracer-workload"].map(|name| folder.join(name));
    for program in [&tracer, &workload] {
        ensure!(program.exists(), "cargo did not build {}", program.display());
    }
    Ok(Programs { tests, tracer, workload })
}

/// Asks the executable which tests a filter and the names to skip leave.
pub(super) fn select(
    programs: &Programs,
    filter: Option<&str>,
    skip: &[String],
) -> Result<Selection> {
    let list = command::output(Command::new(&programs.tests).arg("--list").args(filter))?;
    let mut reasons = LEFT_OUT.map(|(text, reason)| (text.to_owned(), reason.to_owned())).to_vec();
    reasons.extend(skip.iter().map(|text| (text.clone(), format!("--skip {text}"))));
    let selection = choose(&list, filter, &reasons);
    ensure!(selection.run > 0, "no kernel test is left to run in the guests");
    Ok(selection)
}

/// Splits a list of tests into those that run, counted, and those that do not.
fn choose(list: &str, filter: Option<&str>, reasons: &[(String, String)]) -> Selection {
    let mut args = vec!["--test-threads=1".to_owned()];
    args.extend(filter.map(str::to_owned));
    args.extend(reasons.iter().map(|(text, _)| format!("--skip={text}")));
    let mut selection = Selection { args, run: 0, skipped: Vec::new() };
    for name in list.lines().filter_map(|line| line.strip_suffix(": test")) {
        match reasons.iter().find(|(text, _)| name.contains(text.as_str())) {
            Some((_, reason)) => selection.skipped.push((name.to_owned(), reason.clone())),
            None => selection.run += 1,
        }
    }
    selection
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_counted_or_skipped_with_a_reason() {
        let list = "books::big_one: test\nbooks::small: test\nscope::all: test\n\n3 tests\n";
        let because = |text: &str| (text.to_owned(), format!("not {text}"));
        let selection = choose(list, Some("o"), &[because("big"), because("nothing")]);
        assert_eq!(selection.run, 2);
        assert_eq!(selection.skipped, [("books::big_one".to_owned(), "not big".to_owned())]);
        let args = ["--test-threads=1", "o", "--skip=big", "--skip=nothing"];
        assert_eq!(selection.args, args);
    }
}
