//! `struct msghdr` with what it leads to: address, elements, control messages.

use tracer_common::{
    event::CaptureState,
    memory::part,
    syscalls::{ArgKind, Extent},
};

use super::{
    bounds,
    pointee::{Form, Memory, number, push_decimal},
};
use crate::{
    span_record::{Captured, SyscallSpan},
    values::{self, Context},
};

/// One message of an argument.
pub(super) struct Message<'a> {
    memory: Memory<'a>,
    /// Whether the kernel has filled it.
    returned: bool,
    /// Its part; its name and so on are counted from here.
    first: u8,
    bytes: &'a [u8],
}

/// The place of `msg_namelen` among the fields.
const NAME_LEN: usize = 1;

/// Appends what is known of a message that the kernel has not filled: `{msg_namelen=128}`.
pub(super) fn push_room(out: &mut Vec<u8>, memory: Memory<'_>) -> bool {
    let Some(it) = Message::new(memory, false, 0) else { return false };
    out.extend(memory.key("msg_namelen", true).bytes());
    push_decimal(out, it.field(NAME_LEN));
    out.push(b'}');
    true
}

/// How many messages argument `index` leads to.
pub(super) fn count_of(call: &SyscallSpan, index: usize) -> Extent {
    match call.info().and_then(|info| info.args.get(index)).map(|arg| arg.kind) {
        Some(ArgKind::Mmsghdr(_, extent)) => extent,
        _ => Extent::One,
    }
}

impl<'a> Message<'a> {
    /// The message at a part; `None` when it was not captured.
    pub(super) fn new(memory: Memory<'a>, returned: bool, first: u8) -> Option<Self> {
        let bytes = memory.captured(returned, first)?.bytes;
        Some(Self { memory, returned, first, bytes })
    }

    /// The message as it was passed, where the kernel has filled it.
    fn passed(&self) -> Option<Self> {
        Self::new(self.memory, false, self.first).filter(|_| self.returned)
    }

    /// The name: of one that was returned as much as there was room for.
    fn name(&self) -> Option<Captured<'a>> {
        let name = self.memory.captured(self.returned, self.first + part::NAME)?;
        if !self.returned {
            return Some(name);
        }
        let room = u32::try_from(self.passed()?.field(NAME_LEN)).ok()?.cast_signed();
        bounds::up_to(name, usize::try_from(room).ok()?)
    }

    /// Whether what the elements lead to was received.
    fn has_data(&self) -> bool {
        let Self { memory, returned, first, .. } = self;
        let (len, flags) = match memory.context.name {
            "recvmsg" => (memory.call.ret, memory.call.args[2]),
            _ => (self.len().cast_signed(), memory.call.args[3]),
        };
        let word = memory.word();
        let array = memory.captured(*returned, first + part::IOVEC);
        let elements = array.iter().flat_map(|it| it.bytes.chunks_exact(word * 2));
        let sizes = elements.filter_map(|bytes| number(bytes, word, word));
        let room = sizes.fold(0, u64::saturating_add);
        let len = u64::try_from(len).unwrap_or_default();
        !returned || !bounds::may_discard(flags, len, room)
    }

    /// Bytes that were received, which stand behind an element of an `mmsghdr` array.
    fn len(&self) -> u64 {
        number(self.bytes, self.memory.word() * 7, 4).unwrap_or(0)
    }

    /// A field: of `struct user_msghdr` by its place among eight-byte words, of its 32-bit form
    /// among four-byte ones,
    /// <https://github.com/torvalds/linux/blob/v6.12/include/linux/socket.h#L79>.
    fn field(&self, place: usize) -> u64 {
        let word = self.memory.word();
        let value = number(self.bytes, place * word, word).unwrap_or(0);
        // The length of the name and the flags are `int`, with padding behind them.
        if matches!(place, 1 | 6) { value & 0xffff_ffff } else { value }
    }

    pub(super) fn push(&self, out: &mut Vec<u8>) -> bool {
        const NAME: usize = 0;
        const IOVEC: usize = 2;
        const ELEMENTS: usize = 3;
        const CONTROL: usize = 4;
        const CONTROL_LEN: usize = 5;
        const FLAGS: usize = 6;
        let Self { memory, returned, first, .. } = self;
        let size = memory.word() * 7;
        if self.bytes.len() < size {
            return false;
        }
        out.extend(memory.key("msg_name", true).bytes());
        if !self.name().is_some_and(|name| memory.push_address(out, *returned, name)) {
            memory.push_address_of(out, self.field(NAME));
        }
        self.push_name_len(out);
        out.extend(memory.key("msg_iov", false).bytes());
        let elements = self.field(ELEMENTS);
        let has_data = self.has_data();
        if !memory.push_iovec(out, *returned, first + part::IOVEC, elements, has_data) {
            memory.push_address_of(out, self.field(IOVEC));
        }
        self.push_number(out, "msg_iovlen", elements);
        let control = memory.captured(*returned, first + part::CONTROL);
        let start = out.len();
        out.extend(memory.key("msg_control", false).bytes());
        let push = match memory.form {
            Form::Text => values::push_control,
            Form::Detail => values::push_control_detail,
        };
        let is_pushed = control.is_some_and(|it| {
            let is_cut = it.state == CaptureState::Truncated;
            let context = Context { at_exit: *returned, is_cut, ..*memory.context };
            push(out, &context, it.bytes)
        });
        if !is_pushed {
            if self.field(CONTROL) == 0 || self.field(CONTROL_LEN) == 0 {
                out.truncate(start);
            } else {
                memory.push_address_of(out, self.field(CONTROL));
            }
        }
        self.push_number(out, "msg_controllen", self.field(CONTROL_LEN));
        out.extend(memory.key("msg_flags", false).bytes());
        let flags = self.field(FLAGS);
        if memory.form == Form::Detail {
            push_decimal(out, flags);
        } else {
            let set = tracer_common::syscalls::Set::MsgFlags;
            values::push_flags(out, set, memory.context, flags);
        }
        out.push(b'}');
        true
    }

    /// As an element of an `mmsghdr` array.
    pub(super) fn push_in_array(&self, out: &mut Vec<u8>) {
        out.extend(self.memory.key("msg_hdr", true).bytes());
        if !self.push(out) {
            out.extend(if self.memory.form == Form::Text { &b"???"[..] } else { b"null" });
        }
        if self.returned {
            self.push_number(out, "msg_len", self.len());
        }
        out.push(b'}');
    }

    /// `128 => 16` where the kernel has changed it.
    fn push_name_len(&self, out: &mut Vec<u8>) {
        let len = self.field(NAME_LEN);
        let passed = self.passed().map(|it| it.field(NAME_LEN)).filter(|passed| *passed != len);
        let Some(passed) = passed else { return self.push_number(out, "msg_namelen", len) };
        out.extend(self.memory.key("msg_namelen", false).bytes());
        let [before, between, after] = match self.memory.form {
            Form::Text => ["", " => ", ""],
            Form::Detail => ["{\"passed\":", ",\"returned\":", "}"],
        };
        out.extend(before.bytes());
        push_decimal(out, passed);
        out.extend(between.bytes());
        push_decimal(out, len);
        out.extend(after.bytes());
    }

    fn push_number(&self, out: &mut Vec<u8>, name: &str, value: u64) {
        out.extend(self.memory.key(name, false).bytes());
        push_decimal(out, value);
    }
}
