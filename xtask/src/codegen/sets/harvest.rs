//! Constants that `linux-raw-sys` does not have, from the headers of the C library and the kernel.
//!
//! A C compiler evaluates them; the result is committed as `uapi.txt`, for a machine without
//! headers must come to the same tables. All of them are the same on every architecture: they come
//! from headers that do not ask for one.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

/// What is committed.
pub(super) const COMMITTED: &str = include_str!("uapi.txt");
const FILE: &str = "xtask/src/codegen/sets/uapi.txt";
const HEADER: &str =
    "# Constants from the installed headers: `cargo xtask codegen --harvest`; do not edit.\n";

/// What values are masked with in the assembly.
const MASK: u64 = 0x5555_5555_5555_5555;

/// Headers that are included together; the C library's cannot be mixed with the kernel's.
const GROUPS: [&[&str]; 3] = [
    &[
        "linux/personality.h",
        "linux/timex.h",
        "linux/bpf.h",
        "linux/perf_event.h",
        "linux/fanotify.h",
        "linux/keyctl.h",
        "linux/kcmp.h",
        "linux/ioprio.h",
        "linux/quota.h",
        "linux/dqblk_xfs.h",
        "linux/ipc.h",
        "linux/shm.h",
        "linux/sem.h",
        "linux/msg.h",
        "linux/close_range.h",
        "linux/module.h",
        "linux/rseq.h",
        "linux/udp.h",
        "linux/kexec.h",
        "linux/aio_abi.h",
        "linux/securebits.h",
        "asm/prctl.h",
    ],
    &["sys/socket.h", "sys/quota.h"],
    &["sys/swap.h", "fcntl.h", "sys/mman.h"],
];

/// The committed names and values.
pub(super) fn committed() -> Result<Vec<(String, u64)>> {
    COMMITTED
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (name, value) =
                line.split_once(" 0x").with_context(|| format!("{FILE}: `{line}`"))?;
            Ok((name.to_owned(), u64::from_str_radix(value, 16).context(FILE)?))
        })
        .collect()
}

/// The text of the file.
pub(super) fn render(values: &[(String, u64)]) -> String {
    values
        .iter()
        .fold(HEADER.to_owned(), |text, (name, value)| format!("{text}{name} {value:#x}\n"))
}

/// Writes the file.
pub(super) fn write(root: &Path, names: &[String]) -> Result<()> {
    fs::write(root.join(FILE), render(&values(names)?)).with_context(|| format!("writing {FILE}"))
}

/// The values of these names, in their order.
pub(super) fn values(names: &[String]) -> Result<Vec<(String, u64)>> {
    let mut found: Vec<(String, u64)> = Vec::new();
    for group in GROUPS {
        let known: Vec<&String> =
            names.iter().filter(|name| found.iter().all(|(other, _)| other != *name)).collect();
        found.extend(evaluate(group, &known)?);
    }
    for name in names {
        ensure!(found.iter().any(|(other, _)| other == name), "no header has `{name}`");
    }
    found.sort_unstable();
    Ok(found)
}

/// Those of the names that the headers have: first tried one by one, by the errors of a compilation
/// that uses them all, then read from the assembly of one that uses the rest.
fn evaluate(headers: &[&str], names: &[&String]) -> Result<Vec<(String, u64)>> {
    let errors = compile(headers, names)?.1;
    let is_known =
        |name: &&&String| !errors.contains(&format!("\u{2018}{name}\u{2019} undeclared"));
    let known: Vec<&String> = names.iter().filter(is_known).copied().collect();
    let (assembly, errors) = compile(headers, &known)?;
    ensure!(!assembly.is_empty(), "the C compiler: {errors}");
    let values: Vec<u64> = assembly
        .lines()
        .filter_map(|line| line.trim().strip_prefix(".quad\t"))
        .map(|value| value.parse().map(i64::cast_unsigned).or_else(|_| value.parse()))
        .map(|value| value.map(|value| value ^ MASK))
        .collect::<Result<_, _>>()
        .context("the compiler's assembly")?;
    ensure!(values.len() == known.len(), "{} values of {}", values.len(), known.len());
    Ok(known.into_iter().cloned().zip(values).collect())
}

/// The assembly of an array of the names, empty if it does not compile, and what was said.
fn compile(headers: &[&str], names: &[&String]) -> Result<(String, String)> {
    let mut program = "#define _GNU_SOURCE\n".to_owned();
    for header in headers {
        writeln!(program, "#include <{header}>")?;
    }
    // Zeroes would come as `.zero` and a length.
    program.push_str("const unsigned long long values[] = {\n");
    for name in names {
        writeln!(program, "(unsigned long long)({name}) ^ {MASK:#x}ULL,")?;
    }
    program.push_str("};\n");
    let mut child = Command::new("cc")
        .args(["-x", "c", "-S", "-fmax-errors=0", "-o", "-", "-"])
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting cc")?;
    let Some(mut input) = child.stdin.take() else { bail!("cc has no stdin") };
    input.write_all(program.as_bytes()).context("writing to cc")?;
    drop(input);
    let output = child.wait_with_output().context("waiting for cc")?;
    let text = |bytes| String::from_utf8(bytes).context("what cc wrote");
    let assembly = if output.status.success() { text(output.stdout)? } else { String::new() };
    Ok((assembly, text(output.stderr)?))
}
