//! The one model type: a span, flat and self-contained. Exporters know nothing else.
//!
//! A span of a syscall holds its numbers as the kernel delivered them, so that making, queueing
//! and dropping one allocates nothing (long strings excepted). Any other span is made with
//! [`SpanRecord::new`] from names and maps of the caller's own.

mod file;
mod loss;
mod payload;
mod process;
mod signal;
mod syscall;

#[cfg(test)]
pub(crate) use file::tests::capture as file_capture;
pub use file::{DescriptorFile, SocketFile};
pub(crate) use loss::grouped;
pub use loss::{Loss, LossPlace};
pub use payload::Payload;
pub use process::{Attribute, ProcessEnd, ProcessSpan, ProgramStart, Value};
pub use signal::SignalSpan;
pub(crate) use signal::signal_number;
#[cfg(test)]
pub(crate) use syscall::tests::call as test_call;
pub use syscall::{Captured, SyscallSpan};

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, LazyLock},
};

use crate::process::Process;

/// The role of a span, numbered as in the seed; OTLP's numbers are one higher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SpanKind {
    /// Work inside one process.
    #[default]
    Internal = 0,
    /// The serving side of a request.
    Server = 1,
    /// The asking side of a request.
    Client = 2,
    /// The sender of a message.
    Producer = 3,
    /// The receiver of a message.
    Consumer = 4,
}

impl SpanKind {
    /// The name in output, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Server => "server",
            Self::Client => "client",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }
}

/// How a span ended, numbered as in OTLP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum StatusCode {
    /// Nothing is claimed.
    #[default]
    Unset = 0,
    /// It succeeded.
    Ok = 1,
    /// It failed.
    Error = 2,
}

impl StatusCode {
    /// The name in output, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unset => "unset",
            Self::Ok => "ok",
            Self::Error => "error",
        }
    }
}

/// One span.
///
/// ```
/// use std::collections::HashMap;
/// use tracer_user::span_record::{SpanKind, SpanRecord, StatusCode};
///
/// let span = SpanRecord::new(
///     [0x4b; 16], [0x01; 8], None, "read".to_string(), SpanKind::Internal,
///     1_700_000_000_000_000_000, 1_700_000_000_000_015_000, 42, StatusCode::Ok, String::new(),
///     HashMap::from([("syscall.fd".to_string(), "3".to_string())]), HashMap::new(), 1234, 5678,
/// );
/// assert_eq!(span.duration_nanos(), 15_000);
/// assert_eq!(span.span_id_hex(), "0101010101010101");
/// assert!(span.is_root());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct SpanRecord {
    span_id: [u8; 8],
    start_time_nanos: u64,
    end_time_nanos: u64,
    logical_clock: u64,
    thread_id: u64,
    span_kind: SpanKind,
    status_code: StatusCode,
    body: Body,
}

/// What differs between spans of syscalls and all others.
#[derive(Clone, Debug, PartialEq)]
enum Body {
    Syscall(Arc<Process>, SyscallSpan),
    Process(Arc<Process>, Box<ProcessSpan>),
    Signal(Arc<Process>, SignalSpan),
    Named(Box<Named>),
}

#[derive(Clone, Debug, PartialEq)]
struct Named {
    trace_id: [u8; 16],
    parent_span_id: Option<[u8; 8]>,
    process_id: u32,
    name: String,
    status_message: String,
    attributes: HashMap<String, String>,
    resource: HashMap<String, String>,
    loss: Option<Loss>,
}

// The ring buffer copies a span in and out: four cache lines, and no more by accident.
const _: () = assert!(size_of::<SpanRecord>() <= 256);

static NO_ENTRIES: LazyLock<HashMap<String, String>> = LazyLock::new(HashMap::new);

/// Identity, time and place of a syscall's span; the rest is derived from the call.
#[derive(Clone, Debug)]
pub struct SpanContext {
    /// The process that made the call; its span is the parent.
    pub process: Arc<Process>,
    /// The span itself.
    pub span_id: [u8; 8],
    /// Start, in nanoseconds since the Unix epoch.
    pub start_time_nanos: u64,
    /// Duration in nanoseconds.
    pub duration_nanos: u64,
    /// Orders causally related spans.
    pub logical_clock: u64,
    /// Thread id.
    pub thread_id: u32,
}

/// When the process of a process's span lived.
#[derive(Clone, Copy, Debug)]
pub struct SpanTimes {
    /// Start, in nanoseconds since the Unix epoch.
    pub start_time_nanos: u64,
    /// End, likewise.
    pub end_time_nanos: u64,
    /// Orders causally related spans.
    pub logical_clock: u64,
}

impl SpanRecord {
    /// Makes a span from its parts. Times are nanoseconds since the Unix epoch.
    #[expect(clippy::too_many_arguments, reason = "a contract: callers pass exactly these")]
    pub fn new(
        trace_id: [u8; 16],
        span_id: [u8; 8],
        parent_span_id: Option<[u8; 8]>,
        span_name: String,
        span_kind: SpanKind,
        start_time_nanos: u64,
        end_time_nanos: u64,
        logical_clock: u64,
        status_code: StatusCode,
        status_message: String,
        attributes: HashMap<String, String>,
        resource: HashMap<String, String>,
        process_id: u32,
        thread_id: u64,
    ) -> Self {
        let body = Named {
            trace_id,
            parent_span_id,
            process_id,
            name: span_name,
            status_message,
            attributes,
            resource,
            loss: None,
        };
        Self {
            span_id,
            start_time_nanos,
            end_time_nanos,
            logical_clock,
            thread_id,
            span_kind,
            status_code,
            body: Body::Named(Box::new(body)),
        }
    }

    /// Makes the span of a syscall; allocates nothing.
    #[inline]
    pub fn from_syscall(context: SpanContext, call: SyscallSpan) -> Self {
        Self {
            span_id: context.span_id,
            start_time_nanos: context.start_time_nanos,
            end_time_nanos: context.start_time_nanos.saturating_add(context.duration_nanos),
            logical_clock: context.logical_clock,
            thread_id: u64::from(context.thread_id),
            span_kind: SpanKind::Internal,
            status_code: call.status(),
            body: Body::Syscall(context.process, call),
        }
    }

    /// Makes the record of a loss between two moments, in nanoseconds since the Unix epoch. Its ids
    /// follow from them, and its process is this one.
    pub fn from_loss(from: u64, to: u64, loss: Loss) -> Self {
        let place = u64::from(loss.place as u8) + 1;
        let id = (from.rotate_left(32) ^ to).max(1);
        let mut trace_id = [0; 16];
        trace_id[..8].copy_from_slice(&place.to_be_bytes());
        trace_id[8..].copy_from_slice(&id.to_be_bytes());
        let process_id = std::process::id();
        let body = Named {
            trace_id,
            parent_span_id: None,
            process_id,
            name: "lost".to_owned(),
            status_message: loss.words(),
            attributes: loss.attributes(),
            resource: HashMap::new(),
            loss: Some(loss),
        };
        Self {
            span_id: id.to_be_bytes(),
            start_time_nanos: from,
            end_time_nanos: to,
            logical_clock: 0,
            thread_id: u64::from(process_id),
            span_kind: SpanKind::Internal,
            status_code: StatusCode::Error,
            body: Body::Named(Box::new(body)),
        }
    }

    /// Makes the span of a signal, which takes no time; allocates nothing.
    pub fn from_signal(context: SpanContext, signal: SignalSpan) -> Self {
        Self {
            span_id: context.span_id,
            start_time_nanos: context.start_time_nanos,
            end_time_nanos: context.start_time_nanos,
            logical_clock: context.logical_clock,
            thread_id: u64::from(context.thread_id),
            span_kind: SpanKind::Internal,
            status_code: StatusCode::Unset,
            body: Body::Signal(context.process, signal),
        }
    }

    /// Makes the span of a process.
    pub fn from_process(times: SpanTimes, process: Arc<Process>, life: ProcessSpan) -> Self {
        Self {
            span_id: process.span_id,
            start_time_nanos: times.start_time_nanos,
            end_time_nanos: times.end_time_nanos,
            logical_clock: times.logical_clock,
            thread_id: u64::from(process.tgid),
            span_kind: SpanKind::Internal,
            status_code: life.end.status(),
            body: Body::Process(process, Box::new(life)),
        }
    }

    /// The trace the span belongs to.
    pub fn trace_id(&self) -> [u8; 16] {
        match &self.body {
            Body::Syscall(process, _) | Body::Process(process, _) | Body::Signal(process, _) => {
                process.trace_id
            }
            Body::Named(named) => named.trace_id,
        }
    }
    /// The span's own id.
    pub const fn span_id(&self) -> [u8; 8] {
        self.span_id
    }
    /// The span this one is part of; `None` for a root.
    pub fn parent_span_id(&self) -> Option<[u8; 8]> {
        match &self.body {
            Body::Syscall(process, _) | Body::Signal(process, _) => Some(process.span_id),
            Body::Process(process, _) => process.parent_span_id,
            Body::Named(named) => named.parent_span_id,
        }
    }
    /// The name: that of the syscall for a syscall.
    pub fn span_name(&self) -> Cow<'_, str> {
        match &self.body {
            Body::Syscall(_, call) => call.name(),
            Body::Process(_, life) => Cow::Borrowed(&life.name),
            Body::Signal(_, signal) => Cow::Owned(signal.span_name()),
            Body::Named(named) => Cow::Borrowed(&named.name),
        }
    }
    /// The role.
    pub const fn span_kind(&self) -> SpanKind {
        self.span_kind
    }
    /// Start, in nanoseconds since the Unix epoch.
    pub const fn start_time_nanos(&self) -> u64 {
        self.start_time_nanos
    }
    /// End, in nanoseconds since the Unix epoch.
    pub const fn end_time_nanos(&self) -> u64 {
        self.end_time_nanos
    }
    /// Duration in nanoseconds; 0 when the end is before the start.
    pub const fn duration_nanos(&self) -> u64 {
        self.end_time_nanos.saturating_sub(self.start_time_nanos)
    }
    /// Orders causally related spans: of two, the one that depends on the other has the larger.
    pub const fn logical_clock(&self) -> u64 {
        self.logical_clock
    }
    /// How it ended.
    pub const fn status_code(&self) -> StatusCode {
        self.status_code
    }
    /// Empty unless it failed; the errno's name for a syscall.
    pub fn status_message(&self) -> Cow<'_, str> {
        match &self.body {
            Body::Syscall(_, call) => call.error().unwrap_or_default(),
            Body::Process(_, life) => life.end.signal_name().unwrap_or_default(),
            Body::Signal(..) => Cow::Borrowed(""),
            Body::Named(named) => Cow::Borrowed(&named.status_message),
        }
    }
    /// Attributes that have no accessor of their own.
    pub fn attributes(&self) -> &HashMap<String, String> {
        match &self.body {
            Body::Syscall(..) | Body::Process(..) | Body::Signal(..) => &NO_ENTRIES,
            Body::Named(named) => &named.attributes,
        }
    }
    /// What the span's process is, where it was told.
    pub fn resource(&self) -> &HashMap<String, String> {
        match &self.body {
            Body::Syscall(..) | Body::Process(..) | Body::Signal(..) => &NO_ENTRIES,
            Body::Named(named) => &named.resource,
        }
    }
    /// Process id (thread group id).
    pub fn process_id(&self) -> u32 {
        match &self.body {
            Body::Syscall(process, _) | Body::Process(process, _) | Body::Signal(process, _) => {
                process.tgid
            }
            Body::Named(named) => named.process_id,
        }
    }
    /// Id of the cgroup (v2) that a call was made in, or that a process was in at last.
    pub const fn cgroup_id(&self) -> Option<u64> {
        match &self.body {
            Body::Syscall(_, call) => Some(call.cgroup_id),
            Body::Process(_, life) => Some(life.cgroup_id),
            Body::Signal(_, signal) => Some(signal.cgroup_id),
            Body::Named(_) => None,
        }
    }
    /// Effective user and group id, in the initial user namespace, of the thread that entered a call
    /// or got a signal, or that a process was seen with at last.
    pub fn owner(&self) -> Option<(u32, u32)> {
        match &self.body {
            Body::Syscall(_, call) => Some((call.uid, call.gid)),
            Body::Process(_, life) => life.owner,
            Body::Signal(_, signal) => Some((signal.uid, signal.gid)),
            Body::Named(_) => None,
        }
    }
    /// The process, where it is one that was traced.
    pub const fn process(&self) -> Option<&Arc<Process>> {
        match &self.body {
            Body::Syscall(process, _) | Body::Process(process, _) | Body::Signal(process, _) => {
                Some(process)
            }
            Body::Named(_) => None,
        }
    }
    /// Thread id.
    pub const fn thread_id(&self) -> u64 {
        self.thread_id
    }
    /// The call, for the span of a syscall.
    pub const fn syscall(&self) -> Option<&SyscallSpan> {
        match &self.body {
            Body::Syscall(_, call) => Some(call),
            Body::Process(..) | Body::Signal(..) | Body::Named(_) => None,
        }
    }
    /// The life, for the span of a process.
    pub const fn process_span(&self) -> Option<&ProcessSpan> {
        match &self.body {
            Body::Process(_, life) => Some(life),
            Body::Syscall(..) | Body::Signal(..) | Body::Named(_) => None,
        }
    }
    /// The loss, for the record of one, which is no span of anything that was traced.
    pub fn loss(&self) -> Option<&Loss> {
        match &self.body {
            Body::Named(named) => named.loss.as_ref(),
            Body::Syscall(..) | Body::Process(..) | Body::Signal(..) => None,
        }
    }
    /// The signal, for the span of one that was delivered.
    pub const fn signal(&self) -> Option<&SignalSpan> {
        match &self.body {
            Body::Signal(_, signal) => Some(signal),
            Body::Syscall(..) | Body::Process(..) | Body::Named(_) => None,
        }
    }
    /// Whether the span is part of no other.
    pub fn is_root(&self) -> bool {
        self.parent_span_id().is_none()
    }
    /// Whether it failed.
    pub const fn is_error(&self) -> bool {
        matches!(self.status_code, StatusCode::Error)
    }
    /// The trace id as 32 hexadecimal digits.
    pub fn trace_id_hex(&self) -> String {
        hex(&self.trace_id())
    }
    /// The span id as 16 hexadecimal digits.
    pub fn span_id_hex(&self) -> String {
        hex(&self.span_id)
    }
    /// The parent's id as 16 hexadecimal digits.
    pub fn parent_span_id_hex(&self) -> Option<String> {
        self.parent_span_id().map(|id| hex(&id))
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = Vec::with_capacity(bytes.len() * 2);
    push_hex(&mut text, bytes);
    text.into_iter().map(char::from).collect()
}

/// Appends bytes as lower-case hexadecimal digits.
pub(crate) fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend(
        bytes
            .iter()
            .flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0xf)]]),
    );
}
