//! The servers of npm that tests use: under `target`, made when missing or of another version.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::command;

/// Azurite, which speaks Azure's protocol for objects. Later ones need a newer node than Debian's.
const AZURITE: &str = "azurite@3.33.0";

/// Names of kernel tests that need it contain this.
pub(crate) const NEEDS_IT: &str = "azurite";

/// Installs what is missing.
pub(crate) fn environment() -> Result<()> {
    let folder = command::root()?.join("target/node");
    // Written last, so that it stands for a whole installation.
    let mark = folder.join("installed.txt");
    if fs::read_to_string(&mark).is_ok_and(|installed| installed == AZURITE) {
        return Ok(());
    }
    install(&folder).context("installing Azurite for tests, which needs node and npm")?;
    Ok(fs::write(mark, AZURITE)?)
}

fn install(folder: &Path) -> Result<()> {
    let mut npm = Command::new("npm");
    npm.args(["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]);
    command::run(npm.arg(folder).arg(AZURITE))
}
