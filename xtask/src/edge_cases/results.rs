//! What the kernel tests said, kept in a file for each kernel.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::command;

/// The tests of one run by name, and whether each passed.
pub(super) type Results = BTreeMap<String, bool>;

/// Keeps what the kernel tests printed on this kernel: the whole of them, not a selection.
pub(crate) fn keep(kernel: &str, output: &str) -> Result<()> {
    let file = file(kernel)?;
    let folder = file.parent().context("the results are in no folder")?;
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&file, output))
        .with_context(|| file.display().to_string())
}

/// What was kept last.
pub(super) fn read(kernel: &str, from: &str) -> Result<Results> {
    let file = file(kernel)?;
    let output = fs::read_to_string(&file)
        .with_context(|| format!("{}: run {from} first", file.display()))?;
    Ok(parse(&output))
}

fn file(kernel: &str) -> Result<PathBuf> {
    Ok(command::root()?.join("target/kernel-tests").join(format!("{kernel}.log")))
}

/// Reads the lines of libtest. Programs that a test starts may print between a test's name and how
/// it ended, and guests how long it took; a test without an end has failed.
fn parse(output: &str) -> Results {
    let mut results = Results::new();
    let mut last = None;
    for line in output.lines() {
        if line.starts_with("test result: ") {
            last = None;
        }
        let named = line.strip_prefix("test ").and_then(|line| line.split_once(" ... "));
        let end = named.map_or(line, |(name, end)| {
            last = Some(name.to_owned());
            results.insert(name.to_owned(), false);
            end
        });
        if let Some(name) = &last
            && end.split(" <").next().is_some_and(|end| end.ends_with("ok"))
        {
            results.insert(name.clone(), true);
            last = None;
        }
    }
    results
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_end_well_or_have_failed() {
        let output = "\nrunning 5 tests\ntest a::b ... ok\ntest a::c ... FAILED\n\
                      test a::d ... said this\nok\ntest a::e ... \n\
                      test result: FAILED. it is not ok\ntest z::f ... ok <2 s>\ntest z::g ... ";
        let results = parse(output);
        let wanted = [
            ("a::b", true),
            ("a::c", false),
            ("a::d", true),
            ("a::e", false),
            ("z::f", true),
            ("z::g", false),
        ];
        assert_eq!(results, wanted.map(|(name, passed)| (name.to_owned(), passed)).into());
    }
}
