//! The kernel programs of tracer. Modules in reading order; each may use only those above it:
//! maps and globals, counters, memory of the kernel, what is known of a task and of its process,
//! filters, strings and other memory, the ring, records of processes, programs.
#![no_std]
#![no_main]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

mod maps;
mod stats;

mod kernel_memory;

mod arch;
mod task;

mod threads;

mod filter;
mod scope;

mod capture;

mod place;

mod path;
mod socket;

mod descriptor;

mod files;
mod inside;

mod memory;

mod emit;
mod executable;
mod namespaces;

mod record;

mod alive;
mod cgroup;
mod io_uring;
mod lifecycle;
mod signal;
mod syscall;

mod running;
mod unfinished;

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier rejects a loop without an exit, so a program that could panic does not load.
    loop {}
}

/// `bpf_probe_read_*` and task storage are for GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
