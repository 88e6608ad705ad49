//! What /proc and the file system know of descriptors. All of it may be gone, or already be
//! another's: what was not found is `None`.

use std::{
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{ffi::OsStrExt as _, ffi::OsStringExt, fs::MetadataExt as _},
    },
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2, readlink},
    sys::stat::{self, Mode, SFlag},
};

use super::{
    name::{Detail, Device, Socket},
    rules::O_CLOEXEC,
    sockets,
};

/// How often a path is looked up again when others change the tree of files meanwhile.
const TRIES: u32 = 8;

/// What a process has when it is first seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Descriptors, what the links in /proc say, and whether exec closes them.
    pub(super) descriptors: Vec<(i32, Vec<u8>, bool)>,
    /// The current folder.
    pub(super) folder: Option<Vec<u8>>,
    /// Whether its paths begin where ours do.
    pub(super) has_our_root: bool,
}

/// Where names come from that no call tells.
pub(super) trait Source: Send {
    /// All of a process.
    fn process(&mut self, pid: u32) -> Option<Seen>;
    /// What one descriptor leads to.
    fn link(&mut self, pid: u32, fd: i32) -> Option<Vec<u8>>;
    /// The current folder.
    fn folder(&mut self, pid: u32) -> Option<Vec<u8>>;
    /// Whether the paths of a process begin where ours do.
    fn has_our_root(&mut self, pid: u32) -> bool;
    /// The path that the kernel has for a file, without symbolic links.
    fn resolve(&mut self, pid: u32, our_root: bool, path: &[u8], nofollow: bool)
    -> Option<Vec<u8>>;
    /// The device that a path leads to.
    fn device(&mut self, path: &[u8]) -> Option<Device>;
    /// A socket of a process, by the number of its inode.
    fn socket(&mut self, pid: u32, inode: u64) -> Option<Socket>;
}

/// The running system.
#[derive(Debug)]
pub(super) struct System {
    detail: Detail,
    root: Option<OwnedFd>,
    root_id: Option<(u64, u64)>,
}

impl System {
    pub(super) fn new(detail: Detail) -> Self {
        let root = open("/", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).ok();
        Self { detail, root, root_id: root_id(Path::new("/")).ok() }
    }
}

fn root_id(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|it| (it.dev(), it.ino()))
}

fn link(path: &str) -> Option<Vec<u8>> {
    readlink(path).ok().map(OsStringExt::into_vec)
}

impl Source for System {
    fn process(&mut self, pid: u32) -> Option<Seen> {
        let folder = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
        let mut descriptors = Vec::new();
        for entry in folder.flatten() {
            let number = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
            let Some(fd) = number else { continue };
            let Some(link) = self.link(pid, fd) else { continue };
            descriptors.push((fd, link, closes_at_exec(pid, fd)));
        }
        let (folder, has_our_root) = (self.folder(pid), self.has_our_root(pid));
        Some(Seen { descriptors, folder, has_our_root })
    }

    fn link(&mut self, pid: u32, fd: i32) -> Option<Vec<u8>> {
        link(&format!("/proc/{pid}/fd/{fd}"))
    }

    fn folder(&mut self, pid: u32) -> Option<Vec<u8>> {
        link(&format!("/proc/{pid}/cwd"))
    }

    fn has_our_root(&mut self, pid: u32) -> bool {
        let its = root_id(Path::new(&format!("/proc/{pid}/root/"))).ok();
        its.is_some() && its == self.root_id
    }

    /// Asks the kernel: opens the path for nothing but its name. It is in memory, for the program
    /// has just opened it, so that no server is waited for; only where the kernel does not answer
    /// from there (it does not follow a link whose access time is due) it is asked without that
    /// condition. Links that mean something else here than in the process are not followed.
    fn resolve(
        &mut self,
        pid: u32,
        our_root: bool,
        path: &[u8],
        nofollow: bool,
    ) -> Option<Vec<u8>> {
        let its;
        let root = if our_root {
            self.root.as_ref()?
        } else {
            let path = format!("/proc/{pid}/root");
            its = open(path.as_str(), OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
            &its
        };
        let mut flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
        flags.set(OFlag::O_NOFOLLOW, nofollow);
        // `RESOLVE_CACHED`, openat2(2), Linux 5.12.
        let cached = ResolveFlag::from_bits_retain(0x20);
        let always = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        let path = Path::new(std::ffi::OsStr::from_bytes(path));
        let try_with = |resolve| {
            let how = OpenHow::new().flags(flags).resolve(resolve);
            openat2(root.as_fd(), path, how)
        };
        let mut found = try_with(always | cached);
        // Somebody has renamed or mounted something meanwhile, anywhere.
        for _ in 0..TRIES {
            if found.as_ref().err() != Some(&Errno::EAGAIN) {
                break;
            }
            found = try_with(always);
        }
        let file = found.ok()?;
        let number = std::os::fd::AsRawFd::as_raw_fd(&file);
        let found = link(&format!("/proc/self/fd/{number}"))?;
        Some(found.strip_suffix(b" (deleted)").map_or_else(|| found.clone(), <[u8]>::to_vec))
    }

    fn device(&mut self, path: &[u8]) -> Option<Device> {
        let path = Path::new(std::ffi::OsStr::from_bytes(path));
        // Elsewhere devices are rare, and to ask may take as long as a server is away.
        if self.detail == Detail::Paths || !path.starts_with("/dev") {
            return None;
        }
        let it = stat::stat(path).ok()?;
        let kind = SFlag::from_bits_truncate(it.st_mode) & SFlag::S_IFMT;
        let is_char = kind == SFlag::S_IFCHR;
        let (major, minor) = (stat::major(it.st_rdev), stat::minor(it.st_rdev));
        (is_char || kind == SFlag::S_IFBLK).then_some(Device { is_char, major, minor })
    }

    fn socket(&mut self, pid: u32, inode: u64) -> Option<Socket> {
        sockets::find(pid, inode)
    }
}

/// The flag of a descriptor, `proc_pid_fdinfo(5)`.
fn closes_at_exec(pid: u32, fd: i32) -> bool {
    let text = fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).unwrap_or_default();
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u64::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| flags & O_CLOEXEC != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd as _;

    #[test]
    fn the_kernel_is_asked_for_paths() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().canonicalize().unwrap();
        fs::write(place.join("file"), b"").unwrap();
        std::os::unix::fs::symlink("file", place.join("link")).unwrap();
        let mut system = System::new(Detail::Protocols);
        let pid = std::process::id();
        assert!(system.has_our_root(pid));
        let asked = place.join("./link").into_os_string().into_vec();
        let expected = place.join("file").into_os_string().into_vec();
        // Both ways to its root.
        assert_eq!(system.resolve(pid, true, &asked, false), Some(expected.clone()));
        assert_eq!(system.resolve(pid, false, &asked, false), Some(expected));
        let kept = system.resolve(pid, true, &asked, true).unwrap();
        assert!(kept.ends_with(b"/link"));
        assert_eq!(system.resolve(pid, true, b"/no/such/file", false), None);
        let null = system.device(b"/dev/null").unwrap();
        assert_eq!((null.is_char, null.major, null.minor), (true, 1, 3));
    }

    #[test]
    fn a_process_is_seen_whole() {
        let file = fs::File::open("/proc/self/status").unwrap();
        let mut system = System::new(Detail::Paths);
        let seen = system.process(std::process::id()).unwrap();
        let (_, link, closes) =
            seen.descriptors.iter().find(|(fd, ..)| *fd == file.as_raw_fd()).unwrap();
        assert!(link.ends_with(b"/status") && *closes);
        assert!(seen.folder.is_some() && seen.has_our_root);
        assert!(system.process(u32::MAX).is_none());
    }
}
