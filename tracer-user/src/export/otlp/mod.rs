//! The OTLP destination: spans to an OpenTelemetry receiver, by gRPC or HTTP.
//!
//! The destination's thread encodes, compresses and waits when too many requests are on their way;
//! one more thread sends them. Nothing else is shared with other destinations.

mod attributes;
mod body;
mod encode;
mod health;
mod known;
mod messages;
mod options;
mod process;
mod send;
mod sender;
mod spill;
mod tls;
mod transport;
mod verdict;
mod wire;

pub use options::{
    Assumed, BatchLimits, Compression, ErrorStatus, OtlpOptionError, OtlpOptions, Protocol, Retry,
    SpillOptions, TlsFiles,
};
pub use tls::TlsError;

use std::{
    io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use self::{
    encode::{Encoder, PREFIX},
    sender::Sender,
};
use super::{Delivery, DropReason, ExportError, Exporter};
use crate::{identity::Resolver, span_record::SpanRecord};

/// Why the destination cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// What the sending thread needs.
    #[error("cannot prepare to send spans: {0}")]
    Runtime(io::Error),
    /// The folder for requests that wait.
    #[error("cannot keep spans in `{folder}`: {source}")]
    Spill {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
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

    /// Says with each process what is known of it.
    #[must_use]
    pub fn with_identity(self, resolver: Arc<Resolver>) -> Self {
        Self { encoder: self.encoder.with_identity(resolver), ..self }
    }

    fn flush(&mut self) {
        self.begun = None;
        self.sender.send(&mut self.encoder);
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
                sender.send(encoder);
                *begun = None;
            }
        });
        if too_long > 0 {
            sender.give_up(DropReason::TooLong, too_long, "a span is longer than 1 MiB");
        }
        if encoder.spans() > 0 {
            begun.get_or_insert_with(Instant::now);
        }
        self.flush_if_due();
        Ok(())
    }

    fn idle(&mut self) -> Result<(), ExportError> {
        self.sender.pump();
        self.flush_if_due();
        Ok(())
    }

    fn settles_later(&self) -> bool {
        true
    }

    fn shutdown(&mut self) -> Result<(), ExportError> {
        let deadline = Instant::now() + self.drain;
        self.sender.finish(&mut self.encoder, deadline);
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

#[cfg(test)]
mod tests;
