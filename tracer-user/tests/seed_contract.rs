//! The public behaviour that this crate took over with the module it grew from; design section 3.
#![expect(clippy::unwrap_used, clippy::let_underscore_must_use, reason = "a test fails loudly")]

use std::{
    collections::HashMap,
    panic::catch_unwind,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use tracer_user::{
    export::{ExportError, Exporter, MemoryExporter},
    ring_buffer::{BufferStats, DEFAULT_CAPACITY, Destination, DropReason, SpanRingBuffer},
    span_record::{SpanKind, SpanRecord, StatusCode},
};

fn span(n: u64) -> SpanRecord {
    SpanRecord::new(
        [0x4b; 16],
        n.to_be_bytes(),
        Some([0xf0; 8]),
        "read".to_string(),
        SpanKind::Internal,
        1_000,
        1_000 + n,
        n,
        StatusCode::Ok,
        String::new(),
        HashMap::new(),
        HashMap::new(),
        1234,
        5678,
    )
}

fn with_memory(capacity: usize) -> (SpanRingBuffer, MemoryExporter) {
    let memory = MemoryExporter::new();
    let destination = Destination::new("memory", memory.clone());
    (SpanRingBuffer::with_destinations(capacity, vec![destination]).unwrap(), memory)
}

/// Holds every batch until it is released.
struct Stuck {
    entered: SyncSender<()>,
    released: Receiver<()>,
}

impl Exporter for Stuck {
    fn export(&mut self, _batch: &[SpanRecord]) -> Result<(), ExportError> {
        // Once nobody listens, it runs freely.
        let _ = self.entered.try_send(());
        let _ = self.released.recv();
        Ok(())
    }
}

#[test]
fn types_can_be_shared() {
    fn shared<T: Send + Sync>() {}
    fn plain<T: std::fmt::Debug + Clone + Copy + Send + Sync>() {}
    shared::<SpanRingBuffer>();
    shared::<SpanRecord>();
    plain::<BufferStats>();
    assert_eq!(DEFAULT_CAPACITY, 8192);
}

#[test]
fn a_capacity_of_zero_panics() {
    let error = catch_unwind(|| SpanRingBuffer::new(0)).unwrap_err();
    let message = error.downcast_ref::<&str>().map(ToString::to_string);
    let message = message.or_else(|| error.downcast_ref::<String>().cloned());
    assert_eq!(message.as_deref(), Some("Ring buffer capacity must be > 0"));
}

#[test]
fn everything_queued_is_exported_at_shutdown() {
    let (buffer, memory) = with_memory(8192);
    (0..5_000).for_each(|n| buffer.push(span(n)));
    assert_eq!(buffer.stats().total_pushed, 5_000);
    buffer.shutdown();
    let clocks: Vec<_> = memory.take().iter().map(SpanRecord::logical_clock).collect();
    assert_eq!(clocks, (0..5_000).collect::<Vec<_>>());
}

#[test]
fn everything_queued_is_exported_at_drop() {
    let (buffer, memory) = with_memory(64);
    (0..64).for_each(|n| buffer.push(span(n)));
    let dropped = buffer.stats().total_dropped;
    drop(buffer);
    assert_eq!((dropped, memory.len()), (0, 64));
}

#[test]
fn many_threads_push_at_once() {
    const THREADS: u64 = 8;
    const EACH: u64 = 2_000;
    let (buffer, memory) = with_memory(1024);
    let buffer = Arc::new(buffer);
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let buffer = Arc::clone(&buffer);
            let work = move || (0..EACH).for_each(|n| buffer.push(span(thread * EACH + n)));
            thread::Builder::new().spawn(work).unwrap()
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let stats = buffer.stats();
    Arc::into_inner(buffer).unwrap().shutdown();
    assert_eq!(stats.total_pushed, THREADS * EACH);
    let mut clocks: Vec<_> = memory.take().iter().map(SpanRecord::logical_clock).collect();
    assert_eq!(clocks.len() as u64 + stats.total_dropped, THREADS * EACH);
    clocks.sort_unstable();
    clocks.dedup();
    assert_eq!(clocks.len() as u64 + stats.total_dropped, THREADS * EACH, "each span once");
}

/// With an exporter that hangs and a queue that is full, pushing goes on and counts.
#[test]
fn a_full_buffer_drops_the_new_span_and_counts_it() {
    let (entered, has_entered) = sync_channel(1);
    let (release, released) = sync_channel(0);
    let destination = Destination::new("stuck", Stuck { entered, released });
    let delivery = destination.delivery();
    let buffer = SpanRingBuffer::with_destinations(4, vec![destination]).unwrap();
    buffer.push(span(0));
    has_entered.recv().unwrap();
    const MORE: u64 = 300_000;
    (1..=MORE).for_each(|n| buffer.push(span(n)));
    let stats = buffer.stats();
    assert_eq!((stats.total_pushed, stats.capacity), (MORE + 1, 4));
    assert!(stats.current_size <= 4);
    assert!((0.0..=1.0).contains(&stats.drop_rate()));
    assert!((0.0..=1.0).contains(&stats.utilization()));
    drop((release, has_entered));
    buffer.shutdown();
    // Lost at the buffer, lost at the destination's queue, or delivered: nothing else.
    let lost = stats.total_dropped + delivery.dropped(DropReason::QueueFull);
    assert!(lost > 0);
    assert_eq!(delivery.delivered() + lost, MORE + 1);
    assert_eq!(delivery.queued(), 0);
}

#[test]
fn one_destination_does_not_starve_another() {
    let (entered, has_entered) = sync_channel(1);
    let (release, released) = sync_channel(0);
    let memory = MemoryExporter::new();
    let destinations = vec![
        Destination::new("stuck", Stuck { entered, released }),
        Destination::new("memory", memory.clone()),
    ];
    let buffer = SpanRingBuffer::with_destinations(16, destinations).unwrap();
    buffer.push(span(0));
    has_entered.recv().unwrap();
    let mut pushed = 1;
    while memory.len() < 1_000 {
        if buffer.room() > 0 {
            buffer.push(span(pushed));
            pushed += 1;
        }
    }
    drop((release, has_entered));
    buffer.shutdown();
    assert_eq!(memory.len() as u64, pushed);
}

#[test]
fn a_panicking_exporter_ends_alone() {
    struct Panics;
    impl Exporter for Panics {
        fn export(&mut self, _batch: &[SpanRecord]) -> Result<(), ExportError> {
            panic!("on purpose");
        }
    }
    let memory = MemoryExporter::new();
    let panics = Destination::new("panics", Panics);
    let delivery = panics.delivery();
    let destinations = vec![panics, Destination::new("memory", memory.clone())];
    let buffer = SpanRingBuffer::with_destinations(64, destinations).unwrap();
    (0..50).for_each(|n| buffer.push(span(n)));
    buffer.shutdown();
    assert_eq!(memory.len(), 50);
    assert_eq!((delivery.delivered(), delivery.dropped(DropReason::Panicked)), (0, 50));
    assert!(delivery.first_error().unwrap().contains("panicked"));
}

#[test]
fn what_an_exporter_reports_is_what_is_counted() {
    struct Half(Arc<AtomicU64>);
    impl Exporter for Half {
        fn export(&mut self, batch: &[SpanRecord]) -> Result<(), ExportError> {
            let delivered = batch.len() / 2;
            self.0.fetch_add(delivered as u64, Ordering::Relaxed);
            Err(ExportError::Rejected { delivered, message: "odd".into() })
        }
    }
    let sink = Arc::new(AtomicU64::new(0));
    let destination = Destination::new("half", Half(Arc::clone(&sink)));
    let delivery = destination.delivery();
    let buffer = SpanRingBuffer::with_destinations(128, vec![destination]).unwrap();
    (0..100).for_each(|n| buffer.push(span(n)));
    buffer.shutdown();
    assert_eq!(delivery.delivered(), sink.load(Ordering::Relaxed));
    assert_eq!(delivery.delivered() + delivery.dropped(DropReason::Rejected), 100);
}

#[test]
fn a_record_gives_back_what_it_was_made_of() {
    let attributes = HashMap::from([("syscall.fd".to_string(), "3".to_string())]);
    let resource = HashMap::from([("service.name".to_string(), "shop".to_string())]);
    let record = SpanRecord::new(
        [0xab; 16],
        [0xcd; 8],
        None,
        "open".to_string(),
        SpanKind::Client,
        100,
        350,
        7,
        StatusCode::Error,
        "ENOENT".to_string(),
        attributes.clone(),
        resource.clone(),
        42,
        43,
    );
    assert_eq!(record.trace_id(), [0xab; 16]);
    assert_eq!(record.span_id(), [0xcd; 8]);
    assert_eq!(record.parent_span_id(), None);
    assert_eq!(record.span_name(), "open");
    assert_eq!(record.span_kind(), SpanKind::Client);
    assert_eq!((record.start_time_nanos(), record.end_time_nanos()), (100, 350));
    assert_eq!((record.duration_nanos(), record.logical_clock()), (250, 7));
    assert_eq!(
        (record.status_code(), record.status_message().as_ref()),
        (StatusCode::Error, "ENOENT")
    );
    assert_eq!((record.attributes(), record.resource()), (&attributes, &resource));
    assert_eq!((record.process_id(), record.thread_id()), (42, 43));
    assert_eq!(record.trace_id_hex(), "ab".repeat(16));
    assert_eq!(record.span_id_hex(), "cd".repeat(8));
    assert_eq!(record.parent_span_id_hex(), None);
    assert!(record.is_root() && record.is_error());
    assert_eq!(span(1).parent_span_id_hex().as_deref(), Some("f0f0f0f0f0f0f0f0"));
    assert!(!span(1).is_root());
}

#[test]
fn numbers_of_kinds_and_codes_are_fixed() {
    let kinds = [
        SpanKind::Internal,
        SpanKind::Server,
        SpanKind::Client,
        SpanKind::Producer,
        SpanKind::Consumer,
    ];
    assert_eq!(kinds.map(|kind| kind as u8), [0, 1, 2, 3, 4]);
    let codes = [StatusCode::Unset, StatusCode::Ok, StatusCode::Error];
    assert_eq!(codes.map(|code| code as u8), [0, 1, 2]);
}
