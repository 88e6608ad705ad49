//! Columns of few values: each value stands once in a dictionary, rows are runs of its numbers.
//!
//! The writer of the crate `parquet` hashes each value of each row; neighbouring calls mostly share
//! theirs, so a comparison with the row before is nearly all that is done here. The format is that
//! of <https://github.com/apache/parquet-format/blob/apache-parquet-format-2.10.0/Encodings.md>.

use std::{collections::HashMap, sync::Arc};

use arrow_array::{
    ArrayRef,
    builder::{FixedSizeBinaryBuilder, Int32Builder, Int64Builder, StringBuilder},
};
use arrow_schema::{ArrowError, DataType};
use parquet::{
    basic::{Compression as Codec, Encoding, Type},
    column::{
        page::{CompressedPage, Page, PageWriter},
        writer::ColumnCloseResult,
    },
    data_type::ByteArray,
    errors::ParquetError,
    file::{
        metadata::ColumnChunkMetaData,
        statistics::Statistics,
        writer::{SerializedPageWriter, TrackedWrite},
    },
    schema::types::ColumnDescPtr,
};

/// Slots of the table of values seen lately, a power of two.
const RECENT: usize = 256;
/// The number that stands for null.
const NULL: u32 = u32::MAX;

/// A column of one row group in the making.
#[derive(Debug, Default)]
pub(super) struct Dictionary {
    /// All values, one behind the other, and where each ends.
    bytes: Vec<u8>,
    ends: Vec<u32>,
    numbers: HashMap<Box<[u8]>, u32>,
    recent: Vec<u32>,
    /// Numbers of values, each with the rows in a row that have it.
    runs: Vec<(u32, u32)>,
    rows: u32,
    nulls: u32,
}

impl Dictionary {
    /// Appends a row.
    #[inline]
    pub(super) fn push(&mut self, value: &[u8]) {
        if let Some((number, run)) = self.runs.last_mut()
            && value_at(&self.bytes, &self.ends, *number) == Some(value)
        {
            *run += 1;
            self.rows += 1;
            return;
        }
        let number = self.number(value);
        self.push_number(number);
    }

    /// Appends a row that has no value.
    #[inline]
    pub(super) fn push_null(&mut self) {
        self.nulls += 1;
        self.push_number(NULL);
    }

    fn push_number(&mut self, number: u32) {
        self.rows += 1;
        match self.runs.last_mut() {
            Some((last, run)) if *last == number => *run += 1,
            _ => self.runs.push((number, 1)),
        }
    }

    /// The number of a value, which is that of its first row.
    fn number(&mut self, value: &[u8]) -> u32 {
        self.recent.resize(RECENT, NULL);
        let slot = slot(value);
        let known = self.recent.get(slot).copied().unwrap_or(NULL);
        if value_at(&self.bytes, &self.ends, known) == Some(value) {
            return known;
        }
        let number = self.numbers.get(value).copied().unwrap_or_else(|| {
            let number = small(self.ends.len());
            self.bytes.extend_from_slice(value);
            self.ends.push(small(self.bytes.len()));
            self.numbers.insert(value.into(), number);
            number
        });
        if let Some(place) = self.recent.get_mut(slot) {
            *place = number;
        }
        number
    }

    fn values(&self) -> impl Iterator<Item = &[u8]> {
        let numbers = 0..small(self.ends.len());
        numbers.filter_map(|number| value_at(&self.bytes, &self.ends, number))
    }

    /// The column as an array of Arrow.
    pub(super) fn to_array(&self, kind: &DataType) -> Result<ArrayRef, ArrowError> {
        let rows = self.rows as usize;
        macro_rules! array {
            ($builder:expr, $parse:expr) => {{
                let mut builder = $builder;
                for (number, run) in &self.runs {
                    let value = value_at(&self.bytes, &self.ends, *number).map($parse);
                    (0..*run).for_each(|_| builder.append_option(value));
                }
                Arc::new(builder.finish())
            }};
        }
        Ok(match kind {
            DataType::Int32 => array!(Int32Builder::with_capacity(rows), |it| i32::from_le_bytes(
                it.try_into().unwrap_or_default()
            )),
            DataType::Int64 => array!(Int64Builder::with_capacity(rows), |it| i64::from_le_bytes(
                it.try_into().unwrap_or_default()
            )),
            DataType::FixedSizeBinary(width) => {
                let mut builder = FixedSizeBinaryBuilder::with_capacity(rows, *width);
                for (number, run) in &self.runs {
                    for _ in 0..*run {
                        match value_at(&self.bytes, &self.ends, *number) {
                            Some(value) => builder.append_value(value)?,
                            None => builder.append_null(),
                        }
                    }
                }
                Arc::new(builder.finish())
            }
            // What is in a column of text was text before it came here.
            _ => array!(StringBuilder::with_capacity(rows, rows * 8), |it| {
                std::str::from_utf8(it).unwrap_or_default()
            }),
        })
    }

    /// Encodes the column as a chunk of a row group, and forgets its rows.
    pub(super) fn finish(
        &mut self,
        column: &ColumnDescPtr,
        codec: Codec,
        with_bounds: bool,
    ) -> Result<(Vec<u8>, ColumnCloseResult), ParquetError> {
        let nullable = column.max_def_level() > 0;
        let mut out = TrackedWrite::new(Vec::new());
        let mut pages = SerializedPageWriter::new(&mut out);
        let dictionary_len = if self.ends.is_empty() {
            0
        } else {
            let page = self.dictionary_page(column);
            let page = compressed(page, codec, |buf| Page::DictionaryPage {
                buf,
                num_values: small(self.ends.len()),
                encoding: Encoding::PLAIN,
                is_sorted: false,
            })?;
            pages.write_page(page)?.bytes_written
        };
        // A dictionary without values is more than some readers expect.
        let encoding =
            if self.ends.is_empty() { Encoding::PLAIN } else { Encoding::RLE_DICTIONARY };
        let page = compressed(self.data_page(nullable), codec, |buf| Page::DataPage {
            buf,
            num_values: self.rows,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        })?;
        let uncompressed = page.uncompressed_size();
        let data = pages.write_page(page)?;
        pages.close()?;
        let total = dictionary_len + data.bytes_written;
        let mut metadata = ColumnChunkMetaData::builder(Arc::clone(column))
            .set_compression(codec)
            .set_encodings(vec![Encoding::PLAIN, Encoding::RLE, encoding])
            .set_num_values(i64::from(self.rows))
            .set_total_compressed_size(signed(total))
            .set_total_uncompressed_size(signed(
                dictionary_len
                    + uncompressed as u64
                    + (data.uncompressed_size - uncompressed) as u64,
            ))
            .set_dictionary_page_offset((dictionary_len > 0).then_some(0))
            .set_data_page_offset(signed(dictionary_len));
        if with_bounds {
            metadata = metadata.set_statistics(self.statistics(column));
        }
        let close = ColumnCloseResult {
            bytes_written: total,
            rows_written: u64::from(self.rows),
            metadata: metadata.build()?,
            bloom_filter: None,
            column_index: None,
            offset_index: None,
        };
        *self = Self::default();
        Ok((out.into_inner()?, close))
    }

    /// The values in the encoding PLAIN.
    fn dictionary_page(&self, column: &ColumnDescPtr) -> Vec<u8> {
        if column.physical_type() != Type::BYTE_ARRAY {
            return self.bytes.clone();
        }
        let mut page = Vec::with_capacity(self.bytes.len() + self.ends.len() * 4);
        for value in self.values() {
            page.extend(u32::try_from(value.len()).unwrap_or_default().to_le_bytes());
            page.extend(value);
        }
        page
    }

    /// Which rows have a value, where that differs, and the values' numbers.
    fn data_page(&self, nullable: bool) -> Vec<u8> {
        let mut page = Vec::new();
        if nullable {
            let mut levels = Hybrid::new(1);
            for (number, run) in &self.runs {
                levels.push(u32::from(*number != NULL), *run);
            }
            let levels = levels.finish();
            page.extend(u32::try_from(levels.len()).unwrap_or_default().to_le_bytes());
            page.extend(levels);
        }
        if let Some(largest) = self.ends.len().checked_sub(1) {
            let width = usize::BITS - largest.leading_zeros();
            let mut numbers = Hybrid::new(width);
            for (number, run) in self.runs.iter().filter(|(number, _)| *number != NULL) {
                numbers.push(*number, *run);
            }
            page.push(u8::try_from(width).unwrap_or_default());
            page.extend(numbers.finish());
        }
        page
    }

    fn statistics(&self, column: &ColumnDescPtr) -> Statistics {
        let nulls = Some(u64::from(self.nulls));
        match column.physical_type() {
            Type::INT32 => {
                let numbers = || {
                    self.values().map(|it| i32::from_le_bytes(it.try_into().unwrap_or_default()))
                };
                Statistics::int32(numbers().min(), numbers().max(), None, nulls, false)
            }
            Type::INT64 => {
                let numbers = || {
                    self.values().map(|it| i64::from_le_bytes(it.try_into().unwrap_or_default()))
                };
                Statistics::int64(numbers().min(), numbers().max(), None, nulls, false)
            }
            _ => {
                let bound = |value: Option<&[u8]>| value.map(|it| ByteArray::from(it.to_vec()));
                let (least, greatest) = (bound(self.values().min()), bound(self.values().max()));
                Statistics::byte_array(least, greatest, None, nulls, false)
            }
        }
    }
}

#[inline]
fn value_at<'a>(bytes: &'a [u8], ends: &[u32], number: u32) -> Option<&'a [u8]> {
    let number = number as usize;
    let end = *ends.get(number)? as usize;
    let start = number.checked_sub(1).and_then(|before| ends.get(before)).copied().unwrap_or(0);
    bytes.get(start as usize..end)
}

/// A slot by the first and the last bytes and the length.
#[inline]
fn slot(value: &[u8]) -> usize {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let word = |bytes: Option<&[u8; 8]>| bytes.map_or(0, |it| u64::from_le_bytes(*it));
    let mixed = match (value.first_chunk(), value.last_chunk()) {
        (None, _) => value.iter().fold(0, |all, byte| all << 8 | u64::from(*byte)),
        (first, last) => word(first).wrapping_mul(ODD) ^ word(last),
    };
    let mixed = (mixed ^ value.len() as u64).wrapping_mul(ODD);
    (mixed >> 56) as usize % RECENT
}

/// Of a row group's rows, values and bytes there are fewer than 2^32.
fn small(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(NULL)
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn compressed(
    buf: Vec<u8>,
    codec: Codec,
    page: impl FnOnce(bytes::Bytes) -> Page,
) -> Result<CompressedPage, ParquetError> {
    let len = buf.len();
    let buf = match codec {
        Codec::UNCOMPRESSED => buf,
        Codec::ZSTD(level) => zstd::bulk::compress(&buf, level.compression_level())?,
        other => return Err(ParquetError::NYI(format!("{other}"))),
    };
    Ok(CompressedPage::new(page(buf.into()), len))
}

/// Numbers as runs of one value, and groups of eight packed by bits.
struct Hybrid {
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
    const fn new(width: u32) -> Self {
        Self { out: Vec::new(), width, packed: Vec::new(), value: 0, run: 0 }
    }

    fn push(&mut self, value: u32, run: u32) {
        if value == self.value {
            self.run += run;
            return;
        }
        self.end_run();
        (self.value, self.run) = (value, run);
    }

    /// A run of less than eight is shorter packed, and packed numbers come in eights.
    fn end_run(&mut self) {
        let missing = (8 - small(self.packed.len() % 8)) % 8;
        let left = self.run.saturating_sub(missing);
        let packed = if left < 8 { self.run } else { missing };
        self.packed.extend(std::iter::repeat_n(self.value, packed as usize));
        self.run -= packed;
        if self.run > 0 {
            self.end_packed();
            push_varint(&mut self.out, self.run << 1);
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
        push_varint(&mut self.out, small(groups) << 1 | 1);
        let (mut bits, mut held) = (0_u64, 0);
        self.packed.resize(groups * 8, 0);
        for number in self.packed.drain(..) {
            bits |= u64::from(number) << held;
            held += self.width;
            while held >= 8 {
                self.out.push((bits & 0xff) as u8);
                bits >>= 8;
                held -= 8;
            }
        }
    }

    fn finish(mut self) -> Vec<u8> {
        self.end_run();
        self.end_packed();
        self.out
    }
}

fn push_varint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}
