//! A program with known syscalls, for the kernel tests to trace.
//!
//! Waits for a line on standard input, then does what its arguments say and ends.
#![expect(
    clippy::print_stdout,
    clippy::cast_sign_loss,
    clippy::expect_used,
    clippy::panic,
    clippy::multiple_unsafe_ops_per_block,
    reason = "a test program: it makes raw system calls, and fails loudly"
)]

// Made of calls and instructions of this one.
mod descriptors;
#[cfg(target_arch = "x86_64")]
mod edge;
mod elf;
mod families;
mod fuse;
mod hung;
mod lives;
mod makers;
mod memory;
#[cfg(target_arch = "x86_64")]
mod more;
#[cfg(target_arch = "x86_64")]
mod observer;
mod predictable;
mod primitives;
mod puppet;
#[cfg(target_arch = "x86_64")]
mod raw;
mod tree;
mod truth;
mod unwritten;
mod uring;

use std::{
    env,
    ffi::CString,
    io::{self, BufRead},
    os::unix::process::CommandExt,
    process::{self, Command},
    ptr, thread,
};

fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    if let [_, "sleepers", count] = words.as_slice() {
        return sleepers(number(count));
    }
    // A script's interpreter is given what stands in the script, and the script's path.
    if let ["now", _, "ask-script"] = words.as_slice() {
        return makers::ask();
    }
    if words.first() != Some(&"now") {
        io::stdin().lock().read_line(&mut String::new()).expect("a line to start");
    }
    match words.as_slice() {
        [_, "calls", count] => calls(number(count)),
        [_, "processes", processes, count] => processes_calling(number(processes), number(count)),
        [_, "family", count] => family(number(count)),
        [_, "chain", count] => chain(number(count)),
        [_, "fail", count] => fail(number(count)),
        [_, "nap", millis] => nap(number(millis)),
        #[cfg(target_arch = "x86_64")]
        [_, "edge", case] => edge::run(case),
        [_, "memory", case] => memory::run(case),
        [_, "describe", name] => families::run(name),
        #[cfg(target_arch = "x86_64")]
        [_, "raw"] => raw::run(),
        [_, "uring", rounds] => uring::do_nothing(number(rounds)),
        [_, "kernel-threads", count] => uring::kernel_threads(number(count)),
        [_, "first-thread-leaves", count] => lives::first_thread_leaves(number(count)),
        [_, "all-at-once", threads] => lives::all_at_once(number(threads)),
        [_, "lives", count] => lives(number(count)),
        [_, "born-and-executed", count] => lives::born_and_executed(number(count)),
        [_, "predictable", run @ ..] => predictable_run(run).first(),
        [_, "predictable-rest", run @ .., lane] => predictable_run(run).rest(number(lane)),
        #[cfg(target_arch = "x86_64")]
        [_, "observe"] => observer::observe(),
        [_, "puppet", folder, "0"] => puppet::Puppet::new(folder, 0).first(),
        [_, "puppet-again", folder, id] => puppet::Puppet::new(folder, number(id)).again(),
        #[cfg(target_arch = "x86_64")]
        [_, "same-id", rounds] => more::same_id(number(rounds)),
        #[cfg(target_arch = "x86_64")]
        [_, "into-cgroup", folder, count] => more::into_cgroup(folder, number(count)),
        #[cfg(target_arch = "x86_64")]
        [_, "turns", count] => more::turns(number(count)),
        #[cfg(target_arch = "x86_64")]
        [_, "open-on-demand"] => more::open_on_demand(),
        [_, "hidden-command-line"] => more::hidden_command_line(),
        [_, "taken-over", rounds] => lives::taken_over(number(rounds)),
        [_, "ask", ..] => makers::ask(),
        [_, "users", rounds] => makers::users(number(rounds)),
        [_, "workers", count] => makers::workers(number(count)),
        [_, "programs", folder] => makers::programs(folder),
        [_, "delete-and-ask", path] => makers::delete_and_ask(path),
        [_, "literals", count] => makers::literals(number(count)),
        [_, "arguments", lengths @ ..] => makers::arguments(lengths),
        [_, "tree"] => tree::tree(),
        [_, "leaf", name, count] => tree::leaf(name, number(count)),
        [_, "hang"] => hang(),
        [_, "accept"] => accept(),
        [_, "serve-files", folder] => fuse::serve(folder),
        [_, "hung-callers", folder] => hung::callers(folder),
        [_, "hung-beside", folder, other, rounds] => hung::beside(folder, other, number(rounds)),
        [_, "hung-arguments", folder] => hung::arguments(folder),
        [_, "fault"] => fault(),
        [_, "open", path] => open(path),
        [_, "open-every-byte"] => open_every_byte(),
        [_, "pace"] => pace(),
        [_, "calls-in-tens", tens] => calls_in_tens(number(tens)),
        [_, "open-cold", file] => open_cold(file),
        [_, "open-cold-pages", file, count] => open_cold_pages(file, number(count)),
        [_, "descriptors", folder, threads, steps] => {
            descriptors::run(folder, number(threads), number(steps));
        }
        [_, "descriptors-left"] => descriptors::left(),
        [_, "open-address", address] => open_address(number(address)),
        [_, "rename", from, to] => rename(from, to),
        [_, "open-page-end", length] => open_page_end(number(length)),
        [_, "open-flipping", count] => open_flipping(number(count)),
        [_, "clock", count] => clock(number(count)),
        [_, "rename-cold", from, file] => rename_cold(from, file),
        [_, "signals", count] => signals(number(count)),
        [_, "execveat", count] => execveat(count),
        [_, "short-children", millis] => short_children(number(millis)),
        [_, "big", megabytes, status] => big(number(megabytes), number(status)),
        [_, "truth", folder] => truth::run(folder),
        [_, "truth-given", name, index, paths @ ..] => truth::given(name, number(index), paths),
        [_, "truth-numbers", name, index, fds @ ..] => truth::numbers(name, number(index), fds),
        [_, "number-race", folder, count] => truth::number_race(folder, number(count)),
        [_, "between", folder] => truth::between(folder),
        [_, "rename-race", folder, count] => truth::rename_race(folder, number(count)),
        _ => panic!("unknown workload {words:?}"),
    }
}

fn number(text: &str) -> u64 {
    text.parse().expect("a number")
}

fn predictable_run(words: &[&str]) -> predictable::Run {
    let [seed, threads, calls] = words else { panic!("a run has three numbers") };
    predictable::Run { seed: number(seed), threads: number(threads), calls: number(calls) }
}

/// Makes `count` calls of `getppid`, which always succeeds.
fn calls(count: u64) {
    for _ in 0..count {
        // SAFETY: has no preconditions.
        unsafe { libc::syscall(libc::SYS_getppid) };
    }
}

/// Accepts one connection to the socket that is its standard input.
fn accept() {
    // SAFETY: null pointers say that the address is not wanted, accept(2).
    let accepted = unsafe { libc::accept4(0, ptr::null_mut(), ptr::null_mut(), 0) };
    assert!(accepted >= 0, "accept4: {}", io::Error::last_os_error());
}

/// Reads where no memory is, at address 16, which ends it.
fn fault() {
    let nowhere = ptr::without_provenance::<u64>(16);
    // SAFETY: it is not: that is the point.
    unsafe { nowhere.read_volatile() };
}

/// Forks, and runs `work` in the child.
fn child(work: impl FnOnce()) -> libc::pid_t {
    // SAFETY: the child makes system calls only and ends without returning.
    match unsafe { libc::fork() } {
        0 => {
            work();
            // SAFETY: ends the child without its parent's destructors.
            unsafe { libc::_exit(0) }
        }
        -1 => panic!("fork: {}", io::Error::last_os_error()),
        pid => pid,
    }
}

fn wait_for(pid: libc::pid_t) {
    // SAFETY: no status is wanted.
    assert_eq!(unsafe { libc::waitpid(pid, ptr::null_mut(), 0) }, pid);
}

fn processes_calling(processes: u64, count: u64) {
    let pids: Vec<_> = (0..processes).map(|_| child(|| calls(count))).collect();
    pids.into_iter().for_each(wait_for);
}

/// A thread, a child, and a grandchild that outlives its parent: `count` calls each.
fn family(count: u64) {
    let thread = thread::Builder::new()
        .name("family-thread".into())
        .spawn(move || calls(count))
        .expect("a thread");
    let pid = child(|| {
        calls(count);
        child(|| calls(count));
    });
    thread.join().expect("the thread");
    wait_for(pid);
    calls(count);
}

/// Replaces itself by a new program that makes the calls.
fn chain(count: u64) {
    let error = Command::new(env::current_exe().expect("own path"))
        .args(["now", "calls", &count.to_string()])
        .exec();
    panic!("exec: {error}");
}

/// `close` of a descriptor that is not open fails with `EBADF`; every other call succeeds.
fn fail(count: u64) {
    for _ in 0..count {
        // SAFETY: no memory is involved.
        unsafe {
            libc::syscall(libc::SYS_close, 987_654);
            libc::syscall(libc::SYS_getppid);
        }
    }
}

/// Threads that wait for one another's word, which comes with a line on standard input. Signals
/// wake them, and they wait again.
fn sleepers(count: u64) {
    use std::sync::atomic::{AtomicU32, Ordering};
    static GO: AtomicU32 = AtomicU32::new(0);
    let handler = ignore as extern "C" fn(libc::c_int);
    // SAFETY: the handler does nothing.
    unsafe { libc::signal(libc::SIGUSR1, handler as libc::sighandler_t) };
    let wait = || {
        while GO.load(Ordering::SeqCst) == 0 {
            // SAFETY: a valid word; sleeps while it is 0.
            unsafe { libc::syscall(libc::SYS_futex, GO.as_ptr(), libc::FUTEX_WAIT, 0, 0, 0, 0) };
        }
    };
    let threads: Vec<_> =
        (0..count).map(|_| thread::Builder::new().spawn(wait).expect("a thread")).collect();
    io::stdin().lock().read_line(&mut String::new()).expect("a line to go");
    GO.store(1, Ordering::SeqCst);
    // SAFETY: a valid word; wakes all who sleep on it.
    unsafe { libc::syscall(libc::SYS_futex, GO.as_ptr(), libc::FUTEX_WAKE, i32::MAX, 0, 0, 0) };
    for thread in threads {
        thread.join().expect("the thread");
    }
}

/// Children that make one call each, one after the other.
fn lives(count: u64) {
    for _ in 0..count {
        wait_for(child(|| calls(1)));
    }
}

/// One sleep, and some calls that take no time.
fn nap(millis: u64) {
    calls(10);
    thread::sleep(std::time::Duration::from_millis(millis));
    calls(10);
}

fn hang() {
    // SAFETY: waits for a signal.
    unsafe { libc::pause() };
}

/// Opens a file whose name has every byte that a name can have.
fn open_every_byte() {
    let path = CString::new((1..=u8::MAX).collect::<Vec<_>>()).expect("no zero byte");
    // SAFETY: a valid string.
    unsafe { libc::open(path.as_ptr(), libc::O_RDONLY) };
}

/// Some thousand calls a second until it is killed, or its parent ends.
fn pace() {
    let parent = std::os::unix::process::parent_id();
    while std::os::unix::process::parent_id() == parent {
        calls(10);
        thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// Calls in tens, with a pause after each: so that few of them keep a processor busy for long.
fn calls_in_tens(tens: u64) {
    for _ in 0..tens {
        calls(10);
        thread::sleep(std::time::Duration::from_millis(1));
    }
}

fn open(path: &str) {
    let path = CString::new(path).expect("no zero byte");
    // SAFETY: a valid string.
    unsafe { libc::open(path.as_ptr(), libc::O_RDONLY) };
}

/// The bytes of `file`, mapped and never touched: the kernel has to read them in.
fn cold_page(file: &str) -> *mut libc::c_void {
    let file = CString::new(file).expect("no zero byte");
    // SAFETY: a new private mapping of a file.
    unsafe {
        let fd = libc::open(file.as_ptr(), libc::O_RDONLY);
        assert!(fd >= 0);
        let page = libc::mmap(ptr::null_mut(), 8192, libc::PROT_READ, libc::MAP_PRIVATE, fd, 0);
        assert_ne!(page, libc::MAP_FAILED);
        libc::madvise(page, 8192, libc::MADV_DONTNEED);
        page
    }
}

/// Opens the path that `file` holds, from a page that was never touched.
fn open_cold(file: &str) {
    let page = cold_page(file);
    // SAFETY: the page holds a string.
    unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, page, libc::O_RDONLY, 0) };
}

/// Opens the paths at the beginning of every sixteenth page of `file`: so far from each other that
/// no page was mapped along with the one before.
fn open_cold_pages(file: &str, count: u64) {
    let file = std::fs::File::open(file).expect("the file");
    let len = usize::try_from(file.metadata().expect("its size").len()).expect("a size");
    let fd = std::os::fd::AsRawFd::as_raw_fd(&file);
    // SAFETY: a new mapping.
    let pages =
        unsafe { libc::mmap(ptr::null_mut(), len, libc::PROT_READ, libc::MAP_PRIVATE, fd, 0) };
    assert_ne!(pages, libc::MAP_FAILED);
    // SAFETY: the whole of it.
    unsafe { libc::madvise(pages, len, libc::MADV_RANDOM) };
    for number in 0..usize::try_from(count).expect("small") {
        let page = pages.wrapping_byte_add(number * 16 * 4096);
        // SAFETY: the page holds a string.
        unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, page, libc::O_RDONLY, 0) };
    }
}

/// Renames to the path that `file` holds, from a page that was never touched.
fn rename_cold(from: &str, file: &str) {
    let from = CString::new(from).expect("no zero byte");
    let page = cold_page(file);
    // SAFETY: the page holds a string.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        libc::syscall(libc::SYS_rename, from.as_ptr(), page)
    };
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        libc::syscall(libc::SYS_renameat, libc::AT_FDCWD, from.as_ptr(), libc::AT_FDCWD, page)
    };
}

extern "C" fn ignore(_signal: libc::c_int) {}

/// Each signal is handled, and its handler returns by `rt_sigreturn`.
fn signals(count: u64) {
    let handler = ignore as extern "C" fn(libc::c_int);
    // SAFETY: the handler does nothing.
    unsafe { libc::signal(libc::SIGUSR2, handler as libc::sighandler_t) };
    for _ in 0..count {
        // SAFETY: a signal with a handler.
        unsafe { libc::raise(libc::SIGUSR2) };
    }
}

/// Replaces itself by way of `execveat`.
fn execveat(count: &str) {
    let path = env::current_exe().expect("own path").into_os_string().into_encoded_bytes();
    let path = CString::new(path).expect("no zero byte");
    let count = CString::new(count).expect("no zero byte");
    let words = [c"workload", c"now", c"calls", count.as_c_str()].map(std::ffi::CStr::as_ptr);
    let words = [words[0], words[1], words[2], words[3], ptr::null()];
    let nothing = [ptr::null::<libc::c_char>()];
    let (argv, envp) = (words.as_ptr(), nothing.as_ptr());
    // SAFETY: valid strings and arrays that end with null.
    unsafe { libc::syscall(libc::SYS_execveat, libc::AT_FDCWD, path.as_ptr(), argv, envp, 0) };
    panic!("execveat: {}", io::Error::last_os_error());
}

/// For this long, children are born that sleep a little and end.
fn short_children(millis: u64) {
    let nap = || {
        // SAFETY: sleeps.
        unsafe { libc::usleep(2000) };
    };
    let until = std::time::Instant::now() + std::time::Duration::from_millis(millis);
    while std::time::Instant::now() < until {
        let pids: Vec<_> = (0..8).map(|_| child(nap)).collect();
        pids.into_iter().for_each(wait_for);
    }
}

/// Ends with much memory to give back, and this status.
fn big(megabytes: u64, status: u64) {
    let len = usize::try_from(megabytes << 20).expect("a size");
    let memory = vec![1u8; len];
    std::hint::black_box(&memory);
    // SAFETY: ends the process with the memory still mapped.
    unsafe { libc::_exit(i32::try_from(status).expect("a status")) };
}

/// Opens a path whose end is the end of a page, with nothing mapped behind it.
fn open_page_end(length: u64) {
    let length = usize::try_from(length).expect("a length");
    // SAFETY: three new pages, of which the last is taken away; the path fills the end of the
    // second.
    unsafe {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let pages = libc::mmap(ptr::null_mut(), 3 * 4096, protection, flags, -1, 0).cast::<u8>();
        assert_ne!(pages.cast(), libc::MAP_FAILED);
        assert_eq!(libc::munmap(pages.add(2 * 4096).cast(), 4096), 0);
        let path = pages.add(2 * 4096 - length - 1);
        path.write_bytes(b'x', length);
        path.write(b'/');
        libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, libc::O_RDONLY, 0);
    }
}

/// Opens a path that another thread rewrites all the time.
fn open_flipping(count: u64) {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    static PATH: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
    static STOP: AtomicBool = AtomicBool::new(false);
    let texts = [*b"/aaaaaa", *b"/bbbbbb"].map(|text| {
        let mut word = [0; 8];
        word[..7].copy_from_slice(&text);
        u64::from_ne_bytes(word)
    });
    PATH[0].store(texts[0], Ordering::SeqCst);
    let flip = move || {
        for text in texts.into_iter().cycle() {
            PATH[0].store(text, Ordering::Relaxed);
            if STOP.load(Ordering::Relaxed) {
                break;
            }
        }
    };
    let thread = thread::Builder::new().spawn(flip).expect("a thread");
    for _ in 0..count {
        // SAFETY: the second word ends the string.
        unsafe {
            libc::syscall(libc::SYS_openat, libc::AT_FDCWD, PATH.as_ptr(), libc::O_RDONLY, 0)
        };
    }
    STOP.store(true, Ordering::Relaxed);
    thread.join().expect("the thread");
}

/// Prints wall time before and after each of `count` calls, in nanoseconds.
#[expect(clippy::print_stdout, reason = "that is its purpose")]
fn clock(count: u64) {
    let now = || {
        let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        time.expect("after 1970").as_nanos()
    };
    let times: Vec<_> = (0..count)
        .map(|_| {
            let before = now();
            calls(1);
            (before, now())
        })
        .collect();
    for (before, after) in times {
        println!("{before} {after}");
    }
}

/// Opens a "path" at an address.
fn open_address(address: u64) {
    // SAFETY: the kernel refuses the address.
    let ret = unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, address, 0, 0) };
    assert_eq!(ret, -1);
    process::exit(0);
}

fn rename(from: &str, to: &str) {
    let (from, to) = (CString::new(from).expect("text"), CString::new(to).expect("text"));
    // SAFETY: valid strings.
    unsafe { libc::rename(from.as_ptr(), to.as_ptr()) };
}
