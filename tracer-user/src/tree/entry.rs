//! What is kept of a process while it lives.

use std::sync::Arc;

use tracer_common::lifecycle::Birth;

use super::late::Begun;
use crate::{
    process::{Process, Program},
    span_record::{ProcessEnd, ProcessSpan, ProgramStart, SpanRecord, SpanTimes},
    traceparent::TraceParent,
};

/// Programs of one process that are told one by one.
const PROGRAMS: usize = 16;

/// Earlier programs of one process that are kept for calls that come after the next one's record:
/// the `execve` itself, and calls of other threads that it has ended.
const EARLIER: usize = 4;

/// Forks of one process that have not returned yet: one for each thread, and some more that never
/// will, their calls not being traced.
const FORKS: usize = 64;

/// Tells processes apart for good: id and start.
pub(super) type Key = (u32, u64);

/// A call that has forked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fork {
    tid: u32,
    /// When it was entered: a call that is not shown must not lend its clock to another.
    start_ns: u64,
    clock: u64,
}

/// One process.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) process: Arc<Process>,
    /// The logical clock: that of its last event.
    pub(super) clock: u64,
    /// That of its span.
    pub(super) born_clock: u64,
    /// The process that would wait for it, as far as it is known here.
    pub(super) reaper: Option<Key>,
    /// Processes here of which it is that.
    pub(super) children: u32,
    /// Threads whose end has not been told; meaningless before `is_counted`.
    pub(super) threads: i64,
    pub(super) is_counted: bool,
    /// Boot clock at which the kernel has found no thread left, and how it ended.
    pub(super) last_exit: Option<(u64, u32)>,
    /// Whether its span has been written.
    pub(super) is_done: bool,
    /// Where the span begins, by the boot clock.
    pub(super) begin_ns: u64,
    /// The same as wall time; lowered by a call that seems to begin earlier, for wall time is
    /// measured anew from time to time.
    pub(super) begin_wall: u64,
    /// The latest end of a call, likewise.
    pub(super) end_wall: u64,
    /// The place in a trace that its environment names.
    pub(super) told: Option<TraceParent>,
    /// Name of the first thread.
    pub(super) comm: [u8; 16],
    /// Whether that and the program are called after a thread that may be another, for want of a
    /// record of the process.
    pub(super) is_named_by_thread: bool,
    pub(super) cgroup_id: u64,
    /// Effective user and group id, as told last.
    pub(super) owner: Option<(u32, u32)>,
    pub(super) birth: Option<Birth>,
    pub(super) programs: Vec<ProgramStart>,
    pub(super) programs_left_out: u32,
    pub(super) threads_started: u32,
    pub(super) threads_ended: u32,
    /// Calls that have forked and not returned.
    forks: Vec<Fork>,
    /// The process as it ran its earlier programs, in the place in a trace where it is now.
    earlier: Vec<Arc<Process>>,
    /// What the call that was entered at this reading of the boot clock has begun, until that call
    /// comes.
    begun: Option<Box<(u64, Begun)>>,
}

impl Entry {
    pub(super) fn new(process: Process, begin_ns: u64, begin_wall: u64) -> Self {
        Self {
            process: Arc::new(process),
            clock: begin_ns,
            born_clock: begin_ns,
            reaper: None,
            children: 0,
            threads: 1,
            is_counted: false,
            last_exit: None,
            is_done: false,
            begin_ns,
            begin_wall,
            end_wall: begin_wall,
            told: None,
            comm: [0; 16],
            is_named_by_thread: false,
            cgroup_id: 0,
            owner: None,
            birth: None,
            programs: Vec::new(),
            programs_left_out: 0,
            threads_started: 0,
            threads_ended: 0,
            forks: Vec::new(),
            earlier: Vec::new(),
            begun: None,
        }
    }

    #[inline]
    pub(super) fn key(&self) -> Key {
        (self.process.tgid, self.process.start_ns)
    }

    /// The clock of an event: later than all before in this process, and never before its time.
    #[inline]
    pub(super) fn tick(&mut self, time_ns: u64) -> u64 {
        self.clock = self.clock.saturating_add(1).max(time_ns);
        self.clock
    }

    /// The clock of a call. One that has forked got it then, so that all of the child is later.
    #[inline]
    pub(super) fn call_clock(&mut self, tid: u32, time_ns: u64) -> u64 {
        if !self.forks.is_empty()
            && let Some(at) = self.forks.iter().position(|it| it.tid == tid)
        {
            let fork = self.forks.swap_remove(at);
            if fork.start_ns == time_ns {
                return fork.clock;
            }
        }
        self.tick(time_ns)
    }

    /// The clock of a fork, kept for its call.
    pub(super) fn fork_clock(&mut self, tid: u32, call_start_ns: u64) -> u64 {
        let clock = self.tick(call_start_ns);
        self.forks.retain(|it| it.tid != tid);
        if self.forks.len() == FORKS {
            self.forks.remove(0);
        }
        // A call that is not traced has no span that needs it.
        if call_start_ns != 0 {
            self.forks.push(Fork { tid, start_ns: call_start_ns, clock });
        }
        clock
    }

    /// Takes note of what happened elsewhere before.
    pub(super) fn raise(&mut self, clock: u64) {
        self.clock = self.clock.max(clock);
    }

    pub(super) fn add_program(&mut self, program: ProgramStart) {
        if self.programs.len() < PROGRAMS {
            self.programs.push(program);
        } else {
            // The last one is the program that the span is named after.
            self.programs_left_out = self.programs_left_out.saturating_add(1);
            if let Some(last) = self.programs.last_mut() {
                *last = program;
            }
        }
    }

    /// The process as it ran the program that made a call.
    #[inline]
    pub(super) fn generation(&mut self, exec_id: u32, comm: &[u8; 16]) -> Arc<Process> {
        if self.process.program.exec_id == exec_id {
            return Arc::clone(&self.process);
        }
        self.other_generation(exec_id, comm)
    }

    #[cold]
    fn other_generation(&mut self, exec_id: u32, comm: &[u8; 16]) -> Arc<Process> {
        if let Some(found) = self.earlier.iter().find(|it| it.program.exec_id == exec_id) {
            return Arc::clone(found);
        }
        // The record of that program was lost, or is of before tracing: nothing is known of it.
        let unseen = Arc::new(self.process.running(Program::unseen(exec_id, comm).into()));
        if exec_id.wrapping_sub(self.process.program.exec_id).cast_signed() > 0 {
            let before = std::mem::replace(&mut self.process, Arc::clone(&unseen));
            self.keep_earlier(before);
        } else {
            self.keep_earlier(Arc::clone(&unseen));
        }
        unseen
    }

    /// Runs another program, in the place in a trace that `next` has.
    pub(super) fn run(&mut self, next: Process) {
        let next = Arc::new(next);
        let has_moved = next.span_id != self.process.span_id
            || next.trace_id != self.process.trace_id
            || next.parent_span_id != self.process.parent_span_id;
        let before = std::mem::replace(&mut self.process, Arc::clone(&next));
        self.keep_earlier(before);
        if has_moved {
            for process in &mut self.earlier {
                *process = Arc::new(next.running(Arc::clone(&process.program)));
            }
        }
    }

    /// Notes which call has begun a program; 0 for one that is not traced.
    pub(super) fn begin(&mut self, call_start_ns: u64, begun: Begun) {
        self.begun = (call_start_ns != 0).then(|| Box::new((call_start_ns, begun)));
    }

    /// What the call that was entered then has begun.
    #[inline]
    pub(super) fn begun_by(&mut self, call_start_ns: u64) -> Option<Begun> {
        if self.begun.as_ref().is_none_or(|it| it.0 != call_start_ns) {
            return None;
        }
        self.begun.take().map(|it| it.1)
    }

    fn keep_earlier(&mut self, process: Arc<Process>) {
        if self.earlier.len() == EARLIER {
            self.earlier.remove(0);
        }
        self.earlier.push(process);
    }

    /// The span of the process, from its begin to `end_ns` of the boot clock.
    pub(super) fn span(&mut self, name: Box<str>, end_ns: u64, end: ProcessEnd) -> SpanRecord {
        let duration = end_ns.saturating_sub(self.begin_ns);
        let start_time_nanos = self.begin_wall;
        let end_time_nanos = self.end_wall.max(start_time_nanos.saturating_add(duration));
        let times = SpanTimes { start_time_nanos, end_time_nanos, logical_clock: self.born_clock };
        // The thread that ends last is no loss.
        let ended = matches!(end, ProcessEnd::Exited(_) | ProcessEnd::Killed { .. });
        let life = ProcessSpan {
            name,
            comm: self.comm,
            cgroup_id: self.cgroup_id,
            owner: self.owner,
            programs: std::mem::take(&mut self.programs),
            programs_left_out: self.programs_left_out,
            threads_started: self.threads_started,
            threads_ended: self.threads_ended.saturating_sub(u32::from(ended)),
            birth: self.birth,
            end,
        };
        SpanRecord::from_process(times, Arc::clone(&self.process), life)
    }
}
