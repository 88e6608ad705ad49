//! What each call does with descriptors, as data. What follows from a command or from memory is a
//! rule of its own kind, which the stage works out.

/// What a call does to its process's descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Opens a file: the argument with the folder, if any, and that with the path.
    Path(Option<u8>, u8),
    /// Makes a descriptor of a kernel object that always has this name.
    Object(&'static str),
    /// Makes one whose name only /proc can tell.
    Unknown,
    /// Makes an object of `bpf`, by its command.
    Bpf,
    /// Makes a file in memory with the name in this argument.
    Memory(u8),
    /// Makes a descriptor of the process in this argument.
    Process(u8),
    /// Makes another descriptor of what argument 0 leads to.
    Copies,
    /// By the command: another descriptor, or the flag for exec.
    Fcntl,
    /// By the command: the flag for exec.
    Ioctl,
    /// Makes a socket of the family, type and protocol in the first arguments.
    Socket,
    /// Makes two sockets.
    SocketPair,
    /// Makes a socket of a connection to the one in argument 0.
    Accept,
    /// Gives a socket its own address, passed.
    Bind,
    /// Gives a socket the other side's address, passed.
    Connect,
    /// Tells a socket's own address.
    OwnAddress,
    /// Tells the other side's address.
    PeerAddress,
    /// Makes the two ends of a pipe.
    Pipe,
    /// Takes descriptors that were sent.
    Receive,
    /// Takes away one descriptor.
    Close,
    /// Takes away those of a range, or sets their flag for exec.
    CloseRange,
    /// Begins another program.
    Exec,
    /// Makes a process or thread, with the flags in argument 0 if any.
    Clones,
    /// The same with the flags in memory.
    Clones3,
    /// The same without flags.
    Fork,
    /// Stops sharing descriptors or mounts.
    Unshare,
    /// Makes the path in argument 0 the current folder.
    ChangeFolder,
    /// Makes that of the descriptor in argument 0 the current folder.
    ChangeFolderTo,
    /// Changes what paths mean.
    ChangeRoot,
    /// Ends the process.
    End,
}

/// Whether a new descriptor is closed at exec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AtExec {
    /// It stays.
    Stays,
    /// It is closed.
    Closes,
    /// It is closed when this argument has one of these bits.
    If(u8, u64),
    /// The flags are in the first word of the memory of this argument.
    IfInMemory(u8),
}

/// `O_CLOEXEC`, and the same bit under the names `SOCK_CLOEXEC`, `EFD_CLOEXEC` and others, on every
/// architecture here.
pub(super) const O_CLOEXEC: u64 = 0o2_000_000;

const fn flag(arg: u8) -> AtExec {
    AtExec::If(arg, O_CLOEXEC)
}

use AtExec::{Closes, If, IfInMemory, Stays};
use Effect::{
    Accept, Bind, Bpf, ChangeFolder, ChangeFolderTo, ChangeRoot, Clones, Clones3, Close,
    CloseRange, Connect, Copies, End, Exec, Fcntl, Fork, Ioctl, Memory, Object, OwnAddress, Path,
    PeerAddress, Pipe, Process, Receive, Socket, SocketPair, Unknown, Unshare,
};

/// Calls that change descriptors or what they are called; names of objects are the kernel's, as
/// /proc/PID/fd shows them.
#[rustfmt::skip]
pub(super) const RULES: &[(&str, Effect, AtExec)] = &[
    ("accept", Accept, Stays),
    ("accept4", Accept, flag(3)),
    ("bind", Bind, Stays),
    ("bpf", Bpf, Closes),
    ("chdir", ChangeFolder, Stays),
    ("chroot", ChangeRoot, Stays),
    ("clone", Clones, Stays),
    ("clone3", Clones3, Stays),
    ("close", Close, Stays),
    ("close_range", CloseRange, Stays),
    ("connect", Connect, Stays),
    ("creat", Path(None, 0), Stays),
    ("dup", Copies, Stays),
    ("dup2", Copies, Stays),
    ("dup3", Copies, flag(2)),
    ("epoll_create", Object("anon_inode:[eventpoll]"), Stays),
    ("epoll_create1", Object("anon_inode:[eventpoll]"), flag(0)),
    ("eventfd", Object("anon_inode:[eventfd]"), Stays),
    ("eventfd2", Object("anon_inode:[eventfd]"), flag(1)),
    ("execve", Exec, Stays),
    ("execveat", Exec, Stays),
    ("exit_group", End, Stays),
    ("fanotify_init", Object("anon_inode:[fanotify]"), If(0, 1)),
    ("fchdir", ChangeFolderTo, Stays),
    ("fcntl", Fcntl, Stays),
    ("fcntl64", Fcntl, Stays),
    ("fork", Fork, Stays),
    ("fsmount", Unknown, If(1, 1)),
    ("fsopen", Object("anon_inode:[fscontext]"), If(1, 1)),
    ("fspick", Object("anon_inode:[fscontext]"), If(2, 1)),
    ("getpeername", PeerAddress, Stays),
    ("getsockname", OwnAddress, Stays),
    ("inotify_init", Object("anon_inode:inotify"), Stays),
    ("inotify_init1", Object("anon_inode:inotify"), flag(0)),
    ("io_uring_setup", Object("anon_inode:[io_uring]"), Closes),
    ("ioctl", Ioctl, Stays),
    ("landlock_create_ruleset", Object("anon_inode:[landlock-ruleset]"), Closes),
    ("memfd_create", Memory(0), If(1, 1)),
    ("memfd_secret", Object("/secretmem (deleted)"), flag(0)),
    ("mq_open", Unknown, Closes),
    ("open", Path(None, 0), flag(1)),
    ("open_by_handle_at", Unknown, flag(2)),
    ("open_tree", Path(Some(0), 1), flag(2)),
    ("open_tree_attr", Path(Some(0), 1), flag(2)),
    ("openat", Path(Some(0), 1), flag(2)),
    ("openat2", Path(Some(0), 1), IfInMemory(2)),
    ("perf_event_open", Object("anon_inode:[perf_event]"), If(4, 8)),
    ("pidfd_getfd", Unknown, Closes),
    ("pidfd_open", Process(0), Closes),
    ("pipe", Pipe, Stays),
    ("pipe2", Pipe, flag(1)),
    ("pivot_root", ChangeRoot, Stays),
    ("recvmmsg", Receive, If(3, MSG_CMSG_CLOEXEC)),
    ("recvmmsg_time64", Receive, If(3, MSG_CMSG_CLOEXEC)),
    ("recvmsg", Receive, If(2, MSG_CMSG_CLOEXEC)),
    ("setns", ChangeRoot, Stays),
    ("signalfd", Object("anon_inode:[signalfd]"), Stays),
    ("signalfd4", Object("anon_inode:[signalfd]"), flag(3)),
    ("socket", Socket, flag(1)),
    ("socketpair", SocketPair, flag(1)),
    ("timerfd_create", Object("anon_inode:[timerfd]"), flag(1)),
    ("unshare", Unshare, Stays),
    ("userfaultfd", Object("anon_inode:[userfaultfd]"), flag(0)),
    ("vfork", Fork, Stays),
];

/// `MSG_CMSG_CLOEXEC`, recvmsg(2).
const MSG_CMSG_CLOEXEC: u64 = 0x4000_0000;

/// Whether a call changes descriptors, so that names are right only if it is traced.
pub(crate) fn changes(name: &str) -> bool {
    RULES.binary_search_by(|(known, ..)| known.cmp(&name)).is_ok()
}

/// What a call does, if it changes descriptors.
pub(super) fn rule(name: &str) -> Option<(Effect, AtExec)> {
    let at = RULES.binary_search_by(|(known, ..)| known.cmp(&name)).ok()?;
    RULES.get(at).map(|(_, effect, at_exec)| (*effect, *at_exec))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracer_common::{event::Abi, syscalls};

    #[test]
    fn rules_are_sorted_and_of_calls_that_exist() {
        assert!(RULES.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for (name, ..) in RULES {
            let known = |abi| syscalls::number(abi, name).is_some();
            assert!(known(Abi::X86_64) || known(Abi::I386), "{name}");
        }
        assert!(changes("openat") && !changes("read"));
    }

    #[test]
    fn every_call_that_returns_a_descriptor_has_a_rule() {
        for abi in [Abi::X86_64, Abi::I386, Abi::Aarch64] {
            for (_, call) in syscalls::all(abi) {
                let makes = call.ret == syscalls::Ret::Fd;
                assert!(!makes || changes(call.name), "{}", call.name);
            }
        }
    }
}
