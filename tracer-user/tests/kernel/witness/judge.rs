//! The comparison of what the witness has seen with what a tracer has written.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Books, Call, Process, Run, Scope, Seen, Undecided, undecided};

pub(super) struct Judge<'a> {
    pub(super) run: &'a Run,
    /// When tracing had ended.
    pub(super) after: &'a Seen,
    /// Each process with its parent.
    pub(super) family: HashMap<Process, Process>,
    /// Whether tracing ended for want of processes in scope.
    pub(super) by_itself: bool,
}

/// At least and at most.
type Bounds = (u64, u64);

impl Judge<'_> {
    /// The processes in scope; `None` where that cannot be decided.
    fn members(&self) -> Result<BTreeSet<Process>, Undecided> {
        match &self.run.scope {
            Scope::Command { tracer } => Ok(self.below(&self.children_of(*tracer))),
            Scope::Everything { tracer, reader } => {
                let is_own = |id| id == *tracer || Some(id) == *reader;
                Ok(self.family.keys().copied().filter(|it| !is_own(it.0)).collect())
            }
            Scope::Processes { pids, follow } => {
                let mut roots = BTreeSet::new();
                for pid in pids {
                    // The last one with this id.
                    let all = self.family.keys().filter(|it| it.0 == *pid);
                    roots.insert(*all.max().ok_or(Undecided::Stranger)?);
                }
                Ok(if *follow { self.below(&roots) } else { roots })
            }
            Scope::Undecided(why) => Err(*why),
        }
    }

    fn children_of(&self, tgid: u32) -> BTreeSet<Process> {
        let of = |(child, parent): (&Process, &Process)| (parent.0 == tgid).then_some(*child);
        self.family.iter().filter_map(of).collect()
    }

    fn below(&self, roots: &BTreeSet<Process>) -> BTreeSet<Process> {
        let is_below = |process: &&Process| {
            let mut next = Some(**process);
            while let Some(process) = next {
                if roots.contains(&process) {
                    return true;
                }
                next = self.family.get(&process).copied();
            }
            false
        };
        self.family.keys().filter(is_below).copied().collect()
    }

    /// Whether the call, by a process in scope, is in scope: of what is to become a command only the
    /// `execve` is.
    fn is_in_scope(&self, call: Call) -> bool {
        let Scope::Command { tracer } = self.run.scope else { return true };
        if self.family.get(&call.process).is_none_or(|parent| parent.0 != tracer) {
            return true;
        }
        let of_tracer = self.after.calls.keys().filter(|it| it.process.0 == tracer);
        let before_exec = of_tracer.map(|it| it.exec).max();
        call.is_exec() || Some(call.exec) != before_exec
    }

    /// Calls of each process in scope.
    fn bounds(&self, members: &BTreeSet<Process>) -> BTreeMap<Process, Bounds> {
        let count = |seen: &Seen, call: &Call| seen.calls.get(call).copied().unwrap_or(0);
        let is_command = matches!(self.run.scope, Scope::Command { .. });
        let everything = matches!(self.run.scope, Scope::Everything { .. });
        let mut bounds: BTreeMap<Process, Bounds> = BTreeMap::new();
        for (call, last) in &self.after.calls {
            if !members.contains(&call.process) || !self.is_in_scope(*call) {
                continue;
            }
            let first = match &self.run.attached {
                Some(attached) => Some(count(attached, call)),
                // A command begins after tracing of it.
                None => is_command.then(|| count(&self.run.before, call)),
            };
            let end = match &self.run.detaching {
                Some(detaching) => Some(count(detaching, call)),
                None => (self.by_itself && !everything).then_some(*last),
            };
            let (least, most) = bounds.entry(call.process).or_default();
            let shown = self.run.traces(*call);
            if shown && let (Some(first), Some(end)) = (first, end) {
                *least += end - first;
            }
            if shown || self.run.traced.others {
                *most += last - count(&self.run.before, call);
            }
        }
        bounds
    }

    /// Fails the test where the books and the witness do not agree.
    pub(super) fn compare(&self, books: &Books) {
        let total = self.after.total - self.run.before.total;
        let missed = self.after.misses - self.run.before.misses;
        assert!(books.entries <= total + missed, "{} of {total} calls", books.entries);
        let members = match self.members() {
            Ok(members) => members,
            Err(why) => return undecided(why),
        };
        let bounds = self.bounds(&members);
        let least: u64 = bounds.values().map(|it| it.0).sum();
        let most = match self.run.scope {
            Scope::Everything { .. } => total,
            _ => bounds.values().map(|it| it.1).sum(),
        };
        let described = || format!("{:?}, {bounds:?}, spans {:?}", self.run.scope, books.spans);
        assert!(
            least <= books.entries + books.misses && books.entries <= most + missed,
            "the witness has seen {least} to {most} calls in scope, tracer {} and missed {}: {}",
            books.entries,
            books.misses,
            described()
        );
        let Some(spans) = &books.spans else { return };
        for (process, (least, most)) in &bounds {
            let found = spans.get(process).copied().unwrap_or(0);
            assert!(
                *least <= found + books.misses && found <= most + missed,
                "the witness has seen {least} to {most} calls of {process:?}, tracer {found}: {}",
                described()
            );
        }
        if !matches!(self.run.scope, Scope::Everything { .. }) {
            let strangers: Vec<_> = spans.keys().filter(|it| !members.contains(it)).collect();
            assert!(strangers.is_empty(), "calls of {strangers:?}, not in scope: {}", described());
        }
    }
}
