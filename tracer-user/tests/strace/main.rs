//! Every decoder against strace: the same calls with the same memory, the same text.
//!
//! A program makes calls that strace lets do nothing (`--inject`), so that any call can be made with
//! any arguments, and shows what it would of each. The calls are made from the syscall table: every
//! constant of every set, every structure with several contents, on both ABIs.
#![cfg(target_arch = "x86_64")]
#![expect(
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::format_push_string,
    reason = "tests: they say what they skip and what differs, and fail with the reason"
)]

mod cases;
mod compose;
mod known;
mod run;

use std::collections::{BTreeMap, BTreeSet};

use tracer_common::{event::Abi, syscalls};

use self::cases::Case;

/// Compares all cases of an ABI; one line for each difference that is not known.
fn compare(abi: Abi) {
    let cases = cases::all(abi);
    let Some(lines) = run::strace(&cases) else { return };
    let mut names = BTreeSet::new();
    for (case, line) in cases.iter().zip(&lines) {
        let call = syscalls::lookup(abi, case.nr).unwrap();
        let (name, _) = run::split(line);
        if name != call.name && !known::has_other_name(call.name, name) {
            names.insert(format!("{} is {name}", call.name));
        }
    }
    assert!(names.is_empty(), "strace has other names: {names:?}");
    assert_eq!(lines.len(), cases.len(), "strace shows every call once");
    let mut compared = 0_usize;
    let mut excused: BTreeMap<&str, usize> = BTreeMap::new();
    let mut differences = Vec::new();
    let mut shown = BTreeSet::new();
    let mut otherwise = BTreeSet::new();
    for (case, line) in cases.iter().zip(&lines) {
        let call = syscalls::lookup(abi, case.nr).unwrap();
        let (_, theirs) = run::split(line);
        let before = compared;
        let differing = differing(case, call, &theirs, &mut compared);
        if compared - before > differing.len() {
            shown.insert(call.name);
        }
        for difference in differing {
            match known::reason(
                call.name,
                difference.argument,
                &difference.ours,
                &difference.theirs,
            ) {
                Some(reason) => {
                    *excused.entry(reason).or_default() += 1;
                    if known::is_about_all(reason) {
                        otherwise.insert(call.name);
                    }
                }
                None => differences.push(difference.text),
            }
        }
    }
    eprintln!("{}: {} calls, {compared} arguments compared", abi.name(), cases.len());
    for (reason, count) in &excused {
        eprintln!("{}: {count} differ: {reason}", abi.name());
    }
    let shown = shown.difference(&otherwise).count();
    eprintln!(
        "{}: all text compared of {shown} calls is strace's; {} others differ in an argument",
        abi.name(),
        otherwise.len()
    );
    let count = differences.len();
    differences.truncate(600);
    assert!(count == 0, "{count} differences:\n{}", differences.join("\n"));
    assert!(compared > 10_000, "only {compared} arguments were compared");
    assert!(shown >= 250, "only {shown} calls have all their text as strace has it");
}

/// A text that is not strace's.
struct Difference {
    argument: &'static str,
    ours: String,
    theirs: String,
    text: String,
}

fn differing(
    case: &Case,
    call: &'static syscalls::Syscall,
    theirs: &[String],
    compared: &mut usize,
) -> Vec<Difference> {
    let mut found = Vec::new();
    for (index, theirs) in theirs.iter().enumerate() {
        let Some(arg) = call.args.get(index) else { break };
        let Some(ours) = compose::argument(case, call, index, arg.kind) else { continue };
        *compared += 1;
        if ours != *theirs {
            let text = format!("{}, {}:\n  ours   {ours}\n  strace {theirs}", call.name, arg.name);
            found.push(Difference { argument: arg.name, ours, theirs: theirs.clone(), text });
        }
    }
    found
}

#[test]
fn x86_64_reads_like_strace() {
    compare(Abi::X86_64);
}

#[test]
fn i386_reads_like_strace() {
    compare(Abi::I386);
}
