//! Processes that are told their place in a trace by `TRACEPARENT`, or tell it to others.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;
use tracer_user::{
    pipeline::TraceOptions,
    span_record::{ProcessEnd, SpanRecord},
};

use crate::support::{
    Session, Workload, all_json_lines, json, stderr, tracer, tracer_path, workload_path,
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";
const TOLD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const STATE: &str = "vendor=of-the-caller,other=1";
const OTHER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

/// A shell whose second child is told its place, and whose third is told nonsense.
fn shell() -> Command {
    let told = format!("TRACEPARENT={TOLD} TRACESTATE={STATE} sh -c");
    let family = "'$0 now leaf c 3; ($0 now leaf d 4; true); exec $0 now processes 2 5' $0";
    let script = format!(
        "read line; $0 now leaf a 1; {told} {family}; \
         TRACEPARENT=x{TOLD} TRACESTATE={STATE} $0 now leaf b 2; true"
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script, &workload_path()]).env_remove("TRACEPARENT");
    command
}

fn processes(spans: &[SpanRecord]) -> impl Iterator<Item = &SpanRecord> {
    spans.iter().filter(|span| span.process_span().is_some())
}

fn state(span: &SpanRecord) -> Option<String> {
    span.process().unwrap().trace_state.as_deref().map(str::to_owned)
}

fn named<'a>(spans: &'a [SpanRecord], comm: &str) -> &'a SpanRecord {
    let has_name = |span: &&SpanRecord| span.process_span().unwrap().comm() == comm.as_bytes();
    processes(spans).find(has_name).expect("a process of this name")
}

#[test]
fn who_executes_with_a_traceparent_joins_that_trace_with_all_descendants() {
    let workload = Workload::with(&mut shell());
    let options = TraceOptions { pids: vec![workload.pid()], ..TraceOptions::default() };
    let shell = workload.pid();
    let mut session = Session::start(&options);
    workload.run();
    session.wait_for_end();
    let (spans, ledger) = session.stop_with_processes();
    let books = ledger.to_json();
    assert_eq!(ledger.losses(), [], "{books}");
    assert_eq!((ledger.spans.unannounced, ledger.spans.late), (0, 0), "{books}");
    // What is malformed is counted, and changes nothing.
    assert_eq!(ledger.spans.traceparent_invalid, 1, "{books}");
    let (joined, old): (Vec<_>, Vec<_>) =
        spans.iter().cloned().partition(|span| span.trace_id_hex() == TRACE);
    let traces: BTreeSet<_> = old.iter().map(SpanRecord::trace_id).collect();
    assert_eq!(traces.len(), 1);
    // With the trace goes what vendors say of it, and never without.
    let states = |spans: &[SpanRecord]| -> BTreeSet<_> { spans.iter().map(state).collect() };
    assert_eq!(states(&joined), BTreeSet::from([Some(STATE.to_owned())]));
    assert_eq!(states(&old), BTreeSet::from([None]));
    for (comm, calls) in [("a", 1), ("b", 2)] {
        check_leaf(&old, comm, calls);
    }
    for (comm, calls) in [("c", 3), ("d", 4)] {
        check_leaf(&joined, comm, calls);
    }

    // The one that was told: below the span that it was told, and everybody else below it.
    let top: Vec<_> = processes(&joined)
        .filter(|span| span.parent_span_id_hex().as_deref() == Some(SPAN))
        .collect();
    let [top] = top.as_slice() else { panic!("{top:?}") };
    assert_eq!(top.process_span().unwrap().programs.len(), 2, "the shell and what it became");
    let by_id: BTreeMap<_, _> = processes(&joined).map(|span| (span.span_id(), span)).collect();
    // Itself, `c`, a subshell, `d`, two children of what it became.
    assert_eq!(by_id.len(), 6);
    for span in by_id.values().filter(|span| span.span_id() != top.span_id()) {
        assert!(by_id.contains_key(&span.parent_span_id().unwrap()), "{span:?}");
    }

    // No process is in both traces but that one, up to the call by which it joined.
    let ids = |spans: &[SpanRecord]| -> BTreeSet<_> {
        spans.iter().map(SpanRecord::process_id).collect()
    };
    let both: Vec<_> = ids(&joined).intersection(&ids(&old)).copied().collect();
    assert_eq!(both, [top.process_id()]);
    let before = processes(&old).find(|span| span.process_id() == top.process_id()).unwrap();
    assert_eq!(before.process_span().unwrap().end, ProcessEnd::Continued);
    let parent = processes(&old).find(|span| span.process_id() == shell).unwrap();
    assert_eq!(before.parent_span_id(), Some(parent.span_id()));
    let calls_of = |spans: &[SpanRecord], process: &SpanRecord| {
        let id = Some(process.span_id());
        let mut calls: Vec<_> =
            spans.iter().filter(|it| it.syscall().is_some() && it.parent_span_id() == id).collect();
        calls.sort_by_key(|span| span.logical_clock());
        calls.iter().map(|span| span.span_name().into_owned()).collect::<Vec<_>>()
    };
    assert_eq!(calls_of(&joined, top).first().map(String::as_str), Some("execve"));
    assert!(!calls_of(&old, before).contains(&"execve".to_owned()));
    let calls = joined.iter().filter(|span| span.syscall().is_some());
    for call in calls {
        let process = by_id[&call.parent_span_id().unwrap()];
        assert_eq!(call.process_id(), process.process_id());
    }
}

fn check_leaf(spans: &[SpanRecord], comm: &str, expected: usize) {
    let id = Some(named(spans, comm).span_id());
    let calls =
        spans.iter().filter(|span| span.parent_span_id() == id && span.span_name() == "getppid");
    assert_eq!(calls.count(), expected, "{comm}");
}

/// Runs `tracer trace` with these arguments and a `TRACEPARENT` of its own.
fn run(folder: &Path, inherited: Option<&str>, args: &[&str]) -> (Output, Vec<Value>) {
    let (out, books) = (folder.join("out"), folder.join("ledger"));
    let mut command = Command::new(tracer_path());
    command.args(["trace", "--export", &format!("json={}", out.display())]);
    command.arg("--ledger").arg(&books).args(args).env_remove("TRACEPARENT");
    let output = command.envs(inherited.map(|value| ("TRACEPARENT", value))).output().unwrap();
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
    let books = json(&books);
    assert_eq!((&books["balanced"], &books["spans"]["unannounced"]), (&true.into(), &0.into()));
    (output, all_json_lines(&out))
}

/// All are in this trace; the first process, and that its parent is this one.
fn check_place<'a>(spans: &'a [Value], trace: &str, parent: Option<&str>) -> &'a str {
    assert!(spans.iter().all(|span| span["trace_id"] == trace), "{trace}: {spans:?}");
    let processes = || spans.iter().filter(|span| span["syscall"].is_null());
    let ids: BTreeSet<_> = processes().map(|span| span["span_id"].as_str()).collect();
    let tops: Vec<_> =
        processes().filter(|span| !ids.contains(&span["parent_span_id"].as_str())).collect();
    let [top] = tops.as_slice() else { panic!("{tops:?}") };
    assert_eq!(top["parent_span_id"].as_str(), parent);
    let calls = spans.iter().filter(|span| !span["syscall"].is_null());
    assert!(calls.clone().count() > 0);
    for call in calls {
        assert!(ids.contains(&call["parent_span_id"].as_str()), "{call}");
    }
    top["span_id"].as_str().unwrap()
}

#[test]
fn a_launched_command_has_the_place_that_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let script = format!("{} now processes 2 3; echo $TRACEPARENT", workload_path());
    let command = ["--", "sh", "-c", &script];
    let place = |inherited, options: &[&str]| {
        let (output, spans) = run(folder.path(), inherited, &[options, &command].concat());
        let told = String::from_utf8(output.stdout).unwrap().trim_end().to_owned();
        (told, spans)
    };
    // By its environment, which stays as it is.
    let (told, spans) = place(Some(TOLD), &[]);
    check_place(&spans, TRACE, Some(SPAN));
    assert_eq!(told, TOLD);
    // By the option, which weighs more.
    let (told, spans) = place(None, &["--traceparent", TOLD]);
    check_place(&spans, TRACE, Some(SPAN));
    assert_eq!(told, "");
    let (told, spans) = place(Some(OTHER), &["--traceparent", TOLD]);
    check_place(&spans, TRACE, Some(SPAN));
    assert_eq!(told, OTHER);
    // What the command is told is its own span, wherever that stands.
    let own = |span: &str, trace: &str| format!("00-{trace}-{span}-01");
    let (told, spans) = place(None, &["--export-traceparent"]);
    let trace = spans[0]["trace_id"].as_str().unwrap();
    assert_eq!(told, own(check_place(&spans, trace, None), trace));
    let (told, spans) = place(Some(TOLD), &["--export-traceparent"]);
    assert_eq!(told, own(check_place(&spans, TRACE, Some(SPAN)), TRACE));
    let (told, spans) = place(Some(OTHER), &["--export-traceparent", "--traceparent", TOLD]);
    assert_eq!(told, own(check_place(&spans, TRACE, Some(SPAN)), TRACE));
}

#[test]
fn a_place_that_is_none_is_refused() {
    for bad in ["", "00-1-2-01", &TOLD.to_uppercase(), &TOLD.replace(SPAN, "0000000000000000")] {
        let output = tracer(&["--export", "null", "--traceparent", bad, "--", "echo", "ran"]);
        let said = stderr(&output);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{bad}: {said}");
        assert!(said.starts_with("tracer: --traceparent: "), "{said}");
        assert_eq!((said.lines().count(), said.contains(bad)), (1, true), "{said}");
    }
}

/// What would not stay within its line is not passed on, and costs nobody the trace.
#[test]
fn what_vendors_say_is_taken_as_the_standard_wants_it() {
    let script = "read line; for it in good=1 \"$(printf 'bad\\033=1')\" ''; do \
                  TRACESTATE=$it $0 now leaf l 1; done; true";
    let mut command = Command::new("sh");
    command.args(["-c", script, &workload_path()]).env("TRACEPARENT", OTHER);
    command.env_remove("TRACESTATE");
    let workload = Workload::with(&mut command);
    let options = TraceOptions { pids: vec![workload.pid()], ..TraceOptions::default() };
    let mut session = Session::start(&options);
    workload.run();
    session.wait_for_end();
    let (spans, _) = session.stop_with_processes();
    let mut leaves: Vec<_> = processes(&spans)
        .filter(|span| {
            span.process_span().unwrap().comm() == b"l" && span.trace_id_hex() == OTHER[3..35]
        })
        .collect();
    leaves.sort_by_key(|span| span.start_time_nanos());
    let states: Vec<_> = leaves.into_iter().map(state).collect();
    assert_eq!(states, [Some("good=1".to_owned()), None, None]);
}

/// Of the span of a process.
fn vpid(span: &SpanRecord) -> Option<u32> {
    span.process().and_then(|process| process.inner_pid)
}

#[test]
fn a_process_in_a_namespace_has_both_of_its_ids() {
    let script = "read line; exec unshare -p -f $0 now processes 2 3";
    let workload = Workload::with(Command::new("sh").args(["-c", script, &workload_path()]));
    let options = TraceOptions { pids: vec![workload.pid()], ..TraceOptions::default() };
    let outer = workload.pid();
    let mut session = Session::start(&options);
    workload.run();
    session.wait_for_end();
    let (spans, ledger) = session.stop_with_processes();
    assert_eq!(ledger.losses(), [], "{}", ledger.to_json());
    let born_of = |pid: u32| {
        let of = |span: &&SpanRecord| span.process().is_some_and(|it| it.parent_tgid == pid);
        let mut born: Vec<_> = processes(&spans).filter(of).collect();
        born.sort_by_key(|span| span.logical_clock());
        born
    };
    // What the call that makes a process returns is the id in its caller's namespace.
    let returned_to = |pid: u32| {
        let forks = spans.iter().filter(|span| {
            span.process_id() == pid && ["clone", "clone3", "fork"].contains(&&*span.span_name())
        });
        let mut ids: Vec<_> = forks.map(|span| span.syscall().unwrap().ret).collect();
        ids.sort_unstable();
        ids
    };
    let [first] = born_of(outer)[..] else { panic!("{spans:?}") };
    assert_eq!(returned_to(outer), [i64::from(first.process_id())]);
    assert_eq!(vpid(first), Some(1));
    let attributes = first.process_span().unwrap().attributes(first.process().unwrap());
    let text = format!("{attributes:?}");
    assert!(text.contains("(\"process.vpid\", Int(1))"), "{text}");
    assert!(text.contains(&format!("(\"process.pid\", Int({}))", first.process_id())), "{text}");
    let inner: Vec<_> = born_of(first.process_id()).into_iter().filter_map(vpid).collect();
    assert_eq!(inner, [2, 3]);
    assert_eq!(returned_to(first.process_id()), [2, 3]);
    let itself = processes(&spans).find(|span| span.process_id() == outer).unwrap();
    assert_eq!(vpid(itself), None);
}
