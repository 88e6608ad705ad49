//! Times, timers and what they cost.

use jiff::Timestamp;
use tracer_common::syscalls::{Set, Struct};

use super::{
    Context,
    layout::{self, Entry, Kind, abridged, field, skip},
    node::{Fields, Node},
    reader::Reader,
};

/// `struct timespec` of the ABI's `long`.
pub(super) const TIMESPEC: &[Entry] = &[field("tv_sec", Kind::Long), field("tv_nsec", Kind::Ulong)];
/// `struct __kernel_timespec`
pub(super) const TIMESPEC64: &[Entry] = &[field("tv_sec", Kind::I64), field("tv_nsec", Kind::U64)];
/// `struct timeval`
pub(super) const TIMEVAL: &[Entry] = &[field("tv_sec", Kind::Long), field("tv_usec", Kind::Ulong)];
/// `struct __kernel_sock_timeval`, and the like
pub(super) const TIMEVAL64: &[Entry] = &[field("tv_sec", Kind::I64), field("tv_usec", Kind::U64)];
pub(super) const ITIMERSPEC: &[Entry] =
    &[field("it_interval", Kind::Inner(TIMESPEC)), field("it_value", Kind::Inner(TIMESPEC))];
pub(super) const ITIMERSPEC64: &[Entry] =
    &[field("it_interval", Kind::Inner(TIMESPEC64)), field("it_value", Kind::Inner(TIMESPEC64))];
pub(super) const ITIMERVAL: &[Entry] =
    &[field("it_interval", Kind::Inner(TIMEVAL)), field("it_value", Kind::Inner(TIMEVAL))];
pub(super) const TIMEZONE: &[Entry] =
    &[field("tz_minuteswest", Kind::I32), field("tz_dsttime", Kind::I32)];
pub(super) const UTIMBUF: &[Entry] = &[
    field("actime", Kind::Custom(|reader| reader.long().map(seconds))),
    field("modtime", Kind::Custom(|reader| reader.long().map(seconds))),
];
pub(super) const TMS: &[Entry] = &[
    field("tms_utime", Kind::Custom(clock_ticks)),
    field("tms_stime", Kind::Custom(clock_ticks)),
    field("tms_cutime", Kind::Custom(clock_ticks)),
    field("tms_cstime", Kind::Custom(clock_ticks)),
];
pub(super) const RUSAGE: &[Entry] = &[
    field("ru_utime", Kind::Inner(TIMEVAL)),
    field("ru_stime", Kind::Inner(TIMEVAL)),
    abridged("ru_maxrss", Kind::Ulong),
    abridged("ru_ixrss", Kind::Ulong),
    abridged("ru_idrss", Kind::Ulong),
    abridged("ru_isrss", Kind::Ulong),
    abridged("ru_minflt", Kind::Ulong),
    abridged("ru_majflt", Kind::Ulong),
    abridged("ru_nswap", Kind::Ulong),
    abridged("ru_inblock", Kind::Ulong),
    abridged("ru_oublock", Kind::Ulong),
    abridged("ru_msgsnd", Kind::Ulong),
    abridged("ru_msgrcv", Kind::Ulong),
    abridged("ru_nsignals", Kind::Ulong),
    abridged("ru_nvcsw", Kind::Ulong),
    abridged("ru_nivcsw", Kind::Ulong),
];

/// `struct timex`, with the ABI's `long`.
const TIMEX: &[Entry] = &[
    field("modes", Kind::Flags32(Set::AdjtimexModes)),
    field("offset", Kind::Long),
    field("freq", Kind::Long),
    field("maxerror", Kind::Long),
    field("esterror", Kind::Long),
    field("status", Kind::Flags32(Set::AdjtimexStatus)),
    field("constant", Kind::Long),
    field("precision", Kind::Long),
    field("tolerance", Kind::Long),
    field("time", Kind::Inner(TIMEVAL)),
    field("tick", Kind::Long),
    field("ppsfreq", Kind::Long),
    field("jitter", Kind::Long),
    field("shift", Kind::I32),
    field("stabil", Kind::Long),
    field("jitcnt", Kind::Long),
    field("calcnt", Kind::Long),
    field("errcnt", Kind::Long),
    field("stbcnt", Kind::Long),
    field("tai", Kind::I32),
];
/// `struct __kernel_timex`: 64 bits and gaps, on every ABI.
const TIMEX64: &[Entry] = &[
    field("modes", Kind::Flags32(Set::AdjtimexModes)),
    skip(4),
    field("offset", Kind::I64),
    field("freq", Kind::I64),
    field("maxerror", Kind::I64),
    field("esterror", Kind::I64),
    field("status", Kind::Flags32(Set::AdjtimexStatus)),
    skip(4),
    field("constant", Kind::I64),
    field("precision", Kind::I64),
    field("tolerance", Kind::I64),
    field("time", Kind::Inner(TIMEVAL64)),
    field("tick", Kind::I64),
    field("ppsfreq", Kind::I64),
    field("jitter", Kind::I64),
    field("shift", Kind::I32),
    skip(4),
    field("stabil", Kind::I64),
    field("jitcnt", Kind::I64),
    field("calcnt", Kind::I64),
    field("errcnt", Kind::I64),
    field("stbcnt", Kind::I64),
    field("tai", Kind::I32),
];

/// `struct timex`: without a mode nothing else of it is read, adjtimex(2).
pub(super) fn timex(kind: Struct, reader: &mut Reader<'_>, context: &Context<'_>) -> Fields {
    let layout = if kind == Struct::Timex64 { TIMEX64 } else { TIMEX };
    let mut fields = layout::read(layout, reader);
    if !context.at_exit && fields.symbol("modes") == Some("0") {
        fields.only("modes");
    }
    fields
}

/// Ticks in a second of `times` and of `si_utime`: `USER_HZ`, 100 on every ABI here.
const TICKS: u64 = 100;

/// A `clock_t`: `12 /* 0.12 s */`.
pub(super) fn clock_ticks(reader: &mut Reader<'_>) -> Option<Node> {
    let ticks = reader.ulong()?;
    if ticks == 0 {
        return Some(Node::Unsigned(0));
    }
    let (whole, part) = (ticks / TICKS, ticks % TICKS);
    Some(Node::Note(Box::new(Node::Unsigned(ticks)), format!("{whole}.{part:02} s")))
}

/// Seconds since 1970, with the time they mean.
pub(super) fn seconds(value: i64) -> Node {
    dated(Node::Signed(value), value, 0)
}

/// Adds the time; nothing where there is none.
fn dated(node: Node, seconds: i64, nanos: i64) -> Node {
    if (seconds, nanos) == (0, 0) || !(0..1_000_000_000).contains(&nanos) {
        return node;
    }
    let nanos = i32::try_from(nanos).unwrap_or_default();
    let Ok(time) = Timestamp::new(seconds, nanos) else { return node };
    let part = if nanos == 0 { String::new() } else { format!(".{nanos:09}") };
    let date = format!("{}{part}+0000", time.strftime("%Y-%m-%dT%H:%M:%S"));
    Node::Note(Box::new(node), date)
}

/// The two times of `utimensat`: with dates, and with the names of two special values.
pub(super) fn timespec_pair(reader: &mut Reader<'_>, wide: bool) -> Node {
    // utimensat(2)
    const UTIME_NOW: i64 = 0x3fff_ffff;
    const UTIME_OMIT: i64 = 0x3fff_fffe;
    pair(reader, if wide { TIMESPEC64 } else { TIMESPEC }, |fields| {
        let seconds = fields.number("tv_sec").unwrap_or_default().cast_signed();
        match fields.number("tv_nsec").map(u64::cast_signed) {
            Some(UTIME_NOW) => Node::Symbol("UTIME_NOW".to_owned()),
            Some(UTIME_OMIT) => Node::Symbol("UTIME_OMIT".to_owned()),
            nanos => dated(fields.into(), seconds, nanos.unwrap_or_default()),
        }
    })
}

/// The two times of `utimes`.
pub(super) fn timeval_pair(reader: &mut Reader<'_>) -> Node {
    pair(reader, TIMEVAL, Node::Fields)
}

fn pair(reader: &mut Reader<'_>, layout: &[Entry], node: impl Fn(Fields) -> Node) -> Node {
    let mut items = Vec::new();
    while items.len() < 2 && !reader.rest().is_empty() {
        items.push(node(layout::read(layout, reader)));
    }
    if items.len() < 2 {
        items.push(Node::More);
    }
    Node::List(items)
}

/// A `struct statx_timestamp` is silent in text.
pub(super) const STATX_TIMESTAMP: &[Entry] =
    &[field("tv_sec", Kind::I64), field("tv_nsec", Kind::U32), skip(4)];
