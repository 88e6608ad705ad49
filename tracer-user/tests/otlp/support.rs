//! Spans, a destination for them, and the equations that must hold.

use std::{
    ffi::OsString,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::header::HeaderValue;
use socket2::{Domain, Socket, Type};
use tracer_common::event::{Abi, CaptureState, Reason, Record};
use tracer_user::{
    export::otlp::{OtlpExporter, OtlpOptions, Retry},
    process::Process,
    ring_buffer::{Delivery, Destination, DropReason, SpanRingBuffer},
    span_record::{Payload, SpanContext, SpanRecord, SyscallSpan},
};

use crate::receiver::Account;

/// A port where nobody listens, and that nobody else is given as long as the socket is there. It does
/// not listen itself, so that a server can take its place, which sets `SO_REUSEADDR`; socket(7).
pub(crate) fn reserved_port() -> (Socket, u16) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address.port())
}

/// A call of `openat`, of this process, with this path.
pub(crate) fn span(number: u64, process_id: u32, path: &[u8]) -> SpanRecord {
    let mut payload = vec![1, CaptureState::Whole as u8, 0, 0];
    payload.extend(u32::try_from(path.len()).unwrap().to_ne_bytes());
    payload.extend(path);
    payload.resize(payload.len().next_multiple_of(8), 0);
    let call = SyscallSpan {
        args: [0xffff_ff9c, 4096, 0x80000, 0, 0, 0],
        ret: if number.is_multiple_of(3) { -13 } else { 3 },
        cgroup_id: 77,
        uid: 1000,
        gid: 100,
        comm: *b"cat\0\0\0\0\0\0\0\0\0\0\0\0\0",
        payload: Payload::new(&payload),
        nr: 257,
        abi: Abi::X86_64,
        record: Record::Complete,
        reason: Reason::None,
    };
    let context = SpanContext {
        process: Arc::new(Process {
            trace_id: [7; 16],
            span_id: [9; 8],
            tgid: process_id,
            ..Process::default()
        }),
        span_id: (number + 1).to_be_bytes(),
        start_time_nanos: 1_700_000_000_000_000_000 + number,
        duration_nanos: 1000,
        logical_clock: number,
        thread_id: process_id,
    };
    SpanRecord::from_syscall(context, call)
}

pub(crate) fn spans(count: u64) -> impl Iterator<Item = SpanRecord> {
    (0..count)
        .map(|number| span(number, 100 + u32::try_from(number % 3).unwrap(), b"/etc/hostname"))
}

/// Options for a scenario of the receiver: small requests and short pauses.
pub(crate) fn options(url: &str, scenario: &str, variables: &[(&str, &str)]) -> OtlpOptions {
    let find = |name: &str| {
        variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
    };
    let mut options = OtlpOptions::new(Some(url), find).unwrap();
    options.headers.insert("x-scenario", HeaderValue::from_str(scenario).unwrap());
    options.retry = Retry {
        first: Duration::from_millis(5),
        longest: Duration::from_millis(50),
        limit: Duration::from_mins(2),
    };
    options.batch.spans = 20;
    options.batch.age = Duration::from_millis(5);
    options.drain = Duration::from_mins(2);
    options
}

/// Sends spans and waits for the end; the account balances.
pub(crate) fn run(options: &OtlpOptions, spans: impl Iterator<Item = SpanRecord>) -> Arc<Delivery> {
    let mut buffer = start(options);
    let mut pushed = 0;
    for span in spans {
        buffer.push(span);
        pushed += 1;
    }
    finish(&mut buffer, pushed, Duration::from_mins(3))
}

pub(crate) fn start(options: &OtlpOptions) -> SpanRingBuffer {
    let open = |delivery| OtlpExporter::open(options, delivery);
    let destination = Destination::with_account("otlp", open).unwrap();
    SpanRingBuffer::with_destinations(1 << 14, vec![destination]).unwrap()
}

pub(crate) fn finish(
    buffer: &mut SpanRingBuffer,
    pushed: u64,
    patience: Duration,
) -> Arc<Delivery> {
    buffer.finish(Some(Instant::now() + patience));
    assert_eq!(buffer.stats().total_dropped, 0, "the span queue was too small for the test");
    let delivery = Arc::clone(&buffer.deliveries()[0]);
    assert_eq!(delivery.queued(), 0);
    assert_eq!(delivery.delivered() + delivery.dropped_total(), pushed, "{delivery:?}");
    delivery
}

/// What the receiver has agrees with what the destination says.
pub(crate) fn compare(delivery: &Delivery, account: &Account) {
    let (delivered, received) = (delivery.delivered(), account.get("spans"));
    let most = delivered + delivery.possible_duplicates();
    assert!(delivered <= received && received <= most, "{delivery:?}\n{account:?}");
    assert!(delivered <= account.get("distinct"), "{delivery:?}\n{account:?}");
    assert_eq!(account.get("undecodable"), 0);
    assert_eq!(account.get("early"), 0, "sent during a pause that the receiver asked for");
}

/// Spans that were lost for the reasons that are not named.
pub(crate) fn lost_otherwise(delivery: &Delivery, known: &[DropReason]) -> u64 {
    let others = DropReason::ALL.iter().filter(|reason| !known.contains(reason));
    others.map(|reason| delivery.dropped(*reason)).sum()
}
