//! Threads that the kernel makes in a process, and processes whose last thread is not their first: no
//! call is lost after the end of one, and a process keeps its name.

use serde_json::Value;
use tracer_common::counter::Counter;
use tracer_user::pipeline::TraceOptions;

use crate::support::{
    all_json_lines, count, fewer_in_guests, json, skipped, stderr, syscalls, trace_workload,
    tracer, workload_path,
};

const PROGRAM: &str = "tracer-workload";

/// Runs a workload as a command of tracer; its output, the spans, the ledger.
fn traced(options: &[&str], words: &[&str]) -> (String, Vec<Value>, Value) {
    let folder = tempfile::tempdir().unwrap();
    let (out, books) = (folder.path().join("out.json"), folder.path().join("ledger.json"));
    let export = format!("json={}", out.display());
    let workload = workload_path();
    let mut args = vec!["--export", &export, "--ledger", books.to_str().unwrap()];
    args.extend(options);
    args.extend(["--", &workload, "now"]);
    args.extend(words);
    let output = tracer(&args);
    let books = json(&books);
    assert_eq!(books["balanced"], true, "{books}");
    assert_eq!(stderr(&output).matches("lost").count(), 0, "{}", stderr(&output));
    (String::from_utf8(output.stdout).unwrap(), all_json_lines(&out), books)
}

fn processes(spans: &[Value]) -> Vec<&Value> {
    spans.iter().filter(|span| span["syscall"].is_null()).collect()
}

#[test]
fn no_call_is_lost_after_the_end_of_a_thread_that_the_kernel_made() {
    let (said, spans, books) = traced(&["-e", "getppid"], &["kernel-threads", "100"]);
    if said != "done\n" {
        return skipped("calls after the end of a kernel's thread: no io_uring here");
    }
    let calls_of = |pid: &Value| {
        spans.iter().filter(|span| span["name"] == "getppid" && span["pid"] == *pid).count()
    };
    let processes = processes(&spans);
    let mut calls: Vec<_> = processes.iter().map(|process| calls_of(&process["pid"])).collect();
    calls.sort_unstable();
    assert_eq!(calls, [100, 100, 200], "{books}");
    for process in processes {
        let attributes = &process["attributes"];
        assert_eq!(attributes["process.exit.code"], 0, "{process}");
        assert_eq!((&process["name"], &process["comm"]), (&PROGRAM.into(), &PROGRAM.into()));
        let (started, ended) = ("tracer.process.threads_started", "tracer.process.threads_ended");
        assert_eq!(attributes[started], attributes[ended], "{process}");
    }
    assert_eq!((&books["spans"]["late"], &books["spans"]["unannounced"]), (&0.into(), &0.into()));
    // What ends has been born, or is the command.
    let kernel = &books["kernel"];
    assert_eq!(
        kernel["exited"].as_u64(),
        kernel["forked"].as_u64().map(|born| born + 1),
        "{kernel}"
    );
}

#[test]
fn a_process_has_the_name_of_its_program_when_another_thread_ends_it() {
    let (_, spans, _) = traced(&["-e", "getppid"], &["first-thread-leaves", "10"]);
    let processes = processes(&spans);
    let [process] = processes[..] else { panic!("one process is wanted: {processes:?}") };
    assert_eq!((&process["name"], &process["comm"]), (&PROGRAM.into(), &PROGRAM.into()));
    assert_eq!(process["attributes"]["process.exit.code"], 3);
    let calls: Vec<_> = spans.iter().filter(|span| span["name"] == "getppid").collect();
    assert_eq!(calls.len(), 10);
    assert!(calls.iter().all(|call| call["comm"] == "the-last-one"));
    let words = ["-e", "getppid", "--", &workload_path(), "now", "first-thread-leaves", "1"];
    let output = tracer(&words);
    let text = stderr(&output);
    let last = text.lines().last().unwrap();
    assert!(
        last.contains(&format!("{PROGRAM}[")) && last.ends_with("+++ exited with 3 +++"),
        "{text}"
    );
    assert_eq!(output.status.code(), Some(3));
}

/// Only a thread is in scope by its name; what is known of it names the process none the less.
#[test]
fn a_process_is_not_named_after_the_thread_that_is_in_scope() {
    let options = ["-e", "getppid", "--comm", "family-thread"];
    let (_, spans, _) = traced(&options, &["family", "10"]);
    let calls = spans.iter().filter(|span| span["name"] == "getppid");
    assert!(calls.clone().all(|call| call["comm"] == "family-thread"));
    assert_eq!(calls.count(), 10);
    let processes = processes(&spans);
    assert!(!processes.is_empty());
    for process in processes {
        assert_eq!((&process["name"], &process["comm"]), (&PROGRAM.into(), &PROGRAM.into()));
    }
}

/// Also of a process that was there before, whose threads are not counted.
#[test]
fn threads_that_end_at_the_same_time_all_announce_it() {
    for _ in 0..fewer_in_guests(8) {
        let options = TraceOptions { syscalls: syscalls("exit_group"), ..TraceOptions::default() };
        let (spans, ledger) = trace_workload(&["all-at-once", "16"], options);
        assert_eq!(count(&spans, "exit_group"), 1);
        assert_eq!(ledger.kernel.get(Counter::Forked), 16);
        assert_eq!(ledger.kernel.get(Counter::Exited), 17);
        assert_eq!((ledger.spans.late, ledger.spans.unannounced), (0, 0));
    }
}
