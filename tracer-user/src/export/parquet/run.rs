//! A run of the exporter: the root folder, and in it a hidden folder of its own.

use std::{fs::File, io};

use nix::fcntl::Flock;
use parquet::file::metadata::KeyValue;
use serde_json::{Map, Value, json};

use super::{
    Compression, ParquetOptions,
    folder::Folder,
    part::{Part, PartError},
    place::{LOCK, Place, RUN_PREFIX, host_name, run_name},
    schema::SCHEMA_VERSION,
};
use crate::export::{Delivery, DropReason};

/// A folder of this run's own, which no other process takes for abandoned while we live.
#[derive(Debug)]
pub(super) struct Run {
    root: Folder,
    aside: Folder,
    /// Held for as long as the process lives.
    lock: Flock<File>,
    name: String,
    host: String,
    next: u64,
}

impl Run {
    pub(super) fn open(options: &ParquetOptions) -> io::Result<Self> {
        /// Somebody who recovers may take a folder between our making and locking it.
        const TRIES: u32 = 5;
        let root = Folder::create(&options.folder, options.owner)?;
        for _ in 0..TRIES {
            let name = run_name();
            let aside = root.subfolder(&format!("{RUN_PREFIX}{name}"))?;
            match aside.lock(LOCK) {
                Ok(Some(lock)) => {
                    return Ok(Self { root, aside, lock, name, host: host_name(), next: 0 });
                }
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("others take away the folder that files are written in"))
    }

    pub(super) const fn root(&self) -> &Folder {
        &self.root
    }

    pub(super) const fn aside(&self) -> &Folder {
        &self.aside
    }

    /// Begins the next file.
    pub(super) fn create_part(
        &mut self,
        hour: u64,
        compression: Compression,
    ) -> Result<Part, PartError> {
        let place = Place::new(hour, &self.host, &self.name, self.next);
        self.next += 1;
        Part::create(&self.aside, place, compression, facts(&self.host, &self.name))
    }

    /// Removes the folder, unless it holds something to recover.
    pub(super) fn close(self) {
        let Self { root, aside, lock, name, .. } = self;
        let closed = aside.names().and_then(|names| {
            if names.iter().any(|name| name != LOCK) {
                return Ok(());
            }
            aside.remove_file(LOCK)?;
            root.remove_subfolder(&format!("{RUN_PREFIX}{name}"))?;
            root.sync()
        });
        if let Err(error) = closed {
            log::debug!("cannot remove {RUN_PREFIX}{name}: {error}");
        }
        drop(lock);
    }
}

/// What is true of a file from its beginning.
pub(super) fn facts(host: &str, run: &str) -> Vec<KeyValue> {
    let fact = |key: &str, value: &str| KeyValue::new(key.to_owned(), value.to_owned());
    vec![
        fact("tracer.schema_version", SCHEMA_VERSION),
        fact("tracer.version", env!("CARGO_PKG_VERSION")),
        fact("tracer.host", host),
        fact("tracer.run", run),
    ]
}

/// The account of this destination when the file with so many rows is about to be complete:
/// `queued` has the rows of this file, which are delivered the moment it is.
pub(super) fn ledger(delivery: &Delivery, rows: u64) -> KeyValue {
    let dropped: Map<String, Value> = DropReason::ALL
        .iter()
        .map(|reason| (reason.name().to_owned(), delivery.dropped(*reason).into()))
        .collect();
    let account = json!({
        "destination": delivery.name(),
        "delivered": delivery.delivered(),
        "dropped": dropped,
        "queued": delivery.queued(),
        "rows": rows,
    });
    KeyValue::new("tracer.ledger".to_owned(), account.to_string())
}
