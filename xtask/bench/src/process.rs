//! Processes that this one starts: evidence that they are ready, what they use, and their end.

use std::{
    fs,
    io::{self, Read},
    os::unix::process::ExitStatusExt,
    process::{Child, Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// How often something is looked at that cannot be waited for.
const LOOK: Duration = Duration::from_millis(2);
/// How long a program has to say that it is ready.
const READY: Duration = Duration::from_secs(20);
/// How long a program has to end after it was asked to.
const END: Duration = Duration::from_secs(30);

/// A process of ours; killed, if it still runs, when dropped.
#[derive(Debug)]
pub(crate) struct Background {
    child: Child,
    name: String,
    ended: Option<ExitStatus>,
}

impl Background {
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().with_context(|| format!("starting {name}"))?;
        Ok(Self { child, name, ended: None })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) const fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Looks until there is evidence, and fails when the process has ended or it takes too long.
    pub(crate) fn until(&mut self, what: &str, is_so: impl Fn() -> bool) -> Result<()> {
        let deadline = Instant::now() + READY;
        while !is_so() {
            if let Some(status) = self.child.try_wait()? {
                self.ended = Some(status);
                bail!("{} has ended ({status}) before it was {what}", self.name);
            }
            if Instant::now() > deadline {
                bail!("{} was not {what} within {READY:?}", self.name);
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Waits until it has worked off what it has: until its processor time stands nearly still.
    pub(crate) fn until_idle(&self) -> Result<()> {
        const INTERVAL: Duration = Duration::from_millis(60);
        let deadline = Instant::now() + READY;
        let mut before = cpu_time(self.pid())?;
        while Instant::now() < deadline {
            thread::sleep(INTERVAL);
            let now = cpu_time(self.pid())?;
            // A tracer that polls uses some even when there is nothing.
            if now.saturating_sub(before) < INTERVAL / 5 {
                return Ok(());
            }
            before = now;
        }
        bail!("{} has not worked off its events within {READY:?}", self.name)
    }

    /// Whether it has not ended.
    pub(crate) fn is_running(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().unwrap_or_default();
        }
        self.ended.is_none()
    }

    /// Asks it to end with a signal, and waits.
    pub(crate) fn end(&mut self, signal: Signal) -> Result<ExitStatus> {
        if self.ended.is_none() {
            // One that has ended just now is what was wanted.
            kill(id(self.pid()), signal).unwrap_or(());
        }
        self.wait(END)
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self, patience: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.ended {
                return Ok(status);
            }
            self.ended = self.child.try_wait()?;
            if self.ended.is_none() {
                if Instant::now() > deadline {
                    bail!("{} has not ended within {patience:?}", self.name);
                }
                thread::sleep(LOOK);
            }
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if self.ended.is_none() {
            // Our own child; at worst it has ended already.
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// An error that has what the program wrote, unless it succeeded or ended by our signal.
pub(crate) fn succeeded(name: &str, status: ExitStatus, said: &str) -> Result<()> {
    let asked = status.signal().is_some() || matches!(status.code(), Some(0 | 130 | 143));
    if !asked {
        bail!("{name}: {status}: {}", said.trim().lines().last().unwrap_or("no word why"));
    }
    Ok(())
}

/// Whether its first thread waits for events, as a tracer does that has attached everything.
pub(crate) fn is_polling(pid: u32) -> bool {
    read(pid, "wchan").is_ok_and(|place| place.contains("poll"))
}

/// How many of its descriptors are of this kind, as `/proc/PID/fd` names it.
pub(crate) fn descriptors(pid: u32, kind: &str) -> usize {
    let Ok(folder) = fs::read_dir(format!("/proc/{pid}/fd")) else { return 0 };
    let links = folder.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    links.filter(|link| link.to_string_lossy().contains(kind)).count()
}

/// The process that ptraces this one.
pub(crate) fn ptraced_by(pid: u32) -> u32 {
    status(pid, "TracerPid").unwrap_or_default()
}

/// Resident memory, in KiB.
pub(crate) fn resident_kib(pid: u32) -> Result<u64> {
    status(pid, "VmRSS").map(u64::from)
}

fn status(pid: u32, name: &str) -> Result<u32> {
    let text = read(pid, "status")?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let value = line
        .and_then(|line| line.split_whitespace().next())
        .with_context(|| format!("process {pid} has ended: it has no {name}"));
    value?.parse().with_context(|| format!("{name} of process {pid}"))
}

fn read(pid: u32, file: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{file}");
    fs::read_to_string(&path).context(path)
}

/// Processor time that a process and its threads have used.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let mut clock = 0;
    // SAFETY: `clock` is valid.
    let error = unsafe { libc::clock_getcpuclockid(id(pid).as_raw(), &raw mut clock) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error)).context("a process's clock");
    }
    read_clock(clock).with_context(|| format!("the clock of process {pid}"))
}

/// What a clock shows.
pub(crate) fn read_clock(clock: libc::clockid_t) -> io::Result<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default()))
}

/// The id as system calls want it.
pub(crate) fn id(pid: u32) -> Pid {
    Pid::from_raw(pid.cast_signed())
}

/// Keeps this thread, and those it starts later, on one processor.
pub(crate) fn pin(cpu: usize) -> io::Result<()> {
    // SAFETY: a set of zeroes is an empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `cpu` is far below the set's size.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    set_affinity(&set)
}

/// Lets this thread, and those it starts later, run everywhere.
pub(crate) fn unpin() -> io::Result<()> {
    // SAFETY: a set of zeroes is an empty set; the kernel ignores processors that are not there.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for cpu in 0..1024 {
        // SAFETY: the set has 1024 bits.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    set_affinity(&set)
}

fn set_affinity(set: &libc::cpu_set_t) -> io::Result<()> {
    // SAFETY: `set` is valid for its size.
    let failed = unsafe { libc::sched_setaffinity(0, size_of_val(set), std::ptr::from_ref(set)) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reads a file that may hold any bytes, the beginning of it.
pub(crate) fn text(path: &std::path::Path) -> String {
    const MOST: u64 = 1 << 26;
    let mut bytes = Vec::new();
    // What is not there says nothing.
    let read = fs::File::open(path).map(|file| file.take(MOST).read_to_end(&mut bytes));
    drop(read);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_early_is_not_waited_for() {
        let mut gone = Background::start(Command::new("/bin/sh").args(["-c", "exit 3"])).unwrap();
        let error = gone.until("ready", || false).unwrap_err().to_string();
        assert!(error.contains("exit status: 3"), "{error}");
        assert!(succeeded("sh", gone.end(Signal::SIGINT).unwrap(), "a\nb\n").is_err());
    }

    #[test]
    fn a_process_of_ours_can_be_asked_to_end() {
        let mut sleeper = Background::start(Command::new("sleep").arg("600")).unwrap();
        assert!(sleeper.is_running());
        assert!(cpu_time(sleeper.pid()).unwrap() < READY);
        assert!(resident_kib(sleeper.pid()).unwrap() > 0);
        assert_eq!(ptraced_by(sleeper.pid()), 0);
        assert!(descriptors(sleeper.pid(), "perf_event") == 0);
        let status = sleeper.end(Signal::SIGTERM).unwrap();
        assert_eq!(status.signal(), Some(15));
        assert!(!sleeper.is_running());
        succeeded("sleep", status, "").unwrap();
    }

    #[test]
    fn processor_time_goes_on() {
        let me = std::process::id();
        let before = cpu_time(me).unwrap();
        while cpu_time(me).unwrap() == before {
            std::hint::spin_loop();
        }
        pin(0).unwrap();
        unpin().unwrap();
    }
}
