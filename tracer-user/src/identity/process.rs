//! What a process is in, and all that is known of a call's maker.

use std::{
    fs,
    path::Path,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use tracer_common::lifecycle::NAMESPACES;

use super::{CgroupFacts, Cgroups, Program, Workload, users::Users};

/// What only `/proc` tells of a process, for as long as it lives, on hosts with cgroups of version 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// What the paths of its cgroups tell, those of version 1 included.
    pub workload: Workload,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Effective user id, in the initial user namespace.
    pub uid: u32,
    /// Effective group id, likewise.
    pub gid: u32,
    /// The user's name on this host, whose it may not be in a container.
    pub user: Option<Arc<str>>,
}

/// Inode numbers, namespaces(7): equal ones are the same namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Namespaces([u32; NAMESPACES]);

impl Namespaces {
    /// Their names, as in `/proc/PID/ns`.
    pub const NAMES: [&str; NAMESPACES] = ["pid", "mnt", "net", "user", "uts", "ipc", "cgroup"];

    /// Those that a record tells; `None` where it tells none.
    pub fn told(numbers: [u32; NAMESPACES]) -> Option<Self> {
        numbers.iter().any(|number| *number != 0).then_some(Self(numbers))
    }

    /// Their numbers, in the order of the names; 0 for a kind that the kernel does not have.
    pub const fn numbers(&self) -> [u32; NAMESPACES] {
        self.0
    }
}

/// Answers who a process is. For any thread but the reader.
#[derive(Debug, Default)]
pub struct Resolver {
    /// Cgroups by id.
    pub cgroups: Cgroups,
    users: Users,
    has_old_cgroups: OnceLock<bool>,
    identified: AtomicU64,
    missed: AtomicU64,
}

impl Resolver {
    /// Whether this host has cgroups of version 1, of which `/proc` alone tells.
    pub fn has_old_cgroups(&self) -> bool {
        *self.has_old_cgroups.get_or_init(|| {
            let own = fs::read("/proc/self/cgroup").unwrap_or_default();
            own.split(|byte| *byte == b'\n')
                .any(|line| !line.is_empty() && !line.starts_with(b"0:"))
        })
    }

    /// What `/proc` tells of the process with this id that started at this reading of the boot clock.
    /// Counted as missed when it has ended. Without cgroups of version 1 nobody is asked.
    pub fn identify(&self, tgid: u32, start_ns: u64) -> Identity {
        if !self.has_old_cgroups() {
            return Identity::default();
        }
        let found = read(Path::new("/proc"), tgid, start_ns);
        let counter = if found.is_some() { &self.identified } else { &self.missed };
        counter.fetch_add(1, Ordering::Relaxed);
        found.unwrap_or_default()
    }

    /// Begins to read what is to be known from the start.
    pub fn prepare(&self) {
        self.users.prepare();
    }

    /// The owner with these ids, by name.
    pub fn owner(&self, (uid, gid): (u32, u32)) -> Owner {
        Owner { uid, gid, user: self.users.name(uid) }
    }

    /// Processes that were identified.
    pub fn identified(&self) -> u64 {
        self.identified.load(Ordering::Relaxed)
    }

    /// Processes that had ended before they were looked at.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}

fn read(proc: &Path, tgid: u32, start_ns: u64) -> Option<Identity> {
    let folder = proc.join(tgid.to_string());
    let cgroup = fs::read(folder.join("cgroup")).ok();
    let identity = Identity {
        workload: cgroup.map_or_else(Workload::default, |text| {
            Workload::of_proc(&String::from_utf8_lossy(&text))
        }),
    };
    // Asked last: while the same process is there, nobody else has had its id.
    started(&folder.join("stat"), start_ns).then_some(identity)
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

/// All that is known of who made a call: the program that ran then, its user at that moment, the
/// cgroup that it was in, and the process.
#[derive(Clone, Copy, Debug)]
pub struct Description<'a> {
    /// The program.
    pub program: &'a Program,
    /// The namespaces of the process, as its program began.
    pub namespaces: Option<Namespaces>,
    /// The user; `None` where no record has said it.
    pub owner: Option<&'a Owner>,
    /// The process, by `/proc`.
    pub identity: &'a Identity,
    /// The cgroup (v2).
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
        let found = resolver.identify(own, own_start() + 1);
        assert!(found.workload.container_id.is_none());
        let read = u64::from(resolver.has_old_cgroups());
        assert_eq!((resolver.identified(), resolver.missed()), (read, 0));
    }

    #[test]
    fn another_process_with_the_same_id_is_not() {
        let resolver = Resolver::default();
        let start = own_start() + 1_000_000_000;
        assert_eq!(resolver.identify(std::process::id(), start), Identity::default());
        assert_eq!(resolver.identify(u32::MAX, 0), Identity::default());
        let missed = if resolver.has_old_cgroups() { 2 } else { 0 };
        assert_eq!((resolver.identified(), resolver.missed()), (0, missed));
        let owner = resolver.owner((u32::MAX, 2));
        assert_eq!(owner, Owner { uid: u32::MAX, gid: 2, user: None });
    }

    #[test]
    fn containers_of_version_1_are_told_by_the_process() {
        let id = "0123456789abcdef".repeat(4);
        let docker = Workload::of_proc(&format!("4:memory:/docker/{id}\n0::/a.slice\n"));
        let identity = Identity { workload: docker };
        let told = |path: &[u8], identity| {
            let cgroup = CgroupFacts::new(1, path);
            let program = Program::default();
            let all = Description {
                program: &program,
                namespaces: None,
                owner: None,
                identity,
                cgroup: &cgroup,
            };
            all.workload().clone()
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
        fs::write(
            process.join("stat"),
            b"7 (a) R 1 (\xff) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 300 0",
        )
        .unwrap();
        fs::write(process.join("cgroup"), b"0::/lxc.payload.\xff/x\n").unwrap();
        let tick = 1_000_000_000 / 100;
        let found = read(folder.path(), 7, 300 * tick).unwrap();
        assert_eq!(found.workload.container_name.as_deref(), Some("\u{fffd}"));
        assert!(read(folder.path(), 7, 301 * tick).is_none());
        fs::write(process.join("stat"), "7 (").unwrap();
        assert!(read(folder.path(), 7, 300 * tick).is_none());
    }
}
