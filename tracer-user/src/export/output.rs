//! Where lines go: a file, or a standard stream.

use std::{
    fs::{File, OpenOptions},
    io::{self, IsTerminal, Seek, Write},
    os::unix::fs::{OpenOptionsExt, fchown},
    path::{Path, PathBuf},
};

use super::ExportError;
use crate::span_record::SpanRecord;

/// An open place for bytes.
#[derive(Debug)]
pub struct Output {
    file: File,
}

/// Why a file cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The file cannot be opened.
    #[error("cannot write `{path}`: {source}")]
    Open {
        /// The path as given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Followed as root, a link could lead anywhere.
    #[error(
        "cannot write `{path}`: it is a symbolic link, which tracer does not follow; give the path it leads to"
    )]
    SymbolicLink {
        /// The path as given.
        path: PathBuf,
    },
}

impl From<File> for Output {
    fn from(file: File) -> Self {
        Self { file }
    }
}

impl Output {
    /// Standard output.
    pub fn stdout() -> io::Result<Self> {
        Ok(Self { file: io::stdout().lock().as_fd_clone()? })
    }

    /// Standard error.
    pub fn stderr() -> io::Result<Self> {
        Ok(Self { file: io::stderr().lock().as_fd_clone()? })
    }

    /// Creates or empties a file that only its owner can read: it shows what programs do. A new
    /// file is given to `owner`, user and group.
    pub fn create(path: &Path, owner: Option<(u32, u32)>) -> Result<Self, OutputError> {
        let failed = |source: io::Error| {
            if source.raw_os_error() == Some(libc::ELOOP) {
                return OutputError::SymbolicLink { path: path.to_owned() };
            }
            OutputError::Open { path: path.to_owned(), source }
        };
        let existed = path.symlink_metadata().is_ok();
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)
            .map_err(failed)?;
        if let (Some((uid, gid)), false) = (owner, existed) {
            fchown(&file, Some(uid), Some(gid)).map_err(failed)?;
        }
        Ok(Self { file })
    }

    /// Whether a person reads along.
    pub fn is_terminal(&self) -> bool {
        self.file.is_terminal()
    }

    /// Writes `bytes` in place of what the file holds; after it where it cannot be emptied.
    pub fn replace_content(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.file.metadata()?.is_file() {
            self.file.set_len(0)?;
            self.file.rewind()?;
        }
        self.file.write_all(bytes)
    }

    /// Writes what `push` makes of each span, in one piece where the system takes it.
    pub(super) fn write_batch(
        &mut self,
        batch: &[SpanRecord],
        buffer: &mut Vec<u8>,
        mut push: impl FnMut(&mut Vec<u8>, &SpanRecord),
    ) -> Result<(), ExportError> {
        /// Bytes kept in memory before they are written.
        const CHUNK: usize = 256 * 1024;
        let mut written = 0;
        buffer.clear();
        for (index, span) in batch.iter().enumerate() {
            push(buffer, span);
            if buffer.len() >= CHUNK || index + 1 == batch.len() {
                self.file
                    .write_all(buffer)
                    .map_err(|source| ExportError::from_io(written, source))?;
                written = index + 1;
                buffer.clear();
            }
        }
        Ok(())
    }
}

/// A stream's own descriptor, so that each batch is one `write` without the stream's lock.
trait CloneDescriptor {
    fn as_fd_clone(&self) -> io::Result<File>;
}

impl<T: std::os::fd::AsFd> CloneDescriptor for T {
    fn as_fd_clone(&self) -> io::Result<File> {
        Ok(File::from(self.as_fd().try_clone_to_owned()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};

    #[test]
    fn a_new_file_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        Output::create(&path, None).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        symlink(&target, &link).unwrap();
        let error = Output::create(&link, None).unwrap_err();
        assert!(matches!(error, OutputError::SymbolicLink { .. }), "{error}");
        assert!(!target.exists());
    }

    #[test]
    fn what_cannot_be_opened_is_named() {
        let error = Output::create(Path::new("/no/such/folder/x"), None).unwrap_err().to_string();
        assert!(error.contains("`/no/such/folder/x`"), "{error}");
    }
}
