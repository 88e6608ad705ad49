//! `cargo xtask verifier-budget`: how much work each kernel program is to the verifier, which gives
//! up at a million instructions, and whether that has grown.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::privilege::{self, Bpf};
use crate::{built, command};

const BUDGET: &str = "docs/verifier-budget.txt";

const HEADER: &str = "\
# Instructions that the kernel's verifier goes through, by configuration and program; it gives up at
# 1,000,000. Written by `cargo xtask verifier-budget`; `--check` fails when one has grown by more than
# 20 %, on a kernel of the same version.
";

/// By how much a count may have grown, in percent.
const TOLERANCE: u64 = 20;

/// Counts by configuration and program.
type Counts = BTreeMap<(String, String), u64>;

/// Writes the counts, or holds them against the committed ones.
pub(crate) fn run(check: bool) -> Result<()> {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("osrelease")?;
    let path = command::root()?.join(BUDGET);
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let Some(counts) = count()? else {
        return if check { Ok(()) } else { bail!("the programs cannot be loaded here") };
    };
    if !check {
        fs::write(&path, show(&counts, &kernel)).with_context(|| format!("writing {BUDGET}"))?;
        println!("written: {BUDGET}");
        return Ok(());
    }
    let (of, before) = parse(&committed).context(BUDGET)?;
    if version(&of) != version(&kernel) {
        println!(
            "verifier-budget: NOT compared: {BUDGET} is of Linux {of}, and this is {}",
            kernel.trim()
        );
        return Ok(());
    }
    let problems = compare(&before, &counts);
    if !problems.is_empty() {
        bail!(
            "{}\nif that is wanted, run `cargo xtask verifier-budget` and commit {BUDGET}",
            problems.join("\n")
        );
    }
    println!("verifier-budget: {} programs are within {TOLERANCE} %", counts.len());
    Ok(())
}

/// Loads the programs and counts; `None` where that is impossible, which is said.
fn count() -> Result<Option<Counts>> {
    let built = built::all()?;
    let bench = &built.program("tracer-bench")?.path;
    let mut program = match privilege::bpf()? {
        Bpf::Directly => Command::new(bench),
        Bpf::Sudo => {
            let mut sudo = Command::new("sudo");
            sudo.args(["-n", "--"]).arg(bench);
            sudo
        }
        Bpf::Impossible(reason) => {
            eprintln!("verifier-budget: ************************************************");
            eprintln!("verifier-budget: SKIPPED: {reason}");
            eprintln!("verifier-budget: ************************************************");
            return Ok(None);
        }
    };
    let output = command::output(program.arg("verifier"))?;
    Ok(Some(lines(&output)?))
}

/// Lines of a configuration, a program and a count.
fn lines(text: &str) -> Result<Counts> {
    let line = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        let name = words.next().zip(words.next())?;
        Some((name, words.next()?.parse().ok()?))
    };
    text.lines().map(|it| line(it).with_context(|| format!("a line is `{it}`"))).collect()
}

/// The kernel and the counts of the file.
fn parse(text: &str) -> Result<(String, Counts)> {
    let mut rest = text.lines().filter(|line| !line.starts_with('#'));
    let kernel = rest.next().and_then(|line| line.strip_prefix("kernel "));
    let kernel = kernel.context("no line tells the kernel")?.to_owned();
    Ok((kernel, lines(&rest.collect::<Vec<_>>().join("\n"))?))
}

fn show(counts: &Counts, kernel: &str) -> String {
    let lines: Vec<String> = counts
        .iter()
        .map(|((configuration, program), count)| {
            format!("{configuration:12} {program:24} {count:7}\n")
        })
        .collect();
    format!("{HEADER}kernel {}\n{}", kernel.trim(), lines.concat())
}

/// The first two numbers of a release.
fn version(release: &str) -> Vec<&str> {
    release.trim().split(['.', '-']).take(2).collect()
}

/// What has grown too much, has come, or has gone.
fn compare(before: &Counts, now: &Counts) -> Vec<String> {
    let name = |(configuration, program): &(String, String)| format!("{configuration}, {program}");
    let grown = now.iter().filter_map(|(key, count)| match before.get(key) {
        None => Some(format!("{}: {count} instructions, and no budget", name(key))),
        Some(budget) if *count * 100 > *budget * (100 + TOLERANCE) => Some(format!(
            "{}: {count} instructions, {TOLERANCE} % more than {budget} or worse",
            name(key)
        )),
        Some(_) => None,
    });
    let gone = before
        .keys()
        .filter(|key| !now.contains_key(*key))
        .map(|key| format!("{}: a budget, and no program", name(key)));
    grown.chain(gone).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(text: &str) -> Counts {
        lines(text).unwrap()
    }

    #[test]
    fn the_file_is_read_as_it_is_written() {
        let all = counts("default enter 100\ndefault exit 2000\n");
        let (kernel, read) = parse(&show(&all, "6.18.44-x\n")).unwrap();
        assert_eq!((kernel.as_str(), read), ("6.18.44-x", all));
        assert!(parse("# nothing\n").is_err());
        assert!(lines("default enter many").is_err());
    }

    #[test]
    fn growth_beyond_the_tolerance_is_a_problem() {
        let before = counts("a enter 100\na exit 100\na gone 1\n");
        let now = counts("a enter 120\na exit 121\na new 5\n");
        assert_eq!(
            compare(&before, &now),
            [
                "a, exit: 121 instructions, 20 % more than 100 or worse",
                "a, new: 5 instructions, and no budget",
                "a, gone: a budget, and no program",
            ]
        );
        assert!(compare(&now, &now).is_empty());
    }

    #[test]
    fn kernels_are_compared_by_two_numbers() {
        assert_eq!(version("6.18.44-fc\n"), version("6.18.3"));
        assert_ne!(version("6.18.44"), version("6.12.1"));
        assert_eq!(version("7.0-rc1"), ["7", "0"]);
    }

    #[test]
    fn a_budget_is_committed() {
        let text = fs::read_to_string(command::root().unwrap().join(BUDGET)).unwrap();
        let (_, counts) = parse(&text).unwrap();
        assert!(counts.values().all(|count| *count < 1_000_000));
    }
}
