//! The table of what is equal.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use super::compare::Comparison;
use crate::text::push;

/// What is wanted, in per cent.
const SAME: f64 = 99.0;
const SAME_ARGS: f64 = 95.0;

/// What stands before the tables.
pub(super) const HEAD: &str = "\
# Parity with strace

Written by `cargo xtask parity --write`. Each program runs under `strace -f` and under
`tracer trace`; the calls of each thread are aligned, and what differs in every run (addresses, ids,
times, random values: `xtask/src/parity/normal.rs`) is made equal first. Percentages are of all calls
that either has shown. A program whose threads met otherwise is compared again, up to three times.
";

/// A table in Markdown.
pub(super) fn table(comparisons: &[(&str, Comparison)], names: bool) -> String {
    let mut out = if names {
        "\n## With what descriptors lead to\n\nBoth with `-y`; the numbers of inodes of pipes and \
         sockets are made equal.\n\n"
    } else {
        "\n"
    }
    .to_owned();
    out.push_str(
        "\
| program | calls | same name and result | | all arguments too | |
|---|---:|---:|---:|---:|---:|
",
    );
    let mut total = Comparison::default();
    let mut classes: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    for (name, it) in comparisons {
        row(&mut out, name, it);
        total.theirs += it.theirs;
        total.ours += it.ours;
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
        let example: String =
            example.replace('|', "\\|").replace('`', "'").chars().take(300).collect();
        push(&mut out, format_args!("| {class} | {count} | {} | `{example}` |\n", reason(class)));
    }
    out
}

/// Why calls of a class differ.
fn reason(class: &str) -> &'static str {
    const REASONS: [(&str, &str); 11] = [
        ("getdents64: argument 2", "only the first 4 KiB of the buffer are captured"),
        ("rt_sigreturn: another number", "strace reads the mask from the stack"),
        ("getsockname: argument 2", "a port that the kernel chooses"),
        ("getpeername: argument 2", "a port that the kernel chooses"),
        ("poll: argument 3", "the time that is left"),
        ("write: argument 2", "random or dated data of the program"),
        ("pwrite64: argument 2", "random or dated data of the program"),
        ("read: argument 2", "random or dated data of the program"),
        ("pread64: argument 2", "random or dated data of the program"),
        ("sendto: argument 2", "random or dated data of the program"),
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
    push(
        out,
        format_args!(
            "| {name} | {} | {} | {:.2} % | {} | {:.2} % |\n",
            it.all(),
            it.same,
            share(it.same, it.all()),
            it.same_args,
            share(it.same_args, it.all())
        ),
    );
}

/// Whether as much is equal as is wanted.
pub(super) fn is_enough(it: &Comparison) -> bool {
    share(it.same, it.all()) >= SAME && share(it.same_args, it.all()) >= SAME_ARGS
}

/// Fails where less is equal than is wanted, of any program.
pub(super) fn check(comparisons: &[(&str, Comparison)]) -> Result<()> {
    for (name, it) in comparisons {
        ensure!(
            is_enough(it),
            "{name}: {:.2} % are equal in name and result, {:.2} % in all arguments: {SAME} % and \
             {SAME_ARGS} % are wanted",
            share(it.same, it.all()),
            share(it.same_args, it.all())
        );
    }
    Ok(())
}

/// Per cent.
#[expect(clippy::cast_precision_loss, reason = "counts of calls are far below 2^52")]
fn share(part: usize, all: usize) -> f64 {
    if all == 0 { 0.0 } else { part as f64 * 100.0 / all as f64 }
}
