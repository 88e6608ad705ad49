//! Tests that load the programs into the running kernel. `cargo xtask test` runs them as root.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::let_underscore_must_use,
    reason = "a test says what it expected by failing; cleaning up may come too late"
)]

mod support;

mod books;
mod command;
mod edge;
mod errors;
mod filter;
mod hosts;
mod object_store;
mod parquet;
mod scope;
mod strings;
