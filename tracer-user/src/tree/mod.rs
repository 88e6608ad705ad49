//! The tree of processes: who descends from whom, in which trace, and when. Made of the kernel
//! side's records of births, programs and ends; every call is looked up here for its process.

mod entry;
mod late;
mod options;
mod programs;

use std::{collections::VecDeque, sync::Arc};

use hashbrown::HashMap;

use tracer_common::{
    event::SyscallEvent,
    lifecycle::{Birth, LifecycleEvent, What},
    parse::LaunchParts,
};

use crate::{
    clock::WallClock,
    ids::IdSource,
    process::{Namespaces, Process, Program},
    span_record::{ProcessEnd, SpanRecord},
};
use entry::{Entry, Key};
use late::Begun;
pub use options::{LaunchPlace, TreeCounts, TreeOptions};

/// How long a process is kept after its end, for records that come late: far longer than a thread
/// takes from one to the other.
const KEPT_NS: u64 = 2_000_000_000;
/// Most ended processes that are kept.
const KEPT: usize = 65_536;
/// How long a process without threads waits for the records of threads that have not told their
/// end; those records may have been lost.
const PATIENCE_NS: u64 = 200_000_000;
/// Most processes that hear of an end: parents, their parents and so on.
const DEPTH: usize = 256;

/// All processes.
#[derive(Debug)]
pub struct Tree {
    clock: Arc<WallClock>,
    ids: IdSource,
    options: TreeOptions,
    /// The tracer itself, which is nobody's parent.
    own_tgid: u32,
    slots: Vec<Option<Entry>>,
    free: Vec<usize>,
    by_tgid: HashMap<u32, usize>,
    /// Neighbouring records are mostly of one process.
    last: usize,
    /// Processes without threads that wait for records of these.
    waiting: VecDeque<(u64, usize, Key)>,
    /// Processes whose span was written, by time.
    ended: VecDeque<(u64, usize, Key)>,
    /// Spans to be taken.
    spans: VecDeque<SpanRecord>,
    counts: TreeCounts,
}

/// What a call needs of its process.
#[derive(Debug)]
pub(crate) struct CallPlace {
    pub(crate) process: Arc<Process>,
    pub(crate) logical_clock: u64,
    /// Nanoseconds since the Unix epoch.
    pub(crate) start_time_nanos: u64,
    /// What the call has begun, where it is the `execve` of the program that runs.
    pub(crate) begun: Option<Begun>,
}

impl Tree {
    /// An empty one.
    pub fn new(clock: Arc<WallClock>, ids: IdSource, options: TreeOptions) -> Self {
        Self {
            clock,
            ids,
            options,
            own_tgid: std::process::id(),
            slots: Vec::new(),
            free: Vec::new(),
            by_tgid: HashMap::default(),
            last: 0,
            waiting: VecDeque::new(),
            ended: VecDeque::new(),
            spans: VecDeque::new(),
            counts: TreeCounts::default(),
        }
    }

    /// What has become of processes so far.
    pub const fn counts(&self) -> TreeCounts {
        self.counts
    }

    /// Processes that are kept, alive or ended.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next span of a process that is to be written.
    pub fn next_span(&mut self) -> Option<SpanRecord> {
        self.spans.pop_front()
    }

    /// The place of a call. Allocates for the first call of a process at most.
    #[inline]
    pub(crate) fn call(&mut self, event: &SyscallEvent) -> CallPlace {
        let start_time_nanos = self.clock.wall(event.start_ns);
        let key = (event.tgid, event.process_start_ns);
        let is_last = |slot: &Option<Entry>| slot.as_ref().is_some_and(|it| it.key() == key);
        if !self.slots.get(self.last).is_some_and(is_last) {
            match self.slot_of_call(key, event) {
                Some(slot) => self.last = slot,
                None => return self.late_call(key, event, start_time_nanos),
            }
        }
        let Some(Some(entry)) = self.slots.get_mut(self.last) else {
            return self.late_call(key, event, start_time_nanos);
        };
        if entry.is_done {
            self.counts.late += 1;
        }
        entry.begin_wall = entry.begin_wall.min(start_time_nanos);
        entry.end_wall = entry.end_wall.max(start_time_nanos.saturating_add(event.duration_ns));
        CallPlace {
            logical_clock: entry.call_clock(event.tid, event.start_ns),
            process: entry.generation(event.exec_id, &event.comm),
            start_time_nanos,
            begun: entry.begun_by(event.start_ns),
        }
    }

    #[cold]
    fn slot_of_call(&mut self, key: Key, event: &SyscallEvent) -> Option<usize> {
        if let Some(slot) = self.find(key) {
            return Some(slot);
        }
        self.make_room(key).then(|| {
            self.counts.unannounced += 1;
            let slot = self.insert_root(key, 0, Program::unseen(event.exec_id, &event.comm));
            if let Some(entry) = self.entry(slot) {
                entry.comm = event.comm;
                entry.cgroup_id = event.cgroup_id;
                entry.owner = Some((event.uid, event.gid));
                entry.is_named_by_thread = true;
            }
            slot
        })
    }

    /// A call of a process whose id another has by now: its record was late beyond reason.
    #[cold]
    fn late_call(&mut self, key: Key, event: &SyscallEvent, start_time_nanos: u64) -> CallPlace {
        self.counts.late += 1;
        let program = Program::unseen(event.exec_id, &event.comm);
        let process = Arc::new(self.root(key, 0, program));
        CallPlace { process, logical_clock: event.start_ns, start_time_nanos, begun: None }
    }

    /// Takes a record of a process.
    #[cold]
    pub(crate) fn lifecycle(
        &mut self,
        what: What,
        birth: Birth,
        event: &LifecycleEvent,
        launch: LaunchParts<'_>,
    ) {
        self.sweep(event.time_ns);
        match what {
            What::Alive => self.alive(event, launch),
            What::CommandLine => self.command_line(event, launch),
            What::Fork if birth == Birth::Thread => self.thread_born(event),
            What::Fork => self.born(event, birth),
            What::Exec => self.executed(event, launch),
            What::Exit => self.thread_ended(event),
        }
    }

    /// Ends the tree: a span for each process that is alive. `now_ns` is the boot clock.
    pub fn finish(&mut self, now_ns: u64) {
        self.sweep(u64::MAX);
        let mut alive: Vec<_> = (0..self.slots.len())
            .filter(|slot| self.slots[*slot].as_ref().is_some_and(|it| !it.is_done))
            .collect();
        alive.sort_by_key(|slot| self.slots[*slot].as_ref().map(|it| it.begin_ns));
        for slot in alive {
            self.end(slot, now_ns, ProcessEnd::Unfinished);
        }
    }

    fn thread_born(&mut self, event: &LifecycleEvent) {
        let Some(slot) = self.slot((event.tgid, event.process_start_ns), event) else { return };
        let Some(entry) = self.entry(slot) else { return };
        entry.threads_started = entry.threads_started.saturating_add(1);
        // The first record has the number of threads with this one.
        if std::mem::replace(&mut entry.is_counted, true) {
            entry.threads += 1;
        }
        entry.fork_clock(event.parent_tid, event.call_start_ns);
    }

    fn born(&mut self, event: &LifecycleEvent, birth: Birth) {
        let key = (event.tgid, event.process_start_ns);
        if self.find(key).is_some() {
            return;
        }
        let parent_key = (event.parent_tgid, event.parent_start_ns);
        let parent = match self.find(parent_key) {
            _ if event.parent_tgid == self.own_tgid => None,
            Some(slot) => Some(slot),
            None if self.make_room(parent_key) => {
                self.counts.unannounced += 1;
                // The child has all of it from its parent, just now.
                let program = Program::told(event, LaunchParts::default());
                let slot = self.insert_root(parent_key, 0, program);
                if let Some(entry) = self.entry(slot) {
                    entry.is_named_by_thread = true;
                }
                Some(slot)
            }
            None => None,
        };
        if !self.make_room(key) {
            return;
        }
        let slot = if let Some(parent) = parent {
            self.insert_child(key, parent, event)
        } else {
            let program = Program::told(event, LaunchParts::default());
            self.insert_root(key, event.parent_tgid, program)
        };
        self.note(slot, event);
        if let Some(entry) = self.entry(slot) {
            entry.birth = Some(birth);
        }
    }

    fn insert_child(&mut self, key: Key, parent: usize, event: &LifecycleEvent) -> usize {
        let program = || Program::told(event, LaunchParts::default());
        let Some(entry) = self.entry(parent) else {
            return self.insert_root(key, event.parent_tgid, program());
        };
        let clock = entry.fork_clock(event.parent_tid, event.call_start_ns);
        entry.children += 1;
        let (of, told, reaper) = (Arc::clone(&entry.process), entry.told, entry.key());
        let inherited = entry.generation(event.exec_id, &event.comm);
        let is_known = inherited.program.executable.is_some() || event.exe_ino == 0;
        let program = if is_known { Arc::clone(&inherited.program) } else { Arc::new(program()) };
        let child = Process {
            tgid: key.0,
            start_ns: key.1,
            trace_id: of.trace_id,
            span_id: self.ids.process(key.0, key.1).span_id,
            parent_span_id: Some(of.span_id),
            parent_tgid: of.tgid,
            depth: of.depth.saturating_add(1),
            namespaces: Namespaces::told(event.namespaces),
            trace_state: of.trace_state.clone(),
            program,
            ..Process::default()
        };
        let begin_wall = self.clock.wall(key.1);
        let mut child = Entry::new(child, key.1, begin_wall);
        child.raise(clock.saturating_add(1));
        child.born_clock = child.clock;
        child.reaper = Some(reaper);
        child.told = told;
        self.insert(child)
    }

    /// What every record tells, for an entry that was made for it.
    fn note(&mut self, slot: usize, event: &LifecycleEvent) {
        let Some(entry) = self.entry(slot) else { return };
        entry.threads = event.threads.into();
        entry.is_counted = true;
        entry.comm = event.comm;
        entry.cgroup_id = event.cgroup_id;
        entry.owner = Some((event.uid, event.gid));
        // Nobody else has it yet.
        if let Some(process) = Arc::get_mut(&mut entry.process) {
            process.inner_pid = (event.inner_pid != event.tgid).then_some(event.inner_pid);
            process.namespaces = Namespaces::told(event.namespaces).or(process.namespaces);
        }
    }

    fn thread_ended(&mut self, event: &LifecycleEvent) {
        let Some(slot) = self.slot((event.tgid, event.process_start_ns), event) else { return };
        let Some(entry) = self.entry(slot) else { return };
        if entry.is_done {
            self.counts.late += 1;
            return;
        }
        entry.tick(event.time_ns);
        entry.threads_ended = entry.threads_ended.saturating_add(1);
        entry.comm = event.comm;
        entry.cgroup_id = event.cgroup_id;
        entry.owner = Some((event.uid, event.gid));
        // The first record has the number of threads without this one.
        if std::mem::replace(&mut entry.is_counted, true) {
            entry.threads -= 1;
        } else {
            entry.threads = event.threads.into();
        }
        // Of two threads that are both the last, the later one ends the process.
        if event.how != 0 || entry.last_exit.is_some() {
            entry.last_exit = Some((event.time_ns, event.status));
        }
        if entry.last_exit.is_none() {
            return;
        }
        if entry.threads <= 0 {
            self.end_as_told(slot);
        } else {
            self.waiting.push_back((event.time_ns, slot, (event.tgid, event.process_start_ns)));
        }
    }

    fn end_as_told(&mut self, slot: usize) {
        if let Some((end_ns, status)) = self.entry(slot).and_then(|it| it.last_exit) {
            self.end(slot, end_ns, ProcessEnd::from_status(status));
        }
    }

    /// Writes the span of a process that has ended, and tells those who may wait for it.
    fn end(&mut self, slot: usize, end_ns: u64, end: ProcessEnd) {
        let Some(entry) = self.slots.get_mut(slot).and_then(Option::as_mut) else { return };
        if std::mem::replace(&mut entry.is_done, true) {
            return;
        }
        let clock = entry.tick(end_ns);
        let name = programs::name(&entry.process);
        self.spans.push_back(entry.span(name, end_ns, end));
        let (key, reaper, children) = (entry.key(), entry.reaper, entry.children);
        self.tell_ancestors(reaper, clock);
        self.hand_over(key, reaper, children);
        self.ended.push_back((end_ns, slot, key));
    }

    /// A process that waits for another comes after its end. Who will wait is not known, for a
    /// process without parent gets another: so all above hear of it, which orders too much at worst.
    fn tell_ancestors(&mut self, first: Option<Key>, clock: u64) {
        let mut next = first;
        for _ in 0..DEPTH {
            let Some(slot) = next.and_then(|key| self.find(key)) else { return };
            let Some(entry) = self.entry(slot) else { return };
            entry.raise(clock);
            next = entry.reaper;
        }
    }

    fn hand_over(&mut self, key: Key, to: Option<Key>, children: u32) {
        if children > 0 {
            let orphans = self.slots.iter_mut().flatten().filter(|it| it.reaper == Some(key));
            orphans.for_each(|orphan| orphan.reaper = to);
        }
        if let Some(heir) = to.and_then(|to| self.find(to)).and_then(|slot| self.entry(slot)) {
            heir.children = (heir.children + children).saturating_sub(1);
        }
    }

    /// What is due by time.
    fn sweep(&mut self, now_ns: u64) {
        while let Some((at, slot, key)) = self.waiting.front().copied()
            && now_ns.saturating_sub(at) > PATIENCE_NS
        {
            self.waiting.pop_front();
            if self.find(key) == Some(slot) {
                self.end_as_told(slot);
            }
        }
        while let Some((at, slot, key)) = self.ended.front().copied()
            && (now_ns.saturating_sub(at) > KEPT_NS || self.ended.len() > KEPT)
        {
            self.ended.pop_front();
            self.remove(slot, key);
        }
    }

    /// The process of a record, made if it is not known; `None` for one of the past.
    fn slot(&mut self, key: Key, event: &LifecycleEvent) -> Option<usize> {
        if let Some(slot) = self.find(key) {
            if let Some(entry) = self.entry(slot)
                && !entry.is_counted
                && event.inner_pid != event.tgid
                && entry.process.inner_pid.is_none()
                && let Some(process) = Arc::get_mut(&mut entry.process)
            {
                process.inner_pid = Some(event.inner_pid);
            }
            self.name_after_first_thread(slot, event);
            return Some(slot);
        }
        if !self.make_room(key) {
            self.counts.late += 1;
            return None;
        }
        // A command that tracer launches is announced by its program.
        let is_launched = event.what == What::Exec as u8 && event.how != 0;
        self.counts.unannounced += u64::from(!is_launched);
        let parent = if event.what == What::Fork as u8 { 0 } else { event.parent_tgid };
        let program = if event.what == What::Exec as u8 {
            // What ran before is not known; the call that ran the next one is its last.
            Program::unseen(event.exec_id.wrapping_sub(1), &event.comm)
        } else {
            Program::told(event, LaunchParts::default())
        };
        let slot = self.insert_root(key, parent, program);
        self.note(slot, event);
        if let Some(entry) = self.entry(slot) {
            entry.is_counted = false;
            entry.threads = event.threads.into();
        }
        Some(slot)
    }

    #[inline]
    fn find(&self, key: Key) -> Option<usize> {
        let slot = *self.by_tgid.get(&key.0)?;
        let entry = self.slots.get(slot)?.as_ref()?;
        (entry.key() == key).then_some(slot)
    }

    fn entry(&mut self, slot: usize) -> Option<&mut Entry> {
        self.slots.get_mut(slot)?.as_mut()
    }

    /// Whether a process with this key can be entered: ends one with the same id that began before.
    fn make_room(&mut self, key: Key) -> bool {
        let Some(slot) = self.by_tgid.get(&key.0).copied() else { return true };
        let Some(entry) = self.entry(slot) else { return true };
        if entry.process.start_ns > key.1 {
            return false;
        }
        if !entry.is_done {
            // Its id is somebody else's: it ended at some time before that.
            let end_ns = entry.last_exit.map_or(key.1, |(at, _)| at);
            match entry.last_exit {
                Some(_) => self.end_as_told(slot),
                None => self.end(slot, end_ns, ProcessEnd::NotSeen),
            }
        }
        true
    }

    fn root(&self, (tgid, start_ns): Key, parent_tgid: u32, program: Program) -> Process {
        let ids = self.ids.process(tgid, start_ns);
        Process {
            tgid,
            start_ns,
            trace_id: ids.trace_id,
            span_id: ids.span_id,
            parent_tgid,
            program: program.into(),
            ..Process::default()
        }
    }

    fn insert_root(&mut self, key: Key, parent_tgid: u32, program: Program) -> usize {
        let begin_wall = self.clock.wall(key.1);
        self.insert(Entry::new(self.root(key, parent_tgid, program), key.1, begin_wall))
    }

    fn insert(&mut self, entry: Entry) -> usize {
        let tgid = entry.process.tgid;
        let slot = self.free.pop().unwrap_or(self.slots.len());
        match self.slots.get_mut(slot) {
            Some(place) => *place = Some(entry),
            None => self.slots.push(Some(entry)),
        }
        self.by_tgid.insert(tgid, slot);
        slot
    }

    fn remove(&mut self, slot: usize, key: Key) {
        let Some(place) = self.slots.get_mut(slot) else { return };
        if place.as_ref().is_some_and(|it| it.key() == key) {
            *place = None;
            self.free.push(slot);
            if self.by_tgid.get(&key.0) == Some(&slot) {
                self.by_tgid.remove(&key.0);
            }
        }
    }
}
