//! Two races: on what a number leads to, and on a file's name.

use std::{
    fs, io,
    io::Write as _,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

use super::{Case, open};

const FILES: usize = 4;
const NUMBER: i32 = 500;

/// Two threads change what one number leads to, and this one reads from it until `count` reads have
/// found a file, or 50 times as many none: the others can lose the processor just while the number is
/// closed. Each file holds its own name: what is read is what the kernel used. Prints it for each
/// call.
pub(crate) fn number_race(folder: &str, count: u64) {
    let case = Case { name: "number-race".to_owned(), folder: folder.to_owned(), index: 1 };
    let paths: Vec<String> = (0..FILES).map(|file| case.path(&format!("race{file}"))).collect();
    for path in &paths {
        fs::write(path, path).expect("a file");
    }
    let stop = AtomicBool::new(false);
    let change = || {
        while !stop.load(Relaxed) {
            for path in &paths {
                let fd = open(path, libc::O_RDONLY);
                // SAFETY: only these threads use the number.
                unsafe {
                    libc::dup2(fd, NUMBER);
                    libc::close(fd);
                }
            }
            // SAFETY: as above; the other thread may have been first.
            unsafe { libc::close(NUMBER) };
        }
    };
    let mut lines = Vec::new();
    thread::scope(|scope| {
        for _ in 0..2 {
            thread::Builder::new().spawn_scoped(scope, change).expect("a thread");
        }
        let (mut found, mut refused) = (0, 0);
        while found < count && refused < 50 * count {
            let mut bytes = [0_u8; 512];
            let number = case.number();
            let (room, len) = (bytes.as_mut_ptr(), bytes.len());
            // SAFETY: room for what is read; the call has four arguments.
            let read = unsafe { libc::syscall(libc::SYS_pread64, NUMBER, room, len, 0, number) };
            let held = usize::try_from(read).map_or(&[][..], |len| &bytes[..len]);
            *(if read < 0 { &mut refused } else { &mut found }) += 1;
            writeln!(lines, "{number:x}\t{}", String::from_utf8_lossy(held)).expect("memory");
        }
        stop.store(true, Relaxed);
    });
    io::stdout().write_all(&lines).expect("somebody reads");
}

/// A thread moves a folder back and forth between two others, under names of which one is much
/// longer, while this one makes `count` calls on a file in it. Prints the numbers of the calls.
pub(crate) fn rename_race(folder: &str, count: u64) {
    let case = Case { name: "rename-race".to_owned(), folder: folder.to_owned(), index: 2 };
    let (one, two) = (case.make_folder("one"), case.make_folder("two"));
    let (short, long) = (format!("{one}/{}", "a".repeat(7)), format!("{two}/{}", "b".repeat(200)));
    fs::create_dir(&short).expect("a folder");
    let fd = open(&format!("{short}/file"), libc::O_RDWR | libc::O_CREAT);
    let stop = AtomicBool::new(false);
    let rename = || {
        while !stop.load(Relaxed) {
            fs::rename(&short, &long).expect("renamed");
            fs::rename(&long, &short).expect("renamed");
        }
    };
    let mut lines = Vec::new();
    thread::scope(|scope| {
        thread::Builder::new().spawn_scoped(scope, rename).expect("a thread");
        for _ in 0..count {
            let number = case.number();
            // SAFETY: no pointers; the kernel does not read the third argument of this command.
            unsafe { libc::syscall(libc::SYS_fcntl, fd, libc::F_GETFD, number) };
            writeln!(lines, "{number:x}").expect("memory");
        }
        stop.store(true, Relaxed);
    });
    io::stdout().write_all(&lines).expect("somebody reads");
}
