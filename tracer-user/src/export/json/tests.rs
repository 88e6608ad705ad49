//! Names and values of members.

use super::super::who::tests::{ID, known};
use super::*;
use crate::span_record::{Loss, LossPlace, Payload, SpanContext, SpanKind, StatusCode};
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

#[test]
fn a_loss_is_an_object_of_its_own() {
    let loss = Loss { place: LossPlace::KernelRing, calls: 12, others: 3 };
    let value = parse(&SpanRecord::from_loss(5, 9, loss));
    assert_eq!((&value["name"], &value["duration_nano"]), (&"lost".into(), &4.into()));
    let expected = serde_json::json!({"calls": 12, "others": 3, "place": "kernel_ring"});
    assert_eq!(value["lost"], expected);
    assert!(value.get("syscall").is_none() && value["parent_span_id"].is_null());
}

#[test]
fn a_signal_has_its_information() {
    let mut info = [0; 48];
    for (at, word) in [(0, 10_u32), (16, 123), (20, 1000)] {
        info[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }
    let comm = *b"cat\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let signal = SignalSpan { signal: 10, info, info_len: 48, comm, cgroup_id: 7, uid: 0, gid: 44 };
    let context = SpanContext {
        process: Arc::new(Process { span_id: [3; 8], tgid: 10, ..Process::default() }),
        span_id: [2; 8],
        start_time_nanos: 5,
        duration_nanos: 0,
        logical_clock: 9,
        thread_id: 11,
    };
    let value = parse(&SpanRecord::from_signal(context, signal));
    assert_eq!((&value["name"], &value["duration_nano"]), (&"signal SIGUSR1".into(), &0.into()));
    assert_eq!(
        (&value["parent_span_id"], &value["status"]),
        (&"03".repeat(8).into(), &"unset".into())
    );
    let expected = serde_json::json!({
        "number": 10, "name": "SIGUSR1",
        "info": {"si_signo": "SIGUSR1", "si_code": "SI_USER", "si_pid": 123, "si_uid": 1000},
    });
    assert_eq!(value["signal"], expected);
    assert!(value.get("syscall").is_none());
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
