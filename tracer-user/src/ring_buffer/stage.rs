//! Work on spans between the queue and the destinations.

use crate::span_record::SpanRecord;

/// What the sidecar does with each batch before any destination gets it. One thread calls it, in
/// the order of the spans; it may read files, and while it does the queue fills.
pub trait Stage: Send {
    /// Adds to the spans, or takes out those that are not to be exported, which are counted as
    /// [`filtered`](super::SpanRingBuffer::filtered). `dropped` counts the spans that the queue has
    /// had no room for so far.
    fn process(&mut self, spans: &mut Vec<SpanRecord>, dropped: u64);
}
