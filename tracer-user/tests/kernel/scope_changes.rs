//! The scope changes while tracing, by the control socket.

use std::{
    collections::HashSet,
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
};

use serde_json::Value;

use crate::{
    identity::base,
    support::{Group, Running, Workload, children, json, json_lines, rounds},
};

/// A client of the socket.
pub(crate) struct Control {
    stream: UnixStream,
    answers: BufReader<UnixStream>,
}

impl Control {
    pub(crate) fn connect(path: &Path) -> Self {
        let stream = UnixStream::connect(path).expect("tracer listens");
        let answers = BufReader::new(stream.try_clone().expect("a second handle"));
        Self { stream, answers }
    }

    /// Sends a line; the answer without its end.
    pub(crate) fn ask(&mut self, request: &str) -> String {
        self.stream.write_all(format!("{request}\n").as_bytes()).expect("it is read");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("an answer");
        answer.trim_end().to_owned()
    }

    pub(crate) fn status(&mut self) -> Value {
        let answer = self.ask("status");
        let text = answer.strip_prefix("ok ").unwrap_or_else(|| panic!("{answer}"));
        serde_json::from_str(text).expect("JSON")
    }
}

/// Calls are traced and not traced, the process is in scope and not, by requests, while it makes
/// calls: each is one whole span or none, and what is in scope all the time is there to the last.
#[test]
fn a_thousand_changes_lose_and_double_no_span() {
    // Together fewer than a destination's queue holds, for JSON is slow in a debug build.
    let calls = rounds(50_000, 10_000);
    let mut busy = Workload::new(&["calls-in-tens", &(calls / 10).to_string()]);
    let steady = Workload::new(&["calls", "5000"]);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let (out, ledger, socket) = (file("out.json"), file("ledger.json"), file("socket"));
    let pids = format!("{},{}", busy.pid(), steady.pid());
    let (busy_pid, steady_pid) = (busy.pid(), steady.pid());
    let running = Running::start(&[
        "-p",
        &pids,
        "-e",
        "getppid",
        "--ring-size",
        "64MiB",
        "--export",
        &format!("json={}", out.display()),
        "--ledger",
        ledger.to_str().unwrap(),
        "--control",
        socket.to_str().unwrap(),
    ]);
    let mut control = Control::connect(&socket);
    busy.begin();
    let thread = std::thread::Builder::new().name("steady".into());
    let steady = thread.spawn(move || steady.run()).unwrap();
    let (mut ended, changes) = (0, rounds(1000, 50));
    for round in 0..changes {
        let set = if round % 2 == 0 { "trace getppid,close" } else { "trace getppid" };
        assert_eq!(control.ask(set), "ok");
        assert_eq!(control.ask(&format!("remove pid {busy_pid}")), "ok");
        let answer = control.ask(&format!("add pid {busy_pid}"));
        if answer != "ok" {
            assert!(answer.starts_with("error no process"), "{answer}");
            ended += 1;
        }
    }
    assert_eq!(control.ask("remove pid 1"), "error 1 is not in scope");
    busy.wait();
    steady.join().unwrap();
    assert_eq!(control.status()["lost"], 0);
    running.signal(libc::SIGINT);
    assert_eq!(running.finish().0, Some(0));
    let (spans, books) = (json_lines(&out), json(&ledger));
    assert_eq!(books["balanced"], true, "{books}");
    for counter in ["exit_only", "superseded", "task_died", "reserve_failed"] {
        assert_eq!(books["kernel"][counter], 0, "{counter}");
    }
    let of = |pid: u32| {
        let is_it = move |span: &&Value| span["pid"] == pid && span["name"] == "getppid";
        spans.iter().filter(is_it).collect::<Vec<_>>()
    };
    let shown = of(busy_pid);
    assert!(!shown.is_empty() && shown.len() < calls, "{} of {calls}", shown.len());
    assert!(shown.iter().all(|span| span["syscall"]["record"] == "complete"));
    let ids: HashSet<_> = shown.iter().map(|span| span["span_id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), shown.len());
    assert_eq!(of(steady_pid).len(), 5000);
    assert!(ended < changes * 9 / 10, "{ended} of {changes} after its end");
    println!(
        "{changes} rounds of three changes, {ended} of them after its end: {} of {calls} calls shown",
        shown.len()
    );
}

#[test]
fn cgroups_come_and_go() {
    let top = Group::new(base("control"));
    let (first, second) = (Group::new(top.0.join("a")), Group::new(top.0.join("b")));
    let folder = tempfile::tempdir().unwrap();
    let (out, socket) = (folder.path().join("out.json"), folder.path().join("socket"));
    let running = Running::start(&[
        "--cgroup",
        first.0.to_str().unwrap(),
        "-e",
        "getppid",
        "--export",
        &format!("json={}", out.display()),
        "--control",
        socket.to_str().unwrap(),
    ]);
    let mut control = Control::connect(&socket);
    let run = |group: &Group, calls: &str| {
        let workload = Workload::new(&["calls", calls]);
        group.add(workload.pid());
        workload.run();
    };
    let path = second.0.display().to_string();
    run(&first, "1");
    run(&second, "10");
    assert_eq!(control.ask(&format!("add cgroup {path}")), "ok");
    assert_eq!(control.ask(&format!("add cgroup {path}")), "ok was in scope");
    run(&second, "100");
    assert_eq!(control.ask(&format!("remove cgroup {path}")), "ok");
    assert_eq!(
        control.ask(&format!("remove cgroup {path}")),
        format!("error `{path}` is not in scope")
    );
    run(&second, "1000");
    assert_eq!(control.ask(&format!("remove cgroup {}", first.0.display())), "ok");
    assert_eq!(control.status()["cgroups"], serde_json::json!([]));
    run(&first, "5000");
    let deep = Group::new(second.0.join("c"));
    assert_eq!(control.ask(&format!("add cgroup {}", deep.0.display())), "ok");
    run(&deep, "20000");
    drop(deep);
    // By the path that it had.
    assert_eq!(control.ask(&format!("remove cgroup {path}/c")), "ok");
    running.signal(libc::SIGINT);
    assert_eq!(running.finish().0, Some(0));
    assert_eq!(json_lines(&out).len(), 20_101);
    for group in [first, second, top] {
        drop(group);
    }
}

#[test]
fn requests_that_cannot_be_done_are_answered_with_the_reason() {
    let workload = Workload::new(&["calls", "1"]);
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let pid = workload.pid().to_string();
    let running =
        Running::start(&["-p", &pid, "--export", "null", "--control", socket.to_str().unwrap()]);
    let mut control = Control::connect(&socket);
    for (request, reason) in [
        ("add cgroup /", "not by cgroup; start it with --cgroup"),
        ("remove cgroup /", "not by cgroup"),
        ("add pid 4194304", "no process with id 4194304"),
        (&format!("add pid {}", running.pid()), "is tracer itself"),
        ("trace no_such_call", "unknown syscall `no_such_call`"),
        ("trace /(/", "bad regular expression"),
        ("stop", "unknown request"),
        ("add pid x\u{7}", "without control characters"),
    ] {
        let answer = control.ask(request);
        assert!(answer.starts_with("error ") && answer.contains(reason), "{request}: {answer}");
    }
    // It goes on when its last process has ended.
    workload.run();
    while control.status()["live_processes"] != 0 {
        std::thread::yield_now();
    }
    let next = Workload::new(&["calls", "1"]);
    assert_eq!(control.ask(&format!("add pid {}", next.pid())), "ok");
    assert_eq!(control.status()["live_processes"], 1);
    next.run();
    running.signal(libc::SIGINT);
    assert_eq!(running.finish().0, Some(0));
    assert!(!socket.exists());
}

/// A process that runs already comes into the scope of a command, and is known like one of its own.
#[test]
fn a_running_process_joins_a_command() {
    let folder = tempfile::tempdir().unwrap();
    let (out, socket) = (folder.path().join("out.json"), folder.path().join("socket"));
    let other = Workload::new(&["calls", "25"]);
    other.wait_until_it_waits();
    let export = format!("json={}", out.display());
    let running = Running::start(&[
        "-e",
        "getppid",
        "--export",
        &export,
        "--control",
        socket.to_str().unwrap(),
        "--",
        "sleep",
        "300",
    ]);
    let mut control = Control::connect(&socket);
    let pid = other.pid();
    assert_eq!(control.ask(&format!("add pid {pid}")), "ok");
    other.run();
    // The command ends, and tracing with it.
    for child in children(running.pid()) {
        if fs::read_to_string(format!("/proc/{child}/comm")).is_ok_and(|name| name == "sleep\n") {
            // SAFETY: the command of our own tracer.
            assert_eq!(unsafe { libc::kill(child.cast_signed(), libc::SIGTERM) }, 0);
        }
    }
    let (_, said) = running.finish();
    let spans = json_lines(&out);
    assert_eq!(spans.len(), 25, "{said}");
    for span in spans {
        assert_eq!(span["pid"], pid, "{span}");
        let program = span["resource"]["executable"].as_str().or(span["executable"].as_str());
        assert!(program.is_some_and(|it| it.ends_with("tracer-workload")), "{span}");
    }
}
