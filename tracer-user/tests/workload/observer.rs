//! Programs that watch what happens to them: signals, stops, restarts, timers, exit statuses, and
//! a tracer by ptrace. What they print must be the same whether they are traced or not.

use std::{
    arch::asm,
    mem, ptr,
    sync::atomic::{AtomicU32, Ordering::SeqCst},
    thread,
};

use crate::primitives::{call, handle, own_tid, wait_until_in};

static CAUGHT: AtomicU32 = AtomicU32::new(0);

extern "C" fn catch(signal: libc::c_int) {
    CAUGHT.fetch_add(1 << (8 * u32::from(signal == libc::SIGALRM)), SeqCst);
}

fn caught() -> u32 {
    CAUGHT.swap(0, SeqCst)
}

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Prints what it has seen, a line for each thing.
pub(crate) fn observe() {
    handlers();
    interrupted_and_restarted();
    timers();
    statuses();
    stopped_and_continued();
    vfork_waits();
    traced_by_another();
}

fn handlers() {
    handle(libc::SIGUSR1, 0, catch as *const () as usize);
    for _ in 0..100 {
        // SAFETY: a signal with a handler.
        unsafe { libc::raise(libc::SIGUSR1) };
    }
    println!("handlers ran {}", caught());
    // What a handler's return restores, the program never notices.
    let mut kept = 0x1122_3344_5566_7788u64;
    // SAFETY: kill(self, SIGUSR1); the handler keeps all registers but those of the call.
    unsafe {
        asm!("syscall", inout("rax") libc::SYS_kill => _, in("rdi") libc::getpid(),
            in("rsi") libc::SIGUSR1, inout("r12") kept, out("rcx") _, out("r11") _);
    }
    println!("a register kept {kept:#x}, handlers ran {}", caught());
}

/// Runs a call that blocks in this thread, and sends it signals from another.
fn while_signalled(
    number: i64,
    args: [usize; 3],
    times: u32,
    then: impl FnOnce() + Send + 'static,
) {
    let me = own_tid();
    let work = move || {
        for sent in 1..=times {
            wait_until_in(me, number);
            let (pid, tid) = (std::process::id() as usize, usize::try_from(me).expect("a tid"));
            call(libc::SYS_tgkill, [pid, tid, libc::SIGUSR1 as usize]);
            while CAUGHT.load(SeqCst) & 0xff < sent {
                thread::yield_now();
            }
        }
        then();
    };
    let thread = thread::Builder::new().spawn(work).expect("a thread");
    let result = call(number, args);
    let error = if result < 0 { errno() } else { 0 };
    thread.join().expect("its end");
    println!("call {number}: result {result}, errno {error}, handlers ran {}", caught());
}

fn interrupted_and_restarted() {
    let mut byte = 0u8;
    let part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors.
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
    let readv = [ends[0] as usize, (&raw const part) as usize, 1];
    handle(libc::SIGUSR1, 0, catch as *const () as usize);
    while_signalled(libc::SYS_readv, readv, 1, || ());
    while_signalled(libc::SYS_pause, [0; 3], 1, || ());
    let minute = libc::timespec { tv_sec: 60, tv_nsec: 0 };
    let mut left = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let nap = [(&raw const minute) as usize, (&raw mut left) as usize, 0];
    while_signalled(libc::SYS_nanosleep, nap, 1, || ());
    println!("some of the nap was left: {}", left.tv_sec > 0);
    handle(libc::SIGUSR1, libc::SA_RESTART, catch as *const () as usize);
    let write_end = ends[1];
    while_signalled(libc::SYS_readv, readv, 3, move || {
        // SAFETY: one valid byte.
        unsafe { libc::write(write_end, c"y".as_ptr().cast(), 1) };
    });
    println!("read {byte}");
}

fn timers() {
    handle(libc::SIGALRM, 0, catch as *const () as usize);
    let time = libc::timeval { tv_sec: 0, tv_usec: 1000 };
    let timer = libc::itimerval { it_interval: time, it_value: time };
    // SAFETY: a valid timer.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, ptr::null_mut()) };
    for _ in 0..20 {
        assert_eq!(call(libc::SYS_pause, [0; 3]), -1);
        assert_eq!(errno(), libc::EINTR);
    }
    // SAFETY: an action of zeroes and no timer are valid.
    let off: libc::itimerval = unsafe { mem::zeroed() };
    // SAFETY: a valid timer.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const off, ptr::null_mut()) };
    println!("20 alarms came: {}", caught() >> 8 >= 20);
    // SAFETY: no pointers.
    let timer = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, 0) };
    let spec = libc::itimerspec {
        it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 },
        it_value: libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 },
    };
    let mut ticks = 0u64;
    // SAFETY: a valid timer, and room for a count.
    let read = unsafe {
        libc::timerfd_settime(timer, 0, &raw const spec, ptr::null_mut());
        libc::read(timer, (&raw mut ticks).cast(), 8)
    };
    println!("a timer gave {read} bytes, {ticks} tick");
}

fn child(work: impl FnOnce()) -> libc::pid_t {
    // SAFETY: the child ends without returning.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        work();
        // SAFETY: ends the child.
        unsafe { libc::_exit(0) };
    }
    pid
}

fn status(pid: libc::pid_t, flags: i32) -> String {
    let mut status = 0;
    // SAFETY: room for the status.
    let found = unsafe { libc::waitpid(pid, &raw mut status, flags) };
    format!("{} {status:#x}", found == pid)
}

fn kill(pid: libc::pid_t, signal: i32) {
    // SAFETY: our own child.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

fn statuses() {
    for code in [0, 1, 42, 255] {
        // SAFETY: ends the child.
        println!("exit {code}: {}", status(child(|| unsafe { libc::_exit(code) }), 0));
    }
    for signal in [libc::SIGTERM, libc::SIGKILL, libc::SIGUSR2] {
        let pid = child(|| {
            call(libc::SYS_pause, [0; 3]);
        });
        kill(pid, signal);
        println!("signal {signal}: {}", status(pid, 0));
    }
}

fn stopped_and_continued() {
    let pid = child(|| {
        let nap = libc::timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        for _ in 0..3 {
            let result = call(libc::SYS_nanosleep, [(&raw const nap) as usize, 0, 0]);
            // SAFETY: ends the child when a stop has shown itself.
            (result != 0).then(|| unsafe { libc::_exit(7) });
        }
        call(libc::SYS_pause, [0; 3]);
    });
    for _ in 0..5 {
        kill(pid, libc::SIGSTOP);
        let stopped = status(pid, libc::WUNTRACED);
        kill(pid, libc::SIGCONT);
        println!("stopped {stopped}, continued {}", status(pid, libc::WCONTINUED));
    }
    kill(pid, libc::SIGTERM);
    println!("ended {}", status(pid, 0));
}

/// The parent goes on only when the child is done.
fn vfork_waits() {
    let mut order = 0u64;
    let pid: i64;
    // SAFETY: the child writes one word, sleeps and ends; it does not return.
    unsafe {
        let nap = libc::timespec { tv_sec: 0, tv_nsec: 10_000_000 };
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "mov rdi, r12",
            "xor esi, esi",
            "mov eax, 35", // nanosleep
            "syscall",
            "add qword ptr [r13], 1",
            "mov edi, 3",
            "mov eax, 60", // exit
            "syscall",
            "2:",
            inout("rax") libc::SYS_vfork => pid,
            in("r12") &raw const nap, in("r13") &raw mut order,
            out("rcx") _, out("r11") _, out("rdi") _, out("rsi") _,
        );
    }
    println!(
        "vfork: the child had run {order} times, {}",
        status(i32::try_from(pid).expect("a pid"), 0)
    );
}

/// Each stop at a call of a child that this process traces, with number and result.
fn traced_by_another() {
    const GOOD: usize = 1;
    let pid = child(|| {
        // SAFETY: no pointers.
        unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
        // SAFETY: a signal to itself.
        unsafe { libc::raise(libc::SIGSTOP) };
        call(libc::SYS_close, [987_654, 0, 0]);
        call(libc::SYS_getpgid, [0x7fff_0000, 0, 0]);
        call(libc::SYS_getpgid, [GOOD, 0, 0]);
    });
    println!("ptrace: {}", status(pid, 0));
    // SAFETY: our own stopped child.
    unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, pid, 0, libc::PTRACE_O_TRACESYSGOOD) };
    loop {
        // SAFETY: as above.
        unsafe { libc::ptrace(libc::PTRACE_SYSCALL, pid, 0, 0) };
        let told = status(pid, 0);
        // SAFETY: registers of zeroes are valid.
        let mut regs: libc::user_regs_struct = unsafe { mem::zeroed() };
        // SAFETY: room for the registers.
        if unsafe { libc::ptrace(libc::PTRACE_GETREGS, pid, 0, &raw mut regs) } < 0 {
            println!("ptrace: {told}");
            return;
        }
        // Another tool's idea: what it tells a child of its calls, the child sees.
        if regs.orig_rax == libc::SYS_getpgid as u64 && regs.rdi == GOOD as u64 {
            regs.rax = if regs.rax.cast_signed() == -38 { regs.rax } else { 5 };
            // SAFETY: valid registers.
            unsafe { libc::ptrace(libc::PTRACE_SETREGS, pid, 0, &raw const regs) };
        }
        let own = [libc::SYS_close, libc::SYS_getpgid, libc::SYS_exit_group];
        if own.contains(&regs.orig_rax.cast_signed()) {
            println!("ptrace: {told} {} {}", regs.orig_rax, regs.rax.cast_signed());
        }
    }
}
