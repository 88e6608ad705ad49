//! Processes in scope by id: marks in the kernel, and when the last of them has ended.

use std::{
    collections::BTreeSet,
    fs, io,
    os::fd::{AsFd, FromRawFd, OwnedFd},
    path::Path,
    sync::atomic::Ordering,
};

use aya::maps::MapData;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use tracer_common::scope::{PROCESS_WORDS, control, process_bit};

use super::{KernelError, control::Control};
use crate::shared_memory::Mapping;

/// The marks. The kernel side marks the children of marked processes and takes off the marks of
/// those that end; this side marks the first ones. Both do it atomically, so each is counted once.
#[derive(Debug)]
pub struct ProcessScope {
    marks: Mapping,
    control: Control,
    /// Processes that this side has marked, less those it has taken off.
    marked: i64,
    /// Those that it was asked to mark, ended ones too.
    asked: BTreeSet<u32>,
}

impl ProcessScope {
    pub(super) fn new(map: &MapData, control: Control) -> io::Result<Self> {
        let marks = Mapping::read_write(map.fd().as_fd(), 0, PROCESS_WORDS as usize * 8)?;
        Ok(Self { marks, control, marked: 0, asked: BTreeSet::new() })
    }

    /// Makes ready for a command that is about to be started: tracing of it begins with its
    /// `execve`.
    pub fn launch(&mut self, pid: u32) {
        self.control.set(control::LAUNCHING, u64::from(pid));
        self.marked += 1;
    }

    /// Marks running processes and, with `descendants`, all below them. To be called when the
    /// programs are attached, so that no child born meanwhile is missed.
    pub fn attach(&mut self, pids: &[u32], descendants: bool) -> Result<(), KernelError> {
        let mut family = BTreeSet::new();
        for pid in pids {
            check_process(*pid)?;
            self.mark(*pid)?;
            self.asked.insert(*pid);
            family.insert(*pid);
        }
        // A child born before its parent was marked is found by the next look; one born later is
        // marked by the kernel side.
        let mut found = descendants && !family.is_empty();
        while found {
            let known = family.len();
            for child in children_of(&family) {
                match self.mark(child) {
                    // One that ended since the look needs no mark.
                    Ok(()) | Err(KernelError::NoSuchProcess(_)) => family.insert(child),
                    Err(error) => return Err(error),
                };
            }
            found = family.len() > known;
        }
        Ok(())
    }

    /// Takes a running process into scope, with `descendants` all below it too. A call that is
    /// running is not shown.
    pub fn add(&mut self, pid: u32, descendants: bool) -> Result<(), KernelError> {
        self.control.set(control::EDITED, 1);
        self.attach(&[pid], descendants)
    }

    /// Takes a process out of scope; its descendants stay. A call that is running is shown still.
    ///
    /// Returns whether it was in scope, now or once by its own id.
    pub fn remove(&mut self, pid: u32) -> bool {
        let (word, bit) = process_bit(pid);
        let Some(word) = self.marks.word64(word as usize) else { return false };
        let was_asked_for = self.asked.contains(&pid);
        if word.load(Ordering::Acquire) & bit == 0 {
            return was_asked_for;
        }
        self.control.set(control::EDITED, 1);
        if word.fetch_and(!bit, Ordering::AcqRel) & bit != 0 {
            self.marked -= 1;
        }
        true
    }

    fn mark(&mut self, pid: u32) -> Result<(), KernelError> {
        let process = pidfd_open(pid).map_err(|source| match source.raw_os_error() {
            Some(libc::ESRCH | libc::EINVAL) => KernelError::NoSuchProcess(pid),
            _ => KernelError::System { action: "pidfd_open", source },
        })?;
        let (word, bit) = process_bit(pid);
        let word = self.marks.word64(word as usize).ok_or(KernelError::NoSuchProcess(pid))?;
        if word.fetch_or(bit, Ordering::AcqRel) & bit != 0 {
            return Ok(());
        }
        self.marked += 1;
        // The kernel side takes the mark off when the process exits, unless it had got past that
        // before; then no thread of it is alive, and it ends within a moment.
        if is_alive(pid) {
            return Ok(());
        }
        wait_for_end(&process);
        if word.fetch_and(!bit, Ordering::AcqRel) & bit != 0 {
            self.marked -= 1;
        }
        Err(KernelError::NoSuchProcess(pid))
    }

    /// How many processes in scope are alive.
    pub fn live(&self) -> u64 {
        let change = self.control.get(control::LIVE).cast_signed();
        u64::try_from(self.marked + change).unwrap_or(0)
    }
}

/// Whether a thread of the process has not begun to exit: `PF_EXITING` is set before the kernel side hears of the exit,
/// <https://github.com/torvalds/linux/blob/v6.12/kernel/exit.c#L881>.
fn is_alive(pid: u32) -> bool {
    const PF_EXITING: u64 = 4;
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    threads
        .filter_map(|thread| flags(thread.ok()?.path().join("stat")))
        .any(|flags| flags & PF_EXITING == 0)
}

/// Refuses what is not the id of a process, or is the tracer itself.
pub(crate) fn check_process(pid: u32) -> Result<(), KernelError> {
    if pid == std::process::id() {
        return Err(KernelError::IsSelf(pid));
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .map_err(|_| KernelError::NoSuchProcess(pid))?;
    match status_field(&status, "Tgid:") {
        Some(tgid) if tgid != pid => return Err(KernelError::IsThread { tid: pid, tgid }),
        _ => {}
    }
    let state = status.lines().find_map(|line| line.strip_prefix("State:"));
    if state.is_some_and(|state| state.trim_start().starts_with(['Z', 'X'])) {
        return Err(KernelError::HasEnded(pid));
    }
    if flags(format!("/proc/{pid}/stat")).is_some_and(|flags| flags & PF_KTHREAD != 0) {
        return Err(KernelError::IsKernelThread(pid));
    }
    Ok(())
}

/// <https://github.com/torvalds/linux/blob/v6.12/include/linux/sched.h#L1702>
const PF_KTHREAD: u64 = 0x0020_0000;

/// Field 9 of a `stat` file, proc(5).
fn flags(path: impl AsRef<Path>) -> Option<u64> {
    let stat = fs::read_to_string(path).ok()?;
    // The name, in parentheses, can hold anything.
    stat.rsplit(')').next()?.split(' ').nth(7)?.parse().ok()
}

fn status_field(status: &str, name: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
}

/// Processes whose parent is in `parents`, as `/proc` shows them now.
fn children_of(parents: &BTreeSet<u32>) -> BTreeSet<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return BTreeSet::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| !parents.contains(pid))
        .filter(|pid| {
            let status =
                fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"));
            let parent = status.ok().and_then(|status| status_field(&status, "PPid:"));
            parent.is_some_and(|parent| parents.contains(&parent))
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
fn wait_for_end(process: &OwnedFd) {
    let mut polled = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    loop {
        match poll(&mut polled, PollTimeout::NONE) {
            Err(Errno::EINTR) => {}
            Ok(_) => return,
            // It cannot be waited for; what follows does not depend on it.
            Err(error) => return log::warn!("waiting for the end of a process: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::{
        sys::wait::{Id, WaitPidFlag, waitid},
        unistd::Pid,
    };

    #[test]
    fn ids_that_cannot_be_traced_are_told_apart() {
        let own = std::process::id();
        assert!(matches!(check_process(own), Err(KernelError::IsSelf(_))));
        assert!(matches!(check_process(0), Err(KernelError::NoSuchProcess(0))));
        assert!(matches!(check_process(u32::MAX), Err(KernelError::NoSuchProcess(_))));
        assert!(check_process(1).is_ok());
        // `kthreadd`, unless this is a pid namespace of its own.
        if fs::read_to_string("/proc/2/comm").is_ok_and(|comm| comm == "kthreadd\n") {
            assert!(matches!(check_process(2), Err(KernelError::IsKernelThread(2))));
        }
    }

    #[test]
    fn a_threads_id_names_its_process() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(check_process(child.id()).is_ok());
        child.kill().unwrap();
        let left = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        waitid(Id::Pid(Pid::from_raw(child.id().cast_signed())), left).unwrap();
        assert!(matches!(check_process(child.id()), Err(KernelError::HasEnded(_))));
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
