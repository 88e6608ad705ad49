//! Calls with known results, by threads, by their children, by what these execute, and by threads
//! of that.

use std::{arch::asm, ffi::CString, process::Command, thread};

#[path = "../shared/predictable.rs"]
mod shared;

use self::shared::{Lane, tag};

/// What all parts of a run have in common.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    pub(crate) seed: u64,
    /// Threads of the first process: a third of all lanes.
    pub(crate) threads: u64,
    /// Calls of each lane.
    pub(crate) calls: u64,
}

impl Run {
    /// The first process.
    pub(crate) fn first(self) {
        let threads: Vec<_> = (0..self.threads)
            .map(|lane| thread::Builder::new().spawn(move || self.thread(lane)).expect("a thread"))
            .collect();
        for thread in threads {
            thread.join().expect("its end");
        }
    }

    /// Half of the calls, a child, and the other half while that runs.
    fn thread(self, lane: u64) {
        let mut calls = Lane::new(self.seed, lane);
        self.make(lane, &mut calls, 0..self.calls / 2);
        // SAFETY: the child makes calls and executes a program.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            self.child(self.threads + lane);
        }
        assert!(pid > 0, "{}", std::io::Error::last_os_error());
        self.make(lane, &mut calls, self.calls / 2..self.calls);
        let mut status = 0;
        // SAFETY: room for the status.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        assert_eq!(status, 0);
    }

    fn child(self, lane: u64) -> ! {
        use std::os::unix::process::CommandExt;
        self.make(lane, &mut Lane::new(self.seed, lane), 0..self.calls / 2);
        let words = [self.seed, self.threads, self.calls, lane].map(|word| word.to_string());
        let error =
            Command::new("/proc/self/exe").args(["now", "predictable-rest"]).args(words).exec();
        panic!("exec: {error}");
    }

    /// After the exec: the other half, beside a thread with a lane of its own.
    pub(crate) fn rest(self, lane: u64) {
        let other = lane + self.threads;
        let work = move || self.make(other, &mut Lane::new(self.seed, other), 0..self.calls);
        let thread = thread::Builder::new().spawn(work).expect("a thread");
        let mut calls = Lane::new(self.seed, lane);
        (0..self.calls / 2).for_each(|_| drop(calls.next_call()));
        self.make(lane, &mut calls, self.calls / 2..self.calls);
        thread.join().expect("its end");
    }

    fn make(self, lane: u64, calls: &mut Lane, indices: std::ops::Range<u64>) {
        for index in indices {
            let call = calls.next_call();
            let path = call.path.as_deref().map(|path| CString::new(path).expect("text"));
            let mut args = call.args;
            if let Some(path) = &path {
                args[1] = path.as_ptr() as u64;
            }
            let result = marked(call.number, args, tag(lane, index));
            assert_eq!(result, call.result, "seed {}, lane {lane}, {call:?}", self.seed);
        }
    }
}

/// Makes a call, and leaves no mark behind in the register: other calls do not set it.
#[cfg(target_arch = "x86_64")]
fn marked(number: i64, args: [u64; 5], mark: u64) -> i64 {
    let result;
    // SAFETY: the calls fail, or have no effect.
    unsafe {
        asm!(
            "syscall",
            "xor r9d, r9d",
            inout("rax") number => result,
            in("rdi") args[0], in("rsi") args[1], in("rdx") args[2],
            in("r10") args[3], in("r8") args[4], inout("r9") mark => _,
            out("rcx") _, out("r11") _,
        );
    }
    result
}

/// Makes a call, and leaves no mark behind in the register: other calls do not set it.
#[cfg(target_arch = "aarch64")]
fn marked(number: i64, args: [u64; 5], mark: u64) -> i64 {
    let result;
    // SAFETY: the calls fail, or have no effect.
    unsafe {
        asm!(
            "svc 0",
            "mov x5, 0",
            in("x8") number,
            inout("x0") args[0] => result,
            in("x1") args[1], in("x2") args[2], in("x3") args[3], in("x4") args[4],
            inout("x5") mark => _,
        );
    }
    result
}
