//! Descriptors: what waits for them, and their commands.

use super::{
    Arg, address, bytes, call, every_bit, everywhere, flags, hex, memory, named, num, quietly,
    read, say, string, wide, words, zeroed,
};

const EPOLL: [(&str, u64); 16] = [
    ("EPOLLIN", 1),
    ("EPOLLPRI", 2),
    ("EPOLLOUT", 4),
    ("EPOLLERR", 8),
    ("EPOLLHUP", 0x10),
    ("EPOLLNVAL", 0x20),
    ("EPOLLRDNORM", 0x40),
    ("EPOLLRDBAND", 0x80),
    ("EPOLLWRNORM", 0x100),
    ("EPOLLWRBAND", 0x200),
    ("EPOLLMSG", 0x400),
    ("EPOLLRDHUP", 0x2000),
    ("EPOLLEXCLUSIVE", 1 << 28),
    ("EPOLLWAKEUP", 1 << 29),
    ("EPOLLONESHOT", 1 << 30),
    ("EPOLLET", 1 << 31),
];

fn pipe() -> [i32; 2] {
    let pair = memory(&[0; 8], "");
    let ret = quietly(libc::SYS_pipe2, &[pair.clone(), num(0)]);
    let [from, to]: [i32; 2] = read(&pair);
    say("pipe2", &[Arg(pair.0, format!("[{from}, {to}]")), num(0)], ret);
    [from, to]
}

/// `struct epoll_event`, which has no padding on x86-64.
fn event(events: u32, data: u64) -> Vec<u8> {
    let padding = if cfg!(target_arch = "x86_64") { &[][..] } else { &[0; 4] };
    [&events.to_ne_bytes()[..], padding, &data.to_ne_bytes()].concat()
}

fn event_text(events: u32, data: u64) -> String {
    let events = flags(events.into(), &EPOLL, "EPOLL???");
    format!("{{events={events}, data={{u32={}, u64={data}}}}}", data & 0xffff_ffff)
}

/// What is waited for, every bit of it, and what has happened.
pub(super) fn epoll() {
    let args = [num(-1), named(1, "EPOLL_CTL_ADD"), num(-1), num(0)];
    for bit in 0..32 {
        let (events, data) = (1_u32 << bit, 0x1234_5678_9abc_def0 + bit);
        let place = memory(&event(events, data), event_text(events, data));
        call("epoll_ctl", libc::SYS_epoll_ctl, &[&args[..3], &[place]].concat());
    }
    let odd = event_text(u32::MAX, u64::MAX);
    everywhere("epoll_ctl", libc::SYS_epoll_ctl, &args, 3, &event(u32::MAX, u64::MAX), &odd);
    let [_, to] = pipe();
    let queue = call(
        "epoll_create1",
        libc::SYS_epoll_create1,
        &[named(libc::EPOLL_CLOEXEC, "EPOLL_CLOEXEC")],
    );
    let wanted = memory(&event(4, 99), event_text(4, 99));
    call(
        "epoll_ctl",
        libc::SYS_epoll_ctl,
        &[num(queue), named(1, "EPOLL_CTL_ADD"), num(to), wanted],
    );
    let room = memory(&[0; 64], format!("[{}]", event_text(4, 99)));
    let args = [num(queue), room, num(4), num(0), address(0), num(8)];
    call("epoll_pwait", libc::SYS_epoll_pwait, &args);
    call(
        "epoll_pwait",
        libc::SYS_epoll_pwait,
        &[num(-1), address(1), num(4), num(-1), memory(&wide(&[2]), "[INT]"), num(8)],
    );
}

/// `struct pollfd` and sets of descriptors, with what is ready behind the result.
pub(super) fn poll() {
    let [from, to] = pipe();
    let now = || memory(&wide(&[0, 0]), "{tv_sec=0, tv_nsec=0}");
    let both = words(&[from.cast_unsigned(), 1, to.cast_unsigned(), 4]);
    let text = format!("[{{fd={from}, events=POLLIN}}, {{fd={to}, events=POLLOUT}}]");
    let args = [memory(&both, text), num(2), now(), address(0), num(0)];
    let ret = quietly(libc::SYS_ppoll, &args);
    let args: Vec<&str> = args.iter().map(|arg| arg.1.as_str()).collect();
    println!("ppoll({}) = {ret} ([{{fd={to}, revents=POLLOUT}}])", args.join(", "));
    let args = [
        memory(&both[..8], format!("[{{fd={from}, events=POLLIN}}]")),
        num(1),
        now(),
        address(0),
        num(0),
    ];
    let ret = quietly(libc::SYS_ppoll, &args);
    let args: Vec<&str> = args.iter().map(|arg| arg.1.as_str()).collect();
    println!("ppoll({}) = {ret} (Timeout)", args.join(", "));
    // A length that no kernel takes, so that nothing is waited for.
    let args = [num(0), num(1), now(), memory(&wide(&[u64::MAX]), "~[]"), num(7)];
    everywhere(
        "ppoll",
        libc::SYS_ppoll,
        &[&args[..3], &[address(1), num(7)]].concat(),
        0,
        &words(&[u32::MAX, 1]),
        "[{fd=-1}]",
    );
}

/// Commands of `fcntl`: locks, owners, flags and numbers.
pub(super) fn fcntl() {
    // SAFETY: a name that ends in zero.
    let fd = unsafe { libc::memfd_create(c"families".as_ptr(), libc::MFD_ALLOW_SEALING) };
    assert!(fd >= 0);
    let lock = |kind: i32, start: i64, len: i64| {
        let mut lock: libc::flock = zeroed();
        lock.l_type = i16::try_from(kind).expect("small");
        lock.l_start = start;
        lock.l_len = len;
        bytes(&lock)
    };
    let text = "{l_type=F_WRLCK, l_whence=SEEK_SET, l_start=5, l_len=-3}";
    let args = [num(fd), named(libc::F_SETLK, "F_SETLK"), num(0)];
    everywhere("fcntl", libc::SYS_fcntl, &args, 2, &lock(libc::F_WRLCK, 5, -3), text);
    let args = [num(fd), named(libc::F_OFD_SETLK, "F_OFD_SETLK"), num(0)];
    everywhere("fcntl", libc::SYS_fcntl, &args, 2, &lock(libc::F_WRLCK, 5, -3), text);
    let owner = words(&[2, 1]);
    let args = [num(fd), named(15, "F_SETOWN_EX"), num(0)];
    everywhere("fcntl", libc::SYS_fcntl, &args, 2, &owner, "{type=F_OWNER_PGRP, pid=1}");
    for (command, name, value, text) in [
        (libc::F_SETFD, "F_SETFD", 1, "FD_CLOEXEC"),
        (libc::F_SETFL, "F_SETFL", 0o2000, "O_RDONLY|O_APPEND"),
        (libc::F_DUPFD, "F_DUPFD", -1, "-1"),
        (libc::F_NOTIFY, "F_NOTIFY", 5, "DN_ACCESS|DN_CREATE"),
        (libc::F_SETLEASE, "F_SETLEASE", 1, "F_WRLCK"),
        (libc::F_ADD_SEALS, "F_ADD_SEALS", 0x46, "F_SEAL_SHRINK|F_SEAL_GROW|0x40"),
        (10, "F_SETSIG", 12, "SIGUSR2"),
    ] {
        call(
            "fcntl",
            libc::SYS_fcntl,
            &[
                num(-1),
                named(command, name),
                Arg(i64::from(value).cast_unsigned(), text.to_owned()),
            ],
        );
    }
    let names = [
        ("LOCK_SH", 1),
        ("LOCK_EX", 2),
        ("LOCK_NB", 4),
        ("LOCK_UN", 8),
        ("LOCK_MAND", 32),
        ("LOCK_RW", 192),
        ("LOCK_READ", 64),
        ("LOCK_WRITE", 128),
    ];
    every_bit("flock", libc::SYS_flock, &[num(-1), num(0)], 1, &names, "LOCK");
}

/// Terminals, sockets and block devices.
pub(super) fn ioctl() {
    let args = [
        Arg(libc::AT_FDCWD as u64, "AT_FDCWD".to_owned()),
        string("/dev/ptmx"),
        Arg(0o402, "O_RDWR|O_NOCTTY".to_owned()),
    ];
    let terminal = call("openat", libc::SYS_openat, &args);
    let size = [24_u16, 80, 640, 480].map(u16::to_ne_bytes).concat();
    let text = "{ws_row=24, ws_col=80, ws_xpixel=640, ws_ypixel=480}";
    let ioctl = |fd: i64, command: u64, name: &str, arg: Arg| {
        call("ioctl", libc::SYS_ioctl, &[num(fd), Arg(command, name.to_owned()), arg])
    };
    ioctl(terminal, libc::TIOCSWINSZ, "TIOCSWINSZ", at_end(&size, text));
    ioctl(terminal, libc::TIOCGWINSZ, "TIOCGWINSZ", at_end(&[0; 8], text));
    for place in super::NOWHERE {
        ioctl(terminal, libc::TIOCGWINSZ, "TIOCGWINSZ", address(place));
    }
    let cooked = "{c_iflag=ICRNL|IXON, c_oflag=NL0|CR0|TAB0|BS0|VT0|FF0|OPOST|ONLCR, \
                  c_cflag=B38400|CS8|CREAD, c_lflag=ISIG|ICANON|ECHO|ECHOE|ECHOK|IEXTEN|ECHOCTL|ECHOKE, ...}";
    ioctl(terminal, libc::TCGETS, "TCGETS", memory(&[0; 60], cooked));
    call("ioctl", libc::SYS_ioctl, &[num(-1), Arg(libc::FIOCLEX, "FIOCLEX".to_owned())]);
    // SAFETY: only numbers are passed.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0) }.into();
    let mut request = [0; 40];
    request[..2].copy_from_slice(b"lo");
    let text = r#"{ifr_name="lo", ifr_ifindex=1}"#;
    ioctl(socket, 0x8933, "SIOCGIFINDEX", memory(&request, text));
    // linux/fs.h, of 64 bits: `long`, `struct file_clone_range`, `struct fsxattr`.
    for (command, name, content, text) in [
        (0x4008_6602, "FS_IOC_SETFLAGS", words(&[0x30]), "[FS_IMMUTABLE_FL|FS_APPEND_FL]"),
        (
            0x4020_940d,
            "BTRFS_IOC_CLONE_RANGE or FICLONERANGE",
            wide(&[7, 4096, u64::MAX, 0]),
            "{src_fd=7, src_offset=4096, src_length=18446744073709551615, dest_offset=0}",
        ),
        (
            0x401c_5820,
            "FS_IOC_FSSETXATTR",
            words(&[8 | 1 << 31, 4096, 9, 16, 0, 0, 0]),
            "{fsx_xflags=FS_XFLAG_IMMUTABLE|FS_XFLAG_HASATTR, fsx_extsize=4096, fsx_projid=0x10, \
             fsx_cowextsize=0}",
        ),
        (0x8901, "FIOSETOWN", words(&[u32::MAX]), "[-1]"),
    ] {
        let args = [num(-1), Arg(command, name.to_owned()), num(0)];
        everywhere("ioctl", libc::SYS_ioctl, &args, 2, &content, text);
    }
    let [from, to] = pipe();
    // SAFETY: a buffer of ours.
    assert_eq!(unsafe { libc::write(to, b"12345".as_ptr().cast(), 5) }, 5);
    ioctl(from.into(), libc::FIONREAD, "FIONREAD", memory(&[0; 4], "[5]"));
    let place = memory(&[0; 8], "");
    let text = format!("{:#x}", place.0);
    // linux/fs.h: to be returned, and the descriptor is none.
    ioctl(-1, 0x8008_1272, "BLKGETSIZE64", Arg(place.0, text));
    ioctl(-1, 0x4004_ff07, "_IOC(_IOC_WRITE, 0xff, 0x7, 0x4)", hex(7));
}

fn at_end(bytes: &[u8], text: &str) -> Arg {
    super::at_page_end(bytes, text)
}

/// Arrays of parts, short and longer than is shown.
pub(super) fn iovec() {
    let text = "[{iov_base=0x1000, iov_len=7}, {iov_base=NULL, iov_len=18446744073709551615}]";
    let args = [num(-1), num(0), num(2)];
    everywhere("writev", libc::SYS_writev, &args, 1, &wide(&[0x1000, 7, 0, u64::MAX]), text);
    let many: Vec<u64> = (0..40).flat_map(|n| [0x1000 + n, n]).collect();
    let text: Vec<String> =
        (0..32).map(|n| format!("{{iov_base={:#x}, iov_len={n}}}", 0x1000 + n)).collect();
    let place = memory(&wide(&many), format!("[{}, ...]", text.join(", ")));
    call("writev", libc::SYS_writev, &[num(-1), place, num(40)]);
}
