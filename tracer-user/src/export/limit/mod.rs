//! Fewer spans for a destination than there are: a share of all traces, a number in a second.
//!
//! A trace is taken or left as a whole, so that no span of a trace that is taken lacks its parent.
//! Which traces are taken follows from their ids, so that all hosts and destinations agree.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Delivery, DropReason, ExportError, Exporter};
use crate::span_record::SpanRecord;

/// How many spans a destination gets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// The share of traces, 0.0..=1.0.
    pub sample: f64,
    /// Spans in a second, at most.
    pub max_rate: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { sample: 1.0, max_rate: None }
    }
}

/// A window of the rate.
const WINDOW: Duration = Duration::from_secs(1);

/// What of a trace id counts as random: the last seven bytes.
/// <https://www.w3.org/TR/trace-context-2/#random-trace-id-flag>
fn randomness(trace_id: &[u8; 16]) -> u64 {
    let mut bytes = [0; 8];
    bytes[1..].copy_from_slice(&trace_id[9..]);
    u64::from_be_bytes(bytes)
}

/// One more than the largest randomness.
const ALL: u64 = 1 << 56;

/// Passes on the spans that are within limits, and counts the others.
pub(crate) struct Limited {
    inner: Box<dyn Exporter>,
    delivery: Arc<Delivery>,
    /// Traces whose randomness is below are left out.
    threshold: u64,
    rate: Option<Rate>,
}

/// A limit in spans per second. In each second traces are chosen so that the load of the second
/// before would have fitted; when the load rises faster, the rest of the second is dropped.
#[derive(Debug)]
struct Rate {
    most: u64,
    /// Traces whose randomness is below are left out.
    threshold: u64,
    began: Instant,
    offered: u64,
    taken: u64,
}

impl Limited {
    pub(crate) fn new(inner: Box<dyn Exporter>, delivery: Arc<Delivery>, limits: Limits) -> Self {
        let threshold = threshold(0, limits.sample);
        let rate = limits.max_rate.map(|most| Rate {
            most,
            threshold,
            began: Instant::now(),
            offered: 0,
            taken: 0,
        });
        Self { inner, delivery, threshold, rate }
    }

    fn decide(&mut self, span: &SpanRecord) -> Option<DropReason> {
        // A loss is of no trace, and never left out.
        if span.loss().is_some() {
            return None;
        }
        let randomness = randomness(&span.trace_id());
        if randomness < self.threshold {
            return Some(DropReason::NotSampled);
        }
        let is_taken = self.rate.as_mut().is_none_or(|rate| rate.take(randomness));
        (!is_taken).then_some(DropReason::RateLimited)
    }
}

/// Where to cut, so that of what is above `from` this share is left.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share needs no more than 52 bits, and lies in 0.0..=1.0"
)]
fn threshold(from: u64, share: f64) -> u64 {
    ALL - ((ALL - from) as f64 * share.clamp(0.0, 1.0)) as u64
}

impl Rate {
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 52 bits")]
    fn advance(&mut self, now: Instant, sampled_from: u64) {
        let passed = now.saturating_duration_since(self.began);
        if passed < WINDOW {
            return;
        }
        // A window with nothing to do is longer than a second.
        let offered = self.offered as f64 / passed.as_secs_f64();
        self.threshold = threshold(sampled_from, self.most as f64 / offered.max(1.0));
        (self.began, self.offered, self.taken) = (now, 0, 0);
    }

    fn take(&mut self, randomness: u64) -> bool {
        self.offered += 1;
        let is_taken = randomness >= self.threshold && self.taken < self.most;
        self.taken += u64::from(is_taken);
        is_taken
    }
}

impl Exporter for Limited {
    fn export(&mut self, batch: &[SpanRecord]) -> Result<(), ExportError> {
        let sampled_from = self.threshold;
        if let Some(rate) = &mut self.rate {
            rate.advance(Instant::now(), sampled_from);
        }
        let (mut not_sampled, mut limited) = (0, 0);
        let mut taken = Vec::new();
        for span in batch {
            match self.decide(span) {
                None => taken.push(span.clone()),
                Some(DropReason::NotSampled) => not_sampled += 1,
                Some(_) => limited += 1,
            }
        }
        let kept = taken.len();
        let outcome = if kept == 0 { Ok(()) } else { self.inner.export_shared(&Arc::new(taken)) };
        // Not before: a panic counts the whole batch.
        self.delivery.settle_dropped(DropReason::NotSampled, not_sampled);
        self.delivery.settle_dropped(DropReason::RateLimited, limited);
        let delivered = outcome.as_ref().map_or_else(|it| it.delivered().min(kept), |()| kept);
        if !self.inner.settles_later() {
            self.delivery.settle_delivered(delivered as u64);
        }
        outcome.map_err(|error| error.with_delivered(batch.len() - kept + delivered))
    }

    fn idle(&mut self) -> Result<(), ExportError> {
        self.inner.idle()
    }

    fn settles_later(&self) -> bool {
        true
    }

    fn shutdown(&mut self) -> Result<(), ExportError> {
        self.inner.shutdown()
    }
}

#[cfg(test)]
mod tests;
