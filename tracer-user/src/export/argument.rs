//! Arguments as a person reads them, by the kinds of the syscall table: what is in a register here,
//! what a pointer leads to in [`pointee`].

use tracer_common::{
    event::{Abi, CaptureState},
    memory::part,
    syscalls::{Arg, ArgKind},
};

use super::pointee;
use crate::{
    escape,
    span_record::{Captured, FdName, SpanRecord, SyscallSpan},
    values::{self, Context},
};

/// Arguments of a call that the table does not know.
static UNKNOWN: [Arg; 6] = [
    Arg { name: "arg0", kind: ArgKind::Ptr },
    Arg { name: "arg1", kind: ArgKind::Ptr },
    Arg { name: "arg2", kind: ArgKind::Ptr },
    Arg { name: "arg3", kind: ArgKind::Ptr },
    Arg { name: "arg4", kind: ArgKind::Ptr },
    Arg { name: "arg5", kind: ArgKind::Ptr },
];

/// Names and kinds of a call's arguments, without those that this call does not look at; all six
/// registers for an unknown call.
pub(super) fn arguments(call: &SyscallSpan, context: &Context<'_>) -> &'static [Arg] {
    let all = call.info().map_or(&UNKNOWN[..], |info| info.args);
    all.get(..values::argument_count(context, all.len())).unwrap_or(all)
}

/// What values of this call depend on.
pub(super) fn context<'a>(span: &'a SpanRecord, call: &SyscallSpan) -> Context<'a> {
    Context {
        abi: call.abi,
        name: call.info().map_or("", |info| info.name),
        args: call.args,
        ret: if call.has_result() { call.ret } else { 0 },
        at_exit: false,
        fds: span.fd_names(),
    }
}

/// The bytes of an argument that is a string of the program's, or data: to be shown as text.
pub(super) fn text(call: &SyscallSpan, index: usize, kind: ArgKind) -> Option<Captured<'_>> {
    let captured = match kind {
        ArgKind::Path | ArgKind::Str => call.string(index),
        ArgKind::PathOut(_) => call.returned(index, part::WHOLE).map(|it| Captured {
            // getcwd(2) counts the zero, readlink(2) has none.
            bytes: it.bytes.strip_suffix(b"\0").unwrap_or(it.bytes),
            ..it
        }),
        ArgKind::Data(when, _) if when.at_exit() => call.returned(index, part::WHOLE),
        ArgKind::Data(..) => call.passed(index, part::WHOLE),
        _ => None,
    };
    captured.filter(Captured::is_read)
}

/// Appends an argument that is no text of the program's.
pub(super) fn push_value(
    out: &mut Vec<u8>,
    call: &SyscallSpan,
    context: &Context<'_>,
    kind: ArgKind,
    index: usize,
) {
    if !pointee::push(out, call, context, kind, index) {
        let raw = call.args[index];
        if !values::push_command_number(out, kind, context, raw) {
            push_register(out, context, kind, raw);
        }
    }
}

/// Appends what is in a register. Those of a 32-bit call have 32 bits.
pub(super) fn push_register(out: &mut Vec<u8>, context: &Context<'_>, kind: ArgKind, raw: u64) {
    let mut number = itoa::Buffer::new();
    // Registers hold more bits than the kernel looks at for an `int`.
    let low = u32::try_from(raw & u64::from(u32::MAX)).unwrap_or_default();
    let is_32_bit = matches!(context.abi, Abi::I386 | Abi::Arm);
    match kind {
        ArgKind::Fd if low.cast_signed() == FdName::CURRENT_FOLDER => {
            out.extend(number.format(low.cast_signed()).bytes());
        }
        ArgKind::Fd | ArgKind::DirFd => values::push_fd(out, context, low.cast_signed()),
        ArgKind::Int | ArgKind::Pid => out.extend(number.format(low.cast_signed()).bytes()),
        ArgKind::Signal => values::push_signal(out, low.cast_signed()),
        // -1 means "leave as it is", chown(2).
        ArgKind::Uid | ArgKind::Gid if low == u32::MAX => out.extend(b"-1"),
        ArgKind::Uint | ArgKind::Uid | ArgKind::Gid => out.extend(number.format(low).bytes()),
        ArgKind::Long if is_32_bit => out.extend(number.format(low.cast_signed()).bytes()),
        ArgKind::Long | ArgKind::Offset => out.extend(number.format(raw.cast_signed()).bytes()),
        ArgKind::Ulong | ArgKind::Size => out.extend(number.format(raw).bytes()),
        ArgKind::Mode => values::push_mode(out, low),
        ArgKind::FileMode => values::push_file_mode(out, low),
        ArgKind::Dev => values::push_device(out, raw),
        ArgKind::Flags(set) => values::push_flags(out, set, context, raw),
        ArgKind::Enum(set) => values::push_enum(out, set, context, raw),
        ArgKind::Hex | ArgKind::IoctlArg | ArgKind::FcntlArg | ArgKind::PrctlArg => {
            values::push_number(out, raw);
        }
        ArgKind::Path
        | ArgKind::Str
        | ArgKind::Ptr
        | ArgKind::Data(..)
        | ArgKind::PathOut(_)
        | ArgKind::Struct(..)
        | ArgKind::Sockaddr(..)
        | ArgKind::Iovec(..)
        | ArgKind::Msghdr(_)
        | ArgKind::Mmsghdr(..)
        | ArgKind::Argv
        | ArgKind::Envp => values::push_pointer(out, raw),
    }
}

/// Appends text of the program's, escaped for a terminal, with its marks of truncation.
pub(super) fn push_text(out: &mut Vec<u8>, text: Captured<'_>) {
    escape::push_quoted(out, text.bytes);
    if text.state == CaptureState::Truncated {
        out.extend(b"...");
    }
}

/// How the reading of an argument's memory went, when not all of it was read.
pub(super) fn state(call: &SyscallSpan, index: usize, kind: ArgKind) -> Option<CaptureState> {
    let captured = if kind.is_string() {
        call.string(index)
    } else {
        call.returned(index, part::WHOLE).or_else(|| call.passed(index, part::WHOLE))
    };
    captured.map(|it| it.state).filter(|state| *state != CaptureState::Whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracer_common::syscalls::Set;

    fn text(kind: ArgKind, raw: u64) -> String {
        let mut out = Vec::new();
        let context = Context {
            abi: Abi::X86_64,
            name: "",
            args: [raw; 6],
            ret: 0,
            at_exit: false,
            fds: &[],
        };
        push_register(&mut out, &context, kind, raw);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn kinds_are_written_as_strace_writes_them() {
        assert_eq!(text(ArgKind::DirFd, 0xffff_ff9c), "AT_FDCWD");
        assert_eq!(text(ArgKind::DirFd, u64::MAX - 99), "AT_FDCWD");
        assert_eq!(text(ArgKind::Fd, 0xffff_ffff), "-1");
        assert_eq!(text(ArgKind::Mode, 0o644), "0644");
        assert_eq!(text(ArgKind::Hex, 0x80000), "0x80000");
        assert_eq!(text(ArgKind::Hex, u64::MAX), "0xffffffffffffffff");
        assert_eq!(text(ArgKind::Ptr, 0), "NULL");
        assert_eq!(text(ArgKind::Size, 4096), "4096");
        assert_eq!(text(ArgKind::Offset, u64::MAX), "-1");
        assert!(!text(ArgKind::Flags(Set::OpenFlags), 0x80000).is_empty());
    }
}
