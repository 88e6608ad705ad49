//! The tables in docs/parity.md.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use crate::calls::{self, Part};
use crate::text::{cell, push, share};

/// What came out for one workload.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// Calls of both, those of one alone counted once.
    pub(super) all: usize,
    /// Equal in name and result.
    pub(super) same: usize,
    /// Of those, equal in all arguments.
    pub(super) same_args: usize,
    /// Of the equal ones, those of which something was left out.
    left_out: usize,
    /// By class: how many calls, and an example.
    classes: BTreeMap<String, (usize, String)>,
}

/// Adds up the calls.
pub(super) fn summarize(compared: calls::Comparison) -> Comparison {
    let mut sum = Comparison { all: compared.outcomes.len(), ..Comparison::default() };
    for outcome in compared.outcomes {
        sum.same += usize::from(outcome.is_same);
        let is_equal = outcome.is_same && outcome.differences.is_empty();
        sum.same_args += usize::from(is_equal);
        sum.left_out += usize::from(outcome.is_left_out);
        if let Some(it) = outcome.differences.into_iter().next() {
            let class = format!("{}: {}", it.call, it.part);
            let example = || match it.part {
                Part::Theirs | Part::Ours => it.lines.concat(),
                Part::Count | Part::Result => it.lines.join(" / "),
                _ => format!("{} / {}", it.theirs, it.ours),
            };
            sum.classes.entry(class).or_insert_with(|| (0, example())).0 += 1;
        }
    }
    sum
}

/// What is wanted, in per cent.
const SAME: f64 = 99.0;
const SAME_ARGS: f64 = 95.0;

/// What stands before the tables.
pub(super) const HEAD: &str = "\
# Parity with strace

Written by `cargo xtask parity --write`, and from \"strace's own test programs\" on by
`cargo xtask oracle --write`. Each program runs under `strace -f`, under `tracer trace`, and under
`strace -f` again; the calls of each thread are aligned. Addresses are compared as they are, for all
three runs have the same layout in memory. Ids of processes, inodes and ports that differ from run to
run must correspond one to one. What else two runs of strace print differently (times, random data)
is left out, number by number. Percentages are of all calls that either has printed. A program whose
threads met otherwise is compared again, up to three times.
";

/// A table in Markdown.
pub(super) fn table(comparisons: &[(&str, Comparison)], names: bool) -> String {
    let mut out =
        if names { "\n## With what descriptors lead to\n\nBoth with `-y`.\n\n" } else { "\n" }
            .to_owned();
    out.push_str(
        "\
| program | calls | same name and result | | all arguments too | | of these, something left out |
|---|---:|---:|---:|---:|---:|---:|
",
    );
    let mut total = Comparison::default();
    let mut classes: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    for (name, it) in comparisons {
        row(&mut out, name, it);
        total.all += it.all;
        total.left_out += it.left_out;
        total.same += it.same;
        total.same_args += it.same_args;
        for (class, (count, example)) in &it.classes {
            classes.entry(class).or_insert((0, example)).0 += count;
        }
    }
    row(&mut out, "all", &total);
    out.push_str("\n### What differs\n\nstrace's text stands before the slash.\n\n");
    out.push_str("| class | calls | why | first example |\n|---|---:|---|---|\n");
    let mut classes: Vec<_> = classes.into_iter().collect();
    classes.sort_by(|a, b| b.1.0.cmp(&a.1.0).then(a.0.cmp(b.0)));
    for (class, (count, example)) in classes {
        let (example, why) = (cell(example), reason(class));
        push(&mut out, format_args!("| {class} | {count} | {why} | `{example}` |\n"));
    }
    out
}

/// Why calls of a class differ.
fn reason(class: &str) -> &'static str {
    const REASONS: [(&str, &str); 5] = [
        (
            "execve: argument 3",
            "the first call is made by strace and by tracer, of their own memory",
        ),
        ("getdents64: argument 2", "only the first 4 KiB of the buffer are captured"),
        ("rt_sigreturn: another number", "strace reads the mask from the stack"),
        ("poll: behind", "the time that is left"),
        ("futex:", "the program's threads met otherwise"),
    ];
    let known = REASONS.iter().find(|(start, _)| class.starts_with(start));
    match known {
        Some((_, reason)) => reason,
        None if class.contains("alone") => "the program did otherwise in that run",
        None => "not explained",
    }
}

fn row(out: &mut String, name: &str, it: &Comparison) {
    let Comparison { all, same, same_args, left_out, .. } = *it;
    let (is, are) = (share(same, all), share(same_args, all));
    push(
        out,
        format_args!(
            "| {name} | {all} | {same} | {is:.2} % | {same_args} | {are:.2} % | {left_out} |\n"
        ),
    );
}

/// Whether as much is equal as is wanted.
pub(super) fn is_enough(it: &Comparison) -> bool {
    share(it.same, it.all) >= SAME && share(it.same_args, it.all) >= SAME_ARGS
}

/// Fails where less is equal than is wanted, of any program.
pub(super) fn check(comparisons: &[(&str, Comparison)]) -> Result<()> {
    for (name, it) in comparisons {
        ensure!(
            is_enough(it),
            "{name}: {:.2} % are equal in name and result, {:.2} % in all arguments: {SAME} % and \
             {SAME_ARGS} % are wanted",
            share(it.same, it.all),
            share(it.same_args, it.all)
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(theirs: &str, ours: &str) -> Comparison {
        let [first, second] = [(); 2].map(|()| calls::strace(theirs));
        summarize(calls::compare(&first, &second, &calls::strace(ours)))
    }

    #[test]
    fn calls_are_added_up() {
        let it =
            compared("1 a() = 1\n1 b() = 2\n1 c(1) = 3\n", "1 a() = 1\n1 b() = 5\n1 c(2) = 3\n");
        assert_eq!((it.all, it.same, it.same_args), (3, 2, 1));
        assert_eq!(it.classes["b: result"], (1, "b() = 2 / b() = 5".to_owned()));
        assert_eq!(it.classes["c: argument 1"], (1, "1 / 2".to_owned()));
        assert!(!is_enough(&it) && check(&[("x", it)]).is_err());
    }

    #[test]
    fn the_table_has_a_row_for_all() {
        let table = table(&[("x", compared("1 a() = 1\n", "1 a() = 1\n"))], false);
        assert!(table.contains("| all | 1 | 1 | 100.00 % | 1 | 100.00 % | 0 |\n"), "{table}");
    }
}
