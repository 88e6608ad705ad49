//! Rules of this repository that no other tool checks; also run as a test.

mod circles;
mod code;
mod files;
mod modules;
mod table;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::command;

/// A Rust file of the workspace.
#[derive(Debug)]
struct Source {
    /// Below the root.
    path: PathBuf,
    text: String,
    /// The text without comments, and without what is in literals.
    code: String,
}

impl Source {
    fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { path: path.into(), code: code::only(&text), text }
    }

    /// A problem in a line, counted from 0.
    fn problem(&self, line: usize, what: &str) -> String {
        format!("{}:{}: {what}", self.path.display(), line + 1)
    }
}

/// Checks every file, and the modules of `tracer-user` against the table in the documentation.
pub(crate) fn run() -> Result<()> {
    let root = command::root()?;
    let sources = read_sources(root)?;
    let mut problems: Vec<String> = sources.iter().flat_map(files::check).collect();
    problems.extend(circles::check(&sources));
    match read_table(root) {
        Ok(table) => problems.extend(modules::check(&sources, &table)),
        Err(error) => problems.push(format!("{error:#}")),
    }
    if !problems.is_empty() {
        bail!("tidy: {} problems\n{}", problems.len(), problems.join("\n"));
    }
    println!("tidy: {} files", sources.len());
    Ok(())
}

fn read_table(root: &Path) -> Result<table::Table> {
    let text = fs::read_to_string(root.join(table::FILE)).context(table::FILE)?;
    table::parse(&text).context(table::FILE)
}

/// Every Rust file below the root, in order of its path.
fn read_sources(root: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let context = || format!("reading {}", folder.display());
        for entry in fs::read_dir(&folder).with_context(context)? {
            let entry = entry.with_context(context)?;
            let path = entry.path();
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if entry.file_type().with_context(context)?.is_dir() {
                // What cargo builds, and what tools keep.
                if name != "target" && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path)
                    .with_context(|| format!("reading {}", path.display()))?;
                sources.push(Source::new(path.strip_prefix(root)?, text));
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_tidy() {
        run().unwrap();
    }

    #[test]
    fn every_crate_is_read() {
        let sources = read_sources(command::root().unwrap()).unwrap();
        for path in ["tracer-common/src/lib.rs", "tracer-ebpf/src/main.rs", "xtask/src/main.rs"] {
            assert!(sources.iter().any(|source| source.path == Path::new(path)), "{path}");
        }
    }
}
