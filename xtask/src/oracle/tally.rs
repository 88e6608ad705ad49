//! Adds up what came of the programs of an ABI.

use std::collections::{BTreeMap, BTreeSet};

use super::programs::Program;
use super::rules::{Class, Rules};
use super::trace::Run;
use crate::calls::{Difference, Outcome, Part};

/// Calls.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) programs: usize,
    pub(super) calls: usize,
    /// Equal in name and result.
    pub(super) same: usize,
    /// Not equal in them, but right: by the rules what is different is the form, strace's, or of
    /// different runs.
    pub(super) right: usize,
    /// Of the same, equal in all arguments.
    pub(super) equal: usize,
    /// Calls of which something was left out.
    pub(super) left_out: usize,
}

impl Figures {
    /// Adds a call, and the worst class of what is different in its name and result.
    fn add(&mut self, outcome: &Outcome, identity: Option<Class>) {
        self.left_out += usize::from(outcome.is_left_out);
        // A call that strace itself does not have in each run.
        if !outcome.is_same && outcome.differences.is_empty() {
            return;
        }
        self.calls += 1;
        self.same += usize::from(outcome.is_same);
        self.right += usize::from(identity.is_some_and(Class::is_right));
        self.equal += usize::from(outcome.is_same && outcome.differences.is_empty());
    }
}

/// What differences have in common.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) class: Class,
    pub(super) why: String,
    pub(super) call: String,
    pub(super) part: Part,
}

/// Differences with a key.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) count: usize,
    pub(super) programs: BTreeSet<String>,
    /// At most two: what is different, and both calls.
    pub(super) examples: Vec<([String; 2], [String; 2])>,
}

/// What came of all programs.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) programs: usize,
    pub(super) all: Figures,
    /// Of the calls that a program is about.
    pub(super) about: Figures,
    /// Of these, programs of which every call is equal, and of which none is.
    pub(super) wholly: usize,
    pub(super) none: usize,
    /// Calls by their worst class: all, and those that a program is about.
    pub(super) classes: BTreeMap<Class, [usize; 2]>,
    pub(super) groups: BTreeMap<Key, Group>,
    /// Calls in threads in which two runs of strace have as many: strace's and tracer's.
    pub(super) steady: [usize; 2],
    /// Programs, and what is to be said of them.
    pub(super) uneven: Vec<String>,
    pub(super) statuses: Vec<String>,
    pub(super) imbalances: Vec<String>,
    pub(super) endless: Vec<String>,
    pub(super) lost: Vec<String>,
    pub(super) not_built: Vec<String>,
}

impl Tally {
    /// Adds a program, and returns its figures in words.
    pub(super) fn add(&mut self, program: &Program, run: Run, rules: &Rules) -> String {
        let name = &program.name;
        let (comparison, statuses, imbalances) = match run {
            Run::Endless(under) => {
                self.endless.push(format!("{name} under {under}"));
                return format!("did not end under {under}");
            }
            Run::Lost(what) => {
                self.lost.push(format!("{name}: {what}"));
                return format!("not compared, for tracer has lost calls: {what}");
            }
            Run::Ended { comparison, statuses, imbalances } => (comparison, statuses, imbalances),
        };
        self.programs += 1;
        self.all.programs += 1;
        self.steady[0] += comparison.steady[0];
        self.steady[1] += comparison.steady[1];
        self.uneven.extend(comparison.uneven.iter().map(|it| format!("{name}, {it}")));
        self.statuses.extend(
            statuses.map(|[theirs, ours]| {
                format!("{name}: {theirs} under strace, {ours} under tracer")
            }),
        );
        self.imbalances.extend(imbalances.iter().map(|it| format!("{name}: {it}")));
        let mut about = Figures::default();
        let mut bad = 0;
        for outcome in &comparison.outcomes {
            let is_about = program.is_about(&outcome.call);
            let classes = self.classify(name, outcome, rules);
            let of_identity = outcome.differences.iter().zip(&classes);
            let of_identity = of_identity.filter(|(it, _)| it.part.is_identity());
            let identity = of_identity.map(|(_, class)| *class).min();
            self.all.add(outcome, identity);
            if is_about {
                about.add(outcome, identity);
            }
            if let Some(worst) = classes.into_iter().min() {
                bad += usize::from(worst <= Class::Wrong);
                let entry = self.classes.entry(worst).or_default();
                entry[0] += 1;
                entry[1] += usize::from(is_about);
            }
        }
        self.add_about(about);
        let calls = comparison.outcomes.len();
        let equal =
            comparison.outcomes.iter().filter(|it| it.is_same && it.differences.is_empty()).count();
        format!("{calls} calls, {equal} equal, {bad} wrong or unclassed")
    }

    fn add_about(&mut self, about: Figures) {
        if about.calls == 0 {
            return;
        }
        self.about.programs += 1;
        self.about.calls += about.calls;
        self.about.same += about.same;
        self.about.right += about.right;
        self.about.equal += about.equal;
        self.about.left_out += about.left_out;
        self.wholly += usize::from(about.equal == about.calls);
        self.none += usize::from(about.equal == 0);
    }

    /// Adds the differences of a call to their groups, and returns their classes.
    fn classify(&mut self, program: &str, outcome: &Outcome, rules: &Rules) -> Vec<Class> {
        let class = |it: &Difference| {
            let (class, why) = rules.classify(program, it);
            let group = self
                .groups
                .entry(Key { class, why: why.to_owned(), call: it.call.clone(), part: it.part })
                .or_default();
            group.count += 1;
            if group.examples.len() < 2 {
                group.examples.push(([it.theirs.clone(), it.ours.clone()], it.lines.clone()));
            }
            if !group.programs.contains(program) {
                group.programs.insert(program.to_owned());
            }
            class
        };
        outcome.differences.iter().map(class).collect()
    }

    /// Calls that are different in what no rule explains, or is known to be wrong.
    pub(super) fn wrong(&self) -> usize {
        let count = |class| self.classes.get(&class).map_or(0, |counts| counts[0]);
        count(Class::Unclassed) + count(Class::Wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls;

    fn ended(theirs: &str, ours: &str) -> Run {
        let [first, second] = [(); 2].map(|()| calls::strace(theirs));
        let comparison = calls::compare(&first, &second, &calls::strace(ours));
        Run::Ended { comparison, statuses: None, imbalances: Vec::new() }
    }

    #[test]
    fn a_call_counts_once_in_its_worst_class() {
        let rules = Rules::committed().unwrap();
        let mut tally = Tally::default();
        let program = Program::about("stat", &[]);
        let theirs = "1 stat(1, 0x10, 5) = 0\n1 open() = 3\n1 stat(2, 9) = 0\n";
        let ours = "1 stat(1, 16, @) = 0\n1 open() = 3\n1 stat(2, 9) = 0\n";
        tally.add(&program, ended(theirs, ours), &rules);
        assert_eq!((tally.all.calls, tally.all.same, tally.all.equal), (3, 3, 2));
        assert_eq!((tally.about.programs, tally.about.calls, tally.about.equal), (1, 2, 1));
        assert_eq!((tally.wholly, tally.none, tally.wrong()), (0, 0, 1));
        assert_eq!(tally.classes, BTreeMap::from([(Class::Unclassed, [1, 1])]));
        let classes: Vec<Class> = tally.groups.keys().map(|key| key.class).collect();
        assert_eq!(classes, [Class::Unclassed, Class::Form]);
    }

    #[test]
    fn calls_that_are_missing_are_counted() {
        let mut tally = Tally::default();
        let two = "1 getpid() = 5\n1 getuid() = 6\n";
        let run = ended(two, "1 getpid() = 5\n");
        tally.add(&Program::about("x", &["getpid"]), run, &Rules::committed().unwrap());
        assert_eq!((tally.steady, tally.uneven.len(), tally.wrong()), ([2, 1], 1, 1));
        assert_eq!(tally.wholly, 1, "the program is not about the other");
        assert_eq!((tally.all.calls, tally.all.same, tally.all.right), (2, 1, 0));
        let run = ended("1 personality(1) = 0x10\n", "1 personality(1) = 16\n");
        tally.add(&Program::about("z", &[]), run, &Rules::committed().unwrap());
        assert_eq!((tally.all.calls, tally.all.same, tally.all.right), (3, 1, 1));
        let endless = Run::Endless("strace");
        tally.add(&Program::about("y", &[]), endless, &Rules::committed().unwrap());
        assert_eq!((tally.programs, tally.endless.len()), (2, 1));
    }
}
