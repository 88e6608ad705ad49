//! Processes: what they may use, what they are, how they begin and end.

use super::{
    Arg, address, call, every_bit, everywhere, flags, hex, memory, named, num, quietly, read, say,
    wide, words,
};

/// Limits of every resource, and odd values for one.
pub(super) fn limits() {
    let resources = [
        "CPU",
        "FSIZE",
        "DATA",
        "STACK",
        "CORE",
        "RSS",
        "NPROC",
        "NOFILE",
        "MEMLOCK",
        "AS",
        "LOCKS",
        "SIGPENDING",
        "MSGQUEUE",
        "NICE",
        "RTPRIO",
        "RTTIME",
    ];
    for (number, name) in (0_i64..).zip(resources) {
        let room = memory(&[0; 16], "");
        let ret = quietly(libc::SYS_prlimit64, &[num(0), num(number), num(0), room.clone()]);
        let [soft, hard]: [u64; 2] = read(&room);
        let text = format!("{{rlim_cur={}, rlim_max={}}}", limit(soft), limit(hard));
        let args =
            [num(0), named(number, &format!("RLIMIT_{name}")), address(0), Arg(room.0, text)];
        say("prlimit64", &args, ret);
    }
    let odd = [0, 1, 1023, 1024, 1025, 2048, 1 << 40, u64::MAX - 1, u64::MAX];
    for soft in odd {
        // The soft limit is above the hard one, or both are: the process is none.
        let text = format!("{{rlim_cur={}, rlim_max=7}}", limit(soft));
        let args =
            [num(i64::from(i32::MAX)), named(libc::RLIMIT_CORE, "RLIMIT_CORE"), num(0), address(0)];
        everywhere("prlimit64", libc::SYS_prlimit64, &args, 2, &wide(&[soft, 7]), &text);
    }
    let room = memory(&[0; 144], "");
    let ret = quietly(libc::SYS_getrusage, &[num(0), room.clone()]);
    let [a, b, c, d]: [i64; 4] = read(&room);
    let text = format!(
        "{{ru_utime={{tv_sec={a}, tv_usec={b}}}, ru_stime={{tv_sec={c}, tv_usec={d}}}, ...}}"
    );
    say("getrusage", &[named(0, "RUSAGE_SELF"), Arg(room.0, text)], ret);
}

fn limit(value: u64) -> String {
    match value {
        u64::MAX => "RLIM64_INFINITY".to_owned(),
        1025.. if value.is_multiple_of(1024) => format!("{}*1024", value / 1024),
        _ => value.to_string(),
    }
}

/// What the system says of itself.
pub(super) fn system() {
    let room = memory(&[0; 390], "");
    let ret = quietly(libc::SYS_uname, std::slice::from_ref(&room));
    let names: [[u8; 65]; 6] = read(&room);
    let name = |at: usize| {
        let end = names[at].iter().position(|byte| *byte == 0).expect("a zero");
        String::from_utf8(names[at][..end].to_vec()).expect("text")
    };
    let text = format!("{{sysname=\"{}\", nodename=\"{}\", ...}}", name(0), name(1));
    say("uname", &[Arg(room.0, text)], ret);
    let room = memory(&[0; 112], "");
    let ret = quietly(libc::SYS_sysinfo, std::slice::from_ref(&room));
    let it: libc::sysinfo = read(&room);
    let [one, five, fifteen] = it.loads;
    let text = format!(
        "{{uptime={}, loads=[{one}, {five}, {fifteen}], totalram={}, freeram={}, sharedram={}, bufferram={}, \
         totalswap={}, freeswap={}, procs={}, totalhigh={}, freehigh={}, mem_unit={}}}",
        it.uptime,
        it.totalram,
        it.freeram,
        it.sharedram,
        it.bufferram,
        it.totalswap,
        it.freeswap,
        it.procs,
        it.totalhigh,
        it.freehigh,
        it.mem_unit
    );
    say("sysinfo", &[Arg(room.0, text)], ret);
    for place in super::NOWHERE {
        call("uname", libc::SYS_uname, &[address(place)]);
        call("sysinfo", libc::SYS_sysinfo, &[address(place)]);
    }
}

/// Flags of `clone3` and `unshare`, linux/sched.h.
const CLONE: [(&str, u64); 25] = [
    ("CLONE_VM", 0x100),
    ("CLONE_FS", 0x200),
    ("CLONE_FILES", 0x400),
    ("CLONE_SIGHAND", 0x800),
    ("CLONE_PIDFD", 0x1000),
    ("CLONE_PTRACE", 0x2000),
    ("CLONE_VFORK", 0x4000),
    ("CLONE_PARENT", 0x8000),
    ("CLONE_THREAD", 0x1_0000),
    ("CLONE_NEWNS", 0x2_0000),
    ("CLONE_SYSVSEM", 0x4_0000),
    ("CLONE_SETTLS", 0x8_0000),
    ("CLONE_PARENT_SETTID", 0x10_0000),
    ("CLONE_CHILD_CLEARTID", 0x20_0000),
    ("CLONE_UNTRACED", 0x80_0000),
    ("CLONE_CHILD_SETTID", 0x100_0000),
    ("CLONE_NEWCGROUP", 0x200_0000),
    ("CLONE_NEWUTS", 0x400_0000),
    ("CLONE_NEWIPC", 0x800_0000),
    ("CLONE_NEWUSER", 0x1000_0000),
    ("CLONE_NEWPID", 0x2000_0000),
    ("CLONE_NEWNET", 0x4000_0000),
    ("CLONE_IO", 0x8000_0000),
    ("CLONE_NEWTIME", 0x80),
    ("CLONE_CLEAR_SIGHAND", 0x1_0000_0000),
];

/// `struct clone_args` that no kernel takes: a stack without a size.
pub(super) fn clone() {
    for bit in 0..33 {
        let value = 1_u64 << bit;
        // flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls
        let content = wide(&[value, 0x10, 0x20, 0x30, 17, 0, 0x1000, 0x40]);
        let optional = match bit {
            12 => ", pidfd=0x10",
            20 => ", parent_tid=0x30",
            21 | 24 => ", child_tid=0x20",
            _ => "",
        };
        let tls = if bit == 19 { ", tls=0x40" } else { "" };
        let name = flags(value, &CLONE, "CLONE");
        let text = format!(
            "{{flags={name}{optional}, exit_signal=SIGCHLD, stack=NULL, stack_size=0x1000{tls}}}"
        );
        call("clone3", libc::SYS_clone3, &[memory(&content, text), num(64)]);
    }
    let text = "{flags=CLONE_VM|CLONE_VFORK, exit_signal=SIGCHLD, stack=NULL, stack_size=0x1000}";
    let content = wide(&[0x4100, 0, 0, 0, 17, 0, 0x1000, 0]);
    everywhere("clone3", libc::SYS_clone3, &[num(0), num(64)], 0, &content, text);
    let names: Vec<_> = CLONE
        .into_iter()
        .filter(|it| {
            [0x80, 0x100, 0x200, 0x400, 0x800, 0x1_0000, 0x2_0000, 0x4_0000].contains(&it.1)
                || (0x200_0000..0x8000_0000).contains(&it.1)
        })
        .collect();
    // With a bit that no kernel knows, nothing is taken apart.
    for (name, bit) in &names {
        call("unshare", libc::SYS_unshare, &[Arg(bit | 1, format!("{name}|0x1"))]);
    }
    call("unshare", libc::SYS_unshare, &[Arg(1, "0x1 /* CLONE_??? */".to_owned())]);
}

/// Ends of children, as `wait4` and `waitid` say them.
pub(super) fn wait() {
    let child = |end: fn()| {
        // SAFETY: the child does nothing but end.
        match unsafe { libc::fork() } {
            0 => {
                end();
                // SAFETY: ends the process.
                unsafe { libc::_exit(7) }
            }
            pid => i64::from(pid),
        }
    };
    let wait = |pid: i64, text: &str| {
        let args = [num(pid), memory(&[0; 4], format!("[{text}]")), num(0), address(0)];
        call("wait4", libc::SYS_wait4, &args);
    };
    wait(child(|| {}), "{WIFEXITED(s) && WEXITSTATUS(s) == 7}");
    // SAFETY: a signal to the child itself.
    wait(
        child(|| unsafe { assert_eq!(libc::raise(libc::SIGKILL), 0) }),
        "{WIFSIGNALED(s) && WTERMSIG(s) == SIGKILL}",
    );
    let pid = child(|| {});
    // SAFETY: it returns a number.
    let uid = unsafe { libc::getuid() };
    let text = format!(
        "{{si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid={pid}, si_uid={uid}, si_status=7}}"
    );
    let args = [
        named(libc::P_PID, "P_PID"),
        num(pid),
        memory(&[0; 128], text),
        named(libc::WEXITED, "WEXITED"),
        address(0),
    ];
    call("waitid", libc::SYS_waitid, &args);
    let names = [
        ("WNOHANG", 1),
        ("WEXITED", 4),
        ("WSTOPPED", 2),
        ("WCONTINUED", 8),
        ("WNOWAIT", 0x100_0000),
        ("__WCLONE", 0x8000_0000),
        ("__WALL", 0x4000_0000),
        ("__WNOTHREAD", 0x2000_0000),
    ];
    let args = [named(77, "0x4d /* P_??? */"), num(0), address(0), num(0), address(0)];
    every_bit("waitid", libc::SYS_waitid, &args, 3, &names, "W");
}

/// `struct sched_attr`, sets of CPUs, policies.
pub(super) fn scheduling() {
    let policies = [
        (0, "SCHED_OTHER"),
        (1, "SCHED_FIFO"),
        (2, "SCHED_RR"),
        (3, "SCHED_BATCH"),
        (5, "SCHED_IDLE"),
        (6, "SCHED_DEADLINE"),
    ];
    for (policy, name) in policies {
        let content = [
            &words(&[56, policy])[..],
            &wide(&[1 | 4]),
            &words(&[u32::MAX - 4, 99]),
            &wide(&[10, 20, u64::MAX]),
            &words(&[1, 1024]),
        ]
        .concat();
        let text = format!(
            "{{size=56, sched_policy={name}, sched_flags=SCHED_FLAG_RESET_ON_FORK|SCHED_FLAG_DL_OVERRUN, sched_nice=-5, sched_priority=99, \
             sched_runtime=10, sched_deadline=20, sched_period=18446744073709551615, sched_util_min=1, sched_util_max=1024}}"
        );
        let args = [num(i64::from(i32::MAX)), num(0), num(0)];
        everywhere("sched_setattr", libc::SYS_sched_setattr, &args, 1, &content, &text);
        let args = [num(i64::from(i32::MAX)), named(policy, name), memory(&words(&[55]), "[55]")];
        call("sched_setscheduler", libc::SYS_sched_setscheduler, &args);
    }
    let args = [num(i64::from(i32::MAX)), num(16), num(0)];
    let content = wide(&[0b1011, 1 << 63]);
    everywhere("sched_setaffinity", libc::SYS_sched_setaffinity, &args, 2, &content, "[0 1 3 127]");
}

/// Options that are numbers, names and sets.
pub(super) fn prctl() {
    let prctl = |option: i32, name: &str, args: &[Arg]| {
        call("prctl", libc::SYS_prctl, &[&[named(option, name)], args].concat())
    };
    let long = "a name that is too long";
    prctl(libc::PR_SET_NAME, "PR_SET_NAME", &[memory(b"odd \"name\"\n\0", r#""odd \"name\"\n""#)]);
    prctl(libc::PR_GET_NAME, "PR_GET_NAME", &[memory(&[0; 16], r#""odd \"name\"\n""#)]);
    prctl(
        libc::PR_SET_NAME,
        "PR_SET_NAME",
        &[memory(long.as_bytes(), format!("\"{}\"...", &long[..15]))],
    );
    for place in super::NOWHERE {
        prctl(libc::PR_SET_NAME, "PR_SET_NAME", &[address(place)]);
    }
    for (signal, name) in [(15, "SIGTERM"), (64, "SIGRT_32"), (99, "99"), (0, "0")] {
        prctl(libc::PR_SET_PDEATHSIG, "PR_SET_PDEATHSIG", &[named(signal, name)]);
    }
    prctl(libc::PR_GET_PDEATHSIG, "PR_GET_PDEATHSIG", &[memory(&[0; 4], "[0]")]);
    prctl(libc::PR_CAPBSET_READ, "PR_CAPBSET_READ", &[named(21, "CAP_SYS_ADMIN")]);
    prctl(libc::PR_CAPBSET_READ, "PR_CAPBSET_READ", &[named(63, "0x3f /* CAP_??? */")]);
    prctl(libc::PR_SET_DUMPABLE, "PR_SET_DUMPABLE", &[named(1, "SUID_DUMP_USER")]);
    prctl(libc::PR_SET_NO_NEW_PRIVS, "PR_SET_NO_NEW_PRIVS", &[num(2), hex(0), hex(0), hex(0)]);
}

/// Options and signals of `ptrace`, for a process that is not traced.
pub(super) fn ptrace() {
    let names = [
        ("PTRACE_O_TRACESYSGOOD", 1),
        ("PTRACE_O_TRACEFORK", 2),
        ("PTRACE_O_TRACEVFORK", 4),
        ("PTRACE_O_TRACECLONE", 8),
        ("PTRACE_O_TRACEEXEC", 0x10),
        ("PTRACE_O_TRACEVFORKDONE", 0x20),
        ("PTRACE_O_TRACEEXIT", 0x40),
        ("PTRACE_O_TRACESECCOMP", 0x80),
        ("PTRACE_O_EXITKILL", 0x10_0000),
        ("PTRACE_O_SUSPEND_SECCOMP", 0x20_0000),
    ];
    let args = [named(0x4200, "PTRACE_SETOPTIONS"), num(i64::from(i32::MAX)), address(0), num(0)];
    every_bit("ptrace", libc::SYS_ptrace, &args, 3, &names, "PTRACE_O");
    for (request, name) in [(7, "PTRACE_CONT"), (9, "PTRACE_SINGLESTEP"), (24, "PTRACE_SYSCALL")] {
        for (signal, its_name) in [(9, "SIGKILL"), (64, "SIGRT_32"), (0, "0")] {
            let args = [
                named(request, name),
                num(i64::from(i32::MAX)),
                address(0x1),
                named(signal, its_name),
            ];
            call("ptrace", libc::SYS_ptrace, &args);
        }
    }
}

/// What a process may do, and what it asks for.
pub(super) fn capabilities() {
    let header = words(&[0x2008_0522, 0]);
    let own = "{version=_LINUX_CAPABILITY_VERSION_3, pid=0}";
    let room = memory(&[0; 24], "");
    let ret = quietly(libc::SYS_capget, &[memory(&header, ""), room.clone()]);
    let sets: [u32; 6] = read(&room);
    let set = |at: usize| {
        let mask = u64::from(sets[at]) | u64::from(sets[at + 3]) << 32;
        let names =
            (0..64).filter(|bit| mask >> bit & 1 == 1).map(|bit| match CAPABILITIES.get(bit) {
                Some(name) => format!("1<<CAP_{name}"),
                None => format!("{:#x}", 1_u64 << bit),
            });
        let names: Vec<String> = names.collect();
        if names.is_empty() { "0".to_owned() } else { names.join("|") }
    };
    let text = format!("{{effective={}, permitted={}, inheritable={}}}", set(0), set(1), set(2));
    say("capget", &[memory(&header, own), Arg(room.0, text)], ret);
    // Of another process, which no kernel lets be changed.
    let other = "{version=_LINUX_CAPABILITY_VERSION_3, pid=1}";
    let asked = words(&[1, 2, 4, 1 << 8, 0, 0]);
    let text = "{effective=1<<CAP_CHOWN|1<<CAP_CHECKPOINT_RESTORE, permitted=1<<CAP_DAC_OVERRIDE, inheritable=1<<CAP_DAC_READ_SEARCH}";
    everywhere(
        "capset",
        libc::SYS_capset,
        &[memory(&words(&[0x2008_0522, 1]), other), num(0)],
        1,
        &asked,
        text,
    );
}

/// linux/capability.h, from 0.
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];
