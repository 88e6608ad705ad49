//! Threads that do what they are told, one thing at a time. Each reads its orders from a queue of
//! its own, and answers on one that all share, when it has done what it was told.

use std::{
    ffi::CString,
    fs::{self, File},
    io::{Read, Write},
    path::PathBuf,
    ptr, thread,
};

use crate::primitives::{call, filter, handle, ignore, own_tid};

/// A thread with its number.
pub(crate) struct Puppet {
    folder: PathBuf,
    number: u64,
}

impl Puppet {
    pub(crate) fn new(folder: &str, number: u64) -> Self {
        Self { folder: folder.into(), number }
    }

    /// The first of all: what it sets is for all that come from it.
    pub(crate) fn first(self) -> ! {
        handle(libc::SIGUSR1, 0, ignore as *const () as usize);
        // SAFETY: children are not waited for.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        filter(libc::SYS_getuid, libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned());
        filter(libc::SYS_getgid, libc::SECCOMP_RET_KILL_THREAD);
        self.obey();
        unreachable!("the first thread is not told to return");
    }

    /// After an exec.
    pub(crate) fn again(self) -> ! {
        handle(libc::SIGUSR1, 0, ignore as *const () as usize);
        self.obey();
        unreachable!("the first thread is not told to return");
    }

    fn open(&self, name: &str) -> File {
        // Both ends: neither opening nor the end of the other side is noticed.
        let path = self.folder.join(name);
        fs::OpenOptions::new().read(true).write(true).open(path).expect("a queue")
    }

    fn answer(&self) {
        let line = format!("{} {}\n", self.number, own_tid());
        self.open("answers").write_all(line.as_bytes()).expect("somebody listens");
    }

    fn obey(mut self) {
        let mut orders = self.open(&self.number.to_string());
        self.answer();
        loop {
            let mut order = [0; 8];
            orders.read_exact(&mut order).expect("an order");
            let text = std::str::from_utf8(&order).expect("text");
            let (what, number) = text.split_at(1);
            let number: u64 = number.parse().expect("a number");
            match what {
                "q" => assert_eq!(call(libc::SYS_getpgid, [0x7fff_0000, 0, 0]), -1),
                "d" => assert_eq!(call(libc::SYS_getuid, [0; 3]), -1),
                "b" => assert_eq!(call(libc::SYS_pselect6, [0; 3]), -1),
                "c" => assert_eq!(call(libc::SYS_getgid, [0; 3]), 0, "still alive"),
                "x" => assert_eq!(call(libc::SYS_exit_group, [0; 3]), 0, "still alive"),
                "r" => return,
                "e" => self.exec(number),
                "f" => {
                    // SAFETY: all other threads of the process wait for orders or signals.
                    if unsafe { libc::fork() } == 0 {
                        self.number = number;
                        orders = self.open(&number.to_string());
                    }
                }
                "t" => {
                    let other = Self { folder: self.folder.clone(), number };
                    thread::Builder::new().spawn(move || other.obey()).expect("a thread");
                }
                _ => panic!("unknown order {text}"),
            }
            self.answer();
        }
    }

    fn exec(&self, number: u64) {
        let text = |text: String| CString::new(text).expect("text");
        let folder = text(self.folder.display().to_string());
        let number = text(number.to_string());
        let words = [c"puppet", c"now", c"puppet-again", folder.as_c_str(), number.as_c_str()]
            .map(std::ffi::CStr::as_ptr);
        let words = [words[0], words[1], words[2], words[3], words[4], ptr::null()];
        let nothing = [ptr::null::<u8>()];
        let path = c"/proc/self/exe".as_ptr() as usize;
        call(libc::SYS_execve, [path, words.as_ptr() as usize, nothing.as_ptr() as usize]);
    }
}
