//! Descriptors that are copied, sent, shared, and given away.

use std::{mem, ptr, thread};

use super::{Situation, close, done, granted, open};

fn pair() -> [i32; 2] {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors.
    let ret = unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, ends.as_mut_ptr()) };
    done("socketpair", ret);
    ends
}

/// A message of one byte with room for the descriptor.
fn with_message<T>(work: impl FnOnce(*mut libc::msghdr, *mut libc::cmsghdr) -> T) -> T {
    let mut byte = 0_u8;
    let mut vector = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let mut control = [0_u64; 4];
    // SAFETY: zeroes are a valid message; the control part has room for one descriptor.
    unsafe {
        let mut message: libc::msghdr = mem::zeroed();
        message.msg_iov = &raw mut vector;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(4) as _;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(4) as _;
        work(&raw mut message, header)
    }
}

fn send(socket: i32, fd: i32) {
    // SAFETY: a message with a place for a descriptor.
    let ret = with_message(|message, header| unsafe {
        libc::CMSG_DATA(header).cast::<i32>().write_unaligned(fd);
        libc::sendmsg(socket, message, 0)
    });
    done("sendmsg", ret);
}

fn receive(socket: i32) -> i32 {
    // SAFETY: a message with a place for a descriptor.
    with_message(|message, header| unsafe {
        done("recvmsg", libc::recvmsg(socket, message, 0));
        libc::CMSG_DATA(header).cast::<i32>().read_unaligned()
    })
}

/// Does this in a child that shares what `flags` says with its parent.
fn sharing(flags: i32, work: impl FnOnce()) {
    let none = ptr::null::<u8>();
    let flags = libc::SIGCHLD | flags;
    // SAFETY: like fork(2): the child has a copy of the memory, and ends without returning.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, none, none, none, none) };
    if pid == 0 {
        work();
        // SAFETY: ends the child.
        unsafe { libc::_exit(0) };
    }
    crate::wait_for(done("clone", pid));
}

fn dup2(from: i32, to: i32) {
    // SAFETY: no pointers.
    done("dup3", unsafe { libc::dup3(from, to, 0) });
}

pub(super) const CASES: &[(&str, Situation)] = &[
    ("copy", |case| {
        let fd = case.file("a");
        case.used(case.copied(fd));
        dup2(fd, 50);
        case.used(50);
        // SAFETY: no pointers.
        case.used(done("F_DUPFD", unsafe { libc::fcntl(fd, libc::F_DUPFD, 70) }));
        Ok(())
    }),
    ("number that gets another file", |case| {
        let (one, two) = (case.file("one"), case.file("two"));
        case.used(one);
        dup2(two, one);
        case.used(one);
        close(one);
        case.used(one);
        case.used(case.opened("/dev/null", libc::O_RDONLY));
        Ok(())
    }),
    ("numbers exchanged", |case| {
        let (one, two) = (case.file("one"), case.file("two"));
        for _ in 0..5 {
            dup2(one, 60);
            dup2(two, one);
            dup2(60, two);
            close(60);
            case.used(one);
            case.used(two);
        }
        Ok(())
    }),
    ("range closed", |case| {
        let fds = [case.file("a"), case.file("b"), case.file("c")];
        let (first, last) = (fds[0].cast_unsigned(), fds[1].cast_unsigned());
        // SAFETY: no pointers.
        granted("close_range", unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) })?;
        for fd in fds {
            case.used(fd);
        }
        Ok(())
    }),
    ("received", |case| {
        let [one, two] = pair();
        send(one, case.file("sent"));
        case.used(receive(two));
        Ok(())
    }),
    ("received from another process, with the number of another file", |case| {
        let [one, two] = pair();
        let work = || {
            close(case.file("own"));
            send(one, case.file("sent"));
        };
        crate::wait_for(crate::child(work));
        let own = case.file("other");
        case.used(own);
        close(own);
        let fd = receive(two);
        assert_eq!(fd, own);
        case.used(fd);
        Ok(())
    }),
    ("taken from another process", |case| {
        let [one, two] = pair();
        let pid = crate::child(|| {
            dup2(case.file("taken"), 77);
            send(one, 77);
            loop {
                // SAFETY: waits for a signal.
                unsafe { libc::pause() };
            }
        });
        receive(two);
        // SAFETY: no pointers.
        let process = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let taken = granted("pidfd_open", process).and_then(|process| {
            // SAFETY: no pointers.
            granted("pidfd_getfd", unsafe { libc::syscall(libc::SYS_pidfd_getfd, process, 77, 0) })
        });
        // SAFETY: our own child.
        done("kill", unsafe { libc::kill(pid, libc::SIGKILL) });
        crate::wait_for(pid);
        case.used(taken?);
        Ok(())
    }),
    ("process that shares descriptors", |case| {
        let fd = case.file("a");
        sharing(libc::CLONE_FILES, || {
            case.used(fd);
            dup2(case.file("b"), fd);
        });
        case.used(fd);
        Ok(())
    }),
    ("process that shares the current folder", |case| {
        case.make_folder("below");
        sharing(libc::CLONE_FS, || std::env::set_current_dir("below").expect("a folder"));
        case.in_folder();
        Ok(())
    }),
    ("process that shares neither", |case| {
        case.make_folder("below");
        let fd = case.file("a");
        let work = || {
            dup2(case.file("b"), fd);
            std::env::set_current_dir("below").expect("a folder");
            case.used(fd);
            case.in_folder();
        };
        crate::wait_for(crate::child(work));
        case.used(fd);
        case.in_folder();
        Ok(())
    }),
    ("thread", |case| {
        let fd = case.file("a");
        thread::scope(|scope| {
            let work = || {
                case.used(fd);
                dup2(case.file("b"), fd);
            };
            thread::Builder::new().spawn_scoped(scope, work).expect("a thread");
        });
        case.used(fd);
        Ok(())
    }),
    ("thread that stops sharing descriptors and folder", |case| {
        case.make_folder("below");
        let fd = case.file("a");
        thread::scope(|scope| {
            let work = || {
                // SAFETY: no pointers.
                let ret = unsafe { libc::unshare(libc::CLONE_FILES | libc::CLONE_FS) };
                done("unshare", ret);
                dup2(case.file("b"), fd);
                std::env::set_current_dir("below").expect("a folder");
                case.used(fd);
                case.in_folder();
            };
            thread::Builder::new().spawn_scoped(scope, work).expect("a thread");
        });
        case.used(fd);
        case.in_folder();
        Ok(())
    }),
    ("thread with the name of another", |case| {
        let fd = case.file("a");
        thread::scope(|scope| {
            for name in ["bash", "sshd", "kworker/0:1"] {
                let work = || case.used(fd);
                let thread = thread::Builder::new().name(name.to_owned());
                thread.spawn_scoped(scope, work).expect("a thread");
            }
        });
        Ok(())
    }),
    ("closed on exec", |case| {
        let kept = case.file("kept");
        let closed = open(&case.path("closed"), libc::O_RDWR | libc::O_CREAT | libc::O_CLOEXEC);
        case.used(closed);
        let (kept, closed) = (kept.to_string(), closed.to_string());
        let mut command = std::process::Command::new(std::env::current_exe().expect("own path"));
        let index = case.index.to_string();
        command.args(["now", "truth-numbers", &case.name, &index, &kept, &closed]);
        super::run_program(case, &mut command)
    }),
    ("opened and closed by a ring", |case| {
        let ring = crate::uring::Files::new().ok_or("io_uring_setup")?;
        let fd = ring.open(&case.path("a")).map_err(|it| format!("IORING_OP_OPENAT: {it}"))?;
        case.used(fd);
        ring.close(fd).map_err(|it| format!("IORING_OP_CLOSE: {it}"))?;
        case.used(fd);
        assert_eq!(ring.open(&case.path("b")), Ok(fd));
        case.used(fd);
        Ok(())
    }),
    ("many numbers", |case| {
        let fd = case.file("a");
        for number in [63, 64, 127, 255, 256, 600] {
            dup2(fd, number);
            case.used(number);
            case.used(number + 1);
        }
        Ok(())
    }),
    ("number of an ended process", |case| {
        for name in ["one", "two", "three"] {
            crate::wait_for(crate::child(|| case.used(case.file(name))));
        }
        case.used(case.file("four"));
        Ok(())
    }),
];
