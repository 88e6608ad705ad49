//! Columns that have for a call what they had for the call before.

use tracer_common::event::{Abi, Reason, Record};

use super::{Few, arguments::Marks};
use crate::span_record::SpanKind;

/// Rows that have in some columns what the row before them has, because that follows from a `K`:
/// they are not in these columns yet.
#[derive(Debug)]
pub(super) struct Same<K> {
    key: Option<K>,
    rows: u32,
}

impl<K> Default for Same<K> {
    fn default() -> Self {
        Self { key: None, rows: 0 }
    }
}

impl<K: PartialEq> Same<K> {
    /// Whether the next row has this key too; it is then counted. Without a key it has none.
    #[inline]
    pub(super) fn counts(&mut self, key: Option<&K>) -> bool {
        let is_same = key.is_some() && self.key.as_ref() == key;
        self.rows += u32::from(is_same);
        is_same
    }

    /// Begins with another key; the rows that are to be entered before.
    pub(super) fn begin(&mut self, key: Option<K>) -> u32 {
        self.key = key;
        std::mem::take(&mut self.rows)
    }
}

/// The process of a call: its address, which stays where it is while spans are pushed, and the
/// number of what is known of it, 0 for nothing.
pub(super) type Owner = (usize, u64);

/// What calls of a thread mostly have in common.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Manner {
    pub(super) comm: [u8; 16],
    pub(super) cgroup_id: u64,
    pub(super) marks: Marks,
    pub(super) kind: SpanKind,
    pub(super) abi: Abi,
    pub(super) record: Record,
    pub(super) reason: Reason,
}

/// Columns that follow from an [`Owner`].
pub(super) const OF_OWNER: [Few; 8] = [
    Few::TraceId,
    Few::ParentSpanId,
    Few::Resource,
    Few::ProcessId,
    Few::ContainerId,
    Few::ParentProcessId,
    Few::ProcessStart,
    Few::CgroupPath,
];

/// Columns that follow from a [`Manner`].
pub(super) const OF_MANNER: [Few; 11] = [
    Few::SpanKind,
    Few::Abi,
    Few::Escaped,
    Few::Truncated,
    Few::Fault,
    Few::NotRead,
    Few::ReadAtExit,
    Few::Comm,
    Few::CgroupId,
    Few::Record,
    Few::Reason,
];
