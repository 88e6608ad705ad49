//! The calls, made from the syscall table.

use tracer_common::{
    event::Abi,
    syscalls::{self, ArgKind, Extent, Set, Struct, Syscall},
};
use tracer_user::values;

/// Where the program has the memory of a case.
pub(crate) const ARENA: u64 = 0x2000_0000;
/// Where no program has memory.
pub(crate) const NOWHERE: u64 = 0x1230;
/// Bytes of memory for each argument.
const PLACE: usize = 1024;

/// The newest call that every strace knows that tests are run with: 6.1's. It cannot keep others
/// from being made.
const NEWEST: u32 = 450;

/// Calls that strace cannot keep from being made, or that end or change the program.
const LEFT_OUT: [&str; 16] = [
    "uretprobe",
    "uprobe",
    // strace shows what they stand for.
    "ipc",
    "socketcall",
    "read",
    "exit_group",
    "exit",
    "execve",
    "execveat",
    "rt_sigreturn",
    "sigreturn",
    "fork",
    "vfork",
    "clone",
    "clone3",
    "restart_syscall",
];

/// A call, and the memory at [`ARENA`].
pub(crate) struct Case {
    pub(crate) abi: Abi,
    pub(crate) nr: u32,
    pub(crate) args: [u64; 6],
    pub(crate) memory: Vec<u8>,
}

impl Case {
    /// The memory at an address, zeroes behind what was filled.
    pub(crate) fn at(&self, address: u64, len: usize) -> &[u8] {
        let start = usize::try_from(address - ARENA).unwrap();
        &self.memory[start..start + len]
    }
}

/// All cases of an ABI.
pub(crate) fn all(abi: Abi) -> Vec<Case> {
    let mut cases = Vec::new();
    for (nr, call) in syscalls::all(abi) {
        if nr > NEWEST || LEFT_OUT.contains(&call.name) {
            continue;
        }
        // What is made for one call does not depend on others.
        let seed =
            call.name.bytes().fold(0, |seed: u64, byte| seed.wrapping_mul(31) + u64::from(byte));
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ seed);
        let mut make = |args: [u64; 6], memory: Vec<u8>| {
            let mut memory = memory;
            memory.resize(PLACE * 6, 0);
            cases.push(Case { abi, nr, args, memory });
        };
        // Everything zero.
        make([0; 6], Vec::new());
        for (index, arg) in call.args.iter().enumerate() {
            for value in numbers(abi, arg.kind).into_iter().chain(wider(abi, arg.kind)) {
                let mut args = [0; 6];
                args[index] = value;
                make(args, Vec::new());
            }
        }
        structures(call, &mut random, &mut make);
        commands(abi, call, &mut random, &mut make);
    }
    cases
}

/// Values for an argument that is a number.
fn numbers(abi: Abi, kind: ArgKind) -> Vec<u64> {
    match kind {
        ArgKind::Flags(set) | ArgKind::Enum(set) => {
            let known: Vec<u64> = values::constants(set, abi).map(|(_, value)| value).collect();
            let all = known.iter().fold(0, |all, value| all | value);
            let mut values = known.clone();
            values.extend([3, 0x63, 0x1234_5678]);
            if matches!(kind, ArgKind::Flags(_)) {
                values.push(all & 0xffff_ffff);
                values.extend(known.first().map(|value| value | 0x4000_0000));
            }
            values.retain(|value| *value <= 0xffff_ffff);
            values
        }
        ArgKind::Mode | ArgKind::FileMode => {
            vec![0, 7, 0o22, 0o644, 0o1777, 0o4755, 0o100_644, 0o020_620, 0o177_777]
        }
        ArgKind::Signal => (1..=70).chain([0x7fff_ffff, 0xffff_ffff]).collect(),
        ArgKind::Dev => vec![1, 0x803, 0x1_0005, 0x1234_5678],
        ArgKind::Int
        | ArgKind::Uint
        | ArgKind::Fd
        | ArgKind::DirFd
        | ArgKind::Pid
        | ArgKind::Uid
        | ArgKind::Gid => vec![1, 1000, 0x7fff_ffff, 0x8000_0000, 0xffff_ff9c, 0xffff_ffff],
        ArgKind::Long | ArgKind::Ulong | ArgKind::Size | ArgKind::Offset | ArgKind::Hex => {
            let mut values = vec![1, 4096, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
            if abi == Abi::X86_64 {
                values.extend([1 << 40, i64::MAX.cast_unsigned(), u64::MAX]);
            }
            values
        }
        ArgKind::Ptr | ArgKind::Path | ArgKind::Str | ArgKind::Struct(_, _, Extent::One) => {
            vec![NOWHERE]
        }
        _ => Vec::new(),
    }
}

/// Values of more bits than the kernel takes of most arguments of a kind.
fn wider(abi: Abi, kind: ArgKind) -> Vec<u64> {
    const ABOVE: u64 = 0xdead_beef_0000_0000;
    if abi == Abi::I386 {
        return match kind {
            ArgKind::Mode | ArgKind::FileMode => vec![0xffff_8014],
            _ => Vec::new(),
        };
    }
    match kind {
        ArgKind::Flags(set) | ArgKind::Enum(set) => {
            values::constants(set, abi).take(2).map(|(_, value)| value | ABOVE).collect()
        }
        ArgKind::Mode | ArgKind::FileMode => vec![ABOVE | 0xffff_8014],
        ArgKind::Signal
        | ArgKind::Dev
        | ArgKind::Int
        | ArgKind::Uint
        | ArgKind::Fd
        | ArgKind::DirFd
        | ArgKind::Pid
        | ArgKind::Uid
        | ArgKind::Gid => vec![ABOVE | 7, ABOVE | 0xffff_ffff],
        _ => Vec::new(),
    }
}

/// Memory of several contents behind all pointers to structures.
fn structures(call: &Syscall, random: &mut Random, make: &mut impl FnMut([u64; 6], Vec<u8>)) {
    if !call.args.iter().any(|arg| matches!(arg.kind, ArgKind::Struct(..) | ArgKind::Sockaddr(..)))
    {
        return;
    }
    for content in 0..18 {
        let mut args = [0; 6];
        let mut memory = vec![0; PLACE * 6];
        for (index, arg) in call.args.iter().enumerate() {
            let place = &mut memory[index * PLACE..][..PLACE / 2];
            let address = ARENA + (index * PLACE) as u64;
            match arg.kind {
                ArgKind::Struct(kind, _, extent) => {
                    args[index] = address;
                    fill(place, content, kind, random);
                    length(&mut args, extent, kind);
                }
                ArgKind::Sockaddr(_, extent) => {
                    args[index] = address;
                    if let Extent::Bytes(at) = extent {
                        args[usize::from(at)] = address_of(place, content, random);
                    }
                }
                _ => {}
            }
        }
        if call.name.ends_with("statfs64") {
            args[1] = Struct::Statfs64.size(Abi::I386).into();
        }
        make(args, memory);
    }
}

/// Sets the argument that has the length.
fn length(args: &mut [u64; 6], extent: Extent, kind: Struct) {
    match extent {
        Extent::Count(at) => args[usize::from(at)] = 2,
        Extent::Bytes(at) => {
            // What it is on x86-64 does for i386, where it is the same or smaller.
            let size =
                if matches!(kind, Struct::Sigset | Struct::OldSigset | Struct::IoUringEnterArg) {
                    8
                } else {
                    kind.size(Abi::X86_64)
                };
            args[usize::from(at)] = size.into();
        }
        Extent::Bits(at) if kind == Struct::NodeMask => args[usize::from(at)] = 130,
        _ => {}
    }
}

/// Contents: zeroes, small numbers, large ones, signals in front.
fn fill(place: &mut [u8], content: u64, kind: Struct, random: &mut Random) {
    let words = place.chunks_exact_mut(if content.is_multiple_of(2) { 4 } else { 8 });
    for word in words {
        let value = match content {
            0 => 0,
            1..=3 => random.next() % 3,
            4..=7 => random.next() % 16,
            8..=11 => random.next() % 4096,
            12..=15 => 1 << (random.next() % 32),
            16 => u64::MAX,
            _ => random.next(),
        };
        let len = word.len();
        word.copy_from_slice(&value.to_le_bytes()[..len]);
    }
    if kind == Struct::Siginfo && content > 0 {
        let signals = [17, 11, 10, 29, 31, 5, 4, 8, 7, 34];
        let signal: u32 = signals[usize::try_from(content).unwrap() % signals.len()];
        let code: i32 = [1, 0, -1, -2, -6, 2, 3][usize::try_from(random.next() % 7).unwrap()];
        place[..4].copy_from_slice(&signal.to_le_bytes());
        place[4..8].fill(0);
        place[8..12].copy_from_slice(&code.to_le_bytes());
    }
    if matches!(kind, Struct::Stat | Struct::Stat64 | Struct::Statx) && content.is_multiple_of(3) {
        // A mode of a real type where x86-64 and i386 have it, beside others.
        let mode: u32 =
            [0o100_644, 0o020_620, 0o040_755, 0o060_660][usize::try_from(content / 3).unwrap() % 4];
        for at in [8, 16, 24, 28] {
            place[at..at + 2].copy_from_slice(&mode.to_le_bytes()[..2]);
        }
    }
}

/// Writes a socket address; returns its length.
fn address_of(place: &mut [u8], content: u64, random: &mut Random) -> u64 {
    let mut text = |bytes: &[u8]| {
        place[..bytes.len()].copy_from_slice(bytes);
        bytes.len() as u64
    };
    let mut sixteen = [0; 16];
    for byte in &mut sixteen {
        *byte = u8::try_from(random.next() & 0xff).unwrap();
    }
    match content % 12 {
        0 => text(b"\x02\0\x00\x50\x7f\0\0\x01\0\0\0\0\0\0\0\0"),
        1 => text(&[&[10, 0, 1, 0xbb, 0, 0, 0, 1], &sixteen[..], &[0; 4]].concat()),
        2 => text(b"\x01\0/tmp/socket\0"),
        3 => text(b"\x01\0\0abstract\0name"),
        4 => text(b"\x10\0\0\0\x11\0\0\0\x01\0\0\0"),
        5 => text(b"\x11\0\0\x03\x07\0\0\0\x01\0\x04\x06\x01\x02\x03\x04\x05\x06\0\0"),
        6 => text(b"\x01\0"),
        7 => text(b"\x02\0\x00\x50\x7f\0"),
        8 => text(b"\x3f\0abcdefgh"),
        9 => text(&[&[10, 0, 0, 22, 0, 0, 0, 0], &[0; 15][..], &[1, 0, 0, 0, 0]].concat()),
        10 => text(b"\x01\0/without/an/end"),
        _ => text(&sixteen),
    }
}

/// Calls whose arguments depend on a command.
fn commands(
    abi: Abi,
    call: &Syscall,
    random: &mut Random,
    make: &mut impl FnMut([u64; 6], Vec<u8>),
) {
    let mut with = |args: [u64; 6], index: usize, content: Option<u64>| {
        let mut args = args;
        let mut memory = vec![0; PLACE];
        if let Some(content) = content {
            args[index] = ARENA;
            fill(&mut memory, content, Struct::Int, random);
        }
        make(args, memory);
    };
    match call.name {
        "ioctl" => {
            for (_, command) in values::constants(Set::IoctlCommands, abi) {
                for content in [1, 12] {
                    with([3, command, 0, 0, 0, 0], 2, Some(content));
                }
            }
        }
        "fcntl" | "fcntl64" => {
            for (_, command) in values::constants(Set::FcntlCommands, abi) {
                for content in [1, 5, 20] {
                    with([3, command, 0, 0, 0, 0], 2, Some(content));
                }
                for number in [0, 1, 2, 0o2000, 0x800] {
                    with([3, command, number, 0, 0, 0], 0, None);
                }
            }
        }
        "msgctl" | "semctl" | "shmctl" => ipc(abi, call.name, &mut with),
        "keyctl" => {
            for (_, command) in values::constants(Set::KeyctlOperations, abi) {
                for key in [0, 1, 0x1234_5678, 0xffff_ffff, 0xffff_fffd] {
                    with([command, key, 0, 0, 0, 0], 0, None);
                }
            }
        }
        "ptrace" => ptrace(&mut with),
        "prctl" => {
            for (_, option) in values::constants(Set::PrctlOptions, abi) {
                with([option, 0, 0, 0, 0, 0], 1, Some(5));
                for number in [0, 1, 2, 9] {
                    with([option, number, 0, 0, 0, 0], 0, None);
                }
            }
        }
        "setsockopt" => {
            for (level, set) in [
                (1, Set::SocketOptions),
                (6, Set::TcpOptions),
                (17, Set::UdpOptions),
                (0, Set::IpOptions),
                (41, Set::Ipv6Options),
                (270, Set::NetlinkOptions),
                (263, Set::PacketOptions),
            ] {
                for (_, option) in values::constants(set, abi) {
                    with([3, level, option, 0, 4, 0], 3, Some(4));
                    with([3, level, option, 0, 8, 0], 3, Some(4));
                }
            }
        }
        "socket" => {
            for (family, set) in [
                (2, Set::IpProtocols),
                (10, Set::IpProtocols),
                (16, Set::NetlinkProtocols),
                (1, Set::FdFlags),
            ] {
                for (_, protocol) in values::constants(set, abi) {
                    with([family, 1, protocol, 0, 0, 0], 0, None);
                }
            }
        }
        _ => {}
    }
}

/// The commands of System V IPC, with a structure behind the pointer.
fn ipc(abi: Abi, call: &str, with: &mut impl FnMut([u64; 6], usize, Option<u64>)) {
    let (set, at) = match call {
        "msgctl" => (Set::MsgctlCommands, 1),
        "semctl" => (Set::SemctlCommands, 2),
        _ => (Set::ShmctlCommands, 1),
    };
    for (_, command) in values::constants(set, abi) {
        for content in [0, 1, 6, 10, 14, 15, 17] {
            let mut args = [7, 0, 0, 0, 0, 0];
            args[at] = command;
            with(args, at + 1, Some(content));
        }
    }
}

/// Requests with signals, options and other numbers.
fn ptrace(with: &mut impl FnMut([u64; 6], usize, Option<u64>)) {
    let requests = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 16, 17, 24, 31, 32, 33];
    for request in requests.into_iter().chain(0x4200..0x4210) {
        for data in [0, 1, 9, 0x13, 0x0010_00ff, 0x8000_0000] {
            with([request, 1, 0, data, 0, 0], 0, None);
        }
    }
}

/// Numbers that are the same in every run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
