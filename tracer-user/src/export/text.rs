//! One line per span, as a user of strace reads it:
//!
//! ```text
//! 13:05:21.480101 cat[8431] openat(AT_FDCWD, "/etc/hostname", 0, 0) = 3 <0.000009412>
//! ```

use std::{io, sync::LazyLock};

use anstyle::{AnsiColor, Style};
use jiff::{Timestamp, tz::TimeZone};
use tracer_common::{
    errno,
    event::{CaptureState, Reason, Record},
    memory::part,
    syscalls::{ArgKind, Ret},
};

use super::{
    ExportError, Exporter, Output,
    argument::{self, arguments},
    bounds,
};
use crate::escape;
use crate::span_record::{Captured, ProcessEnd, ProcessSpan, SpanRecord, SyscallSpan};
use crate::values::{self, Context, Returned, TextArgument};

const SECOND: u64 = 1_000_000_000;

/// How lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TextStyle {
    /// Colours, for a terminal.
    pub color: bool,
    /// Indented by the depth of the process in its tree.
    pub tree: bool,
}

/// Writes lines of text.
#[derive(Debug)]
pub struct TextExporter {
    output: Output,
    buffer: Vec<u8>,
    lines: Lines,
}

impl TextExporter {
    /// Writes to `output`.
    pub fn new(output: Output, style: TextStyle) -> Self {
        Self { output, buffer: Vec::new(), lines: Lines::new(style, TimeZone::system()) }
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
struct Lines {
    style: TextStyle,
    zone: TimeZone,
    /// Seconds at which `offset` was looked up; it holds for a quarter of an hour, and no zone
    /// changes at other times.
    looked_up: u64,
    offset: i64,
}

impl Lines {
    fn new(style: TextStyle, zone: TimeZone) -> Self {
        Self { style, zone, looked_up: u64::MAX, offset: 0 }
    }

    fn push(&mut self, out: &mut Vec<u8>, span: &SpanRecord) {
        if let Some(life) = span.process_span() {
            return self.push_end(out, span, life);
        }
        self.push_time(out, span.start_time_nanos());
        self.push_indent(out, span);
        match span.syscall() {
            Some(call) => self.push_call(out, span, call),
            None => self.push_other(out, span),
        }
        out.push(b'\n');
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
        let context = argument::context(call);
        let all = arguments(call, &context);
        let late = call.read_late();
        match values::text_order(&context) {
            None => {
                for (index, arg) in all.iter().enumerate() {
                    out.extend(if index > 0 { &b", "[..] } else { b"" });
                    self.push_argument(out, call, &context, arg.kind, index);
                    argument::push_late(out, late, index);
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
            Some(text) => {
                self.paint(out, AnsiColor::Green, |out| argument::push_text(out, text));
                values::push_folder(out, context, index);
            }
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
                let captured = bounds::returned(call, index, part::WHOLE);
                captured.filter(Captured::is_read).map(|it| Returned {
                    bytes: it.bytes,
                    is_cut: it.state == CaptureState::Truncated,
                })
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
    use crate::span_record::{Payload, SpanContext};
    use tracer_common::event::{Abi, Phase};

    fn line(call: SyscallSpan, color: bool) -> String {
        let context = SpanContext {
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
        };
        let mut out = Vec::new();
        Lines::new(TextStyle { color, tree: false }, TimeZone::UTC)
            .push(&mut out, &SpanRecord::from_syscall(context, call));
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
    fn calls_without_both_ends_say_so() {
        let call = |record, reason| SyscallSpan { record, reason, ..openat(b"/x", 5) };
        let end = |call| line(call, false).split_once("openat").unwrap().1.to_owned();
        let unfinished = call(Record::EnterOnly, Reason::Unfinished);
        assert_eq!(end(unfinished), "(AT_FDCWD, \"/x\", O_RDONLY|O_CLOEXEC <unfinished ...>\n");
        let noreturn = call(Record::EnterOnly, Reason::NoReturn);
        assert_eq!(end(noreturn), "(AT_FDCWD, \"/x\", O_RDONLY|O_CLOEXEC) = ?\n");
        let resumed = call(Record::ExitOnly, Reason::EnterNotSeen);
        assert_eq!(end(resumed), " resumed>(AT_FDCWD, \"/x\", O_RDONLY|O_CLOEXEC) = 5\n");
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
