//! Registers with more bits than the kernel takes, and numbers of which it takes all.

use super::{Arg, address, call, hex, memory, named, num, string, wide, words};

/// Bits above those that the kernel takes of an `int`.
const ABOVE: u64 = 0xdead_beef_0000_0000;
/// A bit above them, where the kernel takes a whole register.
const HIGH: u64 = 1 << 40;

/// An `int`, with bits above it.
fn low(value: u32, text: &str) -> Arg {
    Arg(ABOVE | u64::from(value), text.to_owned())
}

/// A number of 64 bits.
fn whole(value: u64, text: &str) -> Arg {
    Arg(value, text.to_owned())
}

pub(super) fn registers() {
    longs();
    ints();
    modes();
    counts();
}

/// What the kernel takes as `unsigned long`: it refuses the bit that no flag has.
fn longs() {
    let unshare = |arg: Arg| call("unshare", libc::SYS_unshare, &[arg]);
    unshare(whole(HIGH | 0x200, "CLONE_FS|0x10000000000"));
    unshare(whole(HIGH, "0x10000000000 /* CLONE_??? */"));
    let rights = whole(HIGH | 1, "PKEY_DISABLE_ACCESS|0x10000000000");
    call("pkey_alloc", libc::SYS_pkey_alloc, &[hex(0), rights]);
    let flags = whole(HIGH | 1, "KEXEC_ARCH_DEFAULT|KEXEC_ON_CRASH|0x10000000000");
    call("kexec_load", libc::SYS_kexec_load, &[address(0), num(0), address(0), flags]);
    let flags = whole(HIGH | 4, "KEXEC_FILE_NO_INITRAMFS|0x10000000000");
    let args = [num(-1), num(-1), num(0), address(0), flags];
    call("kexec_file_load", libc::SYS_kexec_file_load, &args);
    let flags = whole(HIGH | 8, "PERF_FLAG_FD_CLOEXEC|0x10000000000");
    let args = [address(0), num(0), num(-1), num(-1), flags];
    call("perf_event_open", libc::SYS_perf_event_open, &args);
    let flags = whole(HIGH | 1, "MREMAP_MAYMOVE|0x10000000000");
    call("mremap", libc::SYS_mremap, &[address(0x1), num(4096), num(4096), flags]);
    let flags = whole(HIGH | 1, "MPOL_F_NODE|0x10000000000");
    let args = [address(0), address(0), num(0), address(0), flags];
    call("get_mempolicy", libc::SYS_get_mempolicy, &args);
    let request = whole(HIGH | 7, "0x10000000007 /* PTRACE_??? */");
    let args = [request, num(i64::from(i32::MAX)), address(0x1), hex(9)];
    call("ptrace", libc::SYS_ptrace, &args);
    let signal = whole(HIGH | 9, "1099511627785");
    let args = [named(7, "PTRACE_CONT"), num(i64::from(i32::MAX)), address(0x1), signal.clone()];
    call("ptrace", libc::SYS_ptrace, &args);
    call("prctl", libc::SYS_prctl, &[named(libc::PR_SET_PDEATHSIG, "PR_SET_PDEATHSIG"), signal]);
    let index = whole(HIGH | 1, "1099511627777");
    let args = [num(-1), num(-1), named(0, "KCMP_FILE"), index.clone(), index];
    call("kcmp", libc::SYS_kcmp, &args);
}

/// What the kernel takes as `unsigned int`: it refuses the lower bits.
fn ints() {
    let flags = low(5, "0x5");
    let rule = named(1, "LANDLOCK_RULE_PATH_BENEATH");
    let args = [low(u32::MAX, "-1"), rule, address(0), flags.clone()];
    call("landlock_add_rule", libc::SYS_landlock_add_rule, &args);
    call("pidfd_getfd", libc::SYS_pidfd_getfd, &[num(-1), num(0), flags.clone()]);
    let args = [num(-1), address(0), num(0), low(20, "MADV_COLD"), flags.clone()];
    call("process_madvise", libc::SYS_process_madvise, &args);
    call("process_mrelease", libc::SYS_process_mrelease, &[num(-1), flags.clone()]);
    let args = [address(0), num(0), flags.clone(), address(0), low(1, "CLOCK_MONOTONIC")];
    call("futex_waitv", libc::SYS_futex_waitv, &args);
    // The numbers are the same on every ABI here.
    const CACHESTAT: i64 = 451;
    const FUTEX_REQUEUE: i64 = 456;
    const STATMOUNT: i64 = 457;
    call("futex_requeue", FUTEX_REQUEUE, &[address(0), flags.clone(), num(0), num(0)]);
    call("cachestat", CACHESTAT, &[num(-1), address(0), address(0), flags.clone()]);
    call("statmount", STATMOUNT, &[address(0), address(0), num(0), flags]);
    let prctl = |option, name: &str, args: &[Arg]| {
        call("prctl", libc::SYS_prctl, &[&[named(option, name)], args].concat())
    };
    let core = [
        low(1, "PR_SCHED_CORE_CREATE"),
        low(u32::MAX, "-1"),
        low(1, "1 /* PIDTYPE_TGID */"),
        address(0x1),
    ];
    prctl(62, "PR_SCHED_CORE", &core);
    // The kernel of aarch64 does not look at the others.
    let rest = [hex(0), hex(0), hex(0)];
    prctl(26, "PR_SET_TSC", &[low(9, "0x9 /* PR_TSC_??? */")]);
    prctl(35, "PR_SET_MM", &[&[low(99, "0x63 /* PR_SET_MM_??? */")], &rest[..]].concat());
    call("close", libc::SYS_close, &[low(u32::MAX, "-1")]);
    // The prototype has an `unsigned long`, of which the function takes an `int`.
    let mode = low(2, "MPOL_BIND");
    let args = [address(0), num(0), mode, address(0), num(0), named(0, "0")];
    call("mbind", libc::SYS_mbind, &args);
}

/// `umode_t` has 16 bits; a device's number 32.
fn modes() {
    let folder = low(libc::AT_FDCWD.cast_unsigned(), "AT_FDCWD");
    let path = string("/does/not/exist");
    // As a program passes -32748 for it.
    let mode = low(0xffff_8014, "0100024");
    let file = low(0xffff_21a4, "S_IFCHR|0644");
    let device = low(0x803, "makedev(0x8, 0x3)");
    let args = [folder.clone(), path.clone(), mode.clone()];
    call("fchmodat", libc::SYS_fchmodat, &args);
    call("mkdirat", libc::SYS_mkdirat, &args);
    let flags = low(0o100, "O_RDONLY|O_CREAT");
    let args = [folder.clone(), path.clone(), flags, mode.clone()];
    call("openat", libc::SYS_openat, &args);
    call("mknodat", libc::SYS_mknodat, &[folder, path.clone(), file.clone(), device.clone()]);
    #[cfg(target_arch = "x86_64")]
    {
        call("chmod", libc::SYS_chmod, &[path.clone(), mode.clone()]);
        call("mkdir", libc::SYS_mkdir, &[path.clone(), mode.clone()]);
        call("creat", libc::SYS_creat, &[path.clone(), mode]);
        call("mknod", libc::SYS_mknod, &[path, file, device.clone()]);
        call("ustat", libc::SYS_ustat, &[device, address(0)]);
    }
}

/// How many descriptors there are is an `unsigned int`, the length of a mask a `size_t`.
fn counts() {
    let fds = memory(&words(&[u32::MAX, 0, u32::MAX, 0]), "[{fd=-1}, {fd=-1}]");
    let time = memory(&wide(&[0, 1_000_000_000]), "{tv_sec=0, tv_nsec=1000000000}");
    let args = [fds, low(2, "2"), time, address(0), num(8)];
    call("ppoll", libc::SYS_ppoll, &args);
}
