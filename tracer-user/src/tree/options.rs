//! What the tree is given, and what it says of itself.

use crate::{clock::WallClock, ids::IdSource, traceparent::TraceParent};

/// The place in a trace of a command that tracer launches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaunchPlace {
    /// The trace.
    pub trace_id: [u8; 16],
    /// The id of the command's own span.
    pub span_id: [u8; 8],
    /// The span that it is part of.
    pub parent_span_id: Option<[u8; 8]>,
}

impl LaunchPlace {
    /// Below this span, or in a trace of its own. The ids are as little anybody else's as those of a
    /// process.
    pub fn new(parent: Option<TraceParent>) -> Self {
        let now = WallClock::new().boot_now();
        let ids = IdSource::this_boot().process(std::process::id(), now);
        Self {
            trace_id: parent.map_or(ids.trace_id, |parent| parent.trace_id),
            span_id: ids.span_id,
            parent_span_id: parent.map(|parent| parent.span_id),
        }
    }

    /// The place as others are to be told it.
    pub fn traceparent(&self) -> TraceParent {
        TraceParent { trace_id: self.trace_id, span_id: self.span_id }
    }
}

/// What the tree was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TreeOptions {
    /// The place of the launched command; without it, its environment and else its ids say.
    pub launch: Option<LaunchPlace>,
    /// Bytes that the kernel side captures of each string of `argv`.
    pub argument_limit: usize,
}

/// What has become of processes, so that nothing is left out in silence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TreeCounts {
    /// Processes whose first record was neither their birth nor the look at attach.
    pub unannounced: u64,
    /// Records of a process that had been told to have ended, or of an earlier one with its id.
    pub late: u64,
    /// Values of `TRACEPARENT` in environments that are none.
    pub traceparent_invalid: u64,
    /// Environments of which only the end was looked at.
    pub environment_cut: u64,
}
