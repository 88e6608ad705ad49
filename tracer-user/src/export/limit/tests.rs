//! Which spans are passed on, and how the others are counted.

use super::*;
use crate::{
    export::MemoryExporter,
    process::Process,
    span_record::{SpanContext, test_call},
};

fn span(trace: u64) -> SpanRecord {
    let mut trace_id = [0; 16];
    // Spread over all values, as ids are.
    trace_id[8..].copy_from_slice(&trace.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    let context = SpanContext {
        process: Arc::new(Process { trace_id, span_id: [3; 8], tgid: 1, ..Process::default() }),
        span_id: [1; 8],
        start_time_nanos: trace,
        duration_nanos: 1,
        logical_clock: 1,
        thread_id: 1,
    };
    SpanRecord::from_syscall(context, test_call(39, 1))
}

/// What a destination does with an exporter, in batches of 100.
fn drive(inner: impl Exporter + 'static, limits: Limits, spans: &[SpanRecord]) -> Arc<Delivery> {
    let delivery = Arc::new(Delivery::new("test"));
    let mut limited = Limited::new(Box::new(inner), Arc::clone(&delivery), limits);
    assert!(limited.settles_later());
    for batch in spans.chunks(100) {
        let count = batch.len() as u64;
        delivery.enqueue(count, u64::MAX, || true);
        delivery.take(count).unwrap();
        if let Err(error) = limited.export(batch) {
            delivery.settle_dropped(DropReason::Rejected, count - error.delivered() as u64);
        }
    }
    assert_eq!(delivery.queued(), 0);
    assert_eq!(delivery.delivered() + delivery.dropped_total(), spans.len() as u64);
    delivery
}

fn run(
    limits: Limits,
    spans: impl Iterator<Item = SpanRecord>,
) -> (Vec<SpanRecord>, Arc<Delivery>) {
    let memory = MemoryExporter::new();
    let delivery = drive(memory.clone(), limits, &spans.collect::<Vec<_>>());
    (memory.take(), delivery)
}

#[test]
fn a_share_of_traces_is_taken_whole() {
    let spans = || (0..20_000).map(|n| span(n / 10));
    let (all, delivery) = run(Limits::default(), spans());
    assert_eq!((all.len(), delivery.dropped_total()), (20_000, 0));
    let (tenth, delivery) = run(Limits { sample: 0.1, max_rate: None }, spans());
    assert_eq!(delivery.dropped(DropReason::NotSampled), 20_000 - tenth.len() as u64);
    assert!((1500..2500).contains(&tenth.len()), "{}", tenth.len());
    assert_eq!(tenth.len() % 10, 0);
    let (half, _) = run(Limits { sample: 0.5, max_rate: None }, spans());
    assert!(tenth.iter().all(|span| half.contains(span)), "a smaller share is part of a larger");
    let (none, _) = run(Limits { sample: 0.0, max_rate: None }, spans());
    assert!(none.is_empty());
}

fn rate(most: u64) -> Rate {
    Rate { most, threshold: 0, began: Instant::now(), offered: 0, taken: 0 }
}

#[test]
fn a_second_has_room_for_so_many_spans() {
    let mut rate = rate(100);
    assert_eq!((0..1000).filter(|_| rate.take(ALL - 1)).count(), 100);
    // The load of the last second decides which traces the next one takes.
    rate.advance(rate.began + WINDOW, 0);
    let ids = (0..1000).map(|n| randomness(&span(n).trace_id()));
    let taken = ids.filter(|id| rate.take(*id)).count();
    assert!((80..=100).contains(&taken), "{taken}");
    // After a quiet one there is room for all again.
    rate.advance(rate.began + WINDOW * 100, 0);
    assert!((0..100).all(|n| rate.take(randomness(&span(n).trace_id()))));
}

#[test]
fn nothing_is_rated_before_the_second_is_over() {
    let mut rate = rate(10);
    assert_eq!((0..100).filter(|_| rate.take(0)).count(), 10);
    rate.advance(rate.began + WINDOW / 2, 0);
    assert_eq!((rate.offered, rate.taken, rate.threshold), (100, 10, 0));
}

#[test]
fn what_a_rate_leaves_out_is_counted() {
    let (kept, delivery) = run(Limits { sample: 1.0, max_rate: Some(7) }, (0..500).map(span));
    let limited = delivery.dropped(DropReason::RateLimited);
    assert_eq!(kept.len() as u64 + limited, 500);
    assert!(kept.len() >= 7 && limited > 0, "{delivery:?}");
}

struct Failing;

impl Exporter for Failing {
    fn export(&mut self, batch: &[SpanRecord]) -> Result<(), ExportError> {
        Err(ExportError::Rejected { delivered: batch.len() / 2, message: "half".into() })
    }
}

#[test]
fn an_error_counts_what_was_passed_on() {
    let limits = Limits { sample: 0.5, max_rate: None };
    let spans: Vec<_> = (0..1000).map(span).collect();
    let delivery = drive(Failing, limits, &spans);
    let passed = 1000 - delivery.dropped(DropReason::NotSampled);
    assert_eq!(delivery.delivered() + delivery.dropped(DropReason::Rejected), passed);
    assert!(delivery.delivered() > 0 && delivery.dropped(DropReason::Rejected) > 0);
}
