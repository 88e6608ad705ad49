//! Spans to columns. What a row needs is kept from row group to row group; a row allocates nothing.

use std::{collections::HashMap, sync::Arc};

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType};
use parquet::schema::types::ColumnDescPtr;
use tracer_common::{
    event::{Abi, CaptureState},
    syscalls::ArgKind,
};

use super::{
    super::{
        argument::{self, arguments},
        json,
        who::Who,
    },
    chunk::Content,
    dictionary::Dictionary,
    plain::{Flags, Ids, Numbers},
    schema::{ARGS, Few, SCHEMA},
};
use crate::{
    escape,
    identity::Description,
    process::Process,
    span_record::{SpanRecord, SyscallSpan},
    values::{self, Context},
};

/// Rows of a batch of the journal.
pub(super) const BATCH_ROWS: usize = 4096;

/// A column of a row group in the making.
pub(super) trait Column {
    /// What is in it, encoded.
    fn content(&self, column: &ColumnDescPtr, with_bounds: bool) -> Content;
    /// The same as an array of Arrow.
    fn to_array(&self, kind: &DataType) -> Result<ArrayRef, ArrowError>;
    /// Forgets its rows.
    fn clear(&mut self);
}

/// Columns in the making.
#[derive(Debug, Default)]
pub(super) struct Columns {
    few: [Dictionary; Few::NAMES.len()],
    span_id: Ids,
    start_time: Numbers,
    end_time: Numbers,
    logical_clock: Numbers,
    duration: Numbers,
    args: [Numbers; ARGS],
    texts: [Dictionary; ARGS],
    result: Numbers,
    comm_escaped: Flags,
    /// A thread's name, and whether it has to be escaped.
    last_comm: ([u8; 16], bool),
    scratch: Vec<u8>,
}

/// What columns hold of a process.
#[derive(Debug)]
pub(super) struct Facts {
    container_id: Option<Box<[u8]>>,
    cgroup_path: Option<Vec<u8>>,
    /// A JSON object.
    resource: Vec<u8>,
}

impl Facts {
    pub(super) fn of(description: &Description<'_>) -> Self {
        let id = description.workload().container_id.as_deref();
        let path = Some(&*description.cgroup.path).filter(|path| !path.is_empty());
        let text = |path: &[u8]| {
            if std::str::from_utf8(path).is_ok() {
                return path.to_vec();
            }
            let mut escaped = Vec::new();
            escape::push_utf8(&mut escaped, path);
            escaped
        };
        Self {
            container_id: id.map(|id| id.as_bytes().into()),
            cgroup_path: path.map(text),
            resource: json::resource(description),
        }
    }
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
    /// Makes a batch of these spans, [`BATCH_ROWS`] at best.
    pub(super) fn batch<'a>(
        spans: impl IntoIterator<Item = &'a SpanRecord>,
        who: &mut Who<Facts>,
    ) -> Result<RecordBatch, ArrowError> {
        let mut columns = Self::default();
        columns.push(spans, who);
        let arrays = columns.all()?.into_iter().zip(SCHEMA.fields());
        let arrays = arrays.map(|(column, field)| column.to_array(field.data_type()));
        RecordBatch::try_new(Arc::clone(&SCHEMA), arrays.collect::<Result<_, _>>()?)
    }

    /// Appends spans.
    pub(super) fn push<'a>(
        &mut self,
        spans: impl IntoIterator<Item = &'a SpanRecord>,
        who: &mut Who<Facts>,
    ) {
        for span in spans {
            self.push_span(span, who.of(span).map(|(facts, number)| (&**facts, number)));
        }
    }

    /// All columns, in the order of the schema.
    pub(super) fn all(&mut self) -> Result<Vec<&mut dyn Column>, ArrowError> {
        let mut all: Vec<(usize, &mut dyn Column)> = Vec::with_capacity(SCHEMA.fields().len());
        let mut add = |name: &str, column| {
            all.push((SCHEMA.index_of(name)?, column));
            Ok::<_, ArrowError>(())
        };
        add("span_id", &mut self.span_id)?;
        add("start_time_nanos", &mut self.start_time)?;
        add("end_time_nanos", &mut self.end_time)?;
        add("logical_clock", &mut self.logical_clock)?;
        add("duration_nanos", &mut self.duration)?;
        add("result", &mut self.result)?;
        add("comm_escaped", &mut self.comm_escaped)?;
        for (name, column) in Few::NAMES.iter().zip(&mut self.few) {
            add(name, column)?;
        }
        for (n, column) in self.args.iter_mut().enumerate() {
            add(&format!("arg{n}"), column)?;
        }
        for (n, column) in self.texts.iter_mut().enumerate() {
            add(&format!("arg{n}_text"), column)?;
        }
        all.sort_by_key(|(index, _)| *index);
        Ok(all.into_iter().map(|(_, column)| column).collect())
    }

    #[inline]
    fn few(&mut self, column: Few) -> &mut Dictionary {
        &mut self.few[column as usize]
    }

    fn push_span(&mut self, span: &SpanRecord, who: Option<(&Facts, u64)>) {
        self.few(Few::TraceId).push_fixed(span.trace_id());
        self.span_id.push(span.span_id());
        match span.parent_span_id() {
            Some(parent) => self.few(Few::ParentSpanId).push_fixed(parent),
            None => self.few(Few::ParentSpanId).push_null(),
        }
        self.few(Few::SpanKind).push_fixed(i32::from(span.span_kind() as u8).to_le_bytes());
        self.start_time.push(signed(span.start_time_nanos()));
        self.end_time.push(signed(span.end_time_nanos()));
        self.logical_clock.push(signed(span.logical_clock()));
        self.duration.push(signed(span.duration_nanos()));
        self.few(Few::StatusCode).push_fixed(i32::from(span.status_code() as u8).to_le_bytes());
        self.push_entries(span, who.is_none());
        self.few(Few::ProcessId).push_fixed(span.process_id().to_le_bytes());
        self.few(Few::ThreadId).push_fixed(span.thread_id().to_le_bytes());
        match span.syscall() {
            Some(call) => self.push_call(span, call),
            None => self.push_no_call(span),
        }
        self.push_who(who);
        self.push_process(span.process().map(Arc::as_ref));
    }

    fn push_process(&mut self, process: Option<&Process>) {
        match process.map(|it| it.parent_tgid).filter(|parent| *parent != 0) {
            Some(parent) => self.few(Few::ParentProcessId).push_fixed(parent.to_le_bytes()),
            None => self.few(Few::ParentProcessId).push_null(),
        }
        match process {
            Some(it) => self.few(Few::ProcessStart).push_fixed(it.start_ns.to_le_bytes()),
            None => self.few(Few::ProcessStart).push_null(),
        }
    }

    /// The number stands for what is known, and 0 for nothing.
    fn push_who(&mut self, who: Option<(&Facts, u64)>) {
        let Some((facts, number)) = who else {
            self.few(Few::ContainerId).push_null();
            self.few(Few::CgroupPath).push_null();
            return;
        };
        self.few(Few::Resource).push_as(number.into(), || &facts.resource);
        for (column, value) in [
            (Few::ContainerId, facts.container_id.as_deref()),
            (Few::CgroupPath, facts.cgroup_path.as_deref()),
        ] {
            match value {
                Some(value) => self.few(column).push_as(number.into(), || value),
                None => self.few(column).push_null(),
            }
        }
    }

    fn push_entries(&mut self, span: &SpanRecord, is_own_resource: bool) {
        let life = span.process().zip(span.process_span());
        let resource = is_own_resource.then(|| (Few::Resource, span.resource()));
        let named = result_name(span);
        let attributes = named.as_ref().unwrap_or_else(|| span.attributes());
        let all = std::iter::once((Few::Attributes, attributes)).chain(resource);
        for (column, entries) in all {
            if let Some((process, life)) = life
                && column == Few::Attributes
            {
                self.scratch.clear();
                json::push_life_entries(&mut self.scratch, process, life);
                self.few[column as usize].push(&self.scratch);
            } else if entries.is_empty() {
                self.few(column).push_as(0, || "{}");
            } else {
                self.scratch.clear();
                json::push_entries(&mut self.scratch, entries);
                self.few[column as usize].push(&self.scratch);
            }
        }
    }

    fn push_call(&mut self, span: &SpanRecord, call: &SyscallSpan) {
        let abi = call.abi as u8;
        let kind = u128::from(abi) << 32 | u128::from(call.nr);
        self.few(Few::SpanName).push_as(kind, || call.name().into_owned());
        self.few(Few::Abi).push_as(abi.into(), || call.abi.name());
        self.few(Few::SyscallNr).push_fixed(call.nr.to_le_bytes());
        self.push_arguments(span, call);
        self.push_result(call);
        self.push_comm(call.comm, call.comm());
        self.few(Few::CgroupId).push_fixed(call.cgroup_id.to_le_bytes());
        self.few(Few::Record).push_as(call.record as u128, || call.record.name());
        self.few(Few::Reason).push_as(call.reason as u128, || call.reason.name());
    }

    fn push_result(&mut self, call: &SyscallSpan) {
        if call.has_result() {
            self.result.push(call.ret);
        } else {
            self.result.push_null();
        }
        let errno = call.errno();
        let message = || call.error().unwrap_or_default().into_owned();
        self.few(Few::StatusMessage).push_as(errno.unwrap_or_default().into(), message);
        match errno {
            Some(errno) => self.few(Few::Errno).push_fixed(errno.to_le_bytes()),
            None => self.few(Few::Errno).push_null(),
        }
    }

    fn push_comm(&mut self, array: [u8; 16], comm: &[u8]) {
        if self.last_comm.0 != array {
            self.last_comm = (array, std::str::from_utf8(comm).is_err());
        }
        let escaped = self.last_comm.1;
        self.comm_escaped.push(escaped);
        self.few(Few::Comm).push_as(u128::from_le_bytes(array), || {
            let mut text = Vec::new();
            if escaped {
                escape::push_utf8(&mut text, comm);
            } else {
                text.extend_from_slice(comm);
            }
            text
        });
    }

    fn push_arguments(&mut self, span: &SpanRecord, call: &SyscallSpan) {
        let context = argument::context(span, call);
        let described = arguments(call, &context);
        let mut marks = Marks::default();
        for index in 0..ARGS {
            let Some(arg) = described.get(index) else {
                self.args[index].push_null();
                self.texts[index].push_null();
                continue;
            };
            let raw = call.args[index];
            self.args[index].push(raw.cast_signed());
            self.push_text(call, &context, (index, arg.kind), &mut marks);
        }
        let Marks { escaped, truncated, fault, not_read } = marks;
        for (column, mark) in [
            (Few::Escaped, escaped),
            (Few::Truncated, truncated),
            (Few::Fault, fault),
            (Few::NotRead, not_read),
        ] {
            match mark {
                0 => self.few(column).push_null(),
                mark => self.few(column).push_fixed(mark.to_le_bytes()),
            }
        }
    }

    fn push_text(
        &mut self,
        call: &SyscallSpan,
        context: &Context<'_>,
        (index, kind): (usize, ArgKind),
        marks: &mut Marks,
    ) {
        let bit = 1 << index;
        let column = &mut self.texts[index];
        if let Some(text) = argument::text(call, index, kind) {
            if std::str::from_utf8(text.bytes).is_ok() {
                column.push(text.bytes);
            } else {
                self.scratch.clear();
                escape::push_utf8(&mut self.scratch, text.bytes);
                column.push(&self.scratch);
                marks.escaped |= bit;
            }
        } else if let Some(key) = register_key(call, kind, call.args[index]) {
            let scratch = &mut self.scratch;
            column.push_as(key, || {
                scratch.clear();
                argument::push_value(scratch, call, context, kind, index);
                scratch
            });
        } else if says_more(call, context, kind, call.args[index]) {
            self.scratch.clear();
            argument::push_value(&mut self.scratch, call, context, kind, index);
            column.push(&self.scratch);
        } else {
            column.push_null();
        }
        match argument::state(call, index, kind) {
            Some(CaptureState::Truncated) => marks.truncated |= bit,
            Some(CaptureState::Fault) => marks.fault |= bit,
            Some(CaptureState::NotRead) => marks.not_read |= bit,
            Some(CaptureState::Whole) | None => {}
        }
    }

    fn push_no_call(&mut self, span: &SpanRecord) {
        self.few(Few::SpanName).push(span.span_name().as_bytes());
        self.few(Few::StatusMessage).push(span.status_message().as_bytes());
        for column in [
            Few::Abi,
            Few::SyscallNr,
            Few::Escaped,
            Few::Truncated,
            Few::Fault,
            Few::NotRead,
            Few::Errno,
            Few::Record,
            Few::Reason,
        ] {
            self.few(column).push_null();
        }
        self.args.iter_mut().for_each(Numbers::push_null);
        self.texts.iter_mut().for_each(Dictionary::push_null);
        self.result.push_null();
        if let Some(life) = span.process_span() {
            self.push_comm(life.comm, life.comm());
            return self.few(Few::CgroupId).push_fixed(life.cgroup_id.to_le_bytes());
        }
        self.comm_escaped.push_null();
        self.few(Few::Comm).push_null();
        self.few(Few::CgroupId).push_null();
    }
}

/// What a result leads to has no column.
fn result_name(span: &SpanRecord) -> Option<HashMap<String, String>> {
    let call = span.syscall().filter(|_| !span.fd_names().is_empty())?;
    let mut text = Vec::new();
    values::push_result_fd(&mut text, &argument::context(span, call)).then(|| {
        let text = String::from_utf8_lossy(&text).into_owned();
        HashMap::from([("syscall.return_text".to_owned(), text)])
    })
}

/// Times and clocks of this century fit; a value beyond is the largest there is.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// What the decoded form follows from, where that is the register alone.
fn register_key(call: &SyscallSpan, kind: ArgKind, raw: u64) -> Option<u128> {
    let kind = match kind {
        ArgKind::Flags(set) => set as u128 + 2,
        ArgKind::Mode => 1,
        ArgKind::FileMode => 0,
        _ => return None,
    };
    Some(kind << 72 | (call.abi as u128) << 64 | u128::from(raw))
}

/// Whether the decoded form is something else than an address, or the number in decimal.
fn says_more(call: &SyscallSpan, context: &Context<'_>, kind: ArgKind, raw: u64) -> bool {
    let is_small = i32::try_from(raw).is_ok();
    match kind {
        ArgKind::Path | ArgKind::Str | ArgKind::Ptr | ArgKind::Offset => false,
        ArgKind::Fd | ArgKind::DirFd if !context.fds.is_empty() => true,
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
