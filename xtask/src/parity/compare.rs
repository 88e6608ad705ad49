//! Compares the calls of both, thread by thread.

use std::collections::{BTreeMap, BTreeSet};

use similar::{Algorithm, DiffOp, capture_diff_slices};

use super::lines::{Call, Thread};
use super::normal;

/// What came out for one workload.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// Calls that strace has shown.
    pub(super) theirs: usize,
    /// Calls that tracer has shown.
    pub(super) ours: usize,
    /// Equal in name and result.
    pub(super) same: usize,
    /// Of those, equal in all arguments.
    pub(super) same_args: usize,
    /// By class: how many calls, and an example.
    pub(super) classes: BTreeMap<String, (usize, String)>,
}

impl Comparison {
    /// Calls of both, those of one alone counted once.
    pub(super) fn all(&self) -> usize {
        self.theirs + self.ours - self.same
    }

    fn add(&mut self, class: String, example: impl FnOnce() -> String) {
        let entry = self.classes.entry(class).or_insert_with(|| (0, example()));
        entry.0 += 1;
    }
}

/// Compares threads that came to be in the same way.
pub(super) fn threads(theirs: &[Thread], ours: &[Thread]) -> Comparison {
    let mut comparison = Comparison::default();
    let (their_ids, our_ids) = (normal::ids(theirs), normal::ids(ours));
    let paths: BTreeSet<&Vec<usize>> =
        theirs.iter().chain(ours).map(|thread| &thread.path).collect();
    for path in paths {
        let of = |threads: &[Thread]| -> Vec<Call> {
            let thread = threads.iter().find(|thread| thread.path == *path);
            thread.map(|thread| thread.calls.clone()).unwrap_or_default()
        };
        thread(&mut comparison, (&of(theirs), &their_ids), (&of(ours), &our_ids));
    }
    comparison
}

type Side<'a> = (&'a [Call], &'a BTreeSet<String>);

fn thread(comparison: &mut Comparison, theirs: Side<'_>, ours: Side<'_>) {
    let keys = |(calls, ids): Side<'_>| -> Vec<(String, String)> {
        calls.iter().map(|call| (call.name.clone(), normal::result(call, ids))).collect()
    };
    let (their_keys, our_keys) = (keys(theirs), keys(ours));
    comparison.theirs += their_keys.len();
    comparison.ours += our_keys.len();
    for change in capture_diff_slices(Algorithm::Myers, &their_keys, &our_keys) {
        if let DiffOp::Equal { old_index, new_index, len } = change {
            comparison.same += len;
            let pairs = theirs.0.iter().skip(old_index).zip(ours.0.iter().skip(new_index));
            for (their, our) in pairs.take(len) {
                arguments(comparison, (their, theirs.1), (our, ours.1));
            }
            continue;
        }
        for call in theirs.0.get(change.old_range()).unwrap_or_default() {
            comparison
                .add(format!("{}: strace alone, or another result", call.name), || show(call));
        }
        for call in ours.0.get(change.new_range()).unwrap_or_default() {
            comparison
                .add(format!("{}: tracer alone, or another result", call.name), || show(call));
        }
    }
}

fn show(call: &Call) -> String {
    format!("{}({}) = {}", call.name, call.args.join(", "), call.result)
}

fn arguments(
    comparison: &mut Comparison,
    (their, their_ids): (&Call, &BTreeSet<String>),
    (our, our_ids): (&Call, &BTreeSet<String>),
) {
    let theirs = normal::args(their, their_ids);
    let ours = normal::args(our, our_ids);
    // A number may look like an id in one run alone.
    let none = BTreeSet::new();
    let (their_plain, our_plain) = (normal::args(their, &none), normal::args(our, &none));
    let plain: Vec<bool> = their_plain.iter().zip(&our_plain).map(|(a, b)| a == b).collect();
    let is_same =
        |at: usize| theirs.get(at) == ours.get(at) || plain.get(at).copied().unwrap_or_default();
    if theirs.len() == ours.len() && (0..theirs.len()).all(is_same) {
        comparison.same_args += 1;
        return;
    }
    if theirs.len() != ours.len() {
        let class = format!("{}: another number of arguments", our.name);
        return comparison.add(class, || format!("{} / {}", show(their), show(our)));
    }
    let different = theirs.iter().zip(&ours).enumerate().find(|(at, _)| !is_same(*at));
    let Some((index, (a, b))) = different else { return };
    let what = if index + 1 == theirs.len() {
        "behind the result".to_owned()
    } else {
        format!("argument {}", index + 1)
    };
    comparison.add(format!("{}: {what}", our.name), || format!("{a} / {b}"));
}
