//! One line per span, as a user of strace reads it:
//!
//! ```text
//! 13:05:21.480101 cat[8431] openat(AT_FDCWD, "/etc/hostname", 0, 0) = 3 <0.000009412>
//! ```

use std::{collections::HashSet, io, sync::LazyLock};

use anstyle::{AnsiColor, Style};
use jiff::{Timestamp, tz::TimeZone};
use tracer_common::{
    errno,
    event::{Reason, Record},
    memory::part,
    syscalls::{ArgKind, Ret},
};

use super::{
    ExportError, Exporter, Output,
    argument::{self, arguments},
    output,
};
use crate::escape;
use crate::span_record::{Captured, ProcessEnd, ProcessSpan, SignalSpan, SpanRecord, SyscallSpan};
use crate::values::{self, Context, TextArgument};

const SECOND: u64 = 1_000_000_000;

/// How lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TextStyle {
    /// Colours, for a terminal.
    pub color: bool,
    /// Indented by the depth of the process in its tree.
    pub tree: bool,
    /// Which ends of processes have a line.
    pub exits: Lines,
    /// Which signals have a line.
    pub signals: Lines,
}

/// Which of the lines that are about no call are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Lines {
    /// All.
    #[default]
    All,
    /// Those of processes that have shown a line of a call.
    OfShown,
    /// None.
    None,
}

/// Writes lines of text.
#[derive(Debug)]
pub struct TextExporter {
    output: Output,
    buffer: output::Lines,
    lines: Writer,
}

impl TextExporter {
    /// Writes to `output`.
    pub fn new(output: Output, style: TextStyle) -> Self {
        Self {
            output,
            buffer: output::Lines::default(),
            lines: Writer::new(style, TimeZone::system()),
        }
    }
}

impl Exporter for TextExporter {
    fn export(&mut self, batch: &[SpanRecord]) -> Result<(), ExportError> {
        self.output.write_batch(batch, &mut self.buffer, |out, span| self.lines.push(out, span))
    }

    fn idle(&mut self) -> Result<(), ExportError> {
        self.output.check_reader()
    }
}

#[derive(Debug)]
struct Writer {
    style: TextStyle,
    zone: TimeZone,
    /// Seconds at which `offset` was looked up; it holds for a quarter of an hour, and no zone
    /// changes at other times.
    looked_up: u64,
    offset: i64,
    shown: Shown,
}

impl Writer {
    fn new(style: TextStyle, zone: TimeZone) -> Self {
        Self { style, zone, looked_up: u64::MAX, offset: 0, shown: Shown::default() }
    }

    fn push(&mut self, out: &mut Vec<u8>, span: &SpanRecord) {
        if let Some(life) = span.process_span() {
            let is_wanted = self.wants(self.style.exits, span);
            self.shown.remove(span);
            return if is_wanted {
                self.push_end(out, span, life)
            };
        }
        if span.signal().is_some() && !self.wants(self.style.signals, span) {
            return;
        }
        if span.syscall().is_some() {
            self.shown.insert(span);
        }
        self.push_time(out, span.start_time_nanos());
        self.push_indent(out, span);
        match (span.syscall(), span.signal()) {
            (Some(call), _) => self.push_call(out, span, call),
            (None, Some(signal)) => self.push_signal(out, span, signal),
            (None, None) => self.push_other(out, span),
        }
        out.push(b'\n');
    }

    fn wants(&self, which: Lines, span: &SpanRecord) -> bool {
        match which {
            Lines::All => true,
            Lines::OfShown => self.shown.contains(span),
            Lines::None => false,
        }
    }

    fn push_indent(&self, out: &mut Vec<u8>, span: &SpanRecord) {
        // Deeper ones would leave no room for the line.
        const DEEPEST: u32 = 40;
        let depth = span.process().filter(|_| self.style.tree).map_or(0, |it| it.depth);
        out.push(b' ');
        (0..depth.min(DEEPEST)).for_each(|_| out.extend(b"  "));
    }

    /// Local time of day with microseconds.
    fn push_time(&mut self, out: &mut Vec<u8>, nanos: u64) {
        const QUARTER: u64 = 15 * 60;
        let seconds = nanos / SECOND;
        if self.looked_up != seconds / QUARTER {
            self.looked_up = seconds / QUARTER;
            let time = Timestamp::from_second(seconds.cast_signed()).unwrap_or_default();
            self.offset = i64::from(self.zone.to_offset(time).seconds());
        }
        let day = seconds.saturating_add_signed(self.offset) % 86_400;
        for (value, end) in [(day / 3600, b':'), (day / 60 % 60, b':'), (day % 60, b'.')] {
            push_padded(out, value, 2);
            out.push(end);
        }
        push_padded(out, nanos % SECOND / 1000, 6);
    }

    fn push_call(&self, out: &mut Vec<u8>, span: &SpanRecord, call: &SyscallSpan) {
        self.paint(out, AnsiColor::Cyan, |out| escape::push_visible(out, call.comm()));
        push_ids(out, span);
        out.push(b' ');
        let resumed = call.record == Record::ExitOnly;
        if resumed {
            out.extend(b"<... ");
        }
        self.paint(out, AnsiColor::Blue, |out| out.extend(call.name().bytes()));
        out.extend(if resumed { &b" resumed>("[..] } else { b"(" });
        let context = argument::context(span, call);
        let all = arguments(call, &context);
        match values::text_order(&context) {
            None => {
                for (index, arg) in all.iter().enumerate() {
                    out.extend(if index > 0 { &b", "[..] } else { b"" });
                    self.push_argument(out, call, &context, arg.kind, index);
                }
            }
            Some(order) => {
                for (position, it) in order.iter().enumerate() {
                    out.extend(if position > 0 { &b", "[..] } else { b"" });
                    self.push_named(out, call, &context, *it);
                }
            }
        }
        self.push_result(out, span, call, &context);
    }

    fn push_argument(
        &self,
        out: &mut Vec<u8>,
        call: &SyscallSpan,
        context: &Context<'_>,
        kind: ArgKind,
        index: usize,
    ) {
        match argument::text(call, index, kind) {
            Some(text) => self.paint(out, AnsiColor::Green, |out| argument::push_text(out, text)),
            None => argument::push_value(out, call, context, kind, index),
        }
    }

    /// `child_tidptr=0x7f0cb6859a10`
    fn push_named(
        &self,
        out: &mut Vec<u8>,
        call: &SyscallSpan,
        context: &Context<'_>,
        it: TextArgument,
    ) {
        out.extend(it.name.bytes());
        out.push(b'=');
        if let Some(number) = it.pointee {
            out.push(b'[');
            out.extend(itoa::Buffer::new().format(number).bytes());
            return out.push(b']');
        }
        let args = call.info().map_or(&[][..], |info| info.args);
        let kind = args.get(it.index).map_or(ArgKind::Ptr, |arg| arg.kind);
        self.push_argument(out, call, context, kind, it.index);
    }

    fn push_result(
        &self,
        out: &mut Vec<u8>,
        span: &SpanRecord,
        call: &SyscallSpan,
        context: &Context<'_>,
    ) {
        match call.reason {
            Reason::Unfinished => return out.extend(b" <unfinished ...>"),
            Reason::Superseded => return out.extend(b" <unfinished ...> superseded"),
            Reason::RunningAtAttach => {
                return out.extend(b" <unfinished ...> entered before tracing");
            }
            Reason::TaskDied => return out.extend(b") = ? <thread died>"),
            Reason::NoReturn => return out.extend(b") = ?"),
            Reason::None | Reason::EnterNotSeen => out.extend(b") = "),
        }
        let ret = call.info().map_or(Ret::Int, |info| info.ret);
        let mut number = itoa::Buffer::new();
        if let Some(code) = call.restart() {
            out.extend(b"? ");
            out.extend(code.bytes());
            out.extend(restarts(code).bytes());
        } else if let Some(error) = call.error() {
            self.paint(out, AnsiColor::Red, |out| {
                out.extend(b"-1 ");
                out.extend(error.bytes());
            });
            push_description(out, call);
        } else {
            match ret {
                Ret::Pointer => values::push_pointer(out, call.ret.cast_unsigned()),
                Ret::None => out.push(b'?'),
                Ret::Int | Ret::Fd | Ret::Size
                    if values::push_result_fd(out, context)
                        || values::push_result(out, context) => {}
                Ret::Int | Ret::Fd | Ret::Size => out.extend(number.format(call.ret).bytes()),
            }
            let returned = |index| {
                let captured = call.returned(index, part::WHOLE);
                captured.filter(Captured::is_read).map(|it| it.bytes)
            };
            values::push_result_note(out, context, returned);
        }
        if call.record == Record::Complete {
            push_duration(out, span.duration_nanos());
        }
    }

    /// The end of a process, at its time. One whose end was not seen has no line.
    fn push_end(&mut self, out: &mut Vec<u8>, span: &SpanRecord, life: &ProcessSpan) {
        if life.end.state().is_some() {
            return;
        }
        self.push_time(out, span.end_time_nanos());
        self.push_indent(out, span);
        self.paint(out, AnsiColor::Cyan, |out| escape::push_visible(out, life.comm()));
        push_ids(out, span);
        match life.end {
            ProcessEnd::Exited(code) => {
                out.extend(b" +++ exited with ");
                out.extend(itoa::Buffer::new().format(code).bytes());
            }
            ProcessEnd::Killed { core, .. } => {
                out.extend(b" +++ killed by ");
                out.extend(life.end.signal_name().unwrap_or_default().bytes());
                if core {
                    out.extend(b" (core dumped)");
                }
            }
            ProcessEnd::Unfinished | ProcessEnd::NotSeen | ProcessEnd::Continued => {}
        }
        out.extend(b" +++\n");
    }

    /// `--- SIGUSR1 {si_signo=SIGUSR1, si_code=SI_USER, si_pid=7, si_uid=0} ---`
    fn push_signal(&self, out: &mut Vec<u8>, span: &SpanRecord, signal: &SignalSpan) {
        self.paint(out, AnsiColor::Cyan, |out| escape::push_visible(out, signal.comm()));
        push_ids(out, span);
        out.extend(b" --- ");
        out.extend(signal.name().bytes());
        if !signal.info().is_empty() {
            out.push(b' ');
            values::push_siginfo(out, signal.info());
        }
        out.extend(b" ---");
    }

    /// A span that is no syscall: its name and how it ended.
    fn push_other(&self, out: &mut Vec<u8>, span: &SpanRecord) {
        self.paint(out, AnsiColor::Blue, |out| {
            escape::push_visible(out, span.span_name().as_bytes());
        });
        push_ids(out, span);
        out.push(b' ');
        out.extend(span.status_code().name().bytes());
        if !span.status_message().is_empty() {
            out.extend(b": ");
            escape::push_visible(out, span.status_message().as_bytes());
        }
        push_duration(out, span.duration_nanos());
    }

    fn paint(&self, out: &mut Vec<u8>, color: AnsiColor, write: impl FnOnce(&mut Vec<u8>)) {
        if !self.style.color {
            return write(out);
        }
        let style = Style::new().fg_color(Some(color.into()));
        out.extend(style.render().to_string().bytes());
        write(out);
        out.extend(style.render_reset().to_string().bytes());
    }
}

/// Processes that have shown a line, by id and start. Of very many, those that have shown none for
/// longest are forgotten.
#[derive(Debug, Default)]
struct Shown {
    /// The one that was entered last: neighbours are mostly of one process.
    last: Option<(u32, u64)>,
    recent: HashSet<(u32, u64)>,
    older: HashSet<(u32, u64)>,
}

impl Shown {
    /// Most processes in either set.
    const MOST: usize = 65_536;

    fn key(span: &SpanRecord) -> Option<(u32, u64)> {
        span.process().map(|process| (process.tgid, process.start_ns))
    }

    fn insert(&mut self, span: &SpanRecord) {
        let key = Self::key(span);
        if self.last == key {
            return;
        }
        self.last = key;
        if self.recent.len() >= Self::MOST {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.extend(key);
    }

    fn contains(&self, span: &SpanRecord) -> bool {
        Self::key(span).is_none_or(|key| self.recent.contains(&key) || self.older.contains(&key))
    }

    fn remove(&mut self, span: &SpanRecord) {
        if let Some(key) = Self::key(span) {
            self.recent.remove(&key);
            self.older.remove(&key);
            self.last = self.last.filter(|last| *last != key);
        }
    }
}

/// What the kernel does with a call that returns this code, signal(7).
fn restarts(code: &str) -> &'static str {
    match code {
        "ERESTARTSYS" => " (To be restarted if SA_RESTART is set)",
        "ERESTARTNOINTR" => " (To be restarted)",
        "ERESTARTNOHAND" => " (To be restarted if no handler)",
        _ => " (Interrupted by signal)",
    }
}

/// The process, and the thread where it is not the first.
fn push_ids(out: &mut Vec<u8>, span: &SpanRecord) {
    let mut number = itoa::Buffer::new();
    out.push(b'[');
    out.extend(number.format(span.process_id()).bytes());
    if span.thread_id() != u64::from(span.process_id()) {
        out.push(b'/');
        out.extend(number.format(span.thread_id()).bytes());
    }
    out.push(b']');
}

fn push_description(out: &mut Vec<u8>, call: &SyscallSpan) {
    let text = call.errno().and_then(description);
    if let Some(text) = text {
        out.extend(b" (");
        out.extend(text.bytes());
        out.push(b')');
    }
}

/// What the C library says of an error that has a name: strace says the same.
fn description(errno: u32) -> Option<&'static str> {
    /// From here on numbers are the kernel's own.
    const INTERNAL: u32 = 512;
    static ALL: LazyLock<Vec<Option<String>>> = LazyLock::new(|| {
        let text = |number: u32| {
            errno::name(number)?;
            let text = io::Error::from_raw_os_error(i32::try_from(number).ok()?).to_string();
            text.rsplit_once(" (os error").map(|(text, _)| text.to_owned())
        };
        (0..INTERNAL).map(text).collect()
    });
    ALL.get(usize::try_from(errno).ok()?)?.as_deref()
}

fn push_duration(out: &mut Vec<u8>, nanos: u64) {
    let mut number = itoa::Buffer::new();
    out.extend(b" <");
    out.extend(number.format(nanos / SECOND).bytes());
    out.push(b'.');
    push_padded(out, nanos % SECOND, 9);
    out.push(b'>');
}

fn push_padded(out: &mut Vec<u8>, value: u64, width: usize) {
    let mut number = itoa::Buffer::new();
    let digits = number.format(value);
    out.extend(std::iter::repeat_n(b'0', width.saturating_sub(digits.len())));
    out.extend(digits.bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::process::Process;
    use crate::span_record::{Payload, SpanContext, SpanTimes};
    use tracer_common::event::{Abi, CaptureState};

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
        Writer::new(TextStyle { color, ..TextStyle::default() }, TimeZone::UTC)
            .push(&mut out, span);
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
            args: [flags, 0, 0x10, 0x20, 0x30, 0],
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
        assert!(text(clone(0x10_0000, -11)).contains("parent_tid=0x10) = -1 EAGAIN"));
    }

    #[test]
    fn calls_without_both_ends_say_so() {
        let call = |record, reason| SyscallSpan { record, reason, ..openat(b"/x", 5) };
        let end = |call| line(call, false).split_once("openat").unwrap().1.to_owned();
        let unfinished = call(Record::EnterOnly, Reason::Unfinished);
        assert_eq!(end(unfinished), "(AT_FDCWD, \"/x\", O_RDONLY|O_CLOEXEC <unfinished ...>\n");
        let running = call(Record::EnterOnly, Reason::RunningAtAttach);
        assert!(
            end(running).ends_with("O_RDONLY|O_CLOEXEC <unfinished ...> entered before tracing\n")
        );
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
            let signal = SignalSpan { signal: words[0], info, info_len, comm, cgroup_id: 1 };
            line_of(&SpanRecord::from_signal(context(), signal), false)
        };
        assert_eq!(
            signal(&[10, 0, 0, 0, 123, 1000], 48),
            "22:13:20.123456 cat[8431/8432] --- SIGUSR1 {si_signo=SIGUSR1, si_code=SI_USER, \
             si_pid=123, si_uid=1000} ---\n"
        );
        let segv = signal(&[11, 0, 1, 0, 0x10, 0], 48);
        assert!(
            segv.contains("--- SIGSEGV {si_signo=SIGSEGV, si_code=SEGV_MAPERR, si_addr=0x10} ---")
        );
        let child = signal(&[17, 0, 1, 0, 9, 0, 3, 0, 1, 0, 2, 0], 48);
        assert!(
            child.contains(
                "{si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=9, si_uid=0, si_status=3, si_utime="
            ),
            "{child}"
        );
        assert!(signal(&[34], 0).ends_with("] --- SIGRT_2 ---\n"));
        let short = signal(&[9, 0, 0], 12);
        assert!(
            short.contains("{si_signo=SIGKILL, si_code=SI_USER, ") && !short.contains("si_pid")
        );
    }

    /// On a busy host most ends are of processes that have nothing to do with what is shown.
    #[test]
    fn ends_are_those_of_processes_that_have_shown_a_line() {
        let process = |tgid| {
            Arc::new(Process { tgid, start_ns: 5, program: (*b"cat").into(), ..Process::default() })
        };
        let ends = |tgid| {
            let times = SpanTimes { start_time_nanos: 0, end_time_nanos: 9, logical_clock: 1 };
            let life = ProcessSpan {
                name: "cat".into(),
                comm: [0; 16],
                cgroup_id: 1,
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
            let signal =
                SignalSpan { signal: 10, info: [0; 48], info_len: 0, comm: [0; 16], cgroup_id: 1 };
            SpanRecord::from_signal(context, signal)
        };
        let spans = [call(1), call(1), signal(1), signal(2), ends(2), ends(1), ends(1)];
        let lines = |exits, signals| {
            let style = TextStyle { exits, signals, ..TextStyle::default() };
            let (mut writer, mut out) = (Writer::new(style, TimeZone::UTC), Vec::new());
            spans.iter().for_each(|span| writer.push(&mut out, span));
            let text = String::from_utf8(out).unwrap();
            (text.matches("+++ exited with 3 +++").count(), text.matches("--- SIGUSR1 ---").count())
        };
        assert_eq!(lines(Lines::All, Lines::All), (3, 2));
        assert_eq!(lines(Lines::OfShown, Lines::OfShown), (1, 1));
        assert_eq!(lines(Lines::None, Lines::None), (0, 0));
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
    }
}
