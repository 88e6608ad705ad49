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
    Shared,
    destination::{Batch, Destination, Worker},
};

/// Most spans in a batch.
const BATCH: usize = 1024;
/// Longest sleep while the queue is empty.
const IDLE_WAIT: Duration = Duration::from_millis(10);

pub(super) fn start(
    shared: Arc<Shared>,
    destinations: Vec<Destination>,
) -> io::Result<JoinHandle<()>> {
    let workers: Vec<Worker> =
        destinations.into_iter().map(Destination::start).collect::<io::Result<_>>()?;
    thread::Builder::new().name("tracer-sidecar".into()).spawn(move || run(&shared, workers))
}

fn run(shared: &Shared, workers: Vec<Worker>) {
    loop {
        // Asked before the queue is emptied: what was pushed before the request is then exported.
        let stop = shared.stop.load(Ordering::Acquire);
        if let Some(batch) = take(shared) {
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

fn take(shared: &Shared) -> Option<Batch> {
    let first = shared.queue.pop()?;
    let mut spans = Vec::with_capacity(shared.queue.len().saturating_add(1).min(BATCH));
    spans.push(first);
    while spans.len() < spans.capacity()
        && let Some(span) = shared.queue.pop()
    {
        spans.push(span);
    }
    Some(Arc::new(spans))
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
