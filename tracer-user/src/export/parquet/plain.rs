//! Columns whose values hardly come again: numbers as differences, ids and flags as they are.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Int64Array, builder::FixedSizeBinaryBuilder};
use arrow_schema::{ArrowError, DataType};
use parquet::{basic::Encoding, file::statistics::Statistics, schema::types::ColumnDescPtr};

use super::{
    chunk::{Content, DataPage},
    column::Column,
    encoding::{push_differences, push_levels},
};

/// Which rows have a value.
#[derive(Debug, Default)]
struct Presence {
    last: bool,
    run: u32,
    runs: Vec<(bool, u32)>,
}

impl Presence {
    #[inline]
    fn push(&mut self, is_there: bool) {
        if is_there != self.last {
            if self.run > 0 {
                self.runs.push((self.last, self.run));
            }
            (self.last, self.run) = (is_there, 0);
        }
        self.run += 1;
    }

    /// Appends rows that are like the last, of which there must be one.
    fn repeat(&mut self, rows: u32) {
        self.run += rows;
    }

    fn runs(&self) -> impl Iterator<Item = (bool, u32)> {
        let last = (self.run > 0).then_some((self.last, self.run));
        self.runs.iter().copied().chain(last)
    }

    fn rows(&self) -> impl Iterator<Item = bool> {
        self.runs().flat_map(|(is_there, run)| std::iter::repeat_n(is_there, run as usize))
    }

    fn count(&self, wanted: bool) -> usize {
        let runs = self.runs().filter(|(is_there, _)| *is_there == wanted);
        runs.map(|(_, run)| run as usize).sum()
    }

    /// A page that begins with them, where the column may lack values.
    fn page(&self, column: &ColumnDescPtr, room: usize) -> Vec<u8> {
        let mut page = Vec::with_capacity(room);
        if column.max_def_level() > 0 {
            push_levels(&mut page, self.runs());
        }
        page
    }

    /// A column of one page.
    fn content(&self, page: Vec<u8>, encoding: Encoding) -> Content {
        let rows = self.count(true) + self.count(false);
        Content { pages: vec![DataPage::new(page, encoding, rows)], ..Content::default() }
    }

    fn clear(&mut self) {
        (self.last, self.run) = (false, 0);
        self.runs.clear();
    }
}

/// Numbers, as differences: quicker to find than numbers in a dictionary, and as short.
pub(super) type Numbers = Values<i64>;

/// Yes or no, a bit each.
pub(super) type Flags = Values<bool>;

/// Values, and which rows have one.
#[derive(Debug, Default)]
pub(super) struct Values<T> {
    presence: Presence,
    values: Vec<T>,
}

/// A value of such a column.
pub(super) trait Value: Copy + Ord {
    /// Bytes that most values take.
    fn room(count: usize) -> usize;
    /// Appends values to a page; their encoding.
    fn encode(page: &mut Vec<u8>, values: &[Self]) -> Encoding;
    /// What a footer says of a column: its least and greatest value, and how many are missing.
    fn statistics(bounds: Option<(Self, Self)>, nulls: u64) -> Statistics;
    /// The same rows as an array of Arrow.
    fn array(rows: impl Iterator<Item = Option<Self>>) -> ArrayRef;
}

impl<T: Value> Values<T> {
    #[inline]
    pub(super) fn push(&mut self, value: T) {
        self.presence.push(true);
        self.values.push(value);
    }

    #[inline]
    pub(super) fn push_null(&mut self) {
        self.presence.push(false);
    }

    /// Appends rows with the value of the last row, of which there must be one.
    pub(super) fn repeat(&mut self, rows: u32) {
        self.presence.repeat(rows);
        if self.presence.last
            && let Some(last) = self.values.last().copied()
        {
            self.values.extend(std::iter::repeat_n(last, rows as usize));
        }
    }
}

impl<T: Value> Column for Values<T> {
    fn content(&mut self, column: &ColumnDescPtr, with_bounds: bool) -> Content {
        let Self { presence, values } = self;
        let mut page = presence.page(column, T::room(values.len()));
        let encoding = T::encode(&mut page, values);
        let mut content = presence.content(page, encoding);
        if with_bounds {
            let bounds = values.iter().min().copied().zip(values.iter().max().copied());
            let nulls = presence.count(false) as u64;
            content.statistics = Some(T::statistics(bounds, nulls));
        }
        content
    }

    fn to_array(&self, _: &DataType) -> Result<ArrayRef, ArrowError> {
        let mut values = self.values.iter().copied();
        let rows = self.presence.rows();
        Ok(T::array(rows.map(|is_there| if is_there { values.next() } else { None })))
    }

    fn clear(&mut self) {
        self.presence.clear();
        self.values.clear();
    }
}

impl Value for i64 {
    fn room(count: usize) -> usize {
        count * 4
    }

    fn encode(page: &mut Vec<u8>, values: &[Self]) -> Encoding {
        if values.is_empty() {
            return Encoding::PLAIN;
        }
        push_differences(page, values);
        Encoding::DELTA_BINARY_PACKED
    }

    fn statistics(bounds: Option<(Self, Self)>, nulls: u64) -> Statistics {
        let (least, greatest) = bounds.unzip();
        Statistics::int64(least, greatest, None, Some(nulls), false)
    }

    fn array(rows: impl Iterator<Item = Option<Self>>) -> ArrayRef {
        Arc::new(rows.collect::<Int64Array>())
    }
}

impl Value for bool {
    fn room(count: usize) -> usize {
        count.div_ceil(8)
    }

    fn encode(page: &mut Vec<u8>, values: &[Self]) -> Encoding {
        page.extend(values.chunks(8).map(|eight| {
            let bits = eight.iter().enumerate();
            bits.fold(0, |all, (bit, value)| all | u8::from(*value) << bit)
        }));
        Encoding::PLAIN
    }

    fn statistics(bounds: Option<(Self, Self)>, nulls: u64) -> Statistics {
        let (least, greatest) = bounds.unzip();
        Statistics::boolean(least, greatest, None, Some(nulls), false)
    }

    fn array(rows: impl Iterator<Item = Option<Self>>) -> ArrayRef {
        Arc::new(rows.collect::<BooleanArray>())
    }
}

/// Ids that no other row has.
#[derive(Debug, Default)]
pub(super) struct Ids {
    bytes: Vec<[u8; 8]>,
}

impl Ids {
    #[inline]
    pub(super) fn push(&mut self, id: [u8; 8]) {
        self.bytes.push(id);
    }
}

impl Column for Ids {
    fn content(&mut self, _: &ColumnDescPtr, _: bool) -> Content {
        let page = self.bytes.as_flattened().to_vec();
        let pages = vec![DataPage::new(page, Encoding::PLAIN, self.bytes.len())];
        Content { pages, ..Content::default() }
    }

    fn to_array(&self, _: &DataType) -> Result<ArrayRef, ArrowError> {
        let mut builder = FixedSizeBinaryBuilder::new(8);
        self.bytes.iter().try_for_each(|id| builder.append_value(id))?;
        Ok(Arc::new(builder.finish()))
    }

    fn clear(&mut self) {
        self.bytes.clear();
    }
}
