//! Spans to columns. What a row needs is kept from row group to row group; a row allocates nothing.
//! Many columns have for a call what they had for the call before, by the same process or the same
//! thread: such rows are counted, and entered together.

mod arguments;
mod same;

use std::{collections::HashMap, sync::Arc};

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;

use self::same::{Manner, OF_MANNER, OF_OWNER, Owner, Same};
use super::{
    super::{argument, json, who::Who},
    column::Column,
    dictionary::Dictionary,
    plain::{Flags, Ids, Numbers},
    schema::{ARGS, Few, SCHEMA},
};
use crate::{
    escape,
    identity::Description,
    span_record::{SpanRecord, SyscallSpan},
    values,
};

/// Rows of a batch of the journal.
pub(super) const BATCH_ROWS: usize = 4096;

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
    scratch: Vec<u8>,
    /// Rows to come of [`OF_OWNER`], and of [`OF_MANNER`] and `comm_escaped`.
    owner: Same<Owner>,
    manner: Same<Manner>,
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
        self.begin_owner(None);
        self.begin_manner(None);
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
        self.span_id.push(span.span_id());
        self.start_time.push(signed(span.start_time_nanos()));
        self.end_time.push(signed(span.end_time_nanos()));
        self.logical_clock.push(signed(span.logical_clock()));
        self.duration.push(signed(span.duration_nanos()));
        self.few(Few::StatusCode).push_fixed(i32::from(span.status_code() as u8).to_le_bytes());
        self.few(Few::ThreadId).push_fixed(span.thread_id().to_le_bytes());
        self.push_attributes(span);
        let process = span.syscall().and(span.process());
        let number = who.map_or(0, |(_, number)| number);
        let owner = process.map(|process| (Arc::as_ptr(process).addr(), number));
        if !self.owner.counts(owner.as_ref()) {
            self.begin_owner(owner);
            self.push_owner(span, who);
        }
        match span.syscall() {
            Some(call) => self.push_call(span, call),
            None => self.push_no_call(span),
        }
    }

    /// Enters the rows of the owner before.
    fn begin_owner(&mut self, owner: Option<Owner>) {
        let rows = self.owner.begin(owner);
        if rows > 0 {
            for column in OF_OWNER {
                self.few(column).repeat(rows);
            }
        }
    }

    /// Enters the rows of the manner before.
    fn begin_manner(&mut self, manner: Option<Manner>) {
        let rows = self.manner.begin(manner);
        if rows > 0 {
            for column in OF_MANNER {
                self.few(column).repeat(rows);
            }
            self.comm_escaped.repeat(rows);
        }
    }

    fn push_owner(&mut self, span: &SpanRecord, who: Option<(&Facts, u64)>) {
        self.few(Few::TraceId).push_fixed(span.trace_id());
        self.push_number(Few::ParentSpanId, span.parent_span_id());
        self.few(Few::ProcessId).push_fixed(span.process_id().to_le_bytes());
        let process = span.process();
        let parent = process.map(|it| it.parent_tgid).filter(|parent| *parent != 0);
        self.push_number(Few::ParentProcessId, parent.map(u32::to_le_bytes));
        self.push_number(Few::ProcessStart, process.map(|it| it.start_ns.to_le_bytes()));
        let Some((facts, number)) = who else {
            self.push_entries(Few::Resource, span.resource());
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

    #[inline]
    fn push_number<const N: usize>(&mut self, column: Few, value: Option<[u8; N]>) {
        match value {
            Some(value) => self.few(column).push_fixed(value),
            None => self.few(column).push_null(),
        }
    }

    fn push_attributes(&mut self, span: &SpanRecord) {
        if let Some((process, life)) = span.process().zip(span.process_span()) {
            self.scratch.clear();
            json::push_life_entries(&mut self.scratch, process, life);
            return self.few[Few::Attributes as usize].push(&self.scratch);
        }
        if let Some(signal) = span.signal() {
            self.scratch.clear();
            self.scratch.extend(b"{\"signal\":");
            json::push_signal(&mut self.scratch, signal);
            self.scratch.push(b'}');
            return self.few[Few::Attributes as usize].push(&self.scratch);
        }
        match files_of(span) {
            Some(named) => self.push_entries(Few::Attributes, &named),
            None => self.push_entries(Few::Attributes, span.attributes()),
        }
    }

    fn push_entries(&mut self, column: Few, entries: &HashMap<String, String>) {
        if entries.is_empty() {
            return self.few(column).push_as(0, || "{}");
        }
        self.scratch.clear();
        json::push_entries(&mut self.scratch, entries);
        self.few[column as usize].push(&self.scratch);
    }

    fn push_call(&mut self, span: &SpanRecord, call: &SyscallSpan) {
        let kind = u128::from(call.abi as u8) << 32 | u128::from(call.nr);
        self.few(Few::SpanName).push_as(kind, || call.name().into_owned());
        self.few(Few::SyscallNr).push_fixed(call.nr.to_le_bytes());
        self.push_result(call);
        let manner = Manner {
            marks: self.push_arguments(call),
            comm: call.comm,
            cgroup_id: call.cgroup_id,
            kind: span.span_kind(),
            abi: call.abi,
            record: call.record,
            reason: call.reason,
        };
        if !self.manner.counts(Some(&manner)) {
            self.begin_manner(Some(manner));
            self.push_manner(call.comm(), &manner);
        }
    }

    fn push_manner(&mut self, comm: &[u8], manner: &Manner) {
        self.few(Few::SpanKind).push_fixed(i32::from(manner.kind as u8).to_le_bytes());
        self.few(Few::Abi).push_as(manner.abi as u128, || manner.abi.name());
        for (column, marks) in manner.marks.columns() {
            self.push_number(column, (marks != 0).then(|| i32::from(marks).to_le_bytes()));
        }
        self.push_comm(manner.comm, comm);
        self.few(Few::CgroupId).push_fixed(manner.cgroup_id.to_le_bytes());
        self.few(Few::Record).push_as(manner.record as u128, || manner.record.name());
        self.few(Few::Reason).push_as(manner.reason as u128, || manner.reason.name());
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
        self.push_number(Few::Errno, errno.map(u32::to_le_bytes));
    }

    fn push_comm(&mut self, array: [u8; 16], comm: &[u8]) {
        let escaped = std::str::from_utf8(comm).is_err();
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

    fn push_no_call(&mut self, span: &SpanRecord) {
        self.begin_manner(None);
        self.few(Few::SpanKind).push_fixed(i32::from(span.span_kind() as u8).to_le_bytes());
        self.few(Few::SpanName).push(span.span_name().as_bytes());
        self.few(Few::StatusMessage).push(span.status_message().as_bytes());
        for column in [
            Few::Abi,
            Few::SyscallNr,
            Few::Escaped,
            Few::Truncated,
            Few::Fault,
            Few::NotRead,
            Few::ReadAtExit,
            Few::Errno,
            Few::Record,
            Few::Reason,
        ] {
            self.few(column).push_null();
        }
        self.args.iter_mut().for_each(Numbers::push_null);
        self.texts.iter_mut().for_each(Dictionary::push_null);
        self.result.push_null();
        let life = span.process_span().map(|it| (it.comm, it.comm(), it.cgroup_id));
        let signal = span.signal().map(|it| (it.comm, it.comm(), it.cgroup_id));
        if let Some((array, comm, cgroup_id)) = life.or(signal) {
            self.push_comm(array, comm);
            // That of a process that is only known as the parent of another is not.
            return match cgroup_id {
                0 => self.few(Few::CgroupId).push_null(),
                id => self.few(Few::CgroupId).push_fixed(id.to_le_bytes()),
            };
        }
        self.comm_escaped.push_null();
        self.few(Few::Comm).push_null();
        self.few(Few::CgroupId).push_null();
    }
}

/// What a result leads to, and the folders of relative paths, have no columns.
fn files_of(span: &SpanRecord) -> Option<HashMap<String, String>> {
    let call = span.syscall()?;
    let context = argument::context(call);
    if context.fds.is_empty() {
        return None;
    }
    let mut entries = HashMap::new();
    let mut text = Vec::new();
    if values::push_result_fd(&mut text, &context) {
        let result = String::from_utf8_lossy(&text).into_owned();
        entries.insert("syscall.return_text".to_owned(), result);
    }
    for (index, arg) in argument::arguments(call, &context).iter().enumerate() {
        text.clear();
        if values::push_folder(&mut text, &context, index) {
            let folder = String::from_utf8_lossy(&text).into_owned();
            entries.insert(format!("syscall.folder.{}", arg.name), folder);
        }
    }
    Some(entries).filter(|entries| !entries.is_empty())
}

/// Times and clocks of this century fit; a value beyond is the largest there is.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
