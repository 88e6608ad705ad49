//! What spans of one process have in common. One object, which all of them share.

use std::sync::{Arc, OnceLock};

use crate::identity::Identity;
pub use crate::identity::{Executable, Filename, Namespaces, Program};

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
    /// The namespaces it is in, as it was born or its program began; `None` where no record tells.
    pub namespaces: Option<Namespaces>,
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
            namespaces: self.namespaces,
            program,
            trace_state: self.trace_state.clone(),
            identity: OnceLock::new(),
        }
    }
}
