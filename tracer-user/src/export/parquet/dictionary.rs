//! Columns of values that come again: each value stands once in a dictionary, rows are runs of its
//! numbers.
//!
//! The writer of the crate `parquet` hashes each value of each row. Neighbouring calls mostly share
//! theirs, and what a value is made of is mostly a number, so that comparing it with the one of the
//! row before is nearly all that is done here.

use std::{hash::BuildHasher, ops::Range, sync::Arc};

use arrow_array::{
    ArrayRef,
    builder::{FixedSizeBinaryBuilder, Int32Builder, Int64Builder, StringBuilder},
};
use arrow_schema::{ArrowError, DataType};
use hashbrown::{DefaultHashBuilder, HashTable};
use parquet::{
    basic::{Encoding, Type},
    data_type::ByteArray,
    file::statistics::{Statistics, ValueStatistics},
    schema::types::ColumnDescPtr,
};

use super::{
    GROUP_ROWS,
    bounds::{LONGEST, lower_bound, upper_bound},
    chunk::{Content, DataPage},
    column::Column,
    encoding::{Hybrid, push_levels, small},
};

/// Slots of the table of keys seen lately, a power of two.
const RECENT: usize = 256;
/// The number that stands for null.
const NULL: u32 = u32::MAX;
/// The number that stands for a value that is in no dictionary.
const PLAIN: u32 = u32::MAX - 1;
/// When the values of a dictionary have so many bytes, the others stand in their rows.
const LIMIT: usize = 1 << 20;
/// Bytes of a page of such values.
const PAGE: usize = 1 << 20;

/// A column of one row group in the making.
#[derive(Debug)]
pub(super) struct Dictionary {
    /// All values, one behind the other, and where each ends.
    bytes: Vec<u8>,
    ends: Vec<u32>,
    /// Numbers by what they stand for. What is hashed comes from traced programs, so the hash has
    /// a secret.
    numbers: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// Keys with their numbers.
    recent: Vec<(u128, u32)>,
    /// What the row before had: its key, if its value had one, and its number.
    key: Option<u128>,
    number: u32,
    /// Rows in a row that have it.
    run: u32,
    /// The runs before that.
    runs: Vec<(u32, u32)>,
    plain: Plain,
}

/// Values that stand in their rows, each behind its length.
#[derive(Debug, Default)]
struct Plain {
    bytes: Vec<u8>,
    /// Where pages begin: runs, and bytes, before them.
    pages: Vec<(usize, usize)>,
    /// Where the last value begins, with its length.
    last: usize,
}

impl Default for Dictionary {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            ends: Vec::new(),
            numbers: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            recent: Vec::new(),
            key: None,
            number: NULL,
            run: 0,
            runs: Vec::new(),
            plain: Plain::default(),
        }
    }
}

impl Dictionary {
    /// Appends a row.
    pub(super) fn push(&mut self, value: &[u8]) {
        let number = self.number(value);
        self.key = None;
        self.push_number(number);
    }

    /// Appends a row with a value of `N` bytes; for columns of no other values.
    #[inline]
    pub(super) fn push_fixed<const N: usize>(&mut self, value: [u8; N]) {
        const { assert!(N <= size_of::<u128>() && N * GROUP_ROWS <= LIMIT, "all fit") }
        let mut wide = [0; 16];
        wide[..N].copy_from_slice(&value);
        self.push_keyed(u128::from_le_bytes(wide), |column| column.number(&value));
    }

    /// Appends a row whose value follows from `key`; in this column, a key always stands for the
    /// same value.
    #[inline]
    pub(super) fn push_as<T: AsRef<[u8]>>(&mut self, key: u128, value: impl FnOnce() -> T) {
        self.push_keyed(key, |column| column.number(value().as_ref()));
    }

    #[inline]
    fn push_keyed(&mut self, key: u128, number: impl FnOnce(&mut Self) -> u32) {
        if self.key == Some(key) && self.number < PLAIN {
            self.run += 1;
        } else {
            self.push_other(key, number);
        }
    }

    fn push_other(&mut self, key: u128, number: impl FnOnce(&mut Self) -> u32) {
        let known = self.recent.get(slot(key)).filter(|it| it.0 == key && it.1 < PLAIN);
        let number = if let Some((_, number)) = known {
            *number
        } else {
            let number = number(self);
            self.recent.resize(RECENT, (0, NULL));
            self.recent[slot(key)] = (key, number);
            number
        };
        self.key = Some(key);
        self.push_number(number);
    }

    /// Appends a row that has no value.
    #[inline]
    pub(super) fn push_null(&mut self) {
        if self.number == NULL {
            self.run += 1;
        } else {
            self.push_number(NULL);
        }
    }

    /// Appends rows with the value of the last row, of which there must be one.
    pub(super) fn repeat(&mut self, rows: u32) {
        if self.number != PLAIN {
            self.run += rows;
            return;
        }
        let value = self.plain.last().to_vec();
        for _ in 0..rows {
            self.push_plain(&value);
            self.push_number(PLAIN);
        }
    }

    #[inline]
    fn push_number(&mut self, number: u32) {
        if number != self.number {
            self.end_run();
            self.number = number;
        }
        self.run += 1;
    }

    fn end_run(&mut self) {
        if self.run > 0 {
            self.runs.push((self.number, self.run));
            self.run = 0;
        }
    }

    /// The number of a value, which is that of its first row.
    fn number(&mut self, value: &[u8]) -> u32 {
        let Self { bytes, ends, numbers, hasher, plain, .. } = self;
        if plain.pages.is_empty() {
            let hash = hasher.hash_one(value);
            let is_it = |number: &u32| value_at(bytes, ends, *number) == Some(value);
            if let Some(number) = numbers.find(hash, is_it) {
                return *number;
            }
            if bytes.len() + value.len() <= LIMIT {
                let number = small(ends.len());
                bytes.extend_from_slice(value);
                ends.push(small(bytes.len()));
                numbers.insert_unique(hash, number, |it| {
                    hasher.hash_one(value_at(bytes, ends, *it).unwrap_or_default())
                });
                return number;
            }
        }
        self.push_plain(value);
        PLAIN
    }

    fn push_plain(&mut self, value: &[u8]) {
        let begun = self.plain.pages.last().map(|(_, bytes)| *bytes);
        if begun.is_none_or(|begun| self.plain.bytes.len() - begun >= PAGE) {
            self.end_run();
            self.recent.clear();
            self.plain.pages.push((self.runs.len(), self.plain.bytes.len()));
        }
        self.plain.last = self.plain.bytes.len();
        self.plain.bytes.extend(small(value.len()).to_le_bytes());
        self.plain.bytes.extend_from_slice(value);
    }

    /// The values of the dictionary.
    fn values(&self) -> impl Iterator<Item = &[u8]> {
        let numbers = 0..small(self.ends.len());
        numbers.filter_map(|number| value_at(&self.bytes, &self.ends, number))
    }

    /// All runs, with the last.
    fn runs(&self) -> impl Iterator<Item = (u32, u32)> {
        let last = (self.run > 0).then_some((self.number, self.run));
        self.runs.iter().copied().chain(last)
    }

    /// Values by row.
    fn rows(&self) -> impl Iterator<Item = Option<&[u8]>> {
        let mut plain = self.plain.values();
        let numbers =
            self.runs().flat_map(|(number, run)| std::iter::repeat_n(number, run as usize));
        numbers.map(move |number| match number {
            PLAIN => plain.next(),
            number => value_at(&self.bytes, &self.ends, number),
        })
    }

    /// The values in the encoding PLAIN.
    fn dictionary_page(&self, column: &ColumnDescPtr) -> Vec<u8> {
        if column.physical_type() != Type::BYTE_ARRAY {
            return self.bytes.clone();
        }
        let mut page = Vec::with_capacity(self.bytes.len() + self.ends.len() * 4);
        for value in self.values() {
            page.extend(small(value.len()).to_le_bytes());
            page.extend(value);
        }
        page
    }

    /// Runs whose values are in the dictionary.
    fn numbers_page(&self, runs: &[(u32, u32)], page: &mut Vec<u8>) {
        if let Some(largest) = self.ends.len().checked_sub(1) {
            let width = usize::BITS - largest.leading_zeros();
            let mut numbers = Hybrid::new(width);
            for (number, run) in runs.iter().filter(|(number, _)| *number != NULL) {
                numbers.push(*number, *run);
            }
            page.push(u8::try_from(width).unwrap_or_default());
            page.extend(numbers.finish());
        }
    }

    /// The pages of rows whose runs have ended.
    fn pages(&self, column: &ColumnDescPtr) -> Vec<DataPage> {
        let begin = |bytes: usize, runs: &[(u32, u32)]| {
            let mut page = Vec::with_capacity(bytes);
            if column.max_def_level() > 0 {
                push_levels(&mut page, runs.iter().map(|(number, run)| (*number != NULL, *run)));
            }
            page
        };
        let rows = |runs: &[(u32, u32)]| runs.iter().map(|(_, run)| *run as usize).sum();
        let part = |range: Range<usize>| self.runs.get(range).unwrap_or_default();
        let all = self.runs.len();
        let first = self.plain.pages.first().map_or(all, |(runs, _)| *runs);
        let mut pages = Vec::new();
        if first > 0 || self.plain.pages.is_empty() {
            let runs = part(0..first);
            // A dictionary without values is more than some readers expect.
            let encoding =
                if self.ends.is_empty() { Encoding::PLAIN } else { Encoding::RLE_DICTIONARY };
            let mut page = begin(0, runs);
            self.numbers_page(runs, &mut page);
            pages.push(DataPage::new(page, encoding, rows(runs)));
        }
        for (number, (from, at)) in self.plain.pages.iter().copied().enumerate() {
            let end = (all, self.plain.bytes.len());
            let (to, end) = self.plain.pages.get(number + 1).copied().unwrap_or(end);
            let runs = part(from..to);
            let mut page = begin(end - at, runs);
            page.extend_from_slice(self.plain.bytes.get(at..end).unwrap_or_default());
            pages.push(DataPage::new(page, Encoding::PLAIN, rows(runs)));
        }
        pages
    }

    fn statistics(&self, column: &ColumnDescPtr) -> Statistics {
        let nulls = self.runs().filter(|(number, _)| *number == NULL);
        let nulls = Some(nulls.map(|(_, run)| u64::from(run)).sum());
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
                let values = || self.values().chain(self.plain.values());
                let (least, greatest) = (values().min(), values().max());
                let exact = |value: Option<&[u8]>| value.is_some_and(|it| it.len() <= LONGEST);
                let bounds = ValueStatistics::new(
                    least.map(|it| ByteArray::from(lower_bound(it).to_vec())),
                    greatest.and_then(upper_bound).map(ByteArray::from),
                    None,
                    nulls,
                    false,
                );
                let bounds = bounds.with_min_is_exact(exact(least));
                Statistics::ByteArray(bounds.with_max_is_exact(exact(greatest)))
            }
        }
    }
}

impl Column for Dictionary {
    fn content(&mut self, column: &ColumnDescPtr, with_bounds: bool) -> Content {
        self.end_run();
        let count = small(self.ends.len());
        Content {
            dictionary: (count > 0).then(|| (self.dictionary_page(column), count)),
            pages: self.pages(column),
            statistics: with_bounds.then(|| self.statistics(column)),
        }
    }

    fn to_array(&self, kind: &DataType) -> Result<ArrayRef, ArrowError> {
        macro_rules! array {
            ($builder:expr, $parse:expr) => {{
                let mut builder = $builder;
                self.rows().for_each(|value| builder.append_option(value.map($parse)));
                Arc::new(builder.finish())
            }};
        }
        Ok(match kind {
            DataType::Int32 => {
                array!(Int32Builder::new(), |it| i32::from_le_bytes(
                    it.try_into().unwrap_or_default()
                ))
            }
            DataType::Int64 => {
                array!(Int64Builder::new(), |it| i64::from_le_bytes(
                    it.try_into().unwrap_or_default()
                ))
            }
            DataType::FixedSizeBinary(width) => {
                let mut builder = FixedSizeBinaryBuilder::new(*width);
                for value in self.rows() {
                    match value {
                        Some(value) => builder.append_value(value)?,
                        None => builder.append_null(),
                    }
                }
                Arc::new(builder.finish())
            }
            // What is in a column of text was text before it came here.
            _ => array!(StringBuilder::new(), |it| std::str::from_utf8(it).unwrap_or_default()),
        })
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.numbers.clear();
        self.recent.clear();
        self.runs.clear();
        (self.key, self.number, self.run) = (None, NULL, 0);
        // Seldom needed, and then large.
        self.plain = Plain::default();
    }
}

impl Plain {
    fn last(&self) -> &[u8] {
        let last = self.bytes.get(self.last..).and_then(<[u8]>::split_first_chunk::<4>);
        last.map_or(&[], |(_, value)| value)
    }

    fn values(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.bytes.as_slice();
        std::iter::from_fn(move || {
            let (len, tail) = rest.split_first_chunk()?;
            let (value, tail) = tail.split_at_checked(u32::from_le_bytes(*len) as usize)?;
            rest = tail;
            Some(value)
        })
    }
}

#[inline]
fn value_at<'a>(bytes: &'a [u8], ends: &[u32], number: u32) -> Option<&'a [u8]> {
    let number = number as usize;
    let end = *ends.get(number)? as usize;
    let start = number.checked_sub(1).and_then(|before| ends.get(before)).copied().unwrap_or(0);
    bytes.get(start as usize..end)
}

#[inline]
fn slot(key: u128) -> usize {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let half = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).unwrap_or_default();
    let (low, high) = (half(key), half(key >> u64::BITS));
    ((low ^ high.rotate_left(32)).wrapping_mul(ODD) >> 56) as usize % RECENT
}
