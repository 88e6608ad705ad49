//! tracer: a system-wide syscall tracer.
//!
//! Modules in the order of the data flow: [`kernel`] loads the programs that write records into
//! the kernel ring; [`reader`] takes them out; [`decode`] makes a [`span_record::SpanRecord`] of
//! each; [`ring_buffer`] carries spans to the sidecar, which hands them to the exporters of
//! [`export`]. [`pipeline`] puts all of it together; [`ledger`] is the account of what was lost.
//!
//! The parts are usable by themselves: see [`ring_buffer::SpanRingBuffer`] for the queue with an
//! exporter of your own, and [`pipeline::Trace`] for tracing from a program.
#![cfg_attr(
    not(all(feature = "cli", feature = "otlp", feature = "object-store")),
    allow(dead_code, unused_imports, reason = "what is shared by parts that this build lacks")
)]

pub mod health;
pub mod shared_memory;

pub mod kernel;

pub mod reader;
pub mod watch;

pub mod clock;
pub mod decode;
pub mod identity;
pub mod ids;
pub mod process;
pub mod span_record;
pub mod traceparent;
pub mod tree;

pub mod ring_buffer;

mod escape;
pub mod export;
pub mod values;

pub mod filter;
pub mod ledger;
mod losses;
pub mod pipeline;

#[cfg(feature = "cli")]
pub mod cli;
pub mod control;
pub mod launch;
