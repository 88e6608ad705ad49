//! Arguments as a person reads them, by the kinds of the syscall table: what is in a register here,
//! what a pointer leads to in [`pointee`].

use tracer_common::{
    event::CaptureState,
    memory::part,
    syscalls::{Arg, ArgKind},
};

use super::{bounds, pointee};
use crate::{
    escape,
    span_record::{Captured, SyscallSpan},
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
pub(super) fn context(call: &SyscallSpan) -> Context<'_> {
    Context {
        abi: call.abi,
        name: call.info().map_or("", |info| info.name),
        args: call.args,
        ret: if call.has_result() { call.ret } else { 0 },
        at_exit: false,
        is_cut: false,
        fds: call.files(),
    }
}

/// The bytes of an argument that is a string of the program's, or data: to be shown as text.
pub(super) fn text(call: &SyscallSpan, index: usize, kind: ArgKind) -> Option<Captured<'_>> {
    let captured = match kind {
        ArgKind::Path | ArgKind::Str => call.string(index),
        ArgKind::PathOut(_) => bounds::returned(call, index, part::WHOLE).map(|it| Captured {
            // getcwd(2) counts the zero, readlink(2) has none.
            bytes: it.bytes.strip_suffix(b"\0").unwrap_or(it.bytes),
            ..it
        }),
        ArgKind::Data(when, _) if when.at_exit() => bounds::returned(call, index, part::WHOLE),
        ArgKind::Data(..) => bounds::passed(call, index, part::WHOLE),
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
    let is_pushed = pointee::push(out, call, context, kind, index)
        || values::push_command_number(out, kind, context, index);
    if !is_pushed {
        values::push_register(out, context, kind, call.args[index]);
    }
}

/// Appends text of the program's, escaped for a terminal, with its marks of truncation.
pub(super) fn push_text(out: &mut Vec<u8>, text: Captured<'_>) {
    escape::push_quoted(out, text.bytes);
    if text.state == CaptureState::Truncated {
        out.extend(b"...");
    }
}

/// Appends to the text of an argument that what the program has passed was read at exit.
pub(super) fn push_late(out: &mut Vec<u8>, late: u8, index: usize) {
    if late >> index & 1 != 0 {
        out.extend(b"@exit");
    }
}

/// How the reading of an argument's memory went, when not all of it was read.
pub(super) fn state(call: &SyscallSpan, index: usize, kind: ArgKind) -> Option<CaptureState> {
    let captured = if kind.is_string() {
        call.string(index)
    } else if kind.is_register() || call.payload.as_slice().is_empty() {
        None
    } else {
        bounds::returned(call, index, part::WHOLE)
            .or_else(|| bounds::passed(call, index, part::WHOLE))
    };
    captured.map(|it| it.state).filter(|state| *state != CaptureState::Whole)
}
