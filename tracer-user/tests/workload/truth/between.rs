//! Descriptors and folders that change while a call runs: after its entry and before the kernel has
//! looked, and after it has. The call waits for memory that another thread gives it: for its path,
//! before the kernel looks where that starts, and for the room for the result, after that.

use std::{env, io::Write as _, process, thread};

use super::{Case, close, done, open};
use crate::more::Faults;

const NUMBER: i32 = 600;

/// What a path starts from.
#[derive(Clone, Copy)]
enum From {
    /// A folder's descriptor.
    Number,
    /// The current folder, by `AT_FDCWD`.
    Place,
    /// The current folder, which the call does not name.
    Nothing,
}

/// Changes what the paths of calls start from, and prints of each call its number, the descriptor,
/// what the kernel has used, and whether anything has changed.
pub(crate) fn between(folder: &str) {
    let case = Case { name: "between".to_owned(), folder: folder.to_owned(), index: 3 };
    let folders = ["one", "two"].map(|name| {
        let path = case.make_folder(name);
        std::os::unix::fs::symlink(&path, format!("{path}/link")).expect("a link");
        path
    });
    let [one, two] = folders.each_ref().map(|path| open(path, libc::O_RDONLY));
    let put = |fd: i32| {
        // SAFETY: the number is this program's.
        done("dup2", unsafe { libc::dup2(fd, NUMBER) });
    };
    let enter = |number: usize| env::set_current_dir(&folders[number]).expect("a folder");
    let nothing = || {};
    let take = || close(NUMBER);

    case.asked(From::Number, true, || put(one), nothing);
    case.asked(From::Number, true, || put(two), nothing);
    case.asked(From::Number, false, nothing, nothing);
    case.asked(From::Number, true, nothing, take);
    case.asked(From::Number, true, || put(one), take);
    put(one);
    case.asked(From::Number, true, take_and(&|| put(two)), take);
    for from in [From::Place, From::Nothing] {
        enter(0);
        case.asked(from, false, nothing, nothing);
        case.asked(from, true, || enter(1), nothing);
        case.asked(from, true, nothing, || enter(0));
    }
}

/// Closes the number first.
fn take_and(next: &(impl Fn() + Sync)) -> impl FnOnce() + Send {
    move || {
        close(NUMBER);
        next();
    }
}

impl Case {
    /// Asks about a link; another thread does this before the kernel looks where the path starts, and
    /// that after it has.
    fn asked(
        &self,
        from: From,
        changes: bool,
        before: impl FnOnce() + Send,
        after: impl FnOnce() + Send,
    ) {
        let faults = Faults::new();
        let (path, room) = (faults.page(), faults.page());
        let give = || {
            faults.wait();
            before();
            faults.give(path, b"link");
            faults.wait();
            after();
            faults.give(room, b"");
        };
        let (number, len) = (self.number(), 1024);
        let fd = if matches!(from, From::Number) { NUMBER } else { libc::AT_FDCWD };
        let read = thread::scope(|scope| {
            thread::Builder::new().spawn_scoped(scope, give).expect("a thread");
            // SAFETY: pages for a path and for what is read; the calls have four arguments and two.
            let read = unsafe {
                match from {
                    From::Nothing => libc::syscall(libc::SYS_statfs, path, room, number),
                    _ => libc::syscall(libc::SYS_readlinkat, fd, path, room, len, number),
                }
            };
            // The other thread would wait for ever.
            usize::try_from(read).unwrap_or_else(|_| process::exit(2))
        });
        // SAFETY: so many bytes have been written there.
        let held = unsafe { std::slice::from_raw_parts(room as *const u8, read) };
        let held = match from {
            From::Nothing => env::current_dir().expect("a folder").display().to_string(),
            _ => String::from_utf8_lossy(held).into_owned(),
        };
        let line = format!("{number:x}\t{fd}\t{held}\t{changes}\n");
        std::io::stdout().write_all(line.as_bytes()).expect("somebody reads");
    }
}
