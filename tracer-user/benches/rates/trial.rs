//! One run of `tracer trace` beside a process that makes calls at a given rate.

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::{Outcome, sink::Sink};

/// The share of the wanted calls that a rate counts as reached with.
const REACHED: f64 = 0.99;

/// What came of it.
pub(crate) struct Trial {
    /// Calls that the process has made.
    pub(crate) calls: u64,
    /// Calls wanted of it.
    wanted: f64,
    /// Calls that did not arrive.
    pub(crate) lost: u64,
    /// Where, as the books say.
    pub(crate) losses: Vec<(String, u64)>,
    /// Whether tracer says so too.
    pub(crate) balanced: bool,
    /// Processor time of tracer.
    pub(crate) cpu: Duration,
    /// The most memory that it had, in bytes.
    pub(crate) memory: u64,
}

impl Trial {
    /// Whether all calls were made in time, and all arrived.
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 52 bits")]
    pub(crate) fn is_held(&self) -> bool {
        self.lost == 0 && self.balanced && self.calls as f64 >= self.wanted * REACHED
    }
}

/// Ends with its value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Our own child; mostly it has ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Traces `rate` calls a second for so many seconds, to the destination of this name.
pub(crate) fn run(
    destination: &str,
    rate: f64,
    seconds: f64,
    folder: &Path,
    sink: &Sink,
) -> Outcome<Trial> {
    let (recording, books) = (folder.join("recording"), folder.join("ledger.json"));
    let export = match destination {
        "parquet" => format!("parquet={}", recording.display()),
        "otlp" => format!("otlp={}", sink.url()),
        other => other.to_owned(),
    };
    let mut worker = Running(
        Command::new(std::env::current_exe()?)
            .args(["--worker", &rate.to_string(), &seconds.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?,
    );
    let pid = worker.0.id().to_string();
    let mut tracer = Running(
        Command::new(env!("CARGO_BIN_EXE_tracer"))
            .args(["trace", "-v", "-p", &pid, "--export", &export, "--ledger"])
            .arg(&books)
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
            .stderr(Stdio::piped())
            .spawn()?,
    );
    let mut said = BufReader::new(tracer.0.stderr.take().ok_or("no pipe")?);
    let mut line = String::new();
    while !line.contains("attached") {
        line.clear();
        if said.read_line(&mut line)? == 0 {
            return Err("tracer has ended before it was attached".into());
        }
    }
    let counted = sink.spans();
    worker.0.stdin.take().ok_or("no pipe")?.write_all(b"\n")?;
    let mut made = String::new();
    worker.0.stdout.take().ok_or("no pipe")?.read_to_string(&mut made)?;
    let calls: u64 = made.trim().parse()?;
    let (cpu, memory) = wait(&tracer.0)?;
    let mut rest = String::new();
    said.read_to_string(&mut rest)?;
    // Absent where nothing was written.
    drop(std::fs::remove_dir_all(&recording));
    let books: Value = serde_json::from_slice(&std::fs::read(&books)?)?;
    let account = &books["destinations"][destination];
    let delivered = account["delivered"].as_u64().ok_or("no account")?;
    if destination == "otlp" && sink.spans() - counted != delivered {
        return Err(format!("the sink has {} of {delivered}", sink.spans() - counted).into());
    }
    let losses = losses(&books, account);
    let told = losses.iter().map(|(_, count)| count).sum();
    Ok(Trial {
        calls,
        wanted: rate * seconds,
        // A few calls more were made, to sleep and to end: of them none may be missing either.
        lost: calls.saturating_sub(delivered).max(told),
        losses,
        balanced: books["balanced"] == true,
        cpu,
        memory,
    })
}

/// What the books say was lost, and where.
fn losses(books: &Value, account: &Value) -> Vec<(String, u64)> {
    const IN_KERNEL: [&str; 3] = ["reserve_failed", "store_failed", "recursion_misses"];
    let kernel = IN_KERNEL.iter().map(|name| ((*name).to_owned(), &books["kernel"][*name]));
    let dropped = account["dropped"].as_object().into_iter().flatten();
    kernel
        .chain(dropped.map(|(name, count)| (name.clone(), count)))
        .map(|(name, count)| (name, count.as_u64().unwrap_or_default()))
        .filter(|(_, count)| *count > 0)
        .collect()
}

/// Waits for its end; the processor time that it has taken, and the most memory that it had.
fn wait(child: &Child) -> Outcome<(Duration, u64)> {
    // SAFETY: all of it may be zero.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let (pid, mut status) = (i32::try_from(child.id())?, 0);
    // SAFETY: our own child, which nobody waits for; all pointers are valid.
    if unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) } != pid {
        return Err(std::io::Error::last_os_error().into());
    }
    if status != 0 {
        return Err(format!("tracer has ended with status {status:#x}").into());
    }
    let time = |time: libc::timeval| -> Outcome<Duration> {
        let micros = Duration::from_micros(u64::try_from(time.tv_usec)?);
        Ok(Duration::from_secs(u64::try_from(time.tv_sec)?) + micros)
    };
    let cpu = time(usage.ru_utime)? + time(usage.ru_stime)?;
    Ok((cpu, u64::try_from(usage.ru_maxrss)? << 10))
}
