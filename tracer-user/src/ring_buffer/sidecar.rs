//! The sidecar: takes spans out in batches and hands each batch to every destination.

use std::{
    io,
    sync::{
        Arc, PoisonError,
        atomic::{Ordering, fence},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{
    Shared, Stage,
    destination::{Batch, Destination, Worker},
};
use crate::span_record::SpanRecord;

/// Most spans in a batch.
const BATCH: usize = 1024;
/// Longest sleep while the queue is empty.
const IDLE_WAIT: Duration = Duration::from_millis(10);

pub(super) fn start(
    shared: Arc<Shared>,
    destinations: Vec<Destination>,
    stage: Option<Box<dyn Stage>>,
) -> io::Result<JoinHandle<()>> {
    let workers: Vec<Worker> =
        destinations.into_iter().map(Destination::start).collect::<io::Result<_>>()?;
    thread::Builder::new().name("tracer-sidecar".into()).spawn(move || run(&shared, workers, stage))
}

fn run(shared: &Shared, workers: Vec<Worker>, mut stage: Option<Box<dyn Stage>>) {
    loop {
        // Asked before the queue is emptied: what was pushed before the request is then exported.
        let stop = shared.stop.load(Ordering::Acquire);
        if let Some(mut spans) = take(shared) {
            if let Some(stage) = &mut stage {
                work(stage.as_mut(), shared, &mut spans);
            }
            if spans.is_empty() {
                continue;
            }
            let batch: Batch = Arc::new(spans);
            for worker in &workers {
                worker.offer(&batch);
            }
            continue;
        }
        if stop {
            break;
        }
        idle(shared);
    }
    // All are told before one is waited for.
    let finishing: Vec<_> = workers.into_iter().map(Worker::finish).collect();
    let deadline = *shared.deadline.lock().unwrap_or_else(PoisonError::into_inner);
    for destination in finishing {
        destination.wait(deadline);
    }
}

/// Runs the stage on a batch.
fn work(stage: &mut dyn Stage, shared: &Shared, spans: &mut Vec<SpanRecord>) {
    let before = spans.len();
    stage.process(spans, shared.dropped.load(Ordering::Acquire));
    let filtered = before.saturating_sub(spans.len());
    shared.filtered.fetch_add(filtered as u64, Ordering::Release);
}

fn take(shared: &Shared) -> Option<Vec<SpanRecord>> {
    let first = shared.queue.pop()?;
    let mut spans = Vec::with_capacity(shared.queue.len().saturating_add(1).min(BATCH));
    spans.push(first);
    while spans.len() < spans.capacity()
        && let Some(span) = shared.queue.pop()
    {
        spans.push(span);
    }
    Some(spans)
}

fn idle(shared: &Shared) {
    shared.sleeping.store(true, Ordering::Relaxed);
    // See `SpanRingBuffer::wake`.
    fence(Ordering::SeqCst);
    if shared.queue.is_empty() && !shared.stop.load(Ordering::Acquire) {
        thread::park_timeout(IDLE_WAIT);
    }
    shared.sleeping.store(false, Ordering::Relaxed);
}
