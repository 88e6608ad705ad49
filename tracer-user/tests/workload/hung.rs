//! Programs on and beside a file system that ceases to answer, see [`crate::fuse`]. What they do in
//! steps is told by lines on standard input, and each step that is done by a line on standard output.

use std::{
    env,
    ffi::CString,
    fs::File,
    io::{self, BufRead, Write},
    os::fd::IntoRawFd,
    ptr, thread,
    time::Duration,
};

use crate::{
    child,
    primitives::{blocked_thread, call},
};

const PAGE: usize = 4096;
const HERE: usize = libc::AT_FDCWD as usize;

fn wait_for_line() {
    io::stdin().lock().read_line(&mut String::new()).expect("a line");
}

fn say(line: &str) {
    println!("{line}");
    io::stdout().flush().expect("somebody listens");
}

/// The folder of this program is on the mount from now on.
fn enter(folder: &str) {
    env::set_current_dir(folder).expect("the mount");
    // The daemon says once that it does not want to hear of this, so that closing needs no answer.
    drop(File::open("data").expect("its file"));
}

/// Opens the file on the mount.
fn open() -> usize {
    let file = File::open("data").expect("its file");
    usize::try_from(file.into_raw_fd()).expect("a descriptor")
}

/// A page of the file that nobody has read, as memory.
fn unread_page(fd: usize, number: usize, at: *mut libc::c_void) -> *mut libc::c_void {
    let fixed = if at.is_null() { 0 } else { libc::MAP_FIXED };
    let offset = libc::off_t::try_from(number << 20).expect("small");
    let (flags, fd) = (libc::MAP_PRIVATE | fixed, i32::try_from(fd).expect("a descriptor"));
    // SAFETY: a new mapping of a file; what it replaces is used no more, by the caller's word.
    let page = unsafe { libc::mmap(at, PAGE, libc::PROT_READ, flags, fd, offset) };
    assert_ne!(page, libc::MAP_FAILED, "{}", io::Error::last_os_error());
    page
}

/// Threads that are blocked, each in another call that the daemon would have to answer. A first
/// line lets some of them begin, the second others, the third ends it all.
pub(crate) fn callers(folder: &str) {
    enter(folder);
    let (nothing, program) = (CString::new("nothing"), CString::new("./program"));
    let (nothing, program) = (nothing.expect("no zero byte"), program.expect("no zero byte"));
    let (nothing, program) = (nothing.as_ptr() as usize, program.as_ptr() as usize);
    let mut pipe = [0; 2];
    // SAFETY: room for two.
    assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
    let into = usize::try_from(pipe[1]).expect("a descriptor");
    // A read keeps the place in the file that its descriptor has to itself.
    let rounds = [(open(), 100), (open(), 200)];
    say("ready");
    for (fd, round) in rounds {
        wait_for_line();
        let mut room = vec![0u8; PAGE];
        let memory = [0, 1].map(|it| unread_page(fd, round + it, ptr::null_mut()) as usize);
        blocked_thread(libc::SYS_openat, [HERE, nothing, 0]);
        blocked_thread(libc::SYS_openat, [HERE, memory[0], 0]);
        blocked_thread(libc::SYS_write, [into, memory[1], 8]);
        blocked_thread(libc::SYS_fstat, [fd, room.as_mut_ptr() as usize, 0]);
        call(libc::SYS_lseek, [fd, (round + 2) << 20, 0]);
        blocked_thread(libc::SYS_read, [fd, room.as_mut_ptr() as usize, PAGE]);
        let nobody = [ptr::null::<libc::c_char>()];
        let none = nobody.as_ptr() as usize;
        child(|| {
            call(libc::SYS_execve, [program, none, none]);
        });
        say("blocked");
    }
    wait_for_line();
}

/// Goes on with other files, and with calls that have the file's descriptor and need no answer.
pub(crate) fn beside(folder: &str, other: &str, rounds: u64) {
    enter(folder);
    let fd = open();
    let other = CString::new(other).expect("no zero byte");
    let mut byte = 0u8;
    say("ready");
    wait_for_line();
    for round in 0..rounds {
        let place = usize::try_from(round).expect("small");
        call(libc::SYS_lseek, [fd, place, libc::SEEK_SET as usize]);
        call(libc::SYS_fcntl, [fd, libc::F_GETFD as usize, 0]);
        let again = call(libc::SYS_dup, [fd, 0, 0]);
        call(libc::SYS_close, [usize::try_from(again).expect("a descriptor"), 0, 0]);
        let file = call(libc::SYS_openat, [HERE, other.as_ptr() as usize, 0]);
        let file = usize::try_from(file).expect("a descriptor");
        call(libc::SYS_read, [file, &raw mut byte as usize, 1]);
        call(libc::SYS_close, [file, 0, 0]);
        thread::sleep(Duration::from_millis(1));
    }
    say("done");
    wait_for_line();
}

/// Its command line is memory of the file, which nobody has read.
pub(crate) fn arguments(folder: &str) {
    enter(folder);
    let fd = open();
    let stat = std::fs::read_to_string("/proc/self/stat").expect("proc(5)");
    // Behind the name, which is in parentheses, the fields go on from the third.
    let fields: Vec<&str> = stat.rsplit(") ").next().expect("fields").split(' ').collect();
    let place: usize = fields[48 - 3].parse().expect("an address");
    say("ready");
    // Frames of this thread are below it.
    unread_page(fd, 300, ptr::with_exposed_provenance_mut(place & !(PAGE - 1)));
    let mut byte = 0u8;
    // SAFETY: room for a byte; ends without looking at what was replaced.
    unsafe {
        while libc::syscall(libc::SYS_read, 0, &raw mut byte, 1) > 0 {}
        libc::_exit(0);
    }
}
