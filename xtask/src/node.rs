//! The servers of npm that tests use: under `target`, made when missing or of another version.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::command;

/// Azurite, which speaks Azure's protocol for objects. Later ones need a newer node than Debian's.
const AZURITE: &str = "azurite@3.33.0";

/// It takes some ten seconds; where the registry does not answer, npm has been seen to wait for ever.
const PATIENCE: Duration = Duration::from_mins(2);

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
    npm.args(["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]);
    // Of the exact version that is asked for a copy is as good as what the registry has.
    npm.args(["--prefer-offline", "--prefix"]).arg(folder).arg(AZURITE);
    let shown = command::describe(&npm);
    let (status, _) = command::tee(&mut npm, PATIENCE)?;
    command::succeeded(&shown, status)
}
