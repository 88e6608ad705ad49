//! Spans to an `ExportTraceServiceRequest`, without objects in between.
//! <https://github.com/open-telemetry/opentelemetry-proto/blob/v1.9.0/opentelemetry/proto/trace/v1/trace.proto>

#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc};

use super::{
    super::who::Who,
    attributes::{self, OF_RESOURCE},
    options::ErrorStatus,
    process,
    wire::{Field, Open, push_bytes, push_fixed64, push_number},
};
use crate::{
    identity::Resolver,
    span_record::{SpanRecord, StatusCode, SyscallSpan},
};

/// The version of the semantic conventions that attributes follow.
pub(super) const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";
/// The name of the instrumentation scope.
pub(super) const SCOPE: &str = "tracer";
/// Its version.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Longest span that is sent, in bytes as they would be encoded, its resource included. Only
/// spans that programs make themselves can be longer.
pub(super) const MAX_SPAN: usize = 1 << 20;

/// Bytes before a request, zero, where gRPC has a header of its own:
/// <https://github.com/grpc/grpc/blob/v1.75.0/doc/PROTOCOL-HTTP2.md#requests>.
pub(super) const PREFIX: usize = 5;

/// Makes requests of spans.
#[derive(Debug)]
pub(super) struct Encoder {
    error_status: ErrorStatus,
    /// What all processes have in common.
    resource: Vec<(String, String)>,
    /// The same as attributes of a `Resource`, encoded.
    resource_bytes: Vec<u8>,
    /// `InstrumentationScope`, as a field of `ScopeSpans`.
    scope_bytes: Vec<u8>,
    out: Vec<u8>,
    spans: u64,
    group: Option<Group>,
    /// Spans by process: id in the upper half, index in the lower.
    order: Vec<u64>,
    /// For the decoded form of an argument.
    text: Vec<u8>,
    /// Attributes of processes, encoded.
    who: Who<Vec<u8>>,
}

/// The `ResourceSpans` that is being written.
#[derive(Clone, Copy, Debug)]
struct Group {
    /// `None` for a span with a resource of its own.
    pid: Option<u32>,
    /// Tells programs and cgroups of the process apart; 0 when nothing is known of it.
    who: u64,
    resource_spans: Open<3>,
    scope_spans: Open<3>,
}

impl Encoder {
    /// `resource` is what all processes have in common.
    pub(super) fn new(resource: Vec<(String, String)>, error_status: ErrorStatus) -> Self {
        let mut resource_bytes = Vec::new();
        for (key, value) in &resource {
            attributes::push_text(&mut resource_bytes, OF_RESOURCE, (key, ""), value);
        }
        let mut scope = Vec::new();
        push_bytes(&mut scope, Field::new(1), SCOPE.as_bytes());
        push_bytes(&mut scope, Field::new(2), VERSION.as_bytes());
        let mut scope_bytes = Vec::new();
        push_bytes(&mut scope_bytes, Field::new(1), &scope);
        Self {
            error_status,
            resource,
            resource_bytes,
            scope_bytes,
            out: vec![0; PREFIX],
            spans: 0,
            group: None,
            order: Vec::new(),
            text: Vec::new(),
            who: Who::new(None, attributes::of_process),
        }
    }

    /// Says with each process what is known of it.
    pub(super) fn with_identity(self, resolver: Arc<Resolver>) -> Self {
        Self { who: Who::new(Some(resolver), attributes::of_process), ..self }
    }

    /// Bytes of the request so far, [`PREFIX`] included.
    pub(super) const fn len(&self) -> usize {
        self.out.len()
    }

    /// Spans in the request so far.
    pub(super) const fn spans(&self) -> u64 {
        self.spans
    }

    /// Adds spans to the request, those of a process together. After each, `after` may take the
    /// request away. Returns how many were too long.
    pub(super) fn push(&mut self, batch: &[SpanRecord], mut after: impl FnMut(&mut Self)) -> u64 {
        let mut order = std::mem::take(&mut self.order);
        order.clear();
        order.extend((0..).zip(batch).map(|(at, it)| u64::from(it.process_id()) << 32 | at));
        order.sort_unstable();
        let mut too_long = 0;
        for key in &order {
            let index = usize::try_from(key & u64::from(u32::MAX)).unwrap_or(usize::MAX);
            let Some(span) = batch.get(index) else { continue };
            if self.is_too_long(span) {
                too_long += 1;
                continue;
            }
            self.enter_group(span);
            self.push_span(span);
            self.spans += 1;
            after(self);
        }
        self.order = order;
        too_long
    }

    /// Ends the request: [`PREFIX`] and its bytes, and the number of its spans. The next one is
    /// written into `buffer`.
    pub(super) fn take(&mut self, mut buffer: Vec<u8>) -> (Vec<u8>, u64) {
        self.leave_group();
        buffer.clear();
        buffer.resize(PREFIX, 0);
        (std::mem::replace(&mut self.out, buffer), std::mem::take(&mut self.spans))
    }

    /// A generous sum for what programs made; a syscall's strings have a limit.
    fn is_too_long(&self, span: &SpanRecord) -> bool {
        const OVERHEAD: usize = 32;
        if span.process().is_some() {
            return false;
        }
        let sum = |map: &HashMap<String, String>| -> usize {
            map.iter().map(|(key, value)| key.len() + value.len() + OVERHEAD).sum()
        };
        let texts = span.span_name().len() + span.status_message().len();
        texts + sum(span.attributes()) + sum(span.resource()) + self.resource_bytes.len() > MAX_SPAN
    }

    fn enter_group(&mut self, span: &SpanRecord) {
        let pid = span.resource().is_empty().then(|| span.process_id());
        let known = self.who.of(span).map(|(it, number)| (Arc::clone(it), number));
        let who = known.as_ref().map_or(0, |(_, number)| *number);
        if pid.is_some() && self.group.is_some_and(|group| (group.pid, group.who) == (pid, who)) {
            return;
        }
        self.leave_group();
        let resource_spans = Open::start(&mut self.out, Field::new(1));
        self.push_resource(span, known.as_ref().map_or(&[], |(it, _)| it.as_slice()));
        let scope_spans = Open::start(&mut self.out, Field::new(2));
        self.out.extend_from_slice(&self.scope_bytes);
        self.group = Some(Group { pid, who, resource_spans, scope_spans });
    }

    fn leave_group(&mut self) {
        if let Some(group) = self.group.take() {
            let schema = Field::new(3);
            push_bytes(&mut self.out, schema, SCHEMA_URL.as_bytes());
            group.scope_spans.end(&mut self.out);
            push_bytes(&mut self.out, schema, SCHEMA_URL.as_bytes());
            group.resource_spans.end(&mut self.out);
        }
    }

    /// A program's word on its own resource goes before ours.
    fn push_resource(&mut self, span: &SpanRecord, who: &[u8]) {
        const PID: &str = "process.pid";
        let own = span.resource();
        let open = Open::<2>::start(&mut self.out, Field::new(1));
        if own.is_empty() {
            self.out.extend_from_slice(&self.resource_bytes);
        } else {
            for (key, value) in self.resource.iter().filter(|(key, _)| !own.contains_key(key)) {
                attributes::push_text(&mut self.out, OF_RESOURCE, (key, ""), value);
            }
            for (key, value) in own {
                attributes::push_text(&mut self.out, OF_RESOURCE, (key, ""), value);
            }
        }
        if !own.contains_key(PID) {
            let pid = i64::from(span.process_id());
            attributes::push_int_of(&mut self.out, OF_RESOURCE, (PID, ""), pid);
        }
        self.out.extend_from_slice(who);
        open.end(&mut self.out);
    }

    fn push_span(&mut self, span: &SpanRecord) {
        let out = &mut self.out;
        let open = Open::<2>::start(out, Field::new(2));
        push_bytes(out, Field::new(1), &span.trace_id());
        push_bytes(out, Field::new(2), &span.span_id());
        if let Some(state) = span.process().and_then(|process| process.trace_state.as_deref()) {
            push_bytes(out, Field::new(3), state.as_bytes());
        }
        if let Some(parent) = span.parent_span_id() {
            push_bytes(out, Field::new(4), &parent);
        }
        push_bytes(out, Field::new(5), span.span_name().as_bytes());
        // OTLP's numbers are one higher, 0 being "unspecified".
        push_number(out, Field::new(6), span.span_kind() as u64 + 1);
        push_fixed64(out, Field::new(7), span.start_time_nanos());
        push_fixed64(out, Field::new(8), span.end_time_nanos());
        if let Some(call) = span.syscall() {
            attributes::push_syscall(out, span, call, &mut self.text);
            let status = self.error_status.of(call);
            if status != StatusCode::Unset {
                push_status(out, status, &call.error().unwrap_or_default());
            }
        } else {
            let life = span.process().zip(span.process_span());
            match (life, span.signal()) {
                (Some((process, life)), _) => process::push_process(out, span, process, life),
                (None, Some(signal)) => process::push_signal(out, span, signal, &mut self.text),
                (None, None) => attributes::push_named(out, span),
            }
            let message = span.status_message();
            if span.status_code() != StatusCode::Unset || !message.is_empty() {
                push_status(out, span.status_code(), &message);
            }
        }
        open.end(out);
    }
}

fn push_status(out: &mut Vec<u8>, code: StatusCode, message: &str) {
    let open = Open::<1>::start(out, Field::new(15));
    push_bytes(out, Field::new(2), message.as_bytes());
    push_number(out, Field::new(3), code as u64);
    open.end(out);
}

impl ErrorStatus {
    /// Errors that are part of a program's normal course: asking whether something is there, or
    /// ready, or waiting with a limit.
    const EXPECTED: [i32; 10] = [
        libc::ENOENT,
        libc::EINTR,
        libc::ECHILD,
        libc::EAGAIN,
        libc::EEXIST,
        libc::ENOTTY,
        libc::ENODATA,
        libc::ETIMEDOUT,
        libc::EALREADY,
        libc::EINPROGRESS,
    ];

    /// The status of a call's span: `Error` or nothing, for that a call did well is no claim that
    /// tracer makes for the program.
    pub(super) fn of(self, call: &SyscallSpan) -> StatusCode {
        let Some(errno) = call.errno().filter(|_| call.status() == StatusCode::Error) else {
            return StatusCode::Unset;
        };
        let error = match self {
            Self::Never => false,
            Self::All => true,
            Self::Unexpected => !Self::EXPECTED.iter().any(|it| it.cast_unsigned() == errno),
        };
        if error { StatusCode::Error } else { StatusCode::Unset }
    }
}
