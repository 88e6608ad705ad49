//! Reads numbers from the memory of a program, by its ABI. All ABIs are little-endian.

use tracer_common::event::Abi;

/// Bytes and how far they have been read.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    abi: Abi,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], abi: Abi) -> Self {
        Self { bytes, at: 0, abi }
    }

    /// The ABI.
    pub(super) fn abi(&self) -> Abi {
        self.abi
    }

    /// Whether registers and pointers have 32 bits.
    pub(super) fn is_narrow(&self) -> bool {
        is_narrow(self.abi)
    }

    /// Bytes of a `long`.
    pub(super) fn word(&self) -> usize {
        if self.is_narrow() { 4 } else { 8 }
    }

    /// Where a number of 64 bits may stand: i386 needs no more than 4.
    fn wide_alignment(&self) -> usize {
        if self.abi == Abi::I386 { 4 } else { 8 }
    }

    /// Bytes that are left.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// How many bytes there are.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Goes to this byte.
    pub(super) fn seek(&mut self, at: usize) {
        self.at = at;
    }

    /// Takes so many bytes, if there are as many.
    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(taken)
    }

    /// Takes so many bytes, or those that are left.
    pub(super) fn take_up_to(&mut self, len: usize) -> &'a [u8] {
        let len = len.min(self.rest().len());
        self.take(len).unwrap_or_default()
    }

    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.align(2);
        self.take(2)?.try_into().map(u16::from_le_bytes).ok()
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.align(4);
        self.take(4)?.try_into().map(u32::from_le_bytes).ok()
    }

    pub(super) fn i32(&mut self) -> Option<i32> {
        self.u32().map(u32::cast_signed)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.align(self.wide_alignment());
        self.take(8)?.try_into().map(u64::from_le_bytes).ok()
    }

    /// A 64-bit number that is aligned to 8 bytes on every ABI: `__aligned_u64`.
    pub(super) fn aligned_u64(&mut self) -> Option<u64> {
        self.align(8);
        self.unaligned_u64()
    }

    /// A 64-bit number that stands anywhere.
    pub(super) fn unaligned_u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().map(u64::from_le_bytes).ok()
    }

    /// An `unsigned long`, or a pointer.
    pub(super) fn ulong(&mut self) -> Option<u64> {
        if self.is_narrow() { self.u32().map(u64::from) } else { self.u64() }
    }

    /// A `long`.
    pub(super) fn long(&mut self) -> Option<i64> {
        if self.is_narrow() { self.i32().map(i64::from) } else { self.u64().map(u64::cast_signed) }
    }
}

/// Whether registers and pointers of the ABI have 32 bits.
pub(super) fn is_narrow(abi: Abi) -> bool {
    matches!(abi, Abi::I386 | Abi::Arm)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_aligned_as_the_abi_does() {
        let bytes: Vec<u8> = (0..24).collect();
        let mut native = Reader::new(&bytes, Abi::X86_64);
        assert_eq!((native.u8(), native.u32()), (Some(0), Some(0x0706_0504)));
        assert_eq!(native.u16(), Some(0x0908));
        assert_eq!(native.ulong(), Some(0x1716_1514_1312_1110));
        assert_eq!(native.u8(), None);
        let mut compat = Reader::new(&bytes, Abi::I386);
        assert_eq!(
            (compat.ulong(), compat.u64()),
            (Some(0x0302_0100), Some(0x0b0a_0908_0706_0504))
        );
    }
}
