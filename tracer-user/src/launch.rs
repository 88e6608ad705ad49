//! Starting a command under the tracer: it exists and waits before the programs are attached, so
//! that none of its calls is missed, and none of the launcher's is shown.

use std::{
    convert::Infallible,
    ffi::{CString, OsStr, OsString},
    io::{self, PipeReader, PipeWriter, Read, Write},
    os::unix::{ffi::OsStrExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::ExitStatus,
};

use nix::{
    errno::Errno,
    fcntl::AtFlags,
    sys::{
        signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask},
        wait::{WaitPidFlag, waitpid},
    },
    unistd::{
        AccessFlags, ForkResult, Gid, Pid, Uid, User, faccessat, fork, initgroups, setgid, setuid,
    },
};

/// Why a command does not run.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// No such program.
    #[error("{0}: command not found")]
    NotFound(String),
    /// No such program where sudo looks.
    #[error(
        "{0}: command not found in the PATH that sudo sets, which need not be yours; give the \
         command with its folder, or keep your PATH: sudo env \"PATH=$PATH\" tracer …"
    )]
    NotInSudoPath(String),
    /// It is there and cannot be run.
    #[error("{command}: {reason}")]
    NotExecutable {
        /// The command as given.
        command: String,
        /// What the system said.
        reason: String,
    },
    /// The command could not become the invoking user.
    #[error("cannot become the user who called sudo: {0}")]
    Identity(String),
    /// The system gave no process.
    #[error("cannot start a process: {0}")]
    Process(#[from] io::Error),
}

impl LaunchError {
    /// The exit status that shells give for this error.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::NotFound(_) | Self::NotInSudoPath(_) => 127,
            Self::NotExecutable { .. } => 126,
            Self::Identity(_) | Self::Process(_) => 1,
        }
    }
}

/// Who called sudo; the command runs as them, and files belong to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invoker {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl Invoker {
    /// From `SUDO_UID` and `SUDO_GID`, sudo(8), when this process is root.
    pub fn from_sudo() -> Option<Self> {
        let id = |name| std::env::var(name).ok()?.parse().ok();
        let found = Self { uid: id("SUDO_UID")?, gid: id("SUDO_GID")? };
        (Uid::effective().is_root() && found.uid != 0).then_some(found)
    }
}

/// A command that waits to be released.
#[derive(Debug)]
pub struct Waiting {
    pid: Pid,
    release: PipeWriter,
    failure: PipeReader,
    command: String,
}

/// A command that runs.
#[derive(Debug)]
pub struct Running {
    pid: Pid,
}

/// Tells the parent how far the child got, as one byte and a text.
const READY: u8 = 0;
const NOT_FOUND: u8 = 1;
const NOT_EXECUTABLE: u8 = 2;
const IDENTITY: u8 = 3;
const NOT_IN_SUDO_PATH: u8 = 4;

/// A change to the environment of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: OsString,
    /// Its value; `None` for one that the command does not get.
    pub value: Option<OsString>,
}

impl Variable {
    /// `NAME=VALUE`, or `NAME` alone for one that is taken away; `None` without a name.
    pub fn parse(text: &OsStr) -> Option<Self> {
        let bytes = text.as_bytes();
        let variable = match bytes.iter().position(|byte| *byte == b'=') {
            Some(at) => Self {
                name: OsStr::from_bytes(&bytes[..at]).into(),
                value: Some(OsStr::from_bytes(&bytes[at + 1..]).into()),
            },
            None => Self { name: text.into(), value: None },
        };
        (!variable.name.is_empty()).then_some(variable)
    }
}

/// Makes a process for `command`, which must have a first element. To be called before this
/// process has other threads: the child goes on in this program's memory. `variables` are set for it,
/// or taken from it where they have no value; of one name the last counts.
pub fn prepare(
    command: &[OsString],
    invoker: Option<Invoker>,
    variables: &[Variable],
) -> Result<Waiting, LaunchError> {
    let (mut report, reporter) = io::pipe()?;
    let (waiter, release) = io::pipe()?;
    // SAFETY: this process has one thread, so the child finds all locks free.
    let pid = match unsafe { fork() }.map_err(io::Error::from)? {
        ForkResult::Child => {
            drop((report, release));
            child(command, invoker, variables, reporter, waiter)
        }
        ForkResult::Parent { child } => child,
    };
    drop((reporter, waiter));
    let name = command.first().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut state = [0];
    report.read_exact(&mut state)?;
    if state == [READY] {
        return Ok(Waiting { pid, release, failure: report, command: name });
    }
    let error = failure(state[0], name, report);
    waitpid(pid, None).map_err(io::Error::from)?;
    Err(error)
}

fn failure(state: u8, command: String, mut report: PipeReader) -> LaunchError {
    let mut reason = String::new();
    if let Err(error) = report.read_to_string(&mut reason) {
        reason = error.to_string();
    }
    match state {
        NOT_FOUND => LaunchError::NotFound(command),
        NOT_IN_SUDO_PATH => LaunchError::NotInSudoPath(command),
        IDENTITY => LaunchError::Identity(reason),
        _ => LaunchError::NotExecutable { command, reason },
    }
}

impl Waiting {
    /// The process id.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw().cast_unsigned()
    }

    /// Lets the command begin; its next call is `execve`.
    pub fn release(mut self) -> Result<Running, LaunchError> {
        self.release.write_all(&[1])?;
        // The child's end closes when the exec succeeds.
        let mut state = [0];
        if self.failure.read(&mut state)? == 0 {
            return Ok(Running { pid: self.pid });
        }
        let error = failure(state[0], self.command, self.failure);
        waitpid(self.pid, None).map_err(io::Error::from)?;
        Err(error)
    }
}

impl Running {
    /// How the command ended, once it has.
    pub fn try_wait(&self) -> io::Result<Option<ExitStatus>> {
        let mut status = 0;
        // SAFETY: `status` is valid.
        let pid = unsafe {
            libc::waitpid(self.pid.as_raw(), &raw mut status, WaitPidFlag::WNOHANG.bits())
        };
        match pid {
            0 => Ok(None),
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(Some(ExitStatus::from_raw(status))),
        }
    }
}

/// The exit status that a shell shows: 128 and the number of the signal that ended the command.
pub fn shell_status(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code & 0xff).ok()).unwrap_or(1)
}

/// The child's side; does not return.
fn child(
    command: &[OsString],
    invoker: Option<Invoker>,
    variables: &[Variable],
    mut reporter: PipeWriter,
    mut waiter: PipeReader,
) -> ! {
    let Err((state, reason)) = run(command, invoker, variables, &mut reporter, &mut waiter);
    let mut message = vec![state];
    message.extend(reason.bytes());
    // When the parent has gone there is nobody left to tell.
    let code = if reporter.write_all(&message).is_ok() { 127 } else { 126 };
    // SAFETY: ends the process without running destructors, which are the parent's.
    unsafe { libc::_exit(code) }
}

fn run(
    command: &[OsString],
    invoker: Option<Invoker>,
    wanted: &[Variable],
    reporter: &mut PipeWriter,
    waiter: &mut PipeReader,
) -> Result<Infallible, (u8, String)> {
    let become_user = |invoker| become_user(invoker).map_err(|error| (IDENTITY, error.to_string()));
    let user = invoker.map(become_user).transpose()?.flatten();
    let name = command.first().ok_or((NOT_FOUND, String::new()))?;
    let path = resolve(name).map_err(|(state, reason)| match state {
        NOT_FOUND if invoker.is_some() && !name.as_bytes().contains(&b'/') => {
            (NOT_IN_SUDO_PATH, reason)
        }
        _ => (state, reason),
    })?;
    let text =
        |bytes: &[u8]| CString::new(bytes).map_err(|error| (NOT_EXECUTABLE, error.to_string()));
    let program = text(path.as_os_str().as_bytes())?;
    let args: Vec<CString> =
        command.iter().map(|arg| text(arg.as_bytes())).collect::<Result<_, _>>()?;
    // In their order: a program may look at them in it.
    let mut all: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    if invoker.is_some() {
        all.retain(|(name, _)| !OF_THE_USER.iter().any(|it| name == it));
    }
    let of_user = user.iter().flat_map(variables);
    let of_user = of_user.map(|(name, value)| (OsString::from(name), Some(value)));
    let wanted = wanted.iter().map(|it| (it.name.clone(), it.value.clone()));
    for (name, value) in of_user.chain(wanted) {
        match (all.iter().position(|(other, _)| *other == name), value) {
            (Some(at), Some(value)) => all[at].1 = value,
            (Some(_), None) => all.retain(|(other, _)| *other != name),
            (None, value) => all.extend(value.map(|value| (name, value))),
        }
    }
    let environment: Vec<CString> = all
        .iter()
        .map(|(name, value)| text(&[name.as_bytes(), b"=", value.as_bytes()].concat()))
        .collect::<Result<_, _>>()?;
    reset_signals();
    let lost = |error: io::Error| (NOT_EXECUTABLE, error.to_string());
    reporter.write_all(&[READY]).map_err(lost)?;
    waiter.read_exact(&mut [0]).map_err(lost)?;
    match nix::unistd::execve(&program, &args, &environment) {
        Err(Errno::ENOENT) => Err((NOT_FOUND, String::new())),
        Err(error) => Err((NOT_EXECUTABLE, error.desc().to_owned())),
    }
}

/// What this program does with signals must not pass on to the command: Rust ignores `SIGPIPE`.
fn reset_signals() {
    // SAFETY: restores the default action.
    let reset = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) };
    let unblocked = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
    if let Err(error) = reset.and(unblocked) {
        log::debug!("signals stay as they are: {error}");
    }
}

/// Variables that say who runs a program. sudo has set them to root's; of a user without an entry in
/// the password database none is true.
const OF_THE_USER: [&str; 5] = ["HOME", "USER", "LOGNAME", "SHELL", "MAIL"];

/// Those of them that the password database knows.
fn variables(user: &User) -> [(&'static str, OsString); 4] {
    [
        ("HOME", user.dir.clone().into()),
        ("USER", user.name.clone().into()),
        ("LOGNAME", user.name.clone().into()),
        ("SHELL", user.shell.clone().into()),
    ]
}

/// Returns the user's entry in the password database.
fn become_user(invoker: Invoker) -> nix::Result<Option<User>> {
    let (uid, gid) = (Uid::from_raw(invoker.uid), Gid::from_raw(invoker.gid));
    let user = User::from_uid(uid)?;
    if let Some(user) = &user {
        let name = CString::new(user.name.as_str()).map_err(|_| Errno::EINVAL)?;
        initgroups(&name, gid)?;
    } else {
        nix::unistd::setgroups(&[gid])?;
    }
    setgid(gid)?;
    setuid(uid)?;
    Ok(user)
}

/// The program that a shell would run for this name.
fn resolve(name: &OsStr) -> Result<PathBuf, (u8, String)> {
    if name.as_bytes().contains(&b'/') {
        let path = PathBuf::from(name);
        return match usable(&path) {
            Ok(()) => Ok(path),
            Err(Errno::ENOENT) => Err((NOT_FOUND, String::new())),
            Err(error) => Err((NOT_EXECUTABLE, error.desc().to_owned())),
        };
    }
    let folders = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    let mut refused = None;
    for folder in std::env::split_paths(&folders) {
        let path = folder.join(name);
        match usable(&path) {
            Ok(()) => return Ok(path),
            Err(Errno::EACCES) if path.exists() => refused = Some(Errno::EACCES.desc().to_owned()),
            Err(_) => {}
        }
    }
    Err(refused.map_or((NOT_FOUND, String::new()), |reason| (NOT_EXECUTABLE, reason)))
}

fn usable(path: &Path) -> Result<(), Errno> {
    let kind = path
        .metadata()
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::ENOENT)))?;
    if kind.is_dir() {
        return Err(Errno::EISDIR);
    }
    if !kind.is_file() {
        return Err(Errno::EACCES);
    }
    faccessat(nix::fcntl::AT_FDCWD, path, AccessFlags::X_OK, AtFlags::AT_EACCESS)
}
