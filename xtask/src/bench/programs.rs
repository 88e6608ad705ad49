//! The programs that benchmarks use and compare with.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::{command, setup};

/// Debian's packages of other tracers.
pub(super) const PEERS: [&str; 3] = ["strace", "linux-perf", "bpftrace"];

/// Debian's packages of what is traced.
pub(super) const WORKLOADS: [&str; 7] =
    ["redis-server", "redis-tools", "nginx-light", "wrk", "git", "gcc", "libc6-dev"];

/// A tracer that cargo installs.
const FROM_REGISTRY: &str = "aprender-profile";

/// Installs the packages, and with [`PEERS`] among them also the peer that no distribution has. What
/// cannot be installed is said, and by the benchmark once more; the others are measured all the
/// same. Returns the folder of what cargo has installed.
pub(super) fn install(packages: &[&str]) -> Result<PathBuf> {
    let folder = command::root()?.join("target/peers");
    for package in packages {
        if let Err(error) = setup::install(&[package]) {
            eprintln!("bench: {package}: {error:#}");
        }
    }
    if packages.iter().any(|package| PEERS.contains(package)) {
        install_from_registry(&folder)?;
    }
    Ok(folder)
}

/// Once: what has failed is remembered in a file beside.
fn install_from_registry(folder: &Path) -> Result<()> {
    let failure = folder.join(format!("{FROM_REGISTRY}.failed"));
    if folder.join("bin").join(FROM_REGISTRY).exists() {
        return Ok(());
    }
    if failure.exists() {
        eprintln!("bench: {FROM_REGISTRY} is not tried again: {} tells why", failure.display());
        return Ok(());
    }
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let mut cargo = command::cargo()?;
    cargo.args(["install", FROM_REGISTRY, "--root"]).arg(folder);
    if let Err(error) = command::run(&mut cargo) {
        eprintln!("bench: {error:#}");
        fs::write(&failure, format!("{error:#}\n")).context("remembering that")?;
    }
    Ok(())
}
