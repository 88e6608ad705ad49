//! Whose a process is and what it runs, from `/proc`, asked for once.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use nix::unistd::{Uid, User};

use super::{CgroupFacts, Cgroups, Workload};

/// User names that are remembered.
const MOST_USERS: usize = 4096;

/// What `/proc` tells of a process; where it had ended before somebody looked, what was told of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Whose it is: effective user and group.
    pub owner: Option<Owner>,
    /// What it runs.
    pub executable: Option<Executable>,
    /// The namespaces it is in.
    pub namespaces: Option<Namespaces>,
    /// What the paths of its cgroups tell, those of version 1 included.
    pub workload: Workload,
}

/// What is told of a process as it is born, and as it runs a program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Effective user and group id.
    pub owner: Option<(u32, u32)>,
    /// The absolute path by which it was executed; any bytes. `None` where that is not the path of
    /// what runs: of a relative one, of one that is too long, of a script.
    pub executable: Option<Arc<[u8]>>,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// The user's name on this host, whose it may not be in a container.
    pub user: Option<Arc<str>>,
}

/// A program's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executable {
    /// Its path, as the process sees it; any bytes. Without links, unless it is by what was told.
    pub path: Box<[u8]>,
    /// Device and inode number; `None` when it is gone, or the path was told.
    pub file: Option<(u64, u64)>,
}

/// Inode numbers, namespaces(7): equal ones are the same namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Namespaces([u64; Namespaces::NAMES.len()]);

impl Namespaces {
    /// Their names, as in `/proc/PID/ns`.
    pub const NAMES: [&str; 7] = ["pid", "mnt", "net", "user", "uts", "ipc", "cgroup"];

    /// Their numbers, in the order of the names; 0 for a kind that the kernel does not have.
    pub const fn numbers(&self) -> [u64; Self::NAMES.len()] {
        self.0
    }
}

/// Answers who a process is. For any thread but the reader.
#[derive(Debug, Default)]
pub struct Resolver {
    /// Cgroups by id.
    pub cgroups: Cgroups,
    users: Mutex<HashMap<u32, Option<Arc<str>>>>,
    identified: AtomicU64,
    missed: AtomicU64,
}

impl Resolver {
    /// What there is to know of the process with this id that started at this reading of the boot
    /// clock. Counted as missed when it has ended: then it is what was told of it.
    pub fn identify(&self, tgid: u32, start_ns: u64, told: &Told) -> Identity {
        let found = self.read(Path::new("/proc"), tgid, start_ns);
        let counter = if found.is_some() { &self.identified } else { &self.missed };
        counter.fetch_add(1, Ordering::Relaxed);
        let mut identity = found.unwrap_or_default();
        if identity.owner.is_none() {
            let owner = |(uid, gid)| Owner { uid, gid, user: self.user(uid) };
            identity.owner = told.owner.map(owner);
        }
        if identity.executable.is_none() {
            let executable = |path: &Arc<[u8]>| Executable { path: (**path).into(), file: None };
            identity.executable = told.executable.as_ref().map(executable);
        }
        identity
    }

    /// Processes that were identified.
    pub fn identified(&self) -> u64 {
        self.identified.load(Ordering::Relaxed)
    }

    /// Processes that had ended before they were looked at.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    fn read(&self, proc: &Path, tgid: u32, start_ns: u64) -> Option<Identity> {
        let folder = proc.join(tgid.to_string());
        let status = fs::read_to_string(folder.join("status")).ok();
        let cgroup = fs::read(folder.join("cgroup")).ok();
        let identity = Identity {
            owner: status.as_deref().and_then(|status| self.owner(status)),
            executable: executable(&folder),
            namespaces: namespaces(&folder),
            workload: cgroup.map_or_else(Workload::default, |text| {
                Workload::of_proc(&String::from_utf8_lossy(&text))
            }),
        };
        // Asked last: while the same process is there, nobody else has had its id.
        started(&folder.join("stat"), start_ns).then_some(identity)
    }

    /// The fields `Uid:` and `Gid:` have the real, effective, saved and file system id.
    fn owner(&self, status: &str) -> Option<Owner> {
        let effective = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_ascii_whitespace().nth(1)?.parse().ok()
        };
        let (uid, gid) = (effective("Uid:")?, effective("Gid:")?);
        Some(Owner { uid, gid, user: self.user(uid) })
    }

    fn user(&self, uid: u32) -> Option<Arc<str>> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if users.len() >= MOST_USERS {
            users.clear();
        }
        let ask = || Some(Arc::from(User::from_uid(Uid::from_raw(uid)).ok()??.name));
        users.entry(uid).or_insert_with(ask).clone()
    }
}

/// Whether field 22, the time since boot in clock ticks, is that of the process that is meant;
/// proc(5).
fn started(stat: &Path, start_ns: u64) -> bool {
    const NANOS: u64 = 1_000_000_000;
    let Ok(stat) = fs::read(stat) else { return false };
    let stat = String::from_utf8_lossy(&stat);
    // The name, in parentheses, can hold anything.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks: Option<u64> = fields.split_ascii_whitespace().nth(19).and_then(|it| it.parse().ok());
    // SAFETY: has no preconditions.
    let per_second = u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).unwrap_or(100);
    ticks == Some(start_ns / (NANOS / per_second.max(1)))
}

fn executable(folder: &Path) -> Option<Executable> {
    let link = folder.join("exe");
    let path = fs::read_link(&link).ok()?;
    // The link leads to the file itself, whatever its path leads to now.
    let file = fs::metadata(&link).ok().map(|it| (it.dev(), it.ino()));
    Some(Executable { path: path.as_os_str().as_bytes().into(), file })
}

/// Links like `pid:[4026531836]`.
fn namespaces(folder: &Path) -> Option<Namespaces> {
    let number = |name: &str| -> io::Result<u64> {
        let link: PathBuf = fs::read_link(folder.join("ns").join(name))?;
        let text = link.to_string_lossy();
        let digits = text.split_once(":[").and_then(|(_, rest)| rest.strip_suffix(']'));
        digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| io::Error::other("no number"))
    };
    let found = Namespaces::NAMES.map(|name| number(name).unwrap_or(0));
    found.iter().any(|number| *number != 0).then_some(Namespaces(found))
}

/// All that is known of a process and the cgroup that it was in.
#[derive(Clone, Copy, Debug)]
pub struct Description<'a> {
    /// The process.
    pub identity: &'a Identity,
    /// Its cgroup (v2).
    pub cgroup: &'a CgroupFacts,
}

impl Description<'_> {
    /// What the cgroup tells; where that is no container, what those of version 1 tell.
    pub const fn workload(&self) -> &Workload {
        if self.cgroup.workload.has_container() || !self.identity.workload.has_container() {
            &self.cgroup.workload
        } else {
            &self.identity.workload
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The start of this process as the kernel tells it.
    fn own_start() -> u64 {
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        let ticks: u64 =
            stat.rsplit(')').next().unwrap().split_whitespace().nth(19).unwrap().parse().unwrap();
        // SAFETY: has no preconditions.
        ticks
            * (1_000_000_000 / u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).unwrap())
    }

    #[test]
    fn this_process_is_identified() {
        let resolver = Resolver::default();
        let own = std::process::id();
        let told = Told { owner: Some((1, 2)), executable: Some((*b"/no").into()) };
        // What is there weighs more than what was told.
        let found = resolver.identify(own, own_start() + 1, &told);
        let owner = found.owner.unwrap();
        assert_eq!(owner.uid, Uid::effective().as_raw());
        let user = User::from_uid(Uid::effective()).unwrap().map(|user| user.name);
        assert_eq!(owner.user.as_deref(), user.as_deref());
        let program = std::env::current_exe().unwrap();
        let executable = found.executable.unwrap();
        assert_eq!(&*executable.path, program.as_os_str().as_bytes());
        let metadata = fs::metadata(&program).unwrap();
        assert_eq!(executable.file, Some((metadata.dev(), metadata.ino())));
        let namespace = fs::metadata("/proc/self/ns/net").unwrap().ino();
        assert_eq!(found.namespaces.unwrap().numbers()[2], namespace);
        assert_eq!((resolver.identified(), resolver.missed()), (1, 0));
    }

    #[test]
    fn another_process_with_the_same_id_is_not() {
        let resolver = Resolver::default();
        let own = std::process::id();
        let (start, none) = (own_start() + 1_000_000_000, Told::default());
        assert_eq!(resolver.identify(own, start, &none), Identity::default());
        let told = Told { owner: Some((u32::MAX, 2)), executable: Some((*b"/bin/\xff").into()) };
        let found = resolver.identify(u32::MAX, 0, &told);
        assert_eq!(found.owner, Some(Owner { uid: u32::MAX, gid: 2, user: None }));
        let executable = Executable { path: (*b"/bin/\xff").into(), file: None };
        assert_eq!(found.executable, Some(executable));
        assert_eq!((found.namespaces, found.workload), (None, Workload::default()));
        assert_eq!((resolver.identified(), resolver.missed()), (0, 2));
    }

    #[test]
    fn containers_of_version_1_are_told_by_the_process() {
        let id = "0123456789abcdef".repeat(4);
        let docker = Workload::of_proc(&format!("4:memory:/docker/{id}\n0::/a.slice\n"));
        let identity = Identity { workload: docker, ..Identity::default() };
        let told = |path: &[u8], identity| {
            let cgroup = CgroupFacts::new(1, path);
            Description { identity, cgroup: &cgroup }.workload().clone()
        };
        assert_eq!(told(b"/", &identity).container_id.as_deref(), Some(id.as_str()));
        // The cgroup of the call is nearer to the truth, where it tells of one.
        let lxc = told(b"/lxc.payload.web", &identity);
        assert_eq!((lxc.container_id, lxc.container_name.as_deref()), (None, Some("web")));
        let plain = told(b"/b.slice", &Identity::default());
        assert_eq!(plain.unit.as_deref(), Some("b.slice"));
    }

    #[test]
    fn what_stands_in_proc_is_not_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let process = folder.path().join("7");
        fs::create_dir(&process).unwrap();
        fs::write(process.join("status"), "Name:\tx\nUid:\t1\t4000000000\t3\t4\nGid:\t1\t6\n")
            .unwrap();
        fs::write(
            process.join("stat"),
            b"7 (a) R 1 (\xff) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 300 0",
        )
        .unwrap();
        fs::write(process.join("cgroup"), b"0::/lxc.payload.\xff/x\n").unwrap();
        let resolver = Resolver::default();
        let tick = 1_000_000_000 / 100;
        let found = resolver.read(folder.path(), 7, 300 * tick).unwrap();
        let owner = found.owner.unwrap();
        assert_eq!((owner.uid, owner.gid, owner.user), (4_000_000_000, 6, None));
        assert_eq!((found.executable, found.namespaces), (None, None));
        assert_eq!(found.workload.container_name.as_deref(), Some("\u{fffd}"));
        assert!(resolver.read(folder.path(), 7, 301 * tick).is_none());
        fs::write(process.join("stat"), "7 (").unwrap();
        assert!(resolver.read(folder.path(), 7, 300 * tick).is_none());
    }
}
