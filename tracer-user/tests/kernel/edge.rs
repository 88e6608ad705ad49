//! Edge cases of pairing: programs that say what they do, and the tracer that must agree. The
//! cases are in `tests/workload/edge.rs`, the verdicts in `docs/edge-cases.md`.

use std::collections::BTreeSet;

use tracer_common::counter::Counter;
use tracer_user::{ledger::Ledger, pipeline::TraceOptions, span_record::SpanRecord};

use crate::{
    expected::compare,
    support::{
        Session, Workload, amount, count, rounds, syscalls, trace_speaking_workload, trace_workload,
    },
};

/// Runs a case and compares, thread by thread, in order.
#[track_caller]
pub(crate) fn edge(case: &str) -> Ledger {
    let (spans, text, ledger) = trace_speaking_workload(&["edge", case], TraceOptions::default());
    compare(case, &text, &spans);
    ledger
}

macro_rules! cases {
    ($($name:ident = $case:literal,)*) => {
        $(#[test] fn $name() { edge($case); })*
    };
}

cases! {
    exec_that_fails = "exec-failures",
    threads_blocked_when_the_process_ends = "blocked-siblings",
    numbers_without_a_call = "odd-numbers",
    calls_that_the_kernel_restarts = "restarts",
    returns_from_signal_handlers = "signals",
    a_blocked_call_that_is_killed = "killed-in-sleep",
    a_negative_result_that_is_no_error = "owner",
    seccomp_denies_with_an_error = "seccomp-errno",
    seccomp_denies_with_a_signal = "seccomp-trap",
    seccomp_kills_a_process = "seccomp-strict",
    seccomp_kills_a_thread = "seccomp-kill-thread",
    syscall_user_dispatch_hides_calls = "user-dispatch",
    calls_of_the_32_bit_abi = "int80",
    questions_that_the_vdso_answers = "vdso",
}

#[test]
fn a_child_returns_once_more_from_the_call_that_made_it() {
    let ledger = edge("children");
    assert_eq!(ledger.kernel.get(Counter::ChildReturn), 4);
    // The call that was running at attach, and nothing else.
    assert_eq!(ledger.kernel.get(Counter::ExitOnly), 1);
}

#[test]
fn exec_by_a_thread_that_is_not_the_first() {
    for _ in 0..rounds(5, 2) {
        let ledger = edge("thread-exec");
        assert_eq!(ledger.kernel.get(Counter::InFlight), 0);
        assert_eq!(ledger.kernel.get(Counter::Superseded), 0);
        assert_eq!(ledger.kernel.get(Counter::ExitOnly), 1);
    }
}

const SLEEPERS: usize = 100;

#[test]
fn a_hundred_calls_running_at_attach() {
    let mut workload = Workload::new(&["sleepers", &SLEEPERS.to_string()]);
    workload.wait_for_threads_in(SLEEPERS, libc::SYS_futex);
    let options = TraceOptions {
        pids: vec![workload.pid()],
        syscalls: syscalls("futex"),
        ..TraceOptions::default()
    };
    let mut session = Session::start(&options);
    workload.begin();
    session.wait_for_end();
    let (spans, _) = session.stop();
    let resumed = spans.iter().filter(|span| span.syscall().unwrap().record.name() == "exit_only");
    let threads: BTreeSet<_> = resumed.map(SpanRecord::thread_id).collect();
    assert_eq!(threads.len(), SLEEPERS);
    workload.wait();
}

#[test]
fn a_hundred_calls_running_at_the_end() {
    all_unfinished(SLEEPERS);
}

#[test]
fn thousands_of_calls_running_at_the_end() {
    // 30,000 at once need a `kernel.pid_max` of more than the usual 32768.
    let threads = amount("TRACER_TEST_THREADS", rounds(5_000, 500) as u64);
    all_unfinished(usize::try_from(threads).unwrap());
}

/// Most threads of a process: a process has no room for many times more mappings.
const PER_PROCESS: usize = 5_000;

/// So many threads are blocked when tracing stops, and each is found once.
fn all_unfinished(sleepers: usize) {
    let workloads: Vec<(Workload, usize)> = (0..sleepers)
        .step_by(PER_PROCESS)
        .map(|first| PER_PROCESS.min(sleepers - first))
        .map(|threads| (Workload::new(&["sleepers", &threads.to_string()]), threads))
        .collect();
    let options = TraceOptions {
        pids: workloads.iter().map(|(workload, _)| workload.pid()).collect(),
        syscalls: syscalls("futex"),
        ..TraceOptions::default()
    };
    let wait_for_all = || {
        for (workload, threads) in &workloads {
            workload.wait_for_threads_in(*threads, libc::SYS_futex);
        }
    };
    wait_for_all();
    let session = Session::start(&options);
    // All wake, and wait again: now their entries are seen.
    for (workload, _) in &workloads {
        workload.signal_threads(libc::SIGUSR1);
    }
    while session.entries() < sleepers as u64 {
        std::thread::yield_now();
    }
    wait_for_all();
    let (spans, ledger) = session.stop();
    let unfinished =
        spans.iter().filter(|span| span.syscall().unwrap().reason.name() == "unfinished");
    let threads: BTreeSet<_> = unfinished.clone().map(SpanRecord::thread_id).collect();
    assert_eq!((unfinished.count(), threads.len()), (sleepers, sleepers));
    assert_eq!(ledger.kernel.get(Counter::InFlight), sleepers as u64);
}

#[test]
fn ten_thousand_short_lives_leave_nothing_behind() {
    let lives = rounds(10_000, 500);
    let options =
        TraceOptions { syscalls: syscalls("exit_group,getppid"), ..TraceOptions::default() };
    let (spans, ledger) = trace_workload(&["lives", &lives.to_string()], options);
    // Each child makes one call and ends; the parent ends too.
    let counts = (count(&spans, "getppid"), count(&spans, "exit_group"));
    assert_eq!(counts, (lives, lives + 1), "{}", ledger.to_json());
    assert_eq!(ledger.kernel.get(Counter::InFlight), 0);
    assert_eq!(ledger.kernel.get(Counter::NoReturn), lives as u64 + 1);
}
