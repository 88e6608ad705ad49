//! Which calls are traced.

use tracer_common::counter::Counter;
use tracer_user::{kernel::ResultFilter, pipeline::TraceOptions};

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
