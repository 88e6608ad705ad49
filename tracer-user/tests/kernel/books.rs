//! The books: every call is a span or has a named loss, and the sums agree.

use std::os::fd::AsFd;

use tracer_common::counter::Counter;
use tracer_user::{
    kernel::Loaded,
    pipeline::TraceOptions,
    reader::ring::{Ring, space},
};

use crate::{
    arch::PAUSE,
    support::{Session, Workload, count, rounds, syscalls, trace_workload},
};

const PROCESSES: u64 = 16;

/// Returns how many calls were lost, and how many were made.
fn flood(ring_size: u32) -> (u64, u64) {
    let options =
        TraceOptions { syscalls: syscalls("getppid"), ring_size, ..TraceOptions::default() };
    let calls = rounds(1_000_000, 10_000) as u64;
    let args = ["processes", &PROCESSES.to_string(), &calls.to_string()];
    let (spans, ledger) = trace_workload(&args, options);
    let account = &ledger.destinations[0];
    let delivered = spans.len() as u64;
    // The others are spans of processes, and records of what was lost.
    let others = ledger.spans.processes + ledger.spans.losses;
    let others_dropped = others - (account.delivered - delivered);
    let lost = ledger.kernel.get(Counter::ReserveFailed)
        + ledger.kernel.get(Counter::StoreFailed)
        + ledger.spans.decode_errors
        + account.dropped_total()
        - others_dropped;
    assert_eq!(delivered + lost, PROCESSES * calls, "{ledger:?}");
    assert_eq!(ledger.spans.decode_errors, 0);
    (lost, PROCESSES * calls)
}

#[test]
fn sixteen_million_calls_are_accounted_for() {
    flood(TraceOptions::default().ring_size);
}

#[test]
fn sixteen_million_calls_are_accounted_for_when_most_are_lost() {
    // Thirty records.
    let (lost, made) = flood(4096);
    assert!(lost > made / 2, "only {lost} of {made} were lost");
}

/// No reader: what fits is there, to the record, the rest is counted, and nobody waits.
#[test]
fn an_overfilled_ring_holds_exactly_what_fits() {
    const RING: u32 = 64 * 1024;
    const RECORD: usize = space(144);
    let calls = 10_000;
    let workload = Workload::new(&["calls", &calls.to_string()]);
    let options = TraceOptions {
        pids: vec![workload.pid()],
        syscalls: syscalls("getppid"),
        ring_size: RING,
        ..TraceOptions::default()
    };
    let mut loaded = Loaded::load(&options.settings()).unwrap();
    let map = loaded.take_ring().unwrap();
    let mut ring = Ring::map(map.fd().as_fd(), RING as usize).unwrap();
    let mut processes = loaded.take_processes().unwrap().unwrap();
    let mut attached = loaded.attach().unwrap();
    processes.attach(&[workload.pid()], true).unwrap();
    attached.attach_calls().unwrap();
    // Ends by itself: nothing blocks a traced process.
    workload.run();
    attached.stop().unwrap();
    let counts = attached.counts().unwrap();
    // The kernel keeps the two positions less than the ring's size apart.
    let fits = (RING as usize - 1) / RECORD;
    assert_eq!(ring.unread(), fits * RECORD);
    assert_eq!(counts.get(Counter::Submitted), fits as u64);
    assert_eq!(counts.get(Counter::ReserveFailed), calls - fits as u64);
    let mut bytes = Vec::new();
    assert_eq!(ring.read(usize::MAX, |record| bytes.push(record.len())), fits);
    assert!(bytes.iter().all(|len| *len == 144) && ring.unread() == 0);
}

#[test]
fn calls_running_at_the_end_are_shown_as_unfinished() {
    let mut workload = Workload::new(&["hang"]);
    let pid = workload.pid();
    let options = TraceOptions { pids: vec![pid], ..TraceOptions::default() };
    let session = Session::start(&options);
    workload.begin();
    while running_syscall(pid) != PAUSE.1.to_string() {
        std::thread::yield_now();
    }
    let (spans, ledger) = session.stop();
    let pause = spans.iter().find(|span| span.span_name() == PAUSE.0).expect("a span");
    let call = pause.syscall().unwrap();
    assert_eq!((call.record.name(), call.reason.name()), ("enter_only", "unfinished"));
    assert_eq!(ledger.kernel.get(Counter::InFlight), 1);
}

/// The number of the call that a process is blocked in, proc(5).
fn running_syscall(pid: u32) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

#[test]
fn a_call_running_at_attach_is_shown_by_its_exit() {
    let mut workload = Workload::new(&["calls", "5"]);
    let pid = workload.pid();
    while running_syscall(pid) != libc::SYS_read.to_string() {
        std::thread::yield_now();
    }
    let options = TraceOptions { pids: vec![pid], ..TraceOptions::default() };
    let mut session = Session::start(&options);
    workload.begin();
    session.wait_for_end();
    let (spans, ledger) = session.stop();
    let first = &spans[0];
    assert_eq!(first.span_name(), "read");
    assert_eq!(first.syscall().unwrap().record.name(), "exit_only");
    assert_eq!(first.syscall().unwrap().ret, 1);
    assert_eq!(ledger.kernel.get(Counter::ExitOnly), 1);
    assert_eq!(count(&spans, "getppid"), 5);
    workload.wait();
}

/// Tasks that end while tracing stops are in the books too, and nothing is made up.
#[test]
fn the_books_balance_when_tasks_end_while_tracing_stops() {
    for _ in 0..rounds(10, 3) {
        let mut workload = Workload::new(&["short-children", "300"]);
        let options = TraceOptions {
            pids: vec![workload.pid()],
            syscalls: syscalls("!read"),
            ..TraceOptions::default()
        };
        let session = Session::start(&options);
        workload.begin();
        // Stopped in the middle, on a machine that makes some hundred calls in that time.
        while session.trace.ledger().unwrap().kernel.get(Counter::Matched) < 500
            && session.trace.live_processes() != Some(0)
        {
            std::thread::yield_now();
        }
        let (_, ledger) = session.stop();
        assert_eq!(ledger.kernel.get(Counter::ExitOnly), 0, "{}", ledger.to_json());
        workload.wait();
    }
}

#[test]
fn a_running_thread_leaves_no_exits_without_entries() {
    let mut workload = Workload::new(&["calls", "100000000"]);
    let options = TraceOptions {
        pids: vec![workload.pid()],
        syscalls: syscalls("getppid"),
        ..TraceOptions::default()
    };
    workload.begin();
    for _ in 0..rounds(3, 1) {
        let session = Session::start(&options);
        while session.trace.ledger().unwrap().kernel.get(Counter::Matched) < 1000 {
            std::thread::yield_now();
        }
        let (_, ledger) = session.stop();
        // At most the one call that was running when the programs were attached.
        assert!(ledger.kernel.get(Counter::ExitOnly) <= 1, "{ledger:?}");
    }
}
