//! The span ring buffer in a program of your own, with an exporter of your own:
//!
//! ```sh
//! cargo run --example embedded_buffer
//! ```

use std::{
    collections::HashMap,
    io::{self, Write},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use tracer_user::{
    export::{ExportError, Exporter},
    ring_buffer::{DEFAULT_CAPACITY, Destination, SpanRingBuffer},
    span_record::{SpanKind, SpanRecord, StatusCode},
};

/// Prints the slowest span at the end.
#[derive(Default)]
struct Slowest(Option<SpanRecord>);

impl Exporter for Slowest {
    fn export(&mut self, batch: &[SpanRecord]) -> Result<(), ExportError> {
        let slowest = self.0.iter().chain(batch).max_by_key(|span| span.duration_nanos()).cloned();
        self.0 = slowest;
        Ok(())
    }

    fn shutdown(&mut self) -> Result<(), ExportError> {
        let Some(span) = &self.0 else { return Ok(()) };
        let text = format!("slowest: {} took {} ns", span.span_name(), span.duration_nanos());
        writeln!(io::stdout(), "{text}").map_err(|error| ExportError::from_io(0, error))
    }
}

fn main() -> io::Result<()> {
    let destinations = vec![Destination::new("slowest", Slowest::default())];
    let buffer = SpanRingBuffer::with_destinations(DEFAULT_CAPACITY, destinations)?;

    for n in 0..1_000_u64 {
        let (started, clock) = (SystemTime::now(), Instant::now());
        std::hint::black_box((0..n * 100).sum::<u64>());
        buffer.push(span(n, started, clock.elapsed().as_nanos()));
    }

    let delivery = buffer.deliveries()[0].clone();
    buffer.shutdown();
    writeln!(io::stdout(), "{} spans delivered", delivery.delivered())
}

fn span(n: u64, started: SystemTime, took: u128) -> SpanRecord {
    let nanos = |value: u128| u64::try_from(value).unwrap_or(u64::MAX);
    let start = nanos(started.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos());
    SpanRecord::new(
        [1; 16],
        (n + 1).to_be_bytes(),
        None,
        format!("sum {n}"),
        SpanKind::Internal,
        start,
        start.saturating_add(nanos(took)),
        n,
        StatusCode::Ok,
        String::new(),
        HashMap::new(),
        HashMap::new(),
        std::process::id(),
        1,
    )
}
