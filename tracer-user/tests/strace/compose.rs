//! Our text of an argument, from the memory of a case.

use tracer_common::{
    event::Abi,
    syscalls::{Arg, ArgKind, Extent, Struct, Syscall, When},
};
use tracer_user::values::{self, Context};

use super::cases::{ARENA, Case, NOWHERE};

/// The text, for the kinds that this module is about.
pub(crate) fn argument(
    case: &Case,
    call: &'static Syscall,
    index: usize,
    kind: ArgKind,
) -> Option<String> {
    let raw = case.args[index];
    let mut context = Context {
        abi: case.abi,
        name: call.name,
        args: case.args,
        ret: 0,
        at_exit: false,
        is_cut: false,
        fds: &[],
    };
    if index >= values::argument_count(&context, call.args.len()) {
        return None;
    }
    let low = u32::try_from(raw & 0xffff_ffff).unwrap();
    let mut out = Vec::new();
    let decoded = match kind {
        ArgKind::Flags(set) => {
            values::push_flags(&mut out, set, &context, raw);
            true
        }
        ArgKind::Enum(_) | ArgKind::Hex
            if values::push_command_number(&mut out, kind, &context, index) =>
        {
            true
        }
        ArgKind::Enum(set) => {
            values::push_enum(&mut out, set, &context, raw);
            true
        }
        ArgKind::Mode => {
            values::push_mode(&mut out, low);
            true
        }
        ArgKind::FileMode => {
            values::push_file_mode(&mut out, low);
            true
        }
        ArgKind::Signal => {
            values::push_signal(&mut out, low.cast_signed());
            true
        }
        ArgKind::Dev => {
            values::push_device(&mut out, raw);
            true
        }
        // With a result of 0 there is nothing in them.
        ArgKind::Struct(_, When::Interrupted | When::Found, _) => return None,
        ArgKind::Struct(kind, when, extent) if raw >= ARENA => {
            context.at_exit = when == When::Exit || kind == Struct::IoUringParams;
            structure(&mut out, case, &context, kind, extent, raw)?
        }
        ArgKind::Sockaddr(When::Enter, Extent::Bytes(length)) if raw >= ARENA => {
            let length = usize::try_from(case.args[usize::from(length)]).unwrap();
            values::push_sockaddr(&mut out, &context, case.at(raw, length))
        }
        ArgKind::IoctlArg | ArgKind::FcntlArg | ArgKind::PrctlArg => {
            let (kind, exit) = match kind {
                ArgKind::IoctlArg => (Struct::IoctlArg, true),
                ArgKind::FcntlArg => (Struct::FcntlArg, false),
                _ => (Struct::PrctlArg, false),
            };
            context.at_exit = exit;
            (raw >= ARENA && structure(&mut out, case, &context, kind, Extent::One, raw)?)
                || values::push_command_number(&mut out, argument_kind(kind), &context, index)
        }
        _ if is_register(call, index, kind, raw) => {
            values::push_register(&mut out, &context, kind, raw);
            true
        }
        _ => return None,
    };
    if !decoded {
        values::push_number(&mut out, raw);
    }
    Some(String::from_utf8(out).unwrap())
}

/// Whether what is shown is the register: a number, or an address where nothing is.
fn is_register(call: &Syscall, index: usize, kind: ArgKind, raw: u64) -> bool {
    // strace puts registers together that are one number, and so counts otherwise behind them.
    let is_half =
        |arg: &Arg| ["_low", "_high", "_l", "_h"].iter().any(|end| arg.name.ends_with(end));
    if call.args[..=index].iter().any(is_half) {
        return false;
    }
    match kind {
        ArgKind::Int
        | ArgKind::Uint
        | ArgKind::Long
        | ArgKind::Ulong
        | ArgKind::Size
        | ArgKind::Offset
        | ArgKind::Hex
        | ArgKind::Fd
        | ArgKind::DirFd
        | ArgKind::Pid
        | ArgKind::Uid
        | ArgKind::Gid
        | ArgKind::Ptr => true,
        // With a result of 0 strace says that there is nothing; and most operations of futex have
        // a number in place of the time.
        ArgKind::Struct(_, _, Extent::BytesReturned)
        | ArgKind::Struct(_, When::FutexTimeout, _) => false,
        ArgKind::Path | ArgKind::Str | ArgKind::Struct(..) => raw == 0 || raw == NOWHERE,
        _ => raw == 0,
    }
}

fn argument_kind(kind: Struct) -> ArgKind {
    match kind {
        Struct::IoctlArg => ArgKind::IoctlArg,
        Struct::FcntlArg => ArgKind::FcntlArg,
        _ => ArgKind::PrctlArg,
    }
}

/// A structure, or an array of two.
fn structure(
    out: &mut Vec<u8>,
    case: &Case,
    context: &Context<'_>,
    kind: Struct,
    extent: Extent,
    at: u64,
) -> Option<bool> {
    let size = usize::from(kind.size(case.abi));
    let argument = |index: u8| usize::try_from(case.args[usize::from(index)]).unwrap();
    match extent {
        Extent::One => {
            let brackets = is_number(kind);
            if brackets {
                out.push(b'[');
            }
            let decoded = values::push_struct(out, kind, context, case.at(at, size));
            if brackets {
                out.push(b']');
            }
            Some(decoded)
        }
        Extent::Bytes(length) => {
            let length = argument(length).min(size);
            Some(values::push_struct(out, kind, context, case.at(at, length)))
        }
        Extent::Count(count) => {
            out.push(b'[');
            for element in 0..argument(count) {
                if element > 0 {
                    out.extend(b", ");
                }
                let at = at + (element * size) as u64;
                values::push_struct(out, kind, context, case.at(at, size));
            }
            out.push(b']');
            Some(true)
        }
        // The result is 0, which is what there is.
        Extent::CountReturned
        | Extent::CountReturnedUpTo(_)
        | Extent::BytesReturned
        | Extent::BytesReturnedUpTo(_)
        | Extent::BytesAt(_) => None,
        // What strace shows of the others stands behind the result too.
        Extent::Bits(_) if kind != Struct::NodeMask => None,
        Extent::Bits(count) => {
            let word = if case.abi == Abi::I386 { 4 } else { 8 };
            let length = argument(count).div_ceil(word * 8) * word;
            Some(values::push_struct(out, kind, context, case.at(at, length.min(size))))
        }
    }
}

/// Whether strace shows with brackets that the number was pointed to.
fn is_number(kind: Struct) -> bool {
    matches!(
        kind,
        Struct::AioContext
            | Struct::Gid
            | Struct::Gid32
            | Struct::Int
            | Struct::Loff
            | Struct::MempolicyMode
            | Struct::Off
            | Struct::Pointer
            | Struct::Socklen
            | Struct::SchedParam
            | Struct::Time
            | Struct::Uid
            | Struct::Uid32
            | Struct::Uint
            | Struct::Ulong
            | Struct::WaitStatus
    )
}
