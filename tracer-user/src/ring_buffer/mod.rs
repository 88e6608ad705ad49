//! The lock-free queue between the path that records spans and the sidecar that exports them.
//!
//! [`SpanRingBuffer::push`] never blocks, never prints and never allocates; when the buffer is
//! full the new span is dropped and counted. The sidecar, a thread of its own, takes spans out in
//! batches and hands each batch to every [`Destination`] through that destination's own queue.
//!
//! ```
//! use std::collections::HashMap;
//! use tracer_user::{
//!     ring_buffer::SpanRingBuffer,
//!     span_record::{SpanKind, SpanRecord, StatusCode},
//! };
//!
//! // Starts the sidecar. 8192 spans is the usual capacity.
//! let buffer = SpanRingBuffer::new(8192);
//!
//! // The hot path.
//! buffer.push(SpanRecord::new(
//!     [0x4b; 16], [0x01; 8], None, "read".to_string(), SpanKind::Internal,
//!     1_700_000_000_000_000_000, 1_700_000_000_000_015_000, 42, StatusCode::Ok, String::new(),
//!     HashMap::new(), HashMap::new(), 1234, 5678,
//! ));
//!
//! let stats = buffer.stats();
//! assert_eq!((stats.total_pushed, stats.total_dropped), (1, 0));
//!
//! // Exports what is queued, then ends the sidecar.
//! buffer.shutdown();
//! ```

mod destination;
mod sidecar;
mod stage;

pub use crate::export::{Delivery, DropReason};
use crate::health::Health;
pub use destination::Destination;
pub use stage::Stage;

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering, fence},
    },
    thread::{JoinHandle, Thread},
    time::Instant,
};

use crossbeam_queue::ArrayQueue;
use crossbeam_utils::CachePadded;

use crate::{export::NullExporter, span_record::SpanRecord};

/// Capacity when nothing else is asked for, in spans.
pub const DEFAULT_CAPACITY: usize = 8192;

/// A pusher looks whether the sidecar sleeps once in so many spans: waking it costs a system call.
const WAKE_EVERY: u64 = 64;

/// A bounded queue of spans with its exporting thread.
#[derive(Debug)]
pub struct SpanRingBuffer {
    shared: Arc<Shared>,
    sidecar: Option<Sidecar>,
    deliveries: Vec<Arc<Delivery>>,
}

#[derive(Debug)]
struct Sidecar {
    thread: JoinHandle<()>,
    handle: Thread,
}

#[derive(Debug)]
struct Shared {
    queue: ArrayQueue<SpanRecord>,
    pushed: CachePadded<AtomicU64>,
    dropped: CachePadded<AtomicU64>,
    /// Spans that the stage has taken out.
    filtered: AtomicU64,
    /// Spans that a sidecar which has panicked took from the queue and passed on to nobody.
    failed: AtomicU64,
    health: Health,
    sleeping: CachePadded<AtomicBool>,
    stop: AtomicBool,
    /// When the destinations must be done, once asked to stop.
    deadline: Mutex<Option<Instant>>,
}

/// What a buffer has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BufferStats {
    /// Attempts to push, the dropped ones included.
    pub total_pushed: u64,
    /// Spans dropped because the buffer was full.
    pub total_dropped: u64,
    /// Spans in the buffer now.
    pub current_size: usize,
    /// Spans that fit.
    pub capacity: usize,
}

impl BufferStats {
    /// The share of attempts that were dropped, 0.0..=1.0; 0.0 when there was none.
    #[expect(clippy::cast_precision_loss, reason = "a ratio needs no more than 52 bits")]
    pub fn drop_rate(&self) -> f64 {
        if self.total_pushed == 0 {
            0.0
        } else {
            self.total_dropped as f64 / self.total_pushed as f64
        }
    }

    /// How full the buffer is, 0.0..=1.0.
    #[expect(clippy::cast_precision_loss, reason = "a ratio needs no more than 52 bits")]
    pub fn utilization(&self) -> f64 {
        if self.capacity == 0 { 0.0 } else { self.current_size as f64 / self.capacity as f64 }
    }
}

impl SpanRingBuffer {
    /// A buffer for `capacity` spans whose sidecar counts spans and throws them away; see
    /// [`Self::with_destinations`] for one that exports.
    ///
    /// # Panics
    /// When `capacity` is 0, or the system has no thread to give.
    #[expect(clippy::panic, reason = "a contract of this constructor")]
    pub fn new(capacity: usize) -> Self {
        let destination = Destination::new("null", NullExporter);
        Self::with_destinations(capacity, vec![destination])
            .unwrap_or_else(|error| panic!("cannot start the sidecar thread: {error}"))
    }

    /// A buffer for `capacity` spans, each of which goes to every destination.
    ///
    /// # Errors
    /// When the system has no thread to give.
    ///
    /// # Panics
    /// When `capacity` is 0.
    pub fn with_destinations(capacity: usize, destinations: Vec<Destination>) -> io::Result<Self> {
        Self::with_stage(capacity, destinations, None)
    }

    /// The same, with work that is done on the spans first, on the sidecar's thread.
    ///
    /// # Errors
    /// When the system has no thread to give.
    ///
    /// # Panics
    /// When `capacity` is 0.
    pub fn with_stage(
        capacity: usize,
        destinations: Vec<Destination>,
        stage: Option<Box<dyn Stage>>,
    ) -> io::Result<Self> {
        assert!(capacity > 0, "Ring buffer capacity must be > 0");
        let shared = Arc::new(Shared {
            queue: ArrayQueue::new(capacity),
            pushed: CachePadded::default(),
            dropped: CachePadded::default(),
            filtered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            health: Health::default(),
            sleeping: CachePadded::default(),
            stop: AtomicBool::new(false),
            deadline: Mutex::new(None),
        });
        let deliveries = destinations.iter().map(Destination::delivery).collect();
        let thread = sidecar::start(Arc::clone(&shared), destinations, stage)?;
        let handle = thread.thread().clone();
        Ok(Self { shared, sidecar: Some(Sidecar { thread, handle }), deliveries })
    }

    /// Queues a span for export. Never blocks; when the buffer is full, drops and counts it.
    #[inline]
    pub fn push(&self, span: SpanRecord) {
        let pushed = self.shared.pushed.fetch_add(1, Ordering::Relaxed);
        if self.shared.queue.push(span).is_err() {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            // No fence: a sidecar that is about to sleep looks at the queue once more, which is full.
            if self.shared.sleeping.load(Ordering::Relaxed) {
                self.wake();
            }
        } else if pushed.is_multiple_of(WAKE_EVERY) {
            self.wake();
        }
    }

    /// Spans that can be pushed before one is dropped, if nobody else pushes.
    #[inline]
    pub fn room(&self) -> usize {
        self.shared.queue.capacity() - self.shared.queue.len()
    }

    /// Wakes the sidecar if it sleeps. It also wakes by itself within 10 ms.
    #[inline]
    pub fn wake(&self) {
        // The span must be in the queue before the flag is read: with the sidecar's fence between
        // setting the flag and looking at the queue, one of the two sees the other.
        fence(Ordering::SeqCst);
        if self.shared.sleeping.load(Ordering::Relaxed)
            && self.shared.sleeping.swap(false, Ordering::AcqRel)
            && let Some(sidecar) = &self.sidecar
        {
            sidecar.handle.unpark();
        }
    }

    /// What has happened so far.
    pub fn stats(&self) -> BufferStats {
        // `dropped` first: it never counts a push that `pushed` does not.
        let total_dropped = self.shared.dropped.load(Ordering::Acquire);
        BufferStats {
            total_pushed: self.shared.pushed.load(Ordering::Acquire),
            total_dropped,
            current_size: self.shared.queue.len(),
            capacity: self.shared.queue.capacity(),
        }
    }

    /// Spans that the stage has taken out so far: no destination gets them.
    pub fn filtered(&self) -> u64 {
        self.shared.filtered.load(Ordering::Acquire)
    }

    /// Spans that were lost to every destination because the sidecar, or its stage, has panicked; while
    /// the stage runs, those that it has in hand too.
    pub fn failed(&self) -> u64 {
        self.shared.failed.load(Ordering::Acquire)
    }

    /// Whether the sidecar runs. When it has panicked, nothing is exported any more.
    pub fn health(&self) -> &Health {
        &self.shared.health
    }

    /// What each destination has received, in the order they were given; still readable when the
    /// buffer is gone.
    pub fn deliveries(&self) -> &[Arc<Delivery>] {
        &self.deliveries
    }

    /// Exports everything still queued, then ends the sidecar. Dropping the buffer does the same.
    pub fn shutdown(self) {
        drop(self);
    }

    /// As [`Self::shutdown`], but the counters stay readable, and with a deadline a destination
    /// that is not done by then is left behind, its spans counted as dropped. A span pushed later
    /// is never exported.
    pub fn finish(&mut self, deadline: Option<Instant>) {
        *self.shared.deadline.lock().unwrap_or_else(PoisonError::into_inner) = deadline;
        if let Some(sidecar) = self.sidecar.take() {
            self.shared.stop.store(true, Ordering::Release);
            sidecar.handle.unpark();
            if sidecar.thread.join().is_err() {
                log::error!("the sidecar thread has panicked");
            }
        }
    }
}

impl Drop for SpanRingBuffer {
    fn drop(&mut self) {
        self.finish(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_zero_before_the_first_span() {
        let stats = BufferStats { total_pushed: 0, total_dropped: 0, current_size: 0, capacity: 4 };
        assert!(stats.drop_rate() == 0.0 && stats.utilization() == 0.0);
        let stats = BufferStats { total_pushed: 8, total_dropped: 2, current_size: 1, ..stats };
        assert!((stats.drop_rate() - 0.25).abs() < f64::EPSILON);
        assert!((stats.utilization() - 0.25).abs() < f64::EPSILON);
    }
}
