//! A witness of every traced run: two kernel programs of the tests' own, which know no scope, count no
//! threads and filter nothing, say how many calls each process has made. The books of a trace can
//! balance although a hook was missing; they cannot agree with somebody else's count then.
//!
//! The witness counts the entries of each process that descends from the test (`sched_process_fork`),
//! by process, exec and number. A process is its id and the start of its first thread. [`Run`] reads
//! the counts four times:
//!
//! ```text
//! before ── programs attach, processes are marked ── attached ── … ── detaching ── detach ── after
//! ```
//!
//! and at the end compares, for the calls that are shown by the filter (which is applied here, to the
//! counts):
//!
//! ```text
//! entries in scope (attached to detaching) ≤ stored + noreturn + store_failed ≤ (before to after)
//! ```
//!
//! and likewise for each process the spans that had an entry, where nothing is lost or left out by its
//! result. Where no process in scope runs while programs attach and detach, as in almost every test,
//! both bounds are the same number, and the comparison is exact.
//!
//! In scope is: of a launched command its `execve` and all after, and all its descendants; processes
//! by id with, unless they are not followed, all their descendants; without any scope the whole
//! family, without tracer itself. [`Undecided`] is the list of what the witness cannot decide; of
//! these runs it only says that no more was stored than was called.

mod bpf;
mod command;
mod judge;
mod programs;
mod tests;

pub(crate) use command::Watched;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    path::Path,
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use tracer_common::{
    counter::Counter,
    event::{Abi, Record},
};
use tracer_user::{
    filter::SyscallFilter,
    kernel::{
        KernelCounts, ResultFilter,
        btf::{KernelTypes, VMLINUX},
    },
    pipeline::TraceOptions,
    span_record::SpanRecord,
};

use crate::support::{children, skipped};
use bpf::{Map, Program};
use judge::Judge;

/// Processes of the family, and what they called, at once: a fuller map fails the test.
const PROCESSES: u32 = 1 << 16;
const COUNTS: u32 = 1 << 18;

/// A process: its id, and when its first thread started.
pub(crate) type Process = (u32, u64);

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Call {
    process: Process,
    /// Programs that the process and its ancestors have executed.
    exec: u32,
    nr: u32,
    is_compat: bool,
}

impl Call {
    fn abi(self) -> Abi {
        const X32_BIT: u32 = 1 << 30;
        match (cfg!(target_arch = "x86_64"), self.is_compat) {
            (true, false) if self.nr & X32_BIT != 0 => Abi::X32,
            (true, false) => Abi::X86_64,
            (true, true) => Abi::I386,
            (false, false) => Abi::Aarch64,
            (false, true) => Abi::Arm,
        }
    }

    fn is_exec(self) -> bool {
        let numbers: [i64; 2] =
            if self.is_compat { [11, 358] } else { [libc::SYS_execve, libc::SYS_execveat] };
        numbers.contains(&self.nr.into())
    }
}

struct Witness {
    totals: Map<4, 8>,
    /// Each process with its parent.
    family: Map<16, 16>,
    counts: Map<24, 8>,
    programs: [Program; 2],
    /// Runs that are not finished.
    runs: AtomicU64,
}

/// What it has seen up to now.
#[derive(Default)]
struct Seen {
    calls: HashMap<Call, u64>,
    /// Of the whole system.
    total: u64,
    misses: u64,
}

fn word32(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn word64(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn process(bytes: &[u8]) -> Process {
    (word32(bytes, 0), word64(bytes, 8))
}

impl Witness {
    fn new() -> Self {
        let bytes = std::fs::read(VMLINUX).unwrap();
        let types = KernelTypes::parse(&bytes).unwrap();
        let offsets = programs::Offsets::new(&types);
        let totals = Map::array(2);
        let family = Map::hash(PROCESSES);
        let counts = Map::hash(COUNTS);
        let maps = programs::Maps { totals: &totals.0, family: &family.0, counts: &counts.0 };
        let forked = programs::forked(&maps, &offsets, std::process::id());
        let entered = programs::entered(&maps, &offsets);
        let programs = [
            Program::attach(c"sched_process_fork", &forked),
            Program::attach(c"sys_enter", &entered),
        ];
        Self { totals, family, counts, programs, runs: AtomicU64::new(0) }
    }

    fn total(&self, index: i32) -> u64 {
        u64::from_ne_bytes(self.totals.get(&index.to_ne_bytes()).unwrap())
    }

    fn seen(&self) -> Seen {
        let calls = self.counts.entries().into_iter().map(|(key, count)| {
            let call = Call {
                process: process(&key),
                exec: word32(&key, 4),
                nr: word32(&key, 16),
                is_compat: word32(&key, 20) != 0,
            };
            (call, u64::from_ne_bytes(count))
        });
        let seen = Seen {
            calls: calls.collect(),
            total: self.total(programs::CALLS),
            misses: self.programs.iter().map(Program::misses).sum(),
        };
        assert_eq!(
            self.total(programs::LOST),
            0,
            "more processes or calls than the witness can count"
        );
        seen
    }

    /// Forgets processes that have ended.
    fn forget(&self) {
        let mut alive = HashMap::new();
        let mut is_over = move |process: Process| {
            let exists = |tgid: u32| Path::new("/proc").join(tgid.to_string()).exists();
            !*alive.entry(process.0).or_insert_with(|| exists(process.0))
        };
        let counts = self.counts.entries();
        counts
            .iter()
            .filter(|(key, _)| is_over(process(key)))
            .for_each(|it| self.counts.delete(&it.0));
        let family = self.family.entries();
        family
            .iter()
            .filter(|(key, _)| is_over(process(key)))
            .for_each(|it| self.family.delete(&it.0));
    }
}

static WITNESS: OnceLock<Witness> = OnceLock::new();

/// Begins to watch. Processes that were made before are strangers to it.
pub(crate) fn begin() {
    WITNESS.get_or_init(Witness::new);
}

fn witness() -> &'static Witness {
    WITNESS.get_or_init(Witness::new)
}

/// What the witness cannot decide, each with the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Undecided {
    /// The scope is one of cgroups or containers, which a process enters and leaves unseen.
    Cgroup,
    /// The scope is one of names of threads, which these change.
    Comm,
    /// The scope is one of users, which a process changes.
    User,
    /// Scope or filter are changed while tracing, between two calls that nobody can tell apart.
    Edited,
    /// The process is none of the test's family.
    Stranger,
    /// Tracer was killed, or its books were not asked for.
    Unfinished,
}

impl fmt::Display for Undecided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cgroup => "scope by cgroup or container",
            Self::Comm => "scope by name",
            Self::User => "scope by user",
            Self::Edited => "scope or filter changed while tracing",
            Self::Stranger => "a process that is not the test's",
            Self::Unfinished => "a run without books",
        })
    }
}

/// Says once for each reason that a run was not compared exactly.
fn undecided(why: Undecided) {
    static TOLD: Mutex<BTreeSet<Undecided>> = Mutex::new(BTreeSet::new());
    if TOLD.lock().unwrap().insert(why) {
        skipped(&format!("the exact comparison with the witness: {why}"));
    }
}

/// Who is in scope.
#[derive(Clone, Debug)]
pub(crate) enum Scope {
    /// What the process with this id, a tracer, launches.
    Command { tracer: u32 },
    /// Processes by id.
    Processes { pids: Vec<u32>, follow: bool },
    /// All but the tracer with this id, and the process of its own that reads command lines.
    Everything { tracer: u32, reader: Option<u32> },
    /// See there.
    Undecided(Undecided),
}

/// Which calls are traced.
#[derive(Clone, Debug)]
pub(crate) struct Traced {
    /// These, at least.
    pub(crate) shown: SyscallFilter,
    /// Whether others may be, too, so that descriptors can be named.
    pub(crate) others: bool,
}

/// What a tracer has written of a run.
pub(crate) struct Books {
    /// Stored, of no return, and not stored for want of memory.
    pub(crate) entries: u64,
    /// Runs of its programs that the kernel has skipped.
    pub(crate) misses: u64,
    /// Spans with an entry, where every call that was entered has one.
    pub(crate) spans: Option<BTreeMap<Process, u64>>,
}

/// The process that a tracer has made to read command lines, which it does not trace. It may do so
/// still when tracing has begun.
fn command_lines_reader(tracer: u32) -> Option<u32> {
    // That of an earlier trace may be there as a zombie.
    let is_reader = |child: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat"));
        stat.is_ok_and(|stat| stat.contains(" (command-lines) ") && !stat.contains(") Z "))
    };
    children(tracer).into_iter().rfind(is_reader)
}

/// A traced run.
pub(crate) struct Run {
    pub(crate) scope: Scope,
    traced: Traced,
    before: Seen,
    attached: Option<Seen>,
    detaching: Option<Seen>,
    /// Whether calls are left out by how they ended.
    is_filtered: bool,
    /// Whether it has been compared, or has traced nothing.
    is_over: bool,
}

impl Books {
    /// Of a trace by the library, with its spans if nothing was lost on their way.
    pub(crate) fn new(kernel: &KernelCounts, spans: Option<&[SpanRecord]>) -> Self {
        let entered = [Counter::Stored, Counter::NoReturn, Counter::StoreFailed];
        let of_processes = |spans: &[SpanRecord]| {
            let mut found = BTreeMap::new();
            for span in spans {
                let Some((call, process)) = span.syscall().zip(span.process()) else { continue };
                if call.record != Record::ExitOnly {
                    *found.entry((process.tgid, process.start_ns)).or_default() += 1;
                }
            }
            found
        };
        Self {
            entries: entered.into_iter().map(|counter| kernel.get(counter)).sum(),
            misses: kernel.recursion_misses,
            spans: spans.map(of_processes),
        }
    }
}

impl Run {
    /// Before a trace by the library.
    pub(crate) fn of(options: &TraceOptions) -> Self {
        let tracer = std::process::id();
        let scope = match options {
            _ if !(options.cgroups.is_empty() && options.containers.is_empty()) => {
                Scope::Undecided(Undecided::Cgroup)
            }
            _ if !options.comms.is_empty() => Scope::Undecided(Undecided::Comm),
            _ if !options.uids.is_empty() => Scope::Undecided(Undecided::User),
            _ if options.launched.is_some() => Scope::Command { tracer },
            _ if options.pids.is_empty() => Scope::Everything { tracer, reader: None },
            _ => Scope::Processes { pids: options.pids.clone(), follow: options.follow },
        };
        let calls = Traced { shown: options.syscalls.clone(), others: options.names.is_some() };
        let mut run = Self::new(scope, calls);
        run.is_filtered = options.result != ResultFilter::default() || options.names.is_some();
        run
    }

    /// Tracing has ended; `is_complete` when all spans are there that were made.
    pub(crate) fn finish_with(
        self,
        kernel: &KernelCounts,
        spans: &[SpanRecord],
        is_complete: bool,
    ) {
        let is_complete = is_complete && !self.is_filtered;
        self.finish(&Books::new(kernel, is_complete.then_some(spans)), false);
    }

    /// Before a tracer begins.
    pub(crate) fn new(scope: Scope, traced: Traced) -> Self {
        let witness = witness();
        if witness.runs.fetch_add(1, SeqCst) == 0 {
            witness.forget();
        }
        Self {
            scope,
            traced,
            before: witness.seen(),
            attached: None,
            detaching: None,
            is_filtered: false,
            is_over: false,
        }
    }

    /// All that is in scope is traced.
    pub(crate) fn attached(&mut self) {
        if let Scope::Everything { tracer, reader } = &mut self.scope {
            *reader = command_lines_reader(*tracer);
        }
        self.attached = Some(witness().seen());
    }

    /// Tracing is about to end, though a process in scope may live.
    pub(crate) fn detaching(&mut self) {
        self.detaching.get_or_insert_with(|| witness().seen());
    }

    /// What is in scope now may change in ways that the witness does not see.
    pub(crate) fn edited(&mut self) {
        self.scope = Scope::Undecided(Undecided::Edited);
    }

    /// Tracing has ended. `by_itself` when it did so for want of processes in scope.
    pub(crate) fn finish(mut self, books: &Books, by_itself: bool) {
        self.set_over();
        let witness = witness();
        let after = witness.seen();
        let family: HashMap<Process, Process> = witness
            .family
            .entries()
            .iter()
            .map(|(child, parent)| (process(child), process(parent)))
            .collect();
        let judge = Judge { run: &self, after: &after, family, by_itself };
        judge.compare(books);
    }

    /// There is nothing more to compare.
    fn set_over(&mut self) {
        self.is_over = true;
    }

    fn traces(&self, call: Call) -> bool {
        self.traced.shown.shows(call.abi(), call.nr)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        witness().runs.fetch_sub(1, SeqCst);
        if !self.is_over && !std::thread::panicking() {
            undecided(Undecided::Unfinished);
        }
    }
}
