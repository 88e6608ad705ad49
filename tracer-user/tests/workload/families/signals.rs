//! Times, signals and what is waited for in memory.

use super::{
    Arg, address, call, everywhere, flags, hex, memory, named, num, quietly, read, say, string,
    wide, words,
};

/// Times in every form, possible and not.
pub(super) fn time() {
    for (seconds, nanos) in [(0, 0), (-1, 999_999_999), (i64::MIN, 0), (i64::MAX, 1_000_000_000)] {
        let content = wide(&[seconds.cast_unsigned(), nanos]);
        let text = format!("{{tv_sec={seconds}, tv_nsec={nanos}}}");
        // No clock has this number.
        let args =
            [named(77, "0x4d /* CLOCK_??? */"), named(1, "TIMER_ABSTIME"), num(0), address(0)];
        everywhere("clock_nanosleep", libc::SYS_clock_nanosleep, &args, 2, &content, &text);
    }
    for (clock, name) in
        [(0, "CLOCK_REALTIME"), (1, "CLOCK_MONOTONIC"), (7, "CLOCK_BOOTTIME"), (11, "CLOCK_TAI")]
    {
        let room = memory(&[0; 16], "");
        let ret = quietly(libc::SYS_clock_gettime, &[num(clock), room.clone()]);
        let [seconds, nanos]: [i64; 2] = read(&room);
        say(
            "clock_gettime",
            &[named(clock, name), Arg(room.0, format!("{{tv_sec={seconds}, tv_nsec={nanos}}}"))],
            ret,
        );
    }
    let content = wide(&[1, 2, u64::MAX, 5]);
    let text = "{it_interval={tv_sec=1, tv_usec=2}, it_value={tv_sec=-1, tv_usec=5}}";
    let args = [named(9, "0x9 /* ITIMER_??? */"), num(0), address(0)];
    everywhere("setitimer", libc::SYS_setitimer, &args, 1, &content, text);
    let text = "{it_interval={tv_sec=1, tv_nsec=2}, it_value={tv_sec=-1, tv_nsec=5}}";
    let args = [num(-1), named(1, "TFD_TIMER_ABSTIME"), num(0), address(0)];
    everywhere("timerfd_settime", libc::SYS_timerfd_settime, &args, 2, &content, text);
    // UTIME_NOW, UTIME_OMIT; and a moment whose date is known.
    let args = [num(-1), string("relative"), num(0), named(0x100, "AT_SYMLINK_NOFOLLOW")];
    let special = wide(&[0, (1 << 30) - 1, 0, (1 << 30) - 2]);
    everywhere("utimensat", libc::SYS_utimensat, &args, 2, &special, "[UTIME_NOW, UTIME_OMIT]");
    let text = "[{tv_sec=1000000000, tv_nsec=7} /* 2001-09-09T01:46:40.000000007+0000 */, \
                {tv_sec=0, tv_nsec=0} /* 1970-01-01T00:00:00+0000 */]";
    let text = text
        .replace("{tv_sec=0, tv_nsec=0} /* 1970-01-01T00:00:00+0000 */", "{tv_sec=0, tv_nsec=0}");
    everywhere("utimensat", libc::SYS_utimensat, &args, 2, &wide(&[1_000_000_000, 7, 0, 0]), &text);
}

/// Actions and sets of signals.
pub(super) fn signals() {
    let names = [
        ("SA_RESTORER", 0x400_0000),
        ("SA_ONSTACK", 0x800_0000),
        ("SA_RESTART", 0x1000_0000),
        ("SA_INTERRUPT", 0x2000_0000),
        ("SA_NODEFER", 0x4000_0000),
        ("SA_RESETHAND", 0x8000_0000),
        ("SA_SIGINFO", 4),
        ("SA_NOCLDSTOP", 1),
        ("SA_NOCLDWAIT", 2),
    ];
    for bit in 0..32 {
        let value = 1_u64 << bit;
        let name = flags(value, &names, "SA");
        let restorer = if bit == 26 { ", sa_restorer=0x4000" } else { "" };
        let text =
            format!("{{sa_handler=SIG_IGN, sa_mask=[HUP RT_32], sa_flags={name}{restorer}}}");
        let place = memory(&wide(&[1, value, 0x4000, 1 | 1 << 63]), text);
        // Of KILL no action can be changed.
        call(
            "rt_sigaction",
            libc::SYS_rt_sigaction,
            &[named(9, "SIGKILL"), place, address(0), num(8)],
        );
    }
    let text = "{sa_handler=0x1234, sa_mask=~[KILL STOP], sa_flags=SA_SIGINFO}";
    let args = [named(12, "SIGUSR2"), num(0), address(0), num(7)];
    let all = !(1_u64 << 8 | 1 << 18);
    everywhere("rt_sigaction", libc::SYS_rt_sigaction, &args, 1, &wide(&[0x1234, 4, 0, all]), text);
    for (how, name) in
        [(0, "SIG_BLOCK"), (1, "SIG_UNBLOCK"), (2, "SIG_SETMASK"), (9, "0x9 /* SIG_??? */")]
    {
        let old = memory(
            &[0; 8],
            if how == 9 {
                String::new()
            } else {
                (if how == 1 { "[INT TERM]" } else { "[]" }).to_owned()
            },
        );
        let old = if how == 9 { address(old.0) } else { old };
        let set = memory(
            &wide(&[if how == 2 { 0 } else { 1 << 1 | 1 << 14 }]),
            if how == 2 { "[]" } else { "[INT TERM]" },
        );
        call("rt_sigprocmask", libc::SYS_rt_sigprocmask, &[named(how, name), set, old, num(8)]);
    }
    // A stack that is too small.
    let content = [&wide(&[0x1000])[..], &words(&[0x8000_0000, 0]), &wide(&[1])].concat();
    let text = "{ss_sp=0x1000, ss_flags=SS_AUTODISARM, ss_size=1}";
    everywhere("sigaltstack", libc::SYS_sigaltstack, &[num(0), address(0)], 0, &content, text);
    for (number, name) in
        [(1, "SIGHUP"), (31, "SIGSYS"), (32, "SIGRTMIN"), (64, "SIGRT_32"), (65, "65"), (-1, "-1")]
    {
        call(
            "tgkill",
            libc::SYS_tgkill,
            &[num(i64::from(i32::MAX)), num(i64::from(i32::MAX)), named(number, name)],
        );
    }
}

/// Operations of `futex`, of a number that is not aligned.
pub(super) fn futex() {
    const PRIVATE: i64 = 128;
    const REALTIME: i64 = 256;
    let odd = hex(3);
    let content = wide(&[7, 5]);
    for (operation, name) in [(0, "FUTEX_WAIT"), (PRIVATE, "FUTEX_WAIT_PRIVATE")] {
        let args = [odd.clone(), named(operation, name), num(i64::from(u32::MAX)), num(0)];
        everywhere("futex", libc::SYS_futex, &args, 3, &content, "{tv_sec=7, tv_nsec=5}");
    }
    let any = Arg(0xffff_ffff, "FUTEX_BITSET_MATCH_ANY".to_owned());
    let wait = named(9 | PRIVATE | REALTIME, "FUTEX_WAIT_BITSET_PRIVATE|FUTEX_CLOCK_REALTIME");
    let args = [odd.clone(), wait, num(7), num(0), address(0), any.clone()];
    everywhere("futex", libc::SYS_futex, &args, 3, &content, "{tv_sec=7, tv_nsec=5}");
    call(
        "futex",
        libc::SYS_futex,
        &[odd.clone(), named(1, "FUTEX_WAKE"), num(i64::from(i32::MAX))],
    );
    call(
        "futex",
        libc::SYS_futex,
        &[odd.clone(), named(3 | PRIVATE, "FUTEX_REQUEUE_PRIVATE"), num(1), num(2), hex(5)],
    );
    call(
        "futex",
        libc::SYS_futex,
        &[odd.clone(), named(4, "FUTEX_CMP_REQUEUE"), num(1), num(2), hex(5), num(6)],
    );
    call(
        "futex",
        libc::SYS_futex,
        &[odd.clone(), named(10, "FUTEX_WAKE_BITSET"), num(1), address(0), address(0), any],
    );
    call(
        "futex",
        libc::SYS_futex,
        &[odd, named(0x7f, "0x7f /* FUTEX_??? */"), num(1), hex(2), hex(3), hex(4)],
    );
}
