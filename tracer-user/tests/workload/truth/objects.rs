//! Files without a place in any folder.

use std::{ptr, sync::atomic::Ordering::SeqCst};

use super::{PROC, Situation, close, done, granted, open, text};

fn pipe() -> [i32; 2] {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors.
    done("pipe2", unsafe { libc::pipe2(ends.as_mut_ptr(), 0) });
    ends
}

fn signals() -> libc::sigset_t {
    // SAFETY: zeroes are an empty set.
    unsafe { std::mem::zeroed() }
}

pub(super) const CASES: &[(&str, Situation)] = &[
    ("pipe", |case| {
        let [read, write] = pipe();
        case.used(read);
        case.used(write);
        case.copied(read);
        close(write);
        case.used(read);
        Ok(())
    }),
    ("pipe opened again by its number", |case| {
        let [read, _] = pipe();
        case.used(case.opened(&format!("/proc/self/fd/{read}"), libc::O_RDONLY));
        Ok(())
    }),
    ("fifo", |case| {
        let path = text("fifo");
        // SAFETY: a string.
        done("mkfifo", unsafe { libc::mkfifo(path.as_ptr(), 0o600) });
        let fd = case.opened("fifo", libc::O_RDWR);
        case.used(fd);
        std::fs::rename("fifo", "renamed").expect("renamed");
        case.used(fd);
        std::fs::remove_file("renamed").expect("removed");
        case.used(fd);
        Ok(())
    }),
    ("memory", |case| {
        for name in [c"name", c"", c"with (deleted)", c"/etc/passwd", c"odd\n<name>"] {
            // SAFETY: a string.
            case.used(done("memfd_create", unsafe { libc::memfd_create(name.as_ptr(), 0) }));
        }
        Ok(())
    }),
    ("memory opened again by its number", |case| {
        // SAFETY: a string.
        let fd = done("memfd_create", unsafe { libc::memfd_create(c"again".as_ptr(), 0) });
        case.used(case.opened(&format!("/proc/self/fd/{fd}"), libc::O_RDONLY));
        Ok(())
    }),
    ("eventfd", |case| {
        // SAFETY: no pointers.
        case.used(done("eventfd", unsafe { libc::eventfd(0, 0) }));
        Ok(())
    }),
    ("epoll", |case| {
        // SAFETY: no pointers.
        case.used(done("epoll_create1", unsafe { libc::epoll_create1(0) }));
        Ok(())
    }),
    ("timerfd", |case| {
        // SAFETY: no pointers.
        case.used(done("timerfd", unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, 0) }));
        Ok(())
    }),
    ("signalfd", |case| {
        let set = signals();
        // SAFETY: a set of signals.
        case.used(done("signalfd", unsafe { libc::signalfd(-1, &raw const set, 0) }));
        Ok(())
    }),
    ("inotify", |case| {
        // SAFETY: no pointers.
        case.used(done("inotify", unsafe { libc::inotify_init1(0) }));
        Ok(())
    }),
    ("fanotify", |case| {
        // SAFETY: no pointers.
        case.used(granted("fanotify", unsafe { libc::fanotify_init(0, 0) })?);
        Ok(())
    }),
    ("userfaultfd", |case| {
        // SAFETY: no pointers.
        case.used(granted("userfaultfd", unsafe { libc::syscall(libc::SYS_userfaultfd, 1) })?);
        Ok(())
    }),
    ("ring of operations", |case| {
        case.used(crate::uring::descriptor().ok_or("io_uring_setup")?);
        Ok(())
    }),
    ("event of the processor", |case| {
        // `struct perf_event_attr`: a software event, `PERF_COUNT_SW_DUMMY`.
        let mut attributes = [0_u64; 16];
        attributes[0] = 1 | 128 << 32;
        attributes[1] = 9;
        // SAFETY: the struct of the size that it has.
        let fd =
            unsafe { libc::syscall(libc::SYS_perf_event_open, attributes.as_ptr(), 0, -1, -1, 0) };
        case.used(granted("perf_event_open", fd)?);
        Ok(())
    }),
    ("process", |case| {
        // SAFETY: no pointers.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, libc::getpid(), 0) };
        case.used(granted("pidfd_open", fd)?);
        Ok(())
    }),
    ("context of a mount", |case| {
        // SAFETY: a string.
        let fd = unsafe { libc::syscall(libc::SYS_fsopen, c"tmpfs".as_ptr(), 0) };
        case.used(granted("fsopen", fd)?);
        Ok(())
    }),
    ("rules of landlock", |case| {
        let handled = [1_u64];
        // SAFETY: a struct of 8 bytes.
        let fd = unsafe {
            libc::syscall(libc::SYS_landlock_create_ruleset, handled.as_ptr(), 8_usize, 0)
        };
        case.used(granted("landlock_create_ruleset", fd)?);
        Ok(())
    }),
    ("map of bpf", |case| {
        // `union bpf_attr` of `BPF_MAP_CREATE`: an array of one value of 8 bytes.
        let mut attributes = [0_u32; 32];
        attributes[..4].copy_from_slice(&[2, 4, 8, 1]);
        // SAFETY: the struct of the size that it has.
        let fd = unsafe { libc::syscall(libc::SYS_bpf, 0, attributes.as_ptr(), 128_usize) };
        case.used(granted("bpf", fd)?);
        Ok(())
    }),
    ("queue of messages", |case| {
        let name = text(&format!("/tracer-truth-{}", std::process::id()));
        let (flags, none) = (libc::O_CREAT | libc::O_RDWR, ptr::null::<u8>());
        // The library's function takes one slash more than the kernel.
        let bare = name.as_bytes_with_nul()[1..].as_ptr();
        // SAFETY: a string, and no attributes.
        let fd = unsafe { libc::syscall(libc::SYS_mq_open, bare, flags, 0o600, none) };
        let fd = granted("mq_open", fd)?;
        case.used(fd);
        // SAFETY: a string.
        done("mq_unlink", unsafe { libc::syscall(libc::SYS_mq_unlink, bare) });
        case.used(fd);
        Ok(())
    }),
    ("namespaces", |case| {
        for kind in ["mnt", "pid", "net", "uts", "ipc", "user", "cgroup"] {
            let path = format!("/proc/self/ns/{kind}");
            if std::path::Path::new(&path).exists() {
                case.used(case.opened(&path, libc::O_RDONLY));
            }
        }
        Ok(())
    }),
    ("terminal", |case| {
        if !std::path::Path::new("/dev/pts/ptmx").exists() {
            return Err("no file system of terminals at /dev/pts".to_owned());
        }
        let fd = open("/dev/ptmx", libc::O_RDWR | libc::O_NOCTTY);
        case.used(fd);
        let mut unlock = 0;
        // SAFETY: a number that the command reads.
        done("TIOCSPTLCK", unsafe { libc::ioctl(fd, libc::TIOCSPTLCK, &raw mut unlock) });
        let mut number = 0;
        // SAFETY: a number that the command writes.
        done("TIOCGPTN", unsafe { libc::ioctl(fd, libc::TIOCGPTN, &raw mut number) });
        case.used(case.opened(&format!("/dev/pts/{number}"), libc::O_RDWR | libc::O_NOCTTY));
        Ok(())
    }),
    ("number that is not open", |case| {
        let fd = case.file("a");
        close(fd);
        case.used(fd);
        case.used(100_000);
        Ok(())
    }),
    ("file system of processes", |case| {
        case.used(PROC.load(SeqCst));
        Ok(())
    }),
];
