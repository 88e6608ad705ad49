//! Memory of maps that kernel and user side both see.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
    ptr::NonNull,
    sync::atomic::AtomicU64,
};

/// A shared mapping of a part of a map.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory is shared with the kernel and touched through atomics, or read when the
// kernel no longer writes it; no thread owns it more than another.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps `len` bytes from `offset` on for reading.
    pub fn read_only(fd: BorrowedFd<'_>, offset: usize, len: usize) -> io::Result<Self> {
        Self::new(fd, offset, len, libc::PROT_READ, libc::MAP_SHARED)
    }

    /// Maps the first `len` bytes of a file for reading, with no claim to what others write there.
    pub fn private(fd: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        Self::new(fd, 0, len, libc::PROT_READ, libc::MAP_PRIVATE)
    }

    /// Maps `len` bytes from `offset` on for reading and writing.
    pub fn read_write(fd: BorrowedFd<'_>, offset: usize, len: usize) -> io::Result<Self> {
        Self::new(fd, offset, len, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED)
    }

    fn new(
        fd: BorrowedFd<'_>,
        offset: usize,
        len: usize,
        protection: i32,
        flags: i32,
    ) -> io::Result<Self> {
        let offset = i64::try_from(offset).map_err(io::Error::other)?;
        let fd = fd.as_raw_fd();
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, fd, offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at 0"))?;
        Ok(Self { start, len })
    }

    /// Where it begins: at the start of a page.
    pub const fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Bytes that are mapped: at least one.
    pub const fn size(&self) -> usize {
        self.len
    }

    /// `len` bytes at `offset`, if they are inside.
    #[inline]
    pub fn at(&self, offset: usize, len: usize) -> Option<NonNull<u8>> {
        let inside = offset.checked_add(len)? <= self.len;
        // SAFETY: inside the mapping.
        inside.then(|| unsafe { self.start.add(offset) })
    }

    /// The 64-bit word with this index, if it is inside.
    pub fn word64(&self, index: usize) -> Option<&AtomicU64> {
        let word = self.at(index.checked_mul(8)?, 8)?;
        // SAFETY: inside the mapping and aligned, for mappings begin at a page.
        Some(unsafe { word.cast().as_ref() })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and nothing borrowed from it outlives it.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// Bytes of a page of memory.
pub fn page_size() -> usize {
    // SAFETY: has no preconditions.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}
