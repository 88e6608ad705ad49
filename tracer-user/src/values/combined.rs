//! Numbers that are made of several parts: a type and flags, a command and a mode.

use tracer_common::{event::Abi, syscalls::Set};

use super::{Context, files, number, set, signal};

/// Flags of an argument as strace writes them.
pub(super) fn flags(set: Set, context: &Context<'_>, value: u64) -> String {
    let abi = context.abi;
    match set {
        Set::OpenFlags => files::open_flags(abi, value),
        Set::MmapFlags => mmap_flags(abi, value),
        Set::CloneFlags => clone_flags(abi, value),
        Set::StatxFlags => statx_flags(abi, value),
        Set::IpcFlags | Set::ShmgetFlags => with_mode(set, abi, value),
        Set::FanotifyInitFlags => parts(abi, Set::FanotifyClasses, value & 0xc, set, value & !0xc),
        Set::MountFlags => mount_flags(abi, value),
        Set::MemfdFlags => memfd_flags(abi, value),
        Set::MempolicyModes => mempolicy(abi, value),
        Set::SwapFlags => {
            format!("{}|{}", set::flags_text(set, abi, value & !0x7fff), value & 0x7fff)
                .trim_start_matches("0|")
                .to_owned()
        }
        Set::KexecLoadFlags => {
            const ARCHITECTURE: u64 = 0xffff_0000;
            let flags = value & !ARCHITECTURE;
            parts(abi, Set::KexecArchitectures, value & ARCHITECTURE, set, flags)
        }
        _ => set::flags_text(set, abi, value),
    }
}

/// A value of an argument as strace writes it.
pub(super) fn value(set: Set, context: &Context<'_>, value: u64) -> String {
    let abi = context.abi;
    match set {
        Set::SocketTypes => socket_type(abi, value),
        Set::IpProtocols => protocol(context, value),
        Set::SocketOptions => option(context, value),
        Set::FutexOperations => futex_operation(abi, value),
        Set::SchedPolicies => {
            const RESET: u64 = 0x4000_0000;
            parts(abi, set, value & !RESET, Set::SchedPolicyFlags, value & RESET)
        }
        Set::PersonalityTypes => personality(abi, value),
        Set::IoprioClasses => io_priority(abi, value),
        Set::QuotaCommands => quota_command(abi, value),
        Set::ShmctlCommands | Set::SemctlCommands | Set::MsgctlCommands => {
            ipc_command(set, abi, value)
        }
        Set::MempolicyModes => mempolicy(abi, value),
        Set::SyslogActions => {
            format!("{value} /* {} */", set::name(set, abi, value).unwrap_or("SYSLOG_ACTION_???"))
        }
        Set::IpcCalls => ipc_operation(abi, value),
        Set::KeySpecs => key(context, value),
        Set::PtraceOptions => ptrace_data(context, value),
        Set::FutexBitsets => futex_last(context, value),
        Set::Clocks => clock(abi, value),
        Set::SeccompFilterFlags => seccomp_flags(context, value),
        Set::IoctlCommands => ioctl_command(abi, value),
        _ => set::value_text(set, abi, value),
    }
}

/// A value of one set and flags of another.
fn parts(abi: Abi, values: Set, value: u64, flags: Set, rest: u64) -> String {
    set::joined(&set::value_text(values, abi, value), flags, abi, rest)
}

/// The last argument of `ptrace`: options, a signal, or an address, by the request.
fn ptrace_data(context: &Context<'_>, value: u64) -> String {
    let request = set::name(Set::PtraceRequests, context.abi, context.args[0]);
    match request {
        Some("PTRACE_SETOPTIONS" | "PTRACE_SEIZE") => {
            set::flags_text(Set::PtraceOptions, context.abi, value)
        }
        Some(
            "PTRACE_CONT"
            | "PTRACE_SYSCALL"
            | "PTRACE_DETACH"
            | "PTRACE_SINGLESTEP"
            | "PTRACE_SINGLEBLOCK"
            | "PTRACE_SYSEMU"
            | "PTRACE_SYSEMU_SINGLESTEP",
        ) => signal::name_of_word(value),
        _ if value == 0 => "NULL".to_owned(),
        _ => format!("{value:#x}"),
    }
}

/// A key's number, or the keyring that it stands for; `keyctl` has other things there for some
/// commands.
fn key(context: &Context<'_>, value: u64) -> String {
    let command = set::name(Set::KeyctlOperations, context.abi, context.args[0] & 0xffff_ffff);
    let is_key = context.name != "keyctl"
        || !matches!(
            command,
            None | Some(
                "KEYCTL_JOIN_SESSION_KEYRING"
                    | "KEYCTL_SET_REQKEY_KEYRING"
                    | "KEYCTL_SESSION_TO_PARENT"
                    | "KEYCTL_GET_PERSISTENT"
                    | "KEYCTL_DH_COMPUTE"
                    | "KEYCTL_PKEY_ENCRYPT"
                    | "KEYCTL_PKEY_DECRYPT"
                    | "KEYCTL_PKEY_SIGN"
                    | "KEYCTL_PKEY_VERIFY"
                    | "KEYCTL_CAPABILITIES"
            )
        );
    if !is_key {
        return if value == 0 { "0".to_owned() } else { format!("{value:#x}") };
    }
    let low = u32::try_from(value & 0xffff_ffff).unwrap_or_default();
    key_text(context.abi, low.cast_signed())
}

/// A key's number, or the keyring that it stands for.
pub(super) fn key_text(abi: Abi, id: i32) -> String {
    match set::name(Set::KeySpecs, abi, i64::from(id).cast_unsigned()) {
        Some(name) => name.to_owned(),
        None => id.to_string(),
    }
}

/// A policy, and how its nodes are meant.
fn mempolicy(abi: Abi, value: u64) -> String {
    const FLAGS: u64 = 0xe000;
    let mode = value & !FLAGS;
    let mut text = String::new();
    let rest = set::push_names(&mut text, Set::MempolicyModeFlags, abi, value & FLAGS) | mode;
    match set::name(Set::MempolicyModes, abi, mode) {
        Some(name) if text.is_empty() => name.to_owned(),
        Some(name) => format!("{name}|{text}"),
        None if text.is_empty() => set::value_text(Set::MempolicyModes, abi, rest),
        None => format!("{text}|{rest:#x}"),
    }
}

/// How the memory is shared, then flags, then the size of huge pages.
pub(super) fn mmap_flags(abi: Abi, value: u64) -> String {
    // `MAP_TYPE`, and `MAP_HUGE_MASK` at `MAP_HUGE_SHIFT`.
    const TYPE: u64 = 0xf;
    const HUGE: u64 = 0x3f << 26;
    let text = parts(abi, Set::MapTypes, value & TYPE, Set::MmapFlags, value & !TYPE & !HUGE);
    match value & HUGE {
        0 => text,
        huge => format!("{text}|{}<<MAP_HUGE_SHIFT", huge >> 26),
    }
}

/// Flags, then the size of huge pages.
fn memfd_flags(abi: Abi, value: u64) -> String {
    // `MFD_HUGE_MASK` at `MFD_HUGE_SHIFT`.
    const HUGE: u64 = 0x3f << 26;
    let flags = set::flags_text(Set::MemfdFlags, abi, value & !HUGE);
    match (value & HUGE, value & !HUGE) {
        (0, _) => flags,
        (huge, 0) => format!("{}<<MFD_HUGE_SHIFT", huge >> 26),
        (huge, _) => format!("{flags}|{}<<MFD_HUGE_SHIFT", huge >> 26),
    }
}

/// Flags, then the signal that the parent gets at the end.
fn clone_flags(abi: Abi, value: u64) -> String {
    const SIGNAL: u64 = 0xff;
    let exit_signal = i32::try_from(value & SIGNAL).unwrap_or_default();
    match (value & !SIGNAL, exit_signal) {
        (0, 0) => "0".to_owned(),
        (0, exit_signal) => signal::name(exit_signal),
        (flags, 0) => set::flags_text(Set::CloneFlags, abi, flags),
        (flags, exit_signal) => {
            let flags = set::flags_text(Set::CloneFlags, abi, flags);
            format!("{flags}|{}", signal::name(exit_signal))
        }
    }
}

/// How much is asked of a network file system, then flags.
fn statx_flags(abi: Abi, value: u64) -> String {
    // `AT_STATX_SYNC_TYPE`
    const SYNC: u64 = 0x6000;
    let sync = match value & SYNC {
        0 => "AT_STATX_SYNC_AS_STAT",
        0x2000 => "AT_STATX_FORCE_SYNC",
        0x4000 => "AT_STATX_DONT_SYNC",
        _ => "AT_STATX_FORCE_SYNC|AT_STATX_DONT_SYNC",
    };
    set::joined(sync, Set::AtFlags, abi, value & !SYNC)
}

/// `IPC_CREAT|0600`
fn with_mode(set: Set, abi: Abi, value: u64) -> String {
    const MODE: u64 = 0o777;
    // `SHM_HUGE_MASK` at `SHM_HUGE_SHIFT`
    const HUGE: u64 = 0x3f << 26;
    let huge = if set == Set::ShmgetFlags { value & HUGE } else { 0 };
    let mut parts = Vec::new();
    let flags = value & !MODE & !huge;
    if flags != 0 {
        parts.push(set::flags_text(set, abi, flags));
    }
    if huge != 0 {
        parts.push(format!("{}<<SHM_HUGE_SHIFT", huge >> 26));
    }
    parts.push(number::octal(value & MODE));
    parts.join("|")
}

/// Old programs set a magic number in the upper half.
fn mount_flags(abi: Abi, value: u64) -> String {
    const MAGIC: u64 = 0xc0ed_0000;
    if value & 0xffff_0000 != MAGIC {
        return set::flags_text(Set::MountFlags, abi, value);
    }
    match value & !MAGIC {
        0 => "MS_MGC_VAL".to_owned(),
        flags => format!("MS_MGC_VAL|{}", set::flags_text(Set::MountFlags, abi, flags)),
    }
}

/// A type, and flags of the descriptor.
fn socket_type(abi: Abi, value: u64) -> String {
    const TYPE: u64 = 0xf;
    let Some(name) = set::name(Set::SocketTypes, abi, value & TYPE) else {
        return if value == 0 {
            "0".to_owned()
        } else {
            set::value_text(Set::SocketTypes, abi, value)
        };
    };
    match value & !TYPE {
        0 => name.to_owned(),
        flags => format!("{name}|{}", set::flags_text(Set::SocketTypeFlags, abi, flags)),
    }
}

/// What a protocol's number means depends on the family.
fn protocol(context: &Context<'_>, value: u64) -> String {
    let abi = context.abi;
    let family = set::name(Set::AddressFamilies, abi, context.args[0] & 0xffff_ffff);
    match family {
        Some("AF_INET" | "AF_INET6") if context.name != "socketpair" => {
            set::value_text(Set::IpProtocols, abi, value)
        }
        Some("AF_NETLINK") => set::value_text(Set::NetlinkProtocols, abi, value),
        Some("AF_PACKET") => {
            let protocol =
                u64::from(u16::try_from(value & 0xffff).unwrap_or_default().swap_bytes());
            format!("htons({})", set::value_text(Set::EthernetProtocols, abi, protocol))
        }
        _ => value.to_string(),
    }
}

/// What an option's number means depends on the level.
fn option(context: &Context<'_>, value: u64) -> String {
    let abi = context.abi;
    let options = match set::name(Set::SocketLevels, abi, context.args[1] & 0xffff_ffff) {
        Some("SOL_SOCKET") => match socket_option(context, value) {
            Some(name) => return name.to_owned(),
            None => Set::SocketOptions,
        },
        Some("SOL_TCP") => Set::TcpOptions,
        Some("SOL_UDP") => Set::UdpOptions,
        Some("SOL_IP") => Set::IpOptions,
        Some("SOL_IPV6") => Set::Ipv6Options,
        Some("SOL_NETLINK") => Set::NetlinkOptions,
        Some("SOL_PACKET") => Set::PacketOptions,
        _ => return set::unknown_text("", value),
    };
    set::value_text(options, abi, value)
}

/// The name of an option of `SOL_SOCKET`: one of them means one thing to set and another to get.
pub(super) fn socket_option(context: &Context<'_>, value: u64) -> Option<&'static str> {
    match set::name(Set::SocketOptions, context.abi, value & 0xffff_ffff)? {
        "SO_ATTACH_FILTER" if context.name == "getsockopt" => Some("SO_GET_FILTER"),
        name => Some(name),
    }
}

/// Flags of a filter; other operations of `seccomp` have none.
fn seccomp_flags(context: &Context<'_>, value: u64) -> String {
    match set::name(Set::SeccompOperations, context.abi, context.args[0] & 0xffff_ffff) {
        Some("SECCOMP_SET_MODE_FILTER") => {
            set::flags_text(Set::SeccompFilterFlags, context.abi, value)
        }
        _ => set::unknown_text("", value),
    }
}

fn futex_operation(abi: Abi, value: u64) -> String {
    // `FUTEX_CLOCK_REALTIME`
    const REALTIME: u64 = 0x100;
    match (set::name(Set::FutexOperations, abi, value & !REALTIME), value & REALTIME) {
        (Some(name), 0) => name.to_owned(),
        (Some(name), _) => format!("{name}|FUTEX_CLOCK_REALTIME"),
        (None, _) => set::value_text(Set::FutexOperations, abi, value),
    }
}

/// The operation of `futex` without its flags.
fn futex_name(context: &Context<'_>) -> String {
    let operation = futex_operation(context.abi, context.args[1]);
    let name = operation.split('|').next().unwrap_or_default();
    name.strip_suffix("_PRIVATE").unwrap_or(name).to_owned()
}

/// Whether `futex` has a second number in place of a time: how many are moved, or woken elsewhere.
pub(super) fn futex_counts_twice(context: &Context<'_>) -> bool {
    const OPERATIONS: [&str; 4] =
        ["FUTEX_REQUEUE", "FUTEX_CMP_REQUEUE", "FUTEX_CMP_REQUEUE_PI", "FUTEX_WAKE_OP"];
    OPERATIONS.contains(&futex_name(context).as_str())
}

/// The last argument of `futex`: bits, an operation packed into a word, or a number.
fn futex_last(context: &Context<'_>, value: u64) -> String {
    match futex_name(context).as_str() {
        "FUTEX_WAIT_BITSET" | "FUTEX_WAKE_BITSET" => {
            set::value_text(Set::FutexBitsets, context.abi, value)
        }
        "FUTEX_WAKE_OP" => futex_wake_operation(value),
        "FUTEX_CMP_REQUEUE" | "FUTEX_CMP_REQUEUE_PI" => value.to_string(),
        _ => set::unknown_text("", value),
    }
}

/// `FUTEX_OP_ADD<<28|1<<12|FUTEX_OP_CMP_GT<<24|0`, as `FUTEX_OP` of linux/futex.h makes it.
fn futex_wake_operation(value: u64) -> String {
    const OPERATIONS: [&str; 5] = ["SET", "ADD", "OR", "ANDN", "XOR"];
    const COMPARISONS: [&str; 6] = ["EQ", "NE", "LT", "LE", "GT", "GE"];
    let (code, comparison) = (value >> 28 & 0xf, value >> 24 & 0xf);
    // The operand is the number of a bit.
    let shift = if code & 8 == 0 { "" } else { "FUTEX_OP_OPARG_SHIFT<<28|" };
    let name = |names: &[&str], prefix, value: u64| {
        let known = usize::try_from(value).ok().and_then(|at| names.get(at));
        known.map_or_else(|| format!("{value:#x} /* {prefix}??? */"), |it| format!("{prefix}{it}"))
    };
    let operation = name(&OPERATIONS, "FUTEX_OP_", code & 7);
    let compared = name(&COMPARISONS, "FUTEX_OP_CMP_", comparison);
    let hex = |value| set::unknown_text("", value);
    let (operand, against) = (hex(value >> 12 & 0xfff), hex(value & 0xfff));
    format!("{shift}{operation}<<28|{operand}<<12|{compared}<<24|{against}")
}

fn personality(abi: Abi, value: u64) -> String {
    // Asks for the one that is set.
    const QUERY: u64 = 0xffff_ffff;
    if value == QUERY {
        return "0xffffffff".to_owned();
    }
    parts(abi, Set::PersonalityTypes, value & 0xff, Set::PersonalityFlags, value & !0xff)
}

/// `IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 4)`
fn io_priority(abi: Abi, value: u64) -> String {
    const SHIFT: u32 = 13;
    let class = set::value_text(Set::IoprioClasses, abi, value >> SHIFT);
    format!("IOPRIO_PRIO_VALUE({class}, {})", value & ((1 << SHIFT) - 1))
}

/// `QCMD(Q_GETQUOTA, USRQUOTA)`
fn quota_command(abi: Abi, value: u64) -> String {
    let command = set::value_text(Set::QuotaCommands, abi, value >> 8);
    let kind = set::value_text(Set::QuotaTypes, abi, value & 0xff);
    format!("QCMD({command}, {kind})")
}

/// 32-bit programs say with a bit which structure they mean.
fn ipc_command(set: Set, abi: Abi, value: u64) -> String {
    const IPC_64: u64 = 0x100;
    if value & IPC_64 == 0 {
        return set::value_text(set, abi, value);
    }
    format!("IPC_64|{}", set::value_text(set, abi, value & !IPC_64))
}

/// A clock; below zero it is that of a process or thread, or of a device.
fn clock(abi: Abi, value: u64) -> String {
    let id = u32::try_from(value).unwrap_or_default().cast_signed();
    if id >= 0 {
        return set::value_text(Set::Clocks, abi, value);
    }
    // `clockid_to_kclock`, and `CLOCKFD` as one of three bits,
    // <https://github.com/torvalds/linux/blob/v6.12/include/linux/posix-timers_types.h#L33>.
    const KINDS: [&str; 3] = ["CPUCLOCK_PROF", "CPUCLOCK_VIRT", "CPUCLOCK_SCHED"];
    let number = !(id >> 3);
    let is_threads = id & 4 != 0;
    match usize::try_from(id & 3).ok().and_then(|kind| KINDS.get(kind)) {
        Some(kind) if is_threads => format!("MAKE_THREAD_CPUCLOCK({number}, {kind})"),
        Some(kind) => format!("MAKE_PROCESS_CPUCLOCK({number}, {kind})"),
        None if is_threads => set::value_text(Set::Clocks, abi, value),
        None => format!("FD_TO_CLOCKID({number})"),
    }
}

/// A command without a name by its parts: `_IOC(_IOC_READ, 0x54, 0x1, 0x4)`.
fn ioctl_command(abi: Abi, value: u64) -> String {
    const DIRECTIONS: [&str; 4] = ["_IOC_NONE", "_IOC_WRITE", "_IOC_READ", "_IOC_READ|_IOC_WRITE"];
    if let Some(name) = set::name(Set::IoctlCommands, abi, value) {
        return name.to_owned();
    }
    let direction = usize::try_from(value >> 30 & 3).ok().and_then(|at| DIRECTIONS.get(at));
    let hex = |part: u64| if part == 0 { "0".to_owned() } else { format!("{part:#x}") };
    let [size, kind, number] = [value >> 16 & 0x3fff, value >> 8 & 0xff, value & 0xff].map(hex);
    format!("_IOC({}, {kind}, {number}, {size})", direction.copied().unwrap_or_default())
}

/// Where the version of `ipc`'s structures stands in its first argument, above the operation.
const VERSION_SHIFT: u32 = 16;

/// `SHMAT`, or `1<<16|MSGRCV` where a version of the structures is said.
pub(super) fn ipc_operation(abi: Abi, value: u64) -> String {
    let name = set::value_text(Set::IpcCalls, abi, value & 0xffff);
    match value >> VERSION_SHIFT {
        0 => name,
        version => format!("{version}<<16|{name}"),
    }
}
