//! Lines as strace writes them.

use super::*;
use std::sync::Arc;

use crate::identity::Program;
use crate::process::Process;
use crate::span_record::{LossPlace, Payload, SpanContext, SpanTimes};
use tracer_common::event::{Abi, CaptureState, Phase};

fn context() -> SpanContext {
    SpanContext {
        process: Arc::new(Process {
            trace_id: [1; 16],
            span_id: [3; 8],
            tgid: 8431,
            ..Process::default()
        }),
        span_id: [2; 8],
        start_time_nanos: 1_700_000_000_123_456_789,
        duration_nanos: 9_876,
        logical_clock: 1,
        thread_id: 8432,
    }
}

fn line(call: SyscallSpan, color: bool) -> String {
    line_of(&SpanRecord::from_syscall(context(), call), color)
}

fn line_of(span: &SpanRecord, color: bool) -> String {
    let mut out = Vec::new();
    Writer::new(TextStyle { color, ..TextStyle::default() }, TimeZone::UTC).push(&mut out, span);
    String::from_utf8(out).unwrap()
}

fn openat(path: &[u8], ret: i64) -> SyscallSpan {
    let mut payload = vec![1, CaptureState::Whole as u8, 0, 0];
    payload.extend(u32::try_from(path.len()).unwrap().to_ne_bytes());
    payload.extend(path);
    payload.resize(payload.len().next_multiple_of(8), 0);
    SyscallSpan {
        args: [0xffff_ff9c, 0x7fff_0000, 0x80000, 0, 0, 0],
        ret,
        cgroup_id: 1,
        uid: 1000,
        gid: 100,
        comm: *b"cat\0\0\0\0\0\0\0\0\0\0\0\0\0",
        payload: Payload::new(&payload),
        nr: 257,
        abi: Abi::X86_64,
        record: Record::Complete,
        reason: Reason::None,
    }
}

#[test]
fn a_line_reads_like_strace() {
    assert_eq!(
        line(openat(b"/etc/hostname", 3), false),
        "22:13:20.123456 cat[8431/8432] \
         openat(AT_FDCWD, \"/etc/hostname\", O_RDONLY|O_CLOEXEC) = 3 <0.000009876>\n"
    );
    assert!(line(openat(b"/x", -2), false).ends_with(
        "openat(AT_FDCWD, \"/x\", O_RDONLY|O_CLOEXEC) = -1 ENOENT (No such file or directory) \
         <0.000009876>\n"
    ));
    assert!(
        line(openat(b"/x", -512), false)
            .contains(") = ? ERESTARTSYS (To be restarted if SA_RESTART is set)")
    );
}

#[test]
fn arguments_of_clone_have_names() {
    let clone = |flags, ret| SyscallSpan {
        args: [flags, 0, 0x1000, 0x20, 0x30, 0],
        payload: Payload::new(&[]),
        nr: 56,
        ..openat(b"", ret)
    };
    let text = |call| line(call, false).split_once("clone").unwrap().1.to_owned();
    // `CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD`, as fork(3) asks for.
    assert!(text(clone(0x120_0011, 7)).starts_with(
        "(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD, \
         child_tidptr=0x20) = 7 "
    ));
    // `CLONE_VM|CLONE_SETTLS|CLONE_PARENT_SETTID`
    assert!(text(clone(0x18_0100, 7)).starts_with(
        "(child_stack=NULL, flags=CLONE_VM|CLONE_SETTLS|CLONE_PARENT_SETTID, \
         parent_tid=[7], tls=0x30) = 7 "
    ));
    assert!(text(clone(0x10_0000, -11)).contains("parent_tid=0x1000) = -1 EAGAIN"));
}

#[test]
fn calls_without_both_ends_say_so() {
    let call = |record, reason| SyscallSpan { record, reason, ..openat(b"/x", 5) };
    let end = |call| line(call, false).split_once("openat").unwrap().1.to_owned();
    let unfinished = call(Record::EnterOnly, Reason::Unfinished);
    assert_eq!(end(unfinished), "(AT_FDCWD, \"/x\", O_RDONLY|O_CLOEXEC <unfinished ...>\n");
    let running = call(Record::EnterOnly, Reason::RunningAtAttach);
    assert!(end(running).ends_with("O_RDONLY|O_CLOEXEC <unfinished ...> entered before tracing\n"));
    let noreturn = call(Record::EnterOnly, Reason::NoReturn);
    assert_eq!(end(noreturn), "(AT_FDCWD, \"/x\", O_RDONLY|O_CLOEXEC) = ?\n");
    let resumed = call(Record::ExitOnly, Reason::EnterNotSeen);
    assert_eq!(end(resumed), " resumed>(AT_FDCWD, \"/x\", O_RDONLY|O_CLOEXEC) = 5\n");
}

#[test]
fn signals_read_like_straces() {
    let signal = |words: &[u32], info_len| {
        let mut info = [0; 48];
        for (place, word) in info.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        let comm = *b"cat\0\0\0\0\0\0\0\0\0\0\0\0\0";
        let signal =
            SignalSpan { signal: words[0], info, info_len, comm, cgroup_id: 1, uid: 0, gid: 0 };
        line_of(&SpanRecord::from_signal(context(), signal), false)
    };
    assert_eq!(
        signal(&[10, 0, 0, 0, 123, 1000], 48),
        "22:13:20.123456 cat[8431/8432] --- SIGUSR1 {si_signo=SIGUSR1, si_code=SI_USER, \
         si_pid=123, si_uid=1000} ---\n"
    );
    let segv = signal(&[11, 0, 1, 0, 0x10, 0], 48);
    assert!(segv.contains("--- SIGSEGV {si_signo=SIGSEGV, si_code=SEGV_MAPERR, si_addr=0x10} ---"));
    let child = signal(&[17, 0, 1, 0, 9, 0, 3, 0, 1, 0, 2, 0], 48);
    assert!(
        child.contains(
            "{si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=9, si_uid=0, si_status=3, si_utime="
        ),
        "{child}"
    );
    assert!(signal(&[34], 0).ends_with("] --- SIGRT_2 ---\n"));
    let short = signal(&[9, 0, 0], 12);
    assert!(short.contains("{si_signo=SIGKILL, si_code=SI_USER, ") && !short.contains("si_pid"));
}

/// On a busy host most ends are of processes that have nothing to do with what is shown.
#[test]
fn ends_are_those_of_processes_that_have_shown_a_line() {
    let process = |tgid| {
        let program = Arc::new(Program { name: (*b"cat").into(), ..Program::default() });
        Arc::new(Process { tgid, start_ns: 5, program, ..Process::default() })
    };
    let ends = |tgid| {
        let times = SpanTimes { start_time_nanos: 0, end_time_nanos: 9, logical_clock: 1 };
        let life = ProcessSpan {
            name: "cat".into(),
            comm: [0; 16],
            cgroup_id: 1,
            owner: None,
            programs: Vec::new(),
            programs_left_out: 0,
            threads_started: 0,
            threads_ended: 0,
            birth: None,
            end: ProcessEnd::Exited(3),
        };
        SpanRecord::from_process(times, process(tgid), life)
    };
    let call = |tgid| {
        let context = SpanContext { process: process(tgid), ..context() };
        SpanRecord::from_syscall(context, openat(b"/x", 3))
    };
    let signal = |tgid| {
        let context = SpanContext { process: process(tgid), ..context() };
        let signal = SignalSpan {
            signal: 10,
            info: [0; 48],
            info_len: 0,
            comm: [0; 16],
            cgroup_id: 1,
            uid: 0,
            gid: 0,
        };
        SpanRecord::from_signal(context, signal)
    };
    let spans = [call(1), call(1), signal(1), signal(2), ends(2), ends(1), ends(1)];
    let lines = |exits, signals| {
        let style = TextStyle { exits, signals, ..TextStyle::default() };
        let (mut writer, mut out) = (Writer::new(style, TimeZone::UTC), Vec::new());
        for span in &spans {
            writer.push(&mut out, span);
        }
        let text = String::from_utf8(out).unwrap();
        (text.matches("+++ exited with 3 +++").count(), text.matches("--- SIGUSR1 ---").count())
    };
    assert_eq!(lines(Lines::All, Lines::All), (3, 2));
    assert_eq!(lines(Lines::OfShown, Lines::OfShown), (1, 1));
    assert_eq!(lines(Lines::None, Lines::None), (0, 0));
}

#[test]
fn a_loss_is_a_line_of_words() {
    let loss = Loss { place: LossPlace::KernelRing, calls: 3_105_519, others: 0 };
    let from = 1_700_000_000_000_000_000;
    assert_eq!(
        line_of(&SpanRecord::from_loss(from, from + 29_500_000_000, loss), false),
        "22:13:49.500000 --- lost 3,105,519 calls between 22:13:20.000000 and 22:13:49.500000: \
         the kernel ring was full (--ring-size) ---\n"
    );
}

#[test]
fn nothing_hostile_reaches_the_terminal() {
    let mut call = openat(b"/a\x1b[2J\n\xff", 3);
    call.comm = *b"\x1b]0;owned\x07\0\0\0\0\0\0";
    let text = line(call, false);
    assert_eq!(text.matches('\n').count(), 1);
    assert!(!text.contains('\x1b'), "{text}");
}

#[test]
fn colours_only_when_asked_for() {
    assert!(line(openat(b"/x", -2), true).contains("\x1b[31m-1 ENOENT\x1b[0m"));
    let took = |duration_nanos| {
        let context = SpanContext { duration_nanos, ..context() };
        line_of(&SpanRecord::from_syscall(context, openat(b"/x", 3)), true)
    };
    assert!(took(9_999_999).ends_with("= 3 <0.009999999>\n"));
    assert!(took(10_000_000).contains("\x1b[33m <0.010000000>\x1b[0m"));
    assert!(took(2_000_000_000).contains("\x1b[31m <2.000000000>\x1b[0m"));
}

#[test]
fn a_clone_says_what_is_there_only_where_something_is() {
    let clone = |place| SyscallSpan {
        args: [0x10_0011, 0, place, 0, 0, 0],
        payload: Payload::new(&[]),
        nr: 56,
        ..openat(b"", 7)
    };
    assert!(line(clone(0), false).contains("SIGCHLD, parent_tid=NULL) = 7"));
    assert!(line(clone(1), false).contains("SIGCHLD, parent_tid=0x1) = 7"));
    assert!(line(clone(0x1000), false).contains("SIGCHLD, parent_tid=[7]) = 7"));
}

#[test]
fn what_was_read_at_exit_is_marked() {
    let text = |phase| {
        let mut bytes = openat(b"/etc/hostname", 3).payload.as_slice().to_vec();
        bytes[2] = phase as u8;
        line(SyscallSpan { payload: Payload::new(&bytes), ..openat(b"", 3) }, false)
    };
    assert!(text(Phase::Late).contains(r#"(AT_FDCWD, "/etc/hostname"@exit, O_RDONLY"#));
    assert!(text(Phase::Enter).contains(r#"(AT_FDCWD, "/etc/hostname", O_RDONLY"#));
}

#[test]
fn times_are_written_as_they_are_wanted() {
    let starts = |times| {
        let style = TextStyle { times, ..TextStyle::default() };
        let mut writer = Writer::new(style, TimeZone::UTC);
        [0, 1_000_041_999, -3_000].map(|later: i64| {
            let mut out = Vec::new();
            let start = context().start_time_nanos.saturating_add_signed(later);
            let context = SpanContext { start_time_nanos: start, ..context() };
            let span = SpanRecord::from_syscall(context, openat(b"/", 3));
            writer.push(&mut out, &span);
            String::from_utf8(out).unwrap().split(' ').next().unwrap().to_owned()
        })
    };
    assert_eq!(starts(Times::Micros), ["22:13:20.123456", "22:13:21.123498", "22:13:20.123453"]);
    assert_eq!(starts(Times::Seconds), ["22:13:20", "22:13:21", "22:13:20"]);
    let epoch = ["1700000000.123456", "1700000001.123498", "1700000000.123453"];
    assert_eq!(starts(Times::Epoch), epoch);
    assert_eq!(starts(Times::Relative), ["0.000000", "1.000041", "-1.000044"]);
}

#[test]
fn numbers_of_calls_stand_before_their_names() {
    let style = TextStyle { numbers: true, ..TextStyle::default() };
    let mut out = Vec::new();
    let span = SpanRecord::from_syscall(context(), openat(b"/", 3));
    Writer::new(style, TimeZone::UTC).push(&mut out, &span);
    let line = String::from_utf8(out).unwrap();
    let number = span.syscall().unwrap().nr;
    assert!(line.contains(&format!(" [{number:4}] openat(")), "{line}");
}
