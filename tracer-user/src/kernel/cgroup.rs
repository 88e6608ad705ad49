//! Cgroups by path: version 2 only, by id, wherever the hierarchy is mounted.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::MetadataExt},
    },
    path::{Path, PathBuf},
};

use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, statfs};
use tracer_common::scope::CGROUP_LEVEL_LIMIT;

/// Inode number of the initial cgroup namespace: `PROC_CGROUP_INIT_INO`,
/// <https://github.com/torvalds/linux/blob/v6.12/include/linux/proc_ns.h#L47>.
const INITIAL_NAMESPACE: u64 = 0xEFFF_FFFB;

/// A cgroup of the v2 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup {
    /// Its id: the inode number of its folder.
    pub id: u64,
    /// Levels of the hierarchy at which it may stand, as a bit set; the root is level 0.
    pub levels: u32,
    /// Its folder.
    pub path: PathBuf,
}

/// Why a path is not a cgroup that can be traced.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// No such folder.
    #[error("no cgroup `{path}`: {source}{}", hint(.mount.as_deref()))]
    NotFound {
        /// The path as given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
        /// Where the v2 hierarchy is mounted.
        mount: Option<PathBuf>,
    },
    /// A cgroup of the old hierarchy.
    #[error("`{path}` is cgroup v1, which tracer does not support{}", hint(.mount.as_deref()))]
    Version1 {
        /// The path as given.
        path: PathBuf,
        /// Where the v2 hierarchy is mounted.
        mount: Option<PathBuf>,
    },
    /// Something else than a cgroup.
    #[error("`{path}` is not a cgroup{}", hint(.mount.as_deref()))]
    NotACgroup {
        /// The path as given.
        path: PathBuf,
        /// Where the v2 hierarchy is mounted.
        mount: Option<PathBuf>,
    },
    /// Deeper than can be told apart.
    #[error("`{path}` is {level} levels deep, the limit is {CGROUP_LEVEL_LIMIT}")]
    TooDeep {
        /// The path as given.
        path: PathBuf,
        /// Its level.
        level: usize,
    },
}

fn hint(mount: Option<&Path>) -> String {
    match mount {
        Some(mount) => format!("; cgroup v2 is mounted at {}", mount.display()),
        None => "; cgroup v2 is not mounted here (mount -t cgroup2 none /sys/fs/cgroup)".to_owned(),
    }
}

/// A mount of the v2 hierarchy: where, and which part of the hierarchy is its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub at: PathBuf,
    /// What of the hierarchy is mounted there: `/` unless it is a part of it.
    pub root: PathBuf,
}

impl Mount {
    /// The path in the hierarchy of a folder below the mount, with a slash in front.
    pub fn path_of(&self, folder: &Path) -> Option<Vec<u8>> {
        let below = folder.strip_prefix(&self.at).ok()?;
        Some(self.root.join(below).components().as_path().as_os_str().as_bytes().to_vec())
    }

    /// The path in the hierarchy of the cgroup with this id, if it exists; `folder` is the mounted
    /// one. `None` too where this process may not ask (`CAP_DAC_READ_SEARCH`).
    pub fn find(&self, folder: &File, id: u64) -> Option<Vec<u8>> {
        let found = open_by_id(folder, id)?;
        let link = fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd())).ok()?;
        let path = self.path_of(&link)?;
        // What the kernel says of a folder that has been removed.
        Some(path.strip_suffix(b" (deleted)").unwrap_or(&path).to_vec())
    }

    /// The cgroup with this id at this path in the hierarchy.
    pub fn cgroup(&self, id: u64, path: &Path) -> Cgroup {
        let level = depth(path);
        let below = path.strip_prefix(&self.root).unwrap_or(path);
        let below = below.strip_prefix("/").unwrap_or(below);
        let levels = u32::try_from(level).ok().and_then(|level| 1_u32.checked_shl(level));
        Cgroup { id, levels: levels.unwrap_or(0), path: self.at.join(below) }
    }
}

/// The handle of a folder of kernfs is its id, `FILEID_KERNFS`:
/// <https://github.com/torvalds/linux/blob/v6.12/include/linux/exportfs.h#L103>.
#[repr(C)]
struct Handle {
    bytes: u32,
    kind: i32,
    id: u64,
}

fn open_by_id(mount: &File, id: u64) -> Option<OwnedFd> {
    let mut handle = Handle { bytes: 8, kind: 0xfe, id };
    let flags = libc::O_PATH | libc::O_CLOEXEC;
    // SAFETY: a whole `file_handle` with as many bytes as it says, open_by_handle_at(2).
    let fd = unsafe {
        libc::syscall(libc::SYS_open_by_handle_at, mount.as_raw_fd(), &raw mut handle, flags)
    };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0)?;
    // SAFETY: the kernel has just given this descriptor to us.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The mount of the v2 hierarchy that paths are looked up below.
pub fn first_mount() -> Option<Mount> {
    mounts(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()).into_iter().next()
}

/// Finds the cgroup at `path`, which is a full path or one below the mount of the v2 hierarchy.
pub fn resolve(path: &Path) -> Result<Cgroup, CgroupError> {
    let mounts = mounts(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default());
    let initial =
        fs::metadata("/proc/self/ns/cgroup").is_ok_and(|ns| ns.ino() == INITIAL_NAMESPACE);
    resolve_in(path, &mounts, initial)
}

fn resolve_in(path: &Path, mounts: &[Mount], initial: bool) -> Result<Cgroup, CgroupError> {
    let mount = || mounts.first().map(|mount| mount.at.clone());
    let mut full = fs::canonicalize(path);
    // A name below the mount may also be that of something in the current folder.
    let is_cgroup = |path: &PathBuf| {
        let kind = statfs(path).map(|found| found.filesystem_type());
        kind.is_ok_and(|kind| kind == CGROUP2_SUPER_MAGIC || kind == CGROUP_SUPER_MAGIC)
    };
    if !full.as_ref().is_ok_and(is_cgroup)
        && let Some(mount) = mounts.first()
    {
        let below = path.strip_prefix("/").unwrap_or(path);
        full = fs::canonicalize(mount.at.join(below)).or(full);
    }
    let full = full.map_err(|source| CgroupError::NotFound {
        path: path.to_owned(),
        source,
        mount: mount(),
    })?;
    match statfs(&full).map(|found| found.filesystem_type()) {
        Ok(CGROUP2_SUPER_MAGIC) => {}
        Ok(CGROUP_SUPER_MAGIC) => {
            return Err(CgroupError::Version1 { path: path.to_owned(), mount: mount() });
        }
        _ => return Err(CgroupError::NotACgroup { path: path.to_owned(), mount: mount() }),
    }
    let folder = fs::metadata(&full).ok().filter(fs::Metadata::is_dir);
    let id = folder
        .ok_or_else(|| CgroupError::NotACgroup { path: path.to_owned(), mount: mount() })?
        .ino();
    // Seen from inside a cgroup namespace the true level is unknown: any may be it.
    let level = mounts.iter().find_map(|mount| {
        let below = full.strip_prefix(&mount.at).ok()?;
        initial.then(|| depth(&mount.root) + depth(below))
    });
    match level {
        None => Ok(Cgroup { id, levels: u32::MAX, path: full }),
        Some(level) if level < CGROUP_LEVEL_LIMIT as usize => {
            Ok(Cgroup { id, levels: 1 << level, path: full })
        }
        Some(level) => Err(CgroupError::TooDeep { path: path.to_owned(), level }),
    }
}

fn depth(path: &Path) -> usize {
    path.components().filter(|part| matches!(part, std::path::Component::Normal(_))).count()
}

/// The cgroup2 lines of mountinfo, `proc_pid_mountinfo(5)`: field 4 is the root, 5 the mount
/// point, and the type stands behind a lone dash.
fn mounts(mountinfo: &str) -> Vec<Mount> {
    mountinfo
        .lines()
        .filter_map(|line| {
            let (head, tail) = line.split_once(" - ")?;
            if tail.split(' ').next() != Some("cgroup2") {
                return None;
            }
            let mut fields = head.split(' ').skip(3);
            Some(Mount { root: unescape(fields.next()?), at: unescape(fields.next()?) })
        })
        .collect()
}

/// Space, tab, newline and backslash stand as octal escapes.
fn unescape(field: &str) -> PathBuf {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    PathBuf::from(escapes.iter().fold(field.to_owned(), |text, (from, to)| text.replace(from, to)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read() {
        let text = "30 24 0:26 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw\n\
                    31 24 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                    32 24 0:26 /a/b /mnt/my\\040groups rw - cgroup2 none rw\n";
        let found = mounts(text);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].at, Path::new("/sys/fs/cgroup/unified"));
        assert_eq!((depth(&found[1].root), found[1].at.to_str()), (2, Some("/mnt/my groups")));
    }

    #[test]
    fn what_is_no_cgroup_is_said() {
        let mounts = vec![Mount { at: "/sys/fs/cgroup/unified".into(), root: "/".into() }];
        let error = resolve_in(Path::new("/tmp"), &mounts, true).unwrap_err().to_string();
        assert!(error.contains("not a cgroup") && error.contains("unified"), "{error}");
        let error = resolve_in(Path::new("no/such"), &mounts, true).unwrap_err().to_string();
        assert!(error.starts_with("no cgroup `no/such`"), "{error}");
        let error = resolve_in(Path::new("/no/such"), &[], true).unwrap_err().to_string();
        assert!(error.contains("not mounted"), "{error}");
    }
}
