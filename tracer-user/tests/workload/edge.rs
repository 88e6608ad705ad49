//! Programs that know what a correct tracer reports of them. Each case makes its calls and prints,
//! on standard output, for each of its threads the calls it has made of the kinds it is about:
//!
//! ```text
//! kinds getuid getgid
//! thread 1234 getuid=EPERM/exit_only getgid=0/complete
//! ```
//!
//! A result is an error's name, a number, `?` where there is none, or `*` where any will do.

use std::{
    arch::asm,
    ffi::CString,
    fmt::Write,
    io, mem, ptr,
    sync::atomic::{AtomicU8, Ordering::SeqCst},
    thread,
};

use crate::primitives::{
    HANDLED, blocked_thread, call, expect, filter, handle, ignore, kinds, own_tid, wait_until_in,
};

pub(crate) fn run(case: &str) {
    match case {
        "exec-failures" => exec_failures(),
        "children" => children(),
        "blocked-siblings" => blocked_siblings(),
        "odd-numbers" => odd_numbers(),
        "restarts" => restarts(),
        "killed-in-sleep" => killed_in_sleep(),
        "owner" => owner(),
        "seccomp-errno" => seccomp_errno(),
        "seccomp-trap" => seccomp_trap(),
        "seccomp-strict" => seccomp_strict(),
        "seccomp-kill-thread" => seccomp_kill_thread(),
        "user-dispatch" => user_dispatch(),
        "int80" => int80(),
        "thread-exec" => thread_exec(),
        "thread-exec-done" => thread_exec_done(),
        "vdso" => vdso(),
        "signals" => signals(),
        "exec-between-widths" => crate::more::exec_between_widths(),
        "changed-by-ptrace" => crate::more::changed_by_ptrace(),
        "same-id" => crate::more::same_id(20),
        _ => panic!("unknown case {case}"),
    }
}

fn exec_failures() {
    kinds("execve");
    let exec = |path: &str, argument: &str| {
        let path = CString::new(path).expect("text");
        let argument = CString::new(argument).expect("text");
        let words = [path.as_ptr(), argument.as_ptr(), ptr::null()];
        let nothing = [ptr::null::<u8>()];
        let args = [path.as_ptr() as usize, words.as_ptr() as usize, nothing.as_ptr() as usize];
        assert_eq!(call(libc::SYS_execve, args), -1);
    };
    exec("/no/such/program", "x");
    exec("/proc/self/status", "x");
    exec("/", "x");
    exec("/bin/sh", &"x".repeat(200_000));
    expect(
        own_tid(),
        "execve=ENOENT/complete execve=EACCES/complete execve=EACCES/complete \
         execve=E2BIG/complete",
    );
}

/// A child by each way there is; its own return from the call is no call of its own.
fn children() {
    kinds("fork vfork clone clone3 getgid");
    let mut line = String::new();
    let mut note = |name: &str, pid: i64| {
        write!(line, "{name}={pid}/complete ").expect("text");
        expect(pid, "getgid=*/complete");
        // SAFETY: no status is wanted.
        unsafe { libc::waitpid(i32::try_from(pid).expect("a pid"), ptr::null_mut(), 0) };
    };
    let in_child = || {
        call(libc::SYS_getgid, [0; 3]);
        // SAFETY: ends the child.
        unsafe { libc::_exit(0) };
    };
    let pid = call(libc::SYS_fork, [0; 3]);
    if pid == 0 {
        in_child();
    }
    note("fork", pid);
    let pid = vfork();
    note("vfork", pid);
    let pid = call(libc::SYS_clone, [libc::SIGCHLD as usize, 0, 0]);
    if pid == 0 {
        in_child();
    }
    note("clone", pid);
    let mut args = [0u64; 11];
    args[4] = libc::SIGCHLD as u64;
    let pid = call(libc::SYS_clone3, [args.as_mut_ptr() as usize, mem::size_of_val(&args), 0]);
    if pid == 0 {
        in_child();
    }
    note("clone3", pid);
    expect(own_tid(), line.trim());
}

/// The child has its parent's stack, so it must not return from where it was made.
fn vfork() -> i64 {
    let pid: i64;
    // SAFETY: in the child two calls are made and no memory is written.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "mov eax, 104", // getgid
            "syscall",
            "xor edi, edi",
            "mov eax, 60", // exit
            "syscall",
            "2:",
            inout("rax") libc::SYS_vfork => pid,
            out("rcx") _, out("r11") _, out("rdi") _,
        );
    }
    pid
}

fn pipe() -> [i32; 2] {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors.
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
    ends
}

/// Threads that are blocked when the process ends return from their calls all the same.
fn blocked_siblings() {
    kinds("pause poll exit_group");
    for _ in 0..4 {
        expect(blocked_thread(libc::SYS_pause, [0; 3]), "pause=ERESTARTNOHAND/complete");
    }
    for _ in 0..4 {
        let poll = [0, 0, usize::MAX];
        expect(blocked_thread(libc::SYS_poll, poll), "poll=ERESTART_RESTARTBLOCK/complete");
    }
    expect(own_tid(), "exit_group=?/enter_only");
    std::process::exit(0);
}

fn odd_numbers() {
    kinds("syscall_0xffffffff syscall_500 syscall_0x80000000 syscall_1073741823 getpid");
    for number in [-1, 500, 0x7fff_ffff, -0x8000_0000, 0x4000_0027] {
        call(number, [1, 2, 3]);
    }
    call(libc::SYS_getpid, [0; 3]);
    let pid = own_tid();
    expect(
        pid,
        &format!(
            "syscall_0xffffffff=ENOSYS/complete syscall_500=ENOSYS/complete \
             syscall_1073741823=ENOSYS/complete syscall_0x80000000=ENOSYS/complete \
             getpid=ENOSYS/complete getpid={pid}/complete"
        ),
    );
}

/// Sends a signal to a thread once it is blocked in this call.
fn interrupt(tid: i64, number: i64) {
    let work = move || {
        wait_until_in(tid, number);
        let pid = std::process::id() as usize;
        call(libc::SYS_tgkill, [pid, usize::try_from(tid).expect("a tid"), libc::SIGUSR1 as usize]);
    };
    thread::Builder::new().spawn(work).expect("a thread");
}

/// What a signal does to a blocked call: the kernel's own codes, which no program ever sees.
fn restarts() {
    kinds("pause readv clock_nanosleep");
    let me = own_tid();
    handle(libc::SIGUSR1, libc::SA_RESTART, ignore as *const () as usize);
    interrupt(me, libc::SYS_pause);
    call(libc::SYS_pause, [0; 3]);

    let ends = pipe();
    let write_end = ends[1];
    let later = move || {
        let before = HANDLED.load(SeqCst);
        wait_until_in(me, libc::SYS_readv);
        let pid = std::process::id() as usize;
        call(libc::SYS_tgkill, [pid, usize::try_from(me).expect("a tid"), libc::SIGUSR1 as usize]);
        while HANDLED.load(SeqCst) == before {
            thread::yield_now();
        }
        wait_until_in(me, libc::SYS_readv);
        // SAFETY: one valid byte.
        unsafe { libc::write(write_end, c"x".as_ptr().cast(), 1) };
    };
    let thread = thread::Builder::new().spawn(later).expect("a thread");
    let mut byte = 0u8;
    let part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    call(libc::SYS_readv, [ends[0] as usize, (&raw const part) as usize, 1]);
    thread.join().expect("the thread");

    interrupt(me, libc::SYS_clock_nanosleep);
    let time = libc::timespec { tv_sec: 60, tv_nsec: 0 };
    // SAFETY: a valid time.
    unsafe {
        libc::syscall(libc::SYS_clock_nanosleep, libc::CLOCK_MONOTONIC, 0, &raw const time, 0)
    };
    expect(
        me,
        "pause=ERESTARTNOHAND/complete readv=ERESTARTSYS/complete readv=1/complete \
         clock_nanosleep=ERESTART_RESTARTBLOCK/complete",
    );
}

/// Handlers run and are left as without a tracer, and each leaving is a call without a result.
fn signals() {
    kinds("rt_sigreturn getgid");
    handle(libc::SIGUSR1, 0, ignore as *const () as usize);
    let mut line = String::new();
    for _ in 0..50 {
        // SAFETY: a signal with a handler.
        unsafe { libc::raise(libc::SIGUSR1) };
        call(libc::SYS_getgid, [0; 3]);
        line.push_str("rt_sigreturn=?/complete getgid=*/complete ");
    }
    expect(own_tid(), line.trim());
}

fn killed_in_sleep() {
    kinds("pause");
    let pid = call(libc::SYS_fork, [0; 3]);
    if pid == 0 {
        call(libc::SYS_pause, [0; 3]);
    }
    let path = format!("/proc/{pid}/syscall");
    let start = format!("{} ", libc::SYS_pause);
    while !std::fs::read_to_string(&path).is_ok_and(|text| text.starts_with(&start)) {
        thread::yield_now();
    }
    let pid = i32::try_from(pid).expect("a pid");
    // SAFETY: our own child.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    // SAFETY: no status is wanted.
    unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
    expect(i64::from(pid), "pause=ERESTARTNOHAND/complete");
}

/// A process group as owner comes back as a negative number, which is no error.
fn owner() {
    kinds("fcntl");
    // SAFETY: has no preconditions.
    let group = unsafe { libc::setpgid(0, 0) + libc::getpgrp() };
    let end = pipe()[0] as usize;
    let minus = group.wrapping_neg() as usize;
    call(libc::SYS_fcntl, [end, libc::F_SETOWN as usize, minus]);
    call(libc::SYS_fcntl, [end, libc::F_GETOWN as usize, 0]);
    expect(own_tid(), &format!("fcntl=0/complete fcntl={}/complete", -group));
}

/// seccomp denies before the tracepoint: there is an exit and no entry.
fn seccomp_errno() {
    kinds("getuid getgid");
    filter(libc::SYS_getuid, libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned());
    call(libc::SYS_getuid, [0; 3]);
    call(libc::SYS_getgid, [0; 3]);
    expect(own_tid(), "getuid=EPERM/exit_only getgid=*/complete");
}

fn seccomp_trap() {
    kinds("getuid getgid");
    handle(libc::SIGSYS, 0, ignore as *const () as usize);
    filter(libc::SYS_getuid, libc::SECCOMP_RET_TRAP);
    call(libc::SYS_getuid, [0; 3]);
    call(libc::SYS_getgid, [0; 3]);
    expect(own_tid(), "getuid=?/exit_only getgid=*/complete");
}

/// A thread that seccomp kills leaves neither entry nor exit.
fn seccomp_strict() {
    kinds("getuid getgid");
    let pid = call(libc::SYS_fork, [0; 3]);
    if pid == 0 {
        call(libc::SYS_getgid, [0; 3]);
        // SAFETY: no pointers.
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_STRICT, 0, 0, 0) };
        call(libc::SYS_getuid, [0; 3]);
    }
    // SAFETY: no status is wanted.
    unsafe { libc::waitpid(i32::try_from(pid).expect("a pid"), ptr::null_mut(), 0) };
    expect(pid, "getgid=*/complete");
}

fn seccomp_kill_thread() {
    kinds("getuid getgid");
    let work = || {
        expect(own_tid(), "getgid=*/complete");
        call(libc::SYS_getgid, [0; 3]);
        filter(libc::SYS_getuid, libc::SECCOMP_RET_KILL_THREAD);
        call(libc::SYS_getuid, [0; 3]);
    };
    let thread = thread::Builder::new().spawn(work).expect("a thread");
    // It is killed and never says that it has finished, so it cannot be joined.
    while !std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1) {
        thread::yield_now();
    }
    mem::forget(thread);
}

static SELECTOR: AtomicU8 = AtomicU8::new(0);

extern "C" fn allow(_signal: libc::c_int) {
    SELECTOR.store(0, SeqCst);
}

/// Syscall user dispatch turns calls into signals before the tracepoint.
fn user_dispatch() {
    const PR_SET_SYSCALL_USER_DISPATCH: i32 = 59;
    const BLOCK: u8 = 1;
    kinds("getuid getgid");
    handle(libc::SIGSYS, 0, allow as *const () as usize);
    // SAFETY: the selector is a static.
    let set =
        unsafe { libc::prctl(PR_SET_SYSCALL_USER_DISPATCH, 1, 0, 0, SELECTOR.as_ptr() as usize) };
    assert_eq!(set, 0, "{}", io::Error::last_os_error());
    SELECTOR.store(BLOCK, SeqCst);
    call(libc::SYS_getuid, [0; 3]);
    call(libc::SYS_getgid, [0; 3]);
    expect(own_tid(), "getgid=*/complete");
}

/// 32-bit calls have numbers of their own: 200 is `getgid32` there and `tkill` here.
fn int80() {
    kinds("getgid32 tkill getgid");
    let gid: u64;
    // SAFETY: a call without arguments; its number and result are in rax.
    unsafe {
        asm!("int 0x80", inout("rax") 200u64 => gid, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    call(libc::SYS_getgid, [0; 3]);
    expect(own_tid(), &format!("getgid32={gid}/complete getgid={gid}/complete"));
}

/// A thread that is not the first executes a program: it takes the first one's id, and the others
/// are gone.
fn thread_exec() {
    kinds("execve pause getgid");
    expect(own_tid(), "pause=ERESTARTNOHAND/complete getgid=*/complete");
    expect(blocked_thread(libc::SYS_pause, [0; 3]), "pause=ERESTARTNOHAND/complete");
    let leader = own_tid();
    let work = move || {
        wait_until_in(leader, libc::SYS_pause);
        expect(own_tid(), "execve=0/complete");
        let path = c"/proc/self/exe";
        let words = [
            c"edge".as_ptr(),
            c"now".as_ptr(),
            c"edge".as_ptr(),
            c"thread-exec-done".as_ptr(),
            ptr::null(),
        ];
        let nothing = [ptr::null::<u8>()];
        call(
            libc::SYS_execve,
            [path.as_ptr() as usize, words.as_ptr() as usize, nothing.as_ptr() as usize],
        );
    };
    thread::Builder::new().spawn(work).expect("a thread");
    call(libc::SYS_pause, [0; 3]);
}

fn thread_exec_done() {
    call(libc::SYS_getgid, [0; 3]);
}

/// Answered without a call, and the same question as a call.
fn vdso() {
    kinds("clock_gettime");
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    for _ in 0..1000 {
        // SAFETY: a valid time.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    }
    let mut line = String::new();
    for _ in 0..10 {
        call(
            libc::SYS_clock_gettime,
            [libc::CLOCK_MONOTONIC as usize, (&raw mut time) as usize, 0],
        );
        line.push_str("clock_gettime=0/complete ");
    }
    expect(own_tid(), line.trim());
}
