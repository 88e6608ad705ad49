//! Threads and processes that only are there.

use std::{
    io::{self, Read as _, Write as _},
    sync::{Arc, Barrier},
    thread,
};

use anyhow::{Context as _, Result};

/// What a thread that only is there needs of a stack.
const SMALL_STACK: usize = 16 << 10;

/// So many threads. Says when they are there; at the next line of input each makes a call and waits,
/// and it says when all have. They end with our input.
pub(crate) fn threads(count: usize) -> Result<()> {
    let start = Arc::new(Barrier::new(count + 1));
    let done = Arc::new(Barrier::new(count + 1));
    for _ in 0..count {
        let (start, done) = (Arc::clone(&start), Arc::clone(&done));
        let idle = move || {
            start.wait();
            // SAFETY: has no preconditions.
            unsafe { libc::syscall(libc::SYS_getppid) };
            done.wait();
            loop {
                thread::park();
            }
        };
        let thread = thread::Builder::new().stack_size(SMALL_STACK).spawn(idle);
        thread.context("the system gives no more threads")?;
    }
    say("there")?;
    io::stdin().read_exact(&mut [0]).context("waiting to go on")?;
    start.wait();
    done.wait();
    say("done")?;
    io::stdin().read_to_end(&mut Vec::new())?;
    // Waits for no thread.
    std::process::exit(0)
}

fn say(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// So many processes that wait for the end of our input. Answers with their ids; with `wait` it says
/// before that it is there, and starts them at the next line of input.
pub(crate) fn processes(count: usize, wait: bool) -> Result<()> {
    if wait {
        say("there")?;
        io::stdin().read_exact(&mut [0]).context("waiting to go on")?;
    }
    let mut pids = Vec::with_capacity(count);
    for _ in 0..count {
        // SAFETY: this process has one thread, and the child only waits for a signal.
        match unsafe { libc::fork() } {
            0 => wait_for_ever(),
            -1 => {
                let error = io::Error::last_os_error();
                end(&pids);
                return Err(error).context("the system gives no more processes");
            }
            pid => pids.push(pid),
        }
    }
    let ids: Vec<String> = pids.iter().map(ToString::to_string).collect();
    say(&ids.join(","))?;
    io::stdin().read_to_end(&mut Vec::new())?;
    end(&pids);
    Ok(())
}

fn wait_for_ever() -> ! {
    // SAFETY: takes numbers only. It ends with us, however we end.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    loop {
        // SAFETY: has no preconditions.
        unsafe { libc::pause() };
    }
}

fn end(pids: &[libc::pid_t]) {
    for pid in pids {
        // SAFETY: takes numbers only; they are children of ours that nobody has waited for.
        unsafe { libc::kill(*pid, libc::SIGKILL) };
    }
    for pid in pids {
        // SAFETY: a null pointer means that the status is not wanted.
        unsafe { libc::waitpid(*pid, std::ptr::null_mut(), 0) };
    }
}
