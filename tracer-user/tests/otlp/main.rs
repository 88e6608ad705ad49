//! The OTLP destination against receivers made of the official protobuf classes: one that can do
//! everything wrong (`tests/receivers`), and Rotel, a collector. `cargo xtask test` makes the
//! Python environment they run in.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test says what it expected by failing"
)]

mod contents;
mod faults;
mod life;
mod receiver;
mod rotel;
mod support;
mod tls;
