//! Many lives: processes that are born, execute a program and end, and threads that take a
//! process over.

use std::{fs, ptr, thread};

use crate::{
    calls,
    elf::{self, Width},
    primitives::{blocked_thread, call, expect, kinds, own_tid, wait_until_in},
};

/// One after the other, `count` children that execute a program of two calls. Nothing but these
/// calls is made meanwhile: `clone` and `wait4` here; `execve`, `getppid` and `exit_group` there.
pub(crate) fn born_and_executed(count: u64) {
    let path = elf::in_memory(Width::Wide, elf::ONE_CALL);
    let nothing = [ptr::null::<u8>()];
    let exec = [path.as_ptr() as usize, nothing.as_ptr() as usize, nothing.as_ptr() as usize];
    for _ in 0..count {
        // SAFETY: as by fork; the child makes two calls.
        let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
        if pid == 0 {
            call(libc::SYS_execve, exec);
            call(libc::SYS_exit_group, [1, 0, 0]);
        }
        assert!(pid > 0, "clone: {}", std::io::Error::last_os_error());
        let mut status = 0i32;
        // SAFETY: room for the status.
        let ended = unsafe { libc::syscall(libc::SYS_wait4, pid, &raw mut status, 0, 0) };
        assert_eq!((ended, status), (pid, 0));
    }
}

/// A thread that is not the first executes this program, which does the same again, `rounds`
/// times. In each round the first thread and another one are blocked.
pub(crate) fn taken_over(rounds: u64) {
    if rounds == 0 {
        expect(own_tid(), "getgid=*/complete");
        call(libc::SYS_getgid, [0; 3]);
        return;
    }
    kinds("execve pselect6 getgid");
    let leader = own_tid();
    expect(leader, "pselect6=ERESTARTNOHAND/complete");
    expect(blocked_thread(libc::SYS_pselect6, [0; 3]), "pselect6=ERESTARTNOHAND/complete");
    let work = move || {
        wait_until_in(leader, libc::SYS_pselect6);
        expect(own_tid(), "execve=0/complete");
        let next = std::ffi::CString::new((rounds - 1).to_string()).expect("digits");
        let words = [c"lives", c"now", c"taken-over", next.as_c_str()].map(std::ffi::CStr::as_ptr);
        let words = [words[0], words[1], words[2], words[3], ptr::null()];
        let nothing = [ptr::null::<u8>()];
        let path = c"/proc/self/exe".as_ptr();
        let (words, nothing) = (words.as_ptr() as usize, nothing.as_ptr() as usize);
        call(libc::SYS_execve, [path as usize, words, nothing]);
    };
    thread::Builder::new().spawn(work).expect("a thread");
    call(libc::SYS_pselect6, [0; 3]);
}

/// The first thread ends, and another one, with a name of its own, makes `count` calls and ends the
/// process.
pub(crate) fn first_thread_leaves(count: u64) {
    let work = move || {
        let stat = format!("/proc/self/task/{}/stat", std::process::id());
        let is_left = || fs::read_to_string(&stat).is_ok_and(|text| text.contains(") Z"));
        while !is_left() {
            thread::yield_now();
        }
        calls(count);
        std::process::exit(3);
    };
    thread::Builder::new().name("the-last-one".into()).spawn(work).expect("a thread");
    call(libc::SYS_exit, [0; 3]);
}

/// So many threads, and all end at the same time.
pub(crate) fn all_at_once(threads: u64) {
    for _ in 0..threads {
        blocked_thread(libc::SYS_pselect6, [0; 3]);
    }
    call(libc::SYS_exit_group, [0; 3]);
}
