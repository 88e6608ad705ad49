//! `cargo xtask setup`: what building the eBPF object needs, and the programs that tests use.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::{command, node, privilege, python};

/// Debian packages: a rustc with the BPF target, its core library, LLVM's library, and what tests
/// use.
const PACKAGES: [&str; 8] = [
    "rustc-web",
    "libstd-rust-web-dev-bpf",
    "llvm-22-dev",
    "linux-perf",
    "python3-venv",
    "strace",
    "stress-ng",
    "sudo",
];

/// The version of bpf-linker that makes the reference.
const BPF_LINKER: &str = "0.13.0";

/// What a system without apt needs.
const ELSEWHERE: &str = "\
This system has no apt-get, and `setup` knows Debian's packages only. To change kernel code, install
  - a rustup nightly with its library's sources: rustup toolchain install nightly-2026-05-20 --component rust-src
  - bpf-linker 0.13.0, of the same LLVM: cargo install bpf-linker --version 0.13.0 --locked
  - strace, perf, stress-ng and Python with its module venv, for the tests
and build with `cargo +nightly-2026-05-20 build --release --target bpfel-unknown-none -Z build-std=core -p tracer-ebpf`
and the flags in xtask/src/ebpf/mod.rs. The committed objects are made, and checked, on Debian.
Everything else (building, testing, user code) needs stable Rust alone.";

/// Installs what is missing.
pub(crate) fn run() -> Result<()> {
    programs()?;
    environments()
}

/// Installs the packages and the linker.
pub(crate) fn programs() -> Result<()> {
    if !has_apt() {
        eprintln!("{ELSEWHERE}");
    }
    install(&PACKAGES).context("setup")?;
    if bpf_linker_version().as_deref() != Some(BPF_LINKER) {
        install_bpf_linker()?;
    }
    println!("setup: {} and bpf-linker {BPF_LINKER} are installed", PACKAGES.join(", "));
    Ok(())
}

/// Makes the environments of receivers and readers, which only tests need.
pub(crate) fn environments() -> Result<()> {
    python::environment()?;
    if let Err(error) = node::environment() {
        eprintln!("setup: tests with Azurite will be skipped: {error:#}");
    }
    println!("setup: the environments of receivers and readers are made");
    Ok(())
}

/// Installs those of the Debian packages that are missing.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    if !has_apt() {
        bail!("no apt-get to install {}", packages.join(", "));
    }
    let missing: Vec<&str> =
        packages.iter().copied().filter(|package| !is_installed(package)).collect();
    if !missing.is_empty() {
        apt_get(&["update"])?;
        let mut args = vec!["install", "-y", "--no-install-recommends"];
        args.extend(missing);
        apt_get(&args)?;
    }
    Ok(())
}

fn has_apt() -> bool {
    Path::new("/usr/bin/apt-get").exists()
}

/// Whether dpkg has the package, complete.
fn is_installed(package: &str) -> bool {
    let output = Command::new("dpkg-query")
        .args(["-W", "-f=${db:Status-Status}", package])
        .stderr(Stdio::null())
        .output();
    output.is_ok_and(|output| output.stdout == b"installed")
}

fn apt_get(args: &[&str]) -> Result<()> {
    let mut apt = privilege::as_root(Path::new("env"))?;
    apt.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]).args(args);
    command::run(&mut apt)
}

/// The version of the bpf-linker that a build would use.
pub(crate) fn bpf_linker_version() -> Option<String> {
    let mut linker = Command::new("bpf-linker");
    linker.arg("--version").env("PATH", command::search_path().ok()?).stderr(Stdio::null());
    let output = linker.output().ok().filter(|output| output.status.success())?;
    let version = String::from_utf8(output.stdout).ok()?;
    Some(version.trim().strip_prefix("bpf-linker ")?.to_owned())
}

fn install_bpf_linker() -> Result<()> {
    let mut cargo = command::cargo()?;
    cargo.args(["install", "bpf-linker", "--version", BPF_LINKER, "--locked", "--force"]);
    cargo.args(["--no-default-features", "--features", "llvm-22"]);
    command::run(cargo.env("LLVM_PREFIX", "/usr/lib/llvm-22"))
}
