//! The tree of processes: shape, places of calls, times and logical clocks.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    os::unix::process::CommandExt,
    process::Command,
};

use tracer_user::{
    pipeline::TraceOptions,
    span_record::{ProcessEnd, SpanRecord, StatusCode},
};

use crate::support::{Session, Workload, amount, fewer_in_guests, workload_path};

/// Name, parent, calls of `getppid`, end, threads started.
type Line = (&'static str, &'static str, usize, ProcessEnd, u32);

const KILLED: ProcessEnd = ProcessEnd::Killed { signal: 9, core: false };

/// What `tests/workload/tree.rs` makes.
const FAMILY: [Line; 12] = [
    ("a", "root", 2, ProcessEnd::Exited(0), 0),
    ("b", "a", 3, ProcessEnd::Exited(3), 0),
    ("c", "b", 4, ProcessEnd::Exited(0), 0),
    ("d", "m", 9, ProcessEnd::Exited(0), 0),
    ("k", "root", 6, ProcessEnd::Exited(0), 0),
    ("m", "root", 8, ProcessEnd::Exited(0), 0),
    ("root", "", 1, ProcessEnd::Exited(0), 0),
    ("s", "root", 10, KILLED, 0),
    ("t", "root", 7, ProcessEnd::Exited(0), 3),
    ("v", "root", 5, ProcessEnd::Exited(0), 0),
    ("x2", "root", 8, ProcessEnd::Exited(0), 1),
    ("z", "root", 11, ProcessEnd::Exited(42), 0),
];

/// Traces the family, and waits for its end.
fn family() -> Vec<SpanRecord> {
    let mut command = Command::new(workload_path());
    // A group of its own, whose id is that of the first of the family.
    let workload = Workload::with(command.args(["wait", "tree"]).process_group(0));
    let options = TraceOptions { pids: vec![workload.pid()], ..TraceOptions::default() };
    let mut session = Session::start(&options);
    workload.run();
    session.wait_for_end();
    let (spans, ledger) = session.stop_with_processes();
    assert_eq!(ledger.losses(), [], "{}", ledger.to_json());
    assert_eq!((ledger.spans.unannounced, ledger.spans.late), (0, 0), "{}", ledger.to_json());
    spans
}

fn processes(spans: &[SpanRecord]) -> HashMap<[u8; 8], &SpanRecord> {
    let all = spans.iter().filter(|span| span.process_span().is_some());
    let by_id: HashMap<_, _> = all.clone().map(|span| (span.span_id(), span)).collect();
    assert_eq!(by_id.len(), all.count(), "an id twice");
    by_id
}

fn comm(span: &SpanRecord) -> String {
    String::from_utf8(span.process_span().unwrap().comm().to_vec()).unwrap()
}

fn check_shape(spans: &[SpanRecord]) {
    let processes = processes(spans);
    let calls_of = |id: [u8; 8]| {
        let calls = spans.iter().filter(|span| span.span_name() == "getppid");
        calls.filter(|span| span.parent_span_id() == Some(id)).count()
    };
    let mut found: Vec<_> = processes
        .values()
        .map(|span| {
            let parent = span.parent_span_id().map(|id| comm(processes[&id]));
            let life = span.process_span().unwrap();
            assert_eq!(life.threads_started, life.threads_ended, "{span:?}");
            let calls = calls_of(span.span_id());
            (comm(span), parent.unwrap_or_default(), calls, life.end, life.threads_started)
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = FAMILY.map(|(name, parent, calls, end, threads)| {
        (name.to_owned(), parent.to_owned(), calls, end, threads)
    });
    assert_eq!(found, expected);
    let traces: BTreeSet<_> = spans.iter().map(SpanRecord::trace_id).collect();
    assert_eq!(traces.len(), 1);
    let killed = processes.values().filter(|span| span.status_code() == StatusCode::Error);
    assert_eq!(killed.map(|span| comm(span)).collect::<Vec<_>>(), ["s"]);
    let execs = |name| {
        let span = processes.values().find(|span| comm(span) == name).unwrap();
        span.process_span().unwrap().programs.len()
    };
    assert_eq!((execs("c"), execs("v"), execs("x2"), execs("a")), (1, 1, 1, 0));
}

/// Every call is its process's, and lies in its time.
fn check_calls(spans: &[SpanRecord]) {
    let processes = processes(spans);
    for span in spans.iter().filter(|span| span.syscall().is_some()) {
        let process = processes[&span.parent_span_id().unwrap()];
        assert_eq!(span.process_id(), process.process_id());
        assert!(process.start_time_nanos() <= span.start_time_nanos(), "{span:?} {process:?}");
        assert!(span.end_time_nanos() <= process.end_time_nanos(), "{span:?} {process:?}");
    }
    for span in processes.values() {
        if let Some(parent) = span.parent_span_id() {
            assert!(processes[&parent].start_time_nanos() <= span.start_time_nanos());
        }
    }
}

/// Whatever happened before something else has the smaller clock.
fn check_clocks(spans: &[SpanRecord]) -> usize {
    let processes = processes(spans);
    let mut pairs = 0;
    let mut before = |first: &SpanRecord, then: &SpanRecord| {
        assert!(first.logical_clock() < then.logical_clock(), "{first:?}\n{then:?}");
        pairs += 1;
    };
    let mut threads: BTreeMap<_, Vec<&SpanRecord>> = BTreeMap::new();
    let mut clocks = BTreeSet::new();
    for span in spans.iter().filter(|span| span.syscall().is_some()) {
        assert!(clocks.insert((span.parent_span_id(), span.logical_clock())), "twice: {span:?}");
        threads.entry((span.parent_span_id(), span.thread_id())).or_default().push(span);
        before(processes[&span.parent_span_id().unwrap()], span);
    }
    // In a thread one call comes after the other.
    for calls in threads.values_mut() {
        calls.sort_by_key(|span| span.start_time_nanos());
        calls.windows(2).for_each(|pair| before(pair[0], pair[1]));
    }
    let of_process = |pid: i64| {
        let all = spans.iter().filter(move |span| i64::from(span.process_id()) == pid);
        assert!(all.clone().count() > 0, "no process {pid}");
        all
    };
    for span in spans {
        let Some(call) = span.syscall().filter(|call| call.ret > 0) else { continue };
        match &*span.span_name() {
            // A thread's id is that of no process here.
            "clone" | "clone3" | "fork" | "vfork" => {
                let is_process =
                    processes.values().any(|it| i64::from(it.process_id()) == call.ret);
                let born = of_process(if is_process { call.ret } else { span.process_id().into() });
                let born =
                    born.filter(|it| is_process || it.thread_id() == call.ret.cast_unsigned());
                born.for_each(|it| before(span, it));
            }
            "wait4" => of_process(call.ret).for_each(|it| before(it, span)),
            _ => {}
        }
    }
    pairs
}

/// Programs that keep all processors busy.
fn load() -> Vec<Workload> {
    let busy = (0..2).map(|_| {
        let mut workload = Workload::new(&["calls", "100000000000"]);
        workload.begin();
        workload
    });
    busy.collect()
}

#[test]
fn a_family_of_known_shape_is_a_tree_of_that_shape() {
    let _load = load();
    let mut pairs = 0;
    let runs = amount("TRACER_TEST_FAMILIES", fewer_in_guests(10));
    for _ in 0..runs {
        let spans = family();
        check_shape(&spans);
        check_calls(&spans);
        pairs += check_clocks(&spans);
    }
    println!("{runs} families, {pairs} pairs of events in order");
}
