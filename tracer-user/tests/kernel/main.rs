//! Tests that load the programs into the running kernel. `cargo xtask test` runs them as root.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::let_underscore_must_use,
    reason = "a test says what it expected by failing; cleaning up may come too late"
)]

mod arch;
mod support;

mod books;
mod command;
// Made of calls and instructions of this one.
#[cfg(target_arch = "x86_64")]
mod edge;
mod errors;
mod expected;
mod families;
mod faults;
mod filter;
#[cfg(feature = "guest-tests")]
mod guest;
mod hosts;
mod hung;
mod identity;
mod kernel_threads;
#[cfg(feature = "guest-tests")]
mod lockdown;
mod makers;
mod memory;
mod model;
#[cfg(target_arch = "x86_64")]
mod more;
mod moves;
mod names;
mod object_store;
mod oracle;
#[cfg(feature = "receiver-tests")]
mod otlp;
mod parquet;
mod perturbation;
mod programs;
mod property;
#[cfg(target_arch = "x86_64")]
mod prototypes;
#[cfg(feature = "receiver-tests")]
#[expect(dead_code, reason = "the tests of the destination use more of it")]
#[path = "../otlp/receiver.rs"]
mod receiver;
mod recording;
mod running;
mod scope;
mod scope_changes;
mod signals;
mod strings;
mod trace_context;
mod tree;
mod truth;
#[cfg(feature = "guest-tests")]
mod whole_system;
#[cfg(target_arch = "x86_64")]
mod widths;
mod witness;
