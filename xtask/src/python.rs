//! The Python environment that tests' receivers and readers run in: under `target`, made when it is
//! missing or its list of packages has changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::command;

/// Packages and their versions.
const REQUIREMENTS: &str = "tracer-user/tests/receivers/requirements.txt";

/// Names of kernel tests that need it contain this.
pub(crate) const NEEDS_IT: &str = "other_readers";

/// Makes the environment; returns its interpreter.
pub(crate) fn environment() -> Result<PathBuf> {
    let root = command::root()?;
    let folder = root.join("target/python");
    let python = folder.join("bin/python");
    let wanted = fs::read_to_string(root.join(REQUIREMENTS)).context(REQUIREMENTS)?;
    // Written last, so that it stands for a whole environment.
    let mark = folder.join("installed.txt");
    if python.exists() && fs::read_to_string(&mark).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    make(&folder, &python).context("making the Python environment of the tests")?;
    fs::write(mark, wanted)?;
    Ok(python)
}

fn make(folder: &Path, python: &Path) -> Result<()> {
    command::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder))?;
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]);
    command::run(pip.arg(command::root()?.join(REQUIREMENTS)))
}
