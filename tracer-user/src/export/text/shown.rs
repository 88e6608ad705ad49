//! Which processes have shown a line.

use std::collections::HashSet;

use crate::span_record::SpanRecord;

/// Processes that have shown a line, by id and start. Of very many, those that have shown none for
/// longest are forgotten.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// The one that was entered last: neighbours are mostly of one process.
    last: Option<(u32, u64)>,
    recent: HashSet<(u32, u64)>,
    older: HashSet<(u32, u64)>,
}

impl Shown {
    /// Most processes in either set.
    const MOST: usize = 65_536;

    fn key(span: &SpanRecord) -> Option<(u32, u64)> {
        span.process().map(|process| (process.tgid, process.start_ns))
    }

    pub(super) fn insert(&mut self, span: &SpanRecord) {
        let key = Self::key(span);
        if self.last == key {
            return;
        }
        self.last = key;
        if self.recent.len() >= Self::MOST {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.extend(key);
    }

    pub(super) fn contains(&self, span: &SpanRecord) -> bool {
        Self::key(span).is_none_or(|key| self.recent.contains(&key) || self.older.contains(&key))
    }

    pub(super) fn remove(&mut self, span: &SpanRecord) {
        if let Some(key) = Self::key(span) {
            self.recent.remove(&key);
            self.older.remove(&key);
            self.last = self.last.filter(|last| *last != key);
        }
    }
}
