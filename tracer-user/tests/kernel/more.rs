//! More edge cases; the verdicts are in `docs/edge-cases.md`.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::{Command, Stdio},
};

use tracer_common::{counter::Counter, event::CaptureState};
use tracer_user::{kernel::cgroup, pipeline::TraceOptions, span_record::SpanRecord};

use crate::{
    edge::edge,
    recording::Recording,
    support::{
        Group, Running, Session, Workload, cgroup_mount, count, fewer_in_guests, json, json_lines,
        syscalls, trace_workload, workload_path,
    },
};

fn only(calls: &str) -> TraceOptions {
    TraceOptions { syscalls: syscalls(calls), ..TraceOptions::default() }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn exec_between_64_and_32_bits() {
    let ledger = edge("exec-between-widths");
    // The call that was running at attach, and nothing else.
    assert_eq!(ledger.kernel.get(Counter::ExitOnly), 1);
    assert_eq!(ledger.kernel.get(Counter::Superseded), 0);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn calls_changed_by_ptrace() {
    edge("changed-by-ptrace");
}

/// Ids that are used again and again mix nothing up: each process has a span of its own.
#[test]
fn processes_with_the_same_id() {
    let ledger = edge("same-id");
    assert_eq!(ledger.kernel.get(Counter::TaskDied), 0);
    let (spans, _) = trace_workload(&["same-id", "50"], only("getpgid,pause"));
    let ids: BTreeSet<_> = spans.iter().map(SpanRecord::thread_id).collect();
    let processes: BTreeSet<_> = spans.iter().map(SpanRecord::parent_span_id).collect();
    assert_eq!((ids.len(), processes.len(), spans.len()), (1, 50, 75));
}

/// The parent's call lasts until the child is done.
#[test]
#[cfg(target_arch = "x86_64")]
fn vfork_lasts_as_long_as_its_child() {
    let mut command = Command::new(workload_path());
    let workload = Workload::with(command.args(["wait", "observe"]).stdout(Stdio::null()));
    let pids = vec![workload.pid()];
    let mut session = Session::start(&TraceOptions { pids, ..only("vfork,nanosleep") });
    workload.run();
    session.wait_for_end();
    let (spans, _) = session.stop();
    let vfork = spans.iter().find(|span| span.span_name() == "vfork").unwrap();
    let child = u64::try_from(vfork.syscall().unwrap().ret).unwrap();
    let naps: Vec<_> = spans.iter().filter(|span| span.thread_id() == child).collect();
    let [nap] = naps[..] else { panic!("{naps:?}") };
    assert!(nap.duration_nanos() >= 10_000_000);
    assert!(vfork.logical_clock() <= nap.logical_clock());
    let end = |span: &SpanRecord| span.logical_clock() + span.duration_nanos();
    assert!(end(nap) <= end(vfork));
}

/// A child that is born into a cgroup is in its scope from its first call on; its parent is not.
#[test]
fn a_child_born_into_another_cgroup() {
    let group = Group::new(cgroup_mount().join(format!("tracer-into-{}", std::process::id())));
    let cgroups = vec![cgroup::resolve(&group.0).unwrap()];
    let options = TraceOptions { cgroups, ..only("getppid,clone3,exit_group") };
    let session = Session::start(&options);
    let workload = Workload::new(&["into-cgroup", group.0.to_str().unwrap(), "20"]);
    let parent = workload.pid();
    workload.run();
    let (spans, _) = session.stop();
    assert_eq!((spans.len(), count(&spans, "getppid"), count(&spans, "exit_group")), (21, 20, 1));
    assert!(spans.iter().all(|span| span.process_id() != parent));
}

/// What stays blocked is not pushed out by what comes meanwhile.
#[test]
fn blocked_calls_outlast_millions_of_others() {
    const SLEEPERS: usize = 1000;
    let calls = fewer_in_guests(500_000);
    let mut sleepers = Workload::new(&["sleepers", &SLEEPERS.to_string()]);
    sleepers.wait_for_threads_in(SLEEPERS, libc::SYS_futex);
    let others = Workload::new(&["processes", "4", &calls.to_string()]);
    let pids = vec![sleepers.pid(), others.pid()];
    let recording =
        Recording::start(&TraceOptions { pids, ring_size: 1 << 20, ..only("futex,getppid") });
    sleepers.signal_threads(libc::SIGUSR1);
    while recording.counts().get(Counter::Stored) < SLEEPERS as u64 {
        std::thread::yield_now();
    }
    sleepers.wait_for_threads_in(SLEEPERS, libc::SYS_futex);
    let first = sleepers.pid();
    others.run();
    // The ring is full by now; what is still kept is what was blocked all the time.
    sleepers.begin();
    sleepers.wait();
    recording.wait_for_end();
    let kernel = recording.counts();
    let (spans, ledger) = recording.stop();
    assert_eq!((kernel.get(Counter::Superseded), kernel.get(Counter::StoreFailed)), (0, 0));
    assert_eq!(ledger.kernel.get(Counter::InFlight), 0);
    assert!(ledger.kernel.get(Counter::ReserveFailed) > 0, "{ledger:?}");
    // Those that waited when tracing began have left their calls before the flood.
    let woken: BTreeSet<_> = spans
        .iter()
        .filter(|it| u64::from(it.process_id()) == u64::from(first))
        .map(SpanRecord::thread_id)
        .collect();
    assert_eq!(woken.len(), SLEEPERS);
    assert!(ledger.kernel.get(Counter::Matched) >= 4 * calls + SLEEPERS as u64);
}

#[test]
fn a_path_on_a_page_that_another_thread_gives() {
    let (spans, _) = trace_workload(&["open-on-demand"], only("openat"));
    let string = spans.last().unwrap().syscall().unwrap().string(1).unwrap();
    assert_eq!((string.state, string.bytes), (CaptureState::Whole, &b"/on/demand"[..]));
    assert_eq!(spans.last().unwrap().status_message(), "ENOENT");
}

/// What happens after something else, on another CPU too, is later by its time.
#[test]
fn turns_of_two_threads_are_in_the_order_of_time() {
    const TURNS: usize = 2000;
    let (spans, _) = trace_workload(&["turns", &TURNS.to_string()], only("getppid"));
    let mut threads: BTreeMap<u64, Vec<(u64, u64)>> = BTreeMap::new();
    for span in &spans {
        let start = span.logical_clock();
        threads.entry(span.thread_id()).or_default().push((start, start + span.duration_nanos()));
    }
    let threads: Vec<_> = threads.into_values().collect();
    let [first, second] = &threads[..] else { panic!("{} threads", threads.len()) };
    assert_eq!((first.len(), second.len()), (TURNS, TURNS));
    let turns: Vec<_> = first.iter().zip(second).flat_map(|(a, b)| [*a, *b]).collect();
    for pair in turns.windows(2) {
        assert!(pair[0].0 <= pair[0].1 && pair[0].1 <= pair[1].0, "{pair:?}");
    }
}

/// Two tracers of the whole system see each other, and do not drive each other on.
#[test]
fn two_tracers_of_the_whole_system() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let start = |name: &str| {
        let (out, books) = (path(name), path(&format!("{name}.books")));
        let export = format!("json={}", out.display());
        // Their own writes are what could go round and round.
        let calls = "getppid,write";
        Running::start(&["-e", calls, "--export", &export, "--ledger", books.to_str().unwrap()])
    };
    let tracers = [start("one"), start("two")];
    let workload = Workload::new(&["calls", "1000"]);
    let pid = workload.pid();
    workload.run();
    for tracer in tracers {
        tracer.signal(libc::SIGINT);
        let (status, said) = tracer.finish();
        assert_eq!(status, Some(0), "{said}");
    }
    for name in ["one", "two"] {
        let books = json(&path(&format!("{name}.books")));
        assert_eq!(books["balanced"], true, "{books}");
        assert_eq!(books["kernel"]["reserve_failed"], 0, "{books}");
        let lines = json_lines(&path(name));
        let is_call = |line: &&serde_json::Value| line["pid"] == pid && line["name"] == "getppid";
        assert_eq!(lines.iter().filter(is_call).count(), 1000);
    }
}

/// A program in a time namespace is traced with the host's time, and so is one by a tracer inside.
#[test]
fn time_namespaces_change_no_time() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let now = || {
        let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        u64::try_from(time.as_nanos()).unwrap()
    };
    // The offset of the two clocks is measured with about this error.
    const ERROR: u64 = 50_000;
    let inside = |program: &[&str]| {
        let before = now();
        // Up to 6.1 only children are in it, and a process that has left it has no threads.
        let offsets = ["-T", "-f", "--boottime", "86400", "--monotonic", "86400", "--"];
        let output = Command::new("unshare").args(offsets).args(program).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        (before - ERROR, now() + ERROR)
    };
    let export = format!("json={}", out.display());
    let tracer = crate::support::tracer_path();
    let workload = workload_path();
    let (from, to) = inside(&[
        &tracer, "trace", "-e", "getppid", "--export", &export, "--", &workload, "now", "calls",
        "5",
    ]);
    let lines = json_lines(&out);
    assert_eq!(lines.len(), 5);
    for line in lines {
        let start = line["start_time_unix_nano"].as_u64().unwrap();
        assert!((from..to).contains(&start), "{start} is not in {from}..{to}");
    }
    let session = Session::start(&only("getppid"));
    let (from, to) = inside(&[&workload, "now", "calls", "77"]);
    let (spans, _) = session.stop();
    let mut by_process: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for span in &spans {
        by_process.entry(span.process_id()).or_default().push(span.start_time_nanos());
    }
    let ours: Vec<_> = by_process.into_values().filter(|times| times.len() == 77).collect();
    assert_eq!(ours.len(), 1);
    assert!(ours[0].iter().all(|start| (from..to).contains(start)), "{ours:?} {from} {to}");
}
