//! What all kinds of columns can do.

use arrow_array::ArrayRef;
use arrow_schema::{ArrowError, DataType};
use parquet::schema::types::ColumnDescPtr;

use super::chunk::Content;

/// A column of a row group in the making.
pub(super) trait Column {
    /// What is in it, encoded.
    fn content(&mut self, column: &ColumnDescPtr, with_bounds: bool) -> Content;
    /// The same as an array of Arrow.
    fn to_array(&self, kind: &DataType) -> Result<ArrayRef, ArrowError>;
    /// Forgets its rows.
    fn clear(&mut self);
}
