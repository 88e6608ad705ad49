//! The thread that serves the socket.

use std::{
    io::{self, ErrorKind, Read, Write},
    os::{
        fd::{AsFd, AsRawFd},
        unix::net::{UnixListener, UnixStream},
    },
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{RecvTimeoutError, sync_channel},
    },
    time::Duration,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::Uid,
};

use super::{Call, Request};

/// Longest request, in bytes: a path with the words before it.
pub(super) const LONGEST_LINE: usize = 8192;
/// Clients at once.
pub(super) const MOST_CLIENTS: usize = 8;
/// How long a request to stop may wait, in milliseconds.
const LONGEST_WAIT: u16 = 100;

/// Hands a request over; says whether somebody will answer.
pub(super) type Handle = Box<dyn FnMut(Call) -> bool + Send>;

pub(super) struct Server {
    listener: UnixListener,
    invoker: Option<u32>,
    clients: Vec<Client>,
    handle: Handle,
    stop: Arc<AtomicBool>,
}

impl Server {
    pub(super) fn new(
        listener: UnixListener,
        invoker: Option<u32>,
        handle: Handle,
        stop: Arc<AtomicBool>,
    ) -> Self {
        Self { listener, invoker, clients: Vec::new(), handle, stop }
    }

    /// Until it is to stop.
    pub(super) fn run(&mut self) {
        while !self.stop.load(Ordering::Acquire) {
            let ready = self.wait();
            let Self { clients, handle, stop, .. } = self;
            let mut ask = |line: &[u8]| answer(line, handle, stop);
            let mut at = 0;
            clients.retain_mut(|client| {
                at += 1;
                !ready.get(at).is_some_and(|ready| *ready) || client.serve(&mut ask)
            });
            if ready.first().is_some_and(|ready| *ready) {
                self.accept();
            }
        }
    }

    /// Which have something to read: the listener, then the clients.
    fn wait(&self) -> Vec<bool> {
        let clients = self.clients.iter().map(|client| client.stream.as_fd());
        let all = std::iter::once(self.listener.as_fd()).chain(clients);
        let mut polled: Vec<_> = all.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        match poll(&mut polled, PollTimeout::from(LONGEST_WAIT)) {
            Ok(_) => polled.iter().map(|it| it.any().unwrap_or(true)).collect(),
            Err(error) => {
                log::debug!("--control: {error}");
                Vec::new()
            }
        }
    }

    fn accept(&mut self) {
        let Ok((stream, _)) = self.listener.accept() else { return };
        let peer = user_of(&stream);
        let is_allowed =
            |uid: u32| uid == 0 || uid == Uid::effective().as_raw() || Some(uid) == self.invoker;
        let mut client = Client { stream, line: Vec::new() };
        if !peer.is_some_and(is_allowed) {
            client.say(&Err("only root and who started tracer may use this socket".into()));
        } else if self.clients.len() >= MOST_CLIENTS {
            client.say(&Err(format!("{MOST_CLIENTS} clients are connected already")));
        } else if client.stream.set_nonblocking(true).is_ok() {
            self.clients.push(client);
        }
    }
}

struct Client {
    stream: UnixStream,
    /// What has come of a line.
    line: Vec<u8>,
}

impl Client {
    /// Reads what there is and answers it; whether to go on.
    fn serve(&mut self, ask: &mut dyn FnMut(&[u8]) -> Result<String, String>) -> bool {
        let mut bytes = [0; 4096];
        let len = match self.stream.read(&mut bytes) {
            Ok(0) => return false,
            Ok(len) => len,
            Err(error) => {
                return matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted);
            }
        };
        for byte in bytes.get(..len).unwrap_or_default() {
            if *byte != b'\n' {
                if self.line.len() == LONGEST_LINE {
                    self.say(&Err(format!("a request has at most {LONGEST_LINE} bytes")));
                    return false;
                }
                self.line.push(*byte);
                continue;
            }
            let line = std::mem::take(&mut self.line);
            if !self.say(&ask(&line)) {
                return false;
            }
        }
        true
    }

    /// Writes an answer; whether the client takes it.
    fn say(&mut self, answer: &Result<String, String>) -> bool {
        let (word, text) = match answer {
            Ok(text) => ("ok", text),
            Err(text) => ("error", text),
        };
        let gap = if text.is_empty() { "" } else { " " };
        // One line, whatever a path or an error says.
        let text: String =
            text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        self.stream.write_all(format!("{word}{gap}{text}\n").as_bytes()).is_ok()
    }
}

fn answer(line: &[u8], handle: &mut Handle, stop: &AtomicBool) -> Result<String, String> {
    let request = Request::parse(line).map_err(|error| error.to_string())?;
    let (answer, answered) = sync_channel(1);
    if !handle(Call { request, answer }) {
        return Err("tracing ends, or is busy".to_owned());
    }
    loop {
        match answered.recv_timeout(Duration::from_millis(LONGEST_WAIT.into())) {
            Ok(answer) => return answer,
            Err(RecvTimeoutError::Timeout) if !stop.load(Ordering::Acquire) => {}
            Err(_) => return Err("tracing has ended".to_owned()),
        }
    }
}

/// The user of the process that connected, unix(7).
fn user_of(stream: &UnixStream) -> Option<u32> {
    let mut found = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut len = u32::try_from(size_of::<libc::ucred>()).ok()?;
    // SAFETY: both pointers are to values of the sizes that the kernel expects.
    let failed = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut found).cast(),
            &raw mut len,
        )
    };
    if failed != 0 {
        log::warn!("--control: {}", io::Error::last_os_error());
        return None;
    }
    Some(found.uid)
}
