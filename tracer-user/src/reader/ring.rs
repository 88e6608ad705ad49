//! The consumer's side of a BPF ring buffer: bytes out, in order, with the space given back once
//! per batch. The layout is the kernel's,
//! <https://github.com/torvalds/linux/blob/v6.12/kernel/bpf/ringbuf.c#L49>.

use std::{
    io,
    os::fd::BorrowedFd,
    sync::atomic::{AtomicU32, AtomicUsize, Ordering},
};

use tracer_common::{
    cgroup::CGROUP_PATH_LEN,
    event::{LARGE_PAYLOAD, SyscallEvent},
    lifecycle::{LAUNCH_ROOM, LifecycleEvent},
};

use crate::shared_memory::{Mapping, page_size};

/// `BPF_RINGBUF_BUSY_BIT`: the producer still writes this record.
const BUSY: u32 = 1 << 31;
/// `BPF_RINGBUF_DISCARD_BIT`: the producer took this record back.
const DISCARD: u32 = 1 << 30;
/// `BPF_RINGBUF_HDR_SZ`.
const HEADER: usize = 8;

/// Bytes of the longest record in any of our rings.
const LONGEST: usize = size_of::<LifecycleEvent>() + LAUNCH_ROOM;
const _: () =
    assert!(size_of::<SyscallEvent>() + LARGE_PAYLOAD < LONGEST && CGROUP_PATH_LEN < LAUNCH_ROOM);

/// Bytes that a record of `len` bytes takes in the ring.
pub const fn space(len: usize) -> usize {
    (HEADER + len).next_multiple_of(8)
}

/// The one consumer of a ring.
#[derive(Debug)]
pub struct Ring {
    consumer: Mapping,
    /// One page with the producer's position, then the data, and behind its end its beginning once
    /// more, so that a record that wraps round can be read in one piece. The kernel has all of it
    /// twice; each page that is mapped counts as resident.
    producer: Mapping,
    page: usize,
    size: usize,
}

impl Ring {
    /// Maps the ring of a map's descriptor; `size` is its size in bytes, a power of two.
    pub fn map(fd: BorrowedFd<'_>, size: usize) -> io::Result<Self> {
        let page = page_size();
        let again = space(LONGEST).next_multiple_of(page).min(size);
        Ok(Self {
            consumer: Mapping::read_write(fd, 0, page)?,
            producer: Mapping::read_only(fd, page, page + size + again)?,
            page,
            size,
        })
    }

    /// Calls `each` with the bytes of up to `limit` records, and gives their space back. Returns
    /// how many there were.
    #[inline]
    pub fn read(&mut self, limit: usize, mut each: impl FnMut(&[u8])) -> usize {
        let start = self.consumer_position().load(Ordering::Relaxed);
        // Pairs with the release store by which the kernel makes reserved headers visible.
        let end = self.producer_position().load(Ordering::Acquire);
        let mut at = start;
        let mut count = 0;
        while at != end && count < limit {
            let Some((header, record)) = self.record(at) else { break };
            if header & BUSY != 0 {
                break;
            }
            if header & DISCARD == 0 {
                each(record);
                count += 1;
            }
            at = at.wrapping_add(space(record.len()));
        }
        if at != start {
            // Pairs with the kernel's acquire load: our reads are done when it reuses the space.
            self.consumer_position().store(at, Ordering::Release);
        }
        count
    }

    /// Bytes that are written and not yet read.
    pub fn unread(&self) -> usize {
        let end = self.producer_position().load(Ordering::Acquire);
        end.wrapping_sub(self.consumer_position().load(Ordering::Relaxed))
    }

    /// Size in bytes.
    pub const fn size(&self) -> usize {
        self.size
    }

    fn consumer_position(&self) -> &AtomicUsize {
        position(&self.consumer)
    }

    fn producer_position(&self) -> &AtomicUsize {
        position(&self.producer)
    }

    /// The header at a position, and the record behind it.
    #[inline]
    fn record(&self, position: usize) -> Option<(u32, &[u8])> {
        let offset = self.page + (position & (self.size - 1));
        let header = self.producer.at(offset, HEADER)?.cast::<AtomicU32>();
        // SAFETY: inside the mapping; records start at multiples of 8. Pairs with the exchange by
        // which the kernel commits: when the busy bit is gone, the record is written.
        let header = unsafe { header.as_ref() }.load(Ordering::Acquire);
        let len = (header & !(BUSY | DISCARD)) as usize;
        if header & BUSY != 0 {
            return Some((header, &[]));
        }
        let data = self.producer.at(offset + HEADER, len)?;
        // SAFETY: inside the mapping, and the kernel does not write a committed record before its
        // space is given back, which needs `&mut self`.
        Some((header, unsafe { std::slice::from_raw_parts(data.as_ptr(), len) }))
    }
}

/// Both mappings begin with the position of one side.
fn position(mapping: &Mapping) -> &AtomicUsize {
    // SAFETY: page-aligned, longer than a word, and written atomically by both sides.
    unsafe { mapping.start().cast::<AtomicUsize>().as_ref() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_takes_its_header_and_whole_words() {
        assert_eq!(space(0), 8);
        assert_eq!(space(1), 16);
        assert_eq!(space(128), 136);
    }
}
