//! What a call has done to its process's descriptors.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use tracer_common::{event::Abi, memory::part};

use super::{
    Descriptors, EBADF, State,
    calls::{self, int},
    inode,
    name::{self, Detail, Name, Socket},
    rules::{self, AtExec, Effect, O_CLOEXEC},
};
use crate::{
    process::Process,
    span_record::{Captured, FdName, SpanRecord, SyscallSpan},
};

// sched.h
const CLONE_FILES: u64 = 0x400;
const CLONE_THREAD: u64 = 0x1_0000;
const CLONE_NEWNS: u64 = 0x2_0000;

/// `EINPROGRESS`: the connection is being made.
const EINPROGRESS: u32 = 115;

/// One call that has ended.
#[derive(Clone, Copy)]
struct Done<'a> {
    call: &'a SyscallSpan,
    pid: u32,
    start: u64,
    end: u64,
    /// Whether what it has made is closed at exec.
    closes: bool,
}

impl Done<'_> {
    /// The descriptor that it has returned.
    fn fd(&self) -> i32 {
        i32::try_from(self.call.ret).unwrap_or(-1)
    }

    /// The descriptor in an argument.
    fn passed(&self, arg: usize) -> i32 {
        int(self.call.args[arg])
    }
}

impl Descriptors {
    /// Follows a call; says whether its process has ended.
    pub(super) fn apply(
        &mut self,
        state: &mut State,
        process: &Arc<Process>,
        span: &SpanRecord,
        call: &SyscallSpan,
    ) -> bool {
        let Some((effect, at_exec)) = call.info().and_then(|info| rules::rule(info.name)) else {
            return false;
        };
        if effect == Effect::End {
            return true;
        }
        if !self.follows || !has_happened(call, effect) {
            return false;
        }
        let mut done = Done {
            call,
            pid: process.tgid,
            start: span.start_time_nanos(),
            end: span.end_time_nanos(),
            closes: false,
        };
        done.closes = match at_exec {
            AtExec::Stays => false,
            AtExec::Closes => true,
            AtExec::If(arg, bits) => call.args[usize::from(arg)] & bits != 0,
            AtExec::IfInMemory(arg) => first_word(call, usize::from(arg)) & O_CLOEXEC != 0,
        };
        match effect {
            Effect::Close => state.files().close(done.passed(0), done.start, done.end),
            Effect::CloseRange => close_range(state, &done),
            Effect::Exec => {
                state.unshare();
                state.files().exec();
            }
            Effect::Clones => self.cloned(state, process, call.ret, call.args[0]),
            Effect::Clones3 => self.cloned(state, process, call.ret, first_word(call, 0)),
            Effect::Unshare => {
                if call.args[0] & CLONE_FILES != 0 {
                    state.unshare();
                }
                if call.args[0] & CLONE_NEWNS != 0 {
                    state.our_root = self.source.has_our_root(done.pid);
                }
            }
            Effect::ChangeRoot => state.our_root = self.source.has_our_root(done.pid),
            Effect::ChangeFolder => {
                if let Some(path) = self.completed(state, &done, None, 0) {
                    state.folder = Some(path.into());
                }
            }
            Effect::ChangeFolderTo => {
                let name = self.name_of(state, &done, done.passed(0));
                state.folder = name.and_then(|name| name.as_path().map(Into::into));
            }
            Effect::Fcntl | Effect::Ioctl => self.command(state, &done, effect),
            Effect::Bind | Effect::Connect | Effect::OwnAddress | Effect::PeerAddress => {
                self.addressed(state, &done, effect);
            }
            Effect::Pipe => {
                for fd in calls::pair(call, 0) {
                    let name = self.numbered(&done, fd, "pipe:[");
                    state.files().open(fd, Arc::new(name), done.closes, done.end);
                }
            }
            Effect::SocketPair => {
                for fd in calls::pair(call, 3) {
                    let name = self.socket(&done, fd);
                    state.files().open(fd, Arc::new(name), done.closes, done.end);
                }
            }
            Effect::Receive => {
                for fd in calls::rights(call, 1, true) {
                    self.unknown(state, &done, fd);
                }
            }
            Effect::Copies => self.copy(state, &done),
            Effect::Unknown => self.unknown(state, &done, done.fd()),
            Effect::Fork | Effect::End => {}
            _ => {
                if let Some(name) = self.made(state, &done, effect) {
                    state.files().open(done.fd(), Arc::new(name), done.closes, done.end);
                } else {
                    self.unknown(state, &done, done.fd());
                }
            }
        }
        false
    }

    /// The name of what a call has made, as far as the call tells.
    fn made(&mut self, state: &mut State, done: &Done<'_>, effect: Effect) -> Option<Name> {
        match effect {
            Effect::Path(dir, path) => self.opened(state, done, dir, path),
            // An existing one gets another mask: signalfd(2).
            Effect::Object(_)
                if done.call.name().starts_with("signalfd") && done.passed(0) >= 0 =>
            {
                let name = self.name_of(state, done, done.passed(0));
                name.map(|name| Name::clone(&name))
            }
            Effect::Object(text) if text.starts_with('/') => {
                Some(Name::path(text.as_bytes(), None))
            }
            Effect::Object(text) => Some(Name::object(text)),
            Effect::Bpf => object_of_bpf(int(done.call.args[0])).map(Name::object),
            Effect::Memory(arg) => {
                let name = done.call.string(usize::from(arg)).filter(Captured::is_read)?;
                Some(Name::path(&[b"/memfd:", name.bytes, b" (deleted)"].concat(), None))
            }
            Effect::Process(arg) if self.detail == Detail::Protocols => {
                Some(Name::object(&format!("pid:{}", done.passed(usize::from(arg)))))
            }
            Effect::Process(_) => Some(Name::object("anon_inode:[pidfd]")),
            Effect::Socket => Some(self.socket(done, done.fd())),
            Effect::Accept => Some(self.accepted(state, done)),
            _ => None,
        }
    }

    /// A file that was opened by its path.
    fn opened(
        &mut self,
        state: &mut State,
        done: &Done<'_>,
        dir: Option<u8>,
        path: u8,
    ) -> Option<Name> {
        // The bit that `O_TMPFILE` has to itself: such a file has no path before it is opened.
        const TMPFILE: u64 = 0o20_000_000;
        let flags = usize::from(path) + 1;
        if done.call.name().starts_with("open")
            && done.call.name() != "openat2"
            && done.call.args[flags] & TMPFILE != 0
        {
            return None;
        }
        let path = self.completed(state, done, dir, path)?;
        let device = if state.our_root { self.source.device(&path) } else { None };
        Some(Name::path(&path, device))
    }

    /// The absolute path of an argument, as the kernel has it: without symbolic links. Where it is
    /// not there any more, its folder is asked for, and in the end the path is taken by its letter.
    fn completed(
        &mut self,
        state: &mut State,
        done: &Done<'_>,
        dir: Option<u8>,
        path: u8,
    ) -> Option<Vec<u8>> {
        let text = done.call.string(usize::from(path)).filter(Captured::is_read)?.bytes;
        let path = if text.starts_with(b"/") {
            own(text, done.pid)
        } else {
            let fd = dir.map_or(FdName::CURRENT_FOLDER, |dir| done.passed(usize::from(dir)));
            let base = if fd == FdName::CURRENT_FOLDER {
                self.folder(state, done.pid)
            } else {
                self.name_of(state, done, fd).and_then(|name| name.as_path().map(Into::into))
            };
            [&*base?, b"/", text].concat()
        };
        let nofollow = keeps_links(done.call);
        if let Some(found) = self.source.resolve(done.pid, state.our_root, &path, nofollow) {
            return Some(found);
        }
        let plain = by_letter(&path);
        let folder = Path::new(OsStr::from_bytes(&plain)).parent()?.as_os_str().as_bytes();
        let last = plain.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let found = self.source.resolve(done.pid, state.our_root, folder, false);
        Some(found.map_or(plain.clone(), |folder| match folder.as_slice() {
            b"/" => [b"/", last].concat(),
            folder => [folder, b"/", last].concat(),
        }))
    }

    /// What a descriptor led to when the call began.
    fn name_of(&mut self, state: &State, done: &Done<'_>, fd: i32) -> Option<Arc<Name>> {
        let known = state.files().name(fd, done.start).map(Arc::clone);
        known.or_else(|| self.look_up(state, done.pid, fd))
    }

    /// What only /proc can tell.
    fn unknown(&mut self, state: &State, done: &Done<'_>, fd: i32) {
        match self.source.link(done.pid, fd) {
            Some(link) => {
                let name = self.linked(state.our_root, done.pid, &link);
                state.files().open(fd, Arc::new(name), done.closes, done.end);
            }
            None => state.files().close(fd, done.end, done.end),
        }
    }

    fn copy(&mut self, state: &State, done: &Done<'_>) {
        let (old, new) = (done.passed(0), done.fd());
        if old == new {
            return;
        }
        match self.name_of(state, done, old) {
            Some(name) => state.files().open(new, name, done.closes, done.end),
            None => self.unknown(state, done, new),
        }
    }

    fn command(&mut self, state: &State, done: &Done<'_>, effect: Effect) {
        // fcntl(2), ioctl_fioclex(2)
        const F_DUPFD_CLOEXEC: i32 = 1030;
        const F_SETFD: i32 = 2;
        const FIOCLEX: i32 = 0x5451;
        const FIONCLEX: i32 = 0x5450;
        let command = done.passed(1);
        match (effect, command) {
            (Effect::Fcntl, command) if calls::COPIES.contains(&command) => {
                let done = Done { closes: command == F_DUPFD_CLOEXEC, ..*done };
                self.copy(state, &done);
            }
            (Effect::Fcntl, F_SETFD) => {
                state.files().set_closes(done.passed(0), done.call.args[2] & 1 != 0);
            }
            (Effect::Ioctl, FIOCLEX | FIONCLEX) => {
                state.files().set_closes(done.passed(0), command == FIOCLEX);
            }
            _ => {}
        }
    }

    /// A process or thread was made.
    fn cloned(&mut self, state: &State, process: &Process, child: i64, flags: u64) {
        let shares = flags & CLONE_FILES != 0 && flags & CLONE_THREAD == 0;
        let id = u32::try_from(child).ok().and_then(|child| self.ids.get(&child).copied());
        // What it has in common with its parent shows when its first call comes, or has come.
        if let Some(id) = id.filter(|id| shares && *id != super::id(process))
            && let Some(child) = self.processes.get_mut(&id)
        {
            child.files = Arc::clone(&state.files);
        } else if let Some(child) = u32::try_from(child).ok().filter(|_| shares) {
            self.sharing.insert(child, Arc::clone(&state.files));
        }
    }

    /// A pipe, by the number of its inode; what /proc says now may be of a later descriptor of
    /// that number, if that is of another kind it is not taken.
    fn numbered(&mut self, done: &Done<'_>, fd: i32, start: &str) -> Name {
        let link = self.source.link(done.pid, fd);
        let number = link.and_then(|link| inode(&String::from_utf8_lossy(&link), start));
        Name::object(&format!("{start}{}]", number.map_or("?".to_owned(), |it| it.to_string())))
    }

    fn inode(&mut self, done: &Done<'_>, fd: i32) -> Option<u64> {
        let link = self.source.link(done.pid, fd)?;
        inode(&String::from_utf8_lossy(&link), "socket:[")
    }

    fn socket(&mut self, done: &Done<'_>, fd: i32) -> Name {
        let [family, kind, protocol, ..] = done.call.args.map(|it| it & 0xffff_ffff);
        let inode = self.inode(done, fd);
        Name::socket(Socket { family, kind, protocol, inode, ..Socket::default() }, self.detail)
    }

    fn accepted(&mut self, state: &State, done: &Done<'_>) -> Name {
        let listener = self.name_of(state, done, done.passed(0));
        let listener = listener.as_ref().and_then(|name| name.as_socket()).cloned();
        let inode = self.inode(done, done.fd());
        let peer = done.call.returned(1, part::WHOLE).filter(Captured::is_read);
        let mut socket = Socket {
            inode,
            peer: peer.and_then(|it| name::address(it.bytes)),
            ..listener.unwrap_or_default()
        };
        socket.own = socket.own.filter(|own| !name::is_any(own));
        self.complete(done, &mut socket);
        Name::socket(socket, self.detail)
    }

    /// Addresses that no call has told.
    fn complete(&mut self, done: &Done<'_>, socket: &mut Socket) {
        if self.detail == Detail::Paths || (socket.own.is_some() && socket.peer.is_some()) {
            return;
        }
        if let Some(found) = socket.inode.and_then(|inode| self.source.socket(done.pid, inode)) {
            socket.own = found.own.or_else(|| socket.own.take());
            socket.peer = socket.peer.take().or(found.peer);
        }
    }

    /// A socket has got an address, or told it.
    fn addressed(&mut self, state: &State, done: &Done<'_>, effect: Effect) {
        let fd = done.passed(0);
        let Some(mut socket) =
            self.name_of(state, done, fd).and_then(|name| name.as_socket().cloned())
        else {
            return;
        };
        let is_passed = matches!(effect, Effect::Bind | Effect::Connect);
        let memory = if is_passed {
            done.call.passed(1, part::WHOLE)
        } else {
            done.call.returned(1, part::WHOLE)
        };
        let address = memory.filter(Captured::is_read).and_then(|it| name::address(it.bytes));
        match effect {
            Effect::Connect => {
                socket.peer = address;
                self.complete(done, &mut socket);
            }
            Effect::PeerAddress => socket.peer = address,
            // Without a port the kernel chooses one.
            _ => socket.own = address.filter(|address| !address.ends_with(":0")),
        }
        state.files().rename(fd, &Arc::new(Name::socket(socket, self.detail)));
    }
}

/// Parent and child, where a call has made a process.
pub(super) fn made_process(span: &SpanRecord) -> Option<(u32, u32)> {
    let call = span.syscall().filter(|call| call.ret > 0)?;
    let flags = match rules::rule(call.info()?.name)?.0 {
        Effect::Clones => call.args[0],
        Effect::Clones3 => first_word(call, 0),
        Effect::Fork => 0,
        _ => return None,
    };
    let child = u32::try_from(call.ret).ok()?;
    (flags & CLONE_THREAD == 0).then(|| (span.process_id(), child))
}

/// The first word of what an argument points to.
fn first_word(call: &SyscallSpan, arg: usize) -> u64 {
    let memory = call.passed(arg, part::WHOLE).filter(Captured::is_read);
    memory.and_then(|it| it.bytes.first_chunk().copied()).map_or(0, u64::from_ne_bytes)
}

/// Whether a call has done what it is for.
fn has_happened(call: &SyscallSpan, effect: Effect) -> bool {
    match call.errno() {
        // Whatever `close` says, the descriptor is gone: close(2).
        Some(errno) if effect == Effect::Close => errno != EBADF,
        Some(errno) => effect == Effect::Connect && errno == EINPROGRESS,
        None => call.has_result() && call.restart().is_none(),
    }
}

fn close_range(state: &mut State, done: &Done<'_>) {
    // close_range(2)
    const UNSHARE: u64 = 2;
    const CLOEXEC: u64 = 4;
    let [first, last, flags, ..] = done.call.args;
    let low = |value: u64| u32::try_from(value & 0xffff_ffff).unwrap_or_default();
    if flags & UNSHARE != 0 {
        state.unshare();
    }
    let range = state.files().range(low(first), low(last));
    for fd in range {
        if flags & CLOEXEC != 0 {
            state.files().set_closes(fd, true);
        } else {
            state.files().close(fd, done.start, done.end);
        }
    }
}

/// Objects that commands of `bpf` make, bpf(2).
fn object_of_bpf(command: i32) -> Option<&'static str> {
    match command {
        0 => Some("anon_inode:bpf-map"),
        5 => Some("anon_inode:bpf-prog"),
        18 => Some("anon_inode:btf"),
        28 => Some("anon_inode:bpf_link"),
        _ => None,
    }
}

/// `O_NOFOLLOW`, where it means that a link itself is opened: with `O_PATH`.
fn keeps_links(call: &SyscallSpan) -> bool {
    const PATH: u64 = 0o10_000_000;
    let nofollow = match call.abi {
        Abi::Aarch64 | Abi::Arm => 0o100_000,
        _ => 0o400_000,
    };
    let flags = match &*call.name() {
        "open" => call.args[1],
        "openat" => call.args[2],
        _ => return false,
    };
    flags & PATH != 0 && flags & nofollow != 0
}

/// `/proc/self` is another folder for us than for the process.
fn own(path: &[u8], pid: u32) -> Vec<u8> {
    match path.strip_prefix(b"/proc/self") {
        Some(rest) if rest.is_empty() || rest.starts_with(b"/") => {
            [format!("/proc/{pid}").as_bytes(), rest].concat()
        }
        _ => path.to_vec(),
    }
}

/// A path without `.`, `..` and empty parts, whatever the links on its way.
fn by_letter(path: &[u8]) -> Vec<u8> {
    let mut plain = PathBuf::from("/");
    for part in Path::new(OsStr::from_bytes(path)).components() {
        match part {
            Component::Normal(part) => plain.push(part),
            Component::ParentDir => {
                plain.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    plain.as_os_str().as_bytes().to_vec()
}
