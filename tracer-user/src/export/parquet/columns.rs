//! Spans to columns. Builders have the room that a batch needs; a row allocates nothing.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, RecordBatch,
    builder::{BooleanBuilder, FixedSizeBinaryBuilder, Int64Builder, StringBuilder},
};
use arrow_schema::ArrowError;
use tracer_common::{
    event::{Abi, CaptureState},
    syscalls::ArgKind,
};

use super::{
    super::{
        argument::{self, arguments},
        json,
    },
    dictionary::Dictionary,
    schema::{ARGS, Few, SCHEMA},
};
use crate::{
    escape,
    span_record::{SpanRecord, SyscallSpan},
    values::Context,
};

/// Rows of a batch: small enough for its columns to stay in a cache.
pub(super) const BATCH_ROWS: usize = 4096;

/// Columns in the making.
#[derive(Debug)]
pub(super) struct Columns {
    /// Those of few values, for as many rows as come.
    few: Vec<Dictionary>,
    /// The others, for a batch.
    many: Many,
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct Many {
    span_id: FixedSizeBinaryBuilder,
    start_time: Int64Builder,
    end_time: Int64Builder,
    logical_clock: Int64Builder,
    duration: Int64Builder,
    args: [Int64Builder; ARGS],
    texts: [StringBuilder; ARGS],
    result: Int64Builder,
    comm_escaped: BooleanBuilder,
}

/// A set of arguments, one bit each, as the column has it.
#[derive(Default)]
struct Marks {
    escaped: i32,
    truncated: i32,
    fault: i32,
    not_read: i32,
}

impl Many {
    fn new() -> Self {
        let number = || Int64Builder::with_capacity(BATCH_ROWS);
        Self {
            span_id: FixedSizeBinaryBuilder::with_capacity(BATCH_ROWS, 8),
            start_time: number(),
            end_time: number(),
            logical_clock: number(),
            duration: number(),
            args: std::array::from_fn(|_| number()),
            texts: std::array::from_fn(|_| {
                StringBuilder::with_capacity(BATCH_ROWS, BATCH_ROWS * 8)
            }),
            result: number(),
            comm_escaped: BooleanBuilder::with_capacity(BATCH_ROWS),
        }
    }

    /// The columns with their names.
    fn finish(mut self) -> Vec<(String, ArrayRef)> {
        let mut all: Vec<(String, ArrayRef)> = vec![
            ("span_id".into(), Arc::new(self.span_id.finish())),
            ("start_time_nanos".into(), Arc::new(self.start_time.finish())),
            ("end_time_nanos".into(), Arc::new(self.end_time.finish())),
            ("logical_clock".into(), Arc::new(self.logical_clock.finish())),
            ("duration_nanos".into(), Arc::new(self.duration.finish())),
            ("result".into(), Arc::new(self.result.finish())),
            ("comm_escaped".into(), Arc::new(self.comm_escaped.finish())),
        ];
        for (n, column) in self.args.iter_mut().enumerate() {
            all.push((format!("arg{n}"), Arc::new(column.finish())));
        }
        for (n, column) in self.texts.iter_mut().enumerate() {
            all.push((format!("arg{n}_text"), Arc::new(column.finish())));
        }
        all
    }
}

impl Columns {
    pub(super) fn new() -> Self {
        let few = Few::NAMES.iter().map(|_| Dictionary::default()).collect();
        Self { few, many: Many::new(), scratch: Vec::new() }
    }

    /// Makes a batch of these spans, [`BATCH_ROWS`] at best.
    pub(super) fn batch(spans: &[SpanRecord]) -> Result<RecordBatch, ArrowError> {
        let mut columns = Self::new();
        columns.push(spans)?;
        let mut all = columns.take_many()?;
        for (name, few) in Few::NAMES.iter().zip(&columns.few) {
            let index = SCHEMA.index_of(name)?;
            all.push((index, few.to_array(SCHEMA.field(index).data_type())?));
        }
        all.sort_by_key(|(index, _)| *index);
        let arrays = all.into_iter().map(|(_, array)| array).collect();
        RecordBatch::try_new(Arc::clone(&SCHEMA), arrays)
    }

    /// Appends spans.
    pub(super) fn push(&mut self, spans: &[SpanRecord]) -> Result<(), ArrowError> {
        spans.iter().try_for_each(|span| self.push_span(span))
    }

    /// Takes out the columns that are no dictionaries, with their places in the schema.
    pub(super) fn take_many(&mut self) -> Result<Vec<(usize, ArrayRef)>, ArrowError> {
        let many = std::mem::replace(&mut self.many, Many::new()).finish();
        many.into_iter().map(|(name, array)| Ok((SCHEMA.index_of(&name)?, array))).collect()
    }

    /// The columns of few values with their places in the schema.
    pub(super) fn few(&mut self) -> Result<Vec<(usize, &mut Dictionary)>, ArrowError> {
        let all = Few::NAMES.iter().zip(&mut self.few);
        all.map(|(name, few)| Ok((SCHEMA.index_of(name)?, few))).collect()
    }

    #[inline]
    fn set(&mut self, column: Few, value: &[u8]) {
        self.few[column as usize].push(value);
    }

    #[inline]
    fn set_option(&mut self, column: Few, value: Option<&[u8]>) {
        let column = &mut self.few[column as usize];
        match value {
            Some(value) => column.push(value),
            None => column.push_null(),
        }
    }

    fn push_span(&mut self, span: &SpanRecord) -> Result<(), ArrowError> {
        self.set(Few::TraceId, &span.trace_id());
        self.many.span_id.append_value(span.span_id())?;
        self.set_option(Few::ParentSpanId, span.parent_span_id().as_ref().map(<[u8; 8]>::as_slice));
        self.set(Few::SpanName, span.span_name().as_bytes());
        self.set(Few::SpanKind, &i32::from(span.span_kind() as u8).to_le_bytes());
        self.many.start_time.append_value(signed(span.start_time_nanos()));
        self.many.end_time.append_value(signed(span.end_time_nanos()));
        self.many.logical_clock.append_value(signed(span.logical_clock()));
        self.many.duration.append_value(signed(span.duration_nanos()));
        self.set(Few::StatusCode, &i32::from(span.status_code() as u8).to_le_bytes());
        self.set(Few::StatusMessage, span.status_message().as_bytes());
        self.push_entries(span);
        self.set(Few::ProcessId, &span.process_id().to_le_bytes());
        self.set(Few::ThreadId, &span.thread_id().to_le_bytes());
        match span.syscall() {
            Some(call) => self.push_call(call),
            None => self.push_no_call(),
        }
        // Nobody tells these yet.
        for column in [Few::ContainerId, Few::ParentProcessId, Few::ProcessStart] {
            self.set_option(column, None);
        }
        Ok(())
    }

    fn push_entries(&mut self, span: &SpanRecord) {
        for (column, entries) in
            [(Few::Attributes, span.attributes()), (Few::Resource, span.resource())]
        {
            self.scratch.clear();
            json::push_entries(&mut self.scratch, entries);
            self.few[column as usize].push(&self.scratch);
        }
    }

    fn push_call(&mut self, call: &SyscallSpan) {
        self.set(Few::Abi, call.abi.name().as_bytes());
        self.set(Few::SyscallNr, &call.nr.to_le_bytes());
        self.push_arguments(call);
        self.many.result.append_option(call.has_result().then_some(call.ret));
        let errno = call.errno().map(u32::to_le_bytes);
        self.set_option(Few::Errno, errno.as_ref().map(<[u8; 4]>::as_slice));
        let comm = call.comm();
        let escaped = std::str::from_utf8(comm).is_err();
        if escaped {
            self.scratch.clear();
            escape::push_utf8(&mut self.scratch, comm);
            self.few[Few::Comm as usize].push(&self.scratch);
        } else {
            self.set(Few::Comm, comm);
        }
        self.many.comm_escaped.append_value(escaped);
        self.set(Few::CgroupId, &call.cgroup_id.to_le_bytes());
        self.set(Few::Record, call.record.name().as_bytes());
        self.set(Few::Reason, call.reason.name().as_bytes());
    }

    fn push_arguments(&mut self, call: &SyscallSpan) {
        let context = argument::context(call);
        let described = arguments(call, &context);
        let mut marks = Marks::default();
        for index in 0..ARGS {
            let Some(arg) = described.get(index) else {
                self.many.args[index].append_null();
                self.many.texts[index].append_null();
                continue;
            };
            let raw = call.args[index];
            self.many.args[index].append_value(raw.cast_signed());
            self.push_text(call, &context, (index, arg.kind), &mut marks);
        }
        let Marks { escaped, truncated, fault, not_read } = marks;
        for (column, mark) in [
            (Few::Escaped, escaped),
            (Few::Truncated, truncated),
            (Few::Fault, fault),
            (Few::NotRead, not_read),
        ] {
            self.set_option(column, (mark != 0).then_some(&mark.to_le_bytes()));
        }
    }

    fn push_text(
        &mut self,
        call: &SyscallSpan,
        context: &Context,
        (index, kind): (usize, ArgKind),
        marks: &mut Marks,
    ) {
        let bit = 1 << index;
        let column = &mut self.many.texts[index];
        if let Some(text) = argument::text(call, index, kind) {
            if append_bytes(column, &mut self.scratch, text.bytes) {
                marks.escaped |= bit;
            }
        } else if says_more(call, kind, call.args[index]) {
            self.scratch.clear();
            argument::push_value(&mut self.scratch, call, context, kind, index);
            append(column, &self.scratch);
        } else {
            column.append_null();
        }
        match argument::state(call, index, kind) {
            Some(CaptureState::Truncated) => marks.truncated |= bit,
            Some(CaptureState::Fault) => marks.fault |= bit,
            Some(CaptureState::NotRead) => marks.not_read |= bit,
            Some(CaptureState::Whole) | None => {}
        }
    }

    fn push_no_call(&mut self) {
        for column in [
            Few::Abi,
            Few::SyscallNr,
            Few::Escaped,
            Few::Truncated,
            Few::Fault,
            Few::NotRead,
            Few::Errno,
            Few::Comm,
            Few::CgroupId,
            Few::Record,
            Few::Reason,
        ] {
            self.set_option(column, None);
        }
        self.many.args.iter_mut().for_each(Int64Builder::append_null);
        self.many.texts.iter_mut().for_each(StringBuilder::append_null);
        self.many.result.append_null();
        self.many.comm_escaped.append_null();
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

/// Whether the decoded form is something else than an address, or the number in decimal.
fn says_more(call: &SyscallSpan, kind: ArgKind, raw: u64) -> bool {
    let is_small = i32::try_from(raw).is_ok();
    match kind {
        ArgKind::Path | ArgKind::Str | ArgKind::Ptr | ArgKind::Offset => false,
        ArgKind::Int | ArgKind::Fd | ArgKind::DirFd | ArgKind::Pid => !is_small,
        ArgKind::Uid | ArgKind::Gid => raw >= u64::from(u32::MAX),
        ArgKind::Uint => raw > u64::from(u32::MAX),
        ArgKind::Long => matches!(call.abi, Abi::I386 | Abi::Arm) && !is_small,
        ArgKind::Ulong | ArgKind::Size => i64::try_from(raw).is_err(),
        ArgKind::Mode
        | ArgKind::FileMode
        | ArgKind::Hex
        | ArgKind::Dev
        | ArgKind::Signal
        | ArgKind::Flags(_)
        | ArgKind::Enum(_)
        | ArgKind::IoctlArg
        | ArgKind::FcntlArg
        | ArgKind::PrctlArg => true,
        ArgKind::Data(..)
        | ArgKind::PathOut(_)
        | ArgKind::Struct(..)
        | ArgKind::Sockaddr(..)
        | ArgKind::Iovec(..)
        | ArgKind::Msghdr(_)
        | ArgKind::Mmsghdr(..)
        | ArgKind::Argv
        | ArgKind::Envp => !call.payload.as_slice().is_empty(),
    }
}
