//! Which calls are traced.

use tracer_common::counter::Counter;
use tracer_user::{kernel::ResultFilter, pipeline::TraceOptions, span_record::SpanRecord};

use crate::support::{
    Session, Workload, count, rounds, syscalls, trace_speaking_workload, trace_workload,
};

fn with(result: ResultFilter) -> TraceOptions {
    TraceOptions { result, syscalls: syscalls("close,getppid"), ..TraceOptions::default() }
}

#[test]
fn syscalls_are_selected_in_the_kernel() {
    let options = TraceOptions { syscalls: syscalls("close"), ..TraceOptions::default() };
    let (spans, ledger) = trace_workload(&["fail", "200"], options);
    assert!(count(&spans, "close") >= 200 && count(&spans, "getppid") == 0);
    assert_eq!(spans.len() as u64, ledger.kernel.get(Counter::Submitted));
    let options = TraceOptions { syscalls: syscalls("!close"), ..TraceOptions::default() };
    let (spans, _) = trace_workload(&["fail", "200"], options);
    assert_eq!((count(&spans, "close"), count(&spans, "getppid")), (0, 200));
}

#[test]
fn only_failed_calls() {
    let (spans, ledger) =
        trace_workload(&["fail", "100"], with(ResultFilter { failed: true, ..Default::default() }));
    assert_eq!((spans.len(), count(&spans, "close")), (100, 100));
    assert!(spans.iter().all(|span| span.status_message() == "EBADF"));
    assert!(ledger.kernel.get(Counter::FilteredResult) >= 100);
}

#[test]
fn only_successful_calls() {
    let result = ResultFilter { successful: true, ..Default::default() };
    let (spans, _) = trace_workload(&["fail", "100"], with(result));
    assert_eq!(count(&spans, "getppid"), 100);
    assert!(spans.iter().all(|span| !span.is_error()));
}

#[test]
fn only_some_errors() {
    let errno = |errno: i32| ResultFilter {
        errnos: vec![errno.cast_unsigned()],
        ..ResultFilter::default()
    };
    let (spans, _) = trace_workload(&["fail", "100"], with(errno(libc::EBADF)));
    assert_eq!(spans.len(), 100);
    let (spans, _) = trace_workload(&["fail", "100"], with(errno(libc::ENOENT)));
    assert_eq!(spans.len(), 0);
}

#[test]
fn only_long_calls() {
    const LIMIT: u64 = 20_000_000;
    let result = ResultFilter { min_duration_ns: LIMIT, ..ResultFilter::default() };
    let options = TraceOptions {
        result,
        syscalls: syscalls("getppid,clock_nanosleep,nanosleep"),
        ..TraceOptions::default()
    };
    let (spans, _) = trace_workload(&["nap", "30"], options);
    let naps: Vec<_> = spans.iter().filter(|span| span.span_name().contains("nanosleep")).collect();
    assert_eq!(naps.len(), 1);
    assert!(spans.iter().all(|span| span.duration_nanos() >= LIMIT));
}

/// The number at exit is not that of the entry after these, and nothing may be made of it.
#[test]
fn calls_that_end_under_another_number() {
    let with = |calls| TraceOptions { syscalls: syscalls(calls), ..TraceOptions::default() };
    let (spans, _) = trace_workload(&["signals", "20"], with("!rt_sigreturn"));
    assert!(spans.iter().all(|span| !span.span_name().starts_with("syscall_")), "{spans:?}");
    let (spans, _) = trace_workload(&["signals", "20"], with("rt_sigreturn"));
    assert_eq!(count(&spans, "rt_sigreturn"), 20);
    let none = |span: &SpanRecord| !span.is_error() && !span.syscall().unwrap().has_result();
    assert!(spans.iter().all(none), "{spans:?}");
    let (spans, _) = trace_workload(&["execveat", "3"], with("execve"));
    assert_eq!(spans.len(), 0);
    let (spans, _) = trace_workload(&["execveat", "3"], with("execveat,getppid"));
    assert_eq!((count(&spans, "execveat"), count(&spans, "getppid")), (1, 3));
    assert_eq!(spans[0].syscall().unwrap().ret, 0);
}

#[test]
fn calls_without_a_result_pass_no_filter_on_results() {
    for result in [
        ResultFilter { failed: true, ..Default::default() },
        ResultFilter { successful: true, ..Default::default() },
        ResultFilter { min_duration_ns: 1_000_000_000, ..Default::default() },
    ] {
        let (spans, ledger) =
            trace_workload(&["signals", "5"], TraceOptions { result, ..TraceOptions::default() });
        assert_eq!(count(&spans, "exit_group") + count(&spans, "rt_sigreturn"), 0);
        assert_eq!(ledger.kernel.get(Counter::NoReturn), 1);
    }
}

/// Calls are traced and not traced, the process is in scope and not, while it makes them: each call
/// is a whole span or none, and afterwards every one is there.
#[test]
fn filters_that_change_while_tracing() {
    let calls = rounds(400_000, 50_000);
    let mut busy = Workload::new(&["calls", &calls.to_string()]);
    let mut later = Workload::new(&["calls", "1000"]);
    let (both, close) = (syscalls("getppid,close"), syscalls("close"));
    let options = TraceOptions {
        pids: vec![busy.pid(), later.pid()],
        syscalls: both.clone(),
        // Room for all of them, whoever reads.
        ring_size: 64 << 20,
        ..TraceOptions::default()
    };
    let mut session = Session::start(&options);
    let pid = busy.pid();
    session.edited();
    busy.begin();
    for round in 0..rounds(1000, 50) {
        session.trace.set_syscalls(if round % 2 == 0 { &close } else { &both }).unwrap();
        // It may have ended by then.
        session.trace.remove_process(pid).unwrap();
        let _ = session.trace.add_process(pid);
    }
    session.trace.set_syscalls(&both).unwrap();
    busy.wait();
    later.begin();
    session.wait_for_end();
    let (spans, ledger) = session.stop();
    assert_eq!(ledger.losses(), Vec::new());
    for counter in [Counter::ExitOnly, Counter::Superseded, Counter::TaskDied] {
        assert_eq!(ledger.kernel.get(counter), 0, "{}", counter.name());
    }
    let of = |pid: u32| spans.iter().filter(move |span| span.process_id() == pid);
    let shown = of(pid).filter(|span| span.span_name() == "getppid").count();
    assert!(0 < shown && shown < calls, "{shown} of {calls}");
    assert_eq!(of(later.pid()).filter(|span| span.span_name() == "getppid").count(), 1000);
    later.wait();
}

/// The kernel returns such an error with zeroes above its 32 bits.
#[cfg(target_arch = "x86_64")]
#[test]
fn errors_of_32_bits_have_failed() {
    for result in [
        ResultFilter { failed: true, ..ResultFilter::default() },
        ResultFilter { errnos: vec![libc::ENOSYS.cast_unsigned()], ..ResultFilter::default() },
    ] {
        let calls = syscalls("modify_ldt");
        let options = TraceOptions { result, syscalls: calls, ..TraceOptions::default() };
        let (spans, _, _) = trace_speaking_workload(&["describe", "i386"], options);
        assert_eq!(count(&spans, "modify_ldt"), 2, "of either ABI");
        assert!(spans.iter().all(|span| span.status_message() == "ENOSYS"));
    }
}

/// A trace in which no call captures memory has no code for it; who wants to choose others says so.
#[test]
fn calls_that_capture_are_refused_where_their_code_was_not_loaded() {
    let open = syscalls("openat");
    for can_change in [false, true] {
        let workload = Workload::new(&["calls", "1"]);
        workload.wait_until_it_waits();
        let options = TraceOptions {
            pids: vec![workload.pid()],
            syscalls: syscalls("getppid"),
            can_change,
            ..TraceOptions::default()
        };
        let mut session = Session::start(&options);
        session.edited();
        let changed = session.trace.set_syscalls(&open);
        assert_eq!(changed.is_ok(), can_change, "{changed:?}");
        workload.run();
        session.wait_for_end();
        let (spans, _) = session.stop();
        // What was refused has changed nothing.
        assert_eq!(count(&spans, "getppid"), usize::from(!can_change));
    }
}
