//! Parquet files in a folder, laid out as `date=/hour=/host=`; `docs/parquet.md` has the columns.
//!
//! A file with its final name is complete. Until then it stands aside, in a hidden folder of this
//! run that is locked while the process lives, and what a kill would leave there is made complete
//! by [`recover`]. A span is delivered when the file with it is finished.

mod bounds;
mod chunk;
mod column;
mod columns;
mod dictionary;
mod encoding;
mod folder;
mod part;
mod pending;
mod place;
mod plain;
pub mod recover;
mod run;
mod schema;
pub mod upload;

use std::{
    io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Delivery, DropReason, ExportError, Exporter, who::Who};
use crate::{identity::Resolver, span_record::SpanRecord};
use columns::Facts;
use folder::Folder;
use part::{Part, PartError};
use pending::Pending;
use place::hour_of;
use run::Run;
use upload::{Store, Uploader};

#[cfg(test)]
mod tests;

/// Rows of a row group, at most. With a span's 248 bytes they are what this exporter keeps from
/// being freed, 12 MiB, long strings apart.
const GROUP_ROWS: usize = 49_152;
/// Row groups of a file, at most: until it is finished, 64 KiB are kept in memory of each.
const MOST_GROUPS: usize = 64;
/// Rows that make a row group worth writing when it is time to flush; fewer go to the journal.
const WORTH_A_GROUP: usize = 16_384;
/// After a failure the next file is tried no later than this.
const RETRY: Duration = Duration::from_secs(10);

/// How pages are compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compression {
    /// Zstandard, level 1.
    #[default]
    Zstd,
    /// Not at all.
    None,
}

/// Where and how to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParquetOptions {
    /// The root folder. It is made where it is missing, its parents are not.
    pub folder: PathBuf,
    /// An object store to which finished files are moved, `s3://bucket/prefix`; `folder` is then
    /// the spool in which they stand until they have arrived.
    pub upload: Option<String>,
    /// User and group that files and folders are given to.
    pub owner: Option<(u32, u32)>,
    /// How pages are compressed.
    pub compression: Compression,
    /// A file of so many bytes is finished.
    pub rotate_size: u64,
    /// A file that has been open for so long is finished.
    pub rotate_interval: Duration,
    /// What is older than this survives a kill of the process.
    pub flush_interval: Duration,
}

impl ParquetOptions {
    /// The usual: zstd, 256 MiB, 5 minutes, 1 second.
    pub const fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            upload: None,
            owner: None,
            compression: Compression::Zstd,
            rotate_size: 256 << 20,
            rotate_interval: Duration::from_mins(5),
            flush_interval: Duration::from_secs(1),
        }
    }
}

/// The folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{folder}`: {source}{hint}")]
pub struct ParquetError {
    action: &'static str,
    folder: PathBuf,
    source: io::Error,
    hint: &'static str,
}

impl ParquetError {
    /// Files cannot be written there.
    fn new(folder: PathBuf, source: io::Error) -> Self {
        Self::of("write Parquet files in", folder, source, "; make its parent folder first")
    }

    /// What was left there cannot be looked for.
    fn recovering(folder: PathBuf, source: io::Error) -> Self {
        Self::of("recover", folder, source, "; give the folder of a recording")
    }

    fn of(
        action: &'static str,
        folder: PathBuf,
        source: io::Error,
        where_missing: &'static str,
    ) -> Self {
        let hint = match source.raw_os_error() {
            Some(libc::ELOOP) => {
                "; tracer follows no symbolic links: give the path that it leads to"
            }
            Some(libc::ENOENT) => where_missing,
            _ => "",
        };
        Self { action, folder, source, hint }
    }
}

/// Writes Parquet files.
#[derive(Debug)]
pub struct ParquetExporter {
    options: ParquetOptions,
    delivery: Arc<Delivery>,
    state: State,
    /// Spans that are in no row group yet.
    pending: Pending,
    /// Why writing failed, until it works again.
    trouble: Option<DropReason>,
    uploader: Option<Uploader>,
    who: Who<Facts>,
}

#[derive(Debug)]
enum State {
    /// Nothing is open.
    Ready(Run),
    /// A file is open.
    Writing(Writing),
    /// Writing has failed; spans are dropped until the next try.
    Failed { retry: Instant, reason: DropReason },
}

struct Writing {
    run: Run,
    part: Box<Part>,
    hour: u64,
    opened: Instant,
    flushed: Instant,
}

impl std::fmt::Debug for Writing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writing").field("run", &self.run).finish_non_exhaustive()
    }
}

impl ParquetExporter {
    /// Writes with each call what is known of its process.
    #[must_use]
    pub fn with_identity(self, resolver: Arc<Resolver>) -> Self {
        Self { who: Who::new(Some(resolver), Facts::of), ..self }
    }

    /// Prepares the folder, so that what is wrong with it shows before anything is traced. What
    /// becomes of the spans is entered into `delivery`.
    pub fn open(options: ParquetOptions, delivery: Arc<Delivery>) -> Result<Self, ParquetError> {
        let failed = |source| ParquetError::new(options.folder.clone(), source);
        let store = match &options.upload {
            Some(url) => Some(Store::new(url).map_err(|error| failed(io::Error::other(error)))?),
            None => None,
        };
        if let (Some(_), Some(spool)) = (&store, options.folder.parent()) {
            Folder::create(spool, options.owner).map_err(failed)?;
        }
        let run = Run::open(&options).map_err(failed)?;
        let uploader = match store {
            Some(store) => {
                let (spool, account) = (options.folder.clone(), Arc::clone(&delivery));
                Some(Uploader::start(store, spool, options.owner, account).map_err(failed)?)
            }
            None => None,
        };
        Ok(Self {
            options,
            delivery,
            state: State::Ready(run),
            pending: Pending::default(),
            trouble: None,
            uploader,
            who: Who::new(None, Facts::of),
        })
    }

    /// Opens a file unless one is open; else the reason why there is none until the next try.
    fn make_ready(&mut self, hour: u64) -> Result<(), DropReason> {
        if matches!(&self.state, State::Writing(it) if it.hour < hour) {
            self.rotate();
        }
        loop {
            match std::mem::replace(&mut self.state, State::unreachable()) {
                State::Writing(writing) => {
                    self.state = State::Writing(writing);
                    return Ok(());
                }
                State::Failed { retry, reason } if Instant::now() < retry => {
                    self.state = State::Failed { retry, reason };
                    return Err(reason);
                }
                State::Failed { reason, .. } => match Run::open(&self.options) {
                    Ok(run) => self.state = State::Ready(run),
                    Err(error) => {
                        self.state = State::Failed { retry: self.next_try(), reason };
                        self.say(&error.to_string(), reason_of(&error));
                    }
                },
                State::Ready(mut run) => {
                    let created = run.create_part(hour, self.options.compression);
                    let now = Instant::now();
                    match created {
                        Ok(part) => {
                            let part = Box::new(part);
                            let (opened, flushed) = (now, now);
                            let writing = Writing { run, part, hour, opened, flushed };
                            self.state = State::Writing(writing);
                        }
                        Err(error) => {
                            run.close();
                            self.fail(&error, None, 0);
                        }
                    }
                }
            }
        }
    }

    /// Writes what is pending as a row group.
    fn write_group(&mut self) -> Result<(), PartError> {
        if let State::Writing(writing) = &mut self.state
            && self.pending.len() > 0
        {
            writing.part.write_group(&self.pending, &mut self.who)?;
            self.pending.clear();
        }
        Ok(())
    }

    /// Does what is due by size or time.
    fn tick(&mut self) {
        let State::Writing(writing) = &self.state else { return };
        if writing.part.size() >= self.options.rotate_size
            || writing.part.groups() >= MOST_GROUPS
            || writing.opened.elapsed() >= self.options.rotate_interval
        {
            self.rotate();
        } else if writing.flushed.elapsed() >= self.options.flush_interval {
            let flushed = self.flush();
            self.check(flushed);
        }
    }

    /// Makes what has come so far survive a kill.
    fn flush(&mut self) -> Result<(), PartError> {
        if self.pending.len() >= WORTH_A_GROUP {
            self.write_group()?;
        }
        let State::Writing(writing) = &mut self.state else { return Ok(()) };
        let ledger = || run::ledger(&self.delivery, writing.part.rows());
        writing.part.commit(writing.run.aside(), ledger())?;
        writing.part.journal(writing.run.aside(), &self.pending, &mut self.who)?;
        writing.flushed = Instant::now();
        self.works();
        Ok(())
    }

    /// Says so, if it did not before.
    fn works(&mut self) {
        if let Some(reason) = self.trouble.take() {
            log::warn!("{}: writes again, after {}", self.delivery.name(), reason.name());
        }
    }

    /// Finishes the file, if one is open.
    fn rotate(&mut self) {
        if !matches!(self.state, State::Writing(_)) {
            return;
        }
        let written = self.write_group();
        if !self.check(written) {
            return;
        }
        let State::Writing(writing) = std::mem::replace(&mut self.state, State::unreachable())
        else {
            return;
        };
        let Writing { run, part, .. } = writing;
        let ledger = run::ledger(&self.delivery, part.rows());
        let path = part.path();
        match part.finish(run.root(), run.aside(), ledger) {
            Ok(rows) => {
                self.settle(path, rows);
                self.works();
                self.state = State::Ready(run);
            }
            Err((error, part)) => self.give_up(&error, run, part),
        }
    }

    /// A file is finished: its spans are delivered, or will be when it has been uploaded.
    fn settle(&self, path: String, rows: u64) {
        match &self.uploader {
            None => self.delivery.settle_delivered(rows),
            Some(uploader) if uploader.send(path, rows) => {}
            Some(_) => self.delivery.settle_dropped(DropReason::NotUploaded, rows),
        }
    }

    /// Whether it went well; else the open file is given up.
    fn check(&mut self, outcome: Result<(), PartError>) -> bool {
        let Err(error) = outcome else { return true };
        match std::mem::replace(&mut self.state, State::unreachable()) {
            State::Writing(Writing { run, part, .. }) => self.give_up(&error, run, part),
            other => self.state = other,
        }
        false
    }

    /// Saves what can be saved of a file that cannot be written on, and counts the rest.
    fn give_up(&mut self, error: &PartError, run: Run, part: Box<Part>) {
        let (cause, rows, path) = (part.failure(), part.rows(), part.path());
        let ledger = run::ledger(&self.delivery, rows);
        let saved = part.salvage(run.root(), run.aside(), ledger).unwrap_or_else(|error| {
            log::debug!("{}: nothing saved: {error}", self.delivery.name());
            0
        });
        if saved > 0 {
            self.settle(path, saved);
        }
        run.close();
        self.fail(error, cause.as_ref(), rows - saved);
    }

    /// Drops what was not saved and what is pending; no more comes until the next try.
    fn fail(&mut self, error: &PartError, cause: Option<&io::Error>, lost: u64) {
        let told = cause.or_else(|| error.cause());
        let reason = told.map_or(DropReason::Io, reason_of);
        self.delivery.settle_dropped(reason, lost + self.pending.len() as u64);
        self.pending.clear();
        self.state = State::Failed { retry: self.next_try(), reason };
        let message = told.map_or_else(|| error.to_string(), ToString::to_string);
        self.say(&message, reason);
    }

    /// One line for each change of what is wrong.
    fn say(&mut self, message: &str, reason: DropReason) {
        if self.trouble.replace(reason) == Some(reason) {
            return;
        }
        let retry = RETRY.min(self.options.rotate_interval);
        let message = format!(
            "cannot write in `{}`: {message}; spans are dropped, the next try is in {retry:?}",
            self.options.folder.display()
        );
        if self.delivery.first_error().is_some() {
            log::error!("{}: {message}", self.delivery.name());
        } else {
            self.delivery.note(&message);
        }
    }

    fn next_try(&self) -> Instant {
        Instant::now() + RETRY.min(self.options.rotate_interval)
    }
}

impl State {
    /// Stands for the moment between two states; never seen.
    fn unreachable() -> Self {
        Self::Failed { retry: Instant::now(), reason: DropReason::Io }
    }
}

impl Exporter for ParquetExporter {
    fn export(&mut self, batch: &[SpanRecord]) -> Result<(), ExportError> {
        self.export_shared(&Arc::new(batch.to_vec()))
    }

    fn export_shared(&mut self, batch: &Arc<Vec<SpanRecord>>) -> Result<(), ExportError> {
        let mut done = 0;
        while let Some(first) = batch.get(done) {
            if let Err(reason) = self.make_ready(hour_of(first.end_time_nanos())) {
                self.delivery.settle_dropped(reason, (batch.len() - done) as u64);
                return Ok(());
            }
            let room = GROUP_ROWS - self.pending.len();
            let next = batch.len().min(done + room);
            self.pending.push(batch, done..next);
            if self.pending.len() >= GROUP_ROWS {
                let written = self.write_group();
                self.check(written);
            }
            done = next;
        }
        self.tick();
        Ok(())
    }

    fn idle(&mut self) -> Result<(), ExportError> {
        self.tick();
        Ok(())
    }

    fn settles_later(&self) -> bool {
        true
    }

    fn shutdown(&mut self) -> Result<(), ExportError> {
        self.rotate();
        if let State::Ready(run) = std::mem::replace(&mut self.state, State::unreachable()) {
            run.close();
        }
        if let Some(uploader) = self.uploader.take() {
            uploader.finish();
        }
        Ok(())
    }
}

/// The reason under which spans count that this error kept from the disk.
fn reason_of(error: &io::Error) -> DropReason {
    match error.raw_os_error() {
        Some(libc::ENOSPC | libc::EFBIG) => DropReason::DiskFull,
        Some(libc::EDQUOT) => DropReason::Quota,
        Some(libc::ENOENT | libc::ENOTDIR | libc::ESTALE) => DropReason::FolderGone,
        _ => DropReason::Io,
    }
}
