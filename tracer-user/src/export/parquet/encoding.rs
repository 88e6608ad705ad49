//! How values become bytes of a page. The formats are those of
//! <https://github.com/apache/parquet-format/blob/apache-parquet-format-2.10.0/Encodings.md>.

/// Values of a block of [`differences`].
const BLOCK: usize = 128;
/// Parts of a block, each packed with a width of its own.
const PARTS: usize = 4;
/// Values of a part.
const PART: usize = BLOCK / PARTS;

/// A shorter run is packed.
const SHORT: u32 = 8;

/// Which rows have a value, as the column stands in a page: runs behind their length in bytes.
pub(super) fn push_levels(out: &mut Vec<u8>, runs: impl Iterator<Item = (bool, u32)>) {
    let mut levels = Hybrid::new(1);
    for (is_there, run) in runs {
        levels.push(u32::from(is_there), run);
    }
    let levels = levels.finish();
    out.extend(small(levels.len()).to_le_bytes());
    out.extend(levels);
}

/// Appends numbers as `DELTA_BINARY_PACKED`.
pub(super) fn push_differences(out: &mut Vec<u8>, values: &[i64]) {
    push_varint(out, BLOCK as u64);
    push_varint(out, PARTS as u64);
    push_varint(out, values.len() as u64);
    let Some((first, rest)) = values.split_first() else { return push_varint(out, 0) };
    push_varint(out, zigzag(*first));
    let mut before = *first;
    for block in rest.chunks(BLOCK) {
        let mut differences = [0; BLOCK];
        let mut least = i64::MAX;
        for (difference, value) in differences.iter_mut().zip(block) {
            *difference = value.wrapping_sub(before);
            least = least.min(*difference);
            before = *value;
        }
        push_block(out, differences.get(..block.len()).unwrap_or_default(), least);
    }
}

fn push_block(out: &mut Vec<u8>, differences: &[i64], least: i64) {
    push_varint(out, zigzag(least));
    let widths = out.len();
    out.extend([0; PARTS]);
    for (number, part) in differences.chunks(PART).enumerate() {
        let mut packed = [0; PART];
        let mut all = 0;
        for (place, difference) in packed.iter_mut().zip(part) {
            *place = difference.wrapping_sub(least).cast_unsigned();
            all |= *place;
        }
        let width = u64::BITS - all.leading_zeros();
        if let Some(place) = out.get_mut(widths + number) {
            *place = u8::try_from(width).unwrap_or_default();
        }
        push_bits(out, &packed, width);
    }
}

/// Appends numbers of `width` bits, 0..=64; all of them together are whole bytes.
fn push_bits(out: &mut Vec<u8>, numbers: &[u64; PART], width: u32) {
    if width == 0 {
        return;
    }
    let (mut bits, mut held) = (0_u64, 0_u32);
    for number in numbers {
        bits |= number << held;
        held += width;
        if held >= u64::BITS {
            out.extend_from_slice(&bits.to_le_bytes());
            held -= u64::BITS;
            // A shift by all 64 bits would be none at all.
            bits = number.checked_shr(width - held).unwrap_or_default();
        }
    }
    let rest = bits.to_le_bytes();
    out.extend_from_slice(rest.get(..held.div_ceil(8) as usize).unwrap_or_default());
}

const fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63).cast_unsigned()
}

/// Numbers as runs of one value, and groups of eight packed by bits.
pub(super) struct Hybrid {
    out: Vec<u8>,
    width: u32,
    /// Numbers that are in no run, as they will stand in `out`, and how many these are.
    packed: Vec<u8>,
    count: usize,
    /// Their last bits, fewer than 32.
    bits: u64,
    held: u32,
    /// By their count: ones as far apart as numbers are, which times a number repeats it.
    ones: [u64; SHORT as usize],
    /// The run that is not written yet.
    value: u32,
    run: u32,
}

impl Hybrid {
    /// For numbers of so many bits.
    pub(super) fn new(width: u32) -> Self {
        let (out, packed) = (Vec::new(), Vec::new());
        let mut ones = [0; SHORT as usize];
        let mut all = 0_u64;
        for place in &mut ones {
            *place = all;
            // Not used where they are too many for the bits.
            all = all << width | 1;
        }
        Self { out, width, packed, count: 0, bits: 0, held: 0, ones, value: 0, run: 0 }
    }

    #[inline]
    pub(super) fn push(&mut self, value: u32, run: u32) {
        if value == self.value {
            self.run += run;
            return;
        }
        self.end_run();
        (self.value, self.run) = (value, run);
    }

    /// A run of less than eight is shorter packed, and packed numbers come in eights.
    #[inline]
    fn end_run(&mut self) {
        if self.run < SHORT {
            let run = std::mem::take(&mut self.run);
            self.pack(self.value, run);
        } else {
            self.end_long_run();
        }
    }

    fn end_long_run(&mut self) {
        let missing = self.missing();
        let packed = if self.run < SHORT + missing { self.run } else { missing };
        self.pack(self.value, packed);
        self.run -= packed;
        if self.run > 0 {
            self.end_packed();
            push_varint(&mut self.out, u64::from(self.run) << 1);
            let bytes = self.value.to_le_bytes();
            self.out.extend(bytes.iter().take(self.width.div_ceil(8) as usize));
            self.run = 0;
        }
    }

    /// Numbers that a group of eight lacks.
    fn missing(&self) -> u32 {
        (8 - small(self.count % 8)) % 8
    }

    /// Packs a number so many times.
    #[inline]
    fn pack(&mut self, number: u32, times: u32) {
        match self.ones.get(times as usize) {
            Some(ones) if times * self.width <= u32::BITS => {
                self.pack_bits(u64::from(number) * ones, times * self.width);
            }
            _ => (0..times).for_each(|_| self.pack_bits(number.into(), self.width)),
        }
        self.count += times as usize;
    }

    /// Appends so many bits, 32 at most.
    #[inline]
    fn pack_bits(&mut self, bits: u64, count: u32) {
        self.bits |= bits << self.held;
        self.held += count;
        if self.held >= u32::BITS {
            let [a, b, c, d, ..] = self.bits.to_le_bytes();
            self.packed.extend_from_slice(&[a, b, c, d]);
            self.bits >>= u32::BITS;
            self.held -= u32::BITS;
        }
    }

    fn end_packed(&mut self) {
        if self.count == 0 {
            return;
        }
        self.pack(0, self.missing());
        push_varint(&mut self.out, (self.count as u64 / 8) << 1 | 1);
        self.out.append(&mut self.packed);
        let rest = self.bits.to_le_bytes();
        self.out.extend_from_slice(rest.get(..self.held as usize / 8).unwrap_or_default());
        (self.count, self.bits, self.held) = (0, 0, 0);
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.end_run();
        self.end_packed();
        self.out
    }
}

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    // The low byte on purpose: seven bits and the mark that more follow.
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Of a row group's rows, values and bytes there are fewer than 2^32.
pub(super) fn small(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads so many numbers, by the letter of the format.
    fn read(mut bytes: &[u8], width: u32, count: usize) -> Vec<u32> {
        let mut numbers = Vec::new();
        while numbers.len() < count {
            let (mut header, mut shift) = (0_usize, 0);
            loop {
                let (byte, rest) = bytes.split_first().unwrap();
                bytes = rest;
                header |= usize::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            let is_packed = header & 1 == 1;
            let len =
                if is_packed { (header >> 1) * width as usize } else { width.div_ceil(8) as usize };
            let (run, rest) = bytes.split_at(len);
            bytes = rest;
            let bit = |at: usize| u32::from(run[at / 8] >> (at % 8) & 1);
            let number = |at: usize| (0..width).map(|n| bit(at + n as usize) << n).sum::<u32>();
            if is_packed {
                numbers.extend((0..(header >> 1) * 8).map(|n| number(n * width as usize)));
            } else {
                numbers.resize(numbers.len() + (header >> 1), number(0));
            }
        }
        assert!(bytes.is_empty());
        assert!(numbers.len() < count + 8 && numbers.drain(count..).all(|filler| filler == 0));
        numbers
    }

    proptest! {
        #[test]
        fn numbers_and_runs_come_back(
            width in 0..=32_u32,
            runs in proptest::collection::vec((any::<u32>(), 1..40_u32), 1..60),
            short in any::<bool>(),
        ) {
            let mask = u32::MAX.checked_shr(32 - width).unwrap_or_default();
            let runs: Vec<_> =
                runs.iter().map(|(n, run)| (n & mask, if short { run % 9 + 1 } else { *run })).collect();
            let mut hybrid = Hybrid::new(width);
            for (number, run) in &runs {
                hybrid.push(*number, *run);
            }
            let all: Vec<_> = runs
                .iter()
                .flat_map(|(number, run)| std::iter::repeat_n(*number, *run as usize))
                .collect();
            prop_assert_eq!(read(&hybrid.finish(), width, all.len()), all);
        }
    }
}
