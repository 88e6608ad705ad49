//! Tracing a workload from a test, by the library or by the command.

use std::{
    cell::RefCell,
    fs,
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Output, Stdio},
};

use serde_json::Value;
use tracer_common::{counter::Counter, event::Reason};
use tracer_user::{
    export::MemoryExporter,
    filter::SyscallFilter,
    ledger::Ledger,
    pipeline::{Trace, TraceOptions},
    ring_buffer::Destination,
    span_record::SpanRecord,
};

use crate::witness;

/// The program under test.
pub(crate) fn tracer_path() -> String {
    witness::begin();
    binary("tracer", env!("CARGO_BIN_EXE_tracer"))
}

/// The program to trace.
pub(crate) fn workload_path() -> String {
    witness::begin();
    binary("tracer-workload", env!("CARGO_BIN_EXE_tracer-workload"))
}

/// How often a test does something: less in a virtual machine, where each call takes longer.
pub(crate) fn rounds(full: usize, reduced: usize) -> usize {
    if std::env::var_os("TRACER_TEST_REDUCED").is_some() { reduced } else { full }
}

/// In a virtual machine the programs are not where cargo built them.
fn binary(name: &str, built: &str) -> String {
    std::env::var("TRACER_TEST_BIN")
        .map_or_else(|_| built.to_owned(), |dir| format!("{dir}/{name}"))
}

/// A workload that waits to be told to begin. Killed when the test ends early.
pub(crate) struct Workload {
    child: Child,
    start: Option<ChildStdin>,
}

impl Workload {
    pub(crate) fn new(args: &[&str]) -> Self {
        Self::with(Command::new(workload_path()).arg("wait").args(args))
    }

    pub(crate) fn with(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).spawn().expect("the workload starts");
        let start = child.stdin.take();
        Self { child, start }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its standard output, where that was made a pipe.
    pub(crate) fn stdout(&mut self) -> std::process::ChildStdout {
        self.child.stdout.take().expect("a pipe")
    }

    /// Waits until it waits to be told to begin.
    pub(crate) fn wait_until_it_waits(&self) {
        let start = format!("{} ", libc::SYS_read);
        let path = format!("/proc/{}/syscall", self.pid());
        while !fs::read_to_string(&path).is_ok_and(|text| text.starts_with(&start)) {
            std::thread::yield_now();
        }
    }

    /// Waits until so many of its threads, without the first, are blocked in this call.
    pub(crate) fn wait_for_threads_in(&self, threads: usize, number: i64) {
        let start = format!("{number} ");
        let blocked = |tid: &String| {
            let text = fs::read_to_string(format!("/proc/{}/task/{tid}/syscall", self.pid()));
            text.is_ok_and(|text| text.starts_with(&start))
        };
        while self.threads().iter().filter(|tid| blocked(tid)).count() < threads {
            std::thread::yield_now();
        }
    }

    /// Sends a signal to each of its threads but the first.
    pub(crate) fn signal_threads(&self, signal: i32) {
        for tid in self.threads() {
            let tid: i32 = tid.parse().expect("a number");
            // SAFETY: no pointers.
            unsafe { libc::syscall(libc::SYS_tgkill, self.pid(), tid, signal) };
        }
    }

    fn threads(&self) -> Vec<String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("its threads");
        let names = tasks.filter_map(|task| task.ok()?.file_name().into_string().ok());
        names.filter(|tid| *tid != self.pid().to_string()).collect()
    }

    /// Lets it begin.
    pub(crate) fn begin(&mut self) {
        self.start.take().expect("begun once").write_all(b"\n").expect("it listens");
    }

    /// Lets it begin and waits for its end.
    pub(crate) fn run(mut self) {
        self.begin();
        assert!(self.child.wait().expect("it ends").success());
    }

    pub(crate) fn wait(mut self) {
        self.child.wait().expect("it ends");
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        // Ended already in a test that has passed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn syscalls(expression: &str) -> SyscallFilter {
    let mut filter = SyscallFilter::all();
    filter.add(expression).expect("a valid expression");
    filter
}

/// A trace into memory.
pub(crate) struct Session {
    pub(crate) trace: Trace,
    memory: MemoryExporter,
    run: witness::Run,
}

impl Session {
    pub(crate) fn start(options: &TraceOptions) -> Self {
        let memory = MemoryExporter::new();
        let destination = Destination::new("memory", memory.clone());
        let mut run = witness::Run::of(options);
        let trace = Trace::start(options, vec![destination]).expect("tracing starts");
        run.attached();
        Self { trace, memory, run }
    }

    /// Calls in scope that were entered, kept or not.
    pub(crate) fn entries(&self) -> u64 {
        let kernel = self.trace.ledger().expect("the books").kernel;
        kernel.get(Counter::Stored) + kernel.get(Counter::StoreFailed)
    }

    /// Waits until no process in scope lives.
    pub(crate) fn wait_for_end(&mut self) {
        while self.trace.live_processes() != Some(0) {
            std::thread::yield_now();
        }
    }

    /// Scope or filter are about to be changed.
    pub(crate) fn edited(&mut self) {
        self.run.edited();
    }

    /// Stops; the books must balance. The spans of calls, without those that only say that a call
    /// was running at attach.
    pub(crate) fn stop(self) -> (Vec<SpanRecord>, Ledger) {
        let (mut calls, ledger) = self.stop_with_running();
        calls.retain(|span| !is_running_at_attach(span));
        (calls, ledger)
    }

    /// The same with these.
    pub(crate) fn stop_with_running(self) -> (Vec<SpanRecord>, Ledger) {
        let (mut spans, ledger) = self.stop_with_processes();
        let processes = spans.iter().filter(|span| span.process_span().is_some()).count();
        assert_eq!(processes as u64, ledger.spans.processes);
        let signals = spans.iter().filter(|span| span.signal().is_some()).count();
        assert_eq!(signals as u64, ledger.kernel.get(Counter::SignalSubmitted));
        spans.retain(|span| span.syscall().is_some());
        (spans, ledger)
    }

    /// The same with the spans of processes.
    pub(crate) fn stop_with_processes(mut self) -> (Vec<SpanRecord>, Ledger) {
        self.run.detaching();
        let ledger = self.trace.stop(None).expect("tracing stops");
        assert_eq!(ledger.imbalances(), Vec::<String>::new());
        let spans = self.memory.take();
        // The witness counts entries.
        let entered: Vec<_> =
            spans.iter().filter(|span| !is_running_at_attach(span)).cloned().collect();
        self.run.finish_with(&ledger.kernel, &entered, ledger.losses().is_empty());
        (spans, ledger)
    }
}

/// Whether the span says of a call that it was running at attach, and no more.
pub(crate) fn is_running_at_attach(span: &SpanRecord) -> bool {
    span.syscall().is_some_and(|call| call.reason == Reason::RunningAtAttach)
}

/// Traces one workload by its process id, from before it begins until it has ended.
pub(crate) fn trace_workload(args: &[&str], options: TraceOptions) -> (Vec<SpanRecord>, Ledger) {
    let workload = Workload::new(args);
    workload.wait_until_it_waits();
    let options = TraceOptions { pids: vec![workload.pid()], ..options };
    let mut session = Session::start(&options);
    workload.run();
    session.wait_for_end();
    session.stop()
}

/// The same, for one that prints something; what it was, too.
pub(crate) fn trace_speaking_workload(
    args: &[&str],
    options: TraceOptions,
) -> (Vec<SpanRecord>, String, Ledger) {
    let mut command = Command::new(workload_path());
    let mut workload = Workload::with(command.arg("wait").args(args).stdout(Stdio::piped()));
    let mut output = workload.stdout();
    workload.wait_until_it_waits();
    let options = TraceOptions { pids: vec![workload.pid()], ..options };
    let mut session = Session::start(&options);
    workload.begin();
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    session.wait_for_end();
    let (spans, ledger) = session.stop();
    workload.wait();
    (spans, text, ledger)
}

/// Says that a test, or a part of it, does not run here. Past the test harness, which would hide it.
pub(crate) fn skipped(what: &str) {
    let line = format!("\n**** SKIPPED: {what}\n");
    std::io::stderr().write_all(line.as_bytes()).expect("somewhere to complain");
}

/// How much of something to do: from an environment variable, or else what CI has time for.
pub(crate) fn amount(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |text| text.parse().expect("a number"))
}

/// So many; in a virtual machine, where everything is emulated, a twentieth.
pub(crate) fn fewer_in_guests(usual: u64) -> u64 {
    let usual = usize::try_from(usual).expect("a size");
    rounds(usual, usual.div_ceil(20)) as u64
}

/// The processes that any thread of a process has made, and that are there.
pub(crate) fn children(process: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten();
    // A thread may end meanwhile, and leaves what it has made to another.
    let lists = threads.filter_map(|it| fs::read_to_string(it.ok()?.path().join("children")).ok());
    let all: Vec<String> = lists.collect();
    all.iter().flat_map(|it| it.split_whitespace()).filter_map(|id| id.parse().ok()).collect()
}

/// How many spans have this name.
pub(crate) fn count(spans: &[SpanRecord], name: &str) -> usize {
    spans.iter().filter(|span| span.span_name() == name).count()
}

/// Runs `tracer trace` with these arguments.
pub(crate) fn tracer(args: &[&str]) -> Output {
    let mut command = Command::new(tracer_path());
    let (mut watched, args) = witness::Watched::new(args);
    command.arg("trace").args(args).stdin(Stdio::null());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.expect("tracer runs");
    watched.started(child.id());
    let output = child.wait_with_output().expect("tracer ends");
    watched.finish(output.status);
    output
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A `tracer trace` that runs, attached.
pub(crate) struct Running {
    child: Child,
    stderr: BufReader<std::process::ChildStderr>,
    /// Until it is killed.
    watched: RefCell<Option<witness::Watched>>,
}

impl Running {
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::with(args, &[])
    }

    /// With these environment variables.
    pub(crate) fn with(args: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::by(Command::new(tracer_path()).envs(variables.iter().copied()), args)
    }

    /// By this command, to which the arguments are added.
    pub(crate) fn by(command: &mut Command, args: &[&str]) -> Self {
        let (mut watched, args) = witness::Watched::new(args);
        let command = command.args(["trace", "-v"]).args(args).stderr(Stdio::piped());
        let mut child = command.spawn().expect("tracer starts");
        watched.started(child.id());
        let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
        let mut line = String::new();
        while !line.contains("attached") {
            line.clear();
            assert_ne!(stderr.read_line(&mut line).expect("text"), 0, "ended before attaching");
        }
        watched.attached();
        Self { child, stderr, watched: RefCell::new(Some(watched)) }
    }

    pub(crate) fn signal(&self, signal: i32) {
        if let Some(watched) =
            self.watched.borrow_mut().as_mut().filter(|_| signal != libc::SIGUSR1)
        {
            watched.detaching();
        }
        let pid = i32::try_from(self.child.id()).expect("a pid");
        // SAFETY: our own child, not yet waited for.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it, without a chance to do anything more.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
        drop(self.watched.take());
    }

    /// Waits for the end; exit status and the rest of what it said.
    pub(crate) fn finish(mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        std::io::Read::read_to_string(&mut self.stderr, &mut said).expect("text");
        let status = self.child.wait().expect("it ends");
        if let Some(watched) = self.watched.take() {
            watched.finish(status);
        }
        (status.code(), said)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Ended already in a test that has passed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The spans of calls in a file of JSON lines, without those that only say that a call was running
/// at attach.
pub(crate) fn json_lines(path: &Path) -> Vec<Value> {
    let is_call = |span: &Value| {
        !span["syscall"].is_null() && span["syscall"]["reason"] != "running_at_attach"
    };
    all_json_lines(path).into_iter().filter(is_call).collect()
}

/// All spans in a file of JSON lines.
pub(crate) fn all_json_lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("the file was written");
    text.lines().map(|line| serde_json::from_str(line).expect("valid JSON")).collect()
}

pub(crate) fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).expect("the file was written")).expect("JSON")
}

/// A cgroup of the test's own, removed at its end.
pub(crate) struct Group(pub(crate) PathBuf);

impl Group {
    pub(crate) fn new(path: PathBuf) -> Self {
        fs::create_dir(&path).expect("a cgroup can be made");
        Self(path)
    }

    pub(crate) fn add(&self, pid: u32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).expect("it can be moved");
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Fails only while a test that has failed leaves a process behind.
        let _ = fs::remove_dir(&self.0);
    }
}

/// Where cgroup v2 is mounted.
pub(crate) fn cgroup_mount() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let line = mounts.lines().find(|line| line.contains(" - cgroup2 ")).expect("cgroup v2");
    PathBuf::from(line.split(' ').nth(4).expect("a mount point"))
}
