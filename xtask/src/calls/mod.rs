//! Calls as strace and tracer print them: read, put beside each other and compared.
//!
//! The traced programs have the same layout in memory in every run ([`same_layout`]), so addresses
//! are compared as they are. What differs between two runs of strace itself says nothing about
//! tracer: it is measured and left out, number by number and byte by byte. Ids of processes,
//! inodes and ports must correspond one to one.

mod align;
mod call;
mod compare;
mod lines;
mod pairs;
mod tokens;
mod unfold;

use std::path::Path;
use std::process::Command;

use anyhow::Result;

pub(crate) use self::compare::{Comparison, Difference, Outcome, Part, compare};
pub(crate) use self::lines::{Thread, from_start, strace, tracer};
use crate::privilege;

/// Bytes of strings and data that both print.
pub(crate) const STRINGS: &str = "32";

/// Options with which strace prints what tracer prints.
pub(crate) const STRACE: [&str; 7] = ["-f", "-qq", "-a1", "-s", STRINGS, "-e", "signal=none"];

/// Options with which tracer prints what strace prints.
pub(crate) const TRACER: [&str; 6] = ["trace", "--data", "-s", STRINGS, "--color", "never"];

/// Starts programs without randomization of their layout: a tracer, whose command inherits that.
/// What takes longer than `limit` seconds is ended, with all of its process group.
pub(crate) fn same_layout(tracer: &Path, limit: Option<u64>) -> Result<Command> {
    let Some(limit) = limit else {
        let mut command = privilege::as_root(Path::new("setarch"))?;
        command.arg("--addr-no-randomize").arg(tracer);
        return Ok(command);
    };
    let mut command = privilege::as_root(Path::new("timeout"))?;
    command.args(["--kill-after=5", &limit.to_string(), "setarch", "--addr-no-randomize"]);
    command.arg(tracer);
    Ok(command)
}
