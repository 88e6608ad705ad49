//! Bytes of the ring to records: total, checked, without unsafe code.

use zerocopy::FromBytes;

use crate::{
    event::{CaptureHeader, KIND_SYSCALL, SyscallEvent},
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

/// Splits one ring record into its fixed part and its payload.
#[inline]
pub fn syscall_event(bytes: &[u8]) -> Result<(SyscallEvent, &[u8]), ParseError> {
    let (event, payload) = split::<SyscallEvent>(bytes)?;
    if event.kind != KIND_SYSCALL {
        return Err(ParseError::UnknownKind { kind: event.kind });
    }
    if event.payload_len as usize != payload.len() {
        let claimed = size_of::<SyscallEvent>().saturating_add(event.payload_len as usize);
        return Err(ParseError::LengthMismatch { len: bytes.len(), claimed });
    }
    Ok((event, payload))
}

/// The fixed part of a record, and what follows it.
#[inline]
fn split<T: FromBytes>(bytes: &[u8]) -> Result<(T, &[u8]), ParseError> {
    let too_short = |_| ParseError::TooShort { len: bytes.len(), need: size_of::<T>() };
    T::read_from_prefix(bytes).map_err(too_short)
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
    const LEN: usize = size_of::<SignalEvent>();
    let (event, rest) = split::<SignalEvent>(bytes)?;
    if event.kind != KIND_SIGNAL {
        return Err(ParseError::UnknownKind { kind: event.kind });
    }
    if !rest.is_empty() {
        return Err(ParseError::LengthMismatch { len: bytes.len(), claimed: LEN });
    }
    if usize::from(event.info_len) > SIGINFO_LEN {
        return Err(ParseError::LengthMismatch { len: LEN, claimed: event.info_len.into() });
    }
    Ok(event)
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
    let (event, payload) = split::<LifecycleEvent>(bytes)?;
    if event.kind != KIND_LIFECYCLE {
        return Err(ParseError::UnknownKind { kind: event.kind });
    }
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
        let (header, body) = CaptureHeader::read_from_prefix(self.rest).ok()?;
        let text = body.get(..header.len as usize)?;
        self.rest = body.get(text.len().next_multiple_of(8)..)?;
        Some((header, text))
    }
}

#[cfg(test)]
mod tests;
