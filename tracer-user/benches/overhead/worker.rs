//! The process whose calls are measured: pinned to a processor of its own, one command at a time.

use std::{
    io::{self, BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// What the worker can be asked to do, over and over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// A call that does nothing.
    Getppid,
    /// `openat` of a path that does not exist, from a warm page.
    OpenMissing,
}

impl Call {
    pub(crate) const ALL: [Self; 2] = [Self::Getppid, Self::OpenMissing];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Getppid => "getppid",
            Self::OpenMissing => "openat",
        }
    }
}

/// The worker as seen from the bench.
pub(crate) struct Worker {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    pub(crate) fn start(cpu: usize) -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--worker", &cpu.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (commands, answers) = pipes.ok_or_else(|| io::Error::other("no pipes"))?;
        Ok(Self { child, commands, answers: BufReader::new(answers) })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Processor time of one call, in nanoseconds, over `count` calls.
    pub(crate) fn measure(&mut self, call: Call, count: u64) -> io::Result<f64> {
        writeln!(self.commands, "{} {count}", call.name())?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        line.trim().parse().map_err(io::Error::other)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Our own child; at worst it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The worker's own side: answers commands until its input ends.
pub(crate) fn run(cpu: usize) -> io::Result<()> {
    pin(cpu)?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let (name, count) = line.split_once(' ').unwrap_or((&line, "0"));
        let count: u64 = count.parse().map_err(io::Error::other)?;
        let call = Call::ALL.into_iter().find(|call| call.name() == name);
        let nanos = work(call.ok_or_else(|| io::Error::other("unknown call"))?, count);
        writeln!(io::stdout(), "{nanos}")?;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds of seconds fit 52 bits")]
fn work(call: Call, count: u64) -> f64 {
    let before = cpu_nanos();
    for _ in 0..count {
        match call {
            // SAFETY: has no preconditions.
            Call::Getppid => unsafe { libc::syscall(libc::SYS_getppid) },
            Call::OpenMissing => {
                let path = c"/no/such/file/or/folder".as_ptr();
                // SAFETY: `path` is a valid string.
                unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, libc::O_RDONLY, 0) }
            }
        };
    }
    (cpu_nanos() - before) as f64 / count as f64
}

fn cpu_nanos() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

/// Keeps this thread, and those it starts later, on one processor.
pub(crate) fn pin(cpu: usize) -> io::Result<()> {
    // SAFETY: a set of zeroes is an empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `cpu` is far below the set's size.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: `set` is valid for its size.
    let failed = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
