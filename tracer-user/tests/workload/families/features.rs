//! What the kernel offers beside files and processes: programs in it, rings, keys, filters, rules.

use super::{
    Arg, address, call, every_bit, everywhere, hex, memory, named, num, quietly, read, say, string,
    wide, words,
};

/// Commands of `bpf` with attributes that no kernel takes.
pub(super) fn bpf() {
    let content = words(&[2, 3, 8, 1, 0x80, 5]);
    let text = "{map_type=BPF_MAP_TYPE_ARRAY, key_size=3, value_size=8, max_entries=1, map_flags=BPF_F_RDONLY_PROG, inner_map_fd=5}";
    everywhere(
        "bpf",
        libc::SYS_bpf,
        &[named(0, "BPF_MAP_CREATE"), num(0), num(24)],
        1,
        &content,
        text,
    );
    let content = [&words(&[7, 0])[..], &wide(&[0x1000, 0x2000, 4])].concat();
    let text = "{map_fd=7, key=0x1000, value=0x2000, flags=BPF_F_LOCK}";
    everywhere(
        "bpf",
        libc::SYS_bpf,
        &[named(2, "BPF_MAP_UPDATE_ELEM"), num(0), num(32)],
        1,
        &content,
        text,
    );
    call("bpf", libc::SYS_bpf, &[named(99, "0x63 /* BPF_??? */"), address(0), num(0)]);
}

/// Every bit of the flags of a ring, and what the kernel says of one.
pub(super) fn io_uring() {
    let names = [
        "IOPOLL",
        "SQPOLL",
        "SQ_AFF",
        "CQSIZE",
        "CLAMP",
        "ATTACH_WQ",
        "R_DISABLED",
        "SUBMIT_ALL",
        "COOP_TASKRUN",
        "TASKRUN_FLAG",
        "SQE128",
        "CQE32",
        "SINGLE_ISSUER",
        "DEFER_TASKRUN",
        "NO_MMAP",
        "REGISTERED_FD_ONLY",
        "NO_SQARRAY",
    ];
    for (bit, name) in names.iter().enumerate() {
        let mut content = [0_u32; 30];
        (content[2], content[3], content[4]) = (1 << bit, 3, 77);
        let fd = if bit == 5 { ", wq_fd=0" } else { "" };
        let text =
            format!("{{flags=IORING_SETUP_{name}, sq_thread_cpu=0x3, sq_thread_idle=77{fd}}}");
        call("io_uring_setup", libc::SYS_io_uring_setup, &[num(0), memory(&words(&content), text)]);
    }
    let text = "{flags=IORING_SETUP_IOPOLL|IORING_SETUP_SQPOLL|0x80000000, sq_thread_cpu=0, sq_thread_idle=0}";
    let mut content = [0; 30];
    content[2] = 0x8000_0003;
    everywhere(
        "io_uring_setup",
        libc::SYS_io_uring_setup,
        &[num(0), num(0)],
        1,
        &words(&content),
        text,
    );
    let args = [num(-1), num(1), num(2), named(8, "IORING_ENTER_EXT_ARG"), num(0), num(24)];
    let extended = [&wide(&[0x1000])[..], &words(&[8, 0]), &wide(&[0x2000])].concat();
    let text = "{sigmask=0x1000, sigmask_sz=8, min_wait_usec=0, ts=0x2000}";
    everywhere("io_uring_enter", libc::SYS_io_uring_enter, &args, 4, &extended, text);
    let args = [
        num(-1),
        num(1),
        num(2),
        named(1, "IORING_ENTER_GETEVENTS"),
        memory(&wide(&[3]), "[HUP INT]"),
        num(8),
    ];
    call("io_uring_enter", libc::SYS_io_uring_enter, &args);
}

/// Keys and rings of keys, by number and by name.
pub(super) fn keyctl() {
    let specs = ["THREAD", "PROCESS", "SESSION", "USER", "USER_SESSION"];
    for (number, name) in (1_i64..).zip(specs) {
        let args = [
            named(0, "KEYCTL_GET_KEYRING_ID"),
            named(-number, &format!("KEY_SPEC_{name}_KEYRING")),
            num(0),
        ];
        call("keyctl", libc::SYS_keyctl, &args);
    }
    call("keyctl", libc::SYS_keyctl, &[named(3, "KEYCTL_REVOKE"), num(0x7000_0001)]);
    let args = [
        named(5, "KEYCTL_SETPERM"),
        num(0x7000_0001),
        named(
            0x3f01_0000,
            "KEY_POS_VIEW|KEY_POS_READ|KEY_POS_WRITE|KEY_POS_SEARCH|KEY_POS_LINK|KEY_POS_SETATTR|KEY_USR_VIEW",
        ),
    ];
    call("keyctl", libc::SYS_keyctl, &args);
    call(
        "keyctl",
        libc::SYS_keyctl,
        &[named(4, "KEYCTL_CHOWN"), num(0x7000_0001), num(-1), num(1000)],
    );
    call(
        "keyctl",
        libc::SYS_keyctl,
        &[named(8, "KEYCTL_LINK"), num(0x7000_0001), named(-2, "KEY_SPEC_PROCESS_KEYRING")],
    );
    call("keyctl", libc::SYS_keyctl, &[named(15, "KEYCTL_SET_TIMEOUT"), num(0x7000_0001), num(60)]);
    let args = [
        string("no-such-type"),
        string("a \"description\""),
        address(0),
        num(0),
        named(-2, "KEY_SPEC_PROCESS_KEYRING"),
    ];
    call("add_key", libc::SYS_add_key, &args);
    let args =
        [string("no-such-type"), string("x"), address(0), named(-1, "KEY_SPEC_THREAD_KEYRING")];
    call("request_key", libc::SYS_request_key, &args);
}

/// Questions about filters, and filters that no kernel takes.
pub(super) fn seccomp() {
    let actions = [
        (0x7fff_0000, "SECCOMP_RET_ALLOW"),
        (0x7ffc_0000, "SECCOMP_RET_LOG"),
        (0x8000_0000, "SECCOMP_RET_KILL_PROCESS"),
        (0x0005_0000, "SECCOMP_RET_ERRNO"),
        (0x1234_0000, "0x12340000 /* SECCOMP_RET_??? */"),
    ];
    for (action, name) in actions {
        let args = [named(2, "SECCOMP_GET_ACTION_AVAIL"), hex(0), num(0)];
        everywhere("seccomp", libc::SYS_seccomp, &args, 2, &words(&[action]), &format!("[{name}]"));
    }
    let room = memory(&[0; 6], "");
    let ret = quietly(libc::SYS_seccomp, &[num(3), num(0), room.clone()]);
    let [filter, response, data]: [u16; 3] = read(&room);
    let text =
        format!("{{seccomp_notif={filter}, seccomp_notif_resp={response}, seccomp_data={data}}}");
    say("seccomp", &[named(3, "SECCOMP_GET_NOTIF_SIZES"), hex(0), Arg(room.0, text)], ret);
    let names = ["TSYNC", "LOG", "SPEC_ALLOW", "NEW_LISTENER", "TSYNC_ESRCH", "WAIT_KILLABLE_RECV"];
    for (bit, name) in names.iter().enumerate() {
        // Without an instruction.
        let place = memory(&wide(&[0, 0x1000]), "{len=0, filter=0x1000}");
        let flag = Arg(1 << bit, format!("SECCOMP_FILTER_FLAG_{name}"));
        call("seccomp", libc::SYS_seccomp, &[named(1, "SECCOMP_SET_MODE_FILTER"), flag, place]);
    }
}

/// Rights to files and ports, bit for bit.
pub(super) fn landlock() {
    let rights = [
        "EXECUTE",
        "WRITE_FILE",
        "READ_FILE",
        "READ_DIR",
        "REMOVE_DIR",
        "REMOVE_FILE",
        "MAKE_CHAR",
        "MAKE_DIR",
        "MAKE_REG",
        "MAKE_SOCK",
        "MAKE_FIFO",
        "MAKE_BLOCK",
        "MAKE_SYM",
        "REFER",
        "TRUNCATE",
        "IOCTL_DEV",
    ];
    for (bit, name) in rights.iter().enumerate() {
        let text = format!("{{allowed_access=LANDLOCK_ACCESS_FS_{name}, parent_fd=-1}}");
        let content = [&wide(&[1 << bit])[..], &words(&[u32::MAX])].concat();
        let rule = named(1, "LANDLOCK_RULE_PATH_BENEATH");
        everywhere(
            "landlock_add_rule",
            libc::SYS_landlock_add_rule,
            &[num(-1), rule, num(0), hex(0)],
            2,
            &content,
            &text,
        );
    }
    let text =
        "{allowed_access=LANDLOCK_ACCESS_NET_BIND_TCP|LANDLOCK_ACCESS_NET_CONNECT_TCP, port=443}";
    let args = [num(-1), named(2, "LANDLOCK_RULE_NET_PORT"), num(0), hex(0)];
    everywhere("landlock_add_rule", libc::SYS_landlock_add_rule, &args, 2, &wide(&[3, 443]), text);
    // Of a right that no kernel has, no rules are made.
    let text = "{handled_access_fs=LANDLOCK_ACCESS_FS_READ_FILE|0x8000000000000000}";
    let args = [num(0), num(8), hex(0)];
    everywhere(
        "landlock_create_ruleset",
        libc::SYS_landlock_create_ruleset,
        &args,
        0,
        &wide(&[4 | 1 << 63]),
        text,
    );
}

/// Semaphores, queues and what is shared, by System V.
pub(super) fn ipc() {
    let operations = [1_u16, 0xffff, 0x1800, 2, 5, 0x800].map(u16::to_ne_bytes).concat();
    let text = "[{sem_num=1, sem_op=-1, sem_flg=SEM_UNDO|IPC_NOWAIT}, {sem_num=2, sem_op=5, sem_flg=IPC_NOWAIT}]";
    everywhere("semop", libc::SYS_semop, &[num(-1), num(0), num(2)], 1, &operations, text);
    let private = named(0, "IPC_PRIVATE");
    let queue =
        call("msgget", libc::SYS_msgget, &[private.clone(), named(0o1600, "IPC_CREAT|0600")]);
    let message = [&wide(&[0x1234_5678_9abc])[..], b"secret"].concat();
    let text = format!("{{mtype={}, ...}}", 0x1234_5678_9abc_i64);
    let args = [num(queue), memory(&message, text.as_str()), num(6), named(0o4000, "IPC_NOWAIT")];
    call("msgsnd", libc::SYS_msgsnd, &args);
    let room = memory(&[0; 16], text);
    call("msgrcv", libc::SYS_msgrcv, &[num(queue), room, num(8), num(0), num(0)]);
    call("msgctl", libc::SYS_msgctl, &[num(queue), named(0, "IPC_RMID"), address(0)]);
    let names = [
        ("IPC_CREAT", 0o1000),
        ("IPC_EXCL", 0o2000),
        ("SHM_HUGETLB", 0o4000),
        ("SHM_NORESERVE", 0o10_000),
    ];
    for (name, bit) in names {
        // Nothing that has no bytes is shared.
        let flag = Arg(bit | 0o640, format!("{name}|0640"));
        call("shmget", libc::SYS_shmget, &[private.clone(), num(0), flag]);
    }
    let names = [
        ("SHM_RDONLY", 0o10_000),
        ("SHM_RND", 0o20_000),
        ("SHM_REMAP", 0o40_000),
        ("SHM_EXEC", 0o100_000),
    ];
    every_bit("shmat", libc::SYS_shmat, &[num(-1), address(0x1001), num(0)], 2, &names, "SHM");
}

/// Nodes, pages, and a kernel that is not loaded.
pub(super) fn nodes() {
    let content = wide(&[0b1001, 1 << 63]);
    let text = "[0x00000000000009, 0x8000000000000000]";
    let args = [named(77, "0x4d /* MPOL_??? */"), num(0), num(129)];
    everywhere("set_mempolicy", libc::SYS_set_mempolicy, &args, 1, &content, text);
    let args = [
        address(0x1001),
        num(4096),
        named(2, "MPOL_BIND"),
        num(0),
        num(129),
        named(1, "MPOL_MF_STRICT"),
    ];
    everywhere("mbind", libc::SYS_mbind, &args, 3, &content, text);
    let args = [
        num(i64::from(i32::MAX)),
        num(64),
        memory(&content[..8], "[0x00000000000009]"),
        memory(&content[8..], "[0x8000000000000000]"),
    ];
    call("migrate_pages", libc::SYS_migrate_pages, &args);
    let pages = wide(&[0x1000, 0x2000]);
    let room = memory(&[0; 8], "");
    let asked =
        [num(0), num(2), memory(&pages, "[0x1000, 0x2000]"), memory(&words(&[0, 0]), "[0, 0]")];
    let ret = quietly(libc::SYS_move_pages, &[&asked[..], &[room.clone(), num(2)]].concat());
    let status: [i32; 2] = read(&room);
    let names: Vec<String> =
        status.iter().map(|it| format!("-{:?}", nix::errno::Errno::from_raw(-it))).collect();
    let text = if ret < 0 { address(room.0).1 } else { format!("[{}]", names.join(", ")) };
    say("move_pages", &[&asked[..], &[Arg(room.0, text), named(2, "MPOL_MF_MOVE")]].concat(), ret);
    let segment = wide(&[0x1000, 7, 0x2000, 4096]);
    let text = "[{buf=0x1000, bufsz=7, mem=0x2000, memsz=4096}]";
    let args = [address(0x10), num(1), num(0), named(0x4000, "KEXEC_ARCH_DEFAULT|0x4000")];
    everywhere("kexec_load", libc::SYS_kexec_load, &args, 2, &segment, text);
    let magic = "0 /* LINUX_REBOOT_MAGIC_??? */";
    let args = [
        named(0, magic),
        named(0, magic),
        named(0xa1b2_c3d4_u32, "LINUX_REBOOT_CMD_RESTART2"),
        string("into \"this\""),
    ];
    call("reboot", libc::SYS_reboot, &args);
    call(
        "reboot",
        libc::SYS_reboot,
        &[named(0, magic), named(0, magic), named(0, "LINUX_REBOOT_CMD_CAD_OFF")],
    );
}
