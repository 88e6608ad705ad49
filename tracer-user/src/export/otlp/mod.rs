//! The OTLP destination: spans to an OpenTelemetry receiver, by gRPC or HTTP.
//!
//! The destination's thread encodes, compresses and waits when too many requests are on their way;
//! one more thread sends them. Nothing else is shared with other destinations.

mod attributes;
mod body;
mod encode;
mod health;
mod messages;
mod options;
mod send;
mod tls;
mod transport;
mod verdict;
mod wire;

pub use options::{
    BatchLimits, Compression, ErrorStatus, OtlpOptionError, OtlpOptions, Protocol, Retry, TlsFiles,
};
pub use tls::TlsError;

use std::{
    io,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::{
    runtime::{self, Handle, Runtime},
    sync::{Semaphore, oneshot},
    time::timeout,
};

use self::{
    body::Pool,
    encode::{Encoder, PREFIX},
    send::{Line, Parcel, Phase},
    transport::Transport,
};
use super::{Delivery, DropReason, ExportError, Exporter};
use crate::span_record::SpanRecord;

/// Why the destination cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// What the sending thread needs.
    #[error("cannot prepare to send spans: {0}")]
    Runtime(#[from] io::Error),
}

/// Sends spans to an OTLP receiver. Made with
/// [`Destination::with_account`](crate::ring_buffer::Destination::with_account), as it settles
/// later.
#[derive(Debug)]
pub struct OtlpExporter {
    encoder: Encoder,
    limits: BatchLimits,
    /// When the request was begun.
    begun: Option<Instant>,
    sender: Sender,
    drain: Duration,
}

impl OtlpExporter {
    /// Reads files and starts nothing; the sending thread comes with the first span. Whether there
    /// is a receiver shows later, and does not matter now.
    pub fn open(options: &OtlpOptions, delivery: Arc<Delivery>) -> Result<Self, OtlpError> {
        Ok(Self {
            encoder: Encoder::new(options.resource.clone(), options.error_status),
            limits: options.batch,
            begun: None,
            sender: Sender::new(options, delivery)?,
            drain: options.drain,
        })
    }

    fn flush(&mut self) {
        self.begun = None;
        self.sender.send(&mut self.encoder, None);
    }

    fn flush_if_due(&mut self) {
        if self.begun.is_some_and(|begun| begun.elapsed() >= self.limits.age) {
            self.flush();
        }
    }
}

impl Exporter for OtlpExporter {
    fn export(&mut self, batch: &[SpanRecord]) -> Result<(), ExportError> {
        self.sender.start().map_err(|source| ExportError::Io { delivered: 0, source })?;
        let Self { encoder, limits, begun, sender, .. } = self;
        let too_long = encoder.push(batch, |encoder| {
            if encoder.len() >= limits.bytes || encoder.spans() >= limits.spans {
                sender.send(encoder, None);
                *begun = None;
            }
        });
        if too_long > 0 {
            sender.line.give_up(DropReason::TooLong, too_long, "a span is longer than 1 MiB");
        }
        if encoder.spans() > 0 {
            begun.get_or_insert_with(Instant::now);
        }
        self.flush_if_due();
        Ok(())
    }

    fn idle(&mut self) -> Result<(), ExportError> {
        self.flush_if_due();
        Ok(())
    }

    fn settles_later(&self) -> bool {
        true
    }

    fn shutdown(&mut self) -> Result<(), ExportError> {
        let deadline = Instant::now() + self.drain;
        self.sender.line.enter(Phase::Draining);
        self.sender.send(&mut self.encoder, Some(deadline));
        self.sender.finish(deadline);
        Ok(())
    }
}

/// The encoder alone: for benchmarks, and for programs that send requests themselves.
#[derive(Debug)]
pub struct Encoding {
    encoder: Encoder,
    last: Vec<u8>,
}

impl Encoding {
    /// With these resource attributes of all processes.
    pub fn new(resource: Vec<(String, String)>, error_status: ErrorStatus) -> Self {
        Self { encoder: Encoder::new(resource, error_status), last: Vec::new() }
    }

    /// The bytes of an `ExportTraceServiceRequest`; spans too long for receivers are left out.
    pub fn encode(&mut self, batch: &[SpanRecord]) -> &[u8] {
        self.encoder.push(batch, |_| {});
        let (request, _) = self.encoder.take(std::mem::take(&mut self.last));
        self.last = request;
        self.last.get(PREFIX..).unwrap_or_default()
    }
}

/// The way from the destination's thread to the sending one.
#[derive(Debug)]
struct Sender {
    protocol: Protocol,
    compression: Compression,
    pool: Pool,
    line: Arc<Line>,
    /// One for each request that may be on its way.
    slots: Arc<Semaphore>,
    in_flight: u32,
    runtime: Handle,
    /// Until there is a thread to run it.
    waiting: Option<Runtime>,
    /// The thread, and what ends it.
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Sender {
    fn new(options: &OtlpOptions, delivery: Arc<Delivery>) -> Result<Self, OtlpError> {
        let transport = Transport::new(options)?;
        // Names are looked up in a thread that comes and goes.
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .thread_name("tracer-otlp-dns")
            .build()?;
        let in_flight = options.in_flight.max(1);
        let slots = Arc::new(Semaphore::new(in_flight as usize));
        Ok(Self {
            protocol: options.protocol,
            compression: options.compression,
            // One for each request on its way, one to write into, one to compress into.
            pool: Pool::new(in_flight as usize + 2),
            line: Arc::new(Line::new(options, transport, delivery)),
            slots,
            in_flight,
            runtime: runtime.handle().clone(),
            waiting: Some(runtime),
            running: None,
        })
    }

    /// Starts the sending thread, if there is none.
    fn start(&mut self) -> io::Result<()> {
        let Some(runtime) = self.waiting.take() else { return Ok(()) };
        let (stop, stopped) = oneshot::channel::<()>();
        let closing = Closing(Arc::clone(&self.slots));
        let work = move || {
            let closing = closing;
            // An error says that the other end is gone, which is a stop as well.
            drop(runtime.block_on(stopped));
            runtime.shutdown_background();
            drop(closing);
        };
        let thread = thread::Builder::new().name("tracer-otlp-io".into()).spawn(work)?;
        self.running = Some((stop, thread));
        Ok(())
    }

    /// Sends what the encoder has. Waits while too many requests are on their way, until the
    /// deadline if there is one.
    fn send(&self, encoder: &mut Encoder, deadline: Option<Instant>) {
        if encoder.spans() == 0 {
            return;
        }
        let (request, spans) = encoder.take(self.pool.get());
        let body = match body::make(request, self.protocol, self.compression, &self.pool) {
            Ok(body) => body,
            Err(error) => {
                let text = format!("cannot compress: {error}");
                return self.line.give_up(DropReason::Io, spans, &text);
            }
        };
        let slot = Arc::clone(&self.slots).acquire_owned();
        let slot = match deadline {
            None => self.runtime.block_on(slot).ok(),
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                let waiting = self.runtime.block_on(async { timeout(left, slot).await });
                let Ok(slot) = waiting else {
                    let text = "too many requests without an answer";
                    return self.line.give_up(DropReason::ShutdownDeadline, spans, text);
                };
                slot.ok()
            }
        };
        let Some(slot) = slot else {
            return self.line.give_up(DropReason::Rejected, spans, "the sending thread has ended");
        };
        let (line, parcel) = (Arc::clone(&self.line), Parcel { body, spans });
        self.runtime.spawn(async move {
            line.deliver(&parcel).await;
            drop(slot);
        });
    }

    /// Waits for all requests; past the deadline they give up.
    fn finish(&self, deadline: Instant) {
        if self.running.is_none() {
            return;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let all = || self.slots.acquire_many(self.in_flight);
        if self.runtime.block_on(async { timeout(left, all()).await }).is_err() {
            self.line.enter(Phase::GiveUp);
            drop(self.runtime.block_on(all()));
        }
    }
}

/// Lets nobody wait for a thread that has ended.
struct Closing(Arc<Semaphore>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            drop(stop);
            if thread.join().is_err() {
                log::error!("the thread that sends spans has panicked");
            }
        }
    }
}
