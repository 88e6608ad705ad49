//! Compares what tracer printed with what strace printed, in the measure of two runs of strace.

use std::collections::BTreeSet;
use std::fmt;

use super::align::{self, Place};
use super::call::Call;
use super::lines::Thread;
use super::pairs::{Kind, Pairs};
use super::tokens::{Token, tokens};

/// What of a call is different.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// Of the arguments, from 1 on.
    Argument(usize),
    /// How many arguments there are.
    Count,
    Result,
    /// What stands behind the result.
    Note,
    Name,
    /// strace alone has the call.
    Theirs,
    /// tracer alone has the call.
    Ours,
}

impl Part {
    /// Whether it says which call it is, and how it ended.
    pub(crate) fn is_identity(self) -> bool {
        matches!(self, Self::Name | Self::Result | Self::Theirs | Self::Ours)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argument(number) => write!(f, "argument {number}"),
            Self::Count => f.write_str("number of arguments"),
            Self::Result => f.write_str("result"),
            Self::Note => f.write_str("behind the result"),
            Self::Name => f.write_str("name"),
            Self::Theirs => f.write_str("strace alone"),
            Self::Ours => f.write_str("tracer alone"),
        }
    }
}

/// A difference.
#[derive(Debug)]
pub(crate) struct Difference {
    pub(crate) call: String,
    pub(crate) part: Part,
    pub(crate) theirs: String,
    pub(crate) ours: String,
    /// Both whole calls, as far as they are there.
    pub(crate) lines: [String; 2],
}

/// What came out for a call of either.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) call: String,
    /// Whether both have it, with the same name and result.
    pub(crate) is_same: bool,
    /// Whether something was left out that two runs of strace print differently.
    pub(crate) is_left_out: bool,
    pub(crate) differences: Vec<Difference>,
}

/// What came out for a program.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    pub(crate) outcomes: Vec<Outcome>,
    /// Calls in the threads in which both runs of strace have as many: strace's and tracer's.
    pub(crate) steady: [usize; 2],
    /// Threads of these in which tracer has more or fewer, in words.
    pub(crate) uneven: Vec<String>,
}

/// Compares threads that came to be in the same way: two runs of strace and one of tracer.
pub(crate) fn compare(first: &[Thread], second: &[Thread], ours: &[Thread]) -> Comparison {
    let mut runs = Runs::default();
    let find = |threads: &'_ [Thread], path: &[usize]| {
        threads.iter().position(|thread| thread.path == *path)
    };
    for thread in first {
        let id = thread.id.to_string();
        for (others, pairs) in [(second, &mut runs.second), (ours, &mut runs.ours)] {
            if let Some(other) = find(others, &thread.path).and_then(|at| others.get(at)) {
                pairs.agree(Kind::Pid, &id, &other.id.to_string());
            }
        }
    }
    let mut comparison = Comparison::default();
    let all = [first, second, ours];
    let paths: BTreeSet<&Vec<usize>> =
        first.iter().chain(ours).map(|thread| &thread.path).collect();
    for path in paths {
        let calls = all.map(|threads| {
            find(threads, path)
                .and_then(|at| threads.get(at))
                .map_or(&[][..], |thread| thread.calls.as_slice())
        });
        count(&mut comparison, path, calls);
        runs.thread(&mut comparison, calls);
    }
    comparison
}

/// Counts the calls of a thread.
fn count(comparison: &mut Comparison, path: &[usize], [first, second, ours]: [&[Call]; 3]) {
    if first.len() != second.len() {
        return;
    }
    comparison.steady[0] += first.len();
    comparison.steady[1] += ours.len();
    if first.len() != ours.len() {
        let thread = path.iter().map(ToString::to_string).collect::<Vec<_>>().join(".");
        comparison.uneven.push(format!("thread [{thread}]: {} and {}", first.len(), ours.len()));
    }
}

/// What is known of the numbers of the three runs.
#[derive(Default)]
struct Runs {
    /// Of the first run and the second.
    second: Pairs,
    /// Of the first run and tracer's.
    ours: Pairs,
}

/// What a text is to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Same,
    /// The same, apart from what two runs of strace print differently.
    LeftOut,
    Different,
}

impl Runs {
    fn thread(&mut self, comparison: &mut Comparison, [first, second, ours]: [&[Call]; 3]) {
        let mut seconds = vec![None; first.len()];
        let mut unsteady = BTreeSet::new();
        for place in align::align(first, second) {
            match place {
                Place { theirs: Some(at), ours: Some(other) } => {
                    if let Some(entry) = seconds.get_mut(at) {
                        *entry = second.get(other);
                    }
                }
                Place { theirs: Some(at), .. } => unsteady.extend(first.get(at).map(|it| &it.name)),
                Place { ours: Some(at), .. } => unsteady.extend(second.get(at).map(|it| &it.name)),
                Place { theirs: None, ours: None } => {}
            }
        }
        for place in align::align(first, ours) {
            let their = place.theirs.and_then(|at| first.get(at));
            let our = place.ours.and_then(|at| ours.get(at));
            comparison.outcomes.extend(match (their, our) {
                (Some(their), Some(our)) => {
                    let second = place.theirs.and_then(|at| seconds.get(at).copied().flatten());
                    Some(self.call(their, second, our))
                }
                (Some(call), None) => {
                    Some(alone(call, Part::Theirs, unsteady.contains(&call.name)))
                }
                (None, Some(call)) => Some(alone(call, Part::Ours, unsteady.contains(&call.name))),
                (None, None) => None,
            });
        }
    }

    /// Compares a call with itself in the other runs.
    fn call(&mut self, first: &Call, second: Option<&Call>, ours: &Call) -> Outcome {
        let mut outcome = Outcome {
            call: ours.name.clone(),
            is_same: true,
            is_left_out: second.is_none(),
            differences: Vec::new(),
        };
        let texts = parts(first, ours);
        let seconds = second.map(|second| parts(second, second)).unwrap_or_default();
        for (part, theirs, our) in texts {
            let second = seconds.iter().find(|it| it.0 == part).map(|it| it.1.as_str());
            let what = What { call: &first.name, part };
            match self.text(&what, &theirs, second, &our) {
                Verdict::Same => {}
                Verdict::LeftOut => outcome.is_left_out = true,
                Verdict::Different => {
                    outcome.is_same &= !matches!(part, Part::Name | Part::Result);
                    let lines = [first.show(), ours.show()];
                    let call = first.name.clone();
                    outcome.differences.push(Difference { call, part, theirs, ours: our, lines });
                }
            }
        }
        // Where strace has the call in one of its runs alone, nothing can be measured.
        if second.is_none() {
            outcome.differences.clear();
        }
        outcome
    }

    fn text(&mut self, what: &What<'_>, first: &str, second: Option<&str>, ours: &str) -> Verdict {
        if first == ours && second.is_none_or(|second| second == first) {
            return Verdict::Same;
        }
        let (theirs, ours) = (tokens(first), tokens(ours));
        let second = second.map(tokens);
        let measured = second.as_ref().filter(|second| second.len() == theirs.len());
        if theirs.len() != ours.len() {
            let is_steady = second.as_ref().is_none_or(|second| second.len() == theirs.len());
            return if is_steady { Verdict::Different } else { Verdict::LeftOut };
        }
        let mut verdict = Verdict::Same;
        for (at, (their, our)) in theirs.iter().zip(&ours).enumerate() {
            let second = measured.and_then(|second| second.get(at)).unwrap_or(their);
            let kind = self.kind(what, theirs.get(..at).unwrap_or_default(), their);
            match self.token(kind, their, second, our) {
                Verdict::Same => {}
                Verdict::LeftOut => verdict = Verdict::LeftOut,
                Verdict::Different => return Verdict::Different,
            }
        }
        verdict
    }

    fn token(
        &mut self,
        kind: Option<Kind>,
        first: &Token,
        second: &Token,
        ours: &Token,
    ) -> Verdict {
        if first == second {
            return if first == ours { Verdict::Same } else { Verdict::Different };
        }
        match (first, second, ours) {
            (Token::Number(first), Token::Number(second), Token::Number(ours)) => {
                let Some(kind) = kind else { return Verdict::LeftOut };
                if !self.second.agree(kind, first, second) {
                    return Verdict::LeftOut;
                }
                if self.ours.agree(kind, first, ours) { Verdict::Same } else { Verdict::Different }
            }
            (Token::Bytes(first), Token::Bytes(second), Token::Bytes(ours)) => {
                bytes(first, second, ours)
            }
            (Token::Word(_), Token::Word(_), Token::Word(_))
            | (Token::Sign(_), Token::Sign(_), Token::Sign(_)) => Verdict::LeftOut,
            _ => Verdict::Different,
        }
    }

    /// What a number is a number of, by what stands before it.
    fn kind(&self, what: &What<'_>, before: &[Token], token: &Token) -> Option<Kind> {
        const PIDS: [&str; 6] = ["getpid", "gettid", "getppid", "getpgrp", "getpgid", "getsid"];
        let Token::Number(number) = token else { return None };
        match before {
            [.., Token::Sign(':'), Token::Sign('[')] => return Some(Kind::Inode),
            [.., Token::Word(word), Token::Sign('=')] if word.ends_with("ino") => {
                return Some(Kind::Inode);
            }
            [.., Token::Word(word), Token::Sign('(')] if word == "htons" => {
                return Some(Kind::Port);
            }
            [.., Token::Word(word), Token::Sign('=')] if word.ends_with("pid") => {
                return Some(Kind::Pid);
            }
            _ => {}
        }
        let is_pid = self.second.knows(Kind::Pid, number)
            || (what.part == Part::Result && PIDS.contains(&what.call));
        is_pid.then_some(Kind::Pid)
    }
}

/// Where a text stands.
struct What<'a> {
    call: &'a str,
    part: Part,
}

/// Strings that are not the same in two runs: where most of their bytes are, those must be.
fn bytes(first: &[u8], second: &[u8], ours: &[u8]) -> Verdict {
    let same = first.iter().zip(second).filter(|(a, b)| a == b).count();
    if first.len() != second.len() || same * 2 < first.len() {
        return Verdict::LeftOut;
    }
    let is_like = |((first, second), ours): ((&u8, &u8), &u8)| first != second || first == ours;
    let is_same = ours.len() == first.len() && first.iter().zip(second).zip(ours).all(is_like);
    if is_same { Verdict::LeftOut } else { Verdict::Different }
}

fn alone(call: &Call, part: Part, is_unsteady: bool) -> Outcome {
    let lines = match part {
        Part::Ours => [String::new(), call.show()],
        _ => [call.show(), String::new()],
    };
    let [theirs, ours] = lines.clone();
    let difference = Difference { call: call.name.clone(), part, theirs, ours, lines };
    Outcome {
        call: call.name.clone(),
        is_same: false,
        is_left_out: is_unsteady,
        differences: if is_unsteady { Vec::new() } else { vec![difference] },
    }
}

/// The texts of both, part by part.
fn parts(theirs: &Call, ours: &Call) -> Vec<(Part, String, String)> {
    if theirs.name != ours.name {
        return vec![(Part::Name, theirs.name.clone(), ours.name.clone())];
    }
    let (their_result, their_note) = result(&theirs.result);
    let (our_result, our_note) = result(&ours.result);
    let mut parts = vec![(Part::Result, their_result, our_result)];
    if theirs.args.len() == ours.args.len() {
        let pairs = theirs.args.iter().zip(&ours.args).enumerate();
        parts.extend(pairs.map(|(at, (a, b))| (Part::Argument(at + 1), a.clone(), b.clone())));
    } else {
        parts.push((Part::Count, theirs.args.join(", "), ours.args.join(", ")));
    }
    parts.push((Part::Note, their_note, our_note));
    parts
}

/// The result, and what stands behind it. The description of an error is the C library's.
fn result(text: &str) -> (String, String) {
    match text.split_once(" (") {
        Some((result, _)) if result.starts_with("-1 ") || result.starts_with("? ") => {
            (result.to_owned(), String::new())
        }
        Some((result, note)) => (result.to_owned(), format!("({note}")),
        None => (text.to_owned(), String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::lines::strace;
    use super::*;

    /// Compares calls of one thread, with the ids 10, 20 and 30 in the three runs.
    fn compared(first: &str, second: &str, ours: &str) -> Comparison {
        let threads = |id: u32, text: &str| {
            let lines: Vec<String> = text.lines().map(|line| format!("{id} {line}")).collect();
            strace(&lines.join("\n"))
        };
        compare(&threads(10, first), &threads(20, second), &threads(30, ours))
    }

    /// Parts that differ, and how many calls have something left out.
    fn differences(first: &str, second: &str, ours: &str) -> (Vec<Part>, usize) {
        let comparison = compared(first, second, ours);
        let all = comparison.outcomes.iter().flat_map(|it| &it.differences);
        let left_out = comparison.outcomes.iter().filter(|it| it.is_left_out).count();
        (all.map(|it| it.part).collect(), left_out)
    }

    #[test]
    fn addresses_are_compared() {
        let is = "brk(0x55555555a000) = 0x55555555a000";
        assert_eq!(differences(is, is, is), (vec![], 0));
        let other = "brk(0x55555555a001) = 0x55555555a000";
        assert_eq!(differences(is, is, other), (vec![Part::Argument(1)], 0));
        let other = "brk(0x55555555a000) = 0x55555555b000";
        assert_eq!(differences(is, is, other), (vec![Part::Result], 0));
    }

    #[test]
    fn what_varies_is_left_out_where_it_varies() {
        let line = |time: u32, size: u32| format!("f({{st_size={size}, t={time}}}) = 0");
        assert_eq!(differences(&line(1, 5), &line(2, 5), &line(3, 5)), (vec![], 1));
        let wrong = differences(&line(1, 5), &line(2, 5), &line(3, 6));
        assert_eq!(wrong, (vec![Part::Argument(1)], 0));
        let none = differences(&line(1, 5), &line(2, 5), "f(0x1) = 0");
        assert_eq!(none, (vec![Part::Argument(1)], 0));
    }

    #[test]
    fn numbers_that_vary_correspond() {
        let stat = |inode: u32, again: u32| {
            format!("stat({{st_ino={inode}}}) = 0\nstat({{st_ino={again}}}) = 0")
        };
        assert_eq!(differences(&stat(1, 1), &stat(2, 2), &stat(3, 3)), (vec![], 0));
        let wrong = differences(&stat(1, 1), &stat(2, 2), &stat(3, 4));
        assert_eq!(wrong, (vec![Part::Argument(1)], 0));
        let port = |port: u32| format!("bind({{sin_port=htons({port})}}) = 0");
        assert_eq!(differences(&port(80), &port(80), &port(81)), (vec![Part::Argument(1)], 0));
    }

    #[test]
    fn ids_are_those_of_the_threads() {
        let line = |id: u32| format!("kill({id}, SIGTERM) = 0\ngetpid() = {id}");
        assert_eq!(differences(&line(10), &line(20), &line(30)), (vec![], 0));
        let wrong = differences(&line(10), &line(20), &line(31));
        assert_eq!(wrong, (vec![Part::Argument(1), Part::Result], 0));
    }

    #[test]
    fn strings_are_compared_where_they_are_steady() {
        let line = |id: &str| format!("write(1, \"kill({id}, 0) = -1\") = 5");
        assert_eq!(differences(&line("10"), &line("20"), &line("30")), (vec![], 1));
        let wrong = differences(&line("10"), &line("20"), "write(1, \"kill(30, 1) = -1\") = 5");
        assert_eq!(wrong, (vec![Part::Argument(2)], 0));
        let random = |text: &str| format!("getrandom(\"{text}\") = 4");
        assert_eq!(differences(&random("abcd"), &random("xbyz"), &random("qrst")), (vec![], 1));
    }

    #[test]
    fn what_one_has_alone_is_a_difference() {
        let two = "a() = 1\nb() = 2";
        assert_eq!(differences(two, two, "a() = 1"), (vec![Part::Theirs], 0));
        let comparison = compared(two, two, "a() = 1\nb() = 2\nc() = 3");
        assert_eq!(comparison.outcomes[2].differences[0].part, Part::Ours);
        assert_eq!((comparison.steady, comparison.uneven.len()), ([2, 3], 1));
        // strace itself had it once.
        assert_eq!(differences(two, "a() = 1", "a() = 1"), (vec![], 1));
        assert_eq!(differences("a() = 1", two, two), (vec![], 1));
    }

    #[test]
    fn results_with_a_description_and_notes() {
        let a = "open(\"a\") = -1 ENOENT (No such file)";
        let b = "open(\"a\") = -1 ENOENT (other words)";
        assert_eq!(differences(a, a, b), (vec![], 0));
        let a = "poll([]) = 0 (Timeout)";
        assert_eq!(differences(a, a, "poll([]) = 0"), (vec![Part::Note], 0));
        assert_eq!(differences("a() = 1", "a() = 1", "b() = 1"), (vec![Part::Name], 0));
        assert_eq!(differences("a() = 1", "a() = 1", "a(1) = 1"), (vec![Part::Count], 0));
    }
}
