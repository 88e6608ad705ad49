//! A column's pages to the bytes of its chunk in a row group, compressed where that is worth it.

use std::sync::Arc;

use bytes::Bytes;
use parquet::{
    basic::{Compression as Codec, Encoding},
    column::{
        page::{CompressedPage, Page, PageWriter},
        writer::ColumnCloseResult,
    },
    errors::ParquetError,
    file::{
        metadata::ColumnChunkMetaData,
        statistics::Statistics,
        writer::{SerializedPageWriter, TrackedWrite},
    },
    schema::types::ColumnDescPtr,
};
use zstd::bulk::Compressor;

use super::encoding::small;

/// Fewer bytes are not worth a frame of their own.
const WORTH_COMPRESSING: usize = 64;
/// A column that compression does not shorten is tried again after so many row groups.
const PATIENCE: u8 = 15;

/// A column of a row group, encoded.
#[derive(Default)]
pub(super) struct Content {
    /// The values that numbers in data pages stand for, and how many there are.
    pub(super) dictionary: Option<(Vec<u8>, u32)>,
    pub(super) pages: Vec<DataPage>,
    pub(super) statistics: Option<Statistics>,
}

/// Rows of a column.
pub(super) struct DataPage {
    pub(super) bytes: Vec<u8>,
    pub(super) encoding: Encoding,
    pub(super) rows: u32,
}

impl Content {
    fn all_bytes(&self) -> impl Iterator<Item = &[u8]> {
        let dictionary = self.dictionary.iter().map(|(bytes, _)| bytes.as_slice());
        dictionary.chain(self.pages.iter().map(|page| page.bytes.as_slice()))
    }
}

/// Makes chunks; knows which columns are worth compressing.
pub(super) struct Packer {
    codec: Codec,
    zstd: Option<Compressor<'static>>,
    /// By column: row groups in which it is left as it is.
    pauses: Vec<u8>,
}

impl Packer {
    pub(super) fn new(codec: Codec, columns: usize) -> Result<Self, ParquetError> {
        let zstd = match codec {
            Codec::UNCOMPRESSED => None,
            Codec::ZSTD(level) => Some(Compressor::new(level.compression_level())?),
            other => return Err(ParquetError::NYI(format!("{other}"))),
        };
        Ok(Self { codec, zstd, pauses: vec![0; columns] })
    }

    /// The chunk of the column at this place in the schema.
    pub(super) fn pack(
        &mut self,
        index: usize,
        column: &ColumnDescPtr,
        content: Content,
    ) -> Result<(Bytes, ColumnCloseResult), ParquetError> {
        let packed = self.compress(index, &content)?;
        let codec = if packed.is_some() { self.codec } else { Codec::UNCOMPRESSED };
        let mut packed = packed.map(Vec::into_iter);
        let mut page = |raw: Vec<u8>, make: &dyn Fn(Bytes) -> Page| {
            let len = raw.len();
            let bytes = packed.as_mut().and_then(Iterator::next).unwrap_or(raw);
            CompressedPage::new(make(bytes.into()), len)
        };
        let mut out = TrackedWrite::new(Vec::new());
        let mut pages = SerializedPageWriter::new(&mut out);
        let mut encodings = vec![Encoding::PLAIN, Encoding::RLE];
        let (mut compressed, mut uncompressed, mut rows) = (0, 0, 0_u32);
        let mut data_at = 0;
        let Content { dictionary, pages: data, statistics } = content;
        let has_dictionary = dictionary.is_some();
        if let Some((raw, num_values)) = dictionary {
            let made = pages.write_page(page(raw, &|buf| Page::DictionaryPage {
                buf,
                num_values,
                encoding: Encoding::PLAIN,
                is_sorted: false,
            }))?;
            data_at = made.bytes_written;
            compressed += made.bytes_written;
            uncompressed += made.uncompressed_size as u64;
        }
        for DataPage { bytes: raw, encoding, rows: num_values } in data {
            let made = pages.write_page(page(raw, &|buf| Page::DataPage {
                buf,
                num_values,
                encoding,
                def_level_encoding: Encoding::RLE,
                rep_level_encoding: Encoding::RLE,
                statistics: None,
            }))?;
            compressed += made.bytes_written;
            uncompressed += made.uncompressed_size as u64;
            rows += num_values;
            if !encodings.contains(&encoding) {
                encodings.push(encoding);
            }
        }
        pages.close()?;
        let mut metadata = ColumnChunkMetaData::builder(Arc::clone(column))
            .set_compression(codec)
            .set_encodings(encodings)
            .set_num_values(i64::from(rows))
            .set_total_compressed_size(signed(compressed))
            .set_total_uncompressed_size(signed(uncompressed))
            .set_dictionary_page_offset(has_dictionary.then_some(0))
            .set_data_page_offset(signed(data_at));
        if let Some(statistics) = statistics {
            metadata = metadata.set_statistics(statistics);
        }
        let close = ColumnCloseResult {
            bytes_written: compressed,
            rows_written: u64::from(rows),
            metadata: metadata.build()?,
            bloom_filter: None,
            column_index: None,
            offset_index: None,
        };
        Ok((out.into_inner()?.into(), close))
    }

    /// The pages compressed, or `None` when they stay as they are: bits that are packed, and ids,
    /// hardly get shorter.
    fn compress(
        &mut self,
        index: usize,
        content: &Content,
    ) -> Result<Option<Vec<Vec<u8>>>, ParquetError> {
        let (Some(zstd), Some(pause)) = (&mut self.zstd, self.pauses.get_mut(index)) else {
            return Ok(None);
        };
        let before: usize = content.all_bytes().map(<[u8]>::len).sum();
        if before < WORTH_COMPRESSING {
            return Ok(None);
        }
        if *pause > 0 {
            *pause -= 1;
            return Ok(None);
        }
        let packed: Vec<_> =
            content.all_bytes().map(|bytes| zstd.compress(bytes)).collect::<Result<_, _>>()?;
        let after: usize = packed.iter().map(Vec::len).sum();
        if after > before - before / 16 {
            *pause = PATIENCE;
            return Ok(None);
        }
        Ok(Some(packed))
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl DataPage {
    /// A page of so many rows.
    pub(super) fn new(bytes: Vec<u8>, encoding: Encoding, rows: usize) -> Self {
        Self { bytes, encoding, rows: small(rows) }
    }
}
