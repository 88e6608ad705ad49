//! One line per span, as a user of strace reads it:
//!
//! ```text
//! 13:05:21.480101 cat[8431] openat(AT_FDCWD, "/etc/hostname", 0, 0) = 3 <0.000009412>
//! ```

mod shown;

use std::{io, sync::LazyLock};

use anstyle::{AnsiColor, Style};
use jiff::{Timestamp, tz::TimeZone};
use tracer_common::{
    errno,
    event::{CaptureState, Reason, Record},
    memory::part,
    syscalls::{ArgKind, Ret},
};

use self::shown::Shown;
use super::{
    ExportError, Exporter, Output,
    argument::{self, arguments},
    bounds, output,
};
use crate::escape;
use crate::span_record::{
    Captured, Loss, ProcessEnd, ProcessSpan, SignalSpan, SpanRecord, SyscallSpan,
};
use crate::values::{self, Context, Returned, TextArgument};

const SECOND: u64 = 1_000_000_000;
/// Durations from which on colours set them off, in nanoseconds.
const SLOW: u64 = 10_000_000;
const SLOWEST: u64 = SECOND;

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
    /// How each line says when it was.
    pub times: Times,
    /// With the number of each call in its ABI.
    pub numbers: bool,
}

/// How a line says when what it is about began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Times {
    /// The time of day with microseconds: `13:05:21.480101`.
    #[default]
    Micros,
    /// The time of day: `13:05:21`.
    Seconds,
    /// Seconds since the Unix epoch with microseconds: `1700000000.480101`.
    Epoch,
    /// Seconds since what the line before is about began, less than zero where that began later:
    /// `0.000041`, `-0.000003`. Lines stand in the order in which calls end.
    Relative,
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
    /// When what the last line is about began.
    before: Option<u64>,
    shown: Shown,
}

impl Writer {
    fn new(style: TextStyle, zone: TimeZone) -> Self {
        let shown = Shown::default();
        Self { style, zone, looked_up: u64::MAX, offset: 0, before: None, shown }
    }

    fn push(&mut self, out: &mut Vec<u8>, span: &SpanRecord) {
        if let Some(life) = span.process_span() {
            let is_wanted = self.wants(self.style.exits, span);
            self.shown.remove(span);
            if is_wanted {
                self.push_end(out, span, life);
            }
            return;
        }
        if let Some(loss) = span.loss() {
            return self.push_loss(out, span, loss);
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
        match self.style.times {
            Times::Micros => {
                self.push_time_of_day(out, nanos / SECOND);
                push_micros(out, nanos % SECOND);
            }
            Times::Seconds => self.push_time_of_day(out, nanos / SECOND),
            Times::Epoch => {
                push_padded(out, nanos / SECOND, 1);
                push_micros(out, nanos % SECOND);
            }
            Times::Relative => {
                let before = self.before.replace(nanos).unwrap_or(nanos);
                out.extend(if nanos < before { &b"-"[..] } else { b"" });
                push_padded(out, nanos.abs_diff(before) / SECOND, 1);
                push_micros(out, nanos.abs_diff(before) % SECOND);
            }
        }
    }

    fn push_time_of_day(&mut self, out: &mut Vec<u8>, seconds: u64) {
        const QUARTER: u64 = 15 * 60;
        if self.looked_up != seconds / QUARTER {
            self.looked_up = seconds / QUARTER;
            let time = Timestamp::from_second(seconds.cast_signed()).unwrap_or_default();
            self.offset = i64::from(self.zone.to_offset(time).seconds());
        }
        let day = seconds.saturating_add_signed(self.offset) % 86_400;
        push_padded(out, day / 3600, 2);
        for value in [day / 60 % 60, day % 60] {
            out.push(b':');
            push_padded(out, value, 2);
        }
    }

    fn push_call(&self, out: &mut Vec<u8>, span: &SpanRecord, call: &SyscallSpan) {
        self.paint(out, AnsiColor::Cyan, |out| escape::push_visible(out, call.comm()));
        push_ids(out, span);
        out.push(b' ');
        if self.style.numbers {
            push_number(out, call.nr);
        }
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
        if !it.name.is_empty() {
            out.extend(it.name.bytes());
            out.push(b'=');
        }
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
                Ret::None => out.push(b'?'),
                _ if values::push_result_fd(out, context) || values::push_result(out, context) => {}
                Ret::Pointer => values::push_pointer(out, call.ret.cast_unsigned()),
                Ret::Int | Ret::Narrow | Ret::Fd | Ret::Size => {
                    out.extend(number.format(call.ret).bytes());
                }
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
            let duration = span.duration_nanos();
            let write = |out: &mut Vec<u8>| push_duration(out, duration);
            match duration {
                SLOWEST.. => self.paint(out, AnsiColor::Red, write),
                SLOW.. => self.paint(out, AnsiColor::Yellow, write),
                _ => write(out),
            }
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

    /// `--- lost 12 calls between 14:05:02.117301 and 14:05:31.620114: the kernel ring was full ---`
    fn push_loss(&mut self, out: &mut Vec<u8>, span: &SpanRecord, loss: &Loss) {
        self.push_time(out, span.end_time_nanos());
        out.extend(b" --- ");
        self.paint(out, AnsiColor::Red, |out| out.extend(loss.words().bytes()));
        out.extend(b" between ");
        self.push_time(out, span.start_time_nanos());
        out.extend(b" and ");
        self.push_time(out, span.end_time_nanos());
        out.extend(b": ");
        out.extend(loss.place.words().bytes());
        out.extend(b" ---\n");
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

/// The part of a second, in microseconds.
fn push_micros(out: &mut Vec<u8>, nanos: u64) {
    out.push(b'.');
    push_padded(out, nanos / 1000, 6);
}

/// A call's number, as strace writes it: `[  59] `.
fn push_number(out: &mut Vec<u8>, nr: u32) {
    const WIDTH: usize = 4;
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(nr).as_bytes();
    out.push(b'[');
    out.extend(std::iter::repeat_n(b' ', WIDTH.saturating_sub(digits.len())));
    out.extend(digits);
    out.extend(b"] ");
}

fn push_padded(out: &mut Vec<u8>, value: u64, width: usize) {
    let mut number = itoa::Buffer::new();
    let digits = number.format(value);
    out.extend(std::iter::repeat_n(b'0', width.saturating_sub(digits.len())));
    out.extend(digits.bytes());
}

#[cfg(test)]
mod tests;
