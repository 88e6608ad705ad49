//! Descriptors made, copied, sent and closed by many threads at once. After each step a thread
//! makes a call of `fsync` on one of its own, and asks the kernel by `readlinkat` what it leads to.

use std::{
    env, ffi::CString, fs, io, mem, os::unix::process::CommandExt, process::Command, ptr, thread,
};

const FILES: u64 = 8;
const MOST: usize = 12;
const RECEIVED: usize = 3;

/// Makes files below `folder`, then takes steps in `threads` threads, and as many processes one
/// after the other, half of which execute this program again.
pub(crate) fn run(folder: &str, threads: u64, steps: u64) {
    fs::create_dir_all(format!("{folder}/below")).expect("a folder");
    for file in 0..FILES {
        fs::write(format!("{folder}/below/{file}"), b"").expect("a file");
        // Those that are there already are of the program before this one.
        let _again =
            std::os::unix::fs::symlink(format!("below/{file}"), format!("{folder}/link{file}"));
    }
    env::set_current_dir(folder).expect("the folder");
    let workers: Vec<_> = (0..threads)
        .map(|seed| {
            let folder = folder.to_owned();
            thread::Builder::new()
                .name(format!("worker-{seed}"))
                .spawn(move || Thread::new(&folder, seed + 1).steps(steps))
                .expect("a thread")
        })
        .collect();
    for worker in workers {
        worker.join().expect("a thread that ends");
    }
    let mut first = Thread::new(folder, 99);
    first.steps(20);
    for child in 0..threads {
        let pid = crate::child(|| {
            first.steps(20);
            if child % 2 == 0 {
                let error = Command::new("/proc/self/exe").args(["now", "descriptors-left"]).exec();
                panic!("exec: {error}");
            }
        });
        crate::wait_for(pid);
        first.steps(5);
    }
}

/// After `exec`: what is left of the descriptors.
pub(crate) fn left() {
    for fd in 0..60 {
        check(fd);
    }
}

/// A call that names a descriptor, and the kernel's word on it.
fn check(fd: i32) {
    let path = CString::new(format!("/proc/self/fd/{fd}")).expect("no zero byte");
    let mut found = [0_u8; 512];
    // SAFETY: no pointers.
    unsafe { libc::syscall(libc::SYS_fsync, fd) };
    // SAFETY: a path, and room for the result.
    unsafe {
        libc::syscall(
            libc::SYS_readlinkat,
            libc::AT_FDCWD,
            path.as_ptr(),
            found.as_mut_ptr(),
            found.len(),
        )
    };
}

struct Thread {
    folder: String,
    seed: u64,
    /// Descriptors that no other thread closes.
    own: Vec<i32>,
    /// Those that were sent to it: they stay, for only /proc can tell what they are.
    received: Vec<i32>,
}

impl Thread {
    fn new(folder: &str, seed: u64) -> Self {
        Self {
            folder: folder.to_owned(),
            seed: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            own: Vec::new(),
            received: Vec::new(),
        }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed % below
    }

    fn steps(&mut self, count: u64) {
        for _ in 0..count {
            self.step();
            if let Some(fd) = self.any() {
                check(fd);
            }
        }
        self.received.iter().copied().for_each(check);
    }

    fn any(&mut self) -> Option<i32> {
        let at = usize::try_from(self.random(self.own.len().max(1) as u64)).expect("small");
        self.own.get(at).copied()
    }

    fn keep(&mut self, fd: libc::c_long) {
        assert!(fd >= 0, "{}", io::Error::last_os_error());
        self.own.push(i32::try_from(fd).expect("a descriptor"));
    }

    fn step(&mut self) {
        let what = if self.own.len() < 2 { 0 } else { self.random(12) };
        if self.own.len() >= MOST || what >= 10 {
            return self.close();
        }
        match what {
            1 => {
                let fd = self.any().expect("two at least");
                // SAFETY: no pointers.
                self.keep(unsafe { libc::syscall(libc::SYS_dup, fd) });
            }
            2 => {
                let (from, to) = (self.own[0], self.own[1]);
                // SAFETY: no pointers.
                let fd = unsafe { libc::syscall(libc::SYS_dup3, from, to, libc::O_CLOEXEC) };
                assert_eq!(fd, libc::c_long::from(to));
            }
            3 => {
                let fd = self.any().expect("two at least");
                // SAFETY: no pointers.
                self.keep(unsafe { libc::syscall(libc::SYS_fcntl, fd, libc::F_DUPFD_CLOEXEC, 5) });
            }
            4 => {
                let mut pair = [0_i32; 2];
                // SAFETY: room for two descriptors.
                unsafe { libc::syscall(libc::SYS_pipe2, pair.as_mut_ptr(), 0) };
                for fd in pair {
                    self.keep(fd.into());
                }
            }
            // SAFETY: no pointers.
            5 => self.keep(unsafe { libc::syscall(libc::SYS_eventfd2, 0, libc::EFD_CLOEXEC) }),
            6 if self.received.len() < RECEIVED => self.send(),
            // SAFETY: a name that ends in zero.
            7 => self.keep(unsafe { libc::syscall(libc::SYS_memfd_create, c"name".as_ptr(), 0) }),
            _ => self.open(),
        }
    }

    fn open(&mut self) {
        let file = self.random(FILES);
        let path = match self.random(5) {
            0 => format!("{}/below/{file}", self.folder),
            1 => format!("below/../below//{file}"),
            2 => format!("link{file}"),
            3 => format!("{}/./link{file}", self.folder),
            _ => return self.open_below(file),
        };
        let path = CString::new(path).expect("no zero byte");
        let flags = if self.random(2) == 0 { libc::O_CLOEXEC } else { 0 };
        // SAFETY: a path.
        self.keep(unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags) });
    }

    /// By the descriptor of a folder.
    fn open_below(&mut self, file: u64) {
        let path = CString::new(file.to_string()).expect("no zero byte");
        // SAFETY: paths that end in zero.
        unsafe {
            let folder = libc::syscall(
                libc::SYS_openat,
                libc::AT_FDCWD,
                c"below".as_ptr(),
                libc::O_DIRECTORY | libc::O_PATH,
            );
            self.keep(folder);
            self.keep(libc::syscall(libc::SYS_openat, folder, path.as_ptr(), libc::O_RDONLY));
        }
    }

    /// Sends itself a descriptor.
    fn send(&mut self) {
        let fd = self.any().expect("two at least");
        let mut pair = [0_i32; 2];
        // SAFETY: room for two descriptors.
        let made =
            unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_DGRAM, 0, pair.as_mut_ptr()) };
        assert_eq!(made, 0);
        let mut byte = 0_u8;
        let mut data = libc::iovec { iov_base: ptr::from_mut(&mut byte).cast(), iov_len: 1 };
        let mut control = [0_u64; 3];
        control[0] = 20;
        // SOL_SOCKET and SCM_RIGHTS.
        control[1] = 1 | 1 << 32;
        control[2] = u64::from(fd.cast_unsigned());
        // SAFETY: a structure of numbers and pointers.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_iov = &raw mut data;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = mem::size_of_val(&control);
        // SAFETY: all that the message points to lives.
        unsafe {
            assert_eq!(libc::sendmsg(pair[0], &raw const message, 0), 1);
            assert_eq!(libc::recvmsg(pair[1], &raw mut message, libc::MSG_CMSG_CLOEXEC), 1);
        }
        self.received.push(i32::try_from(control[2] & 0xffff_ffff).expect("a descriptor"));
        for fd in pair {
            self.keep(fd.into());
        }
    }

    fn close(&mut self) {
        let at = usize::try_from(self.random(self.own.len() as u64)).expect("small");
        let fd = self.own.swap_remove(at);
        let done = if self.random(4) == 0 {
            // SAFETY: no pointers.
            unsafe { libc::syscall(libc::SYS_close_range, fd, fd, 0) }
        } else {
            // SAFETY: no pointers.
            unsafe { libc::syscall(libc::SYS_close, fd) }
        };
        assert_eq!(done, 0);
    }
}
