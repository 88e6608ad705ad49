//! `struct msghdr` with what it leads to: address, elements, control messages.

use tracer_common::{
    memory::part,
    syscalls::{ArgKind, Extent},
};

use super::pointee::{Form, Memory, number, push_decimal};
use crate::{
    span_record::SyscallSpan,
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
        const NAME_LEN: usize = 1;
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
        let name = memory.captured(*returned, first + part::NAME);
        if !name.is_some_and(|name| memory.push_address(out, *returned, name.bytes)) {
            memory.push_address_of(out, self.field(NAME));
        }
        self.push_number(out, "msg_namelen", self.field(NAME_LEN));
        out.extend(memory.key("msg_iov", false).bytes());
        let elements = self.field(ELEMENTS);
        if !memory.push_iovec(out, *returned, first + part::IOVEC, elements) {
            memory.push_address_of(out, self.field(IOVEC));
        }
        self.push_number(out, "msg_iovlen", elements);
        let control = memory.captured(*returned, first + part::CONTROL);
        let start = out.len();
        out.extend(memory.key("msg_control", false).bytes());
        let context = Context { at_exit: *returned, ..*memory.context };
        let push = match memory.form {
            Form::Text => values::push_control,
            Form::Detail => values::push_control_detail,
        };
        if !control.is_some_and(|it| push(out, &context, it.bytes)) {
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
            let len = number(self.bytes, self.memory.word() * 7, 4).unwrap_or(0);
            self.push_number(out, "msg_len", len);
        }
        out.push(b'}');
    }

    fn push_number(&self, out: &mut Vec<u8>, name: &str, value: u64) {
        out.extend(self.memory.key(name, false).bytes());
        push_decimal(out, value);
    }
}
