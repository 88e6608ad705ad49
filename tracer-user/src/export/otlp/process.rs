//! Spans of processes and of the signals that they get: their attributes and events.

use super::{
    attributes::{OF_SPAN, own_attributes, push_int_of, push_text, push_true_of},
    wire::{Field, Open, push_bytes, push_choice, push_fixed64, push_len, push_number},
};
use crate::{
    escape,
    process::Process,
    span_record::{Attribute, ProcessSpan, SignalSpan, SpanRecord, Value},
    values,
};

const KEY: Field = Field::new(1);
const VALUE: Field = Field::new(2);
const STRING: Field = Field::new(1);
const BOOL: Field = Field::new(2);
const INT: Field = Field::new(3);
const ARRAY: Field = Field::new(5);
/// `ArrayValue.values`.
const ELEMENT: Field = Field::new(1);
const EVENTS: Field = Field::new(11);
const DROPPED_EVENTS: Field = Field::new(12);
const OF_EVENT: Field = Field::new(3);

/// Attributes and events of a process's span.
pub(super) fn push_process(
    out: &mut Vec<u8>,
    span: &SpanRecord,
    process: &Process,
    life: &ProcessSpan,
) {
    for (key, value) in own_attributes(span) {
        push_int_of(out, OF_SPAN, (key, ""), value);
    }
    push_attribute(out, OF_SPAN, &("thread.name", Value::Text(life.comm().into())));
    // That of a process that is only known as the parent of another is not.
    if life.cgroup_id != 0 {
        push_int_of(out, OF_SPAN, ("syscall.cgroup_id", ""), life.cgroup_id.cast_signed());
    }
    for attribute in life.attributes(process) {
        push_attribute(out, OF_SPAN, &attribute);
    }
    for program in &life.programs {
        let open = Open::<2>::start(out, EVENTS);
        push_fixed64(out, Field::new(1), program.time_nanos);
        push_bytes(out, Field::new(2), b"exec");
        for attribute in program.program.attributes() {
            push_attribute(out, OF_EVENT, &attribute);
        }
        open.end(out);
    }
    push_number(out, DROPPED_EVENTS, life.programs_left_out.into());
}

/// Attributes of a signal's span.
pub(super) fn push_signal(
    out: &mut Vec<u8>,
    span: &SpanRecord,
    signal: &SignalSpan,
    text: &mut Vec<u8>,
) {
    for (key, value) in own_attributes(span) {
        push_int_of(out, OF_SPAN, (key, ""), value);
    }
    push_attribute(out, OF_SPAN, &("thread.name", Value::Text(signal.comm().into())));
    push_int_of(out, OF_SPAN, ("syscall.cgroup_id", ""), signal.cgroup_id.cast_signed());
    push_int_of(out, OF_SPAN, ("tracer.signal.number", ""), signal.signal.into());
    push_text(out, OF_SPAN, ("tracer.signal.name", ""), &signal.name());
    if !signal.info().is_empty() {
        text.clear();
        values::push_siginfo(text, signal.info());
        push_attribute(out, OF_SPAN, &("tracer.signal.info", Value::Text(text.as_slice().into())));
    }
}

/// A `KeyValue`; after one that had to be escaped, another that says so.
fn push_attribute(out: &mut Vec<u8>, field: Field, (key, value): &Attribute<'_>) {
    let open = Open::<1>::start(out, field);
    push_bytes(out, KEY, key.as_bytes());
    let inner = Open::<1>::start(out, VALUE);
    let mut escaped = false;
    match value {
        Value::Int(value) => push_choice(out, INT, value.cast_unsigned()),
        Value::Bool(value) => push_choice(out, BOOL, u64::from(*value)),
        Value::Text(bytes) => escaped = push_string(out, bytes),
        Value::List(all) => {
            let array = Open::<1>::start(out, ARRAY);
            for bytes in *all {
                let element = Open::<1>::start(out, ELEMENT);
                escaped |= push_string(out, bytes);
                element.end(out);
            }
            array.end(out);
        }
    }
    inner.end(out);
    open.end(out);
    if escaped {
        push_true_of(out, field, ("tracer.escaped.", key));
    }
}

/// Whether it had to be escaped, not being UTF-8.
fn push_string(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    if std::str::from_utf8(bytes).is_ok() {
        push_len(out, STRING, bytes.len());
        out.extend_from_slice(bytes);
        return false;
    }
    push_len(out, STRING, escape::utf8_len(bytes));
    escape::push_utf8(out, bytes);
    true
}
