//! Who we are, and whether programs can be loaded into the kernel from here.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

/// The bits in `CapEff` of `/proc/self/status`.
const CAP_SYS_ADMIN: u64 = 1 << 21;
const CAP_PERFMON: u64 = 1 << 38;
const CAP_BPF: u64 = 1 << 39;

/// How to start a program that loads others into the kernel.
#[derive(Debug)]
pub(crate) enum Bpf {
    /// As we are.
    Directly,
    /// Through `sudo -n`.
    Sudo,
    /// Not here; the reason.
    Impossible(String),
}

/// Finds out how programs can be loaded into this kernel.
pub(crate) fn bpf() -> Result<Bpf> {
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Ok(Bpf::Impossible("this kernel has no BTF (/sys/kernel/btf/vmlinux)".to_owned()));
    }
    let map = fs::read_to_string("/proc/self/uid_map").context("/proc/self/uid_map")?;
    if !is_initial_user_namespace(&map) {
        return Ok(Bpf::Impossible("this is a container with users of its own".to_owned()));
    }
    let status = status()?;
    if may_load(&status)? {
        return Ok(Bpf::Directly);
    }
    if effective_uid(&status)? == 0 {
        return Ok(Bpf::Impossible(
            "root has neither CAP_BPF and CAP_PERFMON nor CAP_SYS_ADMIN here".to_owned(),
        ));
    }
    let sudo = Command::new("sudo")
        .args(["-n", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    Ok(match sudo {
        Ok(status) if status.success() => Bpf::Sudo,
        Ok(_) => Bpf::Impossible("they need root, and sudo asks for a password".to_owned()),
        Err(_) => Bpf::Impossible("they need root, and there is no sudo".to_owned()),
    })
}

/// Whether we are root.
pub(crate) fn is_root() -> Result<bool> {
    Ok(effective_uid(&status()?)? == 0)
}

/// The program itself, or sudo with the program when we are not root.
pub(crate) fn as_root(program: &Path) -> Result<Command> {
    if is_root()? {
        return Ok(Command::new(program));
    }
    let mut command = Command::new("sudo");
    command.arg("--").arg(program);
    Ok(command)
}

fn status() -> Result<String> {
    fs::read_to_string("/proc/self/status").context("/proc/self/status")
}

/// The values of a field of `/proc/self/status`.
fn field<'a>(status: &'a str, name: &str) -> Result<std::str::SplitWhitespace<'a>> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::split_whitespace)
        .with_context(|| format!("/proc/self/status has no `{name}`"))
}

/// The second of the four user ids.
fn effective_uid(status: &str) -> Result<u32> {
    let uid = field(status, "Uid")?.nth(1).context("`Uid` in /proc/self/status is short")?;
    uid.parse().with_context(|| format!("`Uid` in /proc/self/status: {uid}"))
}

/// Whether the effective capabilities are enough to load programs and attach them.
fn may_load(status: &str) -> Result<bool> {
    let mask = field(status, "CapEff")?.next().unwrap_or_default();
    let mask = u64::from_str_radix(mask, 16)
        .with_context(|| format!("`CapEff` in /proc/self/status: {mask}"))?;
    let both = CAP_BPF | CAP_PERFMON;
    Ok(mask & CAP_SYS_ADMIN != 0 || mask & both == both)
}

/// Whether every user is itself: capabilities in other namespaces do not count for `bpf(2)`.
fn is_initial_user_namespace(map: &str) -> bool {
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(uid: &str, capabilities: &str) -> String {
        format!("Name:\txtask\nUid:\t{uid}\nGid:\t0\t0\t0\t0\nCapEff:\t{capabilities}\n")
    }

    #[test]
    fn the_effective_user_counts() {
        assert_eq!(effective_uid(&with("1000\t0\t0\t0", "0")).unwrap(), 0);
        assert_eq!(effective_uid(&with("0\t1000\t0\t0", "0")).unwrap(), 1000);
        assert_eq!(
            effective_uid("Name:\tx\n").unwrap_err().to_string(),
            "/proc/self/status has no `Uid`"
        );
    }

    #[test]
    fn capabilities_that_are_enough() {
        let may = |mask: u64| may_load(&with("0\t0\t0\t0", &format!("{mask:016x}"))).unwrap();
        assert!(may(0x1ff_feff_ffff));
        assert!(may(CAP_SYS_ADMIN));
        assert!(may(CAP_BPF | CAP_PERFMON));
        assert!(!may(CAP_BPF));
        assert!(!may(CAP_PERFMON));
        assert!(!may(0));
    }

    #[test]
    fn containers_are_recognized() {
        assert!(is_initial_user_namespace("         0          0 4294967295\n"));
        assert!(!is_initial_user_namespace("         0     100000      65536\n"));
        assert!(!is_initial_user_namespace("0 1000 1\n1 100000 65536\n"));
    }
}
