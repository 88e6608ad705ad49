//! Adding up the results that test executables print.

use std::fmt;

/// What is printed again of a failed test, at most.
const FAILURE_LINES: usize = 30;
const FAILURE_COLUMNS: usize = 500;

/// How many tests ended how.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Summary {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
    /// What each failed test has printed, cut to what is read at once.
    pub(crate) failures: Vec<String>,
}

impl Summary {
    /// Adds every result in the output; returns how many there were.
    pub(super) fn add(&mut self, output: &str) -> usize {
        self.failures.extend(failures(output));
        let results = output.lines().filter_map(|line| line.strip_prefix("test result: "));
        results.map(|result| self.add_result(result)).count()
    }

    /// Adds other tests.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.failures.extend_from_slice(&other.failures);
    }

    /// What failed tests have printed, once more: of a long log only the end may be kept.
    pub(crate) fn print_failures(&self) {
        for failure in &self.failures {
            eprintln!("\n{failure}");
        }
    }

    /// Adds `ok. 2 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s`.
    fn add_result(&mut self, result: &str) {
        for part in result.split(['.', ';']) {
            let Some((Ok(count), what)) =
                part.trim().split_once(' ').map(|(count, what)| (count.parse::<u64>(), what))
            else {
                continue;
            };
            match what {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" => self.skipped += count,
                _ => {}
            }
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, skipped, .. } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

/// The blocks of output of failed tests, each cut.
fn failures(output: &str) -> Vec<String> {
    let mut blocks: Vec<Vec<String>> = Vec::new();
    let mut is_inside = false;
    for line in output.lines() {
        let is_title = line.starts_with("---- ") && line.ends_with(" ----");
        if line == "failures:" || line.starts_with("test result: ") {
            is_inside = false;
        } else if is_title {
            is_inside = true;
            blocks.push(Vec::new());
        }
        if is_inside
            && !line.is_empty()
            && let Some(block) = blocks.last_mut()
        {
            block.push(line.chars().take(FAILURE_COLUMNS).collect());
        }
    }
    blocks.iter().map(|block| cut(block)).collect()
}

/// The name of the test, and what it has printed from its panic on: what it has printed before may be
/// long.
fn cut(block: &[String]) -> String {
    let panic = block.iter().rposition(|line| line.contains("panicked at")).unwrap_or(1);
    let title = block.iter().take(1);
    let rest = block.iter().skip(panic.max(1)).take(FAILURE_LINES);
    title.chain(rest).map(String::as_str).collect::<Vec<_>>().join("\n")
}

/// How many tests a `--list` names.
pub(super) fn count_listed(list: &str) -> u64 {
    list.lines().filter(|line| line.ends_with(": test")).map(|_| 1).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "
running 3 tests
failures:

---- a::b stdout ----
thread 'a::b' panicked at src/a.rs:3:9:
wrong

---- c stdout ----
c
thread 'c' panicked at src/c.rs:1:1:
no

failures:
    a::b
    c
test a ... ok
test b ... ignored, needs 5.18
test c ... ok

test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.51s

   Doc-tests tracer_user
test result: FAILED. 10 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.10s

all doctests ran in 1.51s; merged doctests compilation took 1.40s
";

    #[test]
    fn results_are_added_up() {
        let mut summary = Summary::default();
        assert_eq!(summary.add(OUTPUT), 2);
        let failures = [
            "---- a::b stdout ----\nthread 'a::b' panicked at src/a.rs:3:9:\nwrong",
            "---- c stdout ----\nthread 'c' panicked at src/c.rs:1:1:\nno",
        ];
        let failures = failures.map(str::to_owned).to_vec();
        assert_eq!(summary, Summary { passed: 12, failed: 3, skipped: 1, failures });
        assert_eq!(summary.add(OUTPUT), 2);
        assert_eq!(summary.to_string(), "24 passed, 6 failed, 2 skipped");
        summary.merge(&Summary { passed: 1, failed: 2, skipped: 3, failures: Vec::new() });
        assert_eq!(summary.to_string(), "25 passed, 8 failed, 5 skipped");
    }

    #[test]
    fn other_output_has_no_result() {
        assert_eq!(Summary::default().add("error: could not compile\n"), 0);
    }

    #[test]
    fn listed_tests_are_counted() {
        assert_eq!(count_listed("file::reads: test\nloss: test\nfast: benchmark\n\n2 tests\n"), 2);
    }
}
