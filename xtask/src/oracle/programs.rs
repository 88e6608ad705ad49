//! Which of strace's test programs are run, and which calls each is about.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use anyhow::{Context as _, Result, ensure};
use regex::Regex;

/// The list of what is left out.
const LEFT_OUT: &str = include_str!("left-out.txt");

/// A program.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) name: String,
    /// The calls that strace's suite looks at, as far as it names them.
    traced: BTreeSet<String>,
}

impl Program {
    /// Whether the program was written to test this call.
    pub(super) fn is_about(&self, call: &str) -> bool {
        if !self.traced.is_empty() {
            return self.traced.contains(call);
        }
        let rest = self.name.strip_prefix(call);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_']))
    }

    #[cfg(test)]
    pub(super) fn about(name: &str, traced: &[&str]) -> Self {
        let traced = traced.iter().map(|&call| call.to_owned()).collect();
        Self { name: name.to_owned(), traced }
    }
}

/// The programs among these names that are run; `options` are those with which strace's suite runs
/// each under strace.
pub(super) fn choose(names: &str, options: &str) -> Result<Vec<Program>> {
    let names: BTreeSet<&str> = names.split_whitespace().collect();
    let left_out = left_out(LEFT_OUT)?;
    let traced = traced(options);
    let is_run = |name: &&&str| {
        !left_out.iter().any(|it| match it {
            LeftOut::Variant(end) => end
                .find(name)
                .filter(|found| found.end() == name.len())
                .is_some_and(|found| names.contains(&name[..found.start()])),
            LeftOut::Program(program) => *program == **name,
        })
    };
    let programs = names.iter().filter(is_run).map(|name| Program {
        name: (*name).to_owned(),
        traced: traced.get(*name).cloned().unwrap_or_default(),
    });
    Ok(programs.collect())
}

/// What is not run.
enum LeftOut {
    /// Programs that are others with such an end.
    Variant(Regex),
    Program(&'static str),
}

/// Reads lines of `variant REGEX` and `program NAME REASON`.
fn left_out(text: &'static str) -> Result<Vec<LeftOut>> {
    let lines =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let read = |line: &'static str| match line.split_once(' ').context("one word")? {
        ("variant", end) => Ok(LeftOut::Variant(Regex::new(&format!("(?:{end})$"))?)),
        ("program", rest) => {
            let (name, reason) = rest.split_once(' ').context("no reason")?;
            ensure!(!reason.trim().is_empty(), "no reason");
            Ok(LeftOut::Program(name))
        }
        (word, _) => anyhow::bail!("`{word}` is neither `variant` nor `program`"),
    };
    lines.map(|line| read(line).with_context(|| format!("left-out.txt: `{line}`"))).collect()
}

static TRACE: LazyLock<Regex> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the pattern is a constant, and tests use it")]
    Regex::new(r"(?:-e ?|--)trace=(\S+)").expect("a pattern")
});

/// By program the calls that `-e trace=` or `--trace=` names; those with patterns and classes
/// name none.
fn traced(options: &str) -> BTreeMap<&str, BTreeSet<String>> {
    options
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let (name, options) = line.split_once(char::is_whitespace)?;
            let calls = TRACE.captures(options)?.get(1)?.as_str();
            let is_plain = |call: &str| {
                !call.is_empty()
                    && call.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                    && !["all", "none"].contains(&call)
            };
            let calls: Vec<&str> =
                calls.split(',').map(|call| call.trim_start_matches('?')).collect();
            let all = calls.iter().all(|call| is_plain(call));
            all.then(|| (name, calls.into_iter().map(str::to_owned).collect()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_of_programs_are_left_out() {
        let names = "dup dup-y dup-yy dup-P pc-y mmap mmap-Xraw nlattr-Xraw\n";
        let chosen = choose(names, "").unwrap();
        let names: Vec<&str> = chosen.iter().map(|program| program.name.as_str()).collect();
        assert_eq!(names, ["dup", "mmap", "nlattr-Xraw", "pc-y"]);
    }

    #[test]
    fn what_is_left_out_is_read() {
        assert!(!left_out(LEFT_OUT).unwrap().is_empty());
        assert!(left_out("program x").is_err());
        assert!(left_out("variant (").is_err());
        assert!(left_out("other x y").is_err());
    }

    #[test]
    fn a_program_is_about_what_is_traced_of_it() {
        let options = "# x\nclock_xettime\t-a36 -e trace=clock_gettime,?clock_settime\n\
                       stat -a32 --trace=stat,%file\naio -a14 -e/io_\n";
        let all = choose("clock_xettime stat aio recvfrom-MSG_TRUNC ioctl_block", options).unwrap();
        let is_about = |name: &str, call: &str| {
            all.iter().find(|program| program.name == name).unwrap().is_about(call)
        };
        assert!(is_about("clock_xettime", "clock_settime"));
        assert!(!is_about("clock_xettime", "clock"));
        assert!(is_about("stat", "stat") && !is_about("stat", "statx"));
        assert!(
            is_about("recvfrom-MSG_TRUNC", "recvfrom") && !is_about("recvfrom-MSG_TRUNC", "recv")
        );
        assert!(is_about("ioctl_block", "ioctl"));
    }
}
