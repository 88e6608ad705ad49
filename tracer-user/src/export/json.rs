//! One JSON object per line and span. The names are a contract, see `docs/output.md`.

use std::{collections::HashMap, sync::Arc};

use super::{
    ExportError, Exporter, Output,
    argument::{self, arguments},
    pointee,
    who::{self, Fact, Who},
};
use crate::escape;
use crate::identity::{Description, Resolver};
use crate::process::Process;
use crate::span_record::{Attribute, ProcessSpan, SpanRecord, SyscallSpan, Value, push_hex};
use crate::values::{self, Context};
use tracer_common::syscalls::ArgKind;

/// Writes JSON lines.
#[derive(Debug)]
pub struct JsonExporter {
    output: Output,
    buffer: Vec<u8>,
    who: Who<Vec<u8>>,
}

impl JsonExporter {
    /// Writes to `output`.
    pub fn new(output: Output) -> Self {
        Self { output, buffer: Vec::new(), who: Who::new(None, members) }
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
    match span.syscall() {
        Some(call) => push_call(out, call, who),
        None => match span.process().zip(span.process_span()) {
            Some((process, life)) => push_life(out, process, life, who),
            None => push_attributes(out, span),
        },
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
    push_number(out, "cgroup_id", life.cgroup_id);
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
mod tests {
    use super::super::who::tests::{ID, known};
    use super::*;
    use crate::span_record::{Payload, SpanContext, SpanKind, StatusCode};
    use proptest::prelude::*;
    use serde_json::Value;
    use std::{collections::HashMap, sync::Arc};
    use tracer_common::event::{Abi, CaptureState, Reason, Record};

    fn parse(span: &SpanRecord) -> Value {
        let mut out = Vec::new();
        push(&mut out, span, &[]);
        assert_eq!(std::str::from_utf8(&out).unwrap().lines().count(), 1);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn what_is_known_of_the_process_is_beside_the_call() {
        let (span, resolver) = known();
        let mut who = Who::new(Some(resolver), members);
        let mut out = Vec::new();
        push(&mut out, &span, who.of(&span).unwrap().0);
        let value: Value = serde_json::from_slice(&out).unwrap();
        let path = format!("/kubepods/burstable/pod8f1c4d2e-6a7b-4c3d-9e0f-112233445566/{ID}");
        for (key, expected) in [
            ("container_id", serde_json::json!(ID)),
            ("pod_uid", "8f1c4d2e-6a7b-4c3d-9e0f-112233445566".into()),
            ("pod_qos", "Burstable".into()),
            ("cgroup_path", path.into()),
            ("executable", "/bin/\\xff".into()),
            ("executable_escaped", true.into()),
            ("user", "root".into()),
            ("uid", 0.into()),
            ("gid", 44.into()),
            ("cgroup_id", 7.into()),
        ] {
            assert_eq!(value[key], expected, "{key}");
        }
        assert_eq!(value.get("unit"), None);
    }

    fn span(path: &[u8], state: CaptureState, nr: u32) -> SpanRecord {
        let mut payload = vec![1, state as u8, 0, 0];
        payload.extend(u32::try_from(path.len()).unwrap().to_ne_bytes());
        payload.extend(path);
        payload.resize(payload.len().next_multiple_of(8), 0);
        let call = SyscallSpan {
            args: [0xffff_ff9c, 4096, 0x80000, 0, 0, u64::MAX],
            ret: -2,
            cgroup_id: 77,
            uid: 1000,
            gid: 100,
            comm: *b"cat\0\0\0\0\0\0\0\0\0\0\0\0\0",
            payload: Payload::new(&payload),
            nr,
            abi: Abi::X86_64,
            record: Record::Complete,
            reason: Reason::None,
        };
        let context = SpanContext {
            process: Arc::new(Process {
                trace_id: [0xab; 16],
                span_id: [3; 8],
                tgid: 10,
                ..Process::default()
            }),
            span_id: [2; 8],
            start_time_nanos: 1_700_000_000_000_000_001,
            duration_nanos: 5,
            logical_clock: 9,
            thread_id: 11,
        };
        SpanRecord::from_syscall(context, call)
    }

    #[test]
    fn the_names_are_the_contracts() {
        let value = parse(&span(b"/etc/hostname", CaptureState::Whole, 257));
        let expected = serde_json::json!({
            "trace_id": "abababababababababababababababab", "span_id": "0202020202020202",
            "parent_span_id": "0303030303030303", "name": "openat", "kind": "internal",
            "start_time_unix_nano": 1_700_000_000_000_000_001_u64, "duration_nano": 5,
            "logical_clock": 9, "status": "error", "pid": 10, "tid": 11, "comm": "cat",
            "cgroup_id": 77,
            "syscall": {
                "nr": 257, "name": "openat", "abi": "x86_64",
                "args": [
                    {"name": "dfd", "value": 0xffff_ff9c_u64, "text": "AT_FDCWD"},
                    {"name": "filename", "value": 4096, "text": "/etc/hostname"},
                    {"name": "flags", "value": 0x80000, "text": "O_RDONLY|O_CLOEXEC"},
                ],
                "ret": -2, "error": "ENOENT", "record": "complete", "reason": "none",
            },
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn an_unknown_call_shows_all_registers() {
        let value = parse(&span(b"", CaptureState::Fault, 499));
        assert_eq!(value["name"], "syscall_499");
        assert_eq!(value["syscall"]["args"].as_array().unwrap().len(), 6);
        assert_eq!(value["syscall"]["args"][5]["value"], u64::MAX);
    }

    #[test]
    fn a_string_that_could_not_be_read_says_so() {
        let value = parse(&span(b"", CaptureState::Fault, 257));
        let arg = &value["syscall"]["args"][1];
        assert_eq!((&arg["state"], &arg["text"]), (&"fault".into(), &"0x1000".into()));
        let value = parse(&span(b"/long", CaptureState::Truncated, 257));
        assert_eq!(value["syscall"]["args"][1]["state"], "truncated");
    }

    #[test]
    fn other_spans_carry_their_attributes() {
        let attributes = HashMap::from([("k\"".to_owned(), "v\n".to_owned())]);
        let span = SpanRecord::new(
            [1; 16],
            [2; 8],
            Some([3; 8]),
            "work".into(),
            SpanKind::Client,
            1,
            2,
            3,
            StatusCode::Ok,
            String::new(),
            attributes,
            HashMap::new(),
            4,
            5,
        );
        let value = parse(&span);
        assert_eq!(value["attributes"]["k\""], "v\n");
        assert_eq!((&value["kind"], &value["status"]), (&"client".into(), &"ok".into()));
    }

    proptest! {
        #[test]
        fn any_path_gives_one_valid_line(path in proptest::collection::vec(1u8.., 0..200)) {
            let value = parse(&span(&path, CaptureState::Whole, 257));
            let text = value["syscall"]["args"][1]["text"].as_str().unwrap();
            if let Ok(path) = std::str::from_utf8(&path) {
                prop_assert_eq!(text, path);
            } else {
                prop_assert_eq!(&value["syscall"]["args"][1]["escaped"], &Value::Bool(true));
            }
        }
    }
}
