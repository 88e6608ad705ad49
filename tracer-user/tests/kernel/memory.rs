//! Memory that arguments lead to, against programs that say what a tracer has to show.

use tracer_common::{counter::Counter, event::CaptureState, memory::DataLimit, parse::Captures};
use tracer_user::{
    export::{Exporter, JsonExporter, Output, TextExporter, TextStyle},
    ledger::Ledger,
    pipeline::TraceOptions,
    span_record::{SpanRecord, StatusCode},
};

use super::support::{syscalls, trace_speaking_workload};

const ALL_DATA: DataLimit = DataLimit { bytes: 32, data: true };

/// Runs a case; returns its spans and what it printed.
fn run(case: &str, names: &str, data: DataLimit) -> (Vec<SpanRecord>, String, Ledger) {
    let options = TraceOptions { syscalls: syscalls(names), data, ..TraceOptions::default() };
    trace_speaking_workload(&["memory", case], options)
}

/// The calls as text, without time, thread and duration.
pub(crate) fn text(spans: &[SpanRecord]) -> Vec<String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let output = Output::from(file.reopen().unwrap());
    TextExporter::new(output, TextStyle::default()).export(spans).unwrap();
    let lines = std::fs::read_to_string(file.path()).unwrap();
    let call = |line: &str| {
        let (_, call) = line.split_once("] ").unwrap();
        call.rsplit_once(" <").map_or(call, |(call, _)| call).to_owned()
    };
    lines.lines().map(call).collect()
}

/// What the program said stands among the calls, in its order.
#[track_caller]
fn as_predicted(case: &str, data: DataLimit) {
    let names = "nanosleep,pipe2,prlimit64,uname,sendmsg,recvmsg,execve,shmctl,ptrace,wait4,waitid,\
                 recvfrom,recvmmsg,setsockopt,getsockopt,getgroups,fsetxattr,fgetxattr,flistxattr,\
                 pselect6,clone3,getsockname";
    let (spans, predicted, _) = run(case, names, data);
    let seen = text(&spans);
    let mut lines = seen.iter();
    let mut count = 0;
    for expected in predicted.lines() {
        assert!(lines.any(|line| line == expected), "{expected}\nis not among {seen:#?}");
        count += 1;
    }
    assert!(count > 0, "the program said nothing");
}

#[test]
fn structures_are_read_at_entry_and_at_exit() {
    as_predicted("structures", DataLimit::default());
}

#[test]
fn structures_that_a_command_says() {
    as_predicted("commands", DataLimit::default());
}

#[test]
fn structures_at_the_end_of_a_page() {
    as_predicted("page-ends", DataLimit::default());
}

#[test]
fn pointers_to_nothing_are_shown_as_pointers() {
    as_predicted("bad-pointers", DataLimit::default());
}

#[test]
fn messages_with_their_data() {
    as_predicted("messages", ALL_DATA);
}

#[test]
fn a_structure_on_a_page_that_was_never_touched() {
    as_predicted("cold", DataLimit::default());
}

#[test]
fn what_could_be_read_at_exit_alone_is_marked_as_such() {
    let (spans, ..) = run("cold", "nanosleep", DataLimit::default());
    let late: Vec<u8> = spans.iter().map(|it| it.syscall().unwrap().read_late()).collect();
    assert_eq!(late, [1]);
    let file = tempfile::NamedTempFile::new().unwrap();
    JsonExporter::new(Output::from(file.reopen().unwrap())).export(&spans).unwrap();
    let line: serde_json::Value = serde_json::from_reader(file.reopen().unwrap()).unwrap();
    let args = &line["syscall"]["args"];
    assert_eq!((&args[0]["read_at"], args[1].get("read_at")), (&"exit".into(), None));
    assert_eq!(args[0]["detail"]["tv_nsec"], 9);
}

#[test]
fn what_the_kernel_has_not_written_is_not_shown() {
    as_predicted("unwritten", ALL_DATA);
}

#[test]
fn arguments_of_programs() {
    as_predicted("exec", DataLimit::default());
}

/// No byte of the kernel's is in any record: every capture is a fault, without bytes.
#[test]
fn ten_thousand_kernel_addresses() {
    const COUNT: u64 = 10_000;
    let case = format!("kernel-addresses-{COUNT}");
    let names = "nanosleep,writev,connect,execve";
    let (spans, _, ledger) = run(&case, names, ALL_DATA);
    let mut seen = 0;
    for span in &spans {
        let call = span.syscall().unwrap();
        if !call.args.iter().any(|arg| arg >> 63 != 0 && *arg != u64::MAX) {
            continue;
        }
        seen += 1;
        assert_eq!(span.status_code(), StatusCode::Error);
        for (header, bytes) in Captures::new(call.payload.as_slice()) {
            let state = CaptureState::from_wire(header.state);
            assert_eq!((state, bytes), (Some(CaptureState::Fault), &b""[..]), "{call:?}");
        }
    }
    assert_eq!(seen, COUNT);
    assert!(ledger.kernel.get(Counter::MemoryFault) > 0);
}

#[test]
fn data_is_not_captured_unless_asked_for() {
    let (spans, ..) = run("data", "read,write,writev", DataLimit::default());
    assert!(spans.len() >= 5);
    for span in &spans {
        let payload = span.syscall().unwrap().payload.as_slice();
        let secret = b"correct";
        assert!(!payload.windows(secret.len()).any(|it| it == secret), "{span:?}");
    }
    assert!(!text(&spans).iter().any(|line| line.contains("horse")));
}

#[test]
fn data_is_captured_as_far_as_asked_for() {
    let (spans, ..) = run("data", "read,write,writev", ALL_DATA);
    let lines = text(&spans);
    let has = |wanted: &str| assert!(lines.iter().any(|it| it.contains(wanted)), "{lines:#?}");
    has(", \"correct horse battery staple, an\"..., 54) = 54");
    has(", \"correct horse battery staple, an\"..., 100) = 54");
    has(", \"\", 0) = 0");
    has("[{iov_base=\"correct\", iov_len=7}, {iov_base=NULL, iov_len=0}, {iov_base=\"e, a\"");
}
