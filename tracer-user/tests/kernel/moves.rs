//! Processes in namespaces, and processes that move while they are inside a call.

use std::{collections::BTreeSet, fs, process::Command};

use tracer_common::counter::Counter;
use tracer_user::{kernel::cgroup, pipeline::TraceOptions, span_record::SpanRecord};

use crate::{
    expected::describe,
    support::{Group, Session, Workload, cgroup_mount, syscalls, workload_path},
};

/// The one child of a process; waits until there is one.
fn child_of(pid: u32) -> u32 {
    loop {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        if let Ok(child) = children.unwrap_or_default().trim().parse() {
            return child;
        }
        std::thread::yield_now();
    }
}

/// Two namespaces below the host's, a process still has the host's id.
#[test]
fn processes_in_nested_pid_namespaces() {
    let mut command = Command::new("unshare");
    command.args(["-p", "-f", "unshare", "-p", "-f", &workload_path(), "wait", "calls", "10"]);
    let workload = Workload::with(&mut command);
    let inner = child_of(child_of(workload.pid()));
    while !fs::read_to_string(format!("/proc/{inner}/comm")).unwrap().starts_with("tracer-workload")
    {
        std::thread::yield_now();
    }
    let pids = vec![workload.pid()];
    let options = TraceOptions { pids, syscalls: syscalls("getppid"), ..TraceOptions::default() };
    let mut session = Session::start(&options);
    workload.run();
    session.wait_for_end();
    let (spans, _) = session.stop();
    let ids: BTreeSet<_> = spans.iter().map(SpanRecord::process_id).collect();
    assert_eq!((spans.len(), ids), (10, BTreeSet::from([inner])));
    // What the call gives is the namespace's affair: its first process has no parent in it.
    assert!(spans.iter().all(|span| describe(span) == "getppid=0/complete"));
}

/// How often a thread has gone to sleep.
fn sleeps(pid: u32, tid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/task/{tid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.unwrap().trim().parse().unwrap()
}

/// The entry decides: a call that was entered out of scope is not shown when its thread is in scope
/// at the exit, and the other way round it is shown whole.
#[test]
fn processes_that_change_their_cgroup_inside_a_call() {
    let group = Group::new(cgroup_mount().join(format!("tracer-moves-{}", std::process::id())));
    let cgroups = vec![cgroup::resolve(&group.0).unwrap()];
    let mut workload = Workload::new(&["sleepers", "1"]);
    let pid = workload.pid();
    workload.wait_for_threads_in(1, libc::SYS_futex);
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let names = tasks.map(|task| task.unwrap().file_name().into_string().unwrap());
    let tid = names.map(|name| name.parse().unwrap()).find(|tid| *tid != pid).unwrap();
    let options = TraceOptions { cgroups, syscalls: syscalls("futex"), ..TraceOptions::default() };
    let session = Session::start(&options);
    let before = sleeps(pid, tid);
    workload.signal_threads(libc::SIGUSR1);
    while sleeps(pid, tid) == before {
        std::thread::yield_now();
    }
    workload.wait_for_threads_in(1, libc::SYS_futex);
    assert_eq!(session.entries(), 0);
    group.add(pid);
    workload.signal_threads(libc::SIGUSR1);
    while session.entries() == 0 {
        std::thread::yield_now();
    }
    fs::write(cgroup_mount().join("cgroup.procs"), pid.to_string()).unwrap();
    workload.begin();
    workload.wait();
    let (spans, ledger) = session.stop();
    assert_eq!(spans.len(), 1, "{spans:?}");
    assert!(describe(&spans[0]).ends_with("/complete"));
    assert_eq!(spans[0].thread_id(), u64::from(tid));
    assert_eq!(ledger.kernel.get(Counter::ExitUnknown), 1);
    assert_eq!(ledger.kernel.get(Counter::ExitOnly), 0);
}
