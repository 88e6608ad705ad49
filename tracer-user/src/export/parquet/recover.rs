//! Makes complete files of what a killed tracer has left aside.
//!
//! A folder of a run whose lock can be taken belongs to no living process. In it, a file whose
//! own footer is missing gets the one that was stored aside, which covers its row groups up to
//! the last flush; the rows that were in no row group by then are in a journal, which becomes a
//! file of its own. Each step leaves a state from which the next try goes on, and a lock keeps two
//! from working on one folder.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufReader, Read, Seek, Write},
    os::unix::fs::MetadataExt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use arrow_array::{Array, Int64Array, RecordBatch, UInt32Array};
use arrow_ipc::reader::StreamReader;
use arrow_select::{concat::concat_batches, take::take_record_batch};
use nix::unistd::Uid;
use parquet::{arrow::arrow_reader::ParquetRecordBatchReaderBuilder, file::metadata::KeyValue};

use super::{
    Compression, ParquetError,
    folder::{Folder, NEXT},
    part::{Part, PartError},
    place::{Aside, LOCK, Place, RUN_PREFIX, decode_footer},
    run::facts,
    schema::SCHEMA,
};

/// One thing found.
#[derive(Debug)]
pub enum Finding {
    /// A file was made complete.
    Recovered {
        /// Where it is, below the folder.
        path: PathBuf,
        /// Spans in it.
        rows: u64,
    },
    /// A folder that a living process writes in; it was left alone.
    InUse {
        /// Its name.
        run: String,
    },
    /// What could not be recovered; it was left as it is.
    Damaged {
        /// Where it is, below the folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// Why something was not recovered.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Part(#[from] PartError),
    #[error("{0}")]
    Arrow(#[from] arrow_schema::ArrowError),
    #[error("not a whole file: {0}")]
    Broken(String),
    #[error("its journal has other columns; recover it with the version that wrote it")]
    OtherVersion,
}

/// What stands aside for one file.
#[derive(Debug, Default)]
struct Remains {
    data: bool,
    footer: bool,
    journals: Vec<usize>,
}

/// Recovers what is in the folder `path`, and says what was found; nothing found is nothing left.
pub fn recover(path: &Path) -> Result<Vec<Finding>, ParquetError> {
    let failed = |source| ParquetError::recovering(path.to_owned(), source);
    let owner = owner_of(path).map_err(failed)?;
    let root = Folder::open(path, owner).map_err(failed)?;
    let mut findings = Vec::new();
    for name in root.names().map_err(failed)? {
        if name.starts_with(RUN_PREFIX)
            && let Err(error) = recover_run(&root, &name, &mut findings)
        {
            findings.push(Finding::Damaged { path: name.into(), reason: error.to_string() });
        }
    }
    Ok(findings)
}

/// Root may recover for whom the folder belongs to, and gives them the files.
pub(super) fn owner_of(path: &Path) -> io::Result<Option<(u32, u32)>> {
    if !Uid::effective().is_root() {
        return Ok(None);
    }
    let found = std::fs::symlink_metadata(path)?;
    Ok(Some((found.uid(), found.gid())))
}

fn recover_run(root: &Folder, name: &str, findings: &mut Vec<Finding>) -> Result<(), Failure> {
    let aside = match root.open_subfolder(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let Some(lock) = aside.lock(LOCK)? else {
        findings.push(Finding::InUse { run: name.to_owned() });
        return Ok(());
    };
    let mut remains: BTreeMap<Place, Remains> = BTreeMap::new();
    for file in aside.names()? {
        match Place::parse(&file) {
            Some(Aside::Data(place)) => remains.entry(place).or_default().data = true,
            Some(Aside::Footer(place)) => remains.entry(place).or_default().footer = true,
            Some(Aside::Journal(place, group)) => {
                remains.entry(place).or_default().journals.push(group);
            }
            // A footer that was not in its place yet; the one before it is.
            None if file.ends_with(NEXT) => aside.remove_file(&file)?,
            None => {}
        }
    }
    for (place, remains) in remains {
        if let Err(error) = recover_place(root, &aside, &place, remains, findings) {
            let path = Path::new(name).join(place.data());
            findings.push(Finding::Damaged { path, reason: error.to_string() });
        }
    }
    if aside.names()?.iter().all(|name| name == LOCK) {
        aside.remove_file(LOCK)?;
        root.remove_subfolder(name)?;
        root.sync()?;
    }
    drop(lock);
    Ok(())
}

fn recover_place(
    root: &Folder,
    aside: &Folder,
    place: &Place,
    remains: Remains,
    findings: &mut Vec<Finding>,
) -> Result<(), Failure> {
    let data = if remains.data { open_if_there(aside, &place.data())? } else { None };
    let whole = data.map(|file| complete(aside, place, file, remains.footer)).transpose()?;
    // The journal first: as long as the data is aside, it is known which journal goes with it.
    let groups = match &whole {
        Some(whole) => whole.groups,
        None if place.is_published(root) => usize::MAX,
        None => remains.journals.iter().copied().max().unwrap_or_default(),
    };
    for group in remains.journals {
        let name = place.journal(group);
        if group == groups
            && let Some(file) = open_if_there(aside, &name)?
        {
            let rows = publish_journal(root, aside, &place.of_journal(), file)?;
            if rows > 0 {
                findings.push(Finding::Recovered { path: place.of_journal().path().into(), rows });
            }
        }
        // An earlier one stands for rows that have become a row group since.
        aside.remove_file(&name)?;
    }
    match whole {
        Some(Whole { rows, .. }) if rows > 0 => {
            place.publish(root, aside, &place.data())?;
            findings.push(Finding::Recovered { path: place.path().into(), rows });
        }
        _ => aside.remove_file(&place.data())?,
    }
    Ok(aside.remove_file(&place.footer())?)
}

fn open_if_there(folder: &Folder, name: &str) -> io::Result<Option<File>> {
    match folder.open_file(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// A complete file.
#[derive(Debug, Clone, Copy, Default)]
struct Whole {
    groups: usize,
    rows: u64,
}

/// Makes the file complete with its footer aside, unless it is already; without either it has no
/// rows that could be read.
fn complete(
    aside: &Folder,
    place: &Place,
    mut file: File,
    has_footer: bool,
) -> Result<Whole, Failure> {
    if let Ok(whole) = read_through(&file) {
        return Ok(whole);
    }
    if !has_footer {
        return Ok(Whole::default());
    }
    let mut content = Vec::new();
    aside.open_file(&place.footer())?.read_to_end(&mut content)?;
    let broken = |what: &str| Failure::Broken(what.to_owned());
    let footer = decode_footer(&content).ok_or_else(|| broken("its footer aside is damaged"))?;
    if file.metadata()?.len() < footer.end {
        return Err(broken("it is shorter than its footer says"));
    }
    file.set_len(footer.end)?;
    file.seek(io::SeekFrom::End(0))?;
    file.write_all(footer.bytes)?;
    file.sync_data()?;
    let whole = read_through(&file)?;
    if whole.groups != footer.groups {
        return Err(broken("its footer aside is of another file"));
    }
    Ok(whole)
}

/// Reads a Parquet file to its end.
fn read_through(file: &File) -> Result<Whole, Failure> {
    let broken = |error: &dyn std::fmt::Display| Failure::Broken(error.to_string());
    let read = || -> Result<Whole, Failure> {
        let reader = ParquetRecordBatchReaderBuilder::try_new(file.try_clone()?)
            .map_err(|error| broken(&error))?;
        let groups = reader.metadata().num_row_groups();
        let told = reader.metadata().file_metadata().num_rows();
        let mut rows = 0;
        for batch in reader.build().map_err(|error| broken(&error))? {
            rows += batch.map_err(|error| broken(&error))?.num_rows() as u64;
        }
        if i64::try_from(rows) == Ok(told) {
            Ok(Whole { groups, rows })
        } else {
            Err(broken(&format!("{rows} rows where {told} are told")))
        }
    };
    // The reader is known to panic on some damaged files,
    // <https://github.com/apache/arrow-rs/issues/9705>.
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err(broken(&"the reader panicked")))
}

/// Makes a file of a journal; how many rows it has.
fn publish_journal(
    root: &Folder,
    aside: &Folder,
    place: &Place,
    journal: File,
) -> Result<u64, Failure> {
    let batches = read_journal(journal)?;
    if batches.iter().all(|batch| batch.num_rows() == 0) {
        return Ok(0);
    }
    let batch = sorted(&concat_batches(&SCHEMA, &batches)?)?;
    // One that an earlier try did not complete.
    aside.remove_file(&place.data())?;
    let fact = |key: &str, value: &str| KeyValue::new(key.to_owned(), value.to_owned());
    let mut part =
        Part::create(aside, place.clone(), Compression::Zstd, facts(place.host(), place.run()))?;
    part.write_batch(&batch)?;
    match part.finish(root, aside, fact("tracer.recovered", "journal")) {
        Ok(rows) => Ok(rows),
        // An earlier try did all but remove the journal.
        Err(_) if place.is_published(root) => {
            aside.remove_file(&place.data())?;
            Ok(batch.num_rows() as u64)
        }
        Err((error, _)) => Err(error.into()),
    }
}

/// The batches of a journal up to the first that was not written whole.
fn read_journal(journal: File) -> Result<Vec<RecordBatch>, Failure> {
    let mut batches = Vec::new();
    let read = || -> Result<(), Failure> {
        let Ok(reader) = StreamReader::try_new(BufReader::new(journal), None) else {
            return Ok(());
        };
        if reader.schema() != *SCHEMA {
            return Err(Failure::OtherVersion);
        }
        batches.extend(reader.map_while(Result::ok));
        Ok(())
    };
    let read = catch_unwind(AssertUnwindSafe(read));
    read.unwrap_or_else(|_| Err(Failure::Broken("the reader panicked".to_owned())))?;
    Ok(batches)
}

/// The rows by their start.
fn sorted(batch: &RecordBatch) -> Result<RecordBatch, Failure> {
    let starts = batch
        .column_by_name("start_time_nanos")
        .and_then(|column| column.as_any().downcast_ref::<Int64Array>())
        .ok_or_else(|| Failure::Broken("it has no times".to_owned()))?;
    let rows = u32::try_from(batch.num_rows()).unwrap_or(u32::MAX);
    let mut order: Vec<u32> = (0..rows).collect();
    order.sort_by_key(|row| starts.value(*row as usize));
    Ok(take_record_batch(batch, &UInt32Array::from(order))?)
}
