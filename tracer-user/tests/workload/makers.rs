//! Programs that ask the kernel who they are, between changes of that: each call that asks has the
//! answer as its result.

use std::{
    env,
    ffi::{CStr, CString},
    fs, io,
    os::{
        fd::FromRawFd,
        unix::{ffi::OsStrExt, fs::PermissionsExt, process::CommandExt},
    },
    process::{Command, Stdio},
    ptr, thread,
};

use crate::{child, wait_for};

/// A user and a group that nobody has.
const OTHER: u32 = 61_234;
const GROUP: u32 = 61_235;

/// Asks for user, group and program.
pub(crate) fn ask() {
    let mut path = [0u8; 4096];
    let link = c"/proc/self/exe".as_ptr();
    let here = libc::AT_FDCWD;
    // SAFETY: a string that ends, and room for the answer.
    unsafe {
        libc::syscall(libc::SYS_geteuid);
        libc::syscall(libc::SYS_getegid);
        libc::syscall(libc::SYS_readlinkat, here, link, path.as_mut_ptr(), path.len());
    }
}

/// By the raw call: the library's has all threads make it.
fn set_user(uid: u32) {
    let keep = u32::MAX;
    // SAFETY: numbers only.
    let failed = unsafe { libc::syscall(libc::SYS_setresuid, keep, uid, keep) };
    assert_eq!(failed, 0, "setresuid: {}", io::Error::last_os_error());
}

fn set_group(gid: u32) {
    let keep = u32::MAX;
    // SAFETY: numbers only.
    let failed = unsafe { libc::syscall(libc::SYS_setresgid, keep, gid, keep) };
    assert_eq!(failed, 0, "setresgid: {}", io::Error::last_os_error());
}

/// Drops its privileges and takes them back, several times.
pub(crate) fn users(rounds: u64) {
    for _ in 0..rounds {
        ask();
        set_group(GROUP);
        ask();
        set_user(OTHER);
        ask();
        set_user(0);
        set_group(0);
    }
    ask();
}

/// Workers that are another user's at once, while their parent stays what it is.
pub(crate) fn workers(count: u64) {
    let work = |number: u64| {
        move || {
            set_user(OTHER + u32::try_from(number).expect("few"));
            for _ in 0..5 {
                ask();
            }
        }
    };
    let pids: Vec<_> = (0..count).map(|number| child(work(number))).collect();
    for _ in 0..5 {
        ask();
    }
    pids.into_iter().for_each(wait_for);
}

/// This program by each of the ways that lead to one, each of which asks; files go to `folder`.
pub(crate) fn programs(folder: &str) {
    let own = env::current_exe().expect("own path");
    let copy = format!("{folder}/copy");
    fs::copy(&own, &copy).expect("a copy");
    std::os::unix::fs::symlink("copy", format!("{folder}/link")).expect("a link");
    let script = format!("{folder}/script");
    fs::write(&script, format!("#!{copy} now\n")).expect("a script");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("a mode");
    ask();
    let run = |command: &mut Command| {
        let done = command.stdin(Stdio::null()).status().expect("it runs");
        assert!(done.success(), "{command:?}");
    };
    run(Command::new(&copy).args(["now", "ask"]));
    run(Command::new(format!("{folder}/link")).args(["now", "ask"]));
    run(Command::new("./copy").args(["now", "ask"]).current_dir(folder));
    run(Command::new("/proc/self/exe").arg0("applet").args(["now", "ask"]));
    // Its arguments are the script and `ask-script`.
    run(Command::new(&script).arg("ask-script"));
    by_descriptor(&own);
    let deleted = format!("{folder}/deleted");
    fs::copy(&own, &deleted).expect("a copy");
    run(Command::new(&deleted).args(["now", "delete-and-ask", &deleted]));
    let exec = move || {
        ask();
        let error = Command::new(copy).args(["now", "ask"]).exec();
        panic!("execve: {error}");
    };
    let thread = thread::Builder::new().spawn(exec).expect("a thread");
    thread.join().expect("never");
}

/// A program in memory, executed by its descriptor.
fn by_descriptor(own: &std::path::Path) {
    // SAFETY: a string that ends; the file is this function's.
    let mut file = unsafe {
        let fd = libc::memfd_create(c"in-memory".as_ptr(), 0);
        fs::File::from_raw_fd(fd)
    };
    let mut from = fs::File::open(own).expect("own file");
    io::copy(&mut from, &mut file).expect("a copy");
    let words = [c"memory", c"now", c"ask"].map(CStr::as_ptr);
    let words = [words[0], words[1], words[2], ptr::null()];
    let nothing = [ptr::null()];
    let pid = child(|| {
        // SAFETY: arrays of strings that end.
        unsafe {
            libc::fexecve(std::os::fd::AsRawFd::as_raw_fd(&file), words.as_ptr(), nothing.as_ptr())
        };
    });
    wait_for(pid);
}

/// Removes the file that it runs.
pub(crate) fn delete_and_ask(path: &str) {
    ask();
    fs::remove_file(path).expect("its own file");
    ask();
    let error = Command::new("/proc/self/exe").args(["now", "ask"]).exec();
    panic!("execve: {error}");
}

/// Children that execute a program by strings of this one, which no child has looked at before.
pub(crate) fn literals(count: u64) {
    for _ in 0..count {
        let pid = child(|| {
            let words = [c"true".as_ptr(), c"one".as_ptr(), c"two".as_ptr(), ptr::null()];
            let environment = [c"A=b".as_ptr(), c"C=d".as_ptr(), ptr::null()];
            // SAFETY: arrays of strings that end.
            unsafe { libc::execve(c"/bin/true".as_ptr(), words.as_ptr(), environment.as_ptr()) };
        });
        wait_for(pid);
    }
}

/// Executes this program, with arguments of these lengths.
pub(crate) fn arguments(lengths: &[&str]) {
    let own = env::current_exe().expect("own path");
    let make = |length: &&str| {
        let length: usize = length.parse().expect("a number");
        CString::new(vec![b'x'; length]).expect("no zero")
    };
    let texts = lengths.iter().map(make);
    let texts = texts.map(|text| std::ffi::OsStr::from_bytes(text.as_bytes()).to_owned());
    let error = Command::new(own).args(["now", "ask"]).args(texts).exec();
    panic!("execve: {error}");
}
