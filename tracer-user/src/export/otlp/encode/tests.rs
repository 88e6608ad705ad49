//! The encoder against the official message types: the same bytes for any spans.

use std::sync::Arc;

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status},
};
use proptest::prelude::*;
use prost::Message;
use tracer_common::event::{Abi, Reason, Record};

use super::*;
use crate::{
    export::{
        argument::{self, arguments, push_value},
        who::tests::{ID, known},
    },
    process::Process,
    span_record::{Payload, SpanContext, SpanKind},
};

fn key_value(key: impl Into<String>, value: Value) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn text(key: impl Into<String>, value: impl Into<String>) -> KeyValue {
    key_value(key, Value::StringValue(value.into()))
}

fn int(key: impl Into<String>, value: i64) -> KeyValue {
    key_value(key, Value::IntValue(value))
}

/// What `docs/otlp.md` says of bytes that are not UTF-8.
fn foreign(key: &str, mark: String, bytes: &[u8]) -> Vec<KeyValue> {
    if let Ok(whole) = std::str::from_utf8(bytes) {
        return vec![text(key, whole)];
    }
    let mut escaped = String::new();
    for chunk in bytes.utf8_chunks() {
        escaped += &chunk.valid().replace('\\', "\\\\");
        escaped.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    vec![text(key, escaped), key_value(mark, Value::BoolValue(true))]
}

fn expected_attributes(span: &SpanRecord) -> Vec<KeyValue> {
    let mut all = vec![
        int("thread.id", span.thread_id().cast_signed()),
        int("tracer.logical_clock", span.logical_clock().cast_signed()),
    ];
    let Some(call) = span.syscall() else {
        all.retain(|own| !span.attributes().contains_key(&own.key));
        all.extend(span.attributes().iter().map(|(key, value)| text(key, value)));
        return all;
    };
    if !call.comm().is_empty() {
        all.extend(foreign("thread.name", "syscall.thread_name_escaped".into(), call.comm()));
    }
    all.extend(call.error().map(|error| text("error.type", error)));
    all.push(int("syscall.number", call.nr.into()));
    all.push(text("syscall.abi", call.abi.name()));
    if call.has_result() {
        all.push(int("syscall.return", call.ret));
    }
    all.push(int("syscall.cgroup_id", call.cgroup_id.cast_signed()));
    if call.record != Record::Complete {
        all.push(text("syscall.record", call.record.name()));
        all.push(text("syscall.reason", call.reason.name()));
    }
    let context = argument::context(call);
    for (index, arg) in arguments(call, &context).iter().enumerate() {
        let key = format!("syscall.arg.{}", arg.name);
        let mark = format!("syscall.arg_escaped.{}", arg.name);
        if let Some(string) = argument::text(call, index, arg.kind) {
            all.extend(foreign(&key, mark, string.bytes));
        } else if let Some(value) = attributes::number(call.abi, arg, context.args[index]) {
            all.push(int(key, value));
        } else {
            let mut decoded = Vec::new();
            push_value(&mut decoded, call, &context, arg.kind, index);
            all.extend(foreign(&key, mark, &decoded));
        }
        if let Some(state) = argument::state(call, index, arg.kind) {
            all.push(text(format!("syscall.arg_state.{}", arg.name), state.name()));
        }
        if call.read_late() >> index & 1 == 1 {
            all.push(text(format!("syscall.arg_read_at.{}", arg.name), "exit"));
        }
    }
    all
}

fn expected_span(span: &SpanRecord, error_status: ErrorStatus) -> Span {
    let (code, message) = match span.syscall() {
        Some(call) if error_status.of(call) == StatusCode::Error => {
            (2, call.error().unwrap().into_owned())
        }
        Some(_) => (0, String::new()),
        None => (span.status_code() as i32, span.status_message().into_owned()),
    };
    let status = Status { code, message };
    let trace_state = span.process().and_then(|it| it.trace_state.as_deref());
    Span {
        trace_id: span.trace_id().to_vec(),
        span_id: span.span_id().to_vec(),
        trace_state: trace_state.map(str::to_owned).unwrap_or_default(),
        parent_span_id: span.parent_span_id().map(Vec::from).unwrap_or_default(),
        name: span.span_name().into_owned(),
        kind: span.span_kind() as i32 + 1,
        start_time_unix_nano: span.start_time_nanos(),
        end_time_unix_nano: span.end_time_nanos(),
        attributes: expected_attributes(span),
        status: (status != Status::default()).then_some(status),
        ..Span::default()
    }
}

fn expected_resource(span: &SpanRecord, resource: &[(String, String)]) -> Resource {
    let own = span.resource();
    let common = resource.iter().filter(|(key, _)| !own.contains_key(key));
    let mut attributes: Vec<_> = common.map(|(key, value)| text(key, value)).collect();
    attributes.extend(own.iter().map(|(key, value)| text(key, value)));
    if !own.contains_key("process.pid") {
        attributes.push(int("process.pid", span.process_id().into()));
    }
    Resource { attributes, ..Resource::default() }
}

/// The request for batches that were pushed one after the other.
fn expected(
    batches: &[Vec<SpanRecord>],
    resource: &[(String, String)],
    error_status: ErrorStatus,
) -> ExportTraceServiceRequest {
    let mut groups: Vec<(Option<u32>, ResourceSpans)> = Vec::new();
    for batch in batches {
        let mut sorted: Vec<_> = batch.iter().collect();
        sorted.sort_by_key(|span| span.process_id());
        for span in sorted {
            let pid = span.resource().is_empty().then(|| span.process_id());
            if pid.is_none() || groups.last().is_none_or(|(last, _)| *last != pid) {
                let scope = InstrumentationScope {
                    name: SCOPE.into(),
                    version: VERSION.into(),
                    ..InstrumentationScope::default()
                };
                let scope_spans = ScopeSpans {
                    scope: Some(scope),
                    spans: Vec::new(),
                    schema_url: SCHEMA_URL.into(),
                };
                let group = ResourceSpans {
                    resource: Some(expected_resource(span, resource)),
                    scope_spans: vec![scope_spans],
                    schema_url: SCHEMA_URL.into(),
                };
                groups.push((pid, group));
            }
            let (_, group) = groups.last_mut().unwrap();
            group.scope_spans[0].spans.push(expected_span(span, error_status));
        }
    }
    let resource_spans = groups.into_iter().map(|(_, group)| group).collect();
    ExportTraceServiceRequest { resource_spans }
}

/// Numbers of every length, the edges more often than chance would.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(u64::MAX), (0u32..64, any::<u64>()).prop_map(|(by, n)| n >> by)]
}

fn syscall_number() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0u32..470, 1 => any::<u32>()]
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    let bytes = prop_oneof![
        proptest::collection::vec(1u8.., 0..40),
        proptest::collection::vec(0x20u8..0x7f, 0..300),
    ];
    let capture = (0u8..6, 0u8..4, 0u8..3, bytes).prop_map(|(arg, state, phase, bytes)| {
        let mut out = vec![arg, state, phase, 0];
        out.extend(u32::try_from(bytes.len()).unwrap().to_ne_bytes());
        out.extend(&bytes);
        out.resize(out.len().next_multiple_of(8), 0);
        out
    });
    proptest::collection::vec(capture, 0..3).prop_map(|captures| captures.concat())
}

prop_compose! {
    fn syscall()(
        nr in syscall_number(),
        args in proptest::array::uniform6(number()),
        ret in prop_oneof![-600i64..10, any::<i64>()],
        cgroup_id in number(),
        comm in any::<[u8; 16]>(),
        payload in payload(),
        kinds in (0..Abi::ALL.len(), 0..Record::ALL.len(), 0..Reason::ALL.len()),
        context in context(),
    ) -> SpanRecord {
        let call = SyscallSpan {
            args, ret, cgroup_id, comm, nr,
            uid: 1000,
            gid: 100,
            payload: Payload::new(&payload),
            abi: Abi::ALL[kinds.0],
            record: Record::ALL[kinds.1],
            reason: Reason::ALL[kinds.2],
        };
        SpanRecord::from_syscall(context, call)
    }
}

prop_compose! {
    fn context()(
        trace_id: [u8; 16], span_id: [u8; 8], parent: [u8; 8],
        start_time_nanos in number(), duration_nanos in number(), logical_clock in number(),
        tgid in prop_oneof![1u32..4, any::<u32>()], thread_id: u32,
        state in proptest::option::of("[a-z]{1,9}=[ -~]{1,80}"),
    ) -> SpanContext {
        let trace_state = state.map(Into::into);
        let process = Process { trace_id, span_id: parent, tgid, trace_state, ..Process::default() };
        SpanContext {
            process: Arc::new(process),
            span_id, start_time_nanos, duration_nanos, logical_clock, thread_id,
        }
    }
}

fn map() -> impl Strategy<Value = HashMap<String, String>> {
    let key = prop_oneof![
        Just("thread.id".to_owned()),
        Just("process.pid".to_owned()),
        Just("service.name".to_owned()),
        any::<String>(),
    ];
    proptest::collection::hash_map(key, any::<String>(), 0..3)
}

prop_compose! {
    fn named()(
        name: String, message: String, attributes in map(), resource in map(),
        kind in 0usize..5, status in 0usize..3, context in context(), parent: Option<[u8; 8]>,
    ) -> SpanRecord {
        use SpanKind::{Client, Consumer, Internal, Producer, Server};
        SpanRecord::new(
            context.process.trace_id, context.span_id, parent, name,
            [Internal, Server, Client, Producer, Consumer][kind],
            context.start_time_nanos, context.duration_nanos, context.logical_clock,
            [StatusCode::Unset, StatusCode::Ok, StatusCode::Error][status],
            message, attributes, resource, context.process.tgid, u64::from(context.thread_id) << 8,
        )
    }
}

fn resource() -> Vec<(String, String)> {
    vec![("service.name".into(), "tracer".into()), ("host.name".into(), "h".into())]
}

fn encode(batches: &[Vec<SpanRecord>], error_status: ErrorStatus) -> Vec<u8> {
    let mut encoder = Encoder::new(resource(), error_status);
    for batch in batches {
        assert_eq!(encoder.push(batch, |_| {}), 0);
    }
    let spans: usize = batches.iter().map(Vec::len).sum();
    assert_eq!(encoder.spans(), spans as u64);
    let (bytes, _) = encoder.take(Vec::new());
    bytes[PREFIX..].to_vec()
}

proptest! {
    #[test]
    fn the_bytes_are_those_of_the_official_types(
        batches in proptest::collection::vec(
            proptest::collection::vec(prop_oneof![4 => syscall(), 1 => named()], 0..12), 0..4),
        status in 0usize..3,
    ) {
        let status = [ErrorStatus::All, ErrorStatus::Unexpected, ErrorStatus::Never][status];
        let bytes = encode(&batches, status);
        let expected = expected(&batches, &resource(), status);
        // First the messages, whose difference a person can read.
        prop_assert_eq!(&ExportTraceServiceRequest::decode(bytes.as_slice()).unwrap(), &expected);
        prop_assert!(bytes == expected.encode_to_vec(), "not the canonical form");
    }
}

#[test]
fn the_resource_says_whose_process_it_is() {
    let (span, resolver) = known();
    let other = small(5, 1);
    let mut encoder = Encoder::new(resource(), ErrorStatus::All).with_identity(resolver);
    encoder.push(&[span.clone(), span, other], |_| {});
    let (bytes, _) = encoder.take(Vec::new());
    let request = ExportTraceServiceRequest::decode(&bytes[PREFIX..]).unwrap();
    // The same process id, but not the same process.
    let counts = request.resource_spans.iter().map(|it| it.scope_spans[0].spans.len());
    assert_eq!(counts.collect::<Vec<_>>(), [2, 1]);
    let attributes = &request.resource_spans[0].resource.as_ref().unwrap().attributes;
    let value = |key: &str| {
        let found = attributes.iter().find(|it| it.key == key).unwrap_or_else(|| panic!("{key}"));
        found.value.as_ref().unwrap().value.clone().unwrap()
    };
    let text = |text: &str| Value::StringValue(text.to_owned());
    assert_eq!(value("process.pid"), Value::IntValue(5));
    assert_eq!(value("container.id"), text(ID));
    assert_eq!(value("k8s.pod.uid"), text("8f1c4d2e-6a7b-4c3d-9e0f-112233445566"));
    assert_eq!(value("process.owner"), text("root"));
    assert_eq!(value("process.user.id"), Value::IntValue(0));
    assert_eq!(value("process.executable.path"), text("/bin/\\xff"));
    assert_eq!(value("tracer.escaped.process.executable.path"), Value::BoolValue(true));
    let unknown = &request.resource_spans[1].resource.as_ref().unwrap().attributes;
    assert!(unknown.iter().all(|it| it.key != "container.id"));
}

#[test]
fn requests_that_are_taken_early_hold_each_span_once() {
    let spans: Vec<_> = (0..100).map(|n| small(n % 3, n)).collect();
    let mut encoder = Encoder::new(resource(), ErrorStatus::All);
    let mut ids = Vec::new();
    let mut collect = |(bytes, spans): (Vec<u8>, u64)| {
        let request = ExportTraceServiceRequest::decode(&bytes[PREFIX..]).unwrap();
        let found: Vec<_> = request
            .resource_spans
            .into_iter()
            .flat_map(|it| it.scope_spans)
            .flat_map(|it| it.spans)
            .map(|span| span.start_time_unix_nano)
            .collect();
        assert_eq!(found.len() as u64, spans);
        ids.extend(found);
    };
    encoder.push(&spans, |encoder| {
        if encoder.len() > 2000 {
            collect(encoder.take(Vec::new()));
        }
    });
    collect(encoder.take(Vec::new()));
    ids.sort_unstable();
    assert_eq!(ids, (0..100).collect::<Vec<_>>());
}

#[test]
fn a_span_without_end_is_left_out() {
    let attributes = HashMap::from([("k".to_owned(), "v".repeat(MAX_SPAN))]);
    let long = SpanRecord::new(
        [1; 16],
        [2; 8],
        None,
        "long".into(),
        SpanKind::Internal,
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
    let mut encoder = Encoder::new(resource(), ErrorStatus::All);
    assert_eq!(encoder.push(&[long, small(1, 1)], |_| {}), 1);
    assert_eq!(encoder.spans(), 1);
}

fn small(process_id: u32, start: u32) -> SpanRecord {
    let context = SpanContext {
        process: Arc::new(Process { tgid: process_id, ..Process::default() }),
        span_id: [2; 8],
        start_time_nanos: start.into(),
        duration_nanos: 1,
        logical_clock: 1,
        thread_id: process_id,
    };
    SpanRecord::from_syscall(context, crate::span_record::test_call(39, 1))
}

#[test]
fn errors_of_the_normal_course_are_no_failures() {
    let of = |status: ErrorStatus, ret| status.of(&crate::span_record::test_call(257, ret));
    for (errno, is_expected) in [(2, true), (4, true), (11, true), (13, false), (5, false)] {
        let expected = if is_expected { StatusCode::Unset } else { StatusCode::Error };
        assert_eq!(of(ErrorStatus::Unexpected, -errno), expected, "{errno}");
        assert_eq!(of(ErrorStatus::All, -errno), StatusCode::Error);
        assert_eq!(of(ErrorStatus::Never, -errno), StatusCode::Unset);
    }
    // ERESTARTSYS, and success.
    assert_eq!(of(ErrorStatus::All, -512), StatusCode::Unset);
    assert_eq!(of(ErrorStatus::All, 3), StatusCode::Unset);
}
