//! What cgroups and containers are called.

use std::{
    collections::{HashMap, HashSet},
    io::ErrorKind,
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::Path,
    process::Command,
};

use nix::{
    sched::{CloneFlags, unshare},
    unistd::{Gid, Uid, setgid, setuid},
};
use serde_json::Value;
use tracer_user::{identity::Namespaces, kernel::cgroup, pipeline::TraceOptions};

use crate::{
    scope_changes::Control,
    support::{
        Group, Running, Session, Workload, cgroup_mount, json, json_lines, rounds, stderr,
        syscalls, tracer,
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
    let resolver = std::sync::Arc::clone(session.trace.identity());
    let cgroups = &resolver.cgroups;
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

/// Users whose processes there are, by id and name; each is a group of that id too.
const OWNERS: [(u32, &str); 2] = [(0, "root"), (65534, "nobody")];

/// Programs of a millisecond in groups of their own, which are gone before their calls are written.
#[test]
fn a_thousand_short_lives_are_told_with_their_container() {
    let top = Group::new(base("pods"));
    let pod =
        Group::new(top.0.join("kubepods-burstable-pod3b6c1f0a9d8e7c5b4a3f2e1d0c9b8a79.slice"));
    let folder = tempfile::tempdir().unwrap();
    let (out, ledger) = (folder.path().join("out.json"), folder.path().join("ledger.json"));
    let running = Running::start(&[
        "--cgroup",
        top.0.to_str().unwrap(),
        "--export",
        &format!("json={}", out.display()),
        "--ledger",
        ledger.to_str().unwrap(),
    ]);
    let lives = rounds(1000, 100);
    let program = Path::new("/bin/true");
    let target = program.canonicalize().unwrap();
    let (mut ids, mut owners) = (HashMap::new(), HashMap::new());
    for number in 0..lives {
        let id = container_id(u32::try_from(number).unwrap());
        let group = Group::new(pod.0.join(format!("cri-containerd-{id}.scope")));
        let procs = group.0.join("cgroup.procs");
        // Without what makes its loader look into many folders.
        let mut command = Command::new(program);
        command.env_clear();
        let owner = OWNERS[number % OWNERS.len()].0;
        let enter = move || {
            std::fs::write(&procs, "0")?;
            setgid(Gid::from_raw(owner))?;
            setuid(Uid::from_raw(owner))?;
            Ok(())
        };
        // SAFETY: makes calls, and opens and writes a file; this process has one thread that would
        // allocate.
        unsafe { command.pre_exec(enter) };
        let mut child = command.spawn().unwrap();
        owners.insert(u64::from(child.id()), number % OWNERS.len());
        ids.insert(u64::from(child.id()), id);
        assert!(child.wait().unwrap().success());
        // Empty only when its last process is reaped.
        while std::fs::remove_dir(&group.0).is_err_and(|error| error.kind() != ErrorKind::NotFound)
        {
            std::thread::yield_now();
        }
    }
    running.signal(libc::SIGINT);
    assert_eq!(running.finish().0, Some(0));
    let (spans, books) = (json_lines(&out), json(&ledger));
    assert_eq!(books["balanced"], true, "{books}");
    let is_right = |span: &&Value| {
        let id = ids.get(&span["pid"].as_u64().unwrap());
        span["container_id"].as_str() == id.map(String::as_str)
            && span["container_runtime"] == "containerd"
            && span["pod_uid"] == "3b6c1f0a9d8e7c5b4a3f2e1d0c9b8a79"
    };
    let right = spans.iter().filter(is_right);
    let processes: HashSet<_> = right.clone().map(|span| span["pid"].as_u64().unwrap()).collect();
    let right = right.count();
    println!(
        "{right} of {} calls and {} of {lives} processes told with their container; {}",
        spans.len(),
        processes.len(),
        books["identity"]
    );
    // From the program on: before that it is this test's, and so is the call that begins it.
    let mut whose: HashMap<u64, Vec<bool>> = HashMap::new();
    for span in &spans {
        let pid = span["pid"].as_u64().unwrap();
        if span["name"] == "execve" && span["syscall"]["ret"] == 0 {
            whose.entry(pid).or_default();
            continue;
        }
        let Some(of) = whose.get_mut(&pid) else { continue };
        let (id, name) = OWNERS[owners[&pid]];
        of.push(
            span["uid"] == id
                && span["gid"] == id
                && span["user"] == name
                && span["executable"] == target.to_str().unwrap(),
        );
    }
    let known = |of: &&Vec<bool>| of.len() > 15 && of.iter().all(|is_right| *is_right);
    let known = whose.values().filter(known).count();
    println!("{known} of {lives} processes told with their user and program");
    let wrong = whose.iter().find(|(_, of)| of.len() <= 15 || of.contains(&false));
    let wrong = wrong.and_then(|(pid, _)| spans.iter().rfind(|span| span["pid"] == *pid));
    assert!(known * 1000 >= lives * 999, "{known} of {lives}: {wrong:?}");
    // The smallest `true` there is makes 19.
    assert!(spans.len() > 15 * lives, "{}", spans.len());
    assert!(right * 1000 >= spans.len() * 999, "{right} of {}", spans.len());
    assert_eq!(processes.len(), lives);
    drop((pod, top));
}

/// The numbers of a process that was there, and of its children, are those that proc(5) shows.
#[test]
fn namespaces_are_those_of_the_process() {
    let own = CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWCGROUP
        | CloneFlags::CLONE_NEWNS;
    for flags in [CloneFlags::empty(), own] {
        let mut command = Command::new(crate::support::workload_path());
        command.args(["wait", "family", "3"]);
        // SAFETY: unshare(2) alone is called between fork and exec.
        unsafe { command.pre_exec(move || Ok(unshare(flags)?)) };
        let workload = Workload::with(&mut command);
        workload.wait_until_it_waits();
        let shown = Namespaces::NAMES.map(|name| {
            let path = format!("/proc/{}/ns/{name}", workload.pid());
            u32::try_from(std::fs::metadata(path).unwrap().ino()).unwrap()
        });
        let options =
            TraceOptions { pids: vec![workload.pid()], follow: true, ..TraceOptions::default() };
        let mut session = Session::start(&options);
        workload.run();
        session.wait_for_end();
        let (spans, _) = session.stop_with_processes();
        let processes: Vec<_> = spans.iter().filter(|span| span.process_span().is_some()).collect();
        assert_eq!(processes.len(), 3);
        for span in spans {
            assert_eq!(span.process().unwrap().namespaces.unwrap().numbers(), shown, "{span:?}");
        }
    }
}

#[test]
fn a_process_is_told_with_its_user_and_program() {
    let folder = tempfile::tempdir().unwrap();
    let (out, recording) = (folder.path().join("out.json"), folder.path().join("recording"));
    let workload = Workload::new(&["calls-in-tens", "50"]);
    let running = Running::start(&[
        "-p",
        &workload.pid().to_string(),
        "-e",
        "getppid",
        "--export",
        &format!("json={}", out.display()),
        "--export",
        &format!("parquet={}", recording.display()),
    ]);
    workload.run();
    assert_eq!(running.finish().0, Some(0));
    let spans = json_lines(&out);
    assert_eq!(spans.len(), 500);
    let program = std::fs::canonicalize(crate::support::workload_path()).unwrap();
    for span in &spans {
        assert_eq!(span["uid"], 0, "{span}");
        assert_eq!(span["user"], "root", "{span}");
        assert_eq!(span["executable"], program.to_str().unwrap());
        assert!(span["cgroup_path"].as_str().unwrap().starts_with('/'));
    }
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
