//! More edge cases, in the words of `edge.rs`.

use std::{
    mem, ptr,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    thread,
};

use crate::primitives::{call, expect, kinds, own_tid};

fn pid32(pid: i64) -> i32 {
    i32::try_from(pid).expect("a pid")
}

/// A 64-bit program executes a 32-bit one, and that a 64-bit one. Each call is named in its own
/// numbering: 200 is `getgid32` in the one and `tkill` in the other.
pub(crate) fn exec_between_widths() {
    use crate::elf::{self, Width};
    kinds("execve execv getgid32 tkill getppid exit_group");
    let wide = elf::in_memory(Width::Wide, elf::ONE_CALL);
    let mut code = vec![
        0xb8, 200, 0, 0, 0, 0xcd, 0x80, // mov eax, getgid32; int 0x80
        0x31, 0xc9, 0x31, 0xd2, // xor ecx, ecx; xor edx, edx
        0xbb, 0, 0, 0, 0, // mov ebx, the path
        0xb8, 11, 0, 0, 0, 0xcd, 0x80, // mov eax, execve; int 0x80
        0x0f, 0x0b, // ud2
    ];
    let path = 0x0804_8000 + 84 + u32::try_from(code.len()).expect("short");
    code[12..16].copy_from_slice(&path.to_le_bytes());
    code.extend(wide.as_bytes_with_nul());
    let narrow = elf::in_memory(Width::Narrow, &code);
    // SAFETY: has no preconditions.
    let (gid, parent) = unsafe { (libc::getgid(), libc::getppid()) };
    expect(
        own_tid(),
        &format!(
            "getppid={parent}/complete execve=0/complete getgid32={gid}/complete execve=0/complete \
             getppid={parent}/complete exit_group=?/enter_only"
        ),
    );
    let nothing = [ptr::null::<u8>()];
    let nothing = nothing.as_ptr() as usize;
    call(libc::SYS_execve, [narrow.as_ptr() as usize, nothing, nothing]);
    panic!("exec: {}", std::io::Error::last_os_error());
}

/// What another changes by ptrace: numbers before the entry is seen, results after the exit was.
pub(crate) fn changed_by_ptrace() {
    const PTRACE_SYSEMU: u32 = 31;
    kinds("getuid getgid syscall_0xffffffff getpgrp");
    let pid = call(libc::SYS_fork, [0; 3]);
    if pid == 0 {
        // SAFETY: no pointers.
        unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
        // SAFETY: a signal to itself.
        unsafe { libc::raise(libc::SIGSTOP) };
        for _ in 0..4 {
            call(libc::SYS_getuid, [0; 3]);
        }
        call(libc::SYS_getpgrp, [0; 3]);
        // SAFETY: ends the child.
        unsafe { libc::_exit(0) };
    }
    let child = pid32(pid);
    let wait = || {
        let mut status = 0;
        // SAFETY: room for the status.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert!(libc::WIFSTOPPED(status), "{status:#x}");
    };
    let resume = |request: u32| {
        // SAFETY: our own stopped child.
        assert_eq!(unsafe { libc::ptrace(request, child, 0, 0) }, 0);
        wait();
    };
    let change = |change: &dyn Fn(&mut libc::user_regs_struct)| {
        // SAFETY: registers of zeroes are valid.
        let mut regs: libc::user_regs_struct = unsafe { mem::zeroed() };
        // SAFETY: room for the registers.
        unsafe { libc::ptrace(libc::PTRACE_GETREGS, child, 0, &raw mut regs) };
        change(&mut regs);
        // SAFETY: valid registers.
        unsafe { libc::ptrace(libc::PTRACE_SETREGS, child, 0, &raw const regs) };
    };
    // To the next stop at a `getuid`, which is its entry.
    let to_entry = |request: u32| {
        let number = std::cell::Cell::new(0);
        while number.get() != libc::SYS_getuid as u64 {
            resume(request);
            change(&|regs| number.set(regs.orig_rax));
        }
    };
    wait();
    // Another number: the call that is made.
    to_entry(libc::PTRACE_SYSCALL);
    change(&|regs| regs.orig_rax = libc::SYS_getgid as u64);
    resume(libc::PTRACE_SYSCALL);
    // No call at all, with a result of the other's.
    to_entry(libc::PTRACE_SYSCALL);
    change(&|regs| {
        regs.orig_rax = u64::MAX;
        regs.rax = 7;
    });
    resume(libc::PTRACE_SYSCALL);
    // Another result: the program's own, the kernel had the first one.
    to_entry(libc::PTRACE_SYSCALL);
    resume(libc::PTRACE_SYSCALL);
    change(&|regs| regs.rax = 9);
    // Emulation: the entry is seen by the other only.
    to_entry(PTRACE_SYSEMU);
    change(&|regs| regs.rax = 11);
    // SAFETY: our own stopped child.
    unsafe { libc::ptrace(libc::PTRACE_DETACH, child, 0, 0) };
    // SAFETY: no status is wanted.
    unsafe { libc::waitpid(child, ptr::null_mut(), 0) };
    // SAFETY: has no preconditions.
    let (uid, gid, group) = unsafe { (libc::getuid(), libc::getgid(), libc::getpgrp()) };
    expect(
        pid,
        &format!(
            "getgid={gid}/complete syscall_0xffffffff=7/complete getuid={uid}/complete \
             getuid=11/exit_only getpgrp={group}/complete"
        ),
    );
    // What this thread has just asked.
    expect(
        own_tid(),
        &format!("getuid={uid}/complete getgid={gid}/complete getpgrp={group}/complete"),
    );
}

/// `struct clone_args`, clone(2).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

fn clone3(args: &CloneArgs) -> i64 {
    call(libc::SYS_clone3, [ptr::from_ref(args) as usize, mem::size_of::<CloneArgs>(), 0])
}

fn wait_for(pid: i64) {
    // SAFETY: no status is wanted.
    assert_eq!(i64::from(unsafe { libc::waitpid(pid32(pid), ptr::null_mut(), 0) }), pid);
}

/// Processes one after the other with the same id; every other one is killed inside a call.
pub(crate) fn same_id(rounds: u64) {
    kinds("getpgid pause");
    // One that was free a moment ago.
    let free = call(libc::SYS_fork, [0; 3]);
    if free == 0 {
        call(libc::SYS_exit_group, [0; 3]);
    }
    wait_for(free);
    let id = pid32(free);
    for round in 0..rounds {
        let args = CloneArgs {
            exit_signal: libc::SIGCHLD.cast_unsigned().into(),
            set_tid: &raw const id as u64,
            set_tid_size: 1,
            ..CloneArgs::default()
        };
        let pid = clone3(&args);
        if pid == 0 {
            call(libc::SYS_getpgid, [0x7fff_0000, 0, 0]);
            if round % 2 == 1 {
                call(libc::SYS_pause, [0; 3]);
            }
            call(libc::SYS_exit_group, [0; 3]);
        }
        assert_eq!(pid, free, "{}", std::io::Error::last_os_error());
        if round % 2 == 1 {
            let path = format!("/proc/{pid}/syscall");
            let start = format!("{} ", libc::SYS_pause);
            while !std::fs::read_to_string(&path).is_ok_and(|text| text.starts_with(&start)) {
                thread::yield_now();
            }
            // SAFETY: our own child.
            unsafe { libc::kill(id, libc::SIGKILL) };
            expect(pid, "getpgid=ESRCH/complete pause=ERESTARTNOHAND/complete");
        } else {
            expect(pid, "getpgid=ESRCH/complete");
        }
        wait_for(pid);
    }
}

/// A child born into another cgroup than its parent's, which makes `count` calls.
pub(crate) fn into_cgroup(folder: &str, count: u64) {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    let folder = std::fs::File::open(folder).expect("the cgroup");
    let fd = std::os::fd::AsRawFd::as_raw_fd(&folder);
    let args = CloneArgs {
        flags: CLONE_INTO_CGROUP,
        exit_signal: libc::SIGCHLD.cast_unsigned().into(),
        cgroup: u64::from(fd.cast_unsigned()),
        ..CloneArgs::default()
    };
    let pid = clone3(&args);
    assert!(pid >= 0, "{}", std::io::Error::last_os_error());
    for _ in 0..count {
        call(libc::SYS_getppid, [0; 3]);
    }
    if pid == 0 {
        call(libc::SYS_exit_group, [0; 3]);
    }
    wait_for(pid);
}

/// Two threads that take turns: a call of the one, then a call of the other.
pub(crate) fn turns(count: u64) {
    static TURN: AtomicU64 = AtomicU64::new(0);
    let play = move |first: u64| {
        for turn in (first..2 * count).step_by(2) {
            while TURN.load(SeqCst) != turn {
                thread::yield_now();
            }
            call(libc::SYS_getppid, [0; 3]);
            TURN.store(turn + 1, SeqCst);
        }
    };
    let other = thread::Builder::new().spawn(move || play(1)).expect("a thread");
    play(0);
    other.join().expect("its end");
}

pub(crate) const PAGE: usize = 4096;

/// A descriptor of userfaultfd(2), and its requests.
pub(crate) struct Faults(i32);

impl Faults {
    pub(crate) fn new() -> Self {
        const UFFDIO_API: u64 = 0xc018_aa3f;
        const API: u64 = 0xaa;
        // SAFETY: no pointers.
        let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, 0) };
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        let faults = Self(pid32(fd));
        faults.control(UFFDIO_API, &mut [API, 0, 0]);
        faults
    }

    fn control(&self, request: u64, words: &mut [u64]) {
        // SAFETY: room for what the request reads and writes.
        let done = unsafe { libc::ioctl(self.0, request, words.as_mut_ptr()) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    }

    /// Has whoever touches these pages wait while they are missing.
    fn register(&self, start: u64, len: usize) {
        const UFFDIO_REGISTER: u64 = 0xc020_aa00;
        const MODE_MISSING: u64 = 1;
        self.control(UFFDIO_REGISTER, &mut [start, len as u64, MODE_MISSING, 0]);
    }

    /// A page that is missing.
    pub(crate) fn page(&self) -> u64 {
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping.
        let page = unsafe { libc::mmap(ptr::null_mut(), PAGE, protection, flags, -1, 0) } as u64;
        self.register(page, PAGE);
        page
    }

    /// Waits until somebody waits for a page.
    pub(crate) fn wait(&self) {
        let mut message = [0u8; 32];
        // SAFETY: room for a message.
        assert_eq!(unsafe { libc::read(self.0, message.as_mut_ptr().cast(), 32) }, 32);
    }

    /// Gives the page that is waited for, which begins with `bytes`.
    pub(crate) fn give(&self, page: u64, bytes: &[u8]) {
        const UFFDIO_COPY: u64 = 0xc028_aa03;
        let mut content = vec![0u8; PAGE];
        content[..bytes.len()].copy_from_slice(bytes);
        self.control(UFFDIO_COPY, &mut [page, content.as_ptr() as u64, PAGE as u64, 0, 0]);
    }
}

/// Opens a path on a page that is not there until another thread, asked by the kernel for it, has
/// seen the opener wait.
pub(crate) fn open_on_demand() {
    let faults = Faults::new();
    let page = faults.page();
    let give = move || {
        faults.wait();
        faults.give(page, b"/on/demand");
    };
    let giver = thread::Builder::new().spawn(give).expect("a thread");
    // SAFETY: the page will hold a string.
    let opened = unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, page, 0, 0) };
    assert_eq!(opened, -1);
    giver.join().expect("its end");
}

/// Takes away the page of its stack where its command line begins, and has whoever looks there wait
/// for ever; then waits to be told to end.
pub(crate) fn hidden_command_line() {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("proc(5)");
    // Behind the name, which is in parentheses, the fields go on from the third.
    let fields: Vec<&str> = stat.rsplit(") ").next().expect("fields").split(' ').collect();
    let arg_start: u64 = fields[48 - 3].parse().expect("an address");
    let page = arg_start & !(PAGE as u64 - 1);
    Faults::new().register(page, PAGE);
    let mut byte = 0u8;
    // SAFETY: the page is one of the stack that is used no more: this thread's own frames are below
    // it. There is room for a byte.
    unsafe {
        assert_eq!(libc::syscall(libc::SYS_madvise, page, PAGE, libc::MADV_DONTNEED), 0);
        while libc::syscall(libc::SYS_read, 0, &raw mut byte, 1) > 0 {}
        libc::_exit(0);
    }
}
