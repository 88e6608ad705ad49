//! `cargo xtask lint`: formatting, clippy, documentation, and the rules of [`crate::tidy`].

use anyhow::Result;

use crate::{command, tidy};

/// The eBPF crate needs another compiler; its formatting is checked all the same.
const HOST_CRATES: [&str; 3] = ["--workspace", "--exclude", "tracer-ebpf"];

/// Runs every check, up to the first that fails.
pub(crate) fn run() -> Result<()> {
    command::run(command::cargo()?.args(["fmt", "--all", "--check"]))?;
    let mut clippy = command::cargo()?;
    clippy.args(["clippy", "--locked"]).args(HOST_CRATES);
    clippy.args(["--all-targets", "--all-features", "--", "-D", "warnings"]);
    command::run(&mut clippy)?;
    let mut doc = command::cargo()?;
    doc.args(["doc", "--locked", "--no-deps"]).args(HOST_CRATES);
    command::run(doc.env("RUSTDOCFLAGS", "-D warnings"))?;
    tidy::run()
}
