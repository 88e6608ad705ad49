//! Bytes of the kernel ring to spans: total, and without allocation for all but long captures.

use std::{ops::RangeInclusive, sync::Arc};

use tracer_common::{
    event::{Abi, CaptureState, KIND_SYSCALL, LARGE_PAYLOAD, Reason, Record, SyscallEvent},
    lifecycle::{Birth, What},
    parse::{self, Captures, ParseError},
    syscalls::{self, Class, Ret},
};

use crate::{
    clock::WallClock,
    ids::IdSource,
    span_record::{Payload, SignalSpan, SpanContext, SpanRecord, SyscallSpan},
    tree::{Tree, TreeOptions},
};

/// Why a record is not a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are not a record.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// A field has a value this build does not know.
    #[error("unknown value {value} of `{field}`")]
    UnknownValue {
        /// Which field.
        field: &'static str,
        /// Its value.
        value: u8,
    },
    /// Longer than any that the kernel side writes; not worth the memory.
    #[error("a payload of {len} bytes, {LONGEST_PAYLOAD} at most")]
    TooLong {
        /// Bytes of the payload.
        len: usize,
    },
    /// The captures do not fill the payload.
    #[error("damaged captures in a payload of {len} bytes")]
    DamagedCaptures {
        /// Bytes of the payload.
        len: usize,
    },
}

/// Most bytes of strings that are taken: some times what the kernel side has room for, so that no
/// record costs more memory, whatever it claims.
const LONGEST_PAYLOAD: usize = 60 << 10;
const _: () = assert!(LONGEST_PAYLOAD >= LARGE_PAYLOAD);

/// Turns records into spans.
#[derive(Debug)]
pub struct Decoder {
    ids: IdSource,
    tree: Tree,
}

impl Decoder {
    /// A decoder that converts times with `clock`.
    pub fn new(clock: Arc<WallClock>, ids: IdSource) -> Self {
        Self::with_options(clock, ids, TreeOptions::default())
    }

    /// The same, with what is to be known of processes.
    pub fn with_options(clock: Arc<WallClock>, ids: IdSource, options: TreeOptions) -> Self {
        Self { tree: Tree::new(clock, ids.clone(), options), ids }
    }

    /// Decodes one record: the span of a call, or none for the record of a process. What follows
    /// from such a record is to be taken from [`Self::tree`].
    #[inline]
    pub fn decode(&mut self, bytes: &[u8]) -> Result<Option<SpanRecord>, DecodeError> {
        if parse::is_lifecycle(bytes) {
            return self.lifecycle(bytes).map(|()| None);
        }
        if parse::is_signal(bytes) {
            return self.signal(bytes).map(Some);
        }
        let (event, payload) = parse::syscall_event(bytes)?;
        let mut call = call(&event, payload)?;
        let place = self.tree.call(&event);
        if let Some(begun) = &place.begun {
            begun.complete(&mut call);
        }
        let context = SpanContext {
            process: place.process,
            span_id: self.ids.call(event.tid, event.start_ns),
            start_time_nanos: place.start_time_nanos,
            duration_nanos: event.duration_ns,
            logical_clock: place.logical_clock,
            thread_id: event.tid,
        };
        Ok(Some(SpanRecord::from_syscall(context, call)))
    }

    #[cold]
    fn signal(&mut self, bytes: &[u8]) -> Result<SpanRecord, DecodeError> {
        let event = parse::signal_event(bytes)?;
        let moment = SyscallEvent {
            tgid: event.tgid,
            tid: event.tid,
            start_ns: event.time_ns,
            process_start_ns: event.process_start_ns,
            cgroup_id: event.cgroup_id,
            exec_id: event.exec_id,
            uid: event.uid,
            gid: event.gid,
            comm: event.comm,
            ..SyscallEvent::default()
        };
        let place = self.tree.call(&moment);
        let context = SpanContext {
            process: place.process,
            span_id: self.ids.call(event.tid, event.time_ns),
            start_time_nanos: place.start_time_nanos,
            duration_nanos: 0,
            logical_clock: place.logical_clock,
            thread_id: event.tid,
        };
        let signal = SignalSpan {
            signal: event.signal,
            info: event.info,
            info_len: event.info_len,
            comm: event.comm,
            cgroup_id: event.cgroup_id,
            uid: event.uid,
            gid: event.gid,
        };
        Ok(SpanRecord::from_signal(context, signal))
    }

    #[cold]
    fn lifecycle(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        let unknown = |field, value| DecodeError::UnknownValue { field, value };
        let (event, launch) = parse::lifecycle_event(bytes)?;
        let what = What::from_wire(event.what).ok_or(unknown("what", event.what))?;
        let birth = match what {
            What::Fork => Birth::from_wire(event.how).ok_or(unknown("how", event.how))?,
            What::Alive | What::CommandLine | What::Exec | What::Exit => Birth::Process,
        };
        self.tree.lifecycle(what, birth, &event, launch);
        Ok(())
    }

    /// The processes, and their spans that are to be written.
    pub const fn tree(&mut self) -> &mut Tree {
        &mut self.tree
    }
}

/// A record as the kernel side writes it, with its strings by argument: the inverse of
/// [`Decoder::decode`], for tests and benchmarks.
pub fn encode(event: SyscallEvent, strings: &[(u8, CaptureState, &[u8])]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (arg, state, text) in strings {
        payload.extend([*arg, *state as u8, 0, 0]);
        payload.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_ne_bytes());
        payload.extend_from_slice(text);
        payload.resize(payload.len().next_multiple_of(8), 0);
    }
    let event = SyscallEvent {
        kind: KIND_SYSCALL,
        captures: u8::try_from(strings.len()).unwrap_or(u8::MAX),
        payload_len: u32::try_from(payload.len()).unwrap_or(u32::MAX),
        ..event
    };
    let mut bytes = zerocopy::IntoBytes::as_bytes(&event).to_vec();
    bytes.extend(payload);
    bytes
}

#[inline]
fn call(event: &SyscallEvent, payload: &[u8]) -> Result<SyscallSpan, DecodeError> {
    let unknown = |field, value| DecodeError::UnknownValue { field, value };
    if payload.len() > LONGEST_PAYLOAD {
        return Err(DecodeError::TooLong { len: payload.len() });
    }
    if !payload.is_empty() {
        let mut captures = Captures::new(payload);
        let count = captures.by_ref().count();
        if count != usize::from(event.captures) || !captures.rest().is_empty() {
            return Err(DecodeError::DamagedCaptures { len: payload.len() });
        }
    }
    let abi = Abi::from_wire(event.abi).ok_or(unknown("abi", event.abi))?;
    Ok(SyscallSpan {
        args: event.args,
        ret: signed_result(abi, event.nr, event.ret),
        cgroup_id: event.cgroup_id,
        uid: event.uid,
        gid: event.gid,
        comm: event.comm,
        payload: Payload::new(payload),
        nr: event.nr,
        abi,
        record: Record::from_wire(event.record).ok_or(unknown("record", event.record))?,
        reason: Reason::from_wire(event.reason).ok_or(unknown("reason", event.reason))?,
    })
}

/// A result with the sign that it has for the program: an error of a call that returns 32 bits can
/// come with zeroes above them, as that of `modify_ldt` does,
/// <https://github.com/torvalds/linux/blob/v6.18/arch/x86/kernel/ldt.c#L672>.
fn signed_result(abi: Abi, nr: u32, ret: i64) -> i64 {
    /// Errors, from `MAX_ERRNO` to 1, as negative numbers without a sign.
    const ERRORS: RangeInclusive<u32> = 0xffff_f001..=0xffff_ffff;
    let Some(low) = u32::try_from(ret).ok().filter(|low| ERRORS.contains(low)) else { return ret };
    let is_narrow = syscalls::lookup(abi, nr).is_some_and(|call| match abi {
        // Ids, which are no errors whatever they are.
        _ if call.class.contains(Class::PURE) => false,
        Abi::I386 | Abi::Arm => true,
        Abi::X86_64 | Abi::X32 | Abi::Aarch64 => call.ret == Ret::Narrow,
    });
    if is_narrow { low.cast_signed().into() } else { ret }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decoder() -> Decoder {
        Decoder::new(Arc::new(WallClock::new()), IdSource::this_boot())
    }

    fn record(payload: &[u8]) -> Vec<u8> {
        let event = SyscallEvent { nr: 39, start_ns: 1000, duration_ns: 7, ..Default::default() };
        let mut bytes = encode(event, &[]);
        bytes[20..24].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_ne_bytes());
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn a_record_becomes_a_span() {
        let span = decoder().decode(&record(&[])).unwrap().unwrap();
        assert_eq!((span.span_name().as_ref(), span.duration_nanos()), ("getpid", 7));
        assert_eq!(span.logical_clock(), 1000);
        assert_eq!(span.syscall().unwrap().record, Record::Complete);
    }

    #[test]
    fn errors_of_32_bits_keep_their_sign() {
        const ENOSYS: i64 = 0xffff_ffda;
        let result = |abi, name, ret| signed_result(abi, syscalls::number(abi, name).unwrap(), ret);
        for abi in [Abi::I386, Abi::X86_64] {
            assert_eq!(result(abi, "modify_ldt", ENOSYS), -38);
            assert_eq!(result(abi, "modify_ldt", 16), 16);
            assert_eq!(result(abi, "modify_ldt", -38), -38);
        }
        assert_eq!(result(Abi::I386, "mmap2", ENOSYS), -38);
        // An address, an id, an offset.
        assert_eq!(result(Abi::I386, "mmap2", 0xf7f0_0000), 0xf7f0_0000);
        assert_eq!(result(Abi::I386, "getuid32", 0xffff_fffe), 0xffff_fffe);
        assert_eq!(result(Abi::X86_64, "lseek", ENOSYS), ENOSYS);
    }

    #[test]
    fn values_from_another_version_are_errors() {
        let mut bytes = record(&[]);
        bytes[2] = 9;
        let error = DecodeError::UnknownValue { field: "record", value: 9 };
        assert_eq!(decoder().decode(&bytes).unwrap_err(), error);
        let error = DecodeError::DamagedCaptures { len: 8 };
        assert_eq!(decoder().decode(&record(&[0; 8])).unwrap_err(), error);
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_span_or_an_error(
            head in proptest::collection::vec(any::<u8>(), size_of::<SyscallEvent>()),
            payload in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let mut bytes = record(&payload);
            let framing: Vec<u8> = bytes[20..24].to_vec();
            bytes[2..size_of::<SyscallEvent>()].copy_from_slice(&head[2..]);
            bytes[20..24].copy_from_slice(&framing);
            if let Ok(Some(span)) = decoder().decode(&bytes) {
                prop_assert!(!span.span_name().is_empty());
                prop_assert!(span.end_time_nanos() >= span.start_time_nanos());
                let call = span.syscall().unwrap();
                prop_assert!((0..6).all(|arg| call.string(arg).is_none_or(|s| s.bytes.len() < 64)));
            }
        }
    }
}
