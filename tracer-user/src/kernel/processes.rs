//! Processes in scope by id: marks in the kernel, and when the last of them has ended.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    path::Path,
};

use aya::maps::{Array, MapData};
use tracer_common::{
    abi::map,
    scope::{PROCESS_IN, PROCESS_LAUNCHING, PROCESS_OUT},
};

use super::KernelError;

/// The marks. The kernel side adds the children of marked processes and takes off those that end;
/// this side marks the first ones.
pub struct ProcessScope {
    marks: Array<MapData, u8>,
    /// Marked by the kernel side, less those that it has taken off; starts at 0, so it falls below
    /// when a process that this side marked ends.
    kernel_change: Array<MapData, u64>,
    first: BTreeMap<u32, OwnedFd>,
    marked: i64,
}

impl ProcessScope {
    pub(super) fn new(marks: Array<MapData, u8>, kernel_change: Array<MapData, u64>) -> Self {
        Self { marks, kernel_change, first: BTreeMap::new(), marked: 0 }
    }

    /// Marks a command that is about to be started: tracing of it begins with its `execve`.
    pub fn launch(&mut self, pid: u32) -> Result<(), KernelError> {
        self.mark(pid, PROCESS_LAUNCHING)
    }

    /// Marks running processes and, with `descendants`, all below them. To be called when the
    /// programs are attached, so that no child born meanwhile is missed.
    pub fn attach(&mut self, pids: &[u32], descendants: bool) -> Result<(), KernelError> {
        for pid in pids {
            check_process(*pid)?;
            self.mark(*pid, PROCESS_IN)?;
        }
        // A child born before its parent was marked is found by the next look; one born later is
        // marked by the kernel side.
        let mut found = descendants;
        while found {
            let before = self.first.len();
            for child in children_of(&self.first) {
                // One that ended since the look needs no mark.
                match self.mark(child, PROCESS_IN) {
                    Ok(()) | Err(KernelError::NoSuchProcess(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            found = self.first.len() > before;
        }
        Ok(())
    }

    fn mark(&mut self, pid: u32, mark: u8) -> Result<(), KernelError> {
        let at = |source| KernelError::Map { map: map::PROCESSES, source };
        if self.first.contains_key(&pid) || self.marks.get(&pid, 0).map_err(at)? != PROCESS_OUT {
            return Ok(());
        }
        let process = pidfd_open(pid).map_err(|_| KernelError::NoSuchProcess(pid))?;
        self.marks.set(pid, mark, 0).map_err(at)?;
        self.first.insert(pid, process);
        self.marked += 1;
        Ok(())
    }

    /// How many processes in scope are alive.
    pub fn live(&mut self) -> Result<u64, KernelError> {
        self.take_off_ended()?;
        let at = |source| KernelError::Map { map: map::LIVE, source };
        let change = self.kernel_change.get(&0, 0).map_err(at)?.cast_signed();
        Ok(u64::try_from(self.marked + change).unwrap_or(0))
    }

    /// A process can end between the look at it and its mark; then the kernel side never takes the
    /// mark off, and an unrelated process could inherit it with the id.
    fn take_off_ended(&mut self) -> Result<(), KernelError> {
        let at = |source| KernelError::Map { map: map::PROCESSES, source };
        let ended: Vec<u32> =
            self.first.iter().filter(|(_, fd)| has_ended(fd)).map(|(pid, _)| *pid).collect();
        for pid in ended {
            self.first.remove(&pid);
            if self.marks.get(&pid, 0).map_err(at)? != PROCESS_OUT {
                self.marks.set(pid, PROCESS_OUT, 0).map_err(at)?;
                self.marked -= 1;
            }
        }
        Ok(())
    }
}

/// Refuses what is not the id of a process, or is the tracer itself.
pub(crate) fn check_process(pid: u32) -> Result<(), KernelError> {
    if pid == std::process::id() {
        return Err(KernelError::IsSelf(pid));
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .map_err(|_| KernelError::NoSuchProcess(pid))?;
    match status_field(&status, "Tgid:") {
        Some(tgid) if tgid != pid => Err(KernelError::IsThread { tid: pid, tgid }),
        _ => Ok(()),
    }
}

fn status_field(status: &str, name: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
}

/// Processes whose parent is in `parents`, as `/proc` shows them now.
fn children_of(parents: &BTreeMap<u32, OwnedFd>) -> BTreeSet<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return BTreeSet::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| {
            let status =
                fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"));
            let parent = status.ok().and_then(|status| status_field(&status, "PPid:"));
            parent.is_some_and(|parent| parents.contains_key(&parent))
        })
        .collect()
}

fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers are passed.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = i32::try_from(fd).unwrap_or(-1);
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given this descriptor to us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A pidfd is readable when its process has ended, `pidfd_open(2)`.
fn has_ended(process: &OwnedFd) -> bool {
    let mut poll = libc::pollfd { fd: process.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid element.
    let ready = unsafe { libc::poll(&raw mut poll, 1, 0) };
    ready > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_cannot_be_traced_are_told_apart() {
        let own = std::process::id();
        assert!(matches!(check_process(own), Err(KernelError::IsSelf(_))));
        assert!(matches!(check_process(0), Err(KernelError::NoSuchProcess(0))));
        assert!(matches!(check_process(u32::MAX), Err(KernelError::NoSuchProcess(_))));
        assert!(check_process(1).is_ok());
    }

    #[test]
    fn a_threads_id_names_its_process() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(check_process(child.id()).is_ok());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(matches!(check_process(child.id()), Err(KernelError::NoSuchProcess(_))));
        let (send, receive) = std::sync::mpsc::sync_channel(1);
        let (keep, kept) = std::sync::mpsc::sync_channel::<()>(1);
        let thread = std::thread::Builder::new().name("other".into()).spawn(move || {
            // SAFETY: has no preconditions.
            send.send(unsafe { libc::gettid() }.cast_unsigned()).unwrap();
            kept.recv().unwrap_err();
        });
        let tid = receive.recv().unwrap();
        let error = check_process(tid).unwrap_err();
        assert!(matches!(error, KernelError::IsThread { tgid, .. } if tgid == std::process::id()));
        drop(keep);
        thread.unwrap().join().unwrap();
    }
}
