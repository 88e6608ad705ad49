//! Reads what the iterator of command lines tells, in a process of its own. The memory of a process
//! can be that of a file system which does not answer, and who reads it then may not even be killed.
//! A thread of the tracer that waits so would keep the tracer from ending.

use std::{
    fs::File,
    io::{self, ErrorKind, Read, Write},
    mem,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, RawFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl,
        signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask},
        wait::{WaitPidFlag, waitpid},
    },
    unistd::{ForkResult, Pid, fork},
};

/// How long one reading is waited for.
const PATIENCE: Duration = Duration::from_millis(100);

/// The process that reads. It is there for as long as tracing lasts, so that nobody else has its id.
#[derive(Debug)]
pub(super) struct CommandLines {
    process: Pid,
    /// Takes files that are to be read, and gives an error number for each.
    socket: UnixStream,
    is_busy: bool,
}

impl CommandLines {
    /// Starts the process, which waits.
    pub(super) fn start() -> io::Result<Self> {
        let (socket, other) = UnixStream::pair()?;
        // SAFETY: the child makes system calls only, and neither takes locks nor memory.
        match unsafe { fork() }? {
            ForkResult::Child => serve(other.as_raw_fd()),
            ForkResult::Parent { child } => Ok(Self { process: child, socket, is_busy: false }),
        }
    }

    pub(super) fn id(&self) -> u32 {
        self.process.as_raw().cast_unsigned()
    }

    /// Whether it reads still.
    pub(super) fn is_busy(&mut self) -> bool {
        self.is_busy = self.is_busy && !self.is_done(Duration::ZERO);
        self.is_busy
    }

    /// Has a file read to its end, and waits for that a moment only.
    pub(super) fn read(&mut self, tasks: &File) -> io::Result<()> {
        send(&self.socket, tasks.as_fd())?;
        self.is_busy = !self.is_done(PATIENCE);
        if self.is_busy {
            log::debug!("a command line is not read at once");
        }
        Ok(())
    }

    fn is_done(&mut self, patience: Duration) -> bool {
        let mut polled = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::ZERO);
        if !matches!(poll(&mut polled, patience), Ok(1..)) {
            return false;
        }
        let mut error = [0; 4];
        match self.socket.read_exact(&mut error).map(|()| i32::from_ne_bytes(error)) {
            Ok(0) => {}
            Ok(number) => warn(&io::Error::from_raw_os_error(number)),
            Err(error) => warn(&error),
        }
        true
    }
}

fn warn(error: &io::Error) {
    log::warn!("reading the command lines of processes that run already: {error}");
}

impl Drop for CommandLines {
    fn drop(&mut self) {
        // While it reads it may wait longer than anybody should for it.
        let how = if self.is_busy() { Some(WaitPidFlag::WNOHANG) } else { None };
        let killed = kill(self.process, Signal::SIGKILL);
        if let Err(error) = killed.and_then(|()| waitpid(self.process, how)) {
            log::debug!("the process that read command lines: {error}");
        }
    }
}

/// A header and a descriptor, cmsg(3): all that a message has beside its bytes.
#[repr(C)]
struct Passed {
    header: libc::cmsghdr,
    file: RawFd,
    _padding: i32,
}

/// Without the padding.
const PASSED: usize = mem::offset_of!(Passed, _padding);

impl Passed {
    fn new(file: RawFd) -> Self {
        // SAFETY: of numbers only.
        let mut header: libc::cmsghdr = unsafe { mem::zeroed() };
        header.cmsg_level = libc::SOL_SOCKET;
        header.cmsg_type = libc::SCM_RIGHTS;
        header.cmsg_len = PASSED as _;
        Self { header, file, _padding: 0 }
    }
}

/// A message of this and some bytes, which have to stay where they are.
fn message(bytes: *mut libc::iovec, passed: *mut Passed) -> libc::msghdr {
    // SAFETY: zeroes are an empty message.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = bytes;
    message.msg_iovlen = 1;
    message.msg_control = passed.cast();
    message.msg_controllen = mem::size_of::<Passed>() as _;
    message
}

fn send(socket: &UnixStream, file: BorrowedFd<'_>) -> io::Result<()> {
    let (mut byte, mut passed) = (0u8, Passed::new(file.as_raw_fd()));
    let mut bytes = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let message = message(&raw mut bytes, &raw mut passed);
    // SAFETY: all that the message leads to is valid.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) };
    if sent == 1 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The process's own work; does not return. It may call nothing that takes a lock or memory, for
/// another thread of the process that it was copied from may have had the lock.
fn serve(socket: RawFd) -> ! {
    // Signals are the tracer's to handle.
    let masked = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None);
    let named = prctl::set_name(c"command-lines");
    // SAFETY: numbers only.
    let moved = unsafe { libc::dup2(socket, 0) };
    // Of the tracer's files too: who reads what it writes must see the end.
    // SAFETY: what this process still needs is no longer among them.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, 1, u32::MAX, 0) };
    if masked.and(named).is_ok() && moved == 0 && closed == 0 {
        // SAFETY: nobody else in this process has it.
        answer(&unsafe { UnixStream::from_raw_fd(0) });
    }
    // SAFETY: ends the process without running destructors, which are the tracer's.
    unsafe { libc::_exit(0) }
}

/// Reads what comes, until the tracer has ended.
fn answer(mut socket: &UnixStream) {
    while let Some(file) = receive(socket) {
        let error = read_all(file);
        if socket.write_all(&error.to_ne_bytes()).is_err() {
            return;
        }
    }
}

fn receive(socket: &UnixStream) -> Option<File> {
    let (mut byte, mut passed) = (0u8, Passed::new(-1));
    let mut bytes = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let mut message = message(&raw mut bytes, &raw mut passed);
    // SAFETY: all that the message leads to is valid.
    let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) };
    let has_file = received == 1 && passed.file >= 0;
    // SAFETY: the kernel has just given this descriptor to us.
    has_file.then(|| unsafe { File::from_raw_fd(passed.file) })
}

/// Reads to the end; the error number, or 0.
fn read_all(mut file: File) -> i32 {
    let mut room = [0; 4096];
    loop {
        match file.read(&mut room) {
            Ok(0) => return 0,
            Ok(_) => {}
            // The iterator has given the processor up between two tasks.
            Err(error)
                if [ErrorKind::WouldBlock, ErrorKind::Interrupted].contains(&error.kind()) => {}
            Err(error) => return error.raw_os_error().unwrap_or(libc::EIO),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::OwnedFd;

    #[test]
    fn a_file_is_read_to_its_end() {
        let mut reader = CommandLines::start().unwrap();
        for _ in 0..2 {
            let (file, writer) = io::pipe().unwrap();
            drop(writer);
            reader.read(&File::from(OwnedFd::from(file))).unwrap();
            assert!(!reader.is_busy());
        }
    }

    /// And its process is gone, which holds nothing of this one.
    #[test]
    fn a_file_without_end_holds_up_nobody() {
        let mut reader = CommandLines::start().unwrap();
        let (mut other, held) = io::pipe().unwrap();
        let (file, _writer) = io::pipe().unwrap();
        reader.read(&File::from(OwnedFd::from(file))).unwrap();
        assert!(reader.is_busy());
        drop(held);
        assert_eq!(other.read(&mut [0]).unwrap(), 0);
        let id = reader.process;
        drop(reader);
        assert_eq!(waitpid(id, None).ok().and_then(|status| status.pid()).unwrap_or(id), id);
    }
}
