//! The command `tracer`.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
};

fn main() -> ExitCode {
    tracer_user::cli::main()
}

/// The system's allocator. Where it gives nothing, the program says so in a line and ends: Rust would
/// abort it, with a backtrace, and a core.
struct OrEnd;

#[global_allocator]
static ALLOCATOR: OrEnd = OrEnd;

// SAFETY: all of it is the system allocator's, but for what it does not give.
unsafe impl GlobalAlloc for OrEnd {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: by the caller's word.
        given(unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: by the caller's word.
        given(unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: by the caller's word.
        given(unsafe { System.realloc(memory, layout, size) })
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: by the caller's word.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[inline]
fn given(memory: *mut u8) -> *mut u8 {
    if memory.is_null() {
        out_of_memory();
    }
    memory
}

#[cold]
fn out_of_memory() -> ! {
    const LINE: &[u8] = b"tracer: out of memory: the system gives no more (`ulimit -v` shows this \
        process's limit; tracer needs about 300 MiB of addresses)\n";
    static PRINTED: AtomicBool = AtomicBool::new(false);
    while PRINTED.swap(true, Ordering::Relaxed) {
        // Another thread is about to end the process, by the below.
        // SAFETY: no preconditions.
        unsafe { libc::pause() };
    }
    // SAFETY: the bytes are valid. Nothing here may ask for memory, as formatting could.
    unsafe { libc::write(libc::STDERR_FILENO, LINE.as_ptr().cast(), LINE.len()) };
    // SAFETY: ends the process, without destructors.
    unsafe { libc::_exit(1) }
}
