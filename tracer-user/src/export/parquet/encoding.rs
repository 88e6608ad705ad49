//! How values become bytes of a page. The formats are those of
//! <https://github.com/apache/parquet-format/blob/apache-parquet-format-2.10.0/Encodings.md>.

/// Values of a block of [`differences`].
const BLOCK: usize = 128;
/// Parts of a block, each packed with a width of its own.
const PARTS: usize = 4;
/// Values of a part.
const PART: usize = BLOCK / PARTS;

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
    /// Numbers that are in no run.
    packed: Vec<u32>,
    /// The run that is not written yet.
    value: u32,
    run: u32,
}

impl Hybrid {
    /// For numbers of so many bits.
    pub(super) const fn new(width: u32) -> Self {
        Self { out: Vec::new(), width, packed: Vec::new(), value: 0, run: 0 }
    }

    pub(super) fn push(&mut self, value: u32, run: u32) {
        if value == self.value {
            self.run += run;
            return;
        }
        self.end_run();
        (self.value, self.run) = (value, run);
    }

    /// A run of less than eight is shorter packed, and packed numbers come in eights.
    fn end_run(&mut self) {
        if self.run < 8 {
            for _ in 0..std::mem::take(&mut self.run) {
                self.packed.push(self.value);
            }
            return;
        }
        let missing = (8 - small(self.packed.len() % 8)) % 8;
        let left = self.run.saturating_sub(missing);
        let packed = if left < 8 { self.run } else { missing };
        self.packed.extend(std::iter::repeat_n(self.value, packed as usize));
        self.run -= packed;
        if self.run > 0 {
            self.end_packed();
            push_varint(&mut self.out, u64::from(self.run) << 1);
            let bytes = self.value.to_le_bytes();
            self.out.extend(bytes.iter().take(self.width.div_ceil(8) as usize));
            self.run = 0;
        }
    }

    fn end_packed(&mut self) {
        if self.packed.is_empty() {
            return;
        }
        let groups = self.packed.len().div_ceil(8);
        push_varint(&mut self.out, (groups as u64) << 1 | 1);
        let (mut bits, mut held) = (0_u64, 0);
        self.packed.resize(groups * 8, 0);
        for number in self.packed.drain(..) {
            bits |= u64::from(number) << held;
            held += self.width;
            if held >= u32::BITS {
                let [a, b, c, d, ..] = bits.to_le_bytes();
                self.out.extend_from_slice(&[a, b, c, d]);
                bits >>= u32::BITS;
                held -= u32::BITS;
            }
        }
        let rest = bits.to_le_bytes();
        self.out.extend_from_slice(rest.get(..held.div_ceil(8) as usize).unwrap_or_default());
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
