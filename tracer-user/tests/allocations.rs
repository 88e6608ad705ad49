//! From the ring's bytes into the span queue nothing is allocated. This file has one test, for the
//! allocator counts for all threads of the process.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    sync::Arc,
};

use tracer_common::event::{CaptureState, SyscallEvent};
use tracer_user::{
    clock::WallClock,
    decode::{Decoder, encode},
    ids::IdSource,
    ring_buffer::SpanRingBuffer,
};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: passes every call on to the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: by the caller's word.
        unsafe { System.alloc(layout) }
    }

    // SAFETY: as above.
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: by the caller's word.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn record(path: &[u8]) -> Vec<u8> {
    let strings = [(1, CaptureState::Whole, path)];
    let event = SyscallEvent { nr: 257, ..SyscallEvent::default() };
    encode(event, if path.is_empty() { &[] } else { &strings })
}

#[test]
fn decoding_and_pushing_allocate_nothing() {
    let mut decoder = Decoder::new(Arc::new(WallClock::new()), IdSource::this_boot());
    let buffer = SpanRingBuffer::new(65_536);
    let records = [record(b""), record(b"/etc/hostname"), record(&[b'x'; 64])];
    // The first call of a process makes room for the process.
    buffer.push(decoder.decode(&records[0]).unwrap().unwrap());
    let before = ALLOCATIONS.with(Cell::get);
    for _ in 0..10_000 {
        for bytes in &records {
            buffer.push(decoder.decode(bytes).unwrap().unwrap());
        }
    }
    let allocated = ALLOCATIONS.with(Cell::get) - before;
    assert_eq!(allocated, 0);
    assert_eq!(buffer.stats().total_pushed, 30_001);

    let long = record(&[b'x'; 500]);
    let before = ALLOCATIONS.with(Cell::get);
    buffer.push(decoder.decode(&long).unwrap().unwrap());
    assert_eq!(ALLOCATIONS.with(Cell::get) - before, 1, "the count counts");
}
