//! Exporters: a format and a place each. They know [`SpanRecord`] and nothing else of tracer.

mod argument;
mod bounds;
mod delivery;
mod json;
mod limit;
mod memory;
mod message;
mod null;
#[cfg(feature = "otlp")]
pub mod otlp;
mod output;
#[cfg(feature = "parquet")]
pub mod parquet;
mod pointee;
mod text;
mod who;

pub use delivery::{Delivery, DropReason};
pub use json::JsonExporter;
pub(crate) use limit::Limited;
pub use limit::Limits;
pub use memory::MemoryExporter;
pub use null::NullExporter;
pub use output::{Output, OutputError};
#[cfg(feature = "parquet")]
pub use parquet::ParquetExporter;
pub use text::{Lines, TextExporter, TextStyle, Times};

use std::{io, sync::Arc};

use crate::span_record::SpanRecord;

/// Where spans go.
///
/// The contract: one thread owns the exporter and calls it, never two at once. `export` gets each
/// span once, in the order in which the spans were queued; spans of one thread of a traced program
/// are in the order of their end. It may block, for its own queue fills and drops, and nobody
/// else's; but it must return in the end, because shutdown waits for it. After `Ok` all spans of
/// the batch are delivered; after an error, as many as the error says, and the others are counted
/// as dropped: neither is offered again, so retrying is the exporter's own affair. A panic is
/// caught, and ends this exporter only.
///
/// ```
/// use tracer_user::{
///     export::{ExportError, Exporter},
///     ring_buffer::{Destination, SpanRingBuffer},
///     span_record::SpanRecord,
/// };
///
/// struct Errors(u64);
///
/// impl Exporter for Errors {
///     fn export(&mut self, batch: &[SpanRecord]) -> Result<(), ExportError> {
///         self.0 += batch.iter().filter(|span| span.is_error()).count() as u64;
///         Ok(())
///     }
/// }
///
/// let buffer = SpanRingBuffer::with_destinations(1024, vec![Destination::new("errors", Errors(0))])?;
/// buffer.shutdown();
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Exporter: Send {
    /// Delivers a batch; it is never empty.
    fn export(&mut self, batch: &[SpanRecord]) -> Result<(), ExportError>;

    /// The same with spans that other destinations share: for an exporter that keeps them for
    /// longer than the call, and need not copy them then.
    fn export_shared(&mut self, batch: &Arc<Vec<SpanRecord>>) -> Result<(), ExportError> {
        self.export(batch)
    }

    /// Called about ten times a second while no batch comes: does what is due by time, and
    /// notices what would otherwise show only at the next batch.
    fn idle(&mut self) -> Result<(), ExportError> {
        Ok(())
    }

    /// Whether `Ok` from `export` means "taken" and not yet "delivered". Such an exporter says
    /// what became of the spans by [`Delivery::settle_delivered`] and
    /// [`Delivery::settle_dropped`], from any thread; what it has not settled at the end of
    /// `shutdown` is counted as [`DropReason::Unsettled`]. After an error, the spans that the
    /// error says were delivered are the ones taken.
    fn settles_later(&self) -> bool {
        false
    }

    /// Called once, after the last batch: finishes what is open.
    fn shutdown(&mut self) -> Result<(), ExportError> {
        Ok(())
    }
}

/// Why spans of a batch were not delivered.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Writing failed.
    #[error("cannot write: {source}")]
    Io {
        /// Spans of the batch that were delivered before.
        delivered: usize,
        /// What the system said.
        source: io::Error,
    },
    /// The reader of the pipe has gone; nothing more can be delivered.
    #[error("the reader of the pipe has gone")]
    PipeClosed {
        /// Spans of the batch that were delivered before.
        delivered: usize,
    },
    /// Another reason.
    #[error("rejected: {message}")]
    Rejected {
        /// Spans of the batch that were delivered before.
        delivered: usize,
        /// Why.
        message: String,
    },
}

impl ExportError {
    /// Spans of the batch that were delivered before the error.
    pub const fn delivered(&self) -> usize {
        match self {
            Self::Io { delivered, .. }
            | Self::PipeClosed { delivered }
            | Self::Rejected { delivered, .. } => *delivered,
        }
    }

    /// The same error with another number of spans delivered before.
    pub(crate) fn with_delivered(mut self, spans: usize) -> Self {
        match &mut self {
            Self::Io { delivered, .. }
            | Self::PipeClosed { delivered }
            | Self::Rejected { delivered, .. } => *delivered = spans,
        }
        self
    }

    /// Tells a closed pipe from other failures.
    pub fn from_io(delivered: usize, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::BrokenPipe {
            Self::PipeClosed { delivered }
        } else {
            Self::Io { delivered, source }
        }
    }
}
