//! Operations on an `io_uring` of our own, without a library.

use std::{ffi::c_void, ptr};

/// `struct io_uring_params`, as far as it is needed: 120 bytes,
/// <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/io_uring.h#L530>.
#[repr(C)]
#[derive(Default)]
struct Params {
    entries: [u32; 2],
    flags: u32,
    thread: [u32; 2],
    features: u32,
    wq_fd: u32,
    reserved: [u32; 3],
    submissions: Offsets,
    completions: Offsets,
}

/// Offsets of head, tail, mask, number of entries, flags, dropped, array; and what follows.
#[repr(C)]
#[derive(Default)]
struct Offsets {
    head: u32,
    tail: u32,
    mask: u32,
    entries: u32,
    flags: u32,
    dropped: u32,
    array: u32,
    rest: [u32; 3],
}

const ENTRIES: u32 = 8;
const PAGE: usize = 4096;
const OFF_SUBMISSIONS: i64 = 0;
const OFF_ENTRIES: i64 = 0x1000_0000;
const GET_EVENTS: u32 = 1;

/// Submits `rounds` times as many operations that do nothing as the ring has entries. Prints how
/// many it was; nothing where the system has no such rings.
pub(crate) fn do_nothing(rounds: u64) {
    let mut params = Params::default();
    // SAFETY: the kernel fills the struct.
    let ring = unsafe { libc::syscall(libc::SYS_io_uring_setup, ENTRIES, &raw mut params) };
    let Ok(ring @ 0..) = i32::try_from(ring) else { return };
    let submissions = map(ring, OFF_SUBMISSIONS);
    // Zeroes are `IORING_OP_NOP`.
    map(ring, OFF_ENTRIES);
    let word = |offset: u32| {
        // SAFETY: the kernel's offsets are multiples of 4 inside the page.
        unsafe { submissions.cast::<u32>().add(offset as usize / 4) }
    };
    for index in 0..ENTRIES {
        // SAFETY: as above.
        unsafe { word(params.submissions.array).add(index as usize).write_volatile(index) };
    }
    for _ in 0..rounds {
        let tail = word(params.submissions.tail);
        // SAFETY: as above; nobody else moves the tail, and the call below is a barrier.
        unsafe { tail.write_volatile(tail.read_volatile().wrapping_add(ENTRIES)) };
        // SAFETY: no pointers are passed.
        let done = unsafe {
            let none = ptr::null::<c_void>();
            libc::syscall(
                libc::SYS_io_uring_enter,
                ring,
                ENTRIES,
                ENTRIES,
                GET_EVENTS,
                none,
                0usize,
            )
        };
        assert_eq!(done, i64::from(ENTRIES));
        // The completions' words are in the same mapping.
        let (head, tail) = (word(params.completions.head), word(params.completions.tail));
        // SAFETY: as above.
        unsafe { head.write_volatile(tail.read_volatile()) };
    }
    println!("{}", rounds * u64::from(ENTRIES));
}

/// Maps a page of the ring at one of the kernel's offsets.
fn map(ring: i32, offset: i64) -> *mut c_void {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a mapping that nothing else uses.
    let page = unsafe { libc::mmap(ptr::null_mut(), PAGE, access, libc::MAP_SHARED, ring, offset) };
    assert_ne!(page, libc::MAP_FAILED);
    page
}
