//! What the span of a process knows beyond the process.

use std::{borrow::Cow, sync::Arc};

use nix::sys::signal::Signal;
use tracer_common::lifecycle::Birth;

use super::StatusCode;
use crate::process::{Process, Program};

/// The life of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessSpan {
    /// The program's name as text.
    pub name: Box<str>,
    /// Name of its first thread, as seen last, ended by a zero byte unless it fills the array.
    pub comm: [u8; 16],
    /// Id of its cgroup (v2), as seen last.
    pub cgroup_id: u64,
    /// Effective user and group id of the thread that was looked at last, in the initial user
    /// namespace; `None` where no record of the process came.
    pub owner: Option<(u32, u32)>,
    /// The programs that it began, in order; the first ones of very many.
    pub programs: Vec<ProgramStart>,
    /// Programs beyond those.
    pub programs_left_out: u32,
    /// Threads that it has started, with those that the kernel has made in it (`io_uring`, vhost, KVM).
    pub threads_started: u32,
    /// Threads that have ended, without the last one.
    pub threads_ended: u32,
    /// How it was born; `None` for one that was there before.
    pub birth: Option<Birth>,
    /// How it ended.
    pub end: ProcessEnd,
}

/// An `execve` that has replaced the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramStart {
    /// Nanoseconds since the Unix epoch.
    pub time_nanos: u64,
    /// What it has begun.
    pub program: Arc<Program>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessEnd {
    /// By its own will, with this exit code.
    Exited(u8),
    /// By a signal.
    Killed {
        /// Its number.
        signal: u8,
        /// Whether memory was dumped.
        core: bool,
    },
    /// It was alive when tracing stopped.
    Unfinished,
    /// It has ended, and the record of that was lost or out of scope.
    NotSeen,
    /// It went on in another trace, to which the environment of its next program belongs.
    Continued,
}

impl ProcessEnd {
    /// From a status as wait(2) gives it.
    pub fn from_status(status: u32) -> Self {
        const CORE: u8 = 0x80;
        let [low, code, ..] = status.to_le_bytes();
        match low & !CORE {
            0 => Self::Exited(code),
            signal => Self::Killed { signal, core: low & CORE != 0 },
        }
    }

    /// The name of the signal that ended it.
    pub fn signal_name(self) -> Option<Cow<'static, str>> {
        let Self::Killed { signal, .. } = self else { return None };
        let known = Signal::try_from(i32::from(signal)).map(Signal::as_str);
        Some(known.map_or_else(|_| Cow::Owned(format!("signal {signal}")), Cow::Borrowed))
    }

    /// How it is said where it is not an exit code or a signal.
    pub const fn state(self) -> Option<&'static str> {
        match self {
            Self::Unfinished => Some("unfinished"),
            Self::NotSeen => Some("end_not_seen"),
            Self::Continued => Some("continued"),
            Self::Exited(_) | Self::Killed { .. } => None,
        }
    }

    /// `Error` for one that a signal ended. What an exit code means is the program's affair.
    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::Killed { .. } => StatusCode::Error,
            _ => StatusCode::Unset,
        }
    }
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A number.
    Int(i64),
    /// Yes or no.
    Bool(bool),
    /// Text: any bytes.
    Text(Cow<'a, [u8]>),
    /// Several of them.
    List(&'a [Box<[u8]>]),
}

impl<'a> Value<'a> {
    fn text(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text.as_bytes()))
    }
}

/// A name and its value.
pub type Attribute<'a> = (&'static str, Value<'a>);

impl ProcessSpan {
    /// The attributes, named as in the semantic conventions where those have a name.
    pub fn attributes<'a>(&'a self, process: &'a Process) -> Vec<Attribute<'a>> {
        let mut out = vec![("process.pid", Value::Int(process.tgid.into()))];
        if process.parent_tgid != 0 {
            out.push(("process.parent_pid", Value::Int(process.parent_tgid.into())));
        }
        if let Some(pid) = process.inner_pid {
            out.push(("process.vpid", Value::Int(pid.into())));
        }
        out.extend(process.program.attributes());
        match self.end {
            ProcessEnd::Exited(code) => out.push(("process.exit.code", Value::Int(code.into()))),
            ProcessEnd::Killed { core, .. } => {
                let name = self.end.signal_name().unwrap_or_default().into_owned();
                out.push(("tracer.process.signal", Value::Text(name.into_bytes().into())));
                out.push(("tracer.process.core_dumped", Value::Bool(core)));
            }
            _ => {}
        }
        if let Some(state) = self.end.state() {
            out.push(("tracer.process.state", Value::text(state)));
        }
        if let Some(birth) = self.birth {
            out.push(("tracer.process.birth", Value::text(birth.name())));
        }
        let count = |count: u32| Value::Int(count.into());
        out.push(("tracer.process.threads_started", count(self.threads_started)));
        out.push(("tracer.process.threads_ended", count(self.threads_ended)));
        if self.programs_left_out > 0 {
            out.push(("tracer.process.execs_left_out", count(self.programs_left_out)));
        }
        out
    }

    /// The first thread's name.
    pub fn comm(&self) -> &[u8] {
        let end = self.comm.iter().position(|byte| *byte == 0).unwrap_or(self.comm.len());
        &self.comm[..end]
    }
}

impl Program {
    /// Its attributes.
    pub fn attributes(&self) -> Vec<Attribute<'_>> {
        let mut out = Vec::new();
        if let Some(path) = self.executable.as_ref().and_then(|it| it.path.as_deref()) {
            out.push(("process.executable.path", Value::Text(Cow::Borrowed(path))));
        }
        if let Some(filename) = &self.filename {
            out.push(("tracer.process.filename", Value::Text(Cow::Borrowed(&filename.path))));
            if filename.is_cut {
                out.push(("tracer.process.filename_truncated", Value::Bool(true)));
            }
        }
        if !self.args.is_empty() {
            out.push(("process.command_args", Value::List(&self.args)));
        }
        if self.args_cut {
            out.push(("tracer.process.args_truncated", Value::Bool(true)));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_as_wait_gives_it() {
        assert_eq!(ProcessEnd::from_status(0), ProcessEnd::Exited(0));
        assert_eq!(ProcessEnd::from_status(0x2a00), ProcessEnd::Exited(42));
        let killed = ProcessEnd::from_status(0x8b);
        assert_eq!(killed, ProcessEnd::Killed { signal: 11, core: true });
        assert_eq!(killed.signal_name().as_deref(), Some("SIGSEGV"));
        assert_eq!(ProcessEnd::from_status(34).signal_name().as_deref(), Some("signal 34"));
        assert_eq!((killed.status(), killed.state()), (StatusCode::Error, None));
        assert_eq!(ProcessEnd::Exited(1).status(), StatusCode::Unset);
    }
}
