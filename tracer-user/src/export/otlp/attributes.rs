//! Attributes: `KeyValue` messages. What each one is called stands in `docs/otlp.md`.

use tracer_common::{
    errno,
    event::{Abi, Record},
    syscalls::{Arg, ArgKind},
};

use super::{
    super::{
        argument::{self, arguments},
        who::{self, Fact},
    },
    known::{self, ARGUMENT, Argument, key, push_int},
    wire::{Field, push_choice, push_len, varint_len},
};
use crate::{
    escape,
    identity::Description,
    span_record::{SpanRecord, SyscallSpan},
    values::{self, Context},
};

/// The field of attributes in `Resource`.
pub(super) const OF_RESOURCE: Field = Field::new(1);
/// The field of attributes in `Span`.
pub(super) const OF_SPAN: Field = Field::new(9);

const KEY: Field = Field::new(1);
const VALUE: Field = Field::new(2);
const STRING: Field = Field::new(1);
const BOOL: Field = Field::new(2);
const INT: Field = Field::new(3);

/// A key in two parts, of which the second may be empty.
type Key<'a> = (&'a str, &'a str);

/// Tag, length and key of a `KeyValue` whose value has `value` bytes, and tag and length of that.
fn push_head(out: &mut Vec<u8>, field: Field, key: Key<'_>, value: usize) {
    let key_len = key.0.len() + key.1.len();
    let key_field = if key_len == 0 { 0 } else { 1 + varint_len(key_len as u64) + key_len };
    push_len(out, field, key_field + 1 + varint_len(value as u64) + value);
    if key_len > 0 {
        push_len(out, KEY, key_len);
        out.extend_from_slice(key.0.as_bytes());
        out.extend_from_slice(key.1.as_bytes());
    }
    push_len(out, VALUE, value);
}

pub(super) fn push_int_of(out: &mut Vec<u8>, field: Field, key: Key<'_>, value: i64) {
    let value = value.cast_unsigned();
    push_head(out, field, key, 1 + varint_len(value));
    push_choice(out, INT, value);
}

fn push_true(out: &mut Vec<u8>, key: Key<'_>) {
    push_true_of(out, OF_SPAN, key);
}

pub(super) fn push_true_of(out: &mut Vec<u8>, field: Field, key: Key<'_>) {
    push_head(out, field, key, 2);
    push_choice(out, BOOL, 1);
}

pub(super) fn push_text(out: &mut Vec<u8>, field: Field, key: Key<'_>, value: &str) {
    push_head(out, field, key, 1 + varint_len(value.len() as u64) + value.len());
    push_len(out, STRING, value.len());
    out.extend_from_slice(value.as_bytes());
}

/// Bytes of a traced program that are not UTF-8. One of them would make the whole request
/// unreadable, so all are escaped.
fn push_escaped(out: &mut Vec<u8>, key: Key<'_>, bytes: &[u8]) {
    push_escaped_of(out, OF_SPAN, key, bytes);
}

fn push_escaped_of(out: &mut Vec<u8>, field: Field, key: Key<'_>, bytes: &[u8]) {
    let len = escape::utf8_len(bytes);
    push_head(out, field, key, 1 + varint_len(len as u64) + len);
    push_len(out, STRING, len);
    escape::push_utf8(out, bytes);
}

/// What is known of a process, as attributes of a `Resource`. Text that is not UTF-8 is escaped,
/// and a second attribute says so.
pub(super) fn of_process(description: &Description<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, fact) in who::facts(description) {
        match fact {
            Fact::Int(value) => {
                push_int_of(&mut out, OF_RESOURCE, (key, ""), value.cast_signed());
            }
            Fact::True => push_true_of(&mut out, OF_RESOURCE, (key, "")),
            Fact::Text(bytes) => {
                if let Ok(text) = std::str::from_utf8(bytes) {
                    push_text(&mut out, OF_RESOURCE, (key, ""), text);
                } else {
                    push_escaped_of(&mut out, OF_RESOURCE, (key, ""), bytes);
                    push_true_of(&mut out, OF_RESOURCE, ("tracer.escaped.", key));
                }
            }
        }
    }
    out
}

/// The attributes of a span that is not a syscall's. Its own word goes before ours.
pub(super) fn push_named(out: &mut Vec<u8>, span: &SpanRecord) {
    for (key, value) in own_attributes(span) {
        push_int_of(out, OF_SPAN, (key, ""), value);
    }
    for (key, value) in span.attributes() {
        push_text(out, OF_SPAN, (key, ""), value);
    }
}

/// What every span has, unless it has an attribute of that name already.
pub(super) fn own_attributes(span: &SpanRecord) -> impl Iterator<Item = (&'static str, i64)> {
    let all = [("thread.id", span.thread_id()), ("tracer.logical_clock", span.logical_clock())];
    let wanted = all.into_iter().filter(|(key, _)| !span.attributes().contains_key(*key));
    wanted.map(|(key, value)| (key, value.cast_signed()))
}

/// The attributes of a syscall's span.
pub(super) fn push_syscall(
    out: &mut Vec<u8>,
    span: &SpanRecord,
    call: &SyscallSpan,
    text: &mut Vec<u8>,
) {
    push_int(out, key!(int_template "thread.id"), span.thread_id().cast_signed());
    push_int(out, key!(int_template "tracer.logical_clock"), span.logical_clock().cast_signed());
    push_comm(out, call.comm());
    if let Some(errno) = call.errno() {
        push_error(out, errno);
    }
    push_int(out, key!(int_template "syscall.number"), i64::from(call.nr));
    push_short(out, key!(text_template "syscall.abi"), call.abi.name());
    if call.has_result() {
        push_int(out, key!(int_template "syscall.return"), call.ret);
    }
    push_int(out, key!(int_template "syscall.cgroup_id"), call.cgroup_id.cast_signed());
    if call.record != Record::Complete {
        push_short(out, key!(text_template "syscall.record"), call.record.name());
        push_short(out, key!(text_template "syscall.reason"), call.reason.name());
    }
    let context = argument::context(call);
    let late = call.read_late();
    for (index, (arg, raw)) in arguments(call, &context).iter().zip(context.args).enumerate() {
        push_argument(out, call, &context, (index, arg, raw), text);
        if late >> index & 1 != 0 {
            push_text(out, OF_SPAN, ("syscall.arg_read_at.", arg.name), "exit");
        }
    }
    if !context.fds.is_empty() {
        push_names(out, call, &context, text);
    }
}

/// Descriptors are numbers everywhere; what they lead to stands beside them.
fn push_names(out: &mut Vec<u8>, call: &SyscallSpan, context: &Context<'_>, text: &mut Vec<u8>) {
    for (index, (arg, raw)) in arguments(call, context).iter().zip(context.args).enumerate() {
        text.clear();
        if arg.kind == ArgKind::Path && values::push_folder(text, context, index) {
            let folder = String::from_utf8_lossy(text);
            push_text(out, OF_SPAN, ("syscall.arg_folder.", arg.name), &folder);
        }
        if matches!(arg.kind, ArgKind::Fd | ArgKind::DirFd) {
            text.clear();
            values::push_register(text, context, arg.kind, raw);
            push_text(
                out,
                OF_SPAN,
                ("syscall.arg_text.", arg.name),
                &String::from_utf8_lossy(text),
            );
        }
    }
    text.clear();
    if values::push_result_fd(text, context) {
        push_text(out, OF_SPAN, ("syscall.return_text", ""), &String::from_utf8_lossy(text));
    }
}

/// A string of tracer's own, which is short.
fn push_short<const N: usize>(out: &mut Vec<u8>, template: &[u8; N], text: &'static str) {
    let is_short = known::push_text(out, template, text.as_bytes());
    debug_assert!(is_short, "`{text}` is long");
}

fn push_comm(out: &mut Vec<u8>, comm: &[u8]) {
    if comm.is_empty() {
        return;
    }
    // A name has 16 bytes at most.
    let is_text = std::str::from_utf8(comm).is_ok();
    if !is_text || !known::push_text(out, key!(text_template "thread.name"), comm) {
        push_escaped(out, ("thread.name", ""), comm);
        push_true(out, ("syscall.thread_name_escaped", ""));
    }
}

fn push_error(out: &mut Vec<u8>, errno: u32) {
    match errno::name(errno) {
        Some(name) => push_short(out, key!(text_template "error.type"), name),
        None => push_text(out, OF_SPAN, ("error.type", ""), &format!("errno_{errno}")),
    }
}

fn push_argument(
    out: &mut Vec<u8>,
    call: &SyscallSpan,
    context: &Context<'_>,
    (index, arg, raw): (usize, &Arg, u64),
    text: &mut Vec<u8>,
) {
    if let Some(string) = argument::text(call, index, arg.kind) {
        push_string(out, arg.name, string.bytes);
    } else if let Some(value) = number(call.abi, arg, raw) {
        if !known::push_argument(out, arg.name, Argument::Int(value)) {
            push_int_of(out, OF_SPAN, (ARGUMENT, arg.name), value);
        }
    } else {
        text.clear();
        argument::push_value(text, call, context, arg.kind, index);
        push_string(out, arg.name, text);
    }
    if let Some(state) = argument::state(call, index, arg.kind) {
        push_text(out, OF_SPAN, ("syscall.arg_state.", arg.name), state.name());
    }
}

fn push_string(out: &mut Vec<u8>, name: &str, bytes: &[u8]) {
    let key = (ARGUMENT, name);
    if let Ok(text) = std::str::from_utf8(bytes) {
        if !known::push_argument(out, name, Argument::Text(bytes)) {
            push_text(out, OF_SPAN, key, text);
        }
    } else {
        push_escaped(out, key, bytes);
        push_true(out, ("syscall.arg_escaped.", name));
    }
}

/// The value of an argument that is a number, of which `taken` is what the kernel takes. An attribute has one type everywhere, for many
/// backends insist on it: a name that some calls use for a number and others for something else is
/// text in all of them.
pub(super) fn number(abi: Abi, arg: &Arg, taken: u64) -> Option<i64> {
    if is_ambiguous(arg.name) {
        return None;
    }
    let low = u32::try_from(taken & u64::from(u32::MAX)).unwrap_or_default();
    match arg.kind {
        ArgKind::Long if matches!(abi, Abi::I386 | Abi::Arm) => Some(low.cast_signed().into()),
        ArgKind::Int | ArgKind::Fd | ArgKind::DirFd | ArgKind::Pid | ArgKind::Signal => {
            Some(i64::from(low.cast_signed()))
        }
        // -1 means "leave as it is", chown(2).
        ArgKind::Uid | ArgKind::Gid if low == u32::MAX => Some(-1),
        ArgKind::Uint | ArgKind::Uid | ArgKind::Gid => Some(i64::from(low)),
        ArgKind::Long | ArgKind::Ulong | ArgKind::Size | ArgKind::Offset => {
            Some(taken.cast_signed())
        }
        _ => None,
    }
}

fn is_ambiguous(name: &str) -> bool {
    matches!(
        name,
        "addr_len"
            | "attr"
            | "cmd"
            | "data"
            | "fildes"
            | "flags"
            | "how"
            | "level"
            | "mode"
            | "offset"
            | "op"
            | "option"
            | "optlen"
            | "pgoff"
            | "policy"
            | "sig"
            | "size"
            | "timeout"
            | "type"
            | "which"
            | "who"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeSet, HashMap};
    use tracer_common::{event::Abi, syscalls};

    #[test]
    fn an_attribute_has_one_type() {
        let mut types: HashMap<&str, bool> = HashMap::new();
        let mut ambiguous = BTreeSet::new();
        let all = Abi::ALL.iter().flat_map(|abi| syscalls::all(*abi));
        for arg in all.flat_map(|(_, syscall)| syscall.args) {
            let is_number = number(Abi::X86_64, arg, 1).is_some();
            if *types.entry(arg.name).or_insert(is_number) != is_number {
                ambiguous.insert(arg.name);
            }
        }
        assert!(ambiguous.is_empty(), "{ambiguous:?}");
        assert!(types.len() > 300, "{}", types.len());
    }

    #[test]
    fn numbers_are_as_the_kernel_reads_them() {
        let of = |abi, name, kind, raw| {
            let arg = Arg::new(name, kind);
            number(abi, &arg, arg.taken(raw))
        };
        let number = |name, kind, raw| of(Abi::X86_64, name, kind, raw);
        assert_eq!(number("fd", ArgKind::Fd, u64::MAX), Some(-1));
        assert_eq!(number("fd", ArgKind::DirFd, 0xffff_ff9c), Some(-100));
        assert_eq!(number("uid", ArgKind::Uid, 0xffff_ffff), Some(-1));
        assert_eq!(number("n", ArgKind::Uint, 0xffff_ffff), Some(0xffff_ffff));
        assert_eq!(number("count", ArgKind::Size, 1 << 40), Some(1 << 40));
        assert_eq!(number("size", ArgKind::Size, 1), None);
        assert_eq!(number("buf", ArgKind::Ptr, 1), None);
        assert_eq!(number("nr", ArgKind::Long, 0xffff_ffff), Some(0xffff_ffff));
        assert_eq!(of(Abi::I386, "nr", ArgKind::Long, 0xffff_ffff), Some(-1));
    }
}
