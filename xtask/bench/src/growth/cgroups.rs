//! Cgroups that are there for a measurement.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// Many cgroups below one, removed when dropped.
pub(super) struct Cgroups {
    parent: PathBuf,
    count: usize,
    /// Where a process of ours was before.
    root: PathBuf,
}

impl Cgroups {
    pub(super) fn make(count: usize) -> Result<Self> {
        let root = mount().context("no cgroup v2 is mounted")?;
        let parent = root.join(format!("tracer-bench-{}", std::process::id()));
        fs::create_dir(&parent).with_context(|| format!("making {}", parent.display()))?;
        // From here on, what there is is removed.
        let all = Self { parent, count, root };
        for path in all.paths() {
            fs::create_dir(&path).with_context(|| format!("making {}", path.display()))?;
        }
        Ok(all)
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = PathBuf> {
        (0..self.count).map(|number| self.parent.join(number.to_string()))
    }

    /// Moves a process into one of them, in the middle.
    pub(super) fn enter(&self, pid: u32) -> Result<()> {
        put(pid, &self.parent.join((self.count / 2).to_string()))
    }

    /// Moves a process to where none of them is.
    pub(super) fn leave(&self, pid: u32) -> Result<()> {
        put(pid, &self.root)
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        for path in self.paths() {
            // One that was not made cannot be removed.
            drop(fs::remove_dir(path));
        }
        drop(fs::remove_dir(&self.parent));
    }
}

fn put(pid: u32, folder: &Path) -> Result<()> {
    let file = folder.join("cgroup.procs");
    fs::write(&file, pid.to_string()).with_context(|| format!("writing {}", file.display()))
}

fn mount() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (place, kind) = (words.next()?, words.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(place))
    })
}
