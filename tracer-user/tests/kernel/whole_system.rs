//! What changes the whole system, and so is done in virtual machines only.

use std::{
    collections::BTreeMap,
    io::Read,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use tracer_common::counter::Counter;
use tracer_user::{pipeline::TraceOptions, span_record::SpanRecord};

use crate::{
    arch::CHILDREN_RETURN,
    guest::must_be_here,
    support::{Session, Workload, syscalls, workload_path},
};

fn only(calls: &str) -> TraceOptions {
    TraceOptions { syscalls: syscalls(calls), ..TraceOptions::default() }
}

/// What runs in place of core dumps; put back at the end.
struct CorePattern(String);

impl CorePattern {
    const FILE: &str = "/proc/sys/kernel/core_pattern";

    fn set(pattern: &str) -> Self {
        must_be_here();
        let before = std::fs::read_to_string(Self::FILE).unwrap();
        std::fs::write(Self::FILE, pattern).unwrap();
        Self(before)
    }
}

impl Drop for CorePattern {
    fn drop(&mut self) {
        let _ = std::fs::write(Self::FILE, self.0.trim_end());
    }
}

/// The kernel executes a program by itself: that call has no entry, and is not made up. Only where
/// nobody else is, for it is set for the whole system.
#[test]
fn a_program_that_the_kernel_starts() {
    let session = Session::start(&only("getppid,execve"));
    {
        let _pattern = CorePattern::set(&format!("|{} now calls 777", workload_path()));
        let status = Command::new("sh").args(["-c", "kill -SEGV $$"]).status().unwrap();
        assert!(!status.success());
    }
    // Nobody waits for that program; the shell's `execve` is one more.
    while session.entries() < 778 {
        std::thread::yield_now();
    }
    let (spans, ledger) = session.stop();
    let mut by_process: BTreeMap<u32, Vec<&SpanRecord>> = BTreeMap::new();
    for span in &spans {
        by_process.entry(span.process_id()).or_default().push(span);
    }
    let calls = |spans: &Vec<&SpanRecord>| {
        spans.iter().filter(|span| span.span_name() == "getppid").count() == 777
    };
    let ours: Vec<_> = by_process.into_values().filter(calls).collect();
    let [spans] = &ours[..] else { panic!("{} programs", ours.len()) };
    assert_eq!(spans.len(), 777, "{spans:?}");
    assert_eq!(ledger.kernel.get(Counter::ExitUnknown), u64::from(CHILDREN_RETURN));
    assert_eq!(ledger.kernel.get(Counter::ExitOnly), 0);
}

/// Sets the clock of the whole system forward, or back.
fn step(seconds: i64) {
    must_be_here();
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: room for a time.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut time) };
    time.tv_sec += seconds;
    // SAFETY: a valid time.
    let set = unsafe { libc::clock_settime(libc::CLOCK_REALTIME, &raw const time) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

/// When the clock is set, durations stay what they are, and later calls have the time it was set
/// to.
#[test]
fn a_clock_that_is_set() {
    const HOUR: i64 = 3600;
    // The offset is measured each second.
    const MEASURED: Duration = Duration::from_secs(3);
    // The offset of the two clocks is measured with about this error; more under emulation.
    const ERROR: u64 = 1_000_000;
    let session = Session::start(&only("getppid"));
    let begin = Instant::now();
    for seconds in [HOUR, -2 * HOUR, HOUR] {
        Workload::new(&["calls", "100"]).run();
        step(seconds);
        Workload::new(&["calls", "100"]).run();
    }
    step(HOUR);
    let stepped = Instant::now();
    while stepped.elapsed() < MEASURED {
        Workload::new(&["calls", "1"]).run();
    }
    let mut command = Command::new(workload_path());
    command.args(["wait", "clock", "100"]).stdout(Stdio::piped());
    let mut workload = Workload::with(&mut command);
    let (pid, mut output) = (workload.pid(), workload.stdout());
    workload.begin();
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    workload.wait();
    let (spans, _) = session.stop();
    step(-HOUR);
    let longest = u64::try_from(begin.elapsed().as_nanos()).unwrap();
    assert!(spans.iter().all(|it| it.end_time_nanos() >= it.start_time_nanos()));
    assert!(spans.iter().all(|it| it.duration_nanos() < longest));
    let ours: Vec<_> = spans.iter().filter(|span| span.process_id() == pid).collect();
    assert_eq!((ours.len(), text.lines().count()), (100, 100));
    for (span, line) in ours.iter().zip(text.lines()) {
        let (before, after) = line.split_once(' ').unwrap();
        let (before, after): (u64, u64) = (before.parse().unwrap(), after.parse().unwrap());
        let (start, end) = (span.start_time_nanos(), span.end_time_nanos());
        assert!(before <= start + ERROR && end <= after + ERROR, "{line}: {start} {end}");
    }
}
