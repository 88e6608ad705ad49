//! In place of object stores, in a build without them.

use std::{io, path::Path, path::PathBuf, sync::Arc};

use crate::export::Delivery;

/// There are none.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The only reason.
    #[error("`{url}`: this build has no object stores; build it with the feature `object-store`")]
    Absent {
        /// As given.
        url: String,
    },
}

/// No store.
#[derive(Debug)]
pub(in super::super) enum Store {}

impl Store {
    pub(in super::super) fn new(url: &str) -> Result<Self, UploadError> {
        Err(UploadError::Absent { url: url.to_owned() })
    }
}

/// Nobody.
#[derive(Debug)]
pub(in super::super) enum Uploader {}

impl Uploader {
    #[expect(clippy::needless_pass_by_value, reason = "as the one that sends")]
    pub(in super::super) fn start(
        store: Store,
        _spool: PathBuf,
        _owner: Option<(u32, u32)>,
        _delivery: Arc<Delivery>,
    ) -> io::Result<Self> {
        match store {}
    }

    pub(in super::super) fn send(&self, _path: String, _rows: u64) -> bool {
        match *self {}
    }

    pub(in super::super) fn finish(self) {
        match self {}
    }
}

/// A file that was to be sent, by its path below the folder, and what became of it.
pub type Sent = (String, Result<(), UploadError>);

/// Sends all files that are finished.
///
/// # Errors
/// Always.
pub fn upload_all(_folder: &Path, url: &str) -> Result<Vec<Sent>, UploadError> {
    Err(UploadError::Absent { url: url.to_owned() })
}
