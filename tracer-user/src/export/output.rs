//! Where lines go: a file, or a standard stream.

use std::{
    fs::File,
    io::{self, IsTerminal, Seek, SeekFrom, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::{MetadataExt, fchown},
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, FcntlArg, OFlag, OpenHow, ResolveFlag, fcntl, openat2},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::stat::{Mode, fchmod},
    unistd::Uid,
};

use super::ExportError;
use crate::span_record::SpanRecord;

/// An open place for bytes.
#[derive(Debug)]
pub struct Output {
    file: File,
}

/// Reading and writing for the owner, nothing for others.
const PRIVATE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);

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
    /// A pipe that would be waited for.
    #[error("cannot write `{path}`: nobody reads this pipe; start its reader first")]
    NoReader {
        /// The path as given.
        path: PathBuf,
    },
    /// There is no such descriptor.
    #[error(
        "cannot write to descriptor {fd}: this process was not started with it (sudo closes all \
         above 2: use a named pipe, or pipe from -)"
    )]
    NoDescriptor {
        /// Its number.
        fd: i32,
    },
    /// Followed as root, a link could lead anywhere.
    #[error(
        "cannot write `{path}`: a part of it is a symbolic link, which tracer does not follow; give the path it leads to"
    )]
    SymbolicLink {
        /// The path as given.
        path: PathBuf,
    },
    /// Somebody else could read along, or be made to lose what it holds.
    #[error(
        "cannot write `{path}`: the file belongs to another user or has a second name; \
         remove it or give another path"
    )]
    NotOurs {
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

    /// A descriptor that this process was started with: those that it has opened itself are closed on
    /// exec, all of them.
    pub fn inherited(fd: i32) -> Result<Self, OutputError> {
        let missing = |_| OutputError::NoDescriptor { fd };
        // SAFETY: takes a number, and no memory.
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
        if flags < 0 || flags & libc::FD_CLOEXEC != 0 {
            return Err(OutputError::NoDescriptor { fd });
        }
        // SAFETY: it is open, as was asked just now, and nobody else closes it.
        let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
        let file = File::from(borrowed.try_clone_to_owned().map_err(missing)?);
        Ok(Self { file })
    }

    /// Creates or empties a file that only its owner can read: it shows what programs do. A new
    /// file is given to `owner`, user and group. As this may run as root for somebody else, no
    /// symbolic link is followed, and an existing file must belong to the owner or to root and
    /// have no other name. A pipe or a device is written to as it is.
    pub fn create(path: &Path, owner: Option<(u32, u32)>) -> Result<Self, OutputError> {
        let failed = |source: Errno| match source {
            Errno::ELOOP => OutputError::SymbolicLink { path: path.to_owned() },
            Errno::ENXIO => OutputError::NoReader { path: path.to_owned() },
            _ => OutputError::Open { path: path.to_owned(), source: source.into() },
        };
        let open = |flags: OFlag| {
            let how = OpenHow::new()
                // Opening a pipe that nobody reads must fail and not wait.
                .flags(flags | OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)
                .mode(if flags.contains(OFlag::O_CREAT) { PRIVATE } else { Mode::empty() })
                .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS);
            openat2(AT_FDCWD, path, how).map(File::from)
        };
        let (file, is_new) = match open(OFlag::O_CREAT | OFlag::O_EXCL) {
            Ok(file) => (file, true),
            Err(Errno::EEXIST) => (open(OFlag::empty()).map_err(failed)?, false),
            Err(error) => return Err(failed(error)),
        };
        let io_failed = |source| OutputError::Open { path: path.to_owned(), source };
        fcntl(&file, FcntlArg::F_SETFL(OFlag::empty())).map_err(failed)?;
        let found = file.metadata().map_err(io_failed)?;
        if !found.is_file() {
            return Ok(Self { file });
        }
        if is_new {
            if let Some((uid, gid)) = owner {
                fchown(&file, Some(uid), Some(gid)).map_err(io_failed)?;
            }
        } else {
            let ours = owner.map_or_else(|| Uid::effective().as_raw(), |(uid, _)| uid);
            if found.nlink() != 1 || (found.uid() != ours && found.uid() != 0) {
                return Err(OutputError::NotOurs { path: path.to_owned() });
            }
            fchmod(&file, PRIVATE).map_err(failed)?;
            file.set_len(0).map_err(io_failed)?;
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

    /// Notices that the reader of a pipe, a socket or a terminal has gone, which writing would
    /// tell only at the next span, and perhaps there is none.
    pub(super) fn check_reader(&self) -> Result<(), ExportError> {
        let mut polled = [PollFd::new(self.file.as_fd(), PollFlags::empty())];
        let failed = |source: Errno| ExportError::from_io(0, source.into());
        poll(&mut polled, PollTimeout::ZERO).map_err(failed)?;
        let gone = PollFlags::POLLERR | PollFlags::POLLHUP;
        if polled[0].revents().is_some_and(|events| events.intersects(gone)) {
            return Err(ExportError::PipeClosed { delivered: 0 });
        }
        Ok(())
    }

    /// Writes what `push` makes of each span, in one piece where the system takes it. Where it takes
    /// a part, as on a full disk, a file ends with the last whole line of that, and the spans of the
    /// whole lines are the ones delivered.
    pub(super) fn write_batch(
        &mut self,
        batch: &[SpanRecord],
        buffer: &mut Lines,
        mut push: impl FnMut(&mut Vec<u8>, &SpanRecord),
    ) -> Result<(), ExportError> {
        /// Bytes kept in memory before they are written.
        const CHUNK: usize = 256 * 1024;
        let mut written = 0;
        buffer.clear();
        for (index, span) in batch.iter().enumerate() {
            push(&mut buffer.bytes, span);
            buffer.ends.push(buffer.bytes.len());
            if buffer.bytes.len() >= CHUNK || index + 1 == batch.len() {
                if let Err((taken, source)) = write(&mut self.file, &buffer.bytes) {
                    let (whole, end) = buffer.whole(taken);
                    self.cut_back(taken - end);
                    return Err(ExportError::from_io(written + whole, source));
                }
                written = index + 1;
                buffer.clear();
            }
        }
        Ok(())
    }

    /// Takes the last bytes off a file, unless somebody has written behind them.
    fn cut_back(&mut self, bytes: usize) {
        let cut = || -> io::Result<()> {
            let (mut file, found) = (&self.file, self.file.metadata()?);
            let at = if found.is_file() { file.stream_position()? } else { return Ok(()) };
            if at == found.len() {
                let end = at.saturating_sub(bytes as u64);
                file.set_len(end)?;
                file.seek(SeekFrom::Start(end))?;
            }
            Ok(())
        };
        if bytes > 0
            && let Err(error) = cut()
        {
            log::warn!("the output ends within a line: {error}");
        }
    }
}

/// Writes all of it, or as much as the system takes; then the error, and how much that was.
fn write(file: &mut impl Write, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
    let mut taken = 0;
    while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
        match file.write(rest) {
            Ok(0) => return Err((taken, io::ErrorKind::WriteZero.into())),
            Ok(len) => taken += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err((taken, error)),
        }
    }
    Ok(())
}

/// Lines that are to be written.
#[derive(Debug, Default)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    /// Where each span's ends.
    ends: Vec<usize>,
}

impl Lines {
    /// The spans of which the first `taken` bytes hold the whole lines, and where those end.
    fn whole(&self, taken: usize) -> (usize, usize) {
        let whole = self.ends.iter().take_while(|end| **end <= taken);
        whole.fold((0, 0), |(spans, _), end| (spans + 1, *end))
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
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
    use std::os::unix::fs::{PermissionsExt, symlink};

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
        let (real, link) = (folder.path().join("real"), folder.path().join("folder"));
        std::fs::create_dir(&real).unwrap();
        symlink(&real, &link).unwrap();
        let error = Output::create(&link.join("x"), None).unwrap_err();
        assert!(matches!(error, OutputError::SymbolicLink { .. }), "{error}");
    }

    #[test]
    fn an_existing_file_becomes_private_and_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        Output::create(&path, None).unwrap();
        let found = path.metadata().unwrap();
        assert_eq!((found.mode() & 0o777, found.len()), (0o600, 0));
        std::fs::hard_link(&path, folder.path().join("second")).unwrap();
        let error = Output::create(&path, None).unwrap_err();
        assert!(matches!(error, OutputError::NotOurs { .. }), "{error}");
    }

    #[test]
    fn a_pipe_that_nobody_reads_is_an_error_and_not_a_wait() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        nix::unistd::mkfifo(&path, PRIVATE).unwrap();
        let error = Output::create(&path, None).unwrap_err();
        assert!(matches!(error, OutputError::NoReader { .. }), "{error}");
    }

    #[test]
    fn a_reader_that_has_gone_is_noticed() {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        let output = Output::from(File::from(writer));
        output.check_reader().unwrap();
        drop(reader);
        assert!(matches!(output.check_reader(), Err(ExportError::PipeClosed { .. })));
        Output::from(tempfile::tempfile().unwrap()).check_reader().unwrap();
    }

    #[test]
    fn a_descriptor_of_our_own_is_not_one_that_was_given() {
        use std::os::fd::AsRawFd;
        let own = tempfile::tempfile().unwrap();
        assert!(Output::inherited(own.as_raw_fd()).is_err());
        fcntl(&own, FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
        assert!(Output::inherited(own.as_raw_fd()).is_ok());
        assert!(Output::inherited(1_000_000).is_err());
    }

    /// Takes so many bytes.
    struct Full(usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.0).min(1000);
            self.0 -= taken;
            let full = || Errno::ENOSPC.into();
            (taken > 0).then_some(taken).ok_or_else(full)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn how_much_was_taken_is_known() {
        let (taken, error) = write(&mut Full(2500), &[0; 4000]).unwrap_err();
        assert_eq!((taken, error.raw_os_error()), (2500, Some(libc::ENOSPC)));
        assert!(write(&mut Full(4000), &[0; 4000]).is_ok());
    }

    #[test]
    fn the_whole_lines_of_what_was_taken_are_delivered() {
        let lines = Lines { bytes: Vec::new(), ends: vec![10, 20, 20, 30] };
        let whole = |taken| lines.whole(taken);
        assert_eq!(whole(0), (0, 0));
        assert_eq!(whole(9), (0, 0));
        assert_eq!(whole(10), (1, 10));
        assert_eq!(whole(29), (3, 20));
        assert_eq!(whole(30), (4, 30));
    }

    #[test]
    fn a_file_is_cut_back_unless_somebody_has_written_behind_it() {
        let mut output = Output::from(tempfile::tempfile().unwrap());
        output
            .file
            .write_all(
                b"whole
hal",
            )
            .unwrap();
        output.cut_back(3);
        output
            .file
            .write_all(
                b"other
",
            )
            .unwrap();
        let mut text = String::new();
        output.file.rewind().unwrap();
        std::io::Read::read_to_string(&mut output.file, &mut text).unwrap();
        assert_eq!(
            text,
            "whole
other
"
        );
        output.file.seek(SeekFrom::Start(3)).unwrap();
        output.cut_back(3);
        assert_eq!(output.file.metadata().unwrap().len(), 12);
    }

    #[test]
    fn what_cannot_be_opened_is_named() {
        let error = Output::create(Path::new("/no/such/folder/x"), None).unwrap_err().to_string();
        assert!(error.contains("`/no/such/folder/x`"), "{error}");
    }
}
