//! What is in the requests.

use tracer_user::ring_buffer::DropReason;

use crate::{
    receiver::SHARED,
    support::{compare, options, run, span, spans},
};

const HTTP: (&str, &str) = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
const GRPC: (&str, &str) = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");

/// Undoes the escapes of `docs/otlp.md`.
fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.extend(rest[..at].bytes());
        if let Some(hex) = rest[at..].strip_prefix("\\x") {
            out.push(u8::from_str_radix(&hex[..2], 16).unwrap());
            rest = &hex[2..];
        } else {
            assert_eq!(&rest[at..at + 2], "\\\\");
            out.push(b'\\');
            rest = &rest[at + 2..];
        }
    }
    out.extend(rest.bytes());
    out
}

#[test]
fn paths_of_any_bytes_come_back_whole() {
    let mut paths: Vec<Vec<u8>> = (1..=255).map(|byte| vec![b'/', byte, b'x']).collect();
    paths.push((1..=255).collect());
    paths.push(b"/plain \\x41 path".to_vec());
    let options = options(&SHARED.url("http"), "keep/bytes", &[HTTP]);
    let sent = paths.iter().enumerate().map(|(n, path)| span(n as u64, 1, path));
    let delivery = run(&options, sent);
    let account = SHARED.account("keep/bytes");
    compare(&delivery, &account);
    assert_eq!(delivery.delivered(), paths.len() as u64);
    let mut found: Vec<Vec<u8>> = account.0["kept"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attributes| {
            let text = attributes["syscall.arg.filename"].as_str().unwrap();
            let is_escaped = attributes.get("syscall.arg_escaped.filename").is_some();
            if is_escaped { unescape(text) } else { text.as_bytes().to_vec() }
        })
        .collect();
    found.sort();
    paths.sort();
    assert_eq!(found, paths);
}

#[test]
fn compressed_requests_can_be_read() {
    for (scenario, port, protocol, compression) in [
        ("fine/http-gzip", "http", HTTP, "gzip"),
        ("fine/http-zstd", "http", HTTP, "zstd"),
        ("fine/grpc-gzip", "grpc", GRPC, "gzip"),
    ] {
        let variables = [protocol, ("OTEL_EXPORTER_OTLP_COMPRESSION", compression)];
        let delivery = run(&options(&SHARED.url(port), scenario, &variables), spans(500));
        compare(&delivery, &SHARED.account(scenario));
        assert_eq!(delivery.delivered(), 500, "{scenario}");
    }
}

#[test]
fn requests_stay_below_what_receivers_take() {
    let mut options = options(&SHARED.url("grpc"), "fine/long", &[GRPC]);
    options.batch.bytes = 2 << 20;
    options.batch.spans = u64::MAX;
    options.batch.age = std::time::Duration::from_mins(1);
    // Each of its bytes needs four.
    let delivery = run(&options, (0..3000).map(|number| span(number, 1, &[0xff; 3000])));
    let account = SHARED.account("fine/long");
    compare(&delivery, &account);
    assert_eq!(delivery.delivered(), 3000);
    let largest = account.get("largest");
    assert!((2 << 20..4 << 20).contains(&largest), "{largest}");
}

#[test]
fn a_process_is_one_resource_of_a_batch() {
    let mut options = options(&SHARED.url("http"), "fine/resources", &[HTTP]);
    options.batch.spans = u64::MAX;
    options.batch.age = std::time::Duration::from_mins(1);
    let delivery = run(&options, spans(3000));
    assert_eq!(delivery.delivered(), 3000);
    let account = SHARED.account("fine/resources");
    assert_eq!(account.get("requests"), 1);
    // Three processes; a batch of the sidecar has 1024 spans at most, and may have fewer.
    assert!(account.get("resources") < 1000, "{account:?}");
}

#[test]
fn a_span_too_long_for_any_receiver_is_counted() {
    use std::collections::HashMap;
    use tracer_user::span_record::{SpanKind, SpanRecord, StatusCode};

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
        HashMap::from([("k".to_owned(), "v".repeat(5 << 20))]),
        HashMap::new(),
        4,
        5,
    );
    let options = options(&SHARED.url("grpc"), "fine/too-long", &[GRPC]);
    let delivery = run(&options, spans(10).chain([long]));
    compare(&delivery, &SHARED.account("fine/too-long"));
    assert_eq!((delivery.delivered(), delivery.dropped(DropReason::TooLong)), (10, 1));
}
