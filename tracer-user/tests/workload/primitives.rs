//! What the cases are made of: raw calls, threads that are blocked in one, signals, seccomp; and how
//! a program says what a correct tracer reports of it.

use std::{
    mem, ptr,
    sync::atomic::{AtomicU32, Ordering::SeqCst},
    thread,
};

pub(crate) fn kinds(names: &str) {
    println!("kinds {names}");
}

pub(crate) fn expect(tid: i64, calls: &str) {
    println!("thread {tid} {calls}");
}

pub(crate) fn own_tid() -> i64 {
    // SAFETY: has no preconditions.
    unsafe { libc::syscall(libc::SYS_gettid) }
}

/// Makes a call; arguments after these three are zero. `pselect6` without any blocks until a signal
/// comes, as `pause` does, which not every processor has.
pub(crate) fn call(number: i64, args: [usize; 3]) -> i64 {
    // SAFETY: the cases pass what the calls need.
    unsafe { libc::syscall(number, args[0], args[1], args[2], 0usize, 0usize, 0usize) }
}

/// Waits until the thread is blocked in this call.
pub(crate) fn wait_until_in(tid: i64, number: i64) {
    let path = format!("/proc/self/task/{tid}/syscall");
    let start = format!("{number} ");
    while !std::fs::read_to_string(&path).is_ok_and(|text| text.starts_with(&start)) {
        thread::yield_now();
    }
}

/// Starts a thread that makes one call and then ends it; returns its id when it is blocked.
pub(crate) fn blocked_thread(number: i64, args: [usize; 3]) -> i64 {
    let (send, receive) = std::sync::mpsc::sync_channel(1);
    let work = move || {
        send.send(own_tid()).expect("somebody listens");
        call(number, args);
    };
    thread::Builder::new().spawn(work).expect("a thread");
    let tid = receive.recv().expect("its id");
    wait_until_in(tid, number);
    tid
}

/// Signals that [`ignore`] has seen.
pub(crate) static HANDLED: AtomicU32 = AtomicU32::new(0);

pub(crate) extern "C" fn ignore(_signal: libc::c_int) {
    HANDLED.fetch_add(1, SeqCst);
}

pub(crate) fn handle(signal: i32, flags: i32, handler: usize) {
    // SAFETY: an action of zeroes is a valid one.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    // SAFETY: a valid action.
    assert_eq!(unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) }, 0);
}

/// Installs a seccomp filter that does `action` for one call, and nothing for others.
pub(crate) fn filter(number: i64, action: u32) {
    let step = |code: u32, jt, jf, k| libc::sock_filter {
        code: u16::try_from(code).expect("a code"),
        jt,
        jf,
        k,
    };
    let program = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            0,
            1,
            u32::try_from(number).expect("small"),
        ),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, action),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let description = libc::sock_fprog { len: 4, filter: program.as_ptr().cast_mut() };
    // SAFETY: no pointers.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    let set = [libc::SECCOMP_SET_MODE_FILTER as usize, 0, (&raw const description) as usize];
    assert_eq!(call(libc::SYS_seccomp, set), 0);
}
