//! Where the socket stands, and whose it is.

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    os::{
        fd::OwnedFd,
        unix::{
            fs::{FileTypeExt, MetadataExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use nix::{
    fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag, openat2},
    sys::stat::{Mode, fchmod},
    unistd::{Gid, Uid, fchownat},
};

use socket2::{Domain, SockAddr, Type};

use super::{Call, server::Server};

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Something is there already.
    #[error("--control: `{0}` exists; remove it, or give another path")]
    Exists(PathBuf),
    /// A tracer listens there.
    #[error("--control: `{0}` is in use by a running process; give another path")]
    InUse(PathBuf),
    /// The system did not give it.
    #[error("--control: cannot make the socket `{path}`: {source}")]
    System {
        /// The path as given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A socket that nobody serves yet.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    place: Place,
    /// Who may connect, beside root and the user that tracer runs as.
    invoker: Option<u32>,
}

/// Where the socket stands; taken away at the end, if it is still the same.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    identity: (u64, u64),
}

impl Drop for Place {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == self.identity);
        if is_ours && let Err(error) = fs::remove_file(&self.path) {
            log::warn!("--control: cannot remove `{}`: {error}", self.path.display());
        }
    }
}

impl Socket {
    /// Makes a socket at `path` that only `owner`, user and group, can connect to; and root.
    pub fn bind(path: &Path, owner: Option<(u32, u32)>) -> Result<Self, ControlError> {
        let failed = |source| ControlError::System { path: path.to_owned(), source };
        let listener = match listen(path) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                remove_left_behind(path)?;
                listen(path).map_err(failed)?
            }
            other => other.map_err(failed)?,
        };
        // What is given away is the socket just made, wherever a link would lead.
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let found = openat2(AT_FDCWD, path, how).map_err(|error| failed(error.into()))?;
        let found = File::from(found);
        let metadata = found.metadata().map_err(failed)?;
        if !metadata.file_type().is_socket() || metadata.uid() != Uid::effective().as_raw() {
            return Err(ControlError::Exists(path.to_owned()));
        }
        if let Some((uid, gid)) = owner {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            fchownat(&found, "", uid, gid, AtFlags::AT_EMPTY_PATH)
                .map_err(|error| failed(error.into()))?;
        }
        let identity = (metadata.dev(), metadata.ino());
        listener.set_nonblocking(true).map_err(failed)?;
        let place = Place { path: path.to_owned(), identity };
        Ok(Self { listener, place, invoker: owner.map(|(uid, _)| uid) })
    }

    /// Serves it on a thread of its own. Each request goes to `handle`, which says whether somebody
    /// will answer.
    pub fn serve(
        self,
        handle: impl FnMut(Call) -> bool + Send + 'static,
    ) -> io::Result<ControlThread> {
        let Self { listener, place, invoker } = self;
        let stop = Arc::new(AtomicBool::new(false));
        let mut server = Server::new(listener, invoker, Box::new(handle), Arc::clone(&stop));
        let thread =
            thread::Builder::new().name("tracer-control".into()).spawn(move || server.run())?;
        Ok(ControlThread { stop, thread: Some(thread), _place: place })
    }
}

/// Connections that wait to be taken, at most: what the standard library asks for.
const BACKLOG: i32 = 128;

/// A socket for its owner alone, from the first moment at which it can be seen. A socket's own mode
/// becomes that of its path, less the mask of new files, which is the whole process's and stays:
/// `unix_bind_bsd`, <https://github.com/torvalds/linux/blob/v6.12/net/unix/af_unix.c>.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(BACKLOG)?;
    Ok(OwnedFd::from(socket).into())
}

/// A socket of a tracer that was killed goes; nothing else does.
fn remove_left_behind(path: &Path) -> Result<(), ControlError> {
    let exists = || ControlError::Exists(path.to_owned());
    let found = fs::symlink_metadata(path).map_err(|_| exists())?;
    if !found.file_type().is_socket() {
        return Err(exists());
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|_| exists())
        }
        _ => Err(ControlError::InUse(path.to_owned())),
    }
}

/// The running thread; ends when dropped.
#[derive(Debug)]
pub struct ControlThread {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    _place: Place,
}

impl Drop for ControlThread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::server::{LONGEST_LINE, MOST_CLIENTS};
    use std::io::{BufRead, BufReader, Read, Write};

    /// Answers each request with itself.
    fn serve(path: &Path) -> ControlThread {
        let socket = Socket::bind(path, None).unwrap();
        let echo = |call: Call| {
            let text = format!("{:?}", call.request);
            call.answer(Ok(text));
            true
        };
        socket.serve(echo).unwrap()
    }

    fn ask(path: &Path, bytes: &[u8]) -> String {
        let mut stream = UnixStream::connect(path).unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        answer
    }

    #[test]
    fn a_line_is_answered_by_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let thread = serve(&path);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(ask(&path, b"status\n"), "ok Status\n");
        assert_eq!(ask(&path, b"add pid 7\nstatus\n"), "ok AddProcess(7)\n");
        assert!(ask(&path, b"\xff\0\n").starts_with("error a request is one line"));
        let long = ask(&path, &[b'x'; LONGEST_LINE + 1]);
        assert_eq!(long, format!("error a request has at most {LONGEST_LINE} bytes\n"));
        drop(thread);
        assert!(!path.exists());
    }

    #[test]
    fn clients_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let _thread = serve(&path);
        let mut clients: Vec<_> =
            (0..MOST_CLIENTS).map(|_| UnixStream::connect(&path).unwrap()).collect();
        for client in &mut clients {
            client.write_all(b"status\n").unwrap();
            let mut answer = [0; 10];
            client.read_exact(&mut answer).unwrap();
        }
        assert!(ask(&path, b"").starts_with("error 8 clients"));
    }

    #[test]
    fn what_stands_in_the_way_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        fs::write(&path, "precious").unwrap();
        let error = Socket::bind(&path, None).unwrap_err();
        assert!(matches!(error, ControlError::Exists(_)), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        fs::remove_file(&path).unwrap();

        let thread = serve(&path);
        let error = Socket::bind(&path, None).unwrap_err();
        assert!(matches!(error, ControlError::InUse(_)), "{error}");
        drop(thread);

        // As a killed tracer leaves it.
        drop(UnixListener::bind(&path).unwrap());
        drop(serve(&path));
        let error = Socket::bind(&folder.path().join("no/such"), None).unwrap_err();
        assert!(matches!(error, ControlError::System { .. }), "{error}");
    }
}
