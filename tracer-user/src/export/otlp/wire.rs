//! Writing protobuf, <https://protobuf.dev/programming-guides/encoding>, in its canonical form:
//! every number as short as it can be, so that the bytes equal those of any other encoder.

/// Wire types, the low three bits of a tag.
const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LEN: u8 = 2;

/// A field number below 16, for which a tag is one byte.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field(u8);

impl Field {
    pub(super) const fn new(number: u8) -> Self {
        assert!(number > 0 && number < 16, "the tag must be one byte");
        Self(number << 3)
    }
}

/// Bytes of `value` as a varint, 1..=10.
pub(super) const fn varint_len(value: u64) -> usize {
    ((u64::BITS - (value | 1).leading_zeros()) as usize).div_ceil(7)
}

pub(super) fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    // The low byte on purpose: seven bits and the mark that more follow.
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// A number; 0 is what an absent field means, and is left out.
pub(super) fn push_number(out: &mut Vec<u8>, field: Field, value: u64) {
    if value != 0 {
        push_choice(out, field, value);
    }
}

/// A number that is one of several choices, so that 0 is written too.
pub(super) fn push_choice(out: &mut Vec<u8>, field: Field, value: u64) {
    out.push(field.0 | VARINT);
    push_varint(out, value);
}

/// A number of 64 bits; 0 is left out.
pub(super) fn push_fixed64(out: &mut Vec<u8>, field: Field, value: u64) {
    if value != 0 {
        let mut bytes = [field.0 | FIXED64; 9];
        bytes[1..].copy_from_slice(&value.to_le_bytes());
        out.extend_from_slice(&bytes);
    }
}

/// A string or bytes; nothing when empty.
pub(super) fn push_bytes(out: &mut Vec<u8>, field: Field, bytes: &[u8]) {
    if !bytes.is_empty() {
        push_len(out, field, bytes.len());
        out.extend_from_slice(bytes);
    }
}

/// The tag and length of a field whose `len` bytes follow.
pub(super) fn push_len(out: &mut Vec<u8>, field: Field, len: usize) {
    out.push(field.0 | LEN);
    push_varint(out, len as u64);
}

/// A message that is being written, and whose length is not known yet: so many bytes are kept free
/// for it. When it needs another number of them, the message is moved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open<const KEPT: usize> {
    at: usize,
}

impl<const KEPT: usize> Open<KEPT> {
    pub(super) fn start(out: &mut Vec<u8>, field: Field) -> Self {
        out.push(field.0 | LEN);
        let at = out.len();
        out.extend_from_slice(&[0; KEPT]);
        Self { at }
    }

    /// Writes the length. Messages inside this one must have ended.
    pub(super) fn end(self, out: &mut Vec<u8>) {
        let body = self.at + KEPT;
        let len = out.len() - body;
        let need = varint_len(len as u64);
        if need < KEPT {
            out.copy_within(body.., self.at + need);
            out.truncate(self.at + need + len);
        } else if need > KEPT {
            out.resize(out.len() + need - KEPT, 0);
            out.copy_within(body..body + len, self.at + need);
        }
        let mut rest = len as u64;
        for (index, byte) in out.iter_mut().skip(self.at).take(need).enumerate() {
            let more = if index + 1 < need { 0x80 } else { 0 };
            *byte = rest.to_le_bytes()[0] & 0x7f | more;
            rest >>= 7;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_are_as_prost_writes_them(shift in 0u32..64, value: u64) {
            let value = value >> shift;
            let mut out = Vec::new();
            push_varint(&mut out, value);
            let mut expected = Vec::new();
            prost::encoding::encode_varint(value, &mut expected);
            prop_assert_eq!(varint_len(value), out.len());
            prop_assert_eq!(out, expected);
        }

        #[test]
        fn a_message_of_any_length_gets_its_length(
            before in proptest::collection::vec(any::<u8>(), 0..4),
            len in prop_oneof![0usize..300, 16_300usize..16_500, Just(2_097_151), Just(2_097_152)],
        ) {
            let body: Vec<u8> = (0..=255).cycle().take(len).collect();
            let mut expected = before.clone();
            push_len(&mut expected, Field::new(2), len);
            expected.extend(&body);
            let mut out = before;
            let mut other = out.clone();
            let open = Open::<2>::start(&mut out, Field::new(2));
            out.extend(&body);
            open.end(&mut out);
            prop_assert!(out == expected);
            let open = Open::<3>::start(&mut other, Field::new(2));
            other.extend(&body);
            open.end(&mut other);
            prop_assert!(other == expected);
        }
    }
}
