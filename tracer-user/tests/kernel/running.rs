//! Calls that were entered before tracing began: shown at once, and again when they return.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::fd::OwnedFd,
    path::Path,
    process::{Child, Command, Stdio},
};

use tracer_common::counter::Counter;
use tracer_user::{
    filter::SyscallFilter, kernel::ResultFilter, pipeline::TraceOptions, span_record::SpanRecord,
};

use crate::support::{
    Session, Workload, all_json_lines, is_running_at_attach, json, syscalls, tracer, workload_path,
};

/// A program of the system, killed at the end of its test.
struct Program(Child);

impl Program {
    fn start(command: &mut Command) -> Self {
        Self(command.stdout(Stdio::null()).spawn().expect("it starts"))
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Waits until it is blocked in one of these calls, and returns the line of proc(5) that says so.
    fn wait_until_in(&self, numbers: &[i64]) -> String {
        loop {
            let text = fs::read_to_string(format!("/proc/{}/syscall", self.pid())).unwrap();
            if numbers.iter().any(|number| text.starts_with(&format!("{number} "))) {
                return text;
            }
            std::thread::yield_now();
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Ended already in a test that has passed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn options(program: &Program) -> TraceOptions {
    TraceOptions { pids: vec![program.pid()], ..TraceOptions::default() }
}

/// The one call that was running, compared with what proc(5) says of it.
#[track_caller]
fn is_the_call(spans: &[SpanRecord], line: &str) {
    let running: Vec<_> = spans.iter().filter(|span| is_running_at_attach(span)).collect();
    assert_eq!(running.len(), 1, "{spans:?}");
    let call = running[0].syscall().unwrap();
    let words: Vec<u64> = line
        .split_whitespace()
        .take(7)
        .map(|word| match word.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).unwrap(),
            None => word.parse().unwrap(),
        })
        .collect();
    assert_eq!(u64::from(call.nr), words[0]);
    assert_eq!(call.args.as_slice(), &words[1..]);
    assert_eq!((call.record.name(), call.reason.name()), ("enter_only", "running_at_attach"));
    assert_eq!((running[0].duration_nanos(), call.has_result()), (0, false));
}

#[test]
fn a_blocked_accept_is_shown_at_once_and_when_it_returns() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut command = Command::new(workload_path());
    command.args(["now", "accept"]).stdin(Stdio::from(OwnedFd::from(listener)));
    let program = Program::start(&mut command);
    let line = program.wait_until_in(&[libc::SYS_accept4]);
    let mut session = Session::start(&options(&program));
    let stream = TcpStream::connect(address).unwrap();
    session.wait_for_end();
    drop(stream);
    let (spans, ledger) = session.stop_with_running();
    is_the_call(&spans, &line);
    assert!(is_running_at_attach(&spans[0]));
    let exit = spans[1].syscall().unwrap();
    assert_eq!((exit.record.name(), exit.nr), ("exit_only", spans[0].syscall().unwrap().nr));
    assert!(exit.ret >= 0 && spans[0].start_time_nanos() <= spans[1].start_time_nanos());
    assert_eq!(ledger.kernel.get(Counter::RunningAtAttach), 1);
    assert_eq!(ledger.kernel.get(Counter::RunningSubmitted), 1);
    assert_eq!(ledger.kernel.get(Counter::ExitOnly), 1);
}

#[test]
fn a_sleep_and_a_read_of_a_pipe_are_shown_though_they_do_not_return() {
    let sleep = Program::start(Command::new("sleep").arg("600"));
    let line = sleep.wait_until_in(&[libc::SYS_clock_nanosleep, libc::SYS_nanosleep]);
    let session = Session::start(&options(&sleep));
    let (spans, _) = session.stop_with_running();
    is_the_call(&spans, &line);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR)
        .unwrap();
    let both_ends = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let cat = Program::start(Command::new("cat").arg(&path));
    let line = cat.wait_until_in(&[libc::SYS_read]);
    let session = Session::start(&options(&cat));
    let (spans, _) = session.stop_with_running();
    is_the_call(&spans, &line);
    drop(both_ends);
}

/// Each thread has its own, whatever its process does.
#[test]
fn every_blocked_thread_is_shown_once() {
    const SLEEPERS: usize = 50;
    let workload = Workload::new(&["sleepers", &SLEEPERS.to_string()]);
    workload.wait_for_threads_in(SLEEPERS, libc::SYS_futex);
    let options = TraceOptions {
        pids: vec![workload.pid()],
        syscalls: syscalls("futex"),
        ..TraceOptions::default()
    };
    let (spans, ledger) = Session::start(&options).stop_with_running();
    let mut threads: Vec<_> = spans.iter().map(SpanRecord::thread_id).collect();
    threads.sort_unstable();
    threads.dedup();
    assert_eq!((spans.len(), threads.len()), (SLEEPERS, SLEEPERS));
    assert!(spans.iter().all(is_running_at_attach));
    assert_eq!(ledger.kernel.get(Counter::RunningAtAttach), SLEEPERS as u64);
}

#[test]
fn filters_leave_out_what_was_running() {
    let sleep = Program::start(Command::new("sleep").arg("600"));
    sleep.wait_until_in(&[libc::SYS_clock_nanosleep, libc::SYS_nanosleep]);
    let running = |syscalls: SyscallFilter, result: ResultFilter| {
        let options = TraceOptions { syscalls, result, ..options(&sleep) };
        let (spans, ledger) = Session::start(&options).stop_with_running();
        (spans.len(), ledger.kernel.get(Counter::RunningAtAttach))
    };
    let all = SyscallFilter::all;
    assert_eq!(running(syscalls("openat"), ResultFilter::default()), (0, 0));
    for result in [
        ResultFilter { successful: true, ..ResultFilter::default() },
        ResultFilter { failed: true, ..ResultFilter::default() },
        ResultFilter { errnos: vec![4], ..ResultFilter::default() },
        ResultFilter { min_duration_ns: 1, ..ResultFilter::default() },
    ] {
        assert_eq!(running(all(), result), (0, 0));
    }
    assert_eq!(running(all(), ResultFilter::default()), (1, 1));
}

/// Not one that runs in user space, whose registers may hold what is left of its last call, nor one
/// that a signal has stopped, whose call has returned.
#[test]
fn what_is_in_no_call_is_not_shown() {
    let mut busy = Command::new("sh");
    let busy = Program::start(busy.args(["-c", "while :; do :; done"]));
    let (spans, _) = Session::start(&options(&busy)).stop_with_running();
    assert!(!spans.iter().any(is_running_at_attach), "{spans:?}");

    let stopped = Program::start(Command::new("sleep").arg("600"));
    stopped.wait_until_in(&[libc::SYS_clock_nanosleep, libc::SYS_nanosleep]);
    let pid = nix::unistd::Pid::from_raw(stopped.pid().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
    let status = || fs::read_to_string(format!("/proc/{}/status", stopped.pid())).unwrap();
    while !status().contains("State:\tT") {
        std::thread::yield_now();
    }
    let (spans, _) = Session::start(&options(&stopped)).stop_with_running();
    assert!(!spans.iter().any(is_running_at_attach), "{spans:?}");
}

#[test]
fn text_and_json_show_it() {
    let sleep = Program::start(Command::new("sleep").arg("600"));
    sleep.wait_until_in(&[libc::SYS_clock_nanosleep, libc::SYS_nanosleep]);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (text, lines, books) = (file("text"), file("json"), file("books"));
    let json_to = format!("json={lines}");
    let pid = sleep.pid().to_string();
    let output = tracer(&[
        "-p",
        &pid,
        "-o",
        &text,
        "--export",
        &json_to,
        "--ledger",
        &books,
        "--duration",
        "1s",
    ]);
    assert!(output.status.success(), "{output:?}");
    let text = fs::read_to_string(text).unwrap();
    assert!(
        text.contains("nanosleep(") && text.contains("<unfinished ...> entered before"),
        "{text}"
    );
    let spans = all_json_lines(Path::new(&lines));
    let call = &spans.iter().find(|span| !span["syscall"].is_null()).unwrap()["syscall"];
    assert_eq!(
        (&call["record"], &call["reason"]),
        (&"enter_only".into(), &"running_at_attach".into())
    );
    let books = json(Path::new(&books));
    assert_eq!(
        (&books["balanced"], &books["kernel"]["running_at_attach"]),
        (&true.into(), &1.into())
    );
}
