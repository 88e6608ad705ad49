//! Operations on an `io_uring` of our own, without a library.

use std::{ffi::c_void, ptr, thread};

use crate::{calls, child, wait_for};

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

/// The kernel polls for submissions, in a thread that it makes in the process.
const SETUP_SQPOLL: u32 = 2;
/// An operation is done by a worker, a thread likewise.
const SQE_ASYNC: u8 = 1 << 4;
/// Bytes of a submission; its flags are the second.
const ENTRY: usize = 64;

/// A ring with a place for each entry.
struct Ring {
    fd: i32,
    submissions: *mut c_void,
    entries: *mut c_void,
    params: Params,
}

impl Ring {
    /// `None` where the system has no such rings.
    fn new(flags: u32) -> Option<Self> {
        let mut params = Params { flags, ..Params::default() };
        // SAFETY: the kernel fills the struct.
        let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, ENTRIES, &raw mut params) };
        let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0)?;
        let submissions = map(fd, OFF_SUBMISSIONS);
        // Zeroes are `IORING_OP_NOP`.
        let entries = map(fd, OFF_ENTRIES);
        let ring = Self { fd, submissions, entries, params };
        for index in 0..ENTRIES {
            let array = ring.word(ring.params.submissions.array);
            // SAFETY: an entry of the array.
            unsafe { array.add(index as usize).write_volatile(index) };
        }
        Some(ring)
    }

    fn word(&self, offset: u32) -> *mut u32 {
        // SAFETY: the kernel's offsets are multiples of 4 inside the page.
        unsafe { self.submissions.cast::<u32>().add(offset as usize / 4) }
    }

    /// Submits as many operations that do nothing as there are entries, and waits for them.
    fn submit(&self) {
        let tail = self.word(self.params.submissions.tail);
        // SAFETY: in the page; nobody else moves the tail, and the call below is a barrier.
        unsafe { tail.write_volatile(tail.read_volatile().wrapping_add(ENTRIES)) };
        // SAFETY: no pointers are passed.
        let done = unsafe {
            let none = ptr::null::<c_void>();
            let (count, size) = (ENTRIES, 0usize);
            libc::syscall(libc::SYS_io_uring_enter, self.fd, count, count, GET_EVENTS, none, size)
        };
        assert_eq!(done, i64::from(ENTRIES));
        // The completions' words are in the same mapping.
        let (head, tail) =
            (self.word(self.params.completions.head), self.word(self.params.completions.tail));
        // SAFETY: in the page.
        unsafe { head.write_volatile(tail.read_volatile()) };
    }

    /// From here on workers do the operations.
    fn make_asynchronous(&self) {
        for index in 0..ENTRIES as usize {
            // SAFETY: in the page.
            unsafe { self.entries.cast::<u8>().add(index * ENTRY + 1).write_volatile(SQE_ASYNC) };
        }
    }
}

/// `IORING_OP_OPENAT` and `IORING_OP_CLOSE`,
/// <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/io_uring.h#L216>.
const OPEN: u8 = 18;
const CLOSE: u8 = 19;

/// A ring that opens and closes files, without a call that does.
pub(crate) struct Files(Ring);

impl Files {
    /// `None` where the system has no such rings.
    pub(crate) fn new() -> Option<Self> {
        Ring::new(0).map(Self)
    }

    /// Makes a file if there is none, and opens it. The error is the negative `errno`.
    pub(crate) fn open(&self, path: &str) -> Result<i32, i32> {
        let path = std::ffi::CString::new(path).expect("no zero byte");
        let address = path.as_ptr().expose_provenance() as u64;
        let flags = (libc::O_RDWR | libc::O_CREAT).cast_unsigned();
        self.operate(OPEN, libc::AT_FDCWD, address, [0o600, flags])
    }

    /// The error is the negative `errno`.
    pub(crate) fn close(&self, fd: i32) -> Result<(), i32> {
        self.operate(CLOSE, fd, 0, [0, 0]).map(drop)
    }

    /// Does one operation of this kind, and returns its result.
    fn operate(&self, kind: u8, fd: i32, address: u64, words: [u32; 2]) -> Result<i32, i32> {
        let (ring, offsets) = (&self.0, &self.0.params.submissions);
        let entry = ring.entries.cast::<u8>();
        let tail = ring.word(offsets.tail);
        // SAFETY: in the page; nobody else moves the tail, which says which entry is next by the
        // array of numbers, in which each entry has its own.
        unsafe {
            let index = tail.read_volatile() & (ENTRIES - 1);
            let entry = entry.add(index as usize * ENTRY);
            entry.write_bytes(0, ENTRY);
            entry.write(kind);
            entry.add(4).cast::<i32>().write_unaligned(fd);
            entry.add(16).cast::<u64>().write_unaligned(address);
            entry.add(24).cast::<u32>().write_unaligned(words[0]);
            entry.add(28).cast::<u32>().write_unaligned(words[1]);
            tail.write_volatile(tail.read_volatile().wrapping_add(1));
        }
        // SAFETY: no pointers are passed.
        let done = unsafe {
            let none = ptr::null::<c_void>();
            libc::syscall(libc::SYS_io_uring_enter, ring.fd, 1, 1, GET_EVENTS, none, 0_usize)
        };
        assert_eq!(done, 1);
        let completions = &ring.params.completions;
        let head = ring.word(completions.head);
        // SAFETY: in the page: of the completions, of 16 bytes each, twice as many as entries; the
        // result is the third word. Their offset stands where `dropped` does of submissions.
        let result = unsafe {
            let index = head.read_volatile() & (2 * ENTRIES - 1);
            let result = ring.word(completions.dropped).add(index as usize * 4 + 2);
            head.write_volatile(head.read_volatile().wrapping_add(1));
            result.cast::<i32>().read_volatile()
        };
        if result < 0 { Err(result) } else { Ok(result) }
    }
}

/// The descriptor of a ring; `None` where the system has no such rings.
pub(crate) fn descriptor() -> Option<i32> {
    Ring::new(0).map(|ring| std::mem::ManuallyDrop::new(ring).fd)
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: both mappings and the descriptor are the ring's own.
        unsafe {
            libc::munmap(self.submissions, PAGE);
            libc::munmap(self.entries, PAGE);
            libc::close(self.fd);
        }
    }
}

/// Submits `rounds` times as many operations that do nothing as the ring has entries. Prints how
/// many it was; nothing where the system has no such rings.
pub(crate) fn do_nothing(rounds: u64) {
    let Some(ring) = Ring::new(0) else { return };
    for _ in 0..rounds {
        ring.submit();
    }
    println!("{}", rounds * u64::from(ENTRIES));
}

/// Threads that the kernel makes in this process come and go; then it makes `count` calls, and so do
/// a child, and a child that has a worker at its end. Prints a line when all is done; nothing where
/// the system has no such rings.
pub(crate) fn kernel_threads(count: u64) {
    let Some(ring) = Ring::new(SETUP_SQPOLL) else { return };
    wait_for_threads(2);
    drop(ring);
    wait_for_threads(1);
    calls(count);
    // Workers belong to the thread that submits, and end with it.
    let submit = || {
        let ring = Ring::new(0).expect("a second ring");
        ring.make_asynchronous();
        ring.submit();
    };
    thread::Builder::new().spawn(submit).expect("a thread").join().expect("its end");
    wait_for_threads(1);
    calls(count);
    wait_for(child(|| calls(count)));
    let with_worker = || {
        submit();
        calls(count);
    };
    wait_for(child(with_worker));
    println!("done");
}

/// Waits until the process has so many threads.
fn wait_for_threads(count: usize) {
    let threads = || std::fs::read_dir("/proc/self/task").expect("its threads").count();
    while threads() != count {
        thread::yield_now();
    }
}

/// Maps a page of the ring at one of the kernel's offsets.
fn map(ring: i32, offset: i64) -> *mut c_void {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a mapping that nothing else uses.
    let page = unsafe { libc::mmap(ptr::null_mut(), PAGE, access, libc::MAP_SHARED, ring, offset) };
    assert_ne!(page, libc::MAP_FAILED);
    page
}
