//! `cargo xtask edge-cases`: the verdicts in `docs/edge-cases.md` are what was seen.
//!
//! A row names its tests. Its verdict on a kernel is `yes` when all of them passed there, `no` when
//! one failed, and a dash when one does not run there. Rows without a kernel test, or with one that
//! proves them "in part", are left as they were written.

mod results;

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, Result, bail, ensure};

use self::results::Results;
pub(crate) use self::results::keep;
use crate::command;

const DOCUMENT: &str = "docs/edge-cases.md";
const YES: &str = "yes";
/// Between these lines are the counts.
const COUNTS: [&str; 2] = ["<!-- counts -->\n", "<!-- /counts -->\n"];

/// The kernels in the order of the table's columns: name of the results, what makes them, and
/// whether they decide over the state of the project.
const KERNELS: [(&str, &str, bool); 4] = [
    ("host", "cargo xtask test", true),
    ("6.1", "cargo xtask vm", true),
    ("6.12", "cargo xtask vm", true),
    ("latest", "cargo xtask vm", false),
];

/// Writes the verdicts.
pub(crate) fn run() -> Result<()> {
    let seen = read_all()?;
    let path = command::root()?.join(DOCUMENT);
    let text = fs::read_to_string(&path).context(DOCUMENT)?;
    let mut written = String::new();
    for line in text.lines() {
        match Row::parse(line) {
            Some(row) => written.push_str(&row.with(&row.verdicts(&seen)?)),
            None => written.push_str(line),
        }
        written.push('\n');
    }
    let counts = counts(&written, &seen);
    fs::write(&path, replace_counts(&written, &counts)?).context(DOCUMENT)?;
    print!("{counts}");
    Ok(())
}

/// Fails if a row claims more than was seen on a kernel that decides; says so of the others.
pub(crate) fn check() -> Result<()> {
    let seen = read_all()?;
    let text = fs::read_to_string(command::root()?.join(DOCUMENT)).context(DOCUMENT)?;
    let mut wrong = Vec::new();
    for row in text.lines().filter_map(Row::parse) {
        let verdicts = row.verdicts(&seen)?;
        for ((kernel, _, decides), (claimed, seen)) in
            KERNELS.iter().zip(row.claims().iter().zip(&verdicts))
        {
            if *claimed == YES && seen != YES {
                eprintln!("edge-cases: {} is `yes` on {kernel}; seen was `{seen}`", row.id());
                wrong.extend(decides.then_some(row.id()));
            }
        }
    }
    ensure!(wrong.is_empty(), "{DOCUMENT} claims too much: {}", wrong.join(", "));
    Ok(())
}

fn read_all() -> Result<Vec<Results>> {
    KERNELS.iter().map(|(kernel, from, _)| results::read(kernel, from)).collect()
}

/// A line of the table.
struct Row<'a> {
    cells: Vec<&'a str>,
}

/// Where in a row are its number, its tests, and the first verdict.
const ID: usize = 0;
const PROOF: usize = 3;
const VERDICTS: usize = 4;

impl<'a> Row<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let cells: Vec<&str> = line.strip_prefix("| E")?.strip_suffix(" |")?.split(" | ").collect();
        (cells.len() == VERDICTS + KERNELS.len()).then_some(Self { cells })
    }

    fn id(&self) -> String {
        format!("E{}", self.cells[ID])
    }

    fn claims(&self) -> &[&'a str] {
        &self.cells[VERDICTS..]
    }

    /// What was seen on each kernel.
    fn verdicts(&self, seen: &[Results]) -> Result<Vec<String>> {
        let tests = self.tests(seen)?;
        if tests.is_empty() || self.cells[PROOF].contains("in part") {
            return Ok(self.claims().iter().map(|&claim| claim.to_owned()).collect());
        }
        let verdict = |results: &Results| {
            let ends: Vec<_> = tests.iter().map(|test| results.get(*test)).collect();
            if ends.contains(&Some(&false)) {
                "no"
            } else if ends.contains(&None) {
                "—"
            } else {
                YES
            }
        };
        Ok(seen.iter().map(|results| verdict(results).to_owned()).collect())
    }

    /// The kernel tests it names; fails if there is no such test in a module that has others.
    fn tests(&self, seen: &[Results]) -> Result<Vec<&'a str>> {
        let known = |name: &str| seen.iter().any(|results| results.contains_key(name));
        let modules: BTreeSet<&str> = seen
            .iter()
            .flat_map(Results::keys)
            .filter_map(|name| name.split("::").next())
            .collect();
        let mut tests = Vec::new();
        // Every other part is between backticks.
        for name in self.cells[PROOF].split('`').skip(1).step_by(2) {
            let module = name.split_once("::").map(|(module, _)| module);
            if known(name) {
                tests.push(name);
            } else if module.is_some_and(|module| modules.contains(module)) {
                bail!("{DOCUMENT}: {} names `{name}`, which was no test in any run", self.id());
            }
        }
        Ok(tests)
    }

    /// The line with other verdicts.
    fn with(&self, verdicts: &[String]) -> String {
        let verdicts = verdicts.iter().map(String::as_str);
        let cells: Vec<&str> = self.cells[..VERDICTS].iter().copied().chain(verdicts).collect();
        format!("| E{} |", cells.join(" | "))
    }
}

/// How much is proven, and what each kernel said.
fn counts(text: &str, seen: &[Results]) -> String {
    let rows: Vec<Row> = text.lines().filter_map(Row::parse).collect();
    let proven = |least: usize| {
        let yes = |row: &&Row| row.claims().iter().filter(|claim| **claim == YES).count() >= least;
        rows.iter().filter(yes).count()
    };
    let head = format!(
        "Of {} rows {} are proven on at least one kernel, {} on two or more. The kernel tests:\n\n",
        rows.len(),
        proven(1),
        proven(2)
    );
    let kernels = KERNELS.iter().zip(seen);
    head + &kernels.map(|((kernel, ..), results)| totals(kernel, results)).collect::<String>()
}

/// How many tests ended how on a kernel, and the names of those that failed.
fn totals(kernel: &str, results: &Results) -> String {
    let failed: Vec<_> =
        results.iter().filter(|(_, passed)| !**passed).map(|(name, _)| name).collect();
    let passed = results.len() - failed.len();
    let head = format!("- {kernel}: {passed} passed, {} failed\n", failed.len());
    let names = failed.iter().map(|name| format!("  - `{name}`\n"));
    std::iter::once(head).chain(names).collect()
}

fn replace_counts(text: &str, counts: &str) -> Result<String> {
    let split = text.split_once(COUNTS[0]).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(COUNTS[1])?;
        Some((before, after))
    });
    let (before, after) = split.with_context(|| format!("{DOCUMENT}: no {}", COUNTS[0].trim()))?;
    Ok(format!("{before}{}{counts}{}{after}", COUNTS[0], COUNTS[1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &str = "| E07 | forks | counted | `edge::forks`, unit tests of `kernel::x` | open | open | yes | — |";

    fn seen(verdicts: [Option<bool>; 4]) -> Vec<Results> {
        let one = |passed| {
            let others = [("edge::other".to_owned(), true)];
            let mut results = Results::from(others);
            results.extend(Option::map(passed, |passed| ("edge::forks".to_owned(), passed)));
            results
        };
        verdicts.map(one).into()
    }

    #[test]
    fn verdicts_are_what_was_seen() {
        let row = Row::parse(ROW).unwrap();
        assert_eq!(row.id(), "E07");
        let verdicts = row.verdicts(&seen([Some(true), Some(false), None, Some(true)])).unwrap();
        assert_eq!(verdicts, ["yes", "no", "—", "yes"]);
        let wanted = ROW.replace("| open | open | yes | — |", "| yes | no | — | yes |");
        assert_eq!(row.with(&verdicts), wanted);
        assert!(
            Row::parse("| | case | behaviour | proof | 6.18 | 6.1 | 6.12 | newest |").is_none()
        );
    }

    #[test]
    fn rows_without_a_whole_proof_stay_as_they_are() {
        let seen = seen([Some(true); 4]);
        for proof in ["—", "`edge::forks` in part", "`cargo xtask vm`"] {
            let line = ROW.replace("`edge::forks`, unit tests of `kernel::x`", proof);
            let row = Row::parse(&line).unwrap();
            assert_eq!(row.with(&row.verdicts(&seen).unwrap()), line);
        }
    }

    #[test]
    fn a_test_that_does_not_exist_is_an_error() {
        let line = ROW.replace("edge::forks", "edge::gone");
        let error = Row::parse(&line).unwrap().verdicts(&seen([Some(true); 4])).unwrap_err();
        assert!(error.to_string().contains("E07 names `edge::gone`"), "{error}");
    }

    #[test]
    fn counts_are_replaced_between_their_marks() {
        let text = format!("{ROW}\n<!-- counts -->\nold\n<!-- /counts -->\nend\n");
        let counts = counts(&text, &seen([Some(true), Some(false), None, Some(true)]));
        assert!(counts.starts_with("Of 1 rows 1 are proven on at least one kernel, 0 on two"));
        assert!(counts.contains("- 6.1: 1 passed, 1 failed\n  - `edge::forks`\n"), "{counts}");
        let replaced = replace_counts(&text, &counts).unwrap();
        assert!(replaced.ends_with("<!-- /counts -->\nend\n") && !replaced.contains("old"));
        assert!(replace_counts("", &counts).is_err());
    }
}
