//! Programs and users that take the names of others.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
    thread,
};

use super::{Case, Situation, done, run_program};

/// A user and a group that nobody has.
const OTHER: u32 = 61_777;

fn given(case: &Case, command: &mut Command) -> Result<(), String> {
    let index = case.index.to_string();
    command.args(["now", "truth-given", &case.name, &index]).stdin(Stdio::null());
    run_program(case, command)
}

fn own() -> std::path::PathBuf {
    std::env::current_exe().expect("own path")
}

/// Whether this system's program of that name takes these options: those of small systems do not.
fn takes(program: &str, words: &[&str]) -> Result<(), String> {
    let status = Command::new(program).args(words).stdin(Stdio::null()).status();
    match status.map_err(|error| format!("{program}: {error}"))? {
        status if status.success() => Ok(()),
        status => Err(format!("{program} with {words:?}: {status}")),
    }
}

/// By the raw call: the library's has all threads make it.
fn set(number: i64, ids: [u32; 3]) {
    // SAFETY: numbers only.
    done("set", unsafe { libc::syscall(number, ids[0], ids[1], ids[2]) });
}

fn set_name(name: &std::ffi::CStr) {
    // SAFETY: a string.
    done("PR_SET_NAME", unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) });
}

pub(super) const CASES: &[(&str, Situation)] = &[
    ("effective user dropped and taken back", |case| {
        let (fd, keep) = (case.file("a"), u32::MAX);
        for uid in [0, OTHER, 0, OTHER, 0] {
            set(libc::SYS_setresuid, [keep, uid, keep]);
            case.used(fd);
        }
        Ok(())
    }),
    ("effective group", |case| {
        let (fd, keep) = (case.file("a"), u32::MAX);
        for gid in [OTHER, 0, OTHER + 1] {
            set(libc::SYS_setresgid, [keep, gid, keep]);
            case.used(fd);
        }
        Ok(())
    }),
    ("real and saved user only", |case| {
        let (fd, keep) = (case.file("a"), u32::MAX);
        set(libc::SYS_setresuid, [OTHER, keep, OTHER]);
        case.used(fd);
        Ok(())
    }),
    ("user of files only", |case| {
        let fd = case.file("a");
        // SAFETY: a number.
        unsafe { libc::syscall(libc::SYS_setfsuid, OTHER) };
        case.used(fd);
        Ok(())
    }),
    ("user of one thread only", |case| {
        let fd = case.file("a");
        thread::scope(|scope| {
            let work = || {
                set(libc::SYS_setresuid, [u32::MAX, OTHER, u32::MAX]);
                case.used(fd);
            };
            thread::Builder::new().spawn_scoped(scope, work).expect("a thread");
        });
        case.used(fd);
        Ok(())
    }),
    ("thread that renames itself", |case| {
        let fd = case.file("a");
        for name in [c"sshd", c"", c"fifteen-letters", c"odd\n\x1b[1m", c"(sd-pam)"] {
            set_name(name);
            case.used(fd);
        }
        Ok(())
    }),
    ("program with the name of another", |case| {
        fs::copy(own(), "sshd").expect("a copy");
        given(case, &mut Command::new("./sshd"))
    }),
    ("program that calls itself another", |case| given(case, Command::new(own()).arg0("/bin/su"))),
    ("program by a link", |case| {
        std::os::unix::fs::symlink(own(), "bash").expect("a link");
        given(case, &mut Command::new("./bash"))
    }),
    ("program by a second link of its file", |case| {
        fs::copy(own(), "one").expect("a copy");
        fs::hard_link("one", "two").expect("a link");
        given(case, &mut Command::new("./two"))
    }),
    ("program by a link in the file system of processes", |case| {
        given(case, &mut Command::new("/proc/self/exe"))
    }),
    ("wrapper setpriv", |case| {
        takes("setpriv", &["--euid", "61777", "--", "true"])?;
        let own = own();
        given(case, Command::new("setpriv").args(["--euid", "61777", "--"]).arg(own))
    }),
    ("wrapper chroot to the same root", |case| {
        let own = own();
        given(case, Command::new("chroot").arg("/").arg(own))
    }),
    ("wrapper su", |case| {
        takes("su", &["-m", "-s", "/bin/sh", "-c", "true", "root"])?;
        let words = r#"exec "$OWN" now truth-given "$NAME" "$INDEX""#;
        let mut command = Command::new("su");
        command.args(["-m", "-s", "/bin/sh", "-c", words, "root"]).stdin(Stdio::null());
        run_program(case, &mut command)
    }),
];
