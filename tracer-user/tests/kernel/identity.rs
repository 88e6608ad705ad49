//! What cgroups and containers are called.

use tracer_user::{kernel::cgroup, pipeline::TraceOptions};

use crate::{
    scope_changes::Control,
    support::{
        Group, Running, Session, Workload, cgroup_mount, json_lines, rounds, stderr, syscalls,
        tracer,
    },
};

/// An id as Docker makes them, of this test's own.
pub(crate) fn container_id(seed: u32) -> String {
    format!("{:08x}{:08x}", std::process::id(), seed).repeat(4)
}

/// A path below the mount, of this test's own.
pub(crate) fn base(name: &str) -> std::path::PathBuf {
    cgroup_mount().join(format!("tracer-{name}-{}", std::process::id()))
}

#[test]
fn cgroups_are_known_before_their_processes_and_after_their_end() {
    let before = Group::new(base("before"));
    let before_id = cgroup::resolve(&before.0).unwrap().id;
    let options = TraceOptions { syscalls: syscalls("getppid"), ..TraceOptions::default() };
    let session = Session::start(&options);
    let top = Group::new(base("made"));
    let mut ids = Vec::new();
    let groups = rounds(300, 30);
    for number in 0..groups {
        let id = container_id(u32::try_from(number).unwrap());
        let group = Group::new(top.0.join(format!("docker-{id}.scope")));
        ids.push((cgroup::resolve(&group.0).unwrap().id, id));
    }
    // All of the last loop's are gone by now.
    let cgroups = std::sync::Arc::clone(session.trace.cgroups());
    for (number, id) in &ids {
        let facts = cgroups.get(*number);
        assert_eq!(facts.workload.container_id.as_deref(), Some(id.as_str()));
        assert!(facts.path.starts_with(b"/tracer-made-"), "{facts:?}");
    }
    assert_eq!(cgroups.get(before_id).path[1..7], *b"tracer");
    assert_eq!(cgroups.get(1).path[..], *b"/");
    assert_eq!(cgroups.unknown(), 0);
    assert_eq!(cgroups.get(u64::MAX).path[..], *b"");
    assert_eq!(cgroups.unknown(), 1);
    let (_, ledger) = session.stop();
    assert!(ledger.identity.cgroups_told > groups as u64, "{:?}", ledger.identity);
    assert_eq!(ledger.identity.cgroups_unknown, 1);
    drop((top, before));
}

#[test]
fn a_container_is_traced_by_the_beginning_of_its_id() {
    let id = container_id(0xabc);
    let slice = Group::new(base("slice"));
    let scope = Group::new(slice.0.join(format!("docker-{id}.scope")));
    let inner = Group::new(scope.0.join("init"));
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.json");
    let export = format!("json={}", out.display());
    let running = Running::start(&["--container", &id[..18], "-e", "getppid", "--export", &export]);
    for (group, calls) in [(&scope, "30"), (&inner, "50"), (&slice, "70")] {
        let workload = Workload::new(&["calls", calls]);
        group.add(workload.pid());
        workload.run();
    }
    running.signal(libc::SIGINT);
    assert_eq!(running.finish().0, Some(0));
    assert_eq!(json_lines(&out).len(), 80);
    for group in [inner, scope, slice] {
        drop(group);
    }
}

/// The processes of a container come after its cgroup: tracer is told of that as it is made.
#[test]
fn a_container_that_is_waited_for_is_traced_from_its_first_process() {
    let folder = tempfile::tempdir().unwrap();
    let (out, socket) = (folder.path().join("out.json"), folder.path().join("socket"));
    let export = format!("json={}", out.display());
    let name = format!("box-{}", std::process::id());
    let running = Running::start(&[
        "--container",
        &name,
        "--wait-for-container",
        "-e",
        "getppid",
        "--export",
        &export,
        "--control",
        socket.to_str().unwrap(),
    ]);
    let mut control = Control::connect(&socket);
    assert_eq!(control.status()["cgroups"], serde_json::json!([]));
    Workload::new(&["calls", "10"]).run();
    let group = Group::new(cgroup_mount().join(format!("lxc.payload.{name}")));
    while control.status()["cgroups"] != serde_json::json!([group.0.to_str().unwrap()]) {
        std::thread::yield_now();
    }
    let workload = Workload::new(&["calls", "40"]);
    group.add(workload.pid());
    workload.run();
    running.signal(libc::SIGINT);
    assert_eq!(running.finish().0, Some(0));
    assert_eq!(json_lines(&out).len(), 40);
    drop(group);
}

#[test]
fn a_container_that_is_not_there_is_told_with_what_was_looked_for() {
    let output = tracer(&["--container", "no-such-box"]);
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    assert!(said.contains("no container `no-such-box`") && said.lines().count() == 1, "{said}");
    assert!(said.contains("--wait-for-container"), "{said}");

    let ids: Vec<String> = (1..=2).map(container_id).collect();
    let top = Group::new(base("two"));
    let groups: Vec<_> = ids.iter().map(|id| Group::new(top.0.join(id))).collect();
    let output = tracer(&["--container", &ids[0][..8]]);
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    assert!(said.contains(&ids[0]) && said.contains(&ids[1]), "{said}");
    drop(groups);
    drop(top);
}
