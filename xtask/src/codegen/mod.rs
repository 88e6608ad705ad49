//! Generates the syscall table of `tracer-common` from `syscalls.txt` and the numbers of the
//! `syscalls` crate, and the tables of named constants from `sets.txt`.

mod coverage;
mod emit;
mod kind;
mod names;
mod numbers;
mod sets;
mod source;

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context as _, Result, bail};

use self::names::Names;
use self::numbers::TABLES;
use self::source::Definition;

/// The command that writes the generated files.
const COMMAND: &str = "cargo xtask codegen";
/// Where the generated files are, below the root of the workspace.
const OUTPUT: &str = "tracer-common/src/syscalls";

/// Writes the generated files; with `check`, compares them with what is there instead.
pub(crate) fn run(check: bool) -> Result<()> {
    let root = root()?;
    let names = Names::parse(sets::names()?, include_str!("structs.txt"))?;
    let definitions = source::parse(include_str!("syscalls.txt"), &names)
        .context("xtask/src/codegen/syscalls.txt")?;
    let coverage = (coverage::FILE.to_owned(), coverage::document(&definitions));
    let mut calls = generate(&definitions)?;
    calls.push(("names.rs".to_owned(), names.source(emit::HEADER)));
    let calls = calls.into_iter().map(|(name, text)| (format!("{OUTPUT}/{name}"), text));
    for (name, text) in calls.chain([sets::generate(root)?, coverage]) {
        let path = root.join(&name);
        let text = match name.strip_suffix(".rs") {
            Some(_) => format(root, text).with_context(|| format!("formatting {name}"))?,
            None => text,
        };
        let old = match fs::read_to_string(&path) {
            Ok(old) => Some(old),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error).context(format!("reading {}", path.display())),
        };
        if old.as_deref() == Some(text.as_str()) {
            continue;
        }
        if check {
            bail!("{name} is stale: run `{COMMAND}` and commit the result");
        }
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// Renews the constants that come from installed headers.
pub(crate) fn harvest() -> Result<()> {
    sets::harvest(root()?)
}

/// File names and unformatted contents.
fn generate(definitions: &[Definition]) -> Result<Vec<(String, String)>> {
    let mut used = vec![false; definitions.len()];
    let mut files = Vec::new();
    for table in &TABLES {
        let mut rows = Vec::new();
        for (number, name) in table.rows() {
            let index = source::find(definitions, table.abi, name).with_context(|| {
                format!(
                    "{}: syscall {number}, `{name}`, has no definition in syscalls.txt",
                    table.abi
                )
            })?;
            used[index] = true;
            rows.push((number, &definitions[index]));
        }
        files.push((format!("{}.rs", table.abi), emit::table(table.abi, &rows)));
    }
    if let Some(unused) = used.iter().position(|used| !used) {
        bail!("syscalls.txt: no table has `{}`", definitions[unused].display());
    }
    files.push(("definitions.rs".to_owned(), emit::definitions(definitions)));
    Ok(files)
}

/// The root of the workspace.
fn root() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent directory")
}

/// Runs the text through rustfmt.
fn format(root: &Path, text: String) -> Result<String> {
    let rustfmt = std::env::var_os("RUSTFMT").map_or_else(|| PathBuf::from("rustfmt"), Into::into);
    let mut child = Command::new(rustfmt)
        .args(["--edition", "2024", "--config-path"])
        .arg(root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting rustfmt")?;
    let mut input = child.stdin.take().context("rustfmt has no stdin")?;
    // rustfmt may write before it has read everything.
    let writer = thread::Builder::new()
        .name("rustfmt-input".to_owned())
        .spawn(move || input.write_all(text.as_bytes()))?;
    let output = child.wait_with_output().context("waiting for rustfmt")?;
    let written = writer.join();
    if !output.status.success() {
        bail!("rustfmt: {}", output.status);
    }
    match written {
        Ok(result) => result.context("writing to rustfmt")?,
        Err(_) => bail!("the thread that writes to rustfmt panicked"),
    }
    String::from_utf8(output.stdout).context("rustfmt's output")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_files_are_current() {
        run(true).unwrap();
    }

    #[test]
    fn a_missing_definition_is_named() {
        let definitions = {
            let names = Names::parse(Vec::new(), "").unwrap();
            source::parse("read(fd:fd) -> size  desc\n", &names).unwrap()
        };
        let error = generate(&definitions).unwrap_err().to_string();
        assert_eq!(error, "x86_64: syscall 1, `write`, has no definition in syscalls.txt");
    }
}
