//! `cargo xtask run`: tracer, built with optimizations, run as root.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::{built, command, privilege};

/// Builds tracer and becomes it; returns only if that fails.
pub(crate) fn run(args: &[OsString]) -> Result<ExitCode> {
    let mut cargo = command::cargo()?;
    cargo.args(["build", "--quiet", "--locked", "--release", "-p", "tracer-user"]);
    cargo.args(["--bin", "tracer"]);
    let built = built::build(&mut cargo)?;
    let mut program = privilege::as_root(&built.program("tracer")?.path)?;
    program.args(args);
    // Its exit status is ours then, and so are the signals.
    Err(program.exec()).with_context(|| format!("starting `{}`", command::describe(&program)))
}
