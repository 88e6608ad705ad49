//! The exporter without a receiver.

use super::*;
use crate::{
    process::Process,
    span_record::{SpanContext, test_call},
};

fn spans(count: u64) -> Vec<SpanRecord> {
    let context = |number| SpanContext {
        process: Arc::new(Process {
            trace_id: [1; 16],
            span_id: [3; 8],
            tgid: 1,
            ..Process::default()
        }),
        span_id: [2; 8],
        start_time_nanos: number,
        duration_nanos: 1,
        logical_clock: 1,
        thread_id: 1,
    };
    (0..count).map(|n| SpanRecord::from_syscall(context(n), test_call(39, 1))).collect()
}

/// A port where nobody listens, one request at a time, one span in each.
fn options() -> OtlpOptions {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut options = OtlpOptions::new(Some(&url), |_| None).unwrap();
    options.batch.spans = 1;
    options.in_flight = 1;
    options.drain = Duration::from_millis(50);
    options
}

fn export(exporter: &mut OtlpExporter, delivery: &Delivery, count: u64) {
    delivery.enqueue(count, u64::MAX, || true);
    delivery.take(count).unwrap();
    exporter.export(&spans(count)).unwrap();
}

/// Without the disk the second request would wait for the first.
#[test]
fn while_the_receiver_is_away_requests_wait_on_disk() {
    let spill = SpillOptions { folder: std::env::temp_dir(), bytes: 1 << 20 };
    let options = OtlpOptions { spill: Some(spill), ..options() };
    let delivery = Arc::new(Delivery::new("otlp"));
    let mut exporter = OtlpExporter::open(&options, Arc::clone(&delivery)).unwrap();
    export(&mut exporter, &delivery, 500);
    assert_eq!((delivery.queued(), delivery.dropped_total()), (500, 0));
    exporter.shutdown().unwrap();
    assert_eq!((delivery.queued(), delivery.dropped(DropReason::ShutdownDeadline)), (0, 500));
}

#[test]
fn without_room_on_disk_the_oldest_goes_first() {
    let spill = SpillOptions { folder: std::env::temp_dir(), bytes: 2000 };
    let mut options = OtlpOptions { spill: Some(spill), ..options() };
    options.retry.limit = Duration::from_millis(1);
    let delivery = Arc::new(Delivery::new("otlp"));
    let mut exporter = OtlpExporter::open(&options, Arc::clone(&delivery)).unwrap();
    export(&mut exporter, &delivery, 50);
    exporter.shutdown().unwrap();
    assert_eq!((delivery.queued(), delivery.dropped_total()), (0, 50));
    assert!(delivery.dropped(DropReason::RetryExhausted) > 0, "{delivery:?}");
}

/// What a receiver that answers `answer` to whatever comes makes the exporter say.
fn said_of(answer: &'static [u8], set: &'static [(&'static str, &'static str)]) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serve = move || {
        // Until the test has ended.
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = stream;
            let mut some = [0; 64];
            let asked = std::io::Read::read(&mut stream, &mut some).is_ok_and(|len| len > 0);
            if asked && std::io::Write::write_all(&mut stream, answer).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("receiver".into()).spawn(serve).unwrap();
    let variable = |name: &str| {
        set.iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| std::ffi::OsString::from(value))
    };
    let mut options = OtlpOptions::new(Some(&url), variable).unwrap();
    options.retry.first = Duration::from_millis(1);
    options.retry.limit = Duration::from_millis(200);
    let delivery = Arc::new(Delivery::new("otlp"));
    let mut exporter = OtlpExporter::open(&options, Arc::clone(&delivery)).unwrap();
    export(&mut exporter, &delivery, 1);
    exporter.shutdown().unwrap();
    assert_eq!(delivery.delivered(), 0);
    delivery.first_error().unwrap()
}

/// Each port but one is taken for that of HTTP.
#[test]
fn a_receiver_of_another_protocol_is_told_with_what_to_set() {
    const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
    // A `SETTINGS` frame, the first that a server of HTTP/2 sends.
    const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
    let said = said_of(SETTINGS, &[]);
    assert!(said.contains("set OTEL_EXPORTER_OTLP_PROTOCOL=grpc"), "{said}");
    let said = said_of(SETTINGS, &[(PROTOCOL, "http/protobuf")]);
    assert!(!said.contains(PROTOCOL), "{said}");
    let busy = b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nretry-after: 9\r\n\r\n";
    let said = said_of(busy, &[]);
    assert!(!said.contains(PROTOCOL), "{said}");
}

#[test]
fn an_exporter_without_spans_starts_no_thread() {
    let delivery = Arc::new(Delivery::new("otlp"));
    let mut exporter = OtlpExporter::open(&options(), delivery).unwrap();
    exporter.idle().unwrap();
    exporter.shutdown().unwrap();
    assert!(format!("{exporter:?}").contains("running: None"));
}

#[test]
fn a_folder_that_cannot_be_used_is_named_at_the_start() {
    let spill = SpillOptions { folder: "/no/such/folder".into(), bytes: 1 };
    let options = OtlpOptions { spill: Some(spill), ..options() };
    let error = OtlpExporter::open(&options, Arc::new(Delivery::new("otlp"))).unwrap_err();
    assert!(error.to_string().contains("`/no/such/folder`"), "{error}");
}
