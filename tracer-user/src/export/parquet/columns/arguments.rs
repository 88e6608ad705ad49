//! The columns of arguments.

use tracer_common::{
    event::{Abi, CaptureState},
    syscalls::ArgKind,
};

use super::{Columns, Few};
use crate::{
    escape,
    export::{
        argument::{self, arguments},
        parquet::schema::ARGS,
    },
    span_record::SyscallSpan,
    values::Context,
};

/// Sets of arguments, one bit each.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Marks {
    escaped: u8,
    truncated: u8,
    fault: u8,
    not_read: u8,
    read_at_exit: u8,
}

impl Marks {
    /// Each with its column.
    pub(super) fn columns(self) -> [(Few, u8); 5] {
        [
            (Few::Escaped, self.escaped),
            (Few::Truncated, self.truncated),
            (Few::Fault, self.fault),
            (Few::NotRead, self.not_read),
            (Few::ReadAtExit, self.read_at_exit),
        ]
    }
}

impl Columns {
    /// Appends the arguments; which of them are marked.
    pub(super) fn push_arguments(&mut self, call: &SyscallSpan) -> Marks {
        let context = argument::context(call);
        let described = arguments(call, &context);
        let mut marks = Marks { read_at_exit: call.read_late(), ..Marks::default() };
        for index in 0..ARGS {
            let Some(arg) = described.get(index) else {
                self.args[index].push_null();
                self.texts[index].push_null();
                continue;
            };
            let raw = call.args[index];
            self.args[index].push(raw.cast_signed());
            self.push_text(call, &context, (index, arg.kind), &mut marks);
        }
        marks
    }

    fn push_text(
        &mut self,
        call: &SyscallSpan,
        context: &Context<'_>,
        (index, kind): (usize, ArgKind),
        marks: &mut Marks,
    ) {
        let bit = 1 << index;
        let column = &mut self.texts[index];
        let text = argument::text(call, index, kind);
        let state = match text {
            Some(text) if kind.is_string() => Some(text.state),
            _ => argument::state(call, index, kind),
        };
        if let Some(text) = text {
            if std::str::from_utf8(text.bytes).is_ok() {
                column.push(text.bytes);
            } else {
                self.scratch.clear();
                escape::push_utf8(&mut self.scratch, text.bytes);
                column.push(&self.scratch);
                marks.escaped |= bit;
            }
        } else if let Some(key) = register_key(call, kind, call.args[index]) {
            let scratch = &mut self.scratch;
            column.push_as(key, || {
                scratch.clear();
                argument::push_value(scratch, call, context, kind, index);
                scratch
            });
        } else if says_more(call, context, kind, call.args[index]) {
            self.scratch.clear();
            argument::push_value(&mut self.scratch, call, context, kind, index);
            column.push(&self.scratch);
        } else {
            column.push_null();
        }
        match state {
            Some(CaptureState::Truncated) => marks.truncated |= bit,
            Some(CaptureState::Fault) => marks.fault |= bit,
            Some(CaptureState::NotRead) => marks.not_read |= bit,
            Some(CaptureState::Whole) | None => {}
        }
    }
}

/// What the decoded form follows from, where that is the register alone.
fn register_key(call: &SyscallSpan, kind: ArgKind, raw: u64) -> Option<u128> {
    let kind = match kind {
        ArgKind::Flags(set) => set as u128 + 2,
        ArgKind::Mode => 1,
        ArgKind::FileMode => 0,
        _ => return None,
    };
    Some(kind << 72 | (call.abi as u128) << 64 | u128::from(raw))
}

/// Whether the decoded form is something else than an address, or the number in decimal.
fn says_more(call: &SyscallSpan, context: &Context<'_>, kind: ArgKind, raw: u64) -> bool {
    let is_small = i32::try_from(raw).is_ok();
    match kind {
        ArgKind::Path | ArgKind::Str | ArgKind::Ptr | ArgKind::Offset => false,
        ArgKind::Fd | ArgKind::DirFd if !context.fds.is_empty() => true,
        ArgKind::Int | ArgKind::Fd | ArgKind::DirFd | ArgKind::Pid => !is_small,
        ArgKind::Uid | ArgKind::Gid => raw >= u64::from(u32::MAX),
        ArgKind::Uint => raw > u64::from(u32::MAX),
        ArgKind::Long => matches!(call.abi, Abi::I386 | Abi::Arm) && !is_small,
        ArgKind::Ulong | ArgKind::Size => i64::try_from(raw).is_err(),
        ArgKind::Mode
        | ArgKind::FileMode
        | ArgKind::Hex
        | ArgKind::Dev
        | ArgKind::Signal
        | ArgKind::Flags(_)
        | ArgKind::Enum(_)
        | ArgKind::IoctlArg
        | ArgKind::FcntlArg
        | ArgKind::PrctlArg => true,
        ArgKind::Data(..)
        | ArgKind::PathOut(_)
        | ArgKind::Struct(..)
        | ArgKind::Sockaddr(..)
        | ArgKind::Iovec(..)
        | ArgKind::Msghdr(_)
        | ArgKind::Mmsghdr(..)
        | ArgKind::Argv
        | ArgKind::Envp => !call.payload.as_slice().is_empty(),
    }
}
