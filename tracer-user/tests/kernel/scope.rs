//! Who is traced.

use std::{
    collections::HashSet,
    os::unix::{fs::PermissionsExt, process::CommandExt},
};

use tracer_user::{kernel::cgroup, pipeline::TraceOptions, span_record::SpanRecord};

use crate::support::{
    Group, Session, Workload, cgroup_mount, count, syscalls, trace_workload, workload_path,
};

fn only_getppid() -> TraceOptions {
    TraceOptions { syscalls: syscalls("getppid"), ..TraceOptions::default() }
}

#[test]
fn a_process_is_traced_with_threads_and_descendants() {
    let (spans, _) = trace_workload(&["family", "100"], only_getppid());
    // The thread, the child, the orphaned grandchild, and the process itself.
    assert_eq!(spans.len(), 400);
    let processes: HashSet<_> = spans.iter().map(SpanRecord::process_id).collect();
    assert_eq!(processes.len(), 3);
    let threads: HashSet<_> = spans.iter().map(SpanRecord::thread_id).collect();
    assert_eq!(threads.len(), 4);
    let of_thread = spans.iter().filter(|it| it.syscall().unwrap().comm() == b"family-thread");
    assert_eq!(of_thread.count(), 100);
}

#[test]
fn without_follow_descendants_are_left_out() {
    let options = TraceOptions { follow: false, ..only_getppid() };
    let (spans, _) = trace_workload(&["family", "100"], options);
    assert_eq!(spans.len(), 200);
}

#[test]
fn children_that_exist_already_are_found() {
    let mut shell = std::process::Command::new("sh");
    // The workload is the shell's child; both wait.
    shell.args(["-c", &format!("{} wait calls 50; true", workload_path())]);
    let workload = Workload::with(&mut shell);
    let shell = workload.pid();
    while std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children"))
        .map_or(true, |text| text.trim().is_empty())
    {
        std::thread::yield_now();
    }
    let options = TraceOptions { pids: vec![shell], ..only_getppid() };
    let mut session = Session::start(&options);
    workload.run();
    session.wait_for_end();
    let (spans, _) = session.stop();
    assert_eq!(spans.len(), 50);
    assert!(spans.iter().all(|span| span.process_id() != shell));
}

#[test]
fn an_exec_stays_in_scope() {
    let (spans, _) = trace_workload(&["chain", "20"], TraceOptions::default());
    assert_eq!(count(&spans, "getppid"), 20);
    assert_eq!(count(&spans, "execve"), 1);
}

#[test]
fn system_wide_sees_others_and_not_itself() {
    let session = Session::start(&only_getppid());
    // SAFETY: has no preconditions.
    let own: Vec<_> = (0..100).map(|_| unsafe { libc::syscall(libc::SYS_getppid) }).collect();
    assert_eq!(own.len(), 100);
    let workload = Workload::new(&["calls", "100"]);
    let pid = workload.pid();
    workload.run();
    let (spans, _) = session.stop();
    assert_eq!(spans.iter().filter(|span| span.process_id() == pid).count(), 100);
    assert_eq!(spans.iter().filter(|span| span.process_id() == std::process::id()).count(), 0);
}

#[test]
fn a_cgroup_is_traced_with_its_descendants_and_not_its_namesake() {
    let base = cgroup_mount().join(format!("tracer-test-{}", std::process::id()));
    let top = Group::new(base.clone());
    let t1 = Group::new(base.join("t1"));
    let nested = Group::new(base.join("t1/a"));
    let deep = Group::new(base.join("t1/a/b"));
    let namesake = Group::new(base.join("t10"));
    let cgroups = vec![cgroup::resolve(&t1.0).unwrap()];
    let below_mount = t1.0.strip_prefix(cgroup_mount()).unwrap();
    assert_eq!(cgroup::resolve(below_mount).unwrap(), cgroups[0]);
    let session = Session::start(&TraceOptions { cgroups, ..only_getppid() });
    let mut pids = Vec::new();
    for (group, calls) in
        [(&t1, "10"), (&nested, "20"), (&deep, "30"), (&namesake, "40"), (&top, "50")]
    {
        let workload = Workload::new(&["calls", calls]);
        group.add(workload.pid());
        pids.push(workload.pid());
        workload.run();
    }
    let (spans, _) = session.stop();
    let of = |pid| spans.iter().filter(|span| span.process_id() == pid).count();
    assert_eq!(pids.iter().map(|pid| of(*pid)).collect::<Vec<_>>(), [10, 20, 30, 0, 0]);
    assert_eq!(spans.len(), 60);
    let id = cgroup::resolve(&deep.0).unwrap().id;
    let deep_calls = spans.iter().filter(|span| span.syscall().unwrap().cgroup_id == id);
    assert_eq!(deep_calls.count(), 30);
    for group in [deep, nested, t1, namesake, top] {
        drop(group);
    }
}

#[test]
fn a_cgroup_made_again_under_the_same_path_is_another_one() {
    let path = cgroup_mount().join(format!("tracer-again-{}", std::process::id()));
    let first = Group::new(path.clone());
    let cgroups = vec![cgroup::resolve(&path).unwrap()];
    let session = Session::start(&TraceOptions { cgroups, ..only_getppid() });
    drop(first);
    let second = Group::new(path);
    let workload = Workload::new(&["calls", "10"]);
    second.add(workload.pid());
    workload.run();
    assert_eq!(session.stop().0.len(), 0);
}

#[test]
fn users_and_names_narrow_the_scope() {
    const NOBODY: u32 = 65534;
    // Where this program was built, another user may not be able to look.
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("workload");
    std::fs::copy(workload_path(), &program).unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let as_nobody = |calls: &str| {
        let mut command = std::process::Command::new(&program);
        Workload::with(command.args(["wait", "calls", calls]).uid(NOBODY))
    };
    let session = Session::start(&TraceOptions { uids: vec![NOBODY], ..only_getppid() });
    as_nobody("30").run();
    Workload::new(&["calls", "40"]).run();
    assert_eq!(session.stop().0.len(), 30);

    let mut comm = [0; 16];
    comm[..13].copy_from_slice(b"family-thread");
    let session = Session::start(&TraceOptions { comms: vec![comm], ..only_getppid() });
    Workload::new(&["family", "10"]).run();
    assert_eq!(session.stop().0.len(), 10);
}
