//! Names of descriptors, strace's `-y`: what each one of a call leads to, followed from the calls
//! that make, copy and close them.
//!
//! A stage of the sidecar: it sees spans in their order, after the queue and before the
//! destinations, and never the reader's thread. Without `-y` there is none. /proc is read when a
//! process is first seen, for what no call tells (the number of a socket's inode), and for a
//! descriptor that no call has made; paths are completed by the kernel, which has them in memory,
//! for the program has just opened them.

mod calls;
mod effects;
mod name;
mod proc;
mod rules;
mod sockets;
mod table;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use tracer_common::event::Abi;

use self::{
    name::{Name, Socket},
    proc::{Seen, Source, System},
    table::Table,
};
use crate::{
    filter::SyscallFilter,
    process::Process,
    ring_buffer::Stage,
    span_record::{FdName, SpanRecord, SyscallSpan},
};
pub use name::Detail;
pub(crate) use rules::changes;

/// Processes that are followed at a time; the one not seen for longest makes room, and is looked up
/// in /proc when it is seen again.
const MOST_PROCESSES: usize = 4096;

/// `EBADF`: there is no such descriptor.
const EBADF: u32 = 9;

/// Which calls are shown: those that change descriptors are followed without being shown too. Can
/// change while spans come.
#[derive(Debug)]
pub(crate) struct Shown {
    filter: Mutex<SyscallFilter>,
    version: AtomicU64,
}

impl Shown {
    pub(crate) fn new(filter: SyscallFilter) -> Self {
        Self { filter: Mutex::new(filter), version: AtomicU64::new(0) }
    }

    /// Shows other calls from now on.
    pub(crate) fn set(&self, filter: SyscallFilter) {
        *self.filter.lock().unwrap_or_else(PoisonError::into_inner) = filter;
        self.version.fetch_add(1, Ordering::Release);
    }
}

/// A process: its id, and the boot clock at its start. What it runs, and in which trace, may change.
type Id = (u32, u64);

fn id(process: &Process) -> Id {
    (process.tgid, process.start_ns)
}

/// What is known of one process.
struct State {
    files: Arc<Mutex<Table>>,
    /// The current folder.
    folder: Option<Box<[u8]>>,
    /// Whether its paths begin where ours do.
    our_root: bool,
    /// When it was last seen, in calls.
    used: u64,
}

impl State {
    fn files(&self) -> std::sync::MutexGuard<'_, Table> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends sharing descriptors with other processes.
    fn unshare(&mut self) {
        if Arc::strong_count(&self.files) > 1 {
            let own = self.files().clone();
            self.files = Arc::new(Mutex::new(own));
        }
    }
}

/// The stage.
pub(crate) struct Descriptors {
    source: Box<dyn Source>,
    detail: Detail,
    /// False where the calls that change descriptors are not all seen: /proc is asked at each use.
    follows: bool,
    shown: Arc<Shown>,
    known: Known,
    processes: HashMap<Id, State>,
    /// Those that are followed, by process id.
    ids: HashMap<u32, Id>,
    /// The descriptors of processes, by process id, that share them and are not seen yet.
    sharing: HashMap<u32, Arc<Mutex<Table>>>,
    /// Who made a process, as far as a call has told.
    parents: HashMap<u32, u32>,
    /// Processes as they were before tracing began.
    before: HashMap<u32, Seen>,
    /// Wall time when following began, in nanoseconds.
    began: u64,
    seen: u64,
    dropped: u64,
}

/// Answers of the filter, for it may be slow.
#[derive(Default)]
struct Known {
    version: u64,
    answers: HashMap<(Abi, u32), bool>,
}

impl Descriptors {
    /// A stage that names descriptors in this detail and hides what is not `shown`. `waiting` are
    /// processes that do nothing until tracing has begun; `follows` says whether all calls that
    /// change descriptors will come.
    pub(crate) fn new(
        detail: Detail,
        follows: bool,
        shown: Arc<Shown>,
        waiting: impl IntoIterator<Item = u32>,
    ) -> Self {
        Self::with_source(Box::new(System::new(detail)), detail, follows, shown, waiting)
    }

    fn with_source(
        mut source: Box<dyn Source>,
        detail: Detail,
        follows: bool,
        shown: Arc<Shown>,
        waiting: impl IntoIterator<Item = u32>,
    ) -> Self {
        let before =
            waiting.into_iter().filter_map(|pid| Some((pid, source.process(pid)?))).collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            source,
            detail,
            follows,
            shown,
            known: Known::default(),
            processes: HashMap::new(),
            ids: HashMap::new(),
            sharing: HashMap::new(),
            parents: HashMap::new(),
            before,
            began: u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
            seen: 0,
            dropped: 0,
        }
    }

    /// Whether a call is to be exported.
    fn is_shown(&mut self, call: &SyscallSpan) -> bool {
        let version = self.shown.version.load(Ordering::Acquire);
        if self.known.version != version {
            self.known = Known { version, ..Known::default() };
        }
        let shown = &self.shown;
        *self.known.answers.entry((call.abi, call.nr)).or_insert_with(|| {
            let filter = shown.filter.lock().unwrap_or_else(PoisonError::into_inner);
            filter.shows(call.abi, call.nr)
        })
    }

    /// Names the descriptors of a span, and follows what it has done.
    fn visit(&mut self, span: &mut SpanRecord) {
        let (Some(process), Some(call)) = (span.process().map(Arc::clone), span.syscall()) else {
            return;
        };
        let mut state = self.state(&process, span);
        let start = span.start_time_nanos();
        let mut names = Vec::new();
        let is_bad = call.errno() == Some(EBADF);
        for fd in calls::passed(call) {
            let name = self.name(&mut state, process.tgid, fd, start, is_bad);
            names.extend(name.map(|name| FdName { fd, returned: false, name }));
        }
        let ends = self.apply(&mut state, &process, span, call);
        for fd in calls::returned(call) {
            let name = self.name(&mut state, process.tgid, fd, span.end_time_nanos(), false);
            names.extend(name.map(|name| FdName { fd, returned: true, name }));
        }
        span.set_fd_names(names);
        if ends {
            self.ids.remove(&process.tgid);
        } else {
            self.processes.insert(id(&process), state);
        }
    }

    /// The text of a descriptor's name at a time.
    fn name(
        &mut self,
        state: &mut State,
        pid: u32,
        fd: i32,
        at: u64,
        is_bad: bool,
    ) -> Option<Arc<str>> {
        if fd == FdName::CURRENT_FOLDER {
            return self.folder(state, pid).map(|path| Name::path(&path, None).text().into());
        }
        if !self.follows {
            let link = self.source.link(pid, fd).filter(|_| !is_bad)?;
            return Some(self.linked(state.our_root, pid, &link).text().into());
        }
        if let Some(name) = state.files().name(fd, at) {
            return Some(name.text().into());
        }
        if is_bad {
            return None;
        }
        self.look_up(state, pid, fd).map(|name| name.text().into())
    }

    /// Asks /proc for a descriptor that no call has made.
    fn look_up(&mut self, state: &State, pid: u32, fd: i32) -> Option<Arc<Name>> {
        if !state.files().ask(fd) {
            return None;
        }
        let link = self.source.link(pid, fd)?;
        let name = Arc::new(self.linked(state.our_root, pid, &link));
        state.files().open(fd, Arc::clone(&name), false, 0);
        Some(name)
    }

    fn folder(&mut self, state: &mut State, pid: u32) -> Option<Box<[u8]>> {
        if state.folder.is_none() || !self.follows {
            state.folder = self.source.folder(pid).map(Into::into);
        }
        state.folder.clone()
    }

    /// The name behind a link of /proc/PID/fd.
    fn linked(&mut self, our_root: bool, pid: u32, link: &[u8]) -> Name {
        if link.starts_with(b"/") {
            let device = if our_root { self.source.device(link) } else { None };
            return Name::path(link, device);
        }
        let text = String::from_utf8_lossy(link);
        match inode(&text, "socket:[") {
            None => Name::object(&text),
            Some(inode) => {
                let found = match self.detail {
                    Detail::Protocols => self.source.socket(pid, inode),
                    Detail::Paths => None,
                };
                let unknown = Socket { inode: Some(inode), ..Socket::default() };
                Name::socket(found.unwrap_or(unknown), self.detail)
            }
        }
    }

    /// What is known of a span's process. One that was made while following has what its parent
    /// had then.
    fn state(&mut self, process: &Arc<Process>, span: &SpanRecord) -> State {
        self.seen += 1;
        if let Some(mut state) = self.processes.remove(&id(process)) {
            state.used = self.seen;
            return state;
        }
        self.make_room();
        self.ids.insert(process.tgid, id(process));
        if let Some(seen) = self.before.remove(&process.tgid) {
            return self.first_seen(process.tgid, seen);
        }
        // Spans have both clocks; processes only the boot clock.
        let offset = span.start_time_nanos().saturating_sub(span.logical_clock());
        let start = process.start_ns.saturating_add(offset);
        let told = self.parents.remove(&process.tgid).unwrap_or_default();
        let parent = if process.parent_tgid == 0 { told } else { process.parent_tgid };
        if start >= self.began
            && let Some(parent) = self.ids.get(&parent)
            && let Some(parent) = self.processes.get(parent)
        {
            let files = match self.sharing.remove(&process.tgid) {
                Some(files) => files,
                None => Arc::new(Mutex::new(parent.files().forked(start))),
            };
            return State { files, used: self.seen, folder: parent.folder.clone(), ..*parent };
        }
        let seen = if self.follows { self.source.process(process.tgid) } else { None };
        let our_root = seen.is_none() && self.source.has_our_root(process.tgid);
        self.first_seen(
            process.tgid,
            seen.unwrap_or(Seen { has_our_root: our_root, ..Seen::default() }),
        )
    }

    fn first_seen(&mut self, pid: u32, seen: Seen) -> State {
        let mut table = Table::default();
        for (fd, link, closes) in seen.descriptors {
            let name = self.linked(seen.has_our_root, pid, &link);
            table.open(fd, Arc::new(name), closes, 0);
        }
        State {
            files: Arc::new(Mutex::new(table)),
            folder: seen.folder.map(Into::into),
            our_root: seen.has_our_root,
            used: self.seen,
        }
    }

    /// Forgets the processes that were not seen for longest, a quarter of all.
    fn make_room(&mut self) {
        if self.processes.len() < MOST_PROCESSES {
            return;
        }
        let mut used: Vec<u64> = self.processes.values().map(|state| state.used).collect();
        used.sort_unstable();
        self.sharing.clear();
        self.parents.clear();
        let oldest = used.get(MOST_PROCESSES / 4).copied().unwrap_or_default();
        self.processes.retain(|_, state| state.used >= oldest);
        let processes = &self.processes;
        self.ids.retain(|_, id| processes.contains_key(id));
    }

    /// Spans were lost, and what they did with descriptors.
    fn forget(&mut self) {
        self.processes.clear();
        self.ids.clear();
        self.sharing.clear();
    }
}

impl Stage for Descriptors {
    fn process(&mut self, spans: &mut Vec<SpanRecord>, dropped: u64) {
        if self.dropped != dropped {
            self.dropped = dropped;
            self.forget();
        }
        // A child's first call may come before the call that has made it.
        for span in spans.iter() {
            if let Some((parent, child)) = effects::made_process(span) {
                self.parents.insert(child, parent);
            }
        }
        for span in spans.iter_mut() {
            self.visit(span);
        }
        spans.retain(|span| span.syscall().is_none_or(|call| self.is_shown(call)));
    }
}

/// The number in `socket:[12345]`.
fn inode(text: &str, start: &str) -> Option<u64> {
    text.strip_prefix(start)?.strip_suffix(']')?.parse().ok()
}
