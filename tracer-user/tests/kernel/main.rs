//! Tests that load the programs into the running kernel. `cargo xtask test` runs them as root.

mod support;

mod books;
mod command;
mod errors;
mod filter;
mod scope;
mod strings;
