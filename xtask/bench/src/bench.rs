//! What all measurements share: programs, folders, and processes that are there for all of them.

use std::{
    cell::OnceCell,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{ChildStdout, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::process::{self, Background};

/// Where tracers run when they are pinned.
pub(crate) const TRACER_CPU: usize = 0;
/// Where work runs when it is pinned.
pub(crate) const WORK_CPU: usize = 1;

/// Where everything runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placement {
    /// The work on one processor, tracers on another.
    Pinned,
    /// Wherever the kernel wants it.
    Free,
}

/// Shared by all measurements of a run; what it started and wrote ends with it.
pub(crate) struct Bench {
    tracer: PathBuf,
    peers: PathBuf,
    folder: TempDir,
    folders: AtomicU32,
    other: Background,
    receiver: OnceCell<(Background, String)>,
    placement: Placement,
}

impl Bench {
    /// With tracer's executable, and the folder of peers that no distribution has.
    pub(crate) fn new(tracer: &Path, peers: &Path, placement: Placement) -> Result<Self> {
        // An earlier one may have pinned this process.
        process::unpin().context("unpinning")?;
        if placement == Placement::Pinned {
            let cpus = std::thread::available_parallelism()?.get();
            if cpus < 2 {
                bail!("a tracer and the work need a CPU each, and there is {cpus}");
            }
            process::pin(TRACER_CPU).context("pinning")?;
        }
        Ok(Self {
            tracer: tracer.to_owned(),
            peers: peers.to_owned(),
            folder: tempfile::tempdir().context("a folder to work in")?,
            folders: AtomicU32::new(0),
            other: Background::start(Command::new("sleep").arg("86400"))?,
            receiver: OnceCell::new(),
            placement,
        })
    }

    pub(crate) fn tracer(&self) -> &Path {
        &self.tracer
    }

    /// A process that does nothing, to be in scope.
    pub(crate) fn other(&self) -> u32 {
        self.other.pid()
    }

    /// The processor for work, unless it may run everywhere.
    pub(crate) fn work_cpu(&self) -> Option<usize> {
        (self.placement == Placement::Pinned).then_some(WORK_CPU)
    }

    /// A tracer that cargo has installed, or that is on the search path.
    pub(crate) fn peer(&self, name: &str) -> Result<PathBuf> {
        let path = self.peers.join("bin").join(name);
        if path.exists() {
            return Ok(path);
        }
        let folders = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&folders)
            .map(|folder| folder.join(name))
            .find(|path| path.exists())
            .with_context(|| {
                let why = process::text(&self.peers.join(format!("{name}.failed")));
                let colon = if why.is_empty() { "" } else { ": " };
                format!("{name} is not installed{colon}{}", why.trim())
            })
    }

    /// A folder that is there as long as this.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// An empty folder of its own.
    pub(crate) fn new_folder(&self) -> Result<PathBuf> {
        let number = self.folders.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.path().join(number.to_string());
        fs::create_dir(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(path)
    }

    /// Where the OTLP receiver listens, which is started when it is needed first.
    pub(crate) fn receiver(&self) -> Result<&str> {
        if self.receiver.get().is_none() {
            let receiver = role(&["receiver"])?;
            // Nobody else fills it.
            drop(self.receiver.set(receiver));
        }
        self.receiver.get().map(|(_, address)| address.as_str()).context("no receiver")
    }
}

/// Starts this program in another role, which ends when its standard input does; with its first
/// line.
fn role(args: &[&str]) -> Result<(Background, String)> {
    let mut role = Role::start(args)?;
    let line = role.line()?;
    Ok((role.process, line))
}

/// This program in another role.
pub(crate) struct Role {
    process: Background,
    answers: BufReader<ChildStdout>,
}

impl Role {
    /// Starts it.
    pub(crate) fn start(args: &[&str]) -> Result<Self> {
        let me = std::env::current_exe().context("the path of this program")?;
        let mut command = Command::new(me);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Background::start(&mut command)?;
        let stdout = process.child().stdout.take().context("no standard output")?;
        Ok(Self { process, answers: BufReader::new(stdout) })
    }

    /// Its id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The next line that it says.
    pub(crate) fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line).context("the next line of a process of ours")?;
        if line.is_empty() {
            bail!("a process of ours has ended; its last words are above");
        }
        Ok(line.trim().to_owned())
    }

    /// Tells it to go on.
    pub(crate) fn go(&mut self) -> Result<()> {
        let stdin = self.process.child().stdin.as_mut().context("no standard input")?;
        stdin.write_all(b"\n").context("telling a process of ours to go on")
    }
}
