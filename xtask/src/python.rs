//! The Python that tests read recordings with: an environment of its own below `target`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::command;

/// What is installed, each with its version: other readers of Parquet, and a server that speaks
/// S3.
const PACKAGES: [&str; 5] =
    ["duckdb==2.0.0", "polars==2.1.0", "pyarrow==26.0.1", "moto[server]==5.2.5", "boto3==1.44.5"];

/// Names of tests that need it contain this.
pub(crate) const NEEDS_IT: &str = "other_readers";

/// Installs it, unless it is complete.
pub(crate) fn install() -> Result<()> {
    let folder = folder()?;
    if is_complete(&folder) {
        return Ok(());
    }
    command::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))
        .context("python3 with its module venv is needed")?;
    let mut pip = Command::new(folder.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    command::run(pip.args(PACKAGES))?;
    fs::write(stamp(&folder), PACKAGES.join("\n")).context("writing into the environment")
}

/// Whether tests that need it can run.
pub(crate) fn is_installed() -> Result<bool> {
    Ok(is_complete(&folder()?))
}

/// What is installed, for a person.
pub(crate) fn described() -> String {
    PACKAGES.join(", ")
}

fn folder() -> Result<PathBuf> {
    Ok(command::root()?.join("target/python"))
}

/// Written last: what it lists is installed.
fn stamp(folder: &Path) -> PathBuf {
    folder.join("installed.txt")
}

fn is_complete(folder: &Path) -> bool {
    fs::read_to_string(stamp(folder)).is_ok_and(|found| found == PACKAGES.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_fixed() {
        assert!(PACKAGES.iter().all(|package| package.contains("==")));
    }
}
