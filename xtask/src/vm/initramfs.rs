//! The root of every guest: busybox, the payload, and the shared libraries it needs.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use super::arch::Arch;
use super::payload::{Programs, Selection};
use crate::command;

/// Programs that tests start and look at: those of busybox make other syscalls.
const TOOLS: [&str; 13] = [
    "bash", "cat", "head", "id", "ls", "nice", "nohup", "setpriv", "setsid", "sh", "sleep",
    "unshare", "xargs",
];

const PASSWD: &str = "root:x:0:0:root:/tmp:/bin/sh\nnobody:x:65534:65534:nobody:/tmp:/bin/sh\n";
const GROUP: &str = "root:x:0:\nnogroup:x:65534:\n";

/// Makes it; returns the file.
pub(super) fn make(
    arch: Arch,
    folder: &Path,
    busybox: &Path,
    programs: &Programs,
    selection: &Selection,
) -> Result<PathBuf> {
    let root = folder.join("root");
    if root.exists() {
        fs::remove_dir_all(&root).with_context(|| format!("removing {}", root.display()))?;
    }
    for name in ["bin", "dev", "etc", "payload/bin", "proc", "run", "sys", "tmp"] {
        let path = root.join(name);
        fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
    }
    write_files(&root, selection)?;
    copy(busybox, &root.join("bin/busybox"))?;
    for (program, name) in [
        (&programs.tests, "kernel"),
        (&programs.tracer, "tracer"),
        (&programs.workload, "tracer-workload"),
    ] {
        strip(arch, program, &root.join("payload").join(name))?;
    }
    // For another processor programs are linked without shared libraries, and tools are busybox's.
    if arch == Arch::Amd64 {
        copy_tools(&root, programs)?;
    }
    pack(&root, &folder.join("initramfs"))
}

/// Copies the tools, and the shared libraries that they and our programs need.
fn copy_tools(root: &Path, programs: &Programs) -> Result<()> {
    let mut libraries = BTreeSet::new();
    for program in [&programs.tests, &programs.tracer, &programs.workload] {
        libraries.extend(shared_libraries(program)?);
    }
    for name in TOOLS {
        let tool = find(name)?;
        libraries.extend(shared_libraries(&tool)?);
        copy(&tool, &root.join("payload/bin").join(name))?;
    }
    for library in libraries {
        copy(Path::new(&library), &root.join(library.trim_start_matches('/')))?;
    }
    Ok(())
}

fn write_files(root: &Path, selection: &Selection) -> Result<()> {
    let names: String = selection.tests.iter().flat_map(|name| [name, "\n"]).collect();
    for (name, text, mode) in [
        ("init", include_str!("init.sh"), 0o755),
        ("payload/refusal", include_str!("refusal.sh"), 0o755),
        ("payload/tests", include_str!("tests.sh"), 0o755),
        ("payload/names", &names, 0o644),
        ("etc/hostname", "tracer-vm\n", 0o644),
        ("etc/passwd", PASSWD, 0o644),
        ("etc/group", GROUP, 0o644),
    ] {
        let path = root.join(name);
        fs::write(&path, text)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(mode)))
            .with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// The file behind any links, executable.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let folder = to.parent().with_context(|| to.display().to_string())?;
    fs::create_dir_all(folder)
        .and_then(|()| fs::copy(from, to))
        .and_then(|_| fs::set_permissions(to, fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("copying {} to {}", from.display(), to.display()))
}

/// Copies without debug information, which is most of the size.
fn strip(arch: Arch, from: &Path, to: &Path) -> Result<()> {
    let strip = match arch {
        Arch::Amd64 => "strip",
        Arch::Arm64 => "aarch64-linux-gnu-strip",
    };
    command::output(Command::new(strip).arg("-g").arg("-o").arg(to).arg(from)).map(drop)
}

/// The program that a shell would start here.
fn find(name: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut files = env::split_paths(&path).map(|folder| folder.join(name));
    files.find(|file| file.is_file()).with_context(|| format!("no `{name}` in PATH"))
}

fn shared_libraries(program: &Path) -> Result<Vec<String>> {
    Ok(parse_ldd(&command::output(Command::new("ldd").arg(program))?))
}

/// The absolute paths in the output of `ldd`.
fn parse_ldd(output: &str) -> Vec<String> {
    let words = output.lines().flat_map(str::split_whitespace);
    words.filter(|word| word.starts_with('/')).map(str::to_owned).collect()
}

/// Not compressed: the guest would have to undo it.
fn pack(root: &Path, to: &Path) -> Result<PathBuf> {
    const SCRIPT: &str =
        r#"find . -print0 | cpio --null --quiet --create --format=newc --owner=0:0 > "$0""#;
    let mut pack = Command::new("sh");
    pack.args(["-c", SCRIPT]).arg(to).current_dir(root).stdin(Stdio::null());
    command::output(&mut pack).context("packing the initramfs")?;
    Ok(to.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_found_by_path() {
        let output = "\tlinux-vdso.so.1 (0x00007ffd)\n\
                      \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f0c)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x00007f0d)\n";
        let wanted = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(parse_ldd(output), wanted);
        assert!(parse_ldd("\tstatically linked\n").is_empty());
    }
}
