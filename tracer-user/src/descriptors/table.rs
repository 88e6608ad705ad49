//! The descriptors of a process as its calls have left them.
//!
//! Calls arrive in the order of their ends, while the kernel gave out and took back descriptors at
//! some moment inside of each. No program knows the number of a descriptor before the call that
//! makes it has returned: a call that began earlier means what the number led to before. So a slot
//! remembers that, and a `close` that began before its descriptor was made was of the one before.

use std::{collections::HashMap, sync::Arc};

use super::name::Name;

/// Descriptors of one process that are kept; what is beyond is looked up when it is used.
const MOST: usize = 16_384;

/// What a number led to before is remembered so many times back.
const GENERATIONS: usize = 4;

/// What a descriptor led to once.
#[derive(Clone, Debug)]
struct Past {
    name: Arc<Name>,
    /// The ends of the calls that made it and that ended it.
    since: u64,
    until: u64,
}

/// What a descriptor leads to.
#[derive(Clone, Debug)]
struct Open {
    name: Arc<Name>,
    /// Closed at exec.
    closes: bool,
    /// The end of the call that made it, in nanoseconds; 0 for what was there at first sight.
    since: u64,
}

/// One descriptor's number.
#[derive(Clone, Debug, Default)]
struct Slot {
    open: Option<Open>,
    /// What it led to before, the latest last.
    past: Vec<Past>,
    /// /proc was asked and did not know.
    asked: bool,
}

impl Slot {
    /// What is open is not any more.
    fn end(&mut self, until: u64) {
        let Some(Open { name, since, .. }) = self.open.take() else { return };
        if self.past.len() == GENERATIONS {
            self.past.remove(0);
        }
        self.past.push(Past { name, since, until });
    }

    /// What it led to at a time that is past.
    fn past(&self, at: u64) -> Option<&Arc<Name>> {
        let past = self.past.iter().rev().find(|past| (past.since..past.until).contains(&at));
        past.map(|past| &past.name)
    }
}

/// The descriptors of a process, or of several that share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    slots: HashMap<i32, Slot>,
}

impl Table {
    /// A call that ended at `since` has made `fd` lead to something.
    pub(super) fn open(&mut self, fd: i32, name: Arc<Name>, closes: bool, since: u64) {
        if fd < 0 || (self.slots.len() >= MOST && !self.slots.contains_key(&fd)) {
            return;
        }
        let slot = self.slots.entry(fd).or_default();
        slot.end(since);
        slot.open = Some(Open { name, closes, since });
        slot.asked = false;
    }

    /// A call that lasted from `start` to `end` has closed `fd`.
    pub(super) fn close(&mut self, fd: i32, start: u64, end: u64) {
        let Some(slot) = self.slots.get_mut(&fd) else { return };
        if slot.open.as_ref().is_some_and(|open| open.since <= start) {
            slot.end(end);
        }
    }

    /// What `fd` led to for a call that began at `start`.
    pub(super) fn name(&self, fd: i32, start: u64) -> Option<&Arc<Name>> {
        let slot = self.slots.get(&fd)?;
        match &slot.open {
            Some(open) if start >= open.since => Some(&open.name),
            open => slot.past(start).or_else(|| open.as_ref().map(|open| &open.name)),
        }
    }

    /// What `fd` leads to now, and whether exec closes it.
    pub(super) fn current(&self, fd: i32) -> Option<(&Arc<Name>, bool)> {
        self.slots.get(&fd)?.open.as_ref().map(|open| (&open.name, open.closes))
    }

    /// Whether /proc is to be asked about a descriptor that no call is known to have made: once.
    pub(super) fn ask(&mut self, fd: i32) -> bool {
        if self.slots.len() >= MOST && !self.slots.contains_key(&fd) {
            return true;
        }
        let slot = self.slots.entry(fd).or_default();
        slot.open.is_none() && !std::mem::replace(&mut slot.asked, true)
    }

    /// Renames what a descriptor leads to, and its copies.
    pub(super) fn rename(&mut self, fd: i32, name: &Arc<Name>) {
        let Some(old) = self.current(fd).map(|(name, _)| Arc::clone(name)) else { return };
        for slot in self.slots.values_mut() {
            if let Some(open) = slot.open.as_mut().filter(|open| Arc::ptr_eq(&open.name, &old)) {
                open.name = Arc::clone(name);
            }
        }
    }

    /// Sets whether exec closes it.
    pub(super) fn set_closes(&mut self, fd: i32, closes: bool) {
        if let Some(open) = self.slots.get_mut(&fd).and_then(|slot| slot.open.as_mut()) {
            open.closes = closes;
        }
    }

    /// Descriptors of a range, both ends included, that are open.
    pub(super) fn range(&self, first: u32, last: u32) -> Vec<i32> {
        let is_in = |fd: &i32| u32::try_from(*fd).is_ok_and(|fd| (first..=last).contains(&fd));
        let open = self.slots.iter().filter(|(_, slot)| slot.open.is_some());
        open.map(|(fd, _)| *fd).filter(is_in).collect()
    }

    /// Another program has begun: closes what is to be closed then.
    pub(super) fn exec(&mut self) {
        self.slots.retain(|_, slot| slot.open.as_ref().is_some_and(|open| !open.closes));
        for slot in self.slots.values_mut() {
            slot.past.clear();
        }
    }

    /// The table of a process that was made at that time: a copy without what came later.
    pub(super) fn forked(&self, at: u64) -> Self {
        let slots = self.slots.iter().filter_map(|(fd, slot)| {
            let (name, closes) = match &slot.open {
                Some(open) if open.since <= at => (&open.name, open.closes),
                // Whether that one was to be closed at exec is not known any more.
                _ => (slot.past(at)?, false),
            };
            let open = Open { name: Arc::clone(name), closes, since: 0 };
            Some((*fd, Slot { open: Some(open), ..Slot::default() }))
        });
        Self { slots: slots.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(number: u64) -> Arc<Name> {
        Arc::new(Name::object(&number.to_string()))
    }

    /// What one thread does with one descriptor, and at which of its moments the kernel does it.
    #[derive(Clone, Copy, Debug)]
    enum Act {
        Open,
        Close,
        Use,
    }

    proptest! {
        /// Threads open, use and close descriptors, each call taking effect at a moment between
        /// its start and its end; the table sees them in the order of their ends. The reference
        /// is told each moment, and a program uses only what has been returned to it.
        #[test]
        fn calls_of_many_threads_are_put_in_order(
            steps in prop::collection::vec((0_u8..3, 1_u64..40, 1_u64..40, 0_usize..4), 1..120),
        ) {
            let mut free: Vec<i32> = (0..4).rev().collect();
            // Descriptors that the program knows, with what they lead to.
            let mut known: Vec<(i32, u64)> = Vec::new();
            let mut calls = Vec::new();
            let mut now = 100;
            for (act, before, after, pick) in steps {
                // Moments follow each other; starts reach back and ends ahead, so calls overlap.
                now += 10;
                known.sort_unstable();
                let act = [Act::Open, Act::Close, Act::Use][usize::from(act)];
                // A descriptor is used by a call that begins when it has been returned.
                let usable: Vec<(i32, u64, u64)> = calls
                    .iter()
                    .filter_map(|(end, _, made): &(u64, _, Option<(i32, u64)>)| {
                        made.map(|(fd, what)| (fd, what, *end))
                    })
                    .filter(|(fd, what, end)| known.contains(&(*fd, *what)) && *end < now)
                    .collect();
                match act {
                    Act::Open => {
                        let Some(fd) = free.pop() else { continue };
                        let what = now;
                        known.push((fd, what));
                        let end = now + after;
                        calls.push((end, (act, fd, now - before, end, what), Some((fd, what))));
                    }
                    Act::Close | Act::Use => {
                        let Some((fd, what, since)) = usable.get(pick % usable.len().max(1)) else {
                            continue;
                        };
                        let start = now.saturating_sub(before).max(since + 1);
                        let end = now + after;
                        calls.push((end, (act, *fd, start, end, *what), None));
                        if matches!(act, Act::Close) {
                            known.retain(|it| *it != (*fd, *what));
                            free.push(*fd);
                        }
                    }
                }
            }
            calls.sort_by_key(|(end, ..)| *end);
            let mut table = Table::default();
            for (_, (act, fd, start, end, what), _) in &calls {
                match act {
                    Act::Open => table.open(*fd, name(*what), false, *end),
                    Act::Close | Act::Use => {
                        // Not so many generations back are remembered as a call may last.
                        let passed = calls.iter().filter(|(_, (act, other, .., later), _)| {
                            matches!(act, Act::Open) && other == fd && later > what && later < end
                        });
                        if passed.count() <= GENERATIONS {
                            let found = table.name(*fd, *start).map(|name| name.text().to_owned());
                            prop_assert_eq!(found, Some(format!("<{what}>")), "{:?}", calls);
                        }
                        if matches!(act, Act::Close) {
                            table.close(*fd, *start, *end);
                        }
                    }
                }
            }
            // In the end what the program still has is there.
            for (fd, what) in known {
                let found = table.current(fd).map(|(name, _)| name.text().to_owned());
                prop_assert_eq!(found, Some(format!("<{what}>")));
            }
        }
    }

    #[test]
    fn a_close_that_is_overtaken_closes_nothing() {
        let mut table = Table::default();
        table.open(3, name(1), false, 10);
        // Another thread got the number while the close was on its way.
        table.open(3, name(2), false, 25);
        assert_eq!(table.name(3, 20).unwrap().text(), "<1>");
        table.close(3, 20, 30);
        assert_eq!(table.name(3, 31).unwrap().text(), "<2>");
        table.close(3, 31, 32);
        assert!(table.name(3, 33).is_none());
    }

    #[test]
    fn a_child_has_what_was_open_when_it_was_made() {
        let mut table = Table::default();
        table.open(3, name(1), true, 10);
        table.open(4, name(2), false, 10);
        table.close(4, 20, 25);
        table.open(5, name(3), false, 30);
        let mut child = table.forked(15);
        assert_eq!(child.name(3, 16).unwrap().text(), "<1>");
        assert_eq!(child.name(4, 16).unwrap().text(), "<2>");
        assert!(child.name(5, 16).is_none());
        child.exec();
        assert!(child.name(3, 17).is_none() && child.name(4, 17).is_some());
        assert_eq!(child.range(0, u32::MAX), [4]);
    }

    #[test]
    fn copies_are_renamed_together() {
        let mut table = Table::default();
        table.open(3, name(1), false, 1);
        let copy = Arc::clone(table.current(3).unwrap().0);
        table.open(4, copy, false, 2);
        table.rename(4, &name(9));
        assert_eq!(table.name(3, 5).unwrap().text(), "<9>");
        assert!(table.ask(7) && !table.ask(7) && !table.ask(3));
    }
}
