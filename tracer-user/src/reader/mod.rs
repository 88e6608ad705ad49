//! From the kernel ring to the span queue, on a thread of its own: takes no lock, does no I/O, and
//! allocates nothing for all but long strings.

pub mod ring;

use std::{
    io, mem,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crossbeam_queue::ArrayQueue;

use crate::{
    clock::WallClock,
    decode::{DecodeError, Decoder},
    health::Health,
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
    /// The first of these, in words.
    pub first_decode_error: OnceLock<String>,
    /// Records that were in the ring when the reader panicked, or came later: none was decoded.
    pub failed: AtomicU64,
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
    health: Arc<Health>,
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
            asked: Asks { asked, recent: [(0, 0); RECENT] },
            control: Arc::clone(&control),
            counts: Arc::clone(&counts),
            batch: BatchCounts::default(),
        };
        let health = Arc::new(Health::default());
        let guard = Arc::clone(&health);
        let thread =
            thread::Builder::new().name("tracer-reader".into()).spawn(move || work.run(&guard))?;
        Ok(Self { control, counts, notices, health, thread: Some(thread) })
    }

    /// Whether the thread reads. When it has panicked, it only counts what comes.
    pub fn health(&self) -> &Health {
        &self.health
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
    /// still runs. `None` when the thread is gone. Dropping the reader does the same.
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
    batch: BatchCounts,
}

/// What has been done with the batch that is being read. Each record is in one of the three that
/// [`BatchCounts::records`] adds up.
#[derive(Debug, Default)]
struct BatchCounts {
    calls: u64,
    lifecycle: u64,
    errors: u64,
    /// Spans of processes.
    ended: u64,
}

impl BatchCounts {
    const fn records(&self) -> u64 {
        self.calls + self.lifecycle + self.errors
    }
}

/// Processes that are remembered to have been seen.
const RECENT: usize = 64;

/// Asks about processes as they are first seen.
struct Asks {
    asked: Option<Arc<Asked>>,
    /// Ids and starts of those seen last, by the last bits of the id.
    recent: [(u32, u64); RECENT],
}

impl Asks {
    #[inline]
    fn see(&mut self, span: &SpanRecord) {
        let (Some(asked), Some(process)) = (&self.asked, span.process()) else { return };
        let key = (process.tgid, process.start_ns);
        let place = &mut self.recent[process.tgid as usize % RECENT];
        if *place != key {
            *place = key;
            if process.identity.get().is_none() {
                // Full: see [`Asked`].
                drop(asked.push(Arc::clone(process)));
            }
        }
    }
}

impl Work {
    fn run(mut self, health: &Health) -> Ring {
        if health.guard("the reader", || self.pass_on()).is_none() {
            self.discard();
        }
        self.ring
    }

    /// Makes spans of all records, until the request to stop.
    fn pass_on(&mut self) {
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
                return;
            }
            if !stop {
                thread::park_timeout(pause.next(read > 0));
            }
        }
    }

    /// Empties the ring after a panic and counts what was in it as lost. Records that the interrupted
    /// batch was done with stand in the ring still; they count as what they became.
    fn discard(&mut self) {
        let mut done = self.batch.records();
        self.count_batch(0);
        loop {
            let stop = self.control.stop.load(Ordering::Acquire);
            let (mut read, mut failed) = (0, 0);
            self.ring.read(BATCH, |_| {
                read += 1;
                if done > 0 { done -= 1 } else { failed += 1 }
            });
            self.counts.read.fetch_add(read, Ordering::Relaxed);
            self.counts.failed.fetch_add(failed, Ordering::Relaxed);
            push_notices(&self.notices, &self.spans, &self.counts);
            if read == 0 && stop && self.notices.is_empty() {
                return;
            }
            if read == 0 {
                thread::park_timeout(SHORTEST_WAIT.max(LONGEST_WAIT / 20));
            }
        }
    }

    /// Enters what was done with a batch of `read` records.
    fn count_batch(&mut self, read: usize) {
        let BatchCounts { calls, lifecycle, errors, ended } = mem::take(&mut self.batch);
        self.counts.read.fetch_add(read as u64, Ordering::Relaxed);
        self.counts.spans.fetch_add(calls + ended, Ordering::Relaxed);
        self.counts.process_spans.fetch_add(ended, Ordering::Relaxed);
        self.counts.lifecycle.fetch_add(lifecycle, Ordering::Relaxed);
        self.counts.decode_errors.fetch_add(errors, Ordering::Relaxed);
        if lifecycle > 0 {
            self.counts.take_tree(self.decoder.tree().counts());
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
        let Self { ring, decoder, spans, asked, batch, counts, .. } = self;
        let read = ring.read(room, |bytes| match decode(decoder, bytes) {
            Ok(Some(span)) => {
                asked.see(&span);
                spans.push(span);
                batch.calls += 1;
            }
            Ok(None) => {
                batch.lifecycle += 1;
                push_ended(decoder, spans, &mut batch.ended);
            }
            Err(error) => {
                batch.errors += 1;
                counts.first_decode_error.get_or_init(|| error.to_string());
            }
        });
        push_ended(decoder, spans, &mut batch.ended);
        push_notices(&self.notices, spans, &self.counts);
        self.count_batch(read);
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

/// [`Decoder::decode`], which a test can make panic.
#[inline]
fn decode(decoder: &mut Decoder, bytes: &[u8]) -> Result<Option<SpanRecord>, DecodeError> {
    #[cfg(test)]
    assert!(bytes != tests::POISON, "poison");
    decoder.decode(bytes)
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

/// Pushes spans of processes as long as there is room, and counts them; the others come with the next
/// batch.
fn push_ended(decoder: &mut Decoder, spans: &SpanRingBuffer, ended: &mut u64) {
    while spans.room() > 0
        && let Some(span) = decoder.tree().next_span()
    {
        spans.push(span);
        *ended += 1;
    }
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
    use std::{
        fs::File,
        io::{Seek as _, SeekFrom, Write as _},
        os::fd::AsFd as _,
    };

    use super::*;
    use crate::{ids::IdSource, shared_memory::page_size, tree::TreeOptions};

    /// The record at which the test's decoder panics.
    pub(super) const POISON: &[u8] = b"poison";

    /// A file laid out as a ring in which these records are written.
    fn ring_of(records: &[&[u8]]) -> (Ring, File) {
        let mut data = Vec::new();
        for record in records {
            data.extend((record.len() as u64).to_le_bytes());
            data.extend(*record);
            data.resize(data.len().next_multiple_of(8), 0);
        }
        let (page, size) = (page_size(), 1 << 16);
        let mut file = tempfile::tempfile().unwrap();
        file.set_len((2 * page + 3 * size) as u64).unwrap();
        file.seek(SeekFrom::Start(page as u64)).unwrap();
        file.write_all(&data.len().to_le_bytes()).unwrap();
        file.seek(SeekFrom::Start(2 * page as u64)).unwrap();
        file.write_all(&data).unwrap();
        (Ring::map(file.as_fd(), size).unwrap(), file)
    }

    fn started(records: &[&[u8]]) -> Reader {
        let (ring, _) = ring_of(records);
        let clock = Arc::new(WallClock::new());
        let decoder = Decoder::with_options(
            Arc::clone(&clock),
            IdSource::this_boot(),
            TreeOptions::default(),
        );
        let spans = Arc::new(SpanRingBuffer::with_destinations(8, vec![]).unwrap());
        Reader::start(ring, decoder, clock, spans, None).unwrap()
    }

    #[test]
    fn a_record_that_cannot_be_decoded_is_named() {
        let reader = started(&[b"garbage", b"other"]);
        let counts = reader.counts();
        assert_eq!(reader.finish(), Some(0));
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        assert_eq!((load(&counts.read), load(&counts.decode_errors)), (2, 2));
        assert!(counts.first_decode_error.get().is_some_and(|error| error.contains('7')));
    }

    #[test]
    fn a_reader_that_panics_counts_what_it_leaves() {
        let garbage = &b"garbage"[..];
        let reader = started(&[garbage, garbage, POISON, garbage]);
        let counts = reader.counts();
        while reader.health().failure().is_none() {
            thread::yield_now();
        }
        assert_eq!(reader.health().failure(), Some("the reader has panicked: poison"));
        assert_eq!(reader.finish(), Some(0));
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let all = [&counts.read, &counts.decode_errors, &counts.failed, &counts.spans];
        assert_eq!(all.map(load), [4, 2, 2, 0]);
    }

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
