//! Attributes of spans whose lengths fit one byte, which nearly all do: a template is copied in one
//! piece and the lengths are filled in. What does not fit is for [`super::attributes`].

use super::wire::varint_len;

/// Tag of `Span.attributes`, tags inside of `KeyValue` and of `AnyValue`.
const ATTRIBUTE: u8 = 9 << 3 | 2;
const KEY: u8 = 1 << 3 | 2;
const VALUE: u8 = 2 << 3 | 2;
const STRING: u8 = 1 << 3 | 2;
const INT: u8 = 3 << 3;

/// Bytes of a template that are not the key: four before it, three after it.
pub(super) const AROUND: usize = 7;

/// Above this a length needs a second byte.
const ONE_BYTE: usize = 0x7f;

/// A buffer for one attribute with a number.
const SMALL: usize = 64;
/// Bytes of a number, at most.
const NUMBER: usize = 10;

/// All of an attribute with a number but its lengths and the number. Made by [`key!`].
pub(super) const fn int_template<const N: usize>(key: &str) -> [u8; N] {
    template(key, INT)
}

/// All of an attribute with a string but its lengths, the last of which follows, and the string.
pub(super) const fn text_template<const N: usize>(key: &str) -> [u8; N] {
    template(key, STRING)
}

const fn template<const N: usize>(key: &str, value: u8) -> [u8; N] {
    let bytes = key.as_bytes();
    assert!(N == bytes.len() + AROUND && N + NUMBER <= SMALL, "not the length of this key");
    let mut out = [0; N];
    out[0] = ATTRIBUTE;
    out[2] = KEY;
    out[3] = low(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        out[4 + at] = bytes[at];
        at += 1;
    }
    out[N - 3] = VALUE;
    out[N - 1] = value;
    out
}

/// A template for a literal key.
macro_rules! key {
    ($make:ident $text:literal) => {{
        const TEMPLATE: [u8; $text.len() + $crate::export::otlp::known::AROUND] =
            $crate::export::otlp::known::$make($text);
        &TEMPLATE
    }};
}
pub(super) use key;

/// A length that is below 128.
const fn low(len: usize) -> u8 {
    len.to_le_bytes()[0]
}

/// Writes a number into `place`; returns its length.
#[inline]
fn number(place: &mut [u8], value: u64) -> usize {
    let len = varint_len(value);
    let mut rest = value;
    for (index, byte) in place.iter_mut().take(len).enumerate() {
        let more = if index + 1 < len { 0x80 } else { 0 };
        *byte = rest.to_le_bytes()[0] & 0x7f | more;
        rest >>= 7;
    }
    len
}

/// An attribute with a number.
#[inline]
pub(super) fn push_int<const N: usize>(out: &mut Vec<u8>, template: &[u8; N], value: i64) {
    let mut small = [0; SMALL];
    small[..N].copy_from_slice(template);
    let len = number(&mut small[N..], value.cast_unsigned());
    small[1] = low(N - 2 + len);
    small[N - 2] = low(1 + len);
    // A copy of constant size is a few instructions; one of any other is a call.
    let end = out.len() + N + len;
    out.extend_from_slice(&small);
    out.truncate(end);
}

/// An attribute with a string, if that is short enough.
#[inline]
#[must_use]
pub(super) fn push_text<const N: usize>(
    out: &mut Vec<u8>,
    template: &[u8; N],
    value: &[u8],
) -> bool {
    let len = N - 1 + value.len();
    if len > ONE_BYTE {
        return false;
    }
    let mut head = [0; SMALL];
    head[..N].copy_from_slice(template);
    head[1] = low(len);
    head[N - 2] = low(2 + value.len());
    head[N] = low(value.len());
    let end = out.len() + N + 1;
    out.extend_from_slice(&head);
    out.truncate(end);
    out.extend_from_slice(value);
    true
}

/// What an argument of a syscall is.
#[derive(Clone, Copy)]
pub(super) enum Argument<'a> {
    Int(i64),
    Text(&'a [u8]),
}

/// Before the name of an argument.
pub(super) const ARGUMENT: &str = "syscall.arg.";
/// Bytes before the name of an argument: tag, length, tag, length, prefix.
const BEFORE: usize = 4 + ARGUMENT.len();

/// An attribute for an argument, if it is short enough.
#[inline]
#[must_use]
pub(super) fn push_argument(out: &mut Vec<u8>, name: &str, value: Argument<'_>) -> bool {
    const BEGIN: [u8; BEFORE] = {
        let mut out = [0; BEFORE];
        (out[0], out[2]) = (ATTRIBUTE, KEY);
        let mut at = 0;
        while at < ARGUMENT.len() {
            out[4 + at] = ARGUMENT.as_bytes()[at];
            at += 1;
        }
        out
    };
    let mut tail = [0; 16];
    let (value_len, text) = match value {
        Argument::Int(value) => {
            tail[2] = INT;
            (1 + number(&mut tail[3..], value.cast_unsigned()), &[][..])
        }
        Argument::Text(text) => {
            tail[2] = STRING;
            tail[3] = low(text.len() & ONE_BYTE);
            (2 + text.len(), text)
        }
    };
    let key_len = ARGUMENT.len() + name.len();
    let len = 2 + key_len + 2 + value_len;
    if len > ONE_BYTE {
        return false;
    }
    let mut begin = BEGIN;
    begin[1] = low(len);
    begin[3] = low(key_len);
    out.extend_from_slice(&begin);
    out.extend_from_slice(name.as_bytes());
    tail[0] = VALUE;
    tail[1] = low(value_len);
    let end = out.len() + 2 + value_len - text.len();
    out.extend_from_slice(&tail);
    out.truncate(end);
    out.extend_from_slice(text);
    true
}
