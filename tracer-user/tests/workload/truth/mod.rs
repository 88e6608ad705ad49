//! Programs that try to make a tracer report what is not so. Each brings about a situation, makes a
//! call that can be found again by a number in a register that the kernel does not read, and prints
//! what the kernel itself answers about the descriptor before and after that call.

mod between;
mod files;
mod holders;
mod identities;
mod mounts;
mod objects;
mod places;
mod programs;
mod races;
mod sockets;

use std::{
    env,
    ffi::CString,
    fs,
    io::{self, Write as _},
    os::unix::ffi::OsStrExt as _,
    process::Command,
    sync::{
        OnceLock,
        atomic::{AtomicI32, AtomicU64, Ordering::SeqCst},
    },
};

pub(crate) use between::between;
pub(crate) use races::{number_race, rename_race};

/// Brings about a situation, or reports what this system lacks for it.
type Situation = fn(&Case) -> Result<(), String>;

/// Where the file system of processes is open: reachable when its path leads elsewhere.
static PROC: AtomicI32 = AtomicI32::new(-1);

/// The file of this program, as the kernel called it when the program began.
static PROGRAM: OnceLock<Vec<u8>> = OnceLock::new();

/// User and group as the initial user namespace has them, of a process that has left it.
static OUTSIDE: OnceLock<(u32, u32)> = OnceLock::new();

/// Marked calls so far, in this process and those that it came from.
static SERIAL: AtomicU64 = AtomicU64::new(0);

/// One situation, and a folder of its own, which is the current one when it begins.
pub(crate) struct Case {
    name: String,
    folder: String,
    index: u64,
}

/// Runs every case, each in a process of its own, below `folder`.
pub(crate) fn run(folder: &str) {
    open_proc();
    let groups: [&[(&str, Situation)]; 8] = [
        files::CASES,
        holders::CASES,
        identities::CASES,
        mounts::CASES,
        objects::CASES,
        places::CASES,
        programs::CASES,
        sockets::CASES,
    ];
    for (index, (name, situation)) in (1..).zip(groups.concat()) {
        let case =
            Case { name: name.replace(' ', "-"), folder: format!("{folder}/{index}"), index };
        fs::create_dir(&case.folder).expect("a folder");
        case.say("case", "");
        if !ends_well(|| case.run(situation)) {
            case.say("failed", "its process did not end well");
        }
    }
}

/// Marks what a program was given: its standard streams, and what it opens by these paths.
pub(crate) fn given(name: &str, index: u64, paths: &[&str]) {
    open_proc();
    let case = Case { name: name.to_owned(), folder: ".".to_owned(), index };
    for fd in 0..3 {
        case.used(fd);
    }
    for path in paths {
        case.used(case.opened(path, libc::O_RDONLY));
    }
}

/// Marks these descriptors, after `exec`.
pub(crate) fn numbers(name: &str, index: u64, fds: &[&str]) {
    open_proc();
    let case = Case { name: name.to_owned(), folder: ".".to_owned(), index };
    for fd in fds {
        case.used(fd.parse().expect("a number"));
    }
}

fn open_proc() {
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: a string, and no more pointers.
    let fd =
        unsafe { libc::fcntl(libc::open(c"/proc".as_ptr(), flags), libc::F_DUPFD_CLOEXEC, 900) };
    assert!(fd >= 0, "/proc: {}", io::Error::last_os_error());
    PROC.store(fd, SeqCst);
    PROGRAM.set(link("exe").expect("a program")).expect("set once");
}

/// Whether a child that does this ends with success.
fn ends_well(work: impl FnOnce()) -> bool {
    let pid = crate::child(work);
    let mut status = 0;
    // SAFETY: room for the status.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    status == 0
}

/// What a link of this thread in the file system of processes leads to; `None` for one that is not
/// there.
fn link(name: &str) -> Option<Vec<u8>> {
    let path = text(&format!("thread-self/{name}"));
    let mut found = vec![0_u8; 8192];
    let room = found.as_mut_ptr().cast();
    // SAFETY: a path, and room for the result.
    let len = unsafe { libc::readlinkat(PROC.load(SeqCst), path.as_ptr(), room, found.len()) };
    found.truncate(usize::try_from(len).ok()?);
    Some(found)
}

fn text(text: &str) -> CString {
    CString::new(text).expect("no zero byte")
}

/// The result of a call that must not fail.
fn done(what: &str, ret: impl TryInto<i32>) -> i32 {
    let ret = ret.try_into().unwrap_or(-1);
    assert!(ret >= 0, "{what}: {}", io::Error::last_os_error());
    ret
}

/// The result of a call that this system may refuse.
fn granted(what: &str, ret: impl TryInto<i32>) -> Result<i32, String> {
    let ret = ret.try_into().unwrap_or(-1);
    if ret >= 0 { Ok(ret) } else { Err(format!("{what}: {}", io::Error::last_os_error())) }
}

fn open(path: &str, flags: i32) -> i32 {
    let name = text(path);
    // SAFETY: a string.
    done(path, unsafe { libc::open(name.as_ptr(), flags, 0o600) })
}

fn close(fd: i32) {
    // SAFETY: the cases own their descriptors.
    done("close", unsafe { libc::close(fd) });
}

impl Case {
    fn run(&self, situation: Situation) {
        env::set_current_dir(&self.folder).expect("the folder");
        if let Err(reason) = situation(self) {
            self.say("skipped", &reason);
        }
    }

    fn say(&self, what: &str, rest: &str) {
        let line = format!("{what}\t{}\t{rest}\n", self.name);
        io::stdout().write_all(line.as_bytes()).expect("somebody reads");
    }

    /// A path in the case's folder.
    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.folder)
    }

    /// Makes a file in the case's folder, and opens it.
    fn file(&self, name: &str) -> i32 {
        open(&self.path(name), libc::O_RDWR | libc::O_CREAT)
    }

    /// Makes a folder in the case's folder.
    fn make_folder(&self, name: &str) -> String {
        let path = self.path(name);
        fs::create_dir(&path).expect("a folder");
        path
    }

    /// A number that no other call has.
    fn number(&self) -> u64 {
        // SAFETY: has no preconditions.
        let tid = unsafe { libc::syscall(libc::SYS_gettid) }.cast_unsigned() & 0xff_ffff;
        let serial = SERIAL.fetch_add(1, SeqCst) & 0xf_ffff;
        0x7e << 56 | self.index << 44 | tid << 20 | serial
    }

    /// A call that passes the descriptor.
    fn used(&self, fd: i32) {
        let call = |number: u64| {
            // SAFETY: no pointers; the kernel does not read the third argument of this command.
            unsafe { libc::syscall(libc::SYS_fcntl, fd, libc::F_GETFD, number) };
        };
        self.mark(fd, &format!("fd/{fd}"), call);
    }

    /// A call that names a file relative to the current folder.
    fn in_folder(&self) {
        self.relative(libc::AT_FDCWD, "cwd");
    }

    /// A call that names a file relative to this folder.
    fn in_folder_of(&self, fd: i32) {
        self.relative(fd, &format!("fd/{fd}"));
    }

    fn relative(&self, fd: i32, name: &str) {
        let call = |number: u64| {
            let path = c"x".as_ptr();
            // SAFETY: a string; the call has three arguments.
            unsafe { libc::syscall(libc::SYS_faccessat, fd, path, libc::F_OK, number) };
        };
        self.mark(fd, name, call);
    }

    fn mark(&self, fd: i32, name: &str, call: impl FnOnce(u64)) {
        let number = self.number();
        let before = link(name);
        call(number);
        if before == link(name) {
            self.truth(number, fd, false, before);
        } else {
            self.say("failed", "the link has changed meanwhile");
        }
    }

    /// Opens by a call that returns the descriptor.
    fn opened(&self, path: &str, flags: i32) -> i32 {
        let name = text(path);
        let number = self.number();
        // SAFETY: a string; the call has four arguments.
        let fd = unsafe {
            libc::syscall(libc::SYS_openat, libc::AT_FDCWD, name.as_ptr(), flags, 0o600, number)
        };
        let fd = done(path, fd);
        self.truth(number, fd, true, link(&format!("fd/{fd}")));
        fd
    }

    /// Copies a descriptor by a call that returns the copy.
    fn copied(&self, fd: i32) -> i32 {
        let number = self.number();
        // SAFETY: no pointers; the call has one argument.
        let copy = done("dup", unsafe { libc::syscall(libc::SYS_dup, fd, number) });
        self.truth(number, copy, true, link(&format!("fd/{copy}")));
        copy
    }

    /// Prints what the kernel holds, and whether there is a file of that name, which is that file.
    fn truth(&self, number: u64, fd: i32, returned: bool, held: Option<Vec<u8>>) {
        let held = held.unwrap_or_default();
        let is_there = is_same(&held, fd);
        let program = hex(PROGRAM.get().expect("set when the program began"));
        let (uid, gid) = OUTSIDE.get().copied().unwrap_or_else(owner);
        let (held, name) = (hex(&held), hex(&name()));
        let of_file = format!("{fd}\t{returned}\t{is_there}\t{held}");
        self.say("truth", &format!("{number:x}\t{of_file}\t{uid}\t{gid}\t{name}\t{program}"));
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).flatten().collect()
}

/// Effective user and group of this thread.
fn owner() -> (u32, u32) {
    // SAFETY: have no preconditions.
    unsafe { (libc::geteuid(), libc::getegid()) }
}

/// The name of this thread.
fn name() -> Vec<u8> {
    let mut name = [0_u8; 16];
    // SAFETY: room for a name with its zero byte.
    done("PR_GET_NAME", unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) });
    name.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
}

fn is_same(path: &[u8], fd: i32) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let named = fs::symlink_metadata(std::ffi::OsStr::from_bytes(path));
    // SAFETY: a struct of zeroes is a valid one, and room for the result.
    let (held, ret) = unsafe {
        let mut held: libc::stat = std::mem::zeroed();
        let flags = libc::AT_EMPTY_PATH;
        let ret = libc::fstatat(fd, c"".as_ptr(), &raw mut held, flags);
        (held, ret)
    };
    ret == 0 && named.is_ok_and(|it| (it.dev(), it.ino()) == (held.st_dev, held.st_ino))
}

/// Runs a program with this one as an argument, so that it calls this one with what is to be marked.
fn run_program(case: &Case, command: &mut Command) -> Result<(), String> {
    let own = env::current_exe().expect("own path");
    command.env("OWN", own).env("NAME", &case.name).env("INDEX", case.index.to_string());
    let status = command
        .status()
        .map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    assert!(status.success(), "{command:?}: {status}");
    Ok(())
}
