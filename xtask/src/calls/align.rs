//! Which call of one list is which of another.

use std::collections::HashMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use similar::{Algorithm, DiffOp, capture_diff_slices_deadline};

use super::call::Call;

/// The positions of a call in both lists; of one that is in one list alone, only that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) theirs: Option<usize>,
    pub(super) ours: Option<usize>,
}

/// For how long the best of all alignments is looked for.
const LIMIT: Duration = Duration::from_millis(500);

/// Puts the calls beside each other, in their order.
///
/// Calls that are equal in everything hold the lists together; between them those that are equal
/// in name and result, then those that are equal in name. What is left and as long on both sides is
/// the same calls under other names.
pub(super) fn align(theirs: &[Call], ours: &[Call]) -> Vec<Place> {
    // As many, in the same order: no search is needed, which is slow where little is equal.
    let is_like = |(a, b): (&Call, &Call)| a.name == b.name || a.result == b.result;
    if theirs.len() == ours.len() && theirs.iter().zip(ours).all(is_like) {
        return pairs(0..theirs.len(), 0..ours.len());
    }
    let keys: [fn(&Call) -> String; 3] =
        [Call::show, |call| format!("{} {}", call.name, call.result), |call| call.name.clone()];
    let levels = keys.map(|key| numbers(theirs, ours, key));
    let mut places = Vec::new();
    let deadline = Instant::now() + LIMIT;
    between(&levels, deadline, 0..theirs.len(), 0..ours.len(), &mut places);
    places
}

/// Calls by numbers that are equal where their keys are.
fn numbers(theirs: &[Call], ours: &[Call], key: impl Fn(&Call) -> String) -> [Vec<usize>; 2] {
    let mut known = HashMap::new();
    [theirs, ours].map(|calls| {
        let number = |call| {
            let next = known.len();
            *known.entry(key(call)).or_insert(next)
        };
        calls.iter().map(number).collect()
    })
}

/// Aligns by the first level, and what is unequal by the next.
fn between(
    levels: &[[Vec<usize>; 2]],
    deadline: Instant,
    theirs: Range<usize>,
    ours: Range<usize>,
    places: &mut Vec<Place>,
) {
    let Some(([their_keys, our_keys], rest)) = levels.split_first() else {
        return places.extend(leftovers(theirs, ours));
    };
    let their_keys = their_keys.get(theirs.clone()).unwrap_or_default();
    let our_keys = our_keys.get(ours.clone()).unwrap_or_default();
    let (mut their_start, mut our_start) = (theirs.start, ours.start);
    let changes =
        capture_diff_slices_deadline(Algorithm::Myers, their_keys, our_keys, Some(deadline));
    for change in changes {
        // What is between two that are equal goes to the next level, whatever the change.
        if let DiffOp::Equal { old_index, new_index, len } = change {
            let (old, new) = (theirs.start + old_index, ours.start + new_index);
            close(rest, deadline, their_start..old, our_start..new, places);
            (their_start, our_start) = (old + len, new + len);
            places.extend(pairs(old..their_start, new..our_start));
        }
    }
    close(rest, deadline, their_start..theirs.end, our_start..ours.end, places);
}

/// Aligns what is between two equal calls.
fn close(
    levels: &[[Vec<usize>; 2]],
    deadline: Instant,
    theirs: Range<usize>,
    ours: Range<usize>,
    places: &mut Vec<Place>,
) {
    if theirs.is_empty() || ours.is_empty() {
        places.extend(leftovers(theirs, ours));
    } else {
        between(levels, deadline, theirs, ours, places);
    }
}

fn pairs(theirs: Range<usize>, ours: Range<usize>) -> Vec<Place> {
    theirs.zip(ours).map(|(a, b)| Place { theirs: Some(a), ours: Some(b) }).collect()
}

fn leftovers(theirs: Range<usize>, ours: Range<usize>) -> Vec<Place> {
    if theirs.len() == ours.len() {
        return pairs(theirs, ours);
    }
    let lone = |it| Place { theirs: Some(it), ours: None };
    let extra = |it| Place { theirs: None, ours: Some(it) };
    theirs.map(lone).chain(ours.map(extra)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(text: &str) -> Vec<Call> {
        text.split(' ').map(|it| Call::parse(&it.replace('=', " = ")).unwrap()).collect()
    }

    fn shown(theirs: &str, ours: &str) -> Vec<(Option<usize>, Option<usize>)> {
        align(&calls(theirs), &calls(ours)).iter().map(|it| (it.theirs, it.ours)).collect()
    }

    #[test]
    fn a_call_that_is_lost_is_that_call() {
        let all = "read(1)=1 read(2)=1 read(3)=1 read(4)=1";
        let pairs = shown(all, "read(1)=1 read(2)=1 read(4)=1");
        assert_eq!(
            pairs,
            [(Some(0), Some(0)), (Some(1), Some(1)), (Some(2), None), (Some(3), Some(2))]
        );
        assert_eq!(shown("a()=1", "a()=1 b()=2")[1], (None, Some(1)));
    }

    #[test]
    fn calls_with_other_arguments_results_and_names_are_pairs() {
        let pairs =
            shown("a(1)=1 b(1)=2 c()=3 socket(1)=4 d()=5", "a(2)=1 b(1)=3 c()=3 call(9)=4 d()=5");
        assert!(pairs.iter().all(|(a, b)| a == b && a.is_some()), "{pairs:?}");
        assert_eq!(pairs.len(), 5);
    }

    #[test]
    fn every_call_has_one_place() {
        let lists = ["a()=1 b()=1 a()=2 c()=1", "c()=1 a()=1 b()=2", "x()=1", "a()=1 a()=1 a()=1"];
        for theirs in lists {
            for ours in lists {
                let places = shown(theirs, ours);
                let count = |list: &str| (0..list.split(' ').count()).collect::<Vec<_>>();
                let mut a: Vec<_> = places.iter().filter_map(|it| it.0).collect();
                let mut b: Vec<_> = places.iter().filter_map(|it| it.1).collect();
                a.sort_unstable();
                b.sort_unstable();
                assert_eq!((a, b), (count(theirs), count(ours)));
            }
        }
    }
}
