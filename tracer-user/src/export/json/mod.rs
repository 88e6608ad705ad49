//! One JSON object per line and span. The names are a contract, see `docs/output.md`.

use std::{collections::HashMap, sync::Arc};

use super::{
    ExportError, Exporter, Output,
    argument::{self, arguments},
    output, pointee,
    who::{self, Fact, Who},
};
use crate::escape;
use crate::identity::{Description, Resolver};
use crate::process::Process;
use crate::span_record::{
    Attribute, ProcessSpan, SignalSpan, SpanRecord, SyscallSpan, Value, push_hex,
};
use crate::values::{self, Context};
use tracer_common::syscalls::ArgKind;

/// Writes JSON lines.
#[derive(Debug)]
pub struct JsonExporter {
    output: Output,
    buffer: output::Lines,
    who: Who<Vec<u8>>,
}

impl JsonExporter {
    /// Writes to `output`.
    pub fn new(output: Output) -> Self {
        Self { output, buffer: output::Lines::default(), who: Who::new(None, members) }
    }

    /// Writes with each call what is known of its process.
    #[must_use]
    pub fn with_identity(self, resolver: Arc<Resolver>) -> Self {
        Self { who: Who::new(Some(resolver), members), ..self }
    }
}

impl Exporter for JsonExporter {
    fn export(&mut self, batch: &[SpanRecord]) -> Result<(), ExportError> {
        let Self { output, buffer, who } = self;
        output.write_batch(batch, buffer, |out, span| {
            push(out, span, who.of(span).map_or(&[], |(members, _)| members.as_slice()));
        })
    }

    fn idle(&mut self) -> Result<(), ExportError> {
        self.output.check_reader()
    }
}

/// Of a process, as members of an object, with a comma in front of each.
fn members(description: &Description<'_>) -> Vec<u8> {
    let workload = description.workload();
    let executable = description.program.executable.as_ref();
    let mut out = Vec::new();
    let mut push = |key: &str, value: Option<&[u8]>| {
        let Some(value) = value.filter(|value| !value.is_empty()) else { return };
        push_key(&mut out, key);
        if escape::push_json(&mut out, value) {
            out.extend(format!(",\"{key}_escaped\":true").bytes());
        }
    };
    push("container_id", workload.container_id.as_deref().map(str::as_bytes));
    push("container_name", workload.container_name.as_deref().map(str::as_bytes));
    push("container_runtime", workload.runtime.map(|runtime| runtime.name().as_bytes()));
    push("pod_uid", workload.pod_uid.as_deref().map(str::as_bytes));
    push("pod_qos", workload.qos.map(|qos| qos.name().as_bytes()));
    push("unit", workload.unit.as_deref().map(str::as_bytes));
    push("cgroup_path", Some(&description.cgroup.path));
    push("executable", executable.and_then(|it| it.path.as_deref()));
    let owner = description.owner;
    push("user", owner.and_then(|it| it.user.as_deref()).map(str::as_bytes));
    if executable.is_some_and(|it| it.is_deleted) {
        out.extend(b",\"executable_deleted\":true");
    }
    if let Some(owner) = owner {
        push_number(&mut out, "uid", owner.uid);
        push_number(&mut out, "gid", owner.gid);
    }
    out
}

/// `who` are members that say whose call it is.
fn push(out: &mut Vec<u8>, span: &SpanRecord, who: &[u8]) {
    out.extend(b"{\"trace_id\":");
    push_id(out, &span.trace_id());
    out.extend(b",\"span_id\":");
    push_id(out, &span.span_id());
    out.extend(b",\"parent_span_id\":");
    match span.parent_span_id() {
        Some(id) => push_id(out, &id),
        None => out.extend(b"null"),
    }
    out.extend(b",\"name\":");
    escape::push_json(out, span.span_name().as_bytes());
    push_text(out, "kind", span.span_kind().name());
    push_number(out, "start_time_unix_nano", span.start_time_nanos());
    push_number(out, "duration_nano", span.duration_nanos());
    push_number(out, "logical_clock", span.logical_clock());
    push_text(out, "status", span.status_code().name());
    push_number(out, "pid", span.process_id());
    push_number(out, "tid", span.thread_id());
    if let Some(call) = span.syscall() {
        push_call(out, call, who);
    } else if let Some(signal) = span.signal() {
        push_comm(out, signal.comm());
        push_number(out, "cgroup_id", signal.cgroup_id);
        out.extend_from_slice(who);
        push_key(out, "signal");
        push_signal(out, signal);
    } else if let Some((process, life)) = span.process().zip(span.process_span()) {
        push_life(out, process, life, who);
    } else {
        push_attributes(out, span);
    }
    out.extend(b"}\n");
}

fn push_comm(out: &mut Vec<u8>, comm: &[u8]) {
    out.extend(b",\"comm\":");
    if escape::push_json(out, comm) {
        out.extend(b",\"comm_escaped\":true");
    }
}

fn push_life(out: &mut Vec<u8>, process: &Process, life: &ProcessSpan, who: &[u8]) {
    push_comm(out, life.comm());
    // That of a process that is only known as the parent of another is not.
    if life.cgroup_id != 0 {
        push_number(out, "cgroup_id", life.cgroup_id);
    }
    out.extend_from_slice(who);
    push_key(out, "attributes");
    push_values(out, &life.attributes(process));
    push_key(out, "events");
    push_events(out, life);
}

/// Appends what has happened to a process, as an array.
fn push_events(out: &mut Vec<u8>, life: &ProcessSpan) {
    out.push(b'[');
    for (index, program) in life.programs.iter().enumerate() {
        out.extend(if index == 0 { &b"{\"name\":\"exec\""[..] } else { b",{\"name\":\"exec\"" });
        push_number(out, "time_unix_nano", program.time_nanos);
        push_key(out, "attributes");
        push_values(out, &program.program.attributes());
        out.push(b'}');
    }
    out.push(b']');
}

/// Appends an object of attributes. One that is not UTF-8 is escaped, and `escaped` names it.
fn push_values(out: &mut Vec<u8>, attributes: &[Attribute<'_>]) {
    out.push(b'{');
    push_members(out, attributes);
    out.push(b'}');
}

fn push_members(out: &mut Vec<u8>, attributes: &[Attribute<'_>]) {
    let mut escaped = Vec::new();
    for (index, (key, value)) in attributes.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        escape::push_json(out, key.as_bytes());
        out.push(b':');
        if push_value(out, value) {
            escaped.push(*key);
        }
    }
    for (index, key) in escaped.iter().enumerate() {
        out.extend(if index == 0 { &b",\"escaped\":["[..] } else { b"," });
        escape::push_json(out, key.as_bytes());
    }
    if !escaped.is_empty() {
        out.push(b']');
    }
}

/// Whether it had to be escaped.
fn push_value(out: &mut Vec<u8>, value: &Value<'_>) -> bool {
    match value {
        Value::Int(value) => push_integer(out, *value),
        Value::Bool(value) => out.extend(if *value { &b"true"[..] } else { b"false" }),
        Value::Text(text) => return escape::push_json(out, text),
        Value::List(all) => {
            let mut escaped = false;
            out.push(b'[');
            for (index, text) in all.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                escaped |= escape::push_json(out, text);
            }
            out.push(b']');
            return escaped;
        }
    }
    false
}

/// Appends attributes and events of a process as one object.
pub(super) fn push_life_entries(out: &mut Vec<u8>, process: &Process, life: &ProcessSpan) {
    out.push(b'{');
    push_members(out, &life.attributes(process));
    push_key(out, "events");
    push_events(out, life);
    out.push(b'}');
}

/// Appends a signal as an object: its number, its name, and what came with it.
pub(super) fn push_signal(out: &mut Vec<u8>, signal: &SignalSpan) {
    out.extend(b"{\"number\":");
    push_integer(out, signal.signal);
    push_text(out, "name", &signal.name());
    if !signal.info().is_empty() {
        push_key(out, "info");
        values::push_siginfo_detail(out, signal.info());
    }
    out.push(b'}');
}

fn push_call(out: &mut Vec<u8>, call: &SyscallSpan, who: &[u8]) {
    push_comm(out, call.comm());
    push_number(out, "cgroup_id", call.cgroup_id);
    out.extend_from_slice(who);
    out.extend(b",\"syscall\":{\"nr\":");
    push_integer(out, call.nr);
    out.extend(b",\"name\":");
    escape::push_json(out, call.name().as_bytes());
    push_text(out, "abi", call.abi.name());
    out.extend(b",\"args\":[");
    let context = argument::context(call);
    let late = call.read_late();
    for (index, arg) in arguments(call, &context).iter().enumerate() {
        out.extend(if index == 0 { &b"{\"name\":"[..] } else { b",{\"name\":" });
        escape::push_json(out, arg.name.as_bytes());
        push_number(out, "value", call.args[index]);
        out.extend(b",\"text\":");
        push_argument(out, call, &context, arg.kind, index);
        if late >> index & 1 != 0 {
            push_text(out, "read_at", "exit");
        }
        values::push_files_detail(out, &context, arg.kind, index);
        out.push(b'}');
    }
    out.extend(b"],\"ret\":");
    if call.has_result() {
        push_integer(out, call.ret);
    } else {
        out.extend(b"null");
    }
    let mut named = Vec::new();
    if values::push_result_fd(&mut named, &context) {
        push_key(out, "ret_text");
        escape::push_json(out, &named);
    }
    let start = out.len();
    push_key(out, "ret_file");
    if !values::push_result_file(out, &context) {
        out.truncate(start);
    }
    out.extend(b",\"error\":");
    match call.error() {
        Some(error) => {
            escape::push_json(out, error.as_bytes());
        }
        None => out.extend(b"null"),
    }
    if let Some(code) = call.restart() {
        push_text(out, "restart", code);
    }
    push_text(out, "record", call.record.name());
    push_text(out, "reason", call.reason.name());
    out.push(b'}');
}

/// The decoded form; that of structures as JSON too; how the reading of memory went, unless it went
/// well.
fn push_argument(
    out: &mut Vec<u8>,
    call: &SyscallSpan,
    context: &Context<'_>,
    kind: ArgKind,
    index: usize,
) {
    if let Some(text) = argument::text(call, index, kind) {
        if escape::push_json(out, text.bytes) {
            out.extend(b",\"escaped\":true");
        }
    } else {
        let mut text = Vec::new();
        argument::push_value(&mut text, call, context, kind, index);
        escape::push_json(out, &text);
        let start = out.len();
        push_key(out, "detail");
        if !pointee::push_detail(out, call, context, kind, index) {
            out.truncate(start);
        }
    }
    if let Some(state) = argument::state(call, index, kind) {
        push_text(out, "state", state.name());
    }
}

/// What is known of a process, as an object. A key with `escaped.` in front says that a text was
/// not UTF-8.
pub(super) fn resource(description: &Description<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, fact) in who::facts(description) {
        out.push(if out.is_empty() { b'{' } else { b',' });
        escape::push_json(&mut out, key.as_bytes());
        out.push(b':');
        match fact {
            Fact::Int(value) => push_integer(&mut out, value),
            Fact::True => out.extend(b"true"),
            Fact::Text(text) => {
                if escape::push_json(&mut out, text) {
                    out.extend(format!(",\"escaped.{key}\":true").bytes());
                }
            }
        }
    }
    if out.is_empty() {
        out.push(b'{');
    }
    out.push(b'}');
    out
}

fn push_attributes(out: &mut Vec<u8>, span: &SpanRecord) {
    if let Some(loss) = span.loss() {
        push_key(out, "lost");
        out.push(b'{');
        escape::push_json(out, b"calls");
        out.push(b':');
        push_integer(out, loss.calls);
        push_number(out, "others", loss.others);
        push_text(out, "place", loss.place.name());
        return out.push(b'}');
    }
    out.extend(b",\"attributes\":");
    push_entries(out, span.attributes());
}

/// Appends an object, its keys sorted.
pub(super) fn push_entries(out: &mut Vec<u8>, entries: &HashMap<String, String>) {
    let mut entries: Vec<_> = entries.iter().collect();
    entries.sort_unstable();
    out.push(b'{');
    for (index, (key, value)) in entries.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        escape::push_json(out, key.as_bytes());
        out.push(b':');
        escape::push_json(out, value.as_bytes());
    }
    out.push(b'}');
}

fn push_id(out: &mut Vec<u8>, id: &[u8]) {
    out.push(b'"');
    push_hex(out, id);
    out.push(b'"');
}

/// `value` needs no escapes.
fn push_text(out: &mut Vec<u8>, key: &str, value: &str) {
    push_key(out, key);
    out.push(b'"');
    out.extend(value.bytes());
    out.push(b'"');
}

fn push_number(out: &mut Vec<u8>, key: &str, value: impl itoa::Integer) {
    push_key(out, key);
    push_integer(out, value);
}

fn push_key(out: &mut Vec<u8>, key: &str) {
    out.extend(b",\"");
    out.extend(key.bytes());
    out.extend(b"\":");
}

fn push_integer(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend(itoa::Buffer::new().format(value).bytes());
}

#[cfg(test)]
mod tests;
