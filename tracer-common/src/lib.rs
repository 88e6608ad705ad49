//! What the kernel programs and the user side of tracer agree on.
//!
//! One record of the kernel ring is one [`event::SyscallEvent`] followed by its captures:
//!
//! ```text
//! 0                         144
//! ┌─────────────────────────┬───────────────┬─────────────┬───────────────┬──────────···
//! │ SyscallEvent            │ CaptureHeader │ bytes (pad) │ CaptureHeader │ bytes ···
//! └─────────────────────────┴───────────────┴─────────────┴───────────────┴──────────···
//!                           └────────────── payload_len bytes ───────────────────────···
//! ```
//!
//! or a [`lifecycle::LifecycleEvent`], which tells of a process, or a [`signal::SignalEvent`]. The
//! first two bytes say which.
//!
//! All fields are fixed width, in the byte order of the host, with padding written out and zeroed.
//! Enumerations cross as integers; a value this build does not know is data, not an error.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

#[macro_use]
mod wire;

pub mod abi;
pub mod cgroup;
pub mod counter;
pub mod event;
pub mod file;
pub mod lifecycle;
pub mod memory;
#[cfg(not(target_arch = "bpf"))]
pub mod parse;
pub mod plan;
pub mod scope;
pub mod signal;

pub mod errno;
pub mod syscalls;
