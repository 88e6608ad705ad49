//! Signals as they are delivered.

use std::{fs, path::Path};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tracer_common::{
    counter::Counter,
    signal::{SIGINFO_LEN, signal_bit},
};
use tracer_user::{ledger::Ledger, pipeline::TraceOptions, span_record::SpanRecord};

use crate::support::{Session, Workload, all_json_lines, json, tracer, workload_path};

fn options(workload: &Workload, signals: u64) -> TraceOptions {
    TraceOptions { pids: vec![workload.pid()], signals, ..TraceOptions::default() }
}

/// The signals of a workload that runs to its end; `meanwhile` when it has begun.
fn signals_of(
    args: &[&str],
    signals: u64,
    meanwhile: impl FnOnce(Pid),
) -> (Vec<SpanRecord>, Ledger) {
    let mut workload = Workload::new(args);
    let mut session = Session::start(&options(&workload, signals));
    workload.begin();
    meanwhile(Pid::from_raw(workload.pid().cast_signed()));
    workload.wait();
    session.wait_for_end();
    let (spans, ledger) = session.stop_with_processes();
    let spans: Vec<_> = spans.into_iter().filter(|span| span.signal().is_some()).collect();
    assert_eq!(ledger.kernel.get(Counter::Signals), spans.len() as u64);
    assert_eq!(ledger.kernel.get(Counter::SignalNotKept), 0);
    (spans, ledger)
}

fn number(span: &SpanRecord, at: usize) -> i32 {
    let info = span.signal().unwrap().info();
    assert_eq!(info.len(), SIGINFO_LEN);
    i32::from_ne_bytes(info[at..at + 4].try_into().unwrap())
}

/// `si_code`, and `si_pid` where there is one.
fn code_and_sender(span: &SpanRecord) -> (i32, i32) {
    (number(span, 8), number(span, 16))
}

fn wait_until_in(pid: Pid, call: i64) {
    let path = format!("/proc/{pid}/syscall");
    while !fs::read_to_string(&path).unwrap().starts_with(&format!("{call} ")) {
        std::thread::yield_now();
    }
}

#[test]
fn a_handled_signal_is_shown_with_its_sender() {
    let mut sent_to = 0;
    let (spans, _) = signals_of(&["signals", "5"], u64::MAX, |pid| sent_to = pid.as_raw());
    assert_eq!(spans.len(), 5);
    for span in &spans {
        assert_eq!((span.span_name().as_ref(), span.duration_nanos()), ("signal SIGUSR2", 0));
        assert_eq!(code_and_sender(span), (libc::SI_TKILL, sent_to));
        assert_eq!(span.parent_span_id(), Some(span.process().unwrap().span_id));
    }
}

/// These are delivered to each thread as SIGKILL, without what came with them.
#[test]
fn a_signal_that_ends_the_process_is_shown_with_its_sender() {
    let own = std::process::id().cast_signed();
    for signal in [Signal::SIGTERM, Signal::SIGKILL, Signal::SIGUSR1] {
        let (spans, _) = signals_of(&["hang"], u64::MAX, |pid| {
            #[cfg(target_arch = "x86_64")]
            wait_until_in(pid, libc::SYS_pause);
            #[cfg(not(target_arch = "x86_64"))]
            wait_until_in(pid, libc::SYS_ppoll);
            kill(pid, signal).unwrap();
        });
        assert_eq!(spans.len(), 1, "{spans:?}");
        assert_eq!(spans[0].span_name(), format!("signal {signal}"));
        assert_eq!(code_and_sender(&spans[0]), (libc::SI_USER, own));
    }
}

#[test]
fn a_fault_is_shown_with_its_address() {
    let (spans, _) = signals_of(&["fault"], u64::MAX, |_| ());
    // The handler of Rust's runtime takes itself away and returns: then it faults again.
    assert!(!spans.is_empty() && spans.len() <= 2, "{spans:?}");
    for span in &spans {
        assert_eq!(span.span_name(), "signal SIGSEGV");
        // `SEGV_MAPERR`
        assert_eq!(code_and_sender(span), (1, 16));
    }
}

/// `exit_group` ends all threads by what looks like SIGKILL inside the kernel; nobody has sent it.
#[test]
fn threads_that_end_with_their_process_got_no_signal() {
    let workload = Workload::new(&["sleepers", "20"]);
    workload.wait_for_threads_in(20, libc::SYS_futex);
    let mut session = Session::start(&options(&workload, u64::MAX));
    workload.run();
    session.wait_for_end();
    let (_, ledger) = session.stop();
    assert_eq!(ledger.kernel.get(Counter::Signals), 0);
}

#[test]
fn only_those_that_are_asked_for() {
    let usr1 = signal_bit(libc::SIGUSR1.cast_unsigned());
    let (spans, _) =
        signals_of(&["signals", "5"], !signal_bit(libc::SIGUSR2.cast_unsigned()), |_| ());
    assert!(spans.is_empty(), "{spans:?}");
    let (spans, _) = signals_of(&["signals", "5"], usr1, |_| ());
    assert!(spans.is_empty(), "{spans:?}");
    assert!(signals_of(&["signals", "5"], 0, |_| ()).0.is_empty());
}

/// The same process with threads is told once.
#[test]
fn threads_share_the_signal_that_ends_them() {
    let workload = Workload::new(&["sleepers", "20"]);
    workload.wait_for_threads_in(20, libc::SYS_futex);
    let mut session = Session::start(&options(&workload, u64::MAX));
    kill(Pid::from_raw(workload.pid().cast_signed()), Signal::SIGTERM).unwrap();
    workload.wait();
    session.wait_for_end();
    let (_, ledger) = session.stop();
    assert_eq!(ledger.kernel.get(Counter::Signals), 1);
}

#[test]
fn text_and_json_show_them_and_e_signal_leaves_them_out() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (text, lines, books) = (file("text"), file("json"), file("books"));
    let json_to = format!("json={lines}");
    let workload = workload_path();
    let run = |more: &[&str]| {
        let outputs = ["-o", &text, "--export", &json_to, "--ledger", &books];
        let command = ["--", "sh", "-c", "echo | \"$0\" wait signals 2", &workload];
        let output = tracer(&[&outputs[..], more, &command[..]].concat());
        assert!(output.status.success(), "{output:?}");
        assert_eq!(json(Path::new(&books))["balanced"], true);
        (fs::read_to_string(&text).unwrap(), all_json_lines(Path::new(&lines)))
    };
    let (shown, spans) = run(&[]);
    let line = "--- SIGUSR2 {si_signo=SIGUSR2, si_code=SI_TKILL, si_pid=";
    assert_eq!(shown.matches(line).count(), 2, "{shown}");
    let spans: Vec<_> = spans.iter().filter(|span| span["signal"]["name"] == "SIGUSR2").collect();
    assert_eq!(spans.len(), 2);
    assert_eq!(spans[0]["signal"]["info"]["si_pid"], spans[0]["pid"]);
    for set in ["signal=none", "signal=!USR2", "signal=SIGTERM"] {
        let (shown, spans) = run(&["-e", set]);
        assert!(!shown.contains("--- SIGUSR2"), "{shown}");
        assert!(spans.iter().all(|span| span["signal"]["name"] != "SIGUSR2"));
        assert!(shown.contains("exit_group("));
    }
    let (shown, _) = run(&["-e", "openat", "--signal", "usr2"]);
    assert!(shown.contains(line) && !shown.contains("exit_group("));
}
