//! Every family of decoders, against a program that makes the calls and says itself how each reads:
//! odd values, ends of pages, bad pointers, every bit.

use tracer_user::pipeline::TraceOptions;

use crate::{memory::text, support::trace_speaking_workload};

/// Traces the program with one family; every line of its output stands among the calls, in its
/// order.
#[track_caller]
fn describe(family: &str) {
    let (spans, expected, _) =
        trace_speaking_workload(&["describe", family], TraceOptions::default());
    let seen = text(&spans);
    let mut rest = &seen[..];
    let mut missing = Vec::new();
    for line in expected.lines() {
        match rest.iter().position(|it| it == line) {
            Some(at) => rest = &rest[at + 1..],
            None => missing.push(format!("  expected {line}\n  instead  {}", alike(line, rest))),
        }
    }
    let count = expected.lines().count();
    assert!(count >= 5, "the program said {count} lines");
    assert!(missing.is_empty(), "{} of {count}:\n{}", missing.len(), missing.join("\n"));
}

/// The next call of the same name.
fn alike<'a>(line: &str, seen: &'a [String]) -> &'a str {
    let name = line.split('(').next();
    seen.iter().find(|it| it.split('(').next() == name).map_or("none", String::as_str)
}

/// What each is about stands in `docs/decoding.md`, which `cargo xtask codegen` makes of this list.
macro_rules! families {
    ($($(#[$meta:meta])* $name:ident: $family:literal, $what:literal)*) => {
        $($(#[$meta])* #[test] fn $name() { describe($family); })*
    };
}

families! {
    addresses_of_sockets: "sockaddr", "`sockaddr` of inet, inet6, unix, netlink, packet and vsock"
    options_of_sockets: "socket-options", "options of sockets: numbers, times, `linger`, `ucred`"
    messages: "msghdr", "`msghdr` with name, `iovec` and control messages; flags of messages"
    stat_and_statx: "stat", "`stat`, `statx`, file modes, devices"
    statfs: "statfs", "`statfs`"
    open_and_open_how: "open", "flags of `open`, `open_how`"
    mounts: "mount", "`mount`, the mount API, `mount_attr`"
    mappings: "mappings", "`mmap`, `mprotect`, `madvise`, `msync`"
    epoll: "epoll", "`epoll_event`"
    poll: "poll", "`pollfd`, sets of signals"
    fcntl_and_flock: "fcntl", "`fcntl`, `flock`, `f_owner_ex`, seals"
    ioctl: "ioctl", "`ioctl` of terminals, sockets, pipes and block devices"
    iovec: "iovec", "`iovec`"
    limits_and_use: "limits", "`rlimit`, `rusage`"
    utsname_and_sysinfo: "system", "`utsname`, `sysinfo`"
    clone_args: "clone", "`clone_args`, `unshare`"
    wait: "wait", "wait status, `siginfo` of `waitid`"
    scheduling: "scheduling", "`sched_attr`, `sched_param`, sets of CPUs"
    prctl: "prctl", "`prctl`"
    ptrace: "ptrace", "`ptrace`"
    capabilities: "capabilities", "capabilities"
    times: "time", "`timespec`, `timeval`, their intervals, dates of files"
    signals: "signals", "`sigaction`, `sigset`, `sigaltstack`"
    futex: "futex", "operations of `futex`"
    bpf: "bpf", "`bpf`"
    io_uring: "io-uring", "`io_uring_setup`, `io_uring_enter`"
    keys: "keyctl", "`keyctl`, `add_key`, `request_key`"
    seccomp: "seccomp", "`seccomp`"
    landlock: "landlock", "`landlock`"
    system_v: "ipc", "System V IPC"
    nodes_and_pages: "nodes", "sets of nodes, `move_pages`, `kexec_load`, `reboot`"
    widths: "widths", "registers with more bits than the kernel takes"
    #[cfg(target_arch = "x86_64")]
    calls_of_i386: "i386", "i386: `socketcall`, `ipc`, arguments in memory, ids of 16 bits, errors"
}
