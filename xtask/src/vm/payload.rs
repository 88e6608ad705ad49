//! What runs in the guests: the kernel tests and the programs they start.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::arch::Arch;
use super::images::Cache;
use crate::{built, command, python};

/// Tests that are left out, on one processor or on all, and why.
const LEFT_OUT: [(Option<Arch>, &str, &str); 6] = [
    (
        Some(Arch::Arm64),
        "command::a_command_is_traced_from_its_exec_to_its_exit",
        "cat is busybox's there, which does not read what it copies",
    ),
    (None, "oracle::perf_counts", "perf is not in the guests"),
    (None, "injected", "strace is not in the guests"),
    (None, "stress_ng", "stress-ng is not in the guests"),
    (None, python::NEEDS_IT, "no Python in the guests"),
    (None, "otlp::", "no Python in the guests"),
];

/// How the names of tests begin that leave a guest changed.
pub(super) const LAST: &str = "lockdown::";

/// The programs that are built here.
pub(super) struct Programs {
    /// The test executable.
    pub(super) tests: PathBuf,
    pub(super) tracer: PathBuf,
    pub(super) workload: PathBuf,
}

/// Which tests run.
pub(super) struct Selection {
    /// Their names, in the order in which they run.
    pub(super) tests: Vec<String>,
    /// The names of those left out, each with the reason.
    pub(super) skipped: Vec<(String, String)>,
}

/// Builds the tests; cargo builds the programs that they use too. For this processor they are those
/// that run here.
pub(super) fn build(arch: Arch, cache: &Cache) -> Result<Programs> {
    let built = match arch {
        Arch::Amd64 => built::all()?,
        Arch::Arm64 => {
            let mut cargo = command::cargo()?;
            cargo.args(["build", "--locked", "-p", "tracer-user"]);
            cargo.args(["--features", "guest-tests", "--test", "kernel"]);
            cross(&mut cargo, cache)?;
            built::build(&mut cargo)?
        }
    };
    let tests = built.find("test", "kernel").context("the kernel tests")?.path.clone();
    // Tests are in `deps`, programs above it.
    let folder = tests.ancestors().nth(2).context("the kernel tests are in no folder")?;
    let [tracer, workload] = ["tracer", "tracer-workload"].map(|name| folder.join(name));
    for program in [&tracer, &workload] {
        ensure!(program.exists(), "cargo did not build {}", program.display());
    }
    Ok(Programs { tests, tracer, workload })
}

/// Makes cargo build for the other processor: with Debian's compiler, whose library Debian has for
/// all processors, and without shared libraries.
fn cross(cargo: &mut Command, cache: &Cache) -> Result<()> {
    let mut query = Command::new("dpkg-query");
    let version = command::output(query.args(["-W", "-f=${Version}", "libstd-rust-web-dev"]))?;
    let sysroot = cache.rust_library(version.trim()).context("Rust's library for arm64")?;
    cargo.args(["--target", "aarch64-unknown-linux-gnu"]);
    cargo.env("RUSTC", "/usr/bin/rustc").env("RUSTC_WRAPPER", "");
    cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc");
    let flags = ["--sysroot", &sysroot.display().to_string(), "-Ctarget-feature=+crt-static"];
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    Ok(())
}

/// Asks the executable which tests a filter and the names to skip leave.
pub(super) fn select(
    arch: Arch,
    programs: &Programs,
    filter: &[String],
    skip: &[String],
) -> Result<Selection> {
    let mut list = match arch {
        Arch::Amd64 => Command::new(&programs.tests),
        Arch::Arm64 => {
            let mut emulated = Command::new("qemu-aarch64");
            emulated.arg(&programs.tests);
            emulated
        }
    };
    let list = command::output(list.arg("--list").args(filter))?;
    let mut reasons: Vec<_> = LEFT_OUT
        .iter()
        .filter(|(of, ..)| of.is_none_or(|of| of == arch))
        .map(|(_, text, reason)| ((*text).to_owned(), (*reason).to_owned()))
        .collect();
    reasons.extend(skip.iter().map(|text| (text.clone(), format!("--skip {text}"))));
    let selection = choose(&list, &reasons);
    ensure!(!selection.tests.is_empty(), "no kernel test is left to run in the guests");
    Ok(selection)
}

/// Splits a list of tests into those that run and those that do not.
fn choose(list: &str, reasons: &[(String, String)]) -> Selection {
    let mut selection = Selection { tests: Vec::new(), skipped: Vec::new() };
    for name in list.lines().filter_map(|line| line.strip_suffix(": test")) {
        match reasons.iter().find(|(text, _)| name.contains(text.as_str())) {
            Some((_, reason)) => selection.skipped.push((name.to_owned(), reason.clone())),
            None => selection.tests.push(name.to_owned()),
        }
    }
    // Stable: the others stay in their order.
    selection.tests.sort_by_key(|name| name.starts_with(LAST));
    selection
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_run_or_are_skipped_with_a_reason() {
        let list = "books::big: test\nbooks::small: test\nlockdown::all: test\nscope::all: test\n\n\
                    4 tests\n";
        let because = |text: &str| (text.to_owned(), format!("not {text}"));
        let selection = choose(list, &[because("big"), because("nothing")]);
        assert_eq!(selection.tests, ["books::small", "scope::all", "lockdown::all"]);
        assert_eq!(selection.skipped, [("books::big".to_owned(), "not big".to_owned())]);
    }
}
