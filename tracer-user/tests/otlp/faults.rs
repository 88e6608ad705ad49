//! Every kind of fault with many seeds: the books balance, the receiver has what they say, and
//! what is lost is lost for the right reason.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use tracer_user::ring_buffer::DropReason::{
    self, Nonretryable, ProtocolError, RejectedPartial, RetryExhausted,
};

use crate::{
    receiver::SHARED,
    support::{compare, lost_otherwise, options, run, spans},
};

const SEEDS: u64 = 20;
const SPANS: u64 = 200;
/// Runs of a kind at the same time: they wait more than they work.
const WORKERS: u64 = 5;

/// What a kind of fault may do to spans.
struct Kind {
    name: &'static str,
    /// Why they may be lost.
    losses: &'static [DropReason],
    /// A receiver that does not answer; the patience with it is short.
    is_silent: bool,
    /// A request may arrive more than once.
    repeats: bool,
}

const fn kind(name: &'static str, losses: &'static [DropReason], repeats: bool) -> Kind {
    Kind { name, losses, is_silent: false, repeats }
}

const fn silent(name: &'static str) -> Kind {
    Kind { name, losses: &[], is_silent: true, repeats: true }
}

const ANY: &[DropReason] = &[Nonretryable, ProtocolError, RejectedPartial, RetryExhausted];

const KINDS: &[Kind] = &[
    kind("grpc_fine", &[], false),
    kind("grpc_unavailable", &[], true),
    kind("grpc_unavailable_counted", &[], true),
    kind("grpc_exhausted", &[Nonretryable], false),
    kind("grpc_exhausted_info", &[], true),
    kind("grpc_bad_details", &[], true),
    kind("grpc_retryable", &[], true),
    kind("grpc_final", &[Nonretryable], false),
    kind("grpc_partial", &[RejectedPartial], false),
    kind("grpc_partial_absurd", &[ProtocolError], false),
    silent("grpc_slow"),
    silent("grpc_silent"),
    kind("grpc_oversized", &[ProtocolError], false),
    kind("grpc_garbage", &[ProtocolError], false),
    Kind { name: "grpc_any", losses: ANY, is_silent: true, repeats: true },
    kind("http_fine", &[], false),
    kind("http_reset_before", &[], true),
    kind("http_reset_after", &[], true),
    kind("http_400", &[Nonretryable], false),
    kind("http_413", &[Nonretryable], false),
    kind("http_4xx", &[Nonretryable], false),
    kind("http_500", &[Nonretryable], false),
    kind("http_502", &[], true),
    kind("http_503", &[], true),
    kind("http_429", &[], true),
    kind("http_429_seconds", &[], true),
    kind("http_503_date", &[], true),
    kind("http_partial", &[RejectedPartial], false),
    kind("http_warning", &[], false),
    kind("http_partial_absurd", &[ProtocolError], false),
    kind("http_html", &[ProtocolError], false),
    kind("http_truncated", &[], true),
    kind("http_oversized", &[ProtocolError], false),
    kind("http_bomb", &[ProtocolError], false),
    silent("http_slow"),
    silent("http_silent"),
    silent("http_trickle"),
    kind("http_redirect", &[Nonretryable], false),
    kind("http_garbage", &[], true),
    Kind { name: "http_any", losses: ANY, is_silent: true, repeats: true },
];

/// Spans lost for the expected reasons, and faults of the receiver.
fn one_run(kind: &Kind, seed: u64) -> (u64, u64) {
    let scenario = format!("{}/{seed}", kind.name);
    let (protocol, port) =
        if kind.name.starts_with("grpc") { ("grpc", "grpc") } else { ("http/protobuf", "http") };
    let variables = [("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)];
    let mut options = options(&SHARED.url(port), &scenario, &variables);
    // The pauses that a receiver asks for are about the requests after that.
    let quiet = ["http_429_seconds", "http_503_date", "grpc_exhausted_info"].contains(&kind.name);
    options.in_flight = if quiet { 1 } else { 4 };
    options.timeout =
        if kind.is_silent { Duration::from_millis(250) } else { Duration::from_mins(1) };
    let delivery = run(&options, spans(SPANS));
    let account = SHARED.account(&scenario);
    compare(&delivery, &account);
    assert_eq!(lost_otherwise(&delivery, kind.losses), 0, "{scenario}: {delivery:?}");
    assert!(kind.repeats || account.get("repeats") == 0, "{scenario}: {account:?}");
    let has_faults = account.get("faults") > 0;
    let has_error = delivery.first_error().is_some();
    assert_eq!(has_error, delivery.dropped_total() > 0, "{scenario}: {delivery:?}");
    assert!(has_faults || delivery.dropped_total() == 0, "{scenario}: {delivery:?}");
    (delivery.dropped_total(), account.get("faults"))
}

fn all_seeds(kind: &Kind) {
    let (lost, faults) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (lost, faults) = (&lost, &faults);
            let work = move || {
                for seed in (worker..SEEDS).step_by(usize::try_from(WORKERS).unwrap()) {
                    let run = one_run(kind, seed);
                    lost.fetch_add(run.0, Ordering::Relaxed);
                    faults.fetch_add(run.1, Ordering::Relaxed);
                }
            };
            thread::Builder::new().spawn_scoped(scope, work).unwrap();
        }
    });
    let (lost, faults) = (lost.into_inner(), faults.into_inner());
    eprintln!("{}: {faults} faults, {lost} of {} spans lost", kind.name, SEEDS * SPANS);
    assert_eq!(faults == 0, kind.name.ends_with("_fine"), "{}: {faults}", kind.name);
    assert_eq!(lost == 0, kind.losses.is_empty(), "{}: {lost}", kind.name);
}

/// A share of the kinds, so that the shares run side by side.
fn share(part: usize, parts: usize) {
    KINDS.iter().skip(part).step_by(parts).for_each(all_seeds);
}

#[test]
fn books_balance_whatever_the_receiver_does_a() {
    share(0, 2);
}

#[test]
fn books_balance_whatever_the_receiver_does_b() {
    share(1, 2);
}
