//! Receivers that are not there, come, go and come back; and the end.

use std::time::{Duration, Instant};

use tracer_user::{export::otlp::SpillOptions, ring_buffer::DropReason};

use crate::{
    receiver::{Receiver, SHARED},
    support::{finish, options, reserved_port, run, span, spans, start},
};

const GRPC: (&str, &str) = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");

#[test]
fn without_a_receiver_spans_are_given_up_and_counted() {
    let (_socket, port) = reserved_port();
    let mut options = options(&format!("http://127.0.0.1:{port}"), "fine/dead", &[GRPC]);
    options.retry.limit = Duration::from_millis(200);
    options.in_flight = 1;
    let delivery = run(&options, spans(100));
    assert_eq!(delivery.dropped(DropReason::RetryExhausted), 100);
    assert_eq!(delivery.possible_duplicates(), 0);
    assert!(delivery.first_error().unwrap().contains("refused"), "{delivery:?}");
}

#[test]
fn the_end_does_not_wait_for_a_dead_receiver() {
    let (_socket, port) = reserved_port();
    for scenario in ["grpc_silent/end", "fine/end"] {
        let is_silent = scenario.starts_with("grpc_silent");
        let url = if is_silent { SHARED.url("grpc") } else { format!("http://127.0.0.1:{port}") };
        let mut options = options(&url, scenario, &[GRPC]);
        options.drain = Duration::from_millis(300);
        options.in_flight = 100;
        let mut buffer = start(&options);
        spans(2000).for_each(|span| buffer.push(span));
        let delivery = finish(&mut buffer, 2000, Duration::from_mins(1));
        let lost = delivery.dropped(DropReason::ShutdownDeadline);
        assert_eq!(lost + delivery.delivered(), 2000, "{delivery:?}");
        assert!(lost > 0, "{delivery:?}");
        // What was sent without an answer may have arrived; what was not sent has not.
        assert_eq!(delivery.possible_duplicates() > 0, is_silent, "{delivery:?}");
        assert!(delivery.first_error().is_some());
    }
}

#[test]
fn past_the_deadline_everything_is_counted_by_the_account() {
    let mut options = options(&SHARED.url("grpc"), "grpc_silent/deadline", &[GRPC]);
    options.drain = Duration::from_secs(20);
    let mut buffer = start(&options);
    spans(1000).for_each(|span| buffer.push(span));
    let delivery = finish(&mut buffer, 1000, Duration::from_millis(200));
    assert!(delivery.dropped(DropReason::ShutdownDeadline) > 0, "{delivery:?}");
}

#[test]
fn a_receiver_that_comes_back_gets_everything() {
    come_back(None);
}

#[test]
fn a_receiver_that_comes_back_gets_what_waits_on_disk() {
    come_back(Some(SpillOptions { folder: std::env::temp_dir(), bytes: 1 << 30 }));
}

fn come_back(spill: Option<SpillOptions>) {
    let first = Receiver::start(None);
    let port = first.port("grpc");
    let mut options = options(&first.url("grpc"), "fine/restart", &[GRPC]);
    options.batch.spans = 10;
    options.in_flight = 2;
    options.spill = spill;
    let mut buffer = start(&options);
    let push = |from: u64, to: u64| (from..to).for_each(|n| buffer.push(span(n, 1, b"/x")));
    let wait_for = |count: u64| {
        let begun = Instant::now();
        while buffer.deliveries()[0].delivered() < count {
            assert!(begun.elapsed() < Duration::from_mins(1), "{:?}", buffer.deliveries()[0]);
            std::thread::yield_now();
        }
    };
    push(0, 100);
    wait_for(100);
    let before = first.account("fine/restart").get("distinct");
    first.kill();
    push(100, 200);
    let second = Receiver::start(Some(port));
    push(200, 300);
    wait_for(300);
    let after = second.account("fine/restart");
    let delivery = finish(&mut buffer, 300, Duration::from_mins(1));
    assert_eq!((before, after.get("distinct")), (100, 200), "{delivery:?}");
    assert_eq!(delivery.dropped_total(), 0);
}
