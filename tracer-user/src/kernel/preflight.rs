//! Can this host run the kernel programs? Asked before the first `bpf(2)` call, so that the answer
//! is one clear line.

use std::{
    fmt,
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::Path,
};

use super::btf;

/// Oldest kernel that is supported: task storage for tracing programs, BTF tracepoints, ring
/// buffer and boot clock are all older.
pub const OLDEST_KERNEL: KernelVersion = KernelVersion { major: 5, minor: 15 };

/// From here on tracepoint programs can be preempted.
pub const PREEMPTIBLE_SINCE: KernelVersion = KernelVersion { major: 6, minor: 19 };

/// From here on a task can be preempted in the tracepoints of calls, before it comes to the program
/// there, <https://github.com/torvalds/linux/commit/4aadde89d81f>: no grace period waits for it.
pub const FAULTABLE_SINCE: KernelVersion = KernelVersion { major: 6, minor: 13 };

/// From here on the kernel clears what stands behind the zero that ends a command name.
pub const PADDED_COMM_SINCE: KernelVersion = KernelVersion { major: 5, minor: 17 };

/// The levels of lockdown, the one that is on in brackets, `kernel_lockdown(7)`. The level
/// `confidentiality` takes `bpf_probe_read_kernel` away from programs: `bpf_base_func_proto` in
/// <https://github.com/torvalds/linux/blob/v6.12/kernel/bpf/helpers.c>.
const LOCKDOWN: &str = "/sys/kernel/security/lockdown";

/// Inode number of the initial pid namespace: `PROC_PID_INIT_INO`,
/// <https://github.com/torvalds/linux/blob/v6.12/include/linux/proc_ns.h#L46>.
const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// Inode number of the initial user namespace: `PROC_USER_INIT_INO`, in the same place.
const INITIAL_USER_NAMESPACE: u64 = 0xEFFF_FFFD;

const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// The first two numbers of a kernel release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion {
    /// 6 of `6.12.1`.
    pub major: u32,
    /// 12 of `6.12.1`.
    pub minor: u32,
}

impl KernelVersion {
    /// Reads a release as `uname -r` prints it.
    pub fn parse(release: &str) -> Option<Self> {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit());
        let major = numbers.next()?.parse().ok()?;
        let minor = numbers.next()?.parse().ok()?;
        Some(Self { major, minor })
    }

    /// The kernel that runs.
    pub fn running() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/sys/kernel/osrelease").ok()?)
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What this host lacks.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// The process may not load programs.
    #[error("missing {missing}: loading kernel programs needs root; run it with sudo")]
    Capabilities {
        /// The names of the capabilities, joined.
        missing: String,
    },
    /// Nothing can be found out about this process, nor about others.
    #[error(
        "cannot read /proc/self/status ({error}): tracer needs /proc; mount -t proc proc /proc"
    )]
    NoProc {
        /// What the system said.
        error: io::Error,
    },
    /// Capabilities in another user namespace than the initial one are none over the kernel.
    #[error(
        "tracer runs in a user namespace of its own, where root may not load kernel programs; \
         run it outside, as the host's root"
    )]
    UserNamespace,
    /// The kernel is older than [`OLDEST_KERNEL`].
    #[error(
        "kernel {found} is too old: tracer needs {OLDEST_KERNEL} or newer \
         (task storage for tracing programs); boot a newer kernel"
    )]
    Kernel {
        /// The kernel that runs.
        found: KernelVersion,
    },
    /// Process ids here are not those that the kernel side sees.
    #[error(
        "tracer runs in a pid namespace of its own, where process ids are not the host's; \
         run it on the host, or in a container with the host's pid namespace (--pid=host)"
    )]
    PidNamespace,
    /// The kernel lets nobody read its memory, not even the kernel programs their own.
    #[error(
        "this kernel is locked down ({path}: confidentiality), so that kernel programs may not \
         read memory; boot with lockdown=integrity or without lockdown"
    )]
    Lockdown {
        /// What says so.
        path: String,
    },
    /// The kernel does not describe its types.
    #[error(
        "this kernel has no BTF ({path}: {error}); \
         tracer needs a kernel built with CONFIG_DEBUG_INFO_BTF=y"
    )]
    NoBtf {
        /// Where BTF was looked for.
        path: String,
        /// What the system said.
        error: io::Error,
    },
}

/// One thing that tracer needs: its name, and what this host has of it.
pub type Need = (&'static str, Result<String, PreflightError>);

/// Checks all that tracer needs of this host, in this order.
///
/// # Errors
/// The first that is missing.
pub fn check() -> Result<(), PreflightError> {
    needs().into_iter().try_for_each(|(_, found)| found.map(drop))
}

/// All that tracer needs of this host.
pub fn needs() -> [Need; 6] {
    let inode = |path| fs::metadata(path).map(|namespace| namespace.ino()).ok();
    let found = |text: &str| text.to_owned();
    [
        ("privilege", privilege()),
        (
            "user namespace",
            user_namespace(inode("/proc/self/ns/user")).map(|()| found("the initial one")),
        ),
        ("kernel", running_version()),
        (
            "pid namespace",
            pid_namespace(inode("/proc/self/ns/pid")).map(|()| found("the initial one")),
        ),
        ("lockdown", lockdown(Path::new(LOCKDOWN)).map(|()| found("programs may read memory"))),
        ("types (BTF)", open_btf(Path::new(btf::VMLINUX)).map(|_| found(btf::VMLINUX))),
    ]
}

fn privilege() -> Result<String, PreflightError> {
    let status = fs::read_to_string("/proc/self/status")
        .map_err(|error| PreflightError::NoProc { error })?;
    capabilities(effective(&status))?;
    Ok("capabilities to load kernel programs".to_owned())
}

/// A kernel whose release cannot be read is tried.
fn running_version() -> Result<String, PreflightError> {
    let Some(found) = KernelVersion::running() else { return Ok("of an unknown release".into()) };
    version(found)?;
    Ok(found.to_string())
}

/// Where no level can be read there is no lockdown, or nobody has mounted the file system; then
/// the kernel's own refusal tells.
fn lockdown(path: &Path) -> Result<(), PreflightError> {
    let levels = fs::read_to_string(path).unwrap_or_default();
    if levels.split_whitespace().any(|level| level == "[confidentiality]") {
        return Err(PreflightError::Lockdown { path: path.display().to_string() });
    }
    Ok(())
}

pub(super) fn open_btf(path: &Path) -> Result<File, PreflightError> {
    File::open(path)
        .map_err(|error| PreflightError::NoBtf { path: path.display().to_string(), error })
}

fn user_namespace(inode: Option<u64>) -> Result<(), PreflightError> {
    match inode {
        Some(inode) if inode != INITIAL_USER_NAMESPACE => Err(PreflightError::UserNamespace),
        _ => Ok(()),
    }
}

fn pid_namespace(inode: Option<u64>) -> Result<(), PreflightError> {
    match inode {
        Some(inode) if inode != INITIAL_PID_NAMESPACE => Err(PreflightError::PidNamespace),
        _ => Ok(()),
    }
}

fn version(found: KernelVersion) -> Result<(), PreflightError> {
    if found < OLDEST_KERNEL { Err(PreflightError::Kernel { found }) } else { Ok(()) }
}

/// The `CapEff` line of `/proc/PID/status`, proc(5).
fn effective(status: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0)
}

/// `CAP_SYS_ADMIN` includes the other two, capabilities(7).
fn capabilities(effective: u64) -> Result<(), PreflightError> {
    let has = |cap: u32| effective >> cap & 1 == 1;
    if has(CAP_SYS_ADMIN) || (has(CAP_BPF) && has(CAP_PERFMON)) {
        return Ok(());
    }
    let missing: Vec<_> = [(CAP_BPF, "CAP_BPF"), (CAP_PERFMON, "CAP_PERFMON")]
        .into_iter()
        .filter(|(cap, _)| !has(*cap))
        .map(|(_, name)| name)
        .collect();
    Err(PreflightError::Capabilities { missing: missing.join(" and ") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_capabilities_are_named() {
        let error = capabilities(0).unwrap_err().to_string();
        assert!(error.contains("CAP_BPF and CAP_PERFMON") && error.contains("sudo"), "{error}");
        let error = capabilities(1 << CAP_BPF).unwrap_err().to_string();
        assert!(error.starts_with("missing CAP_PERFMON:"), "{error}");
        assert!(capabilities(1 << CAP_SYS_ADMIN).is_ok());
        assert!(capabilities(1 << CAP_BPF | 1 << CAP_PERFMON).is_ok());
    }

    #[test]
    fn effective_capabilities_are_read() {
        assert_eq!(effective("Name:\tx\nCapEff:\t000001fffeffffff\n"), 0x1ff_feff_ffff);
        assert_eq!(effective(""), 0);
    }

    #[test]
    fn an_old_kernel_is_named_with_what_it_lacks() {
        let old = KernelVersion::parse("5.10.0-32-cloud-amd64").unwrap();
        let error = version(old).unwrap_err().to_string();
        assert!(error.contains("5.10") && error.contains("5.15"), "{error}");
        assert!(version(KernelVersion::parse("6.1.0").unwrap()).is_ok());
        assert!(version(KernelVersion::parse("7.3.4-cloud").unwrap()).is_ok());
        assert_eq!(KernelVersion::parse("linux"), None);
    }

    #[test]
    fn another_pid_namespace_is_refused() {
        assert!(pid_namespace(Some(INITIAL_PID_NAMESPACE)).is_ok());
        let error = pid_namespace(Some(4_026_532_001)).unwrap_err().to_string();
        assert!(error.contains("--pid=host"), "{error}");
    }

    #[test]
    fn another_user_namespace_is_refused() {
        assert!(user_namespace(Some(INITIAL_USER_NAMESPACE)).is_ok());
        let error = user_namespace(Some(4_026_532_001)).unwrap_err().to_string();
        assert!(error.contains("user namespace"), "{error}");
    }

    #[test]
    fn a_kernel_that_is_locked_down_is_refused() {
        let level = |name: &str, levels: &str| {
            let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
            fs::write(&path, levels).unwrap();
            let checked = lockdown(&path).map_err(|error| error.to_string());
            fs::remove_file(path).unwrap();
            checked
        };
        assert!(level("none", "[none] integrity confidentiality\n").is_ok());
        assert!(level("integrity", "none [integrity] confidentiality\n").is_ok());
        let error = level("most", "none integrity [confidentiality]\n").unwrap_err();
        assert!(error.contains("lockdown=integrity"), "{error}");
        assert!(lockdown(Path::new("/nonexistent/lockdown")).is_ok());
    }

    #[test]
    fn a_kernel_without_btf_is_told_by_its_config() {
        let error = open_btf(Path::new("/nonexistent/btf")).unwrap_err().to_string();
        assert!(error.contains("CONFIG_DEBUG_INFO_BTF"), "{error}");
    }
}
