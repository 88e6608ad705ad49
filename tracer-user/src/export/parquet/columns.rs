//! Spans to columns. Builders have the room that a batch needs; a row allocates nothing.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, RecordBatch,
    builder::{BooleanBuilder, FixedSizeBinaryBuilder, Int32Builder, Int64Builder, StringBuilder},
};
use arrow_schema::ArrowError;
use tracer_common::{
    event::{Abi, CaptureState},
    syscalls::ArgKind,
};

use super::{
    super::{
        argument::{self, Decoded, arguments},
        escape, json,
    },
    schema::{ARGS, SCHEMA},
};
use crate::span_record::{SpanRecord, SyscallSpan};

/// Rows of a batch: small enough for its columns to stay in a cache.
pub(super) const BATCH_ROWS: usize = 4096;

/// Builders for all columns, in the order of the schema.
#[derive(Debug)]
pub(super) struct Columns {
    trace_id: FixedSizeBinaryBuilder,
    span_id: FixedSizeBinaryBuilder,
    parent_span_id: FixedSizeBinaryBuilder,
    span_name: StringBuilder,
    span_kind: Int32Builder,
    start_time: Int64Builder,
    end_time: Int64Builder,
    logical_clock: Int64Builder,
    duration: Int64Builder,
    status_code: Int32Builder,
    status_message: StringBuilder,
    attributes: StringBuilder,
    resource: StringBuilder,
    process_id: Int32Builder,
    thread_id: Int64Builder,
    abi: StringBuilder,
    syscall_nr: Int32Builder,
    args: [Int64Builder; ARGS],
    texts: [StringBuilder; ARGS],
    marks: [Int32Builder; 4],
    result: Int64Builder,
    errno: Int32Builder,
    comm: StringBuilder,
    comm_escaped: BooleanBuilder,
    cgroup_id: Int64Builder,
    record: StringBuilder,
    reason: StringBuilder,
    container_id: StringBuilder,
    parent_process_id: Int32Builder,
    process_start: Int64Builder,
    scratch: Vec<u8>,
}

/// A set of arguments, one bit each, as the column has it.
#[derive(Default)]
struct Marks {
    escaped: i32,
    truncated: i32,
    fault: i32,
    not_read: i32,
}

impl Columns {
    fn new() -> Self {
        let number = || Int64Builder::with_capacity(BATCH_ROWS);
        let small = || Int32Builder::with_capacity(BATCH_ROWS);
        let text = || StringBuilder::with_capacity(BATCH_ROWS, BATCH_ROWS * 8);
        let id = |bytes| FixedSizeBinaryBuilder::with_capacity(BATCH_ROWS, bytes);
        Self {
            trace_id: id(16),
            span_id: id(8),
            parent_span_id: id(8),
            span_name: text(),
            span_kind: small(),
            start_time: number(),
            end_time: number(),
            logical_clock: number(),
            duration: number(),
            status_code: small(),
            status_message: text(),
            attributes: text(),
            resource: text(),
            process_id: small(),
            thread_id: number(),
            abi: text(),
            syscall_nr: small(),
            args: std::array::from_fn(|_| number()),
            texts: std::array::from_fn(|_| text()),
            marks: std::array::from_fn(|_| small()),
            result: number(),
            errno: small(),
            comm: text(),
            comm_escaped: BooleanBuilder::with_capacity(BATCH_ROWS),
            cgroup_id: number(),
            record: text(),
            reason: text(),
            container_id: text(),
            parent_process_id: small(),
            process_start: number(),
            scratch: Vec::new(),
        }
    }

    /// Makes a batch of these spans, [`BATCH_ROWS`] at best.
    pub(super) fn batch<'a>(
        spans: impl IntoIterator<Item = &'a SpanRecord>,
    ) -> Result<RecordBatch, ArrowError> {
        let mut columns = Self::new();
        for span in spans {
            columns.push(span)?;
        }
        columns.finish()
    }

    fn push(&mut self, span: &SpanRecord) -> Result<(), ArrowError> {
        self.trace_id.append_value(span.trace_id())?;
        self.span_id.append_value(span.span_id())?;
        match span.parent_span_id() {
            Some(id) => self.parent_span_id.append_value(id)?,
            None => self.parent_span_id.append_null(),
        }
        self.span_name.append_value(span.span_name());
        self.span_kind.append_value(i32::from(span.span_kind() as u8));
        self.start_time.append_value(signed(span.start_time_nanos()));
        self.end_time.append_value(signed(span.end_time_nanos()));
        self.logical_clock.append_value(signed(span.logical_clock()));
        self.duration.append_value(signed(span.duration_nanos()));
        self.status_code.append_value(i32::from(span.status_code() as u8));
        self.status_message.append_value(span.status_message());
        self.push_entries(span);
        self.process_id.append_value(span.process_id().cast_signed());
        self.thread_id.append_value(span.thread_id().cast_signed());
        match span.syscall() {
            Some(call) => self.push_call(call),
            None => self.push_no_call(),
        }
        // Nobody tells these yet.
        self.container_id.append_null();
        self.parent_process_id.append_null();
        self.process_start.append_null();
        Ok(())
    }

    fn push_entries(&mut self, span: &SpanRecord) {
        for (column, entries) in
            [(&mut self.attributes, span.attributes()), (&mut self.resource, span.resource())]
        {
            if entries.is_empty() {
                column.append_value("{}");
            } else {
                self.scratch.clear();
                json::push_entries(&mut self.scratch, entries);
                append(column, &self.scratch);
            }
        }
    }

    fn push_call(&mut self, call: &SyscallSpan) {
        self.abi.append_value(call.abi.name());
        self.syscall_nr.append_value(call.nr.cast_signed());
        self.push_arguments(call);
        self.result.append_option(call.has_result().then_some(call.ret));
        self.errno.append_option(call.errno().map(u32::cast_signed));
        let escaped = append_bytes(&mut self.comm, &mut self.scratch, call.comm());
        self.comm_escaped.append_value(escaped);
        self.cgroup_id.append_value(call.cgroup_id.cast_signed());
        self.record.append_value(call.record.name());
        self.reason.append_value(call.reason.name());
    }

    fn push_arguments(&mut self, call: &SyscallSpan) {
        let described = arguments(call);
        let mut marks = Marks::default();
        for index in 0..ARGS {
            let Some(arg) = described.get(index) else {
                self.args[index].append_null();
                self.texts[index].append_null();
                continue;
            };
            let raw = call.args[index];
            self.args[index].append_value(raw.cast_signed());
            self.push_text(call, index, arg.kind, &mut marks);
        }
        let Marks { escaped, truncated, fault, not_read } = marks;
        for (column, mark) in self.marks.iter_mut().zip([escaped, truncated, fault, not_read]) {
            column.append_option((mark != 0).then_some(mark));
        }
    }

    fn push_text(&mut self, call: &SyscallSpan, index: usize, kind: ArgKind, marks: &mut Marks) {
        let bit = 1 << index;
        let text = &mut self.texts[index];
        if !kind.is_string() && call.payload.as_slice().is_empty() {
            return push_value(text, &mut self.scratch, call.abi, kind, call.args[index]);
        }
        match argument::decode(call, index) {
            Decoded::String(string) => {
                if append_bytes(text, &mut self.scratch, string.bytes) {
                    marks.escaped |= bit;
                }
            }
            Decoded::Value => {
                push_value(text, &mut self.scratch, call.abi, kind, call.args[index]);
            }
        }
        match call.string(index).map(|string| string.state) {
            Some(CaptureState::Truncated) => marks.truncated |= bit,
            Some(CaptureState::Fault) => marks.fault |= bit,
            Some(CaptureState::NotRead) => marks.not_read |= bit,
            Some(CaptureState::Whole) | None => {}
        }
    }

    fn push_no_call(&mut self) {
        self.abi.append_null();
        self.syscall_nr.append_null();
        self.args.iter_mut().for_each(Int64Builder::append_null);
        self.texts.iter_mut().for_each(StringBuilder::append_null);
        self.marks.iter_mut().for_each(Int32Builder::append_null);
        self.result.append_null();
        self.errno.append_null();
        self.comm.append_null();
        self.comm_escaped.append_null();
        self.cgroup_id.append_null();
        self.record.append_null();
        self.reason.append_null();
    }

    fn finish(mut self) -> Result<RecordBatch, ArrowError> {
        let mut all: Vec<ArrayRef> = Vec::with_capacity(SCHEMA.fields().len());
        macro_rules! take {
            ($($column:expr),* $(,)?) => { $(all.push(Arc::new($column.finish()));)* };
        }
        take!(self.trace_id, self.span_id, self.parent_span_id, self.span_name, self.span_kind);
        take!(self.start_time, self.end_time, self.logical_clock, self.duration);
        take!(self.status_code, self.status_message, self.attributes, self.resource);
        take!(self.process_id, self.thread_id, self.abi, self.syscall_nr);
        self.args.iter_mut().for_each(|column| all.push(Arc::new(column.finish())));
        self.texts.iter_mut().for_each(|column| all.push(Arc::new(column.finish())));
        self.marks.iter_mut().for_each(|column| all.push(Arc::new(column.finish())));
        take!(self.result, self.errno, self.comm, self.comm_escaped, self.cgroup_id);
        take!(self.record, self.reason);
        take!(self.container_id, self.parent_process_id, self.process_start);
        RecordBatch::try_new(Arc::clone(&SCHEMA), all)
    }
}

/// Times and clocks of this century fit; a value beyond is the largest there is.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Appends text that is UTF-8 already.
fn append(column: &mut StringBuilder, text: &[u8]) {
    // The replacement never happens: what is appended was made by this program.
    column.append_value(String::from_utf8_lossy(text));
}

/// Appends bytes of a traced program; whether they had to be escaped, not being UTF-8.
fn append_bytes(column: &mut StringBuilder, scratch: &mut Vec<u8>, bytes: &[u8]) -> bool {
    if let Ok(text) = std::str::from_utf8(bytes) {
        column.append_value(text);
        return false;
    }
    scratch.clear();
    escape::push_utf8(scratch, bytes);
    append(column, scratch);
    true
}

/// Appends the decoded form of an argument where it says more than the number.
fn push_value(
    column: &mut StringBuilder,
    scratch: &mut Vec<u8>,
    abi: Abi,
    kind: ArgKind,
    raw: u64,
) {
    if !says_more(abi, kind, raw) {
        return column.append_null();
    }
    scratch.clear();
    argument::push_value(scratch, abi, kind, raw);
    append(column, scratch);
}

/// Whether the decoded form is something else than an address, or the number in decimal.
const fn says_more(abi: Abi, kind: ArgKind, raw: u64) -> bool {
    let is_low = raw <= u32::MAX as u64;
    let is_small = raw <= i32::MAX as u64;
    match kind {
        ArgKind::Path
        | ArgKind::Str
        | ArgKind::Ptr
        | ArgKind::BufIn
        | ArgKind::BufOut
        | ArgKind::Sockaddr => false,
        ArgKind::Int | ArgKind::Fd | ArgKind::DirFd | ArgKind::Pid | ArgKind::Signal => !is_small,
        ArgKind::Uid | ArgKind::Gid => raw >= u32::MAX as u64,
        ArgKind::Uint => !is_low,
        ArgKind::Long => matches!(abi, Abi::I386 | Abi::Arm) && !is_small,
        ArgKind::Offset => false,
        ArgKind::Ulong | ArgKind::Size => raw > i64::MAX as u64,
        ArgKind::Mode | ArgKind::Hex | ArgKind::Dev | ArgKind::Flags => true,
    }
}
