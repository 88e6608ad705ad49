//! Which calls are traced.

use tracer_common::counter::Counter;
use tracer_user::{kernel::ResultFilter, pipeline::TraceOptions, span_record::SpanRecord};

use crate::support::{count, syscalls, trace_workload};

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
