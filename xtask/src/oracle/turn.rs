//! Taking turns with others who trace on this machine: a file's lock, held for a while.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// For how long others wait at most, apart from the program that runs then.
const TURN: Duration = Duration::from_secs(100);

/// A lock that is given up and taken again.
pub(super) struct Turn {
    path: Option<PathBuf>,
    held: Option<(File, Instant)>,
}

impl Turn {
    /// Takes no lock yet; without a file there is none to take.
    pub(super) fn new(path: Option<&Path>) -> Self {
        Self { path: path.map(Path::to_owned), held: None }
    }

    /// Returns with the lock held: as before, or after those who waited for it.
    pub(super) fn take(&mut self) -> Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        if self.held.as_ref().is_none_or(|(_, since)| since.elapsed() > TURN) {
            self.held = None;
            let file = File::create(path).with_context(|| path.display().to_string())?;
            file.lock().with_context(|| format!("locking {}", path.display()))?;
            self.held = Some((file, Instant::now()));
        }
        Ok(())
    }

    /// Gives the lock up.
    pub(super) fn end(&mut self) {
        self.held = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_the_lock_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let mut turn = Turn::new(Some(&path));
        turn.take().unwrap();
        turn.take().unwrap();
        assert!(File::open(&path).unwrap().try_lock().is_err());
        turn.end();
        File::open(&path).unwrap().try_lock().unwrap();
        Turn::new(None).take().unwrap();
    }
}
