//! Which memory of a call the kernel side captures beside its strings: a few operations per
//! syscall, packed into words of a map.

use crate::syscalls::{Arg, ArgKind, Extent, Struct, Syscall, When};

/// Operations of one call, at most.
pub const MAX_OPS: usize = 6;

/// The place of an operation that is more than bytes; a call has one at most.
pub const SPECIAL: usize = MAX_OPS - 1;

/// Words of an operation: what it does, and the values of an argument that it depends on at entry
/// and at exit.
pub const OP_WORDS: usize = 3;

/// The operations of one call, as they stand in the map.
pub type OpWords = [u64; MAX_OPS * OP_WORDS];

/// Elements of an array that are captured, at most.
pub const MAX_ELEMENTS: usize = ELEMENTS as usize;
const ELEMENTS: u16 = 32;
/// Bytes of an array that are captured, at most.
pub const MAX_ARRAY: usize = 512;
/// Elements of an `iovec` array whose data is captured, at most.
pub const MAX_IOVECS: usize = 8;
/// Elements of an `mmsghdr` array that are captured, at most.
pub const MAX_MESSAGES: usize = 2;
/// Arguments of a program that are captured, at most.
pub const MAX_ARGV: usize = 32;
/// Variables of an environment that are counted, at most.
pub const MAX_ENVP: usize = 128;
/// Bytes of a socket address: `sizeof(struct sockaddr_storage)`.
pub const MAX_SOCKADDR: usize = SOCKADDR as usize;
const SOCKADDR: u16 = 128;
/// Bytes of control messages that are captured, at most.
pub const MAX_CONTROL: usize = 128;
/// Bytes of the argument of `ioctl` that are captured, at most.
pub const MAX_IOCTL: usize = 256;
/// Longest data that can be asked for, in bytes.
pub const MAX_DATA: usize = DATA as usize;
const DATA: u16 = 4096;

/// Parts of an argument, in [`crate::event::CaptureHeader::part`].
pub mod part {
    /// What the pointer leads to; of `argv` the first of its strings, and so on.
    pub const WHOLE: u8 = 0;
    /// The name of a `msghdr`.
    pub const NAME: u8 = 1;
    /// The control messages of a `msghdr`.
    pub const CONTROL: u8 = 2;
    /// The `iovec` array of a `msghdr`.
    pub const IOVEC: u8 = 3;
    /// What the first element of an `iovec` array leads to, counted from the array's own part.
    pub const IOVEC_DATA: u8 = 1;
    /// Parts from one element of an `mmsghdr` array to the next.
    pub const MESSAGE: u8 = 16;
    /// The file that a descriptor leads to, see [`crate::file`]: the first of a call, and so on.
    pub const FILE: u8 = 160;
    /// One past the last of these.
    pub const FILES_END: u8 = 240;
    /// Says that a descriptor, the body of this capture, has come to lead to another file while the
    /// call ran.
    pub const CHANGED: u8 = 240;
    /// Says that there were more strings in `argv`.
    pub const MORE: u8 = 255;
}

/// What an operation reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum OpKind {
    /// Bytes.
    Bytes = 1,
    /// An `iovec` array and its data.
    Iovec = 2,
    /// One or more messages.
    Messages = 3,
    /// The strings of `argv`, and the number of strings in `envp`, the argument behind it.
    Exec = 4,
    /// What the command of `ioctl` says.
    Ioctl = 5,
}

/// Where the number of elements is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Count {
    /// One.
    One = 0,
    /// In an argument, 32 bits.
    Arg = 1,
    /// In an argument, 64 bits.
    Wide = 2,
    /// In the result.
    Ret = 3,
    /// In the 32 bits that an argument points to.
    At = 4,
    /// In an argument, as bits of words.
    Bits = 5,
    /// In the result, and not above an argument of 32 bits; at entry in the argument.
    RetUpTo = 6,
    /// The same with an argument of 64 bits.
    RetUpToWide = 7,
}

/// The first word of an operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Op(pub u64);

impl Op {
    const COUNT_SHIFT: u32 = 8;
    const ARG_SHIFT: u32 = 12;
    const COUNT_ARG_SHIFT: u32 = 16;
    const CONDITION_SHIFT: u32 = 20;
    const AT_ENTER: u64 = 1 << 24;
    const AT_EXIT: u64 = 1 << 25;
    const WHEN_INTERRUPTED: u64 = 1 << 26;
    const CONDITIONAL: u64 = 1 << 27;
    const COMPAT: u64 = 1 << 28;
    const WHEN_FOUND: u64 = 1 << 29;
    const SIZE_SHIFT: u32 = 32;
    const LIMIT_SHIFT: u32 = 48;

    const fn new(kind: OpKind, arg: u8, size: u16, limit: u16) -> Self {
        Self(
            kind as u64
                | (arg as u64) << Self::ARG_SHIFT
                | (size as u64) << Self::SIZE_SHIFT
                | (limit as u64) << Self::LIMIT_SHIFT,
        )
    }

    const fn counted(self, count: Count, arg: u8) -> Self {
        Self(self.0 | (count as u64) << Self::COUNT_SHIFT | (arg as u64) << Self::COUNT_ARG_SHIFT)
    }

    const fn on(self, when: When) -> Self {
        Self(
            self.0
                | match when {
                    When::Enter => Self::AT_ENTER,
                    When::Exit | When::Attached => Self::AT_EXIT,
                    When::Found => Self::AT_EXIT | Self::WHEN_FOUND,
                    When::Both | When::IpcCommand => Self::AT_ENTER | Self::AT_EXIT,
                    When::Interrupted => Self::WHEN_INTERRUPTED,
                    When::FutexTimeout => Self::AT_ENTER | Self::CONDITIONAL,
                    When::Command(command) => {
                        (if command.passed != 0 { Self::AT_ENTER } else { 0 })
                            | (if command.returned != 0 { Self::AT_EXIT } else { 0 })
                    }
                },
        )
    }

    /// Of messages that the kernel fills, the head is read at entry: it says how much room there is.
    const fn with_head(self) -> Self {
        Self(if self.at_exit() { self.0 | Self::AT_ENTER } else { self.0 })
    }

    /// Depends on the value of argument `arg`.
    const fn if_arg(self, arg: u8) -> Self {
        Self(self.0 | Self::CONDITIONAL | (arg as u64) << Self::CONDITION_SHIFT)
    }

    const fn compat(self, yes: bool) -> Self {
        Self(if yes { self.0 | Self::COMPAT } else { self.0 })
    }

    /// Whether there is an operation.
    #[inline(always)]
    pub const fn is_some(self) -> bool {
        self.0 != 0
    }
    /// A number of [`OpKind`].
    #[inline(always)]
    pub const fn kind(self) -> u64 {
        self.0 & 0xff
    }
    /// A number of [`Count`].
    #[inline(always)]
    pub const fn count(self) -> u64 {
        self.0 >> Self::COUNT_SHIFT & 0xf
    }
    /// The argument that holds the pointer, 0..=7.
    #[inline(always)]
    pub const fn arg(self) -> usize {
        (self.0 >> Self::ARG_SHIFT & 7) as usize
    }
    /// The argument that [`Self::count`] is about, 0..=7.
    #[inline(always)]
    pub const fn count_arg(self) -> usize {
        (self.0 >> Self::COUNT_ARG_SHIFT & 7) as usize
    }
    /// The argument whose value must be in the mask, if any, 0..=7.
    #[inline(always)]
    pub const fn condition(self) -> Option<usize> {
        if self.0 & Self::CONDITIONAL == 0 {
            None
        } else {
            Some((self.0 >> Self::CONDITION_SHIFT & 7) as usize)
        }
    }
    /// Whether an argument says how much room there is for what the result counts.
    #[inline(always)]
    pub const fn is_bounded(self) -> bool {
        self.count() == Count::RetUpTo as u64 || self.count() == Count::RetUpToWide as u64
    }
    /// Whether it reads at entry.
    #[inline(always)]
    pub const fn at_enter(self) -> bool {
        self.0 & Self::AT_ENTER != 0
    }
    /// Whether it reads at the exit of a call that has succeeded.
    #[inline(always)]
    pub const fn at_exit(self) -> bool {
        self.0 & Self::AT_EXIT != 0
    }
    /// Whether what it reads at exit is there only when the result is above 0.
    #[inline(always)]
    pub const fn when_found(self) -> bool {
        self.0 & Self::WHEN_FOUND != 0
    }
    /// Whether it reads at the exit of a call that was interrupted.
    #[inline(always)]
    pub const fn when_interrupted(self) -> bool {
        self.0 & Self::WHEN_INTERRUPTED != 0
    }
    /// Whether pointers and lengths in memory have 32 bits.
    #[inline(always)]
    pub const fn is_compat(self) -> bool {
        self.0 & Self::COMPAT != 0
    }
    /// Bytes of one element.
    #[inline(always)]
    pub const fn size(self) -> u64 {
        self.0 >> Self::SIZE_SHIFT & 0xffff
    }
    /// Most bytes to read.
    #[inline(always)]
    pub const fn limit(self) -> u64 {
        self.0 >> Self::LIMIT_SHIFT
    }
}

/// Values of an argument as bits; those from 64 to 511 are folded, which is how futex(2) has its
/// flags above its operations.
#[inline(always)]
pub const fn condition_holds(value: u64, mask: u64) -> bool {
    let value = value & 0xffff_ffff;
    value < 512 && mask >> (value & 63) & 1 != 0
}

const fn mask(values: &[u32]) -> u64 {
    let mut mask = 0;
    let mut index = 0;
    while index < values.len() {
        mask |= 1 << values[index];
        index += 1;
    }
    mask
}

/// `FUTEX_WAIT`, `_LOCK_PI`, `_WAIT_BITSET`, `_WAIT_REQUEUE_PI` and `_LOCK_PI2`, futex(2).
const FUTEX_WITH_TIMEOUT: u64 = mask(&[0, 6, 9, 11, 13]);
/// `F_GETLK`, `F_SETLK`, `F_SETLKW`, their forms for 64 bits on i386 and for open file
/// descriptions, and `F_SETOWN_EX`, fcntl(2).
const FCNTL_IN: u64 = mask(&[5, 6, 7, 12, 13, 14, 36, 37, 38, 15]);
/// The forms of `F_GETLK`, and `F_GETOWN_EX`.
const FCNTL_OUT: u64 = mask(&[5, 12, 36, 16]);
/// `PR_SET_NAME`, prctl(2).
const PRCTL_IN: u64 = mask(&[15]);
/// `PR_GET_PDEATHSIG`, `_UNALIGN`, `_FPEMU`, `_FPEXC`, `_NAME`, `_ENDIAN`, `_TSC`,
/// `_CHILD_SUBREAPER` and `_TID_ADDRESS`.
const PRCTL_OUT: u64 = mask(&[2, 5, 9, 11, 16, 19, 25, 37, 40]);

/// `SHMAT` of `ipc`, linux/ipc.h.
const SHMAT: u64 = mask(&[21]);

/// `IPC_SET`, with `IPC_64` folded away, msgctl(2).
const IPC_IN: u64 = mask(&[1]);

/// `IPC_STAT`, `IPC_INFO`, and what each of the three calls has beside them: `MSG_STAT`, `MSG_INFO`
/// and `MSG_STAT_ANY`, msgctl(2), and so on.
const fn ipc_out(structure: Struct) -> u64 {
    match structure {
        Struct::MsqidDs => mask(&[2, 3, 11, 12, 13]),
        Struct::SemidDs => mask(&[2, 3, 18, 19, 20]),
        _ => mask(&[2, 3, 13, 14, 15]),
    }
}

/// Commands of terminals, without their letter, that pass something: `TCSETS` and `TCSETA` with
/// their forms, `TIOCSPGRP`, `TIOCSTI`, `TIOCSWINSZ`, `TIOCMBIS`, `TIOCMBIC`, `TIOCMSET`,
/// `TIOCSSOFTCAR`, `TIOCSSERIAL`, `TIOCPKT`, `FIONBIO` and `TIOCSETD`; `FIOASYNC` is folded onto
/// `TIOCSTI`. All others return something, `ioctl_tty(2)`.
pub const TERMINAL_IN: u64 = mask(&[
    0x02, 0x03, 0x04, 0x06, 0x07, 0x08, 0x10, 0x12, 0x14, 0x16, 0x17, 0x18, 0x1a, 0x1f, 0x20, 0x21,
    0x23,
]);

/// What of data is captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataLimit {
    /// Bytes of each string of `argv`, and of data if it is captured: at most [`MAX_DATA`].
    pub bytes: u16,
    /// Whether data of reads, writes and the like is captured.
    pub data: bool,
}

impl Default for DataLimit {
    fn default() -> Self {
        Self { bytes: 32, data: false }
    }
}

/// The operations of a syscall; all zero when it has none.
pub fn operations(syscall: &Syscall, abi: crate::event::Abi, limit: DataLimit) -> OpWords {
    use crate::event::Abi;
    let compat = matches!(abi, Abi::I386 | Abi::Arm);
    let mut words = OpWords::default();
    let mut plain = 0;
    for arg in (0..).take(syscall.args.len()) {
        let Some(mut op) = operation(arg, syscall.args, abi, limit) else { continue };
        op[0] = Op(op[0]).compat(compat).0;
        let place = if Op(op[0]).kind() == OpKind::Bytes as u64 {
            plain += 1;
            plain - 1
        } else {
            SPECIAL
        };
        if let Some(words) = words.chunks_exact_mut(OP_WORDS).nth(place) {
            words.copy_from_slice(&op);
        }
    }
    words
}

/// The operation of argument `arg` of those that a call has.
fn operation(
    arg: u8,
    args: &[Arg],
    abi: crate::event::Abi,
    limit: DataLimit,
) -> Option<[u64; OP_WORDS]> {
    let always = |op: Op| Some([op.0, 0, 0]);
    let counted = |op: Op, extent| counted(op, extent, args);
    match args.get(usize::from(arg))?.kind {
        ArgKind::Struct(Struct::IoctlArg, ..) | ArgKind::IoctlArg => {
            let size = Struct::IoctlArg.size(abi);
            always(Op::new(OpKind::Ioctl, arg, size, size).on(When::Both))
        }
        ArgKind::FcntlArg => {
            let size = Struct::FcntlArg.size(abi);
            let op = Op::new(OpKind::Bytes, arg, size, size).on(When::Both).if_arg(1);
            Some([op.0, FCNTL_IN, FCNTL_OUT])
        }
        ArgKind::PrctlArg => {
            let size = Struct::PrctlArg.size(abi);
            let op = Op::new(OpKind::Bytes, arg, size, size).on(When::Both).if_arg(0);
            Some([op.0, PRCTL_IN, PRCTL_OUT])
        }
        ArgKind::Struct(it, when, extent) => {
            let size = it.size(abi);
            let op = match extent {
                Extent::One => Op::new(OpKind::Bytes, arg, size, size),
                Extent::Count(_) | Extent::CountReturned | Extent::CountReturnedUpTo(_) => {
                    let most = (MAX_ARRAY / usize::from(size)).min(MAX_ELEMENTS);
                    let bytes = u16::try_from(most).unwrap_or(1).saturating_mul(size);
                    Op::new(OpKind::Bytes, arg, size, bytes)
                }
                _ => Op::new(OpKind::Bytes, arg, 1, size),
            };
            let op = counted(op, extent).on(when);
            if when == When::FutexTimeout {
                return Some([op.if_arg(1).0, FUTEX_WITH_TIMEOUT, 0]);
            }
            if when == When::Attached {
                return Some([op.if_arg(0).0, 0, SHMAT]);
            }
            if when == When::IpcCommand {
                return Some([op.if_arg(arg.saturating_sub(1)).0, IPC_IN, ipc_out(it)]);
            }
            Some(commanded(op, when))
        }
        ArgKind::Sockaddr(when, extent) => {
            let op = Op::new(OpKind::Bytes, arg, 1, SOCKADDR);
            always(counted(op, extent).on(when))
        }
        ArgKind::PathOut(extent) => {
            let op = Op::new(OpKind::Bytes, arg, 1, DATA);
            always(counted(op, extent).on(When::Exit))
        }
        ArgKind::Data(when, extent) if limit.data => {
            let op = Op::new(OpKind::Bytes, arg, 1, limit.bytes);
            Some(commanded(counted(op, extent).on(when), when))
        }
        ArgKind::Iovec(when, extent) => {
            let size = Struct::Iovec.size(abi);
            let op = Op::new(OpKind::Iovec, arg, size, size * ELEMENTS);
            always(counted(op, extent).on(when))
        }
        ArgKind::Msghdr(when) => {
            let size = Struct::Msghdr.size(abi);
            always(Op::new(OpKind::Messages, arg, size, size).on(when).with_head())
        }
        ArgKind::Mmsghdr(when, extent) => {
            let size = Struct::Mmsghdr.size(abi);
            let op = Op::new(OpKind::Messages, arg, size, size);
            always(counted(op, extent).on(when).with_head())
        }
        ArgKind::Argv => always(Op::new(OpKind::Exec, arg, 1, limit.bytes).on(When::Enter)),
        _ => None,
    }
}

/// The words of an operation that may depend on another argument.
const fn commanded(op: Op, when: When) -> [u64; OP_WORDS] {
    match when {
        When::Command(command) => [op.if_arg(command.arg).0, command.passed, command.returned],
        _ => [op.0, 0, 0],
    }
}

/// The kernel takes some counts and lengths of 32 bits of a register, others of all of it.
fn counted(op: Op, extent: Extent, args: &[Arg]) -> Op {
    match extent {
        Extent::One => op.counted(Count::One, 0),
        Extent::Count(arg) | Extent::Bytes(arg) => {
            let is_narrow = args.get(usize::from(arg)).is_some_and(|it| it.bits <= 32);
            op.counted(if is_narrow { Count::Arg } else { Count::Wide }, arg)
        }
        Extent::CountReturned | Extent::BytesReturned => op.counted(Count::Ret, 0),
        Extent::CountReturnedUpTo(arg) => op.counted(Count::RetUpTo, arg),
        Extent::BytesReturnedUpTo(arg) => op.counted(Count::RetUpToWide, arg),
        Extent::BytesAt(arg) => op.counted(Count::At, arg),
        Extent::Bits(arg) => op.counted(Count::Bits, arg),
    }
}

#[cfg(test)]
mod tests;
