//! Keeps spans in memory; for tests and for programs that look at spans themselves.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{ExportError, Exporter};
use crate::span_record::SpanRecord;

/// Appends to a list that its clones share. The list grows without bound.
#[derive(Debug, Clone, Default)]
pub struct MemoryExporter {
    spans: Arc<Mutex<Vec<SpanRecord>>>,
}

impl MemoryExporter {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// What has been exported so far, taken out of the list.
    pub fn take(&self) -> Vec<SpanRecord> {
        std::mem::take(&mut self.lock())
    }

    /// How many spans there are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Vec<SpanRecord>> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Exporter for MemoryExporter {
    fn export(&mut self, batch: &[SpanRecord]) -> Result<(), ExportError> {
        self.lock().extend_from_slice(batch);
        Ok(())
    }
}
