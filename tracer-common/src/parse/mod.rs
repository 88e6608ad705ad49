//! Bytes of the ring to records: total, checked, without unsafe code.

use crate::{
    event::{CaptureHeader, KIND_SYSCALL, MAX_ARGS, SyscallEvent},
    lifecycle::{KIND_LIFECYCLE, LifecycleEvent, padded},
    signal::{KIND_SIGNAL, SIGINFO_LEN, SignalEvent},
};

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// Fewer bytes than the fixed part.
    TooShort {
        /// Bytes there are.
        len: usize,
        /// Bytes there must be.
        need: usize,
    },
    /// A kind this build does not know.
    UnknownKind {
        /// The value found.
        kind: u16,
    },
    /// The record's own length is not the ring's.
    LengthMismatch {
        /// Bytes there are.
        len: usize,
        /// Bytes the record says it has.
        claimed: usize,
    },
}

impl core::fmt::Display for ParseError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::TooShort { len, need } => write!(f, "record of {len} bytes, need {need}"),
            Self::UnknownKind { kind } => write!(f, "unknown record kind {kind}"),
            Self::LengthMismatch { len, claimed } => {
                write!(f, "record of {len} bytes claims {claimed}")
            }
        }
    }
}

impl core::error::Error for ParseError {}

macro_rules! field {
    ($bytes:expr, $ty:ty, $at:expr) => {{
        const AT: usize = $at;
        let mut raw = [0u8; size_of::<$ty>()];
        raw.copy_from_slice(&$bytes[AT..AT + size_of::<$ty>()]);
        <$ty>::from_ne_bytes(raw)
    }};
}

/// Splits one ring record into its fixed part and its payload.
#[inline]
pub fn syscall_event(bytes: &[u8]) -> Result<(SyscallEvent, &[u8]), ParseError> {
    const FIXED: usize = size_of::<SyscallEvent>();
    let Some((fixed, payload)) = bytes.split_first_chunk::<FIXED>() else {
        return Err(ParseError::TooShort { len: bytes.len(), need: FIXED });
    };
    let kind = field!(fixed, u16, 0);
    if kind != KIND_SYSCALL {
        return Err(ParseError::UnknownKind { kind });
    }
    let payload_len = field!(fixed, u32, 20);
    if payload_len as usize != payload.len() {
        let claimed = FIXED.saturating_add(payload_len as usize);
        return Err(ParseError::LengthMismatch { len: bytes.len(), claimed });
    }
    let mut args = [0u64; MAX_ARGS];
    for (arg, raw) in args.iter_mut().zip(fixed[48..96].chunks_exact(8)) {
        *arg = field!(raw, u64, 0);
    }
    let event = SyscallEvent {
        kind,
        record: fixed[2],
        abi: fixed[3],
        reason: fixed[4],
        captures: fixed[5],
        pad: 0,
        nr: field!(fixed, u32, 8),
        tgid: field!(fixed, u32, 12),
        tid: field!(fixed, u32, 16),
        payload_len,
        start_ns: field!(fixed, u64, 24),
        duration_ns: field!(fixed, u64, 32),
        ret: field!(fixed, i64, 40),
        args,
        cgroup_id: field!(fixed, u64, 96),
        process_start_ns: field!(fixed, u64, 104),
        comm: field!(fixed, u128, 112).to_ne_bytes(),
        uid: field!(fixed, u32, 128),
        gid: field!(fixed, u32, 132),
        exec_id: field!(fixed, u32, 136),
        spare: 0,
    };
    Ok((event, payload))
}

/// Whether these bytes are the record of a process and not of a call.
#[inline]
pub fn is_lifecycle(bytes: &[u8]) -> bool {
    kind_of(bytes) == Some(KIND_LIFECYCLE)
}

/// Whether these bytes are the record of a signal.
#[inline]
pub fn is_signal(bytes: &[u8]) -> bool {
    kind_of(bytes) == Some(KIND_SIGNAL)
}

#[inline]
fn kind_of(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk().map(|kind| u16::from_ne_bytes(*kind))
}

/// The record of a signal. One that claims more information than there is room for is none.
pub fn signal_event(bytes: &[u8]) -> Result<SignalEvent, ParseError> {
    const FIXED: usize = size_of::<SignalEvent>();
    let Some((fixed, [])) = bytes.split_first_chunk::<FIXED>() else {
        return Err(ParseError::TooShort { len: bytes.len(), need: FIXED });
    };
    let kind = field!(fixed, u16, 0);
    if kind != KIND_SIGNAL {
        return Err(ParseError::UnknownKind { kind });
    }
    let info_len = field!(fixed, u16, 2);
    if usize::from(info_len) > SIGINFO_LEN {
        return Err(ParseError::LengthMismatch { len: FIXED, claimed: info_len.into() });
    }
    let mut info = [0; SIGINFO_LEN];
    info.copy_from_slice(&fixed[56..104]);
    Ok(SignalEvent {
        kind,
        info_len,
        signal: field!(fixed, u32, 4),
        tgid: field!(fixed, u32, 8),
        tid: field!(fixed, u32, 12),
        time_ns: field!(fixed, u64, 16),
        process_start_ns: field!(fixed, u64, 24),
        cgroup_id: field!(fixed, u64, 32),
        uid: field!(fixed, u32, 40),
        gid: field!(fixed, u32, 44),
        exec_id: field!(fixed, u32, 48),
        spare: 0,
        info,
        comm: field!(fixed, u128, 104).to_ne_bytes(),
    })
}

/// The bytes of such a record as the kernel side writes them: the inverse of [`signal_event`].
pub fn signal_bytes(event: &SignalEvent) -> [u8; size_of::<SignalEvent>()] {
    let mut out = [0; size_of::<SignalEvent>()];
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &event.kind.to_ne_bytes());
    put(2, &event.info_len.to_ne_bytes());
    put(4, &event.signal.to_ne_bytes());
    put(8, &event.tgid.to_ne_bytes());
    put(12, &event.tid.to_ne_bytes());
    put(16, &event.time_ns.to_ne_bytes());
    put(24, &event.process_start_ns.to_ne_bytes());
    put(32, &event.cgroup_id.to_ne_bytes());
    put(40, &event.uid.to_ne_bytes());
    put(44, &event.gid.to_ne_bytes());
    put(48, &event.exec_id.to_ne_bytes());
    put(56, &event.info);
    put(104, &event.comm);
    out
}

/// What follows the record of an exec; empty where the kernel side had no memory for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaunchParts<'a> {
    /// The path, without the zero.
    pub path: &'a [u8],
    /// Arguments, each with a zero behind it, unless it is cut.
    pub args: &'a [u8],
    /// The path of the program's file as the kernel side has walked it, see [`crate::lifecycle`].
    pub exe: &'a [u8],
    /// The environment in the same way.
    pub env: &'a [u8],
}

/// Splits the record of a process.
pub fn lifecycle_event(bytes: &[u8]) -> Result<(LifecycleEvent, LaunchParts<'_>), ParseError> {
    const FIXED: usize = size_of::<LifecycleEvent>();
    let Some((fixed, payload)) = bytes.split_first_chunk::<FIXED>() else {
        return Err(ParseError::TooShort { len: bytes.len(), need: FIXED });
    };
    let kind = field!(fixed, u16, 0);
    if kind != KIND_LIFECYCLE {
        return Err(ParseError::UnknownKind { kind });
    }
    let event = LifecycleEvent {
        kind,
        what: fixed[2],
        how: fixed[3],
        path_len: field!(fixed, u16, 4),
        args_len: field!(fixed, u16, 6),
        tgid: field!(fixed, u32, 8),
        tid: field!(fixed, u32, 12),
        time_ns: field!(fixed, u64, 16),
        process_start_ns: field!(fixed, u64, 24),
        parent_tgid: field!(fixed, u32, 32),
        parent_tid: field!(fixed, u32, 36),
        parent_start_ns: field!(fixed, u64, 40),
        call_start_ns: field!(fixed, u64, 48),
        cgroup_id: field!(fixed, u64, 56),
        status: field!(fixed, u32, 64),
        threads: field!(fixed, u32, 68),
        inner_pid: field!(fixed, u32, 72),
        env_len: field!(fixed, u32, 76),
        env_total: field!(fixed, u32, 80),
        args_total: field!(fixed, u32, 84),
        uid: field!(fixed, u32, 88),
        gid: field!(fixed, u32, 92),
        is_interpreted: field!(fixed, u32, 96),
        exec_id: field!(fixed, u32, 100),
        exe_dev: field!(fixed, u32, 104),
        exe_len: field!(fixed, u16, 108),
        exe_flags: fixed[110],
        path_state: fixed[111],
        comm: field!(fixed, u128, 112).to_ne_bytes(),
        exe_ino: field!(fixed, u64, 128),
        namespaces: [
            field!(fixed, u32, 136),
            field!(fixed, u32, 140),
            field!(fixed, u32, 144),
            field!(fixed, u32, 148),
            field!(fixed, u32, 152),
            field!(fixed, u32, 156),
            field!(fixed, u32, 160),
        ],
        spare: 0,
    };
    Ok((event, launch_parts(&event, payload, bytes.len())?))
}

fn launch_parts<'a>(
    event: &LifecycleEvent,
    payload: &'a [u8],
    len: usize,
) -> Result<LaunchParts<'a>, ParseError> {
    let lens = [event.path_len, event.args_len, event.exe_len].map(usize::from);
    let padded_len = lens.into_iter().map(padded).sum::<usize>();
    let claimed = padded_len.saturating_add(event.env_len as usize);
    let mismatch = || ParseError::LengthMismatch {
        len,
        claimed: size_of::<LifecycleEvent>().saturating_add(claimed),
    };
    if claimed != payload.len() {
        return Err(mismatch());
    }
    let mut rest = payload;
    let mut take = |len: usize| {
        let part = rest.get(..len)?;
        rest = rest.get(padded(len)..)?;
        Some(part)
    };
    let [path, args, exe] = lens.map(&mut take);
    Ok(LaunchParts {
        path: path.ok_or_else(mismatch)?,
        args: args.ok_or_else(mismatch)?,
        exe: exe.ok_or_else(mismatch)?,
        env: rest,
    })
}

/// The bytes of such a record as the kernel side writes them: the inverse of [`lifecycle_event`].
pub fn lifecycle_bytes(event: &LifecycleEvent) -> [u8; size_of::<LifecycleEvent>()] {
    let mut out = [0; size_of::<LifecycleEvent>()];
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &event.kind.to_ne_bytes());
    put(2, &[event.what, event.how]);
    put(4, &event.path_len.to_ne_bytes());
    put(6, &event.args_len.to_ne_bytes());
    put(8, &event.tgid.to_ne_bytes());
    put(12, &event.tid.to_ne_bytes());
    put(16, &event.time_ns.to_ne_bytes());
    put(24, &event.process_start_ns.to_ne_bytes());
    put(32, &event.parent_tgid.to_ne_bytes());
    put(36, &event.parent_tid.to_ne_bytes());
    put(40, &event.parent_start_ns.to_ne_bytes());
    put(48, &event.call_start_ns.to_ne_bytes());
    put(56, &event.cgroup_id.to_ne_bytes());
    put(64, &event.status.to_ne_bytes());
    put(68, &event.threads.to_ne_bytes());
    put(72, &event.inner_pid.to_ne_bytes());
    put(76, &event.env_len.to_ne_bytes());
    put(80, &event.env_total.to_ne_bytes());
    put(84, &event.args_total.to_ne_bytes());
    put(88, &event.uid.to_ne_bytes());
    put(92, &event.gid.to_ne_bytes());
    put(96, &event.is_interpreted.to_ne_bytes());
    put(100, &event.exec_id.to_ne_bytes());
    put(104, &event.exe_dev.to_ne_bytes());
    put(108, &event.exe_len.to_ne_bytes());
    put(110, &[event.exe_flags, event.path_state]);
    put(112, &event.comm);
    put(128, &event.exe_ino.to_ne_bytes());
    for (index, number) in event.namespaces.iter().enumerate() {
        put(136 + index * 4, &number.to_ne_bytes());
    }
    out
}

/// The bytes of an event's fixed part, as the kernel side writes them: the inverse of
/// [`syscall_event`].
pub fn event_bytes(event: &SyscallEvent) -> [u8; size_of::<SyscallEvent>()] {
    let mut out = [0; size_of::<SyscallEvent>()];
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &event.kind.to_ne_bytes());
    put(2, &[event.record, event.abi, event.reason, event.captures]);
    put(8, &event.nr.to_ne_bytes());
    put(12, &event.tgid.to_ne_bytes());
    put(16, &event.tid.to_ne_bytes());
    put(20, &event.payload_len.to_ne_bytes());
    put(24, &event.start_ns.to_ne_bytes());
    put(32, &event.duration_ns.to_ne_bytes());
    put(40, &event.ret.to_ne_bytes());
    for (index, arg) in event.args.iter().enumerate() {
        put(48 + index * 8, &arg.to_ne_bytes());
    }
    put(96, &event.cgroup_id.to_ne_bytes());
    put(104, &event.process_start_ns.to_ne_bytes());
    put(112, &event.comm);
    put(128, &event.uid.to_ne_bytes());
    put(132, &event.gid.to_ne_bytes());
    put(136, &event.exec_id.to_ne_bytes());
    out
}

/// The captures of a payload, in order. Ends at the first that does not fit.
#[derive(Clone, Debug)]
pub struct Captures<'a> {
    rest: &'a [u8],
}

impl<'a> Captures<'a> {
    /// Reads `payload`, the bytes after a [`SyscallEvent`].
    pub const fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload }
    }

    /// Bytes not yet read. Not empty after the last capture when the payload is damaged.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Captures<'a> {
    type Item = (CaptureHeader, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (head, body) = self.rest.split_first_chunk::<{ size_of::<CaptureHeader>() }>()?;
        let header = CaptureHeader {
            arg: head[0],
            state: head[1],
            phase: head[2],
            part: head[3],
            len: field!(head, u32, 4),
        };
        let text = body.get(..header.len as usize)?;
        self.rest = body.get(text.len().next_multiple_of(8)..)?;
        Some((header, text))
    }
}

#[cfg(test)]
mod tests;
