//! One file in the making. It is written aside, in a folder of this run, and moved to its place
//! when it is complete. Meanwhile two more files hold what a kill would lose: a footer for the row
//! groups so far, and a journal of the rows that are in no row group yet.

use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::FileExt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI32, Ordering},
    },
};

use arrow_array::{ArrayRef, RecordBatch};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::ArrowError;
use parquet::{
    arrow::{
        ArrowSchemaConverter,
        arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves},
    },
    basic::ColumnOrder,
    errors::ParquetError,
    file::{
        metadata::{FileMetaData, KeyValue, ParquetMetaData, ParquetMetaDataWriter},
        writer::SerializedFileWriter,
    },
};

use super::{
    Compression,
    chunk::Packer,
    columns::{BATCH_ROWS, Columns, Facts},
    folder::Folder,
    pending::Pending,
    place::{Place, encode_footer},
    schema::{SCHEMA, codec, has_bounds, properties},
};
use crate::export::who::Who;

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum PartError {
    /// The system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The encoder refused, or the system through it.
    #[error("{0}")]
    Parquet(#[from] ParquetError),
    /// The columns do not fit together, or the journal could not be written.
    #[error("{0}")]
    Arrow(#[from] ArrowError),
}

impl PartError {
    /// What the system said, when it was that.
    pub(super) fn cause(&self) -> Option<&io::Error> {
        match self {
            Self::Io(cause) | Self::Arrow(ArrowError::IoError(_, cause)) => Some(cause),
            Self::Arrow(ArrowError::ExternalError(cause))
            | Self::Parquet(ParquetError::External(cause)) => cause.downcast_ref(),
            Self::Arrow(_) | Self::Parquet(_) => None,
        }
    }
}

/// A file that remembers why writing to it failed, and then is left alone: the encoders turn
/// errors into text, and write once more when they are dropped.
#[derive(Debug, Clone)]
struct Guarded {
    file: Arc<File>,
    /// The error number of the first failure; 0 for none.
    failure: Arc<AtomicI32>,
    /// Set when the system did not promise that what was written is on the disk.
    untrusted: Arc<AtomicBool>,
}

impl Guarded {
    fn new(file: File) -> Self {
        Self { file: Arc::new(file), failure: Arc::default(), untrusted: Arc::default() }
    }

    /// What went wrong first, if anything did.
    fn failure(&self) -> Option<io::Error> {
        match self.failure.load(Ordering::Relaxed) {
            0 => None,
            number => Some(io::Error::from_raw_os_error(number)),
        }
    }

    fn note<T>(&self, outcome: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &outcome
            && error.kind() != io::ErrorKind::Interrupted
        {
            let number = error.raw_os_error().unwrap_or(libc::EIO);
            self.failure.store(number, Ordering::Relaxed);
        }
        outcome
    }

    /// Never tried again after an error: the kernel may have thrown away what it could not write,
    /// fsync(2).
    fn sync(&self) -> io::Result<()> {
        let outcome = self.note(self.file.sync_data());
        self.untrusted.fetch_or(outcome.is_err(), Ordering::Relaxed);
        outcome
    }
}

impl Write for Guarded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(failure) = self.failure() {
            return Err(failure);
        }
        self.note((&*self.file).write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Rows that are in no row group yet, as an Arrow IPC stream.
struct Journal {
    file: Guarded,
    writer: StreamWriter<Guarded>,
    rows: usize,
}

/// A file in the making.
pub(super) struct Part {
    place: Place,
    file: Guarded,
    writer: SerializedFileWriter<Guarded>,
    columns: ArrowRowGroupWriterFactory,
    /// Room for a row group's columns.
    buffers: Box<Columns>,
    packer: Packer,
    facts: Vec<KeyValue>,
    /// What is in row groups.
    groups: Groups,
    /// What of that the footer aside covers.
    committed: Groups,
    journal: Option<Journal>,
}

/// Whole row groups: how many, where they end in the file, and their rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Groups {
    count: usize,
    end: u64,
    rows: u64,
}

impl Part {
    /// Begins a file in the folder `aside`.
    pub(super) fn create(
        aside: &Folder,
        place: Place,
        compression: Compression,
        facts: Vec<KeyValue>,
    ) -> Result<Self, PartError> {
        let file = Guarded::new(aside.create_file(&place.data())?);
        // The columns need none of Arrow's own types, so none are written down.
        let schema = ArrowSchemaConverter::new().convert(&SCHEMA)?.root_schema_ptr();
        let properties = Arc::new(properties(compression, facts.clone()));
        let writer = SerializedFileWriter::new(file.clone(), schema, properties)?;
        let columns = ArrowRowGroupWriterFactory::new(&writer, Arc::clone(&SCHEMA));
        Ok(Self {
            place,
            file,
            writer,
            columns,
            buffers: Box::default(),
            packer: Packer::new(codec(compression), SCHEMA.fields().len())?,
            facts,
            groups: Groups::default(),
            committed: Groups::default(),
            journal: None,
        })
    }

    /// Its path below the root when it is finished.
    pub(super) fn path(&self) -> String {
        self.place.path()
    }

    /// Rows in row groups.
    pub(super) const fn rows(&self) -> u64 {
        self.groups.rows
    }

    /// Row groups.
    pub(super) const fn groups(&self) -> usize {
        self.groups.count
    }

    /// Bytes written.
    pub(super) fn size(&self) -> u64 {
        self.writer.bytes_written() as u64
    }

    /// Rows that are in the journal.
    pub(super) fn journaled(&self) -> usize {
        self.journal.as_ref().map_or(0, |journal| journal.rows)
    }

    /// What the system said, if writing failed.
    pub(super) fn failure(&self) -> Option<io::Error> {
        let journal = self.journal.as_ref().and_then(|journal| journal.file.failure());
        self.file.failure().or(journal)
    }

    /// Writes spans as one row group, sorted by their start; the journal's rows must be the first
    /// of them.
    pub(super) fn write_group(
        &mut self,
        spans: &Pending,
        who: &mut Who<Facts>,
    ) -> Result<(), PartError> {
        self.buffers.push(spans.sorted(), who);
        let schema = self.writer.schema_descr().columns().to_vec();
        let mut group = self.writer.next_row_group()?;
        let columns = self.buffers.all()?.into_iter().zip(&schema);
        for (index, (column, described)) in columns.enumerate() {
            let bounds = has_bounds(SCHEMA.field(index));
            let content = column.content(described, bounds);
            column.clear();
            let (bytes, close) = self.packer.pack(index, described, content)?;
            group.append_column(&bytes, close)?;
        }
        group.close()?;
        self.close_group(spans.len() as u64)
    }

    /// Writes a batch as one row group.
    pub(super) fn write_batch(&mut self, batch: &RecordBatch) -> Result<(), PartError> {
        let mut writers = self.columns.create_column_writers(self.groups.count)?;
        for (index, array) in batch.columns().iter().enumerate() {
            write_array(&mut writers, index, array)?;
        }
        let mut group = self.writer.next_row_group()?;
        for writer in writers {
            writer.close()?.append_to_row_group(&mut group)?;
        }
        group.close()?;
        self.close_group(batch.num_rows() as u64)
    }

    fn close_group(&mut self, rows: u64) -> Result<(), PartError> {
        // Past the encoder's buffer: what is in the file is then what `end` says.
        self.writer.flush()?;
        let Groups { count, rows: before, .. } = self.groups;
        self.groups = Groups { count: count + 1, end: self.size(), rows: before + rows };
        Ok(())
    }

    /// Makes what is in row groups survive a kill or a loss of power.
    pub(super) fn commit(&mut self, aside: &Folder, ledger: KeyValue) -> Result<(), PartError> {
        if self.committed == self.groups {
            return Ok(());
        }
        self.file.sync()?;
        let footer = self.footer(ledger)?;
        let content = encode_footer(self.groups.end, self.groups.count, &footer);
        aside.replace_file(&self.place.footer(), &content)?;
        aside.sync()?;
        let stale = self.committed.count..self.groups.count;
        self.committed = self.groups;
        self.journal = None;
        for group in stale {
            aside.remove_file(&self.place.journal(group))?;
        }
        Ok(())
    }

    /// Appends the spans that are not in the journal yet, and makes them survive too.
    pub(super) fn journal(
        &mut self,
        aside: &Folder,
        spans: &Pending,
        who: &mut Who<Facts>,
    ) -> Result<(), PartError> {
        let mut rest = spans.iter().skip(self.journaled()).peekable();
        if rest.peek().is_none() {
            return Ok(());
        }
        let journal = match &mut self.journal {
            Some(journal) => journal,
            none => {
                let name = self.place.journal(self.groups.count);
                let file = Guarded::new(aside.create_file(&name)?);
                aside.sync()?;
                let writer = StreamWriter::try_new(file.clone(), &SCHEMA)?;
                none.insert(Journal { file, writer, rows: 0 })
            }
        };
        while rest.peek().is_some() {
            let batch = Columns::batch(rest.by_ref().take(BATCH_ROWS), who)?;
            journal.rows += batch.num_rows();
            journal.writer.write(&batch)?;
        }
        journal.file.sync()?;
        Ok(())
    }

    /// Completes the file and moves it to its place below `root`; the rows in it.
    pub(super) fn finish(
        mut self,
        root: &Folder,
        aside: &Folder,
        ledger: KeyValue,
    ) -> Result<u64, (PartError, Box<Self>)> {
        let finished = self.complete(ledger).and_then(|()| self.publish(root, aside));
        match finished {
            Ok(()) => Ok(self.rows()),
            Err(error) => Err((error, Box::new(self))),
        }
    }

    fn complete(&mut self, ledger: KeyValue) -> Result<(), PartError> {
        self.writer.append_key_value_metadata(ledger);
        self.writer.finish()?;
        Ok(self.file.sync()?)
    }

    fn publish(&self, root: &Folder, aside: &Folder) -> Result<(), PartError> {
        self.place.publish(root, aside, &self.place.data())?;
        self.clean(aside);
        Ok(())
    }

    /// After a failure: makes a complete file of the row groups that were written whole, if the
    /// system lets us; the rows in it. What cannot be saved stays for `tracer recover`.
    pub(super) fn salvage(
        self,
        root: &Folder,
        aside: &Folder,
        ledger: KeyValue,
    ) -> Result<u64, PartError> {
        let Groups { end, rows, .. } = self.groups;
        if rows == 0 {
            // Not even worth recovering, unless a journal holds something.
            if self.journaled() == 0 {
                self.clean(aside);
                aside.remove_file(&self.place.data())?;
            }
            return Ok(0);
        }
        if self.file.untrusted.load(Ordering::Relaxed) {
            return Ok(0);
        }
        let footer = self.footer(ledger)?;
        self.file.file.set_len(end)?;
        self.file.file.write_all_at(&footer, end)?;
        self.file.file.sync_data()?;
        self.publish(root, aside)?;
        Ok(rows)
    }

    /// Removes the files beside it, which are of no use any more.
    fn clean(&self, aside: &Folder) {
        let footers = [self.place.footer()];
        let journals = (0..=self.groups.count).map(|group| self.place.journal(group));
        for name in footers.into_iter().chain(journals) {
            if let Err(error) = aside.remove_file(&name) {
                // Of no harm: recovering finds no file that it belongs to, and removes it.
                log::debug!("cannot remove {name}: {error}");
            }
        }
    }

    /// The footer of a file that ends after the row groups so far, of which there is one at least.
    fn footer(&self, ledger: KeyValue) -> Result<Vec<u8>, PartError> {
        let groups = self.writer.flushed_row_groups();
        let missing = || ParquetError::General("there is no row group".to_owned());
        let schema = groups.first().ok_or_else(missing)?.schema_descr_ptr();
        let rows = i64::try_from(self.rows()).unwrap_or(i64::MAX);
        let facts = self.facts.iter().cloned().chain([ledger]).collect();
        let created_by = Some(Place::created_by());
        // Without the order of columns readers trust no statistics of strings.
        let orders = schema.columns().iter();
        let orders = orders.map(|it| ColumnOrder::TYPE_DEFINED_ORDER(it.sort_order())).collect();
        let facts = FileMetaData::new(1, rows, created_by, Some(facts), schema, Some(orders));
        let mut footer = Vec::new();
        let metadata = ParquetMetaData::new(facts, groups.to_vec());
        ParquetMetaDataWriter::new(&mut footer, &metadata).finish()?;
        Ok(footer)
    }
}

fn write_array(
    writers: &mut [ArrowColumnWriter],
    index: usize,
    array: &ArrayRef,
) -> Result<(), PartError> {
    if let Some(writer) = writers.get_mut(index) {
        for leaf in compute_leaves(SCHEMA.field(index), array)? {
            writer.write(&leaf)?;
        }
    }
    Ok(())
}
