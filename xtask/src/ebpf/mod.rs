//! `cargo xtask build-ebpf`: the eBPF objects, the same bytes wherever they are built.
//!
//! What could differ between two machines, and why it does not: folders end up in the line
//! information, so they are remapped; symbols made from hashes are stripped; LLVM orders forward
//! declarations by their addresses, so there may be one at most ([`btf`]); compilers differ, so
//! the bytes are compared only between the same versions ([`toolchain`]).

mod btf;
mod toolchain;

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use self::toolchain::{NM, OBJCOPY, RUSTC};
use crate::command;

/// The architectures whose registers the programs read: one object each.
const ARCHES: [&str; 2] = ["x86_64", "aarch64"];
const TARGET: &str = "bpfel-unknown-none";
/// The committed objects and what made them, below the root.
const PREBUILT: &str = "tracer-ebpf/prebuilt";
/// A target directory of its own: another compiler, other flags.
const TARGET_DIR: &str = "target/ebpf";

/// What goes from the linked program to the object that is committed.
///
/// The loader takes no relocations of BTF: what is in place is right. `.BTF.ext` stays: from it
/// the kernel names the source line of each instruction when it refuses a program, and in
/// `bpftool prog dump`. Functions that programs call keep their symbols, by which the loader finds
/// them.
const OBJCOPY_ARGS: [&str; 5] = [
    "--strip-unneeded",
    "--remove-section=.rel.BTF",
    "--remove-section=.rel.BTF.ext",
    "--wildcard",
    "--keep-symbol=_R*",
];

/// Builds the objects and writes them; with `check`, compares them with the committed ones instead.
pub(crate) fn run(check: bool) -> Result<()> {
    let toolchain = toolchain::installed()?;
    let folder = command::root()?.join(PREBUILT);
    let reference = folder.join("toolchain.txt");
    let comparable = !check || is_reference(&toolchain, &reference)?;
    for arch in ARCHES {
        let built = build(arch)?;
        let committed = folder.join(object_name(arch));
        if !comparable {
            eprintln!("build-ebpf: {arch}: the rebuild itself succeeded, {} bytes", built.len());
        } else if check {
            compare(&built, &committed)?;
        } else {
            write_if_changed(&committed, &built)?;
            println!("build-ebpf: {} is current, {} bytes", committed.display(), built.len());
        }
    }
    if check { Ok(()) } else { write_if_changed(&reference, toolchain.as_bytes()) }
}

fn object_name(arch: &str) -> String {
    format!("tracer.{arch}.bpf.o")
}

/// Whether the toolchain is the one of reference, so that its objects are the committed ones.
fn is_reference(toolchain: &str, reference: &Path) -> Result<bool> {
    let wanted = fs::read_to_string(reference).with_context(|| {
        format!("{}: run cargo xtask build-ebpf and commit", reference.display())
    })?;
    if wanted == toolchain {
        return Ok(true);
    }
    let line = |text: &str| text.trim().replace('\n', ", ");
    eprintln!("build-ebpf: ****************************************************************");
    eprintln!(
        "build-ebpf: not compared: toolchain differs (here {}; the reference is {})",
        line(toolchain),
        line(&wanted)
    );
    eprintln!("build-ebpf: ****************************************************************");
    Ok(false)
}

/// Fails if the committed object is not what was built.
fn compare(built: &[u8], committed: &Path) -> Result<()> {
    let shown = committed.display();
    if fs::read(committed).with_context(|| format!("reading {shown}"))? != built {
        bail!("{shown} differs from a rebuild: run cargo xtask build-ebpf and commit");
    }
    println!("build-ebpf: {shown} is what a rebuild makes, {} bytes", built.len());
    Ok(())
}

/// Compiles, links and strips; returns the bytes of the object.
fn build(arch: &str) -> Result<Vec<u8>> {
    let target_dir = command::root()?.join(TARGET_DIR);
    let mut cargo = cargo()?;
    cargo.args(["build", "--locked", "--release", "--target", TARGET, "-p", "tracer-ebpf"]);
    cargo.arg("--target-dir").arg(&target_dir);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags(arch)?.join("\x1f"));
    // bpf-linker sees the whole program anyway.
    cargo.env("CARGO_PROFILE_RELEASE_LTO", "false");
    cargo.env("PATH", command::search_path()?);
    command::run(&mut cargo)?;
    let linked = target_dir.join(TARGET).join("release/tracer");
    let stripped = target_dir.join(object_name(arch));
    let renamed = target_dir.join(format!("renamed.{}", object_name(arch)));
    let symbols = command::output(Command::new(NM).arg("--defined-only").arg(&linked))?;
    let mut rename = Command::new(OBJCOPY);
    for (old, new) in functions(&symbols) {
        rename.arg(format!("--redefine-sym={old}={new}"));
    }
    command::run(rename.arg(linked).arg(&renamed))?;
    command::run(Command::new(OBJCOPY).args(OBJCOPY_ARGS).arg(renamed).arg(&stripped))?;
    let object = fs::read(&stripped).with_context(|| format!("reading {}", stripped.display()))?;
    btf::check_order(&object).with_context(|| format!("the object for {arch}"))?;
    Ok(object)
}

/// Local functions of `llvm-nm`'s output by their mangled names, and those names without the hash
/// of the crate, which could differ between machines.
fn functions(symbols: &str) -> Vec<(&str, String)> {
    symbols
        .lines()
        .filter_map(|line| line.split_once(" t ").map(|(_, name)| name))
        .filter_map(|name| {
            let (before, rest) = name.strip_prefix("_R")?.split_once("Cs")?;
            let (_, after) = rest.split_once('_')?;
            Some((name, format!("_R{before}C{after}")))
        })
        .collect()
}

/// A cargo with the BPF compiler, whatever else is configured.
fn cargo() -> Result<Command> {
    let mut cargo = command::cargo()?;
    // The compiler is a stable one; the programs need unstable features.
    cargo.env("RUSTC", RUSTC).env("RUSTC_BOOTSTRAP", "1");
    cargo.env("RUSTC_WRAPPER", "").env("RUSTC_WORKSPACE_WRAPPER", "");
    Ok(cargo)
}

/// The flags of rustc.
fn flags(arch: &str) -> Result<Vec<String>> {
    let mut flags: Vec<String> = [
        "--cfg",
        &format!("bpf_target_arch=\"{arch}\""),
        "-Ctarget-cpu=v3",
        "-Cdebuginfo=2",
        "-Clink-arg=--btf",
    ]
    .map(str::to_owned)
    .into();
    let root = command::root()?;
    let mut remap = |from: &Path, to: &str| {
        flags.push(format!("--remap-path-prefix={}={to}", from.display()));
    };
    remap(root, "/tracer");
    for folder in dependency_folders()? {
        remap(&folder, "/crates");
    }
    Ok(flags)
}

/// Where the sources of dependencies are: cargo home's name for the registry, a mirror's, or
/// `vendor`.
fn dependency_folders() -> Result<BTreeSet<PathBuf>> {
    let mut cargo = cargo()?;
    cargo.args(["metadata", "--locked", "--format-version=1", "--filter-platform", TARGET]);
    let metadata: Value = serde_json::from_str(&command::output(&mut cargo)?)?;
    parse_dependency_folders(&metadata).context("unexpected output of `cargo metadata`")
}

fn parse_dependency_folders(metadata: &Value) -> Option<BTreeSet<PathBuf>> {
    let packages = metadata["packages"].as_array()?;
    packages
        .iter()
        .filter(|package| !package["source"].is_null())
        .map(|package| {
            let manifest = Path::new(package["manifest_path"].as_str()?);
            Some(manifest.parent()?.parent()?.to_owned())
        })
        .collect()
}

/// Leaves a file with the same contents alone, so that nothing is rebuilt for it.
fn write_if_changed(path: &Path, contents: &[u8]) -> Result<()> {
    match fs::read(path) {
        Ok(old) if old == contents => return Ok(()),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error).context(format!("reading {}", path.display())),
    }
    fs::write(path, contents).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn functions_lose_the_hash_of_their_crate() {
        let symbols = "0000 t _RNvNtCs8C34T957G7q_6tracer6memory5place\n0000 T sys_enter\n";
        let expected = "_RNvNtC6tracer6memory5place".to_owned();
        assert_eq!(functions(symbols), [("_RNvNtCs8C34T957G7q_6tracer6memory5place", expected)]);
    }

    #[test]
    fn folders_of_dependencies() {
        let metadata = json!({ "packages": [
            { "source": null, "manifest_path": "/w/tracer-ebpf/Cargo.toml" },
            { "source": "registry", "manifest_path": "/c/registry/src/x-1/aya-0.1/Cargo.toml" },
            { "source": "registry", "manifest_path": "/c/registry/src/x-1/libc-0.2/Cargo.toml" },
            { "source": "git", "manifest_path": "/c/git/checkouts/y/ab/Cargo.toml" },
        ] });
        let wanted = ["/c/git/checkouts/y", "/c/registry/src/x-1"].map(PathBuf::from);
        assert_eq!(parse_dependency_folders(&metadata), Some(wanted.into()));
        assert_eq!(parse_dependency_folders(&json!({})), None);
    }
}
