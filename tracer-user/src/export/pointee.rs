//! What pointers lead to, as text and as JSON. The structures themselves are for [`values`].

use tracer_common::{
    event::{Abi, CaptureState},
    memory::{MAX_ARGV, MAX_ELEMENTS, MAX_IOVECS, MAX_MESSAGES, part},
    syscalls::{ArgKind, Extent, Struct, When},
};

use super::{
    bounds,
    message::{self, Message},
};
use crate::{
    escape,
    span_record::{Captured, SyscallSpan},
    values::{self, Context},
};

/// Which way it is written. Both append nothing and return `false` for what cannot be decoded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As strace writes it.
    Text,
    /// As a JSON value.
    Detail,
}

/// Appends what argument `index` leads to; `false` when nothing was captured or none of it can be
/// decoded.
pub(super) fn push(
    out: &mut Vec<u8>,
    call: &SyscallSpan,
    context: &Context<'_>,
    kind: ArgKind,
    index: usize,
) -> bool {
    push_as(out, Form::Text, call, context, kind, index)
}

/// Appends the same as a JSON value.
pub(super) fn push_detail(
    out: &mut Vec<u8>,
    call: &SyscallSpan,
    context: &Context<'_>,
    kind: ArgKind,
    index: usize,
) -> bool {
    push_as(out, Form::Detail, call, context, kind, index)
}

fn push_as(
    out: &mut Vec<u8>,
    form: Form,
    call: &SyscallSpan,
    context: &Context<'_>,
    kind: ArgKind,
    index: usize,
) -> bool {
    let memory = Memory { form, call, context, index };
    match kind {
        ArgKind::Struct(kind, _, extent) => memory.push_structs(out, kind, extent),
        ArgKind::IoctlArg => memory.push_structs(out, Struct::IoctlArg, Extent::One),
        ArgKind::FcntlArg => memory.push_structs(out, Struct::FcntlArg, Extent::One),
        ArgKind::PrctlArg => memory.push_structs(out, Struct::PrctlArg, Extent::One),
        ArgKind::Sockaddr(when, _) => memory.push_sockaddr(out, when),
        ArgKind::Iovec(when, extent) => {
            let elements = memory.elements(extent);
            memory.push_iovec(out, when == When::Exit, part::WHOLE, elements, true)
        }
        ArgKind::Msghdr(when) => match Message::new(memory, when == When::Exit, 0) {
            Some(it) => it.push(out),
            None => when == When::Exit && message::push_room(out, memory),
        },
        ArgKind::Mmsghdr(when, _) => memory.push_messages(out, when == When::Exit),
        ArgKind::Argv => memory.push_argv(out),
        ArgKind::Envp => memory.push_envp(out),
        _ => false,
    }
}

/// The memory of one argument.
#[derive(Clone, Copy)]
pub(super) struct Memory<'a> {
    pub(super) form: Form,
    pub(super) call: &'a SyscallSpan,
    pub(super) context: &'a Context<'a>,
    pub(super) index: usize,
}

impl<'a> Memory<'a> {
    pub(super) fn captured(&self, returned: bool, part: u8) -> Option<Captured<'a>> {
        let captured = if returned {
            bounds::returned(self.call, self.index, part)
        } else {
            bounds::passed(self.call, self.index, part)
        };
        captured.filter(Captured::is_read)
    }

    /// How many elements there are, as far as the arguments and the result say.
    fn elements(&self, extent: Extent) -> u64 {
        match extent {
            Extent::Count(arg) => {
                self.call.args.get(usize::from(arg)).map_or(0, |count| count & 0xffff_ffff)
            }
            Extent::CountReturned | Extent::CountReturnedUpTo(_) => {
                u64::try_from(self.call.ret).unwrap_or(0)
            }
            _ => 1,
        }
    }

    /// What was passed and what was returned: one of them, or both with an arrow between.
    fn push_structs(&self, out: &mut Vec<u8>, kind: Struct, extent: Extent) -> bool {
        let start = out.len();
        let passed = self.captured(false, part::WHOLE);
        let returned = self.captured(true, part::WHOLE);
        // What has happened stands behind the result of these.
        let returned = returned.filter(|_| {
            self.form == Form::Detail || !matches!(kind, Struct::Pollfd | Struct::FdSet)
        });
        let is_whole = returned.is_some() && values::is_returned_whole(kind, self.context);
        let passed = passed.filter(|_| !is_whole);
        let same = passed.zip(returned).is_some_and(|(a, b)| a.bytes == b.bytes);
        match (passed, returned.filter(|_| !same)) {
            (Some(passed), Some(returned)) => {
                out.extend(match self.form {
                    Form::Text if is_number(kind, extent) => &b"["[..],
                    Form::Text => b"",
                    Form::Detail => b"{\"passed\":",
                });
                let before = self.push_array(out, kind, extent, false, passed);
                out.extend(match self.form {
                    Form::Text => &b" => "[..],
                    Form::Detail => b",\"returned\":",
                });
                let after = self.push_array(out, kind, extent, true, returned);
                out.extend(match self.form {
                    Form::Text if is_number(kind, extent) => &b"]"[..],
                    Form::Text => b"",
                    Form::Detail => b"}",
                });
                if before && after {
                    return true;
                }
                // Of a command's two halves often only one means something.
                out.truncate(start);
                self.push_one(out, kind, extent, true, returned)
                    || self.push_one(out, kind, extent, false, passed)
            }
            (None, Some(returned)) => self.push_one(out, kind, extent, true, returned),
            (Some(passed), None) => self.push_one(out, kind, extent, false, passed),
            (None, None) => false,
        }
    }

    fn push_one(
        &self,
        out: &mut Vec<u8>,
        kind: Struct,
        extent: Extent,
        returned: bool,
        it: Captured<'_>,
    ) -> bool {
        let start = out.len();
        let brackets = self.form == Form::Text && is_number(kind, extent);
        if brackets {
            out.push(b'[');
        }
        if !self.push_array(out, kind, extent, returned, it) {
            out.truncate(start);
            return false;
        }
        if brackets {
            out.push(b']');
        }
        true
    }

    /// One structure, or as many as there are in brackets.
    fn push_array(
        &self,
        out: &mut Vec<u8>,
        kind: Struct,
        extent: Extent,
        returned: bool,
        it: Captured<'_>,
    ) -> bool {
        let is_cut = it.state == CaptureState::Truncated;
        let context = Context { at_exit: returned, is_cut: false, ..*self.context };
        let push = match self.form {
            Form::Text => values::push_struct,
            Form::Detail => values::push_detail,
        };
        let is_array = matches!(
            extent,
            Extent::Count(_) | Extent::CountReturned | Extent::CountReturnedUpTo(_)
        );
        if !is_array {
            return push(out, kind, &Context { is_cut, ..context }, it.bytes);
        }
        let start = out.len();
        let size = usize::from(kind.size(self.context.abi)).max(1);
        let mut list = List::new(self.form, out);
        for bytes in it.bytes.chunks_exact(size) {
            list.next(out);
            if !push(out, kind, &context, bytes) {
                out.truncate(start);
                return false;
            }
        }
        list.end(out, is_cut);
        true
    }

    fn push_sockaddr(&self, out: &mut Vec<u8>, when: When) -> bool {
        let returned = when == When::Exit;
        let it = self.captured(returned, part::WHOLE);
        it.is_some_and(|it| self.push_address(out, returned, it))
    }

    pub(super) fn push_address(&self, out: &mut Vec<u8>, returned: bool, it: Captured<'_>) -> bool {
        let is_cut = it.state == CaptureState::Truncated;
        let context = Context { at_exit: returned, is_cut, ..*self.context };
        match self.form {
            Form::Text => values::push_sockaddr(out, &context, it.bytes),
            Form::Detail => values::push_sockaddr_detail(out, &context, it.bytes),
        }
    }

    /// `[{iov_base="…", iov_len=3}]`; an address where the data was not captured, or is not known to
    /// be there.
    pub(super) fn push_iovec(
        &self,
        out: &mut Vec<u8>,
        returned: bool,
        first: u8,
        elements: u64,
        has_data: bool,
    ) -> bool {
        let Some(array) = self.captured(returned, first) else { return false };
        let word = self.word();
        let mut list = List::new(self.form, out);
        for (number, bytes) in (0u8..).zip(array.bytes.chunks_exact(word * 2)) {
            let (base, len) = (self::number(bytes, 0, word), self::number(bytes, word, word));
            let data = (has_data && usize::from(number) < MAX_IOVECS)
                .then(|| self.captured(returned, first + part::IOVEC_DATA + number))
                .flatten();
            list.next(out);
            out.extend(self.key("iov_base", true).bytes());
            match data {
                Some(data) => self.push_data(out, data),
                None => self.push_address_of(out, base.unwrap_or(0)),
            }
            out.extend(self.key("iov_len", false).bytes());
            push_decimal(out, len.unwrap_or(0));
            out.push(b'}');
        }
        let shown = (array.bytes.len() / (word * 2)) as u64;
        list.end(out, shown < elements && shown <= MAX_ELEMENTS as u64);
        true
    }

    fn push_messages(&self, out: &mut Vec<u8>, returned: bool) -> bool {
        let count = if returned {
            u64::try_from(self.call.ret).unwrap_or(0)
        } else {
            self.elements(message::count_of(self.call, self.index))
        };
        let mut list = List::new(self.form, out);
        let start = out.len();
        let mut shown = 0;
        for first in (0..).step_by(usize::from(part::MESSAGE)).take(MAX_MESSAGES) {
            let Some(it) = Message::new(*self, returned, first) else { break };
            list.next(out);
            it.push_in_array(out);
            shown += 1;
        }
        if shown == 0 {
            out.truncate(start.saturating_sub(1));
            return false;
        }
        list.end(out, shown < count);
        true
    }

    fn push_argv(&self, out: &mut Vec<u8>) -> bool {
        if self.call.passed(self.index, 0).is_none() {
            return false;
        }
        let mut list = List::new(self.form, out);
        for part in (0..).take(MAX_ARGV) {
            let Some(it) = self.call.passed(self.index, part) else { break };
            list.next(out);
            match (it.is_read(), self.form) {
                (true, _) => self.push_data(out, it),
                (false, Form::Text) => out.extend(b"???"),
                (false, Form::Detail) => out.extend(b"null"),
            }
        }
        list.end(out, self.call.passed(self.index, part::MORE).is_some());
        true
    }

    /// `0x7ffc… /* 24 vars */`.
    fn push_envp(&self, out: &mut Vec<u8>) -> bool {
        let Some(it) = self.captured(false, part::WHOLE) else { return false };
        let Some(count) = number(it.bytes, 0, 4) else { return false };
        let more = it.state == CaptureState::Truncated;
        if self.form == Form::Detail {
            out.extend(b"{\"count\":");
            push_decimal(out, count);
            out.extend(if more { &b",\"more\":true}"[..] } else { b"}" });
            return true;
        }
        values::push_pointer(out, self.call.args[self.index]);
        out.extend(b" /* ");
        push_decimal(out, count);
        out.extend(match (more, count) {
            (true, _) => &b" vars or more */"[..],
            (false, 1) => b" var */",
            (false, _) => b" vars */",
        });
        true
    }

    /// Text or data of the program's.
    pub(super) fn push_data(&self, out: &mut Vec<u8>, it: Captured<'_>) {
        match self.form {
            Form::Text => super::argument::push_text(out, it),
            Form::Detail => {
                escape::push_json(out, it.bytes);
            }
        }
    }

    /// Addresses are strings in JSON: they do not fit the numbers of all readers.
    pub(super) fn push_address_of(&self, out: &mut Vec<u8>, address: u64) {
        match self.form {
            Form::Text => values::push_pointer(out, address),
            Form::Detail => {
                out.push(b'"');
                values::push_pointer(out, address);
                out.push(b'"');
            }
        }
    }

    /// What stands before a field's value.
    pub(super) fn key(&self, name: &str, is_first: bool) -> String {
        match (self.form, is_first) {
            (Form::Text, true) => format!("{{{name}="),
            (Form::Text, false) => format!(", {name}="),
            (Form::Detail, true) => format!("{{\"{name}\":"),
            (Form::Detail, false) => format!(",\"{name}\":"),
        }
    }

    /// Bytes of a pointer.
    pub(super) fn word(&self) -> usize {
        match self.context.abi {
            Abi::I386 | Abi::Arm => 4,
            Abi::X86_64 | Abi::X32 | Abi::Aarch64 => 8,
        }
    }
}

/// An array's brackets and commas.
struct List {
    form: Form,
    is_empty: bool,
}

impl List {
    fn new(form: Form, out: &mut Vec<u8>) -> Self {
        out.push(b'[');
        Self { form, is_empty: true }
    }

    fn next(&mut self, out: &mut Vec<u8>) {
        if !self.is_empty {
            out.extend(if self.form == Form::Text { &b", "[..] } else { b"," });
        }
        self.is_empty = false;
    }

    fn end(mut self, out: &mut Vec<u8>, is_cut: bool) {
        if is_cut && self.form == Form::Text {
            self.next(out);
            out.extend(b"...");
        }
        out.push(b']');
    }
}

/// Whether it is a plain number, which strace puts in brackets to show that it was pointed to.
fn is_number(kind: Struct, extent: Extent) -> bool {
    extent == Extent::One
        && matches!(
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

/// The unsigned number of `len` bytes (4 or 8) at an offset.
pub(super) fn number(bytes: &[u8], at: usize, len: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(len)?)?;
    match len {
        4 => Some(u64::from(u32::from_ne_bytes(bytes.try_into().ok()?))),
        _ => Some(u64::from_ne_bytes(bytes.try_into().ok()?)),
    }
}

pub(super) fn push_decimal(out: &mut Vec<u8>, value: u64) {
    out.extend(itoa::Buffer::new().format(value).bytes());
}
