//! Spans that are in no row group yet. They stay where they are, shared with the other
//! destinations: a copy would cost more than to encode some of the columns.

use std::{ops::Range, sync::Arc};

use crate::span_record::SpanRecord;

/// Spans that wait, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Pending {
    batches: Vec<(Arc<Vec<SpanRecord>>, Range<usize>)>,
    len: usize,
}

impl Pending {
    /// Spans that wait.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Keeps some spans of a batch; those that it does not have are left out.
    pub(super) fn push(&mut self, batch: &Arc<Vec<SpanRecord>>, part: Range<usize>) {
        let part = part.start.min(batch.len())..part.end.min(batch.len());
        self.len += part.len();
        if !part.is_empty() {
            self.batches.push((Arc::clone(batch), part));
        }
    }

    /// The spans, in the order in which they came.
    pub(super) fn iter(&self) -> impl Iterator<Item = &SpanRecord> {
        self.batches.iter().flat_map(|(batch, part)| batch.get(part.clone()).unwrap_or_default())
    }

    /// The spans, by their start; those of one time in the order in which they came. They came in
    /// the order of their ends, so that this is nearly sorted already.
    pub(super) fn sorted(&self) -> impl Iterator<Item = &SpanRecord> + use<'_> {
        let mut spans = Vec::with_capacity(self.len);
        for (batch, part) in &self.batches {
            let part = batch.get(part.clone()).unwrap_or_default();
            spans.extend(part.iter().map(|span| (span.start_time_nanos(), span)));
        }
        spans.sort_by_key(|(start, _)| *start);
        spans.into_iter().map(|(_, span)| span)
    }

    /// Lets them go.
    pub(super) fn clear(&mut self) {
        self.batches.clear();
        self.len = 0;
    }
}
