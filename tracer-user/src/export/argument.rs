//! Arguments as a person reads them, by the kinds of the syscall table.

use tracer_common::{
    event::{Abi, CaptureState},
    syscalls::{Arg, ArgKind},
};

use super::escape;
use crate::span_record::{CapturedString, SyscallSpan};

/// Arguments of a call that the table does not know.
static UNKNOWN: [Arg; 6] = [
    Arg { name: "arg0", kind: ArgKind::Ptr },
    Arg { name: "arg1", kind: ArgKind::Ptr },
    Arg { name: "arg2", kind: ArgKind::Ptr },
    Arg { name: "arg3", kind: ArgKind::Ptr },
    Arg { name: "arg4", kind: ArgKind::Ptr },
    Arg { name: "arg5", kind: ArgKind::Ptr },
];

/// Names and kinds of a call's arguments; all six registers for an unknown call.
pub(super) fn arguments(call: &SyscallSpan) -> &'static [Arg] {
    call.info().map_or(&UNKNOWN, |info| info.args)
}

/// An argument's decoded form.
pub(super) enum Decoded<'a> {
    /// A string that the pointer led to.
    String(CapturedString<'a>),
    /// Anything else; [`push_value`] writes it.
    Value,
}

/// Finds the string of argument `index`, if it was captured and could be read.
pub(super) fn decode(call: &SyscallSpan, index: usize) -> Decoded<'_> {
    match call.string(index) {
        Some(string) if is_readable(string) => Decoded::String(string),
        _ => Decoded::Value,
    }
}

/// Whether there is something to show of a string.
pub(super) const fn is_readable(string: CapturedString<'_>) -> bool {
    matches!(string.state, CaptureState::Whole | CaptureState::Truncated)
}

/// Appends an argument that is not a string. Registers of a 32-bit call have 32 bits.
pub(super) fn push_value(out: &mut Vec<u8>, abi: Abi, kind: ArgKind, raw: u64) {
    // `AT_FDCWD`, openat(2).
    const CURRENT_FOLDER: i32 = -100;
    let mut number = itoa::Buffer::new();
    // Registers hold more bits than the kernel looks at for an `int`.
    let low = u32::try_from(raw & u64::from(u32::MAX)).unwrap_or_default();
    match kind {
        ArgKind::DirFd if low.cast_signed() == CURRENT_FOLDER => out.extend(b"AT_FDCWD"),
        ArgKind::Int | ArgKind::Fd | ArgKind::DirFd | ArgKind::Pid | ArgKind::Signal => {
            out.extend(number.format(low.cast_signed()).bytes());
        }
        // -1 means "leave as it is", chown(2).
        ArgKind::Uid | ArgKind::Gid if low == u32::MAX => out.extend(b"-1"),
        ArgKind::Uint | ArgKind::Uid | ArgKind::Gid => out.extend(number.format(low).bytes()),
        ArgKind::Long if matches!(abi, Abi::I386 | Abi::Arm) => {
            out.extend(number.format(low.cast_signed()).bytes());
        }
        ArgKind::Long | ArgKind::Offset => out.extend(number.format(raw.cast_signed()).bytes()),
        ArgKind::Ulong | ArgKind::Size => out.extend(number.format(raw).bytes()),
        ArgKind::Mode => push_octal(out, low),
        ArgKind::Hex | ArgKind::Flags | ArgKind::Dev => push_number(out, raw),
        ArgKind::Path
        | ArgKind::Str
        | ArgKind::Ptr
        | ArgKind::BufIn
        | ArgKind::BufOut
        | ArgKind::Sockaddr => push_pointer(out, raw),
    }
}

/// Appends an address: `NULL` or hexadecimal.
pub(super) fn push_pointer(out: &mut Vec<u8>, raw: u64) {
    if raw == 0 { out.extend(b"NULL") } else { push_number(out, raw) }
}

/// Appends a plain string, escaped for a terminal, with its marks of truncation.
pub(super) fn push_string(out: &mut Vec<u8>, string: CapturedString<'_>) {
    escape::push_quoted(out, string.bytes);
    if string.state == CaptureState::Truncated {
        out.extend(b"...");
    }
}

fn push_number(out: &mut Vec<u8>, raw: u64) {
    if raw == 0 {
        out.push(b'0');
        return;
    }
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend(b"0x");
    let first = raw.leading_zeros() / 4;
    out.extend((first..16).map(|digit| DIGITS[(raw >> (60 - digit * 4) & 0xf) as usize]));
}

fn push_octal(out: &mut Vec<u8>, mode: u32) {
    out.push(b'0');
    if mode != 0 {
        let first = (u32::BITS - mode.leading_zeros()).div_ceil(3);
        out.extend((0..first).rev().map(|digit| b'0' + (mode >> (digit * 3) & 7) as u8));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(kind: ArgKind, raw: u64) -> String {
        let mut out = Vec::new();
        push_value(&mut out, Abi::X86_64, kind, raw);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn kinds_are_written_as_strace_writes_them() {
        assert_eq!(text(ArgKind::DirFd, 0xffff_ff9c), "AT_FDCWD");
        assert_eq!(text(ArgKind::DirFd, u64::MAX - 99), "AT_FDCWD");
        assert_eq!(text(ArgKind::Fd, 0xffff_ffff), "-1");
        assert_eq!(text(ArgKind::Mode, 0o644), "0644");
        assert_eq!(text(ArgKind::Mode, 0), "0");
        assert_eq!(text(ArgKind::Flags, 0x80000), "0x80000");
        assert_eq!(text(ArgKind::Flags, u64::MAX), "0xffffffffffffffff");
        assert_eq!(text(ArgKind::Ptr, 0), "NULL");
        assert_eq!(text(ArgKind::Size, 4096), "4096");
        assert_eq!(text(ArgKind::Offset, u64::MAX), "-1");
    }
}
