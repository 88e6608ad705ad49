//! What spans of one process have in common. One object, which all of them share.

use std::sync::{Arc, OnceLock};

use crate::identity::Identity;

/// A process, from its fork or from one `execve` to the next: a new program gets an object of its
/// own, with the same ids. Does not change, but for the identity, which is found out on the side.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Process id (thread group id) in the initial pid namespace.
    pub tgid: u32,
    /// Boot clock at its start, in nanoseconds: with the id, it tells processes apart for good.
    pub start_ns: u64,
    /// The trace that its spans belong to.
    pub trace_id: [u8; 16],
    /// The id of the span of the process itself: the parent of all its calls.
    pub span_id: [u8; 8],
    /// The span which that one is part of; `None` for the root of a trace.
    pub parent_span_id: Option<[u8; 8]>,
    /// The process that forked it; 0 where that is not known.
    pub parent_tgid: u32,
    /// Its id in its own pid namespace, where that is not the initial one.
    pub inner_pid: Option<u32>,
    /// Processes above it in the trace.
    pub depth: u32,
    /// The program that it runs, which a forked process has from its parent.
    pub program: Arc<Program>,
    /// What vendors have added to the trace's context, `tracestate`: printable ASCII.
    pub trace_state: Option<Arc<str>>,
    /// What is known of it beyond the kernel's word, set once, never on the way of a span. Elsewhere,
    /// for it is large, and most processes of a large host are never asked for it.
    pub identity: OnceLock<Box<Identity>>,
}

impl Process {
    /// The same process, in the same place, as it runs another program.
    pub(crate) fn running(&self, program: Arc<Program>) -> Self {
        Self {
            tgid: self.tgid,
            start_ns: self.start_ns,
            trace_id: self.trace_id,
            span_id: self.span_id,
            parent_span_id: self.parent_span_id,
            parent_tgid: self.parent_tgid,
            inner_pid: self.inner_pid,
            depth: self.depth,
            program,
            trace_state: self.trace_state.clone(),
            identity: OnceLock::new(),
        }
    }
}

/// A program as a process runs it, by the kernel's records alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// The kernel's number for it (`self_exec_id`), which tells the programs of one process apart.
    pub exec_id: u32,
    /// Its name: the last part of the path that was executed, or of that of its file where the first
    /// leads through `/proc` or `/dev/fd`; the first thread's name where neither is known. Any bytes,
    /// and never none but for [`Program::default`].
    pub name: Box<[u8]>,
    /// The path as `execve` was given it: any bytes. `None` where its `execve` was not seen, or the
    /// path could not be read.
    pub filename: Option<Filename>,
    /// Whether what runs is an interpreter that the file at this path names: a script.
    pub is_interpreted: bool,
    /// The file that the kernel has mapped.
    pub executable: Option<Executable>,
    /// The arguments that it was begun with: any bytes.
    pub args: Box<[Box<[u8]>]>,
    /// Whether there are more arguments than these, or the last one is longer.
    pub args_cut: bool,
}

/// A path as `execve` was given it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filename {
    /// Any bytes.
    pub path: Box<[u8]>,
    /// Whether it is longer.
    pub is_cut: bool,
}

/// The file that a program was mapped from, as the kernel held it when the program began, or when
/// tracing did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executable {
    /// Its path as the process sees it: any bytes, without links. `None` where the kernel side could
    /// not walk it.
    pub path: Option<Box<[u8]>>,
    /// Device, as stat(2) numbers it, of the file system that has it.
    pub device: u64,
    /// Inode number there.
    pub inode: u64,
}
