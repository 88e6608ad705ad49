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
