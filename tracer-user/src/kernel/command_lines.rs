//! Reads what the iterator of command lines tells, in a process of its own. The memory of a process
//! can be that of a file system which does not answer, and who reads it then may not even be killed.
//! A thread of the tracer that waits so would keep the tracer from ending.

use std::{
    fs::File,
    io::{self, Read},
    mem,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
        unix::net::UnixStream,
    },
    ptr,
    time::Duration,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{Signal, kill},
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

/// Room for the header of one message with a descriptor, aligned as it must be.
type Control = [u64; 4];

/// Bytes of a descriptor.
const FD_BYTES: u32 = mem::size_of::<RawFd>() as u32;

/// A message of one byte and `control`, which have to stay where they are.
fn message(byte: &mut libc::iovec, control: &mut Control) -> libc::msghdr {
    // SAFETY: zeroes are an empty message.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = byte;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    // SAFETY: computes a size.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(FD_BYTES) } as _;
    message
}

fn send(socket: &UnixStream, file: BorrowedFd<'_>) -> io::Result<()> {
    let (mut byte, mut control) = (0u8, Control::default());
    let mut place = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let message = message(&mut place, &mut control);
    // SAFETY: there is room for one header and a descriptor; all that the message leads to is valid.
    let sent = unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(FD_BYTES) as _;
        libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(file.as_raw_fd());
        libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL)
    };
    if sent == 1 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The process's own work; does not return. It may call nothing that takes a lock or memory, for
/// another thread of the process that it was copied from may have had the lock.
fn serve(socket: RawFd) -> ! {
    // SAFETY: system calls without memory but what is on the stack. Files of the tracer are closed:
    // who reads what it writes must see its end. Signals are the tracer's to handle.
    unsafe {
        let mut all = mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, ptr::null_mut());
        libc::prctl(libc::PR_SET_NAME, c"command-lines".as_ptr());
        libc::dup2(socket, 0);
        libc::syscall(libc::SYS_close_range, 1, u32::MAX, 0);
        while let Some(file) = receive(0) {
            let error = read_all(file);
            libc::close(file);
            libc::write(0, (&raw const error).cast(), mem::size_of_val(&error));
        }
        libc::_exit(0)
    }
}

/// A descriptor; `None` when the tracer has ended.
fn receive(socket: RawFd) -> Option<RawFd> {
    let (mut byte, mut control) = (0u8, Control::default());
    let mut place = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let mut message = message(&mut place, &mut control);
    // SAFETY: all that the message leads to is valid, and the kernel writes a whole header or none.
    unsafe {
        if libc::recvmsg(socket, &raw mut message, 0) != 1 {
            return None;
        }
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (!header.is_null()).then(|| libc::CMSG_DATA(header).cast::<RawFd>().read_unaligned())
    }
}

/// Reads to the end; the error number, or 0.
fn read_all(file: RawFd) -> i32 {
    let mut room = [0u8; 4096];
    loop {
        // SAFETY: there is room for so many bytes; `errno` is this thread's.
        let (count, error) = unsafe {
            let count = libc::read(file, room.as_mut_ptr().cast(), room.len());
            (count, *libc::__errno_location())
        };
        match count {
            0 => return 0,
            1.. => {}
            // The iterator has given the processor up between two tasks.
            _ if [libc::EAGAIN, libc::EINTR].contains(&error) => {}
            _ => return error,
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
