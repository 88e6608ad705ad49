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

fn run(shared: &Shared, workers: Vec<Worker>, stage: Option<Box<dyn Stage>>) {
    if shared.health.guard("the sidecar", || pass_on(shared, &workers, stage)).is_none() {
        discard(shared);
    }
    // All are told before one is waited for.
    let finishing: Vec<_> = workers.into_iter().map(Worker::finish).collect();
    let deadline = *shared.deadline.lock().unwrap_or_else(PoisonError::into_inner);
    for destination in finishing {
        destination.wait(deadline);
    }
}

/// Hands all that is pushed to the destinations, until the request to stop.
fn pass_on(shared: &Shared, workers: &[Worker], mut stage: Option<Box<dyn Stage>>) {
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
            for worker in workers {
                worker.offer(&batch);
            }
            continue;
        }
        if stop {
            return;
        }
        idle(shared);
    }
}

/// Empties the queue of a sidecar that has failed, so that nobody waits for room, and counts what
/// was in it as lost.
fn discard(shared: &Shared) {
    loop {
        let stop = shared.stop.load(Ordering::Acquire);
        match take(shared) {
            Some(spans) => {
                shared.failed.fetch_add(spans.len() as u64, Ordering::Release);
            }
            None if stop => return,
            None => idle(shared),
        }
    }
}

/// Runs the stage on a batch. One that panics has lost it.
fn work(stage: &mut dyn Stage, shared: &Shared, spans: &mut Vec<SpanRecord>) {
    let before = spans.len() as u64;
    shared.failed.fetch_add(before, Ordering::Release);
    stage.process(spans, shared.dropped.load(Ordering::Acquire));
    shared.failed.fetch_sub(before, Ordering::Release);
    let filtered = before.saturating_sub(spans.len() as u64);
    shared.filtered.fetch_add(filtered, Ordering::Release);
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

#[cfg(test)]
mod tests {
    use super::super::SpanRingBuffer;
    use super::*;
    use crate::{
        export::NullExporter,
        span_record::{Loss, LossPlace},
    };

    /// Takes as many batches as it has, and panics at the next.
    struct Fragile(usize);

    impl Stage for Fragile {
        fn process(&mut self, _: &mut Vec<SpanRecord>, _: u64) {
            self.0 = self.0.checked_sub(1).expect("no batch left");
        }
    }

    fn span() -> SpanRecord {
        let nothing = Loss { place: LossPlace::KernelRing, calls: 0, others: 0 };
        SpanRecord::from_loss(0, 0, nothing)
    }

    /// Waits until the sidecar has seen everything that was pushed.
    fn wait_until_empty(buffer: &SpanRingBuffer) {
        while buffer.stats().current_size > 0 {
            thread::yield_now();
        }
    }

    #[test]
    fn a_stage_that_panics_ends_the_sidecar_and_not_the_books() {
        let destination = Destination::new("null", NullExporter);
        let stage = Box::new(Fragile(1));
        let mut buffer = SpanRingBuffer::with_stage(8, vec![destination], Some(stage)).unwrap();
        buffer.push(span());
        buffer.wake();
        wait_until_empty(&buffer);
        // More than there is room for: somebody must empty the queue.
        for _ in 0..100 {
            buffer.push(span());
            buffer.wake();
            wait_until_empty(&buffer);
        }
        assert_eq!(buffer.health().failure(), Some("the sidecar has panicked: no batch left"));
        buffer.finish(None);
        let delivered = buffer.deliveries()[0].delivered();
        assert_eq!((delivered, buffer.failed(), buffer.filtered()), (1, 100, 0));
        assert_eq!(buffer.stats().total_dropped, 0);
    }
}
