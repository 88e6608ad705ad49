//! The compiler and the linker of the eBPF object.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::TARGET;
use crate::{command, setup};

/// Debian's, which has the BPF target; rustup's has not.
pub(super) const RUSTC: &str = "/usr/bin/rustc";
pub(super) const OBJCOPY: &str = "/usr/lib/llvm-22/bin/llvm-objcopy";
/// Of the same package.
pub(super) const NM: &str = "/usr/lib/llvm-22/bin/llvm-nm";

/// The versions of what is installed, one a line, in the form of `toolchain.txt`; fails if
/// anything is missing.
pub(super) fn installed() -> Result<String> {
    const MISSING: &str = "is missing: run cargo xtask setup";
    for program in [RUSTC, OBJCOPY] {
        if !Path::new(program).exists() {
            bail!("{program} {MISSING}");
        }
    }
    let libraries = rustc(&["--print", "target-libdir", "--target", TARGET])
        .with_context(|| format!("the target {TARGET} of {RUSTC} {MISSING}"))?;
    if !Path::new(libraries.trim()).is_dir() {
        bail!("the core library for {TARGET} {MISSING}");
    }
    let Some(linker) = setup::bpf_linker_version() else {
        bail!("bpf-linker {MISSING}");
    };
    describe(&rustc(&["-vV"])?, &linker, |sources| Path::new(sources).exists())
}

fn rustc(args: &[&str]) -> Result<String> {
    command::output(Command::new(RUSTC).args(args))
}

/// The text of `toolchain.txt` from the output of `rustc -vV` and a version of bpf-linker.
fn describe(rustc: &str, linker: &str, exists: impl Fn(&str) -> bool) -> Result<String> {
    let field = |name: &str| {
        rustc
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
            .with_context(|| format!("`{RUSTC} -vV` names no {name}"))
    };
    let release = field("release")?;
    let llvm = field("LLVM version")?;
    let mut text = format!("rustc {release}\nLLVM {llvm}\nbpf-linker {linker}\n");
    // Debian's library names these files in its line information. Where they exist (package
    // rust-web-src) LLVM copies the lines into the object.
    let sources = format!("/usr/src/rustc-{release}");
    if exists(&sources) {
        text.push_str("library sources in ");
        text.push_str(&sources);
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUSTC_VV: &str = "\
rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)
binary: rustc
host: x86_64-unknown-linux-gnu
release: 1.96.0
LLVM version: 22.1.8
";

    #[test]
    fn the_versions_are_named() {
        assert_eq!(
            describe(RUSTC_VV, "0.13.0", |_| false).unwrap(),
            "rustc 1.96.0\nLLVM 22.1.8\nbpf-linker 0.13.0\n"
        );
    }

    #[test]
    fn sources_of_the_library_are_a_difference() {
        let text = describe(RUSTC_VV, "0.13.0", |path| path == "/usr/src/rustc-1.96.0").unwrap();
        assert!(text.ends_with("library sources in /usr/src/rustc-1.96.0\n"), "{text}");
    }

    #[test]
    fn other_output_is_an_error() {
        let error = describe("release: 1", "0.13.0", |_| false).unwrap_err().to_string();
        assert_eq!(error, "`/usr/bin/rustc -vV` names no LLVM version");
    }
}
