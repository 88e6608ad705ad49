//! The worker's own side: does what it is told until its input ends.

use std::{
    ffi::{CStr, CString},
    io::{self, BufRead as _, Write as _},
    os::{
        fd::{AsRawFd as _, RawFd},
        unix::ffi::OsStrExt as _,
    },
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::resource::{UsageWho, getrusage};

use crate::{
    process,
    worker::{Took, Work},
};

/// Answers orders, the first answer is the process's id.
pub(crate) fn run(cpu: Option<usize>) -> Result<()> {
    if let Some(cpu) = cpu {
        process::pin(cpu)?;
    }
    let hands = Hands::new()?;
    answer(&std::process::id().to_string())?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let (name, rest) = line.split_once(' ').context("an order without arguments")?;
        let took = if name == "run" { script(rest) } else { hands.work(name, rest.parse()?) };
        match took {
            Ok(Took { cpu, wall }) => answer(&format!("{cpu} {wall}"))?,
            Err(error) => answer(&format!("{error:#}"))?,
        }
    }
    Ok(())
}

fn answer(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// What the worker works with.
struct Hands {
    file: CString,
    folder: tempfile::TempDir,
}

impl Hands {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir().context("a folder for the worker")?;
        let path = folder.path().join("small");
        std::fs::write(&path, [b'x'; 64]).context("the small file")?;
        let file = CString::new(path.as_os_str().as_bytes()).context("the small file's name")?;
        Ok(Self { file, folder })
    }

    /// A program that ends at once, built when it is not there.
    fn short_program(&self) -> Result<CString> {
        let (source, program) =
            (self.folder.path().join("short.S"), self.folder.path().join("short"));
        if !program.exists() {
            std::fs::write(&source, include_str!("short_life.S")).context("its source")?;
            let mut cc = Command::new("cc");
            cc.args(["-nostdlib", "-static", "-o"]).arg(&program).arg(&source);
            let status = cc.status().context("cc, to build a program that ends at once")?;
            ensure!(status.success(), "cc could not build a program that ends at once");
        }
        CString::new(program.as_os_str().as_bytes()).context("its name")
    }

    fn work(&self, name: &str, turns: u64) -> Result<Took> {
        let work = Work::ALL.into_iter().find(|work| work.name() == name);
        let work = work.with_context(|| format!("unknown work {name}"))?;
        // Started each time, so that a tracer which follows children traces it too.
        let echo = (work == Work::PingPong).then(Echo::start).transpose()?;
        let short = (work == Work::ShortLife).then(|| self.short_program()).transpose()?;
        // It is there when it has answered.
        echo.as_ref().map_or(Ok(()), Echo::turn)?;
        let (cpu, wall) = (used()?, Instant::now());
        match work {
            Work::Getppid => repeat(turns, getppid),
            Work::OpenMissing => repeat(turns, open_missing),
            Work::File => repeat(turns, || read_file(&self.file)),
            Work::PingPong => {
                let echo = echo.as_ref().context("no process to play with")?;
                (0..turns).try_for_each(|_| echo.turn())?;
            }
            Work::Life => (0..turns).try_for_each(|_| live(c"/bin/true"))?,
            Work::ShortLife => {
                let program = short.as_ref().context("no program that ends at once")?;
                (0..turns).try_for_each(|_| live(program))?;
            }
            Work::TwoThreads => threads(2, turns)?,
            Work::EightThreads => threads(8, turns)?,
        }
        let wall = wall.elapsed();
        let cpu = used()?.saturating_sub(cpu);
        Ok(Took { cpu: nanos(cpu), wall: nanos(wall) })
    }
}

/// Processor time of this process, and of its children that have ended.
fn used() -> Result<Duration> {
    Ok(process::read_clock(libc::CLOCK_PROCESS_CPUTIME_ID)? + children()?)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn repeat(turns: u64, once: impl Fn()) {
    for _ in 0..turns {
        once();
    }
}

fn getppid() {
    // SAFETY: has no preconditions.
    unsafe { libc::syscall(libc::SYS_getppid) };
}

fn open_missing() {
    let path = c"/no/such/file/or/folder".as_ptr();
    // SAFETY: `path` is a valid string.
    unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, libc::O_RDONLY, 0) };
}

fn read_file(path: &CStr) {
    let mut data = [0u8; 128];
    // SAFETY: `path` is a valid string.
    let fd = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY) };
    // SAFETY: `data` is valid for its length.
    unsafe { libc::read(fd, data.as_mut_ptr().cast(), data.len()) };
    // SAFETY: nobody else has this descriptor.
    unsafe { libc::close(fd) };
}

/// A whole life: fork, exec, exit, wait.
fn live(program: &CStr) -> Result<()> {
    let path = program.as_ptr();
    let (args, environment) = ([path, std::ptr::null()], [std::ptr::null()]);
    // SAFETY: the child calls nothing but `execve` and `_exit`.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: both arrays end with a null pointer, and what they point to is valid.
        unsafe { libc::execve(path, args.as_ptr(), environment.as_ptr()) };
        // SAFETY: has no preconditions.
        unsafe { libc::_exit(127) }
    }
    let mut status = 0;
    // SAFETY: `status` is valid.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    if pid < 0 || waited != pid {
        return Err(io::Error::last_os_error()).context("a process that lives for a moment");
    }
    ensure!(status == 0, "{} ended with status {status}", program.to_string_lossy());
    Ok(())
}

/// `getppid` so often in all, by so many threads.
fn threads(count: u64, turns: u64) -> Result<()> {
    thread::scope(|scope| {
        let start = |n| {
            let share = turns / count + u64::from(n < turns % count);
            thread::Builder::new().spawn_scoped(scope, move || repeat(share, getppid))
        };
        let running = (0..count).map(start).collect::<io::Result<Vec<_>>>()?;
        let ended = running.into_iter().try_for_each(|thread| thread.join().map_err(|_| ()));
        ensure!(ended.is_ok(), "a thread has panicked");
        Ok(())
    })
}

/// A process that sends back what it gets.
struct Echo {
    child: Child,
    to: ChildStdin,
    from: ChildStdout,
}

impl Echo {
    fn start() -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("echo")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("the process to play with")?;
        let (to, from) = child.stdin.take().zip(child.stdout.take()).context("no pipes")?;
        Ok(Self { child, to, from })
    }

    fn turn(&self) -> io::Result<()> {
        write_byte(self.to.as_raw_fd())?;
        read_byte(self.from.as_raw_fd()).map(drop)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // Our own child; at worst it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Sends back what comes in, a byte at a time.
pub(crate) fn echo() -> Result<()> {
    let (from, to) = (io::stdin(), io::stdout());
    while read_byte(from.as_raw_fd())? {
        write_byte(to.as_raw_fd())?;
    }
    Ok(())
}

fn write_byte(fd: RawFd) -> io::Result<()> {
    let byte = 0u8;
    // SAFETY: `byte` is valid.
    let written = unsafe { libc::write(fd, std::ptr::from_ref(&byte).cast(), 1) };
    if written == 1 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether there was one.
fn read_byte(fd: RawFd) -> io::Result<bool> {
    let mut byte = 0u8;
    // SAFETY: `byte` is valid.
    match unsafe { libc::read(fd, (&raw mut byte).cast(), 1) } {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Runs a script; processor time is that of its processes.
fn script(script: &str) -> Result<Took> {
    let before = children()?;
    let wall = Instant::now();
    let mut shell = Command::new("/bin/sh");
    shell.args(["-ec", script]).stdin(Stdio::null()).stdout(Stdio::null());
    let output = shell.stderr(Stdio::piped()).output().context("sh")?;
    let wall = wall.elapsed();
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).replace('\n', " ");
        bail!("{}: {said}", output.status);
    }
    Ok(Took { cpu: nanos(children()?.saturating_sub(before)), wall: nanos(wall) })
}

/// Processor time of children that have ended.
fn children() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let time = |value: nix::sys::time::TimeVal| {
        let micros = value.tv_sec() * 1_000_000 + value.tv_usec();
        Duration::from_micros(micros.unsigned_abs())
    };
    Ok(time(usage.user_time()) + time(usage.system_time()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_work_is_done() {
        let hands = Hands::new().unwrap();
        // The process to play with is this program, which a test is not.
        for work in Work::ALL.into_iter().filter(|work| *work != Work::PingPong) {
            let took = hands.work(work.name(), 100).unwrap();
            assert!(took.wall > 0, "{work:?}");
        }
        assert!(hands.work("nothing", 1).is_err());
    }

    #[test]
    fn scripts_are_measured_with_their_processes() {
        let took = script("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done").unwrap();
        assert!(took.cpu > 0 && took.wall > 0);
        let error = script("echo no >&2; exit 4").unwrap_err().to_string();
        assert_eq!(error, "exit status: 4: no ");
    }
}
