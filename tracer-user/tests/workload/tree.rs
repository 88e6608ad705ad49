//! A family of known shape. Each process names its thread after its place, and makes calls whose
//! number tells it too.

use std::{ffi::CString, io, os::unix::process::CommandExt, process::Command, ptr, thread};

use crate::{calls, child};

/// Becomes the process with this name: `count` calls.
fn become_one(name: &str, count: u64) {
    let name = CString::new(name).expect("no zero");
    // SAFETY: a string that ends.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
    calls(count);
}

/// The program that some of the family execute.
pub(crate) fn leaf(name: &str, count: u64) {
    become_one(name, count);
}

/// This program, as another one of the family.
fn as_leaf(name: &str, count: u64) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.args(["now", "leaf", name, &count.to_string()]);
    command
}

fn exec_leaf(name: &str, count: u64) -> ! {
    let error = as_leaf(name, count).exec();
    panic!("execve: {error}");
}

/// Makes a child with `clone3`, which has no wrapper.
fn clone3(work: impl FnOnce()) {
    let mut args = [0u64; 11];
    // `exit_signal`, clone(2).
    args[4] = libc::SIGCHLD.unsigned_abs().into();
    // SAFETY: the arguments are as long as said; the child goes on as after fork.
    match unsafe { libc::syscall(libc::SYS_clone3, args.as_ptr(), size_of_val(&args)) } {
        0 => {
            work();
            // SAFETY: ends the child without its parent's destructors.
            unsafe { libc::_exit(0) }
        }
        -1 => panic!("clone3: {}", io::Error::last_os_error()),
        _ => {}
    }
}

/// A thread with the name of the one that starts it.
fn start(work: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    thread::Builder::new().spawn(work).expect("a thread")
}

fn end(code: i32) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(code) }
}

/// The first of the family, which inherits its orphans.
pub(crate) fn tree() {
    // SAFETY: numbers only.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
    become_one("root", 1);
    child(|| {
        become_one("a", 2);
        child(|| {
            become_one("b", 3);
            child(|| exec_leaf("c", 4));
            wait_for_all();
            end(3);
        });
        wait_for_all();
    });
    let mut vforked = as_leaf("v", 5).spawn().expect("a child");
    clone3(|| become_one("k", 6));
    child(|| {
        become_one("t", 1);
        let threads: Vec<_> = (0..3).map(|_| start(|| calls(2))).collect();
        for thread in threads {
            thread.join().expect("it ends");
        }
    });
    child(|| {
        become_one("x", 1);
        start(|| exec_leaf("x2", 7)).join().expect("never");
    });
    child(|| {
        become_one("m", 8);
        child(|| {
            become_one("d", 9);
            // Its parent ends before; then it is the root's.
            while parent() != first_of_family() {
                thread::yield_now();
            }
        });
        end(0);
    });
    child(|| {
        become_one("s", 10);
        // SAFETY: itself.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    });
    let zombie = child(|| {
        become_one("z", 11);
        end(42);
    });
    wait_until_zombie(zombie);
    vforked.wait().expect("it ends");
    wait_for_all();
}

/// From `/proc`, for the number of calls of `getppid` is the test's.
fn parent() -> i32 {
    status("self", "PPid:")
}

fn first_of_family() -> i32 {
    status("self", "NSpgid:")
}

fn status(process: &str, field: &str) -> i32 {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).expect("a status");
    let line = text.lines().find_map(|line| line.strip_prefix(field)).expect("the field");
    line.trim().parse().expect("a number")
}

fn wait_until_zombie(pid: i32) {
    let is_zombie = || {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it is there");
        text.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z"))
    };
    while !is_zombie() {
        thread::yield_now();
    }
}

fn wait_for_all() {
    // SAFETY: no status is wanted.
    while unsafe { libc::wait4(-1, ptr::null_mut(), 0, ptr::null_mut()) } > 0 {}
}
