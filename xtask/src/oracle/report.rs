//! What came of the programs, for docs/parity.md and for people.

use std::collections::BTreeMap;

use super::Abi;
use super::rules::Class;
use super::tally::{Figures, Group, Key, Tally};
use crate::calls::Part;
use crate::text::{cell, push, share};

/// What stands before the figures.
const HEAD: &str = "
## strace's own test programs

Written by `cargo xtask oracle --write`: the test programs of strace 6.1, built for x86_64 and for
i386 (`-m32`), each run under strace, under tracer, and under strace again, and compared as above.
Variants that make the same calls for other options of strace are left out
(`xtask/src/oracle/left-out.txt`). A program is about the calls that strace's suite looks at in it.
";

/// What stands before the classes.
const CLASSES: &str = "
### What differs

By the rules in `xtask/src/oracle/rules.txt`; a call counts in the worst class of its differences.
`wrong`: tracer prints what is not so. `unclassed`: no rule explains it, which counts as wrong.
`undecoded`: tracer prints less. `form`: the same, written otherwise. `strace`: strace prints less, or
what is not so. `inherent`: both are right, of different runs. A call whose name or result is different
is right by a rule if that is `form`, `strace` or `inherent`. Calls of i386 by `socketcall`, `ipc`, and
the `select` and `mmap` of one structure, are compared under the names of what they stand for, as strace
prints them.
";

/// Groups of differences that the document has of each class.
const GROUPS: usize = 40;

type Tallies = [(Abi, Tally)];

/// The part of docs/parity.md.
pub(super) fn document(tallies: &Tallies) -> String {
    let mut out = HEAD.to_owned();
    out.push_str(
        "
| | programs | calls | same name and result | | and right by a rule | | all arguments too | | something left out |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|
",
    );
    for (abi, tally) in tallies {
        row(&mut out, abi.name(), &tally.all);
        row(&mut out, &format!("{}, calls that a program is about", abi.name()), &tally.about);
    }
    out.push('\n');
    for (abi, tally) in tallies {
        sentences(&mut out, *abi, tally);
    }
    out.push_str(CLASSES);
    let heads: Vec<String> =
        tallies.iter().map(|(abi, _)| format!(" {} | of these, about |", abi.name())).collect();
    push(&mut out, format_args!("\n| class |{}\n", heads.concat()));
    push(&mut out, format_args!("|---|{}\n", "---:|---:|".repeat(tallies.len())));
    for class in Class::ALL {
        let counts = |(_, tally): &(Abi, Tally)| {
            let [all, about] = tally.classes.get(&class).copied().unwrap_or_default();
            format!(" {all} | {about} |")
        };
        let counts: Vec<String> = tallies.iter().map(counts).collect();
        push(&mut out, format_args!("| {class} |{}\n", counts.concat()));
    }
    groups(&mut out, tallies);
    out
}

fn row(out: &mut String, name: &str, figures: &Figures) {
    let Figures { programs, calls, same, right, equal, left_out } = *figures;
    let [is, with, are] = [same, same + right, equal].map(|count| share(count, calls));
    push(
        out,
        format_args!(
            "| {name} | {programs} | {calls} | {same} | {is:.3} % | {right} | {with:.3} % | {equal} | \
             {are:.2} % | {left_out} |\n"
        ),
    );
}

/// What the table does not have.
fn sentences(out: &mut String, abi: Abi, tally: &Tally) {
    let name = abi.name();
    push(
        out,
        format_args!(
            "- {name}: of {} programs with calls that they are about, {} are wholly equal and {} in \
             none of them.\n",
            tally.about.programs, tally.wholly, tally.none
        ),
    );
    let [theirs, ours] = tally.steady;
    push(
        out,
        format_args!(
            "- {name}: where both runs of strace have as many calls, they are {theirs}, and tracer \
             has {ours}.\n"
        ),
    );
    let all = [
        ("another number of calls", &tally.uneven),
        ("another exit status", &tally.statuses),
        ("against the ledger", &tally.imbalances),
        ("did not end in time", &tally.endless),
        ("not compared, for tracer counted losses meanwhile", &tally.lost),
        ("could not be built", &tally.not_built),
    ];
    for (what, list) in all {
        let names = if list.is_empty() { "none".to_owned() } else { list.join("; ") };
        push(out, format_args!("- {name}, {what}: {names}.\n"));
    }
}

/// The groups of all ABIs together, and by ABI how many calls each has.
fn merged(tallies: &Tallies) -> BTreeMap<&Key, Vec<Option<&Group>>> {
    let mut all: BTreeMap<&Key, Vec<Option<&Group>>> = BTreeMap::new();
    for (index, (_, tally)) in tallies.iter().enumerate() {
        for (key, group) in &tally.groups {
            let entry = all.entry(key).or_insert_with(|| vec![None; tallies.len()]);
            if let Some(place) = entry.get_mut(index) {
                *place = Some(group);
            }
        }
    }
    all
}

fn total(groups: &[Option<&Group>]) -> usize {
    groups.iter().flatten().map(|group| group.count).sum()
}

fn groups(out: &mut String, tallies: &Tallies) {
    let merged = merged(tallies);
    for class in Class::ALL {
        let mut of: Vec<_> = merged.iter().filter(|(key, _)| key.class == class).collect();
        if of.is_empty() {
            continue;
        }
        of.sort_by_key(|(_, groups)| std::cmp::Reverse(total(groups)));
        let heads: Vec<String> =
            tallies.iter().map(|(abi, _)| format!(" {} |", abi.name())).collect();
        push(out, format_args!("\n#### {class}\n\n| difference |{}", heads.concat()));
        push(out, format_args!(" why | first example |\n"));
        push(out, format_args!("|---|{}---|---|\n", "---:|".repeat(tallies.len())));
        for (key, groups) in of.iter().take(GROUPS) {
            let counts: Vec<String> = groups
                .iter()
                .map(|group| format!(" {} |", group.map_or(0, |group| group.count)))
                .collect();
            let example = groups.iter().flatten().find_map(|group| group.examples.first());
            let example = example.map(|it| example_text(key, it)).unwrap_or_default();
            push(
                out,
                format_args!(
                    "| {}: {} |{} {} | `{}` |\n",
                    key.call,
                    key.part,
                    counts.concat(),
                    if key.why.is_empty() { "not explained" } else { &key.why },
                    cell(&example)
                ),
            );
        }
        if of.len() > GROUPS {
            let rest: usize = of.iter().skip(GROUPS).map(|(_, groups)| total(groups)).sum();
            push(out, format_args!("\n{} more, {rest} differences.\n", of.len() - GROUPS));
        }
    }
}

fn example_text(key: &Key, (texts, lines): &([String; 2], [String; 2])) -> String {
    match key.part {
        Part::Theirs | Part::Ours => lines.concat(),
        Part::Result | Part::Count => lines.join(" / "),
        _ => texts.join(" / "),
    }
}

/// Every group of differences with two examples, the worst class and the largest first.
pub(super) fn list(tallies: &Tallies) -> String {
    let mut out = String::new();
    for (abi, tally) in tallies {
        push(&mut out, format_args!("{} {}\n", abi.name(), one_line(tally)));
        sentences(&mut out, *abi, tally);
    }
    let merged = merged(tallies);
    let mut all: Vec<_> = merged.iter().collect();
    all.sort_by_key(|(key, groups)| (key.class, std::cmp::Reverse(total(groups))));
    for (key, groups) in all {
        let Key { class, why, call, part } = *key;
        push(&mut out, format_args!("\n== {class}: {call}: {part}: {} x {why}\n", total(groups)));
        for ((abi, _), group) in tallies.iter().zip(groups) {
            let Some(group) = group else { continue };
            let programs: Vec<&str> = group.programs.iter().take(6).map(String::as_str).collect();
            let (name, count, of) = (abi.name(), group.count, group.programs.len());
            push(
                &mut out,
                format_args!("   {name} {count} x in {of} programs: {}\n", programs.join(" ")),
            );
            for (texts, lines) in &group.examples {
                let from = first_difference(&texts[0], &texts[1]);
                for (who, text, line) in
                    [("strace", &texts[0], &lines[0]), ("tracer", &texts[1], &lines[1])]
                {
                    let text = if text == line { String::new() } else { around(text, from) };
                    push(&mut out, format_args!("      {who}  {text}   | {}\n", around(line, 0)));
                }
            }
        }
    }
    out
}

/// How many characters are the same.
fn first_difference(a: &str, b: &str) -> usize {
    a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count()
}

/// A text, of a long one the part around this place.
fn around(text: &str, at: usize) -> String {
    const BEFORE: usize = 60;
    const ALL: usize = 240;
    let start = at.saturating_sub(BEFORE);
    let part: String = text.chars().skip(start).take(ALL).collect();
    let end = if text.chars().count() > start + ALL { "…" } else { "" };
    format!("{}{part}{end}", if start > 0 { "…" } else { "" })
}

fn one_line(tally: &Tally) -> String {
    let Figures { programs, calls, same, right, equal, .. } = tally.all;
    format!(
        "{programs} programs, {calls} calls, {:.3} % same name and result, with what is right by a \
         rule {:.3} %, {:.2} % all arguments, {} wrong or unclassed",
        share(same, calls),
        share(same + right, calls),
        share(equal, calls),
        tally.wrong()
    )
}

/// The last line of the command.
pub(super) fn summary(tallies: &Tallies) -> String {
    let of: Vec<String> =
        tallies.iter().map(|(abi, tally)| format!("{}: {}", abi.name(), one_line(tally))).collect();
    format!("oracle: {}", of.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls;
    use crate::oracle::programs::Program;
    use crate::oracle::rules::Rules;
    use crate::oracle::trace::Run;

    fn tally() -> Tally {
        let [first, second] = [(); 2].map(|()| calls::strace("1 a(7) = 1\n1 b(0x10) = 2\n"));
        let ours = calls::strace("1 a(8) = 1\n1 b(16) = 2\n1 c() = 3\n");
        let comparison = calls::compare(&first, &second, &ours);
        let run = Run::Ended { comparison, statuses: None, imbalances: Vec::new() };
        let mut tally = Tally::default();
        tally.add(&Program::about("a", &[]), run, &Rules::committed().unwrap());
        tally
    }

    #[test]
    fn the_document_has_figures_and_every_class() {
        let text = document(&[(Abi::X86_64, tally()), (Abi::I386, Tally::default())]);
        assert!(
            text.contains("| x86_64 | 1 | 3 | 2 | 66.667 % | 0 | 66.667 % | 0 | 0.00 % | 0 |\n"),
            "{text}"
        );
        assert!(text.contains("| unclassed | 2 | 1 | 0 | 0 |\n"), "{text}");
        assert!(text.contains("| form | 1 | 0 | 0 | 0 |\n"), "{text}");
        assert!(
            text.contains("| c: tracer alone | 1 | 0 | not explained | `c() = 3` |\n"),
            "{text}"
        );
        assert!(text.contains("x86_64, another number of calls: a, thread []: 2 and 3."), "{text}");
    }

    #[test]
    fn the_list_has_both_calls_and_the_summary_a_line() {
        let tallies = [(Abi::X86_64, tally())];
        let text = list(&tallies);
        assert!(text.contains("== unclassed: a: argument 1: 1 x"), "{text}");
        assert!(text.contains("tracer  8   | a(8) = 1"), "{text}");
        let line = summary(&tallies);
        assert!(line.starts_with("oracle: x86_64: 1 programs, 3 calls, 66.667 %"), "{line}");
        assert!(line.ends_with("2 wrong or unclassed") && !line.contains('\n'), "{line}");
    }

    #[test]
    fn of_a_long_text_the_difference_is_printed() {
        let (a, b) = ("é".repeat(300) + "x", "é".repeat(300) + "y");
        assert_eq!(first_difference(&a, &b), 300);
        assert!(around(&a, 300).starts_with('…') && around(&a, 300).ends_with('x'));
        assert!(around(&a, 0).ends_with('…'));
        assert_eq!(around("short", 3), "short");
    }
}
