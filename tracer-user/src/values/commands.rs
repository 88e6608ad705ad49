//! Arguments whose type follows from a command in another argument: `ioctl`, `fcntl`, `prctl`.

use tracer_common::syscalls::Set;

use super::{
    Context, files, interface,
    layout::{self, Entry, Kind, abridged, field, silent},
    node::{Fields, Node, Shown},
    reader::Reader,
    set, signal,
};

const WINSIZE: &[Entry] = &[
    field("ws_row", Kind::U16),
    field("ws_col", Kind::U16),
    field("ws_xpixel", Kind::U16),
    field("ws_ypixel", Kind::U16),
];
const TERMIOS: &[Entry] = &[
    field("c_iflag", Kind::Flags32(Set::TermiosIflags)),
    field("c_oflag", Kind::Custom(output_flags)),
    field("c_cflag", Kind::Custom(control_flags)),
    field("c_lflag", Kind::Flags32(Set::TermiosLflags)),
    abridged("c_line", Kind::U8),
    abridged("c_cc", Kind::Array(&Kind::U8, 19)),
];
/// `struct flock` of the ABI.
const FLOCK: &[Entry] = &[
    field("l_type", Kind::Enum16(Set::LockTypes)),
    field("l_whence", Kind::Enum16(Set::SeekWhence)),
    field("l_start", Kind::Long),
    field("l_len", Kind::Long),
    silent("l_pid", Kind::I32),
];
const FLOCK64: &[Entry] = &[
    field("l_type", Kind::Enum16(Set::LockTypes)),
    field("l_whence", Kind::Enum16(Set::SeekWhence)),
    field("l_start", Kind::I64),
    field("l_len", Kind::I64),
    silent("l_pid", Kind::I32),
];
const OWNER: &[Entry] = &[field("type", Kind::Enum32(Set::OwnerTypes)), field("pid", Kind::I32)];

/// The name of the command in the second argument, or of `prctl`'s option in the first.
pub(super) fn command(set: Set, context: &Context<'_>, argument: usize) -> &'static str {
    let value = context.args.get(argument).copied().unwrap_or_default();
    set::name(set, context.abi, value & 0xffff_ffff).unwrap_or_default()
}

/// Commands of `ioctl` that only return something.
const RETURNED: [&str; 20] = [
    "TCGETS",
    "TCGETS2",
    "TIOCGWINSZ",
    "TIOCMGET",
    "FIONREAD",
    "TIOCGPGRP",
    "TIOCGSID",
    "TIOCGETD",
    "TIOCOUTQ",
    "TIOCGPTN",
    "TIOCGEXCL",
    "BLKROGET",
    "BLKSSZGET",
    "BLKBSZGET",
    "BLKPBSZGET",
    "BLKIOMIN",
    "BLKIOOPT",
    "BLKGETSIZE",
    "BLKGETSIZE64",
    "TIOCGLCKTRMIOS",
];

/// Whether a command of `ioctl` returns all that it was passed, and more.
pub(super) fn ioctl_returns(context: &Context<'_>) -> bool {
    interface::is_returned(command(Set::IoctlCommands, context, 1))
}

/// What the third argument of `ioctl` points to.
pub(super) fn ioctl(reader: &mut Reader<'_>, context: &Context<'_>) -> Option<Node> {
    let command = command(Set::IoctlCommands, context, 1);
    // Before the call there is nothing of use in what it is to fill in.
    if !context.at_exit && RETURNED.contains(&command) {
        return None;
    }
    let number =
        |reader: &mut Reader<'_>| Some(Node::List(vec![Node::Signed(reader.i32()?.into())]));
    match command {
        "TCGETS"
        | "SNDCTL_TMR_START or TCSETS"
        | "SNDCTL_TMR_STOP or TCSETSW"
        | "SNDCTL_TMR_CONTINUE or TCSETSF"
        | "TCGETS2"
        | "TCSETS2"
        | "TCSETSW2"
        | "TCSETSF2"
        | "TIOCGLCKTRMIOS"
        | "TIOCSLCKTRMIOS" => Some(layout::read(TERMIOS, reader).into()),
        "TIOCGWINSZ" | "TIOCSWINSZ" => Some(layout::read(WINSIZE, reader).into()),
        "TIOCMGET" | "TIOCMBIS" | "TIOCMBIC" | "TIOCMSET" => {
            let lines = set::flags_text(Set::ModemLines, context.abi, reader.u32()?.into());
            Some(Node::List(vec![Node::Symbol(lines)]))
        }
        "FIONREAD" | "FIONBIO" | "FIOASYNC" | "TIOCGPGRP" | "TIOCSPGRP" | "TIOCGSID"
        | "TIOCGETD" | "TIOCSETD" | "TIOCOUTQ" | "TIOCGPTN" | "TIOCSPTLCK" | "TIOCPKT"
        | "TIOCGEXCL" | "BLKROGET" | "BLKROSET" | "BLKSSZGET" | "BLKBSZGET" => number(reader),
        "BLKPBSZGET" | "BLKIOMIN" | "BLKIOOPT" => {
            Some(Node::List(vec![Node::Unsigned(reader.u32()?.into())]))
        }
        "BLKGETSIZE" | "BLKRAGET" | "BLKFRAGET" => {
            Some(Node::List(vec![Node::Unsigned(reader.ulong()?)]))
        }
        "BLKGETSIZE64" => Some(Node::List(vec![Node::Unsigned(reader.u64()?)])),
        command => interface::request(reader, command, context.at_exit)
            .or_else(|| super::requests::argument(reader, command, context.at_exit)),
    }
}

/// An argument of `ioctl` that is a number itself.
pub(super) fn ioctl_number(context: &Context<'_>, value: u64) -> Option<String> {
    let set = match command(Set::IoctlCommands, context, 1) {
        "TCXONC" => Set::TcxoncActions,
        "TCFLSH" => Set::TcflshQueues,
        "TCSBRK" | "TCSBRKP" | "TIOCSCTTY" | "BTRFS_IOC_CLONE or FICLONE" => {
            return Some(int(value).to_string());
        }
        _ if value == 0 && leads_to_memory(context) => return Some("NULL".to_owned()),
        _ => return None,
    };
    Some(set::value_text(set, context.abi, value))
}

/// Whether the command is one whose argument is an address: then zeroes there can be decoded.
fn leads_to_memory(context: &Context<'_>) -> bool {
    const ROOM: usize = 64;
    let returned = Context { at_exit: true, ..*context };
    ioctl(&mut Reader::new(&[0; ROOM], context.abi), &returned).is_some()
}

fn int(value: u64) -> i32 {
    u32::try_from(value & 0xffff_ffff).unwrap_or_default().cast_signed()
}

/// Delays as values of several bits, then flags: `NL0|CR0|TAB0|BS0|VT0|FF0|OPOST|ONLCR`.
fn output_flags(reader: &mut Reader<'_>) -> Option<Node> {
    // asm-generic/termbits.h: mask, first bit, names.
    const DELAYS: [(u32, u32, &str); 6] = [
        (0o400, 8, "NL"),
        (0o3000, 9, "CR"),
        (0o14000, 11, "TAB"),
        (0o20000, 13, "BS"),
        (0o40000, 14, "VT"),
        (0o100_000, 15, "FF"),
    ];
    let flags = reader.u32()?;
    let mut rest = flags;
    let mut text = Vec::new();
    for (mask, shift, name) in DELAYS {
        let value = (flags & mask) >> shift;
        let is_xtabs = name == "TAB" && value == 3;
        text.push(if is_xtabs { "XTABS".to_owned() } else { format!("{name}{value}") });
        rest &= !mask;
    }
    text.push(set::flags_text(Set::TermiosOflags, reader.abi(), rest.into()));
    Some(Node::Symbol(text.join("|")))
}

/// The speed, the size of a character, then flags: `B38400|CS8|CREAD`.
fn control_flags(reader: &mut Reader<'_>) -> Option<Node> {
    // asm-generic/termbits.h
    const SPEED: u32 = 0x100f;
    const INPUT_SPEED: u32 = 0x100f_0000;
    const SIZE: u32 = 0x30;
    let flags = reader.u32()?;
    let abi = reader.abi();
    let mut text = vec![set::value_text(Set::TermiosSpeeds, abi, (flags & SPEED).into())];
    if flags & INPUT_SPEED != 0 {
        let speed = (flags & INPUT_SPEED) >> 16;
        text.push(format!("{}<<IBSHIFT", set::value_text(Set::TermiosSpeeds, abi, speed.into())));
    }
    text.push(set::value_text(Set::TermiosSizes, abi, (flags & SIZE).into()));
    let rest = flags & !(SPEED | INPUT_SPEED | SIZE);
    text.push(set::flags_text(Set::TermiosCflags, abi, rest.into()));
    Some(Node::Symbol(text.join("|")))
}

/// What the third argument of `fcntl` points to.
pub(super) fn fcntl(reader: &mut Reader<'_>, context: &Context<'_>) -> Option<Node> {
    let command = command(Set::FcntlCommands, context, 1);
    match command {
        "F_SETLK" | "F_SETLKW" | "F_GETLK" => Some(lock(FLOCK, reader, command)),
        "F_SETLK64" | "F_SETLKW64" | "F_GETLK64" | "F_OFD_SETLK" | "F_OFD_SETLKW"
        | "F_OFD_GETLK" => Some(lock(FLOCK64, reader, command)),
        "F_SETOWN_EX" | "F_GETOWN_EX" => Some(layout::read(OWNER, reader).into()),
        _ => None,
    }
}

fn lock(layout: &[Entry], reader: &mut Reader<'_>, command: &str) -> Node {
    let mut fields = layout::read(layout, reader);
    if command.contains("GETLK") {
        fields.show("l_pid", Shown::Always);
    }
    fields.into()
}

/// An argument of `fcntl` that is a number itself.
pub(super) fn fcntl_number(context: &Context<'_>, value: u64) -> Option<String> {
    let abi = context.abi;
    let low = value & 0xffff_ffff;
    Some(match command(Set::FcntlCommands, context, 1) {
        "F_SETFD" => set::flags_text(Set::FdFlags, abi, low),
        "F_SETFL" => files::open_flags(abi, low),
        "F_DUPFD" | "F_DUPFD_CLOEXEC" | "F_SETOWN" | "F_SETPIPE_SZ" => int(value).to_string(),
        "F_NOTIFY" => set::flags_text(Set::DnotifyFlags, abi, low),
        "F_SETLEASE" => set::value_text(Set::LockTypes, abi, low),
        "F_ADD_SEALS" => set::flags_text(Set::SealFlags, abi, low),
        "F_SETSIG" => signal::name(int(value)),
        "F_SETLK" | "F_SETLKW" | "F_GETLK" | "F_OFD_SETLK" | "F_OFD_SETLKW" | "F_OFD_GETLK"
        | "F_SETLK64" | "F_SETLKW64" | "F_GETLK64" | "F_SETOWN_EX" | "F_GETOWN_EX"
            if value == 0 =>
        {
            "NULL".to_owned()
        }
        _ => return None,
    })
}

/// What stands behind the result of `fcntl`: `(flags O_RDWR|O_LARGEFILE)`.
pub(super) fn fcntl_result(context: &Context<'_>) -> Option<String> {
    let value = u64::try_from(context.ret).ok()?;
    let abi = context.abi;
    match command(Set::FcntlCommands, context, 1) {
        "F_GETFD" if value != 0 => {
            Some(format!("flags {}", set::flags_text(Set::FdFlags, abi, value)))
        }
        "F_GETFL" => Some(format!("flags {}", files::open_flags(abi, value))),
        "F_GETLEASE" => Some(set::value_text(Set::LockTypes, abi, value)),
        "F_GET_SEALS" if value != 0 => {
            Some(format!("seals {}", set::flags_text(Set::SealFlags, abi, value)))
        }
        "F_GETSIG" if value != 0 => Some(signal::name(i32::try_from(value).ok()?)),
        _ => None,
    }
}

/// Whether the result is a set of bits, read in hexadecimal.
pub(super) fn fcntl_result_is_bits(context: &Context<'_>) -> bool {
    let command = command(Set::FcntlCommands, context, 1);
    matches!(command, "F_GETFL" | "F_GETFD" | "F_GET_SEALS" | "F_GETLEASE")
}

/// What the second argument of `prctl` points to.
pub(super) fn prctl(reader: &mut Reader<'_>, context: &Context<'_>) -> Option<Node> {
    // A command name without its zero.
    const NAME: usize = 15;
    match command(Set::PrctlOptions, context, 0) {
        "PR_SET_NAME" | "PR_GET_NAME" => {
            let bytes = reader.take_up_to(NAME + 1);
            let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
            let cut = end > NAME || end == bytes.len();
            let name = bytes.get(..end.min(NAME)).unwrap_or_default();
            Some(Node::Text { bytes: name.to_vec(), cut, before: "" })
        }
        "PR_GET_PDEATHSIG" => Some(Node::List(vec![Node::Symbol(signal::name(reader.i32()?))])),
        "PR_GET_CHILD_SUBREAPER" | "PR_GET_ENDIAN" | "PR_GET_FPEMU" | "PR_GET_FPEXC" => {
            Some(Node::List(vec![Node::Unsigned(reader.u32()?.into())]))
        }
        "PR_GET_UNALIGN" => {
            let text = set::flags_text(Set::PrctlUnalign, context.abi, reader.u32()?.into());
            Some(Node::List(vec![Node::Symbol(text)]))
        }
        "PR_GET_TSC" => {
            let text = set::value_text(Set::PrctlTsc, context.abi, reader.u32()?.into());
            Some(Node::List(vec![Node::Symbol(text)]))
        }
        "PR_GET_TID_ADDRESS" => Some(Node::List(vec![Node::Pointer(reader.ulong()?)])),
        _ => None,
    }
}

/// A second argument of `prctl` that is a number itself.
pub(super) fn prctl_number(context: &Context<'_>, value: u64) -> Option<String> {
    let abi = context.abi;
    Some(match command(Set::PrctlOptions, context, 0) {
        "PR_SET_NAME" | "PR_GET_NAME" | "PR_GET_PDEATHSIG" | "PR_GET_TID_ADDRESS" if value == 0 => {
            "NULL".to_owned()
        }
        "PR_SET_PDEATHSIG" => signal::name(int(value)),
        "PR_CAPBSET_READ" | "PR_CAPBSET_DROP" => set::value_text(Set::Capabilities, abi, value),
        "PR_CAP_AMBIENT" => set::value_text(Set::PrctlCapAmbient, abi, value),
        "PR_SET_MM" => set::value_text(Set::PrctlSetMm, abi, value),
        "PR_SET_SECUREBITS" => set::flags_text(Set::SecureBits, abi, value),
        "PR_SET_SECCOMP" => set::value_text(Set::SeccompModes, abi, value),
        "PR_SET_DUMPABLE" => set::value_text(Set::Dumpable, abi, value),
        "PR_SET_NO_NEW_PRIVS"
        | "PR_SET_THP_DISABLE"
        | "PR_SET_IO_FLUSHER"
        | "PR_SET_CHILD_SUBREAPER"
        | "PR_SET_KEEPCAPS"
        | "PR_SET_TIMING"
        | "PR_SET_TIMERSLACK" => value.to_string(),
        _ => return None,
    })
}

/// A structure that `bpf` and others read is shown by its first fields; those are of use.
pub(super) fn bpf(reader: &mut Reader<'_>, context: &Context<'_>) -> Fields {
    let layout = match set::name(Set::BpfCommands, context.abi, context.args[0] & 0xffff_ffff) {
        Some("BPF_MAP_CREATE") => BPF_MAP_CREATE,
        Some("BPF_PROG_LOAD") => BPF_PROG_LOAD,
        Some("BPF_OBJ_PIN" | "BPF_OBJ_GET") => BPF_OBJ,
        Some("BPF_MAP_LOOKUP_ELEM" | "BPF_MAP_UPDATE_ELEM" | "BPF_MAP_LOOKUP_AND_DELETE_ELEM") => {
            BPF_ELEM
        }
        Some("BPF_MAP_DELETE_ELEM") => BPF_KEY,
        Some("BPF_MAP_GET_NEXT_KEY") => BPF_NEXT_KEY,
        _ => BPF_OTHER,
    };
    let mut fields = layout::read(layout, reader);
    // It has grown: what a program leaves out at the end is zero.
    if u64::try_from(reader.len()).is_ok_and(|len| len == context.args[2]) {
        for entry in layout {
            fields.ends_after(entry.name());
        }
    }
    fields
}

const BPF_MAP_CREATE: &[Entry] = &[
    field("map_type", Kind::Enum32(Set::BpfMapTypes)),
    field("key_size", Kind::U32),
    field("value_size", Kind::U32),
    field("max_entries", Kind::U32),
    field("map_flags", Kind::Flags32(Set::BpfMapFlags)),
    field("inner_map_fd", Kind::I32),
    abridged("numa_node", Kind::U32),
    abridged("map_name", Kind::Text(16)),
];
const BPF_PROG_LOAD: &[Entry] = &[
    field("prog_type", Kind::Enum32(Set::BpfProgTypes)),
    field("insn_cnt", Kind::U32),
    field("insns", Kind::Pointer64),
    field("license", Kind::Pointer64),
    abridged("log_level", Kind::U32),
    abridged("log_size", Kind::U32),
    abridged("log_buf", Kind::Pointer64),
    abridged("kern_version", Kind::U32),
    abridged("prog_flags", Kind::X32),
    abridged("prog_name", Kind::Text(16)),
];
const BPF_OBJ: &[Entry] = &[
    field("pathname", Kind::Pointer64),
    field("bpf_fd", Kind::Fd),
    field("file_flags", Kind::X32),
];
const BPF_ELEM: &[Entry] = &[
    field("map_fd", Kind::Fd),
    field("key", Kind::Pointer64),
    field("value", Kind::Pointer64),
    field("flags", Kind::Flags64(Set::BpfElementFlags)),
];
const BPF_KEY: &[Entry] = &[field("map_fd", Kind::Fd), field("key", Kind::Pointer64)];
const BPF_NEXT_KEY: &[Entry] =
    &[field("map_fd", Kind::Fd), field("key", Kind::Pointer64), field("next_key", Kind::Pointer64)];
const BPF_OTHER: &[Entry] = &[abridged("word", Kind::X32)];
