//! From the kernel ring to the span queue, on a thread of its own: takes no lock, does no I/O, and
//! allocates nothing for all but long strings.

pub mod ring;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crossbeam_queue::ArrayQueue;

use crate::{
    clock::WallClock,
    decode::Decoder,
    process::Process,
    ring_buffer::SpanRingBuffer,
    span_record::{Loss, SpanRecord},
    tree::TreeCounts,
};
use ring::Ring;

/// Processes that somebody shall look at while they live. When it is full they are looked at when
/// they are asked for.
pub type Asked = ArrayQueue<Arc<Process>>;

/// Records of losses that the reader puts into the stream.
pub type Notices = ArrayQueue<SpanRecord>;

/// Notices that wait, at most.
const MOST_NOTICES: usize = 64;

/// Processes that wait to be looked at, at most.
pub const MOST_ASKED: usize = 4096;

/// Records between two looks at the clock and at the request to stop.
const BATCH: usize = 1024;
/// Longest wait for a record: bounds how late a lone one is seen.
const LONGEST_WAIT: Duration = Duration::from_millis(20);
/// Shortest wait after the ring was found empty.
const SHORTEST_WAIT: Duration = Duration::from_micros(100);
/// How often wall time is measured anew.
const CLOCK_REFRESH: Duration = Duration::from_secs(1);

/// What the reader has done.
#[derive(Debug, Default)]
pub struct ReaderCounts {
    /// Records taken from the ring.
    pub read: AtomicU64,
    /// Spans that were made: of calls and of processes.
    pub spans: AtomicU64,
    /// Of these, spans of processes.
    pub process_spans: AtomicU64,
    /// Of these, records of losses.
    pub losses: AtomicU64,
    /// What these records say was lost, together.
    pub lost_told: AtomicU64,
    /// Records of processes.
    pub lifecycle: AtomicU64,
    /// Records that could not be decoded.
    pub decode_errors: AtomicU64,
    /// See [`TreeCounts::unannounced`].
    pub unannounced: AtomicU64,
    /// See [`TreeCounts::late`].
    pub late: AtomicU64,
    /// See [`TreeCounts::traceparent_invalid`].
    pub traceparent_invalid: AtomicU64,
    /// See [`TreeCounts::environment_cut`].
    pub environment_cut: AtomicU64,
}

#[derive(Debug, Default)]
struct Control {
    stop: AtomicBool,
}

/// The running thread.
#[derive(Debug)]
pub struct Reader {
    control: Arc<Control>,
    counts: Arc<ReaderCounts>,
    notices: Arc<Notices>,
    thread: Option<JoinHandle<Ring>>,
}

impl Reader {
    /// Starts reading `ring` into `spans`; processes go to `asked` as they are first seen.
    pub fn start(
        ring: Ring,
        decoder: Decoder,
        clock: Arc<WallClock>,
        spans: Arc<SpanRingBuffer>,
        asked: Option<Arc<Asked>>,
    ) -> io::Result<Self> {
        let control = Arc::new(Control::default());
        let counts = Arc::new(ReaderCounts::default());
        let notices = Arc::new(Notices::new(MOST_NOTICES));
        let work = Work {
            notices: Arc::clone(&notices),
            ring,
            decoder,
            clock,
            spans,
            asked: Asks { asked, recent: [0; RECENT] },
            control: Arc::clone(&control),
            counts: Arc::clone(&counts),
        };
        let thread = thread::Builder::new().name("tracer-reader".into()).spawn(|| work.run())?;
        Ok(Self { control, counts, notices, thread: Some(thread) })
    }

    /// Where records of losses are put for it.
    pub fn notices(&self) -> Arc<Notices> {
        Arc::clone(&self.notices)
    }

    /// What has been done so far.
    pub fn counts(&self) -> Arc<ReaderCounts> {
        Arc::clone(&self.counts)
    }

    /// Reads what is in the ring and ends. Returns the bytes left in it: 0 unless a producer
    /// still runs. `None` when the thread has panicked. Dropping the reader does the same.
    pub fn finish(mut self) -> Option<usize> {
        self.end().map(|ring| ring.unread())
    }

    fn end(&mut self) -> Option<Ring> {
        let thread = self.thread.take()?;
        self.control.stop.store(true, Ordering::Release);
        thread.thread().unpark();
        thread.join().ok()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        drop(self.end());
    }
}

struct Work {
    notices: Arc<Notices>,
    ring: Ring,
    decoder: Decoder,
    clock: Arc<WallClock>,
    spans: Arc<SpanRingBuffer>,
    asked: Asks,
    control: Arc<Control>,
    counts: Arc<ReaderCounts>,
}

/// Processes that are remembered to have been seen.
const RECENT: usize = 64;

/// Asks about processes as they are first seen.
struct Asks {
    asked: Option<Arc<Asked>>,
    /// Addresses of those seen last, by their last bits.
    recent: [usize; RECENT],
}

impl Asks {
    #[inline]
    fn see(&mut self, span: &SpanRecord) {
        let (Some(asked), Some(process)) = (&self.asked, span.process()) else { return };
        let address = Arc::as_ptr(process).addr();
        let place = &mut self.recent[(address / align_of::<u128>()) % RECENT];
        if *place != address {
            *place = address;
            if process.identity.get().is_none() {
                // Full: see [`Asked`].
                drop(asked.push(Arc::clone(process)));
            }
        }
    }
}

impl Work {
    fn run(mut self) -> Ring {
        let mut pause = Pause::for_ring(self.ring.size());
        let mut refreshed = Instant::now();
        loop {
            // Asked before reading: what was written before the request is then read.
            let stop = self.control.stop.load(Ordering::Acquire);
            let read = self.read_batch();
            if refreshed.elapsed() >= CLOCK_REFRESH {
                self.clock.refresh();
                refreshed = Instant::now();
            }
            if read == BATCH {
                continue;
            }
            if stop && read == 0 {
                self.finish_tree();
                return self.ring;
            }
            if !stop {
                thread::park_timeout(pause.next(read > 0));
            }
        }
    }

    /// Reads at most as many records as the span queue has room for: the kernel's ring is larger,
    /// and keeps the others while the sidecar catches up.
    fn read_batch(&mut self) -> usize {
        let room = self.spans.room().min(BATCH);
        if room == 0 {
            self.spans.wake();
            thread::park_timeout(SHORTEST_WAIT);
            // Nothing was read, but there is something to read.
            return BATCH;
        }
        let Self { ring, decoder, spans, asked, .. } = self;
        let (mut made, mut ended, mut lifecycle, mut errors) = (0, 0, 0, 0);
        let read = ring.read(room, |bytes| match decoder.decode(bytes) {
            Ok(Some(span)) => {
                asked.see(&span);
                spans.push(span);
                made += 1;
            }
            Ok(None) => {
                lifecycle += 1;
                ended += push_ended(decoder, spans);
            }
            Err(_) => errors += 1,
        });
        ended += push_ended(decoder, spans);
        push_notices(&self.notices, spans, &self.counts);
        self.counts.read.fetch_add(read as u64, Ordering::Relaxed);
        self.counts.spans.fetch_add(made + ended, Ordering::Relaxed);
        self.counts.process_spans.fetch_add(ended, Ordering::Relaxed);
        self.counts.lifecycle.fetch_add(lifecycle, Ordering::Relaxed);
        self.counts.decode_errors.fetch_add(errors, Ordering::Relaxed);
        if lifecycle > 0 {
            self.counts.take_tree(decoder.tree().counts());
        }
        if read == room { BATCH } else { read }
    }

    /// Ends the tree of processes, and waits until the span queue has taken all of it.
    fn finish_tree(&mut self) {
        let Self { decoder, spans, counts, clock, notices, .. } = self;
        while !notices.is_empty() {
            push_notices(notices, spans, counts);
            spans.wake();
            thread::park_timeout(SHORTEST_WAIT);
        }
        decoder.tree().finish(clock.boot_now());
        while let Some(span) = decoder.tree().next_span() {
            while spans.room() == 0 {
                spans.wake();
                thread::park_timeout(SHORTEST_WAIT);
            }
            spans.push(span);
            counts.spans.fetch_add(1, Ordering::Relaxed);
            counts.process_spans.fetch_add(1, Ordering::Relaxed);
        }
        counts.take_tree(decoder.tree().counts());
    }
}

/// Pushes records of losses as long as there is room.
fn push_notices(notices: &Notices, spans: &SpanRingBuffer, counts: &ReaderCounts) {
    while spans.room() > 0
        && let Some(span) = notices.pop()
    {
        let lost = span.loss().map_or(0, Loss::total);
        counts.losses.fetch_add(1, Ordering::Relaxed);
        counts.lost_told.fetch_add(lost, Ordering::Relaxed);
        counts.spans.fetch_add(1, Ordering::Relaxed);
        spans.push(span);
    }
}

/// Pushes spans of processes as long as there is room; the others come with the next batch. Returns
/// how many there were.
fn push_ended(decoder: &mut Decoder, spans: &SpanRingBuffer) -> u64 {
    let mut ended = 0;
    while spans.room() > 0
        && let Some(span) = decoder.tree().next_span()
    {
        spans.push(span);
        ended += 1;
    }
    ended
}

impl ReaderCounts {
    fn take_tree(&self, counts: TreeCounts) {
        self.unannounced.store(counts.unannounced, Ordering::Relaxed);
        self.late.store(counts.late, Ordering::Relaxed);
        self.traceparent_invalid.store(counts.traceparent_invalid, Ordering::Relaxed);
        self.environment_cut.store(counts.environment_cut, Ordering::Relaxed);
    }
}

/// How long to wait for records: little while they come, longer and longer while none come.
struct Pause {
    busy: Duration,
    now: Duration,
}

impl Pause {
    /// A small ring fills quickly: at four million records of 136 bytes a second.
    fn for_ring(size: usize) -> Self {
        let fills_in = Duration::from_nanos(size as u64 / 136 * 250);
        let busy = (fills_in / 4).clamp(SHORTEST_WAIT, Duration::from_millis(2));
        Self { busy, now: busy }
    }

    fn next(&mut self, found_records: bool) -> Duration {
        self.now = if found_records { self.busy } else { (self.now * 2).min(LONGEST_WAIT) };
        self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_bound_and_shrink_at_once() {
        let mut pause = Pause::for_ring(16 << 20);
        for _ in 0..20 {
            assert!(pause.next(false) <= LONGEST_WAIT);
        }
        assert_eq!(pause.next(false), LONGEST_WAIT);
        assert_eq!(pause.next(true), Duration::from_millis(2));
        assert!(Pause::for_ring(4096).next(true) == SHORTEST_WAIT);
    }
}
