//! The books: where every call that was seen has gone, and whether the sums agree.

mod equation;

use std::sync::atomic::Ordering;

use serde_json::{Map, Value, json};
use tracer_common::counter::Counter;

use crate::{
    kernel::KernelCounts,
    reader::ReaderCounts,
    ring_buffer::{Delivery, DropReason, SpanRingBuffer},
};

/// A reading of all counters. Balanced when taken after the end of tracing; before, calls are on
/// their way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    /// The kernel side.
    pub kernel: KernelCounts,
    /// The ring between the kernel and the reader.
    pub ring: RingAccount,
    /// The reader and the span queue.
    pub spans: SpanAccount,
    /// What cgroups are called.
    pub identity: IdentityAccount,
    /// One account for each destination.
    pub destinations: Vec<DestinationAccount>,
    /// Why a thread of the trace has ended before it should.
    pub failure: Option<String>,
}

/// What passed through the ring, in records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RingAccount {
    /// Its size in bytes.
    pub size: u64,
    /// Taken out by the reader.
    pub read: u64,
    /// Bytes still in it: 0 after the end.
    pub residual_bytes: u64,
}

/// What the reader made of the records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpanAccount {
    /// Spans that were made: of calls and of processes.
    pub made: u64,
    /// Of these, spans of processes.
    pub processes: u64,
    /// Of these, records of losses.
    pub losses: u64,
    /// What these records say was lost, together.
    pub lost_told: u64,
    /// Records of processes, which are no spans.
    pub lifecycle: u64,
    /// Processes whose first record was neither their birth nor the look at attach.
    pub unannounced: u64,
    /// Records that came after their process had ended.
    pub late: u64,
    /// Values of `TRACEPARENT` in environments that are none.
    pub traceparent_invalid: u64,
    /// Environments of which only the end was looked at.
    pub environment_cut: u64,
    /// Records that could not be decoded.
    pub decode_errors: u64,
    /// The first of these, in words.
    pub first_decode_error: Option<String>,
    /// Records that nobody decoded, because the reader had panicked.
    pub reader_failed: u64,
    /// Spans of calls that were traced without being asked for, and not exported.
    pub filtered: u64,
    /// Spans that found the span queue full.
    pub dropped: u64,
    /// Spans that the sidecar passed on to nobody, because it had panicked.
    pub sidecar_failed: u64,
    /// Spans in the span queue: 0 after the end.
    pub queued: u64,
}

/// What is known of the ids that spans carry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IdentityAccount {
    /// Cgroups whose paths the kernel has told as they were made.
    pub cgroups_told: u64,
    /// Cgroups whose paths were asked for and could not be found.
    pub cgroups_unknown: u64,
    /// Processes whose user and program were found out.
    pub processes_identified: u64,
    /// Processes that had ended before anybody could ask.
    pub processes_missed: u64,
}

/// What became of the spans of a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationAccount {
    /// Its name: the export kind, with a number from the second of a kind on.
    pub name: String,
    /// Spans that arrived.
    pub delivered: u64,
    /// Spans that did not, by reason.
    pub dropped: Vec<(&'static str, u64)>,
    /// Spans in its queue: 0 after the end.
    pub queued: u64,
    /// Spans that a receiver may have beyond those delivered.
    pub possible_duplicates: u64,
    /// Records of losses that it made itself.
    pub announced: u64,
    /// What first went wrong.
    pub first_error: Option<String>,
}

impl DestinationAccount {
    fn new(delivery: &Delivery, spans: &SpanAccount) -> Self {
        let mut dropped: Vec<_> = DropReason::ALL
            .iter()
            .map(|reason| (reason.name(), delivery.dropped(*reason)))
            .collect();
        // A span that was lost on the way to the destinations is lost to each of them.
        dropped.push(("span_queue_full", spans.dropped));
        dropped.push(("sidecar_failed", spans.sidecar_failed));
        Self {
            name: delivery.name().to_owned(),
            delivered: delivery.delivered(),
            dropped,
            queued: delivery.queued(),
            possible_duplicates: delivery.possible_duplicates(),
            announced: delivery.announced(),
            first_error: delivery.first_error(),
        }
    }

    /// Spans that did not arrive, for any reason.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().map(|(_, count)| count).sum()
    }
}

impl Ledger {
    /// Puts the readings together.
    pub fn new(
        kernel: KernelCounts,
        ring: RingAccount,
        reader: &ReaderCounts,
        identity: IdentityAccount,
        buffer: &SpanRingBuffer,
    ) -> Self {
        let stats = buffer.stats();
        let spans = SpanAccount {
            made: reader.spans.load(Ordering::Relaxed),
            processes: reader.process_spans.load(Ordering::Relaxed),
            losses: reader.losses.load(Ordering::Relaxed),
            lost_told: reader.lost_told.load(Ordering::Relaxed),
            lifecycle: reader.lifecycle.load(Ordering::Relaxed),
            unannounced: reader.unannounced.load(Ordering::Relaxed),
            late: reader.late.load(Ordering::Relaxed),
            traceparent_invalid: reader.traceparent_invalid.load(Ordering::Relaxed),
            environment_cut: reader.environment_cut.load(Ordering::Relaxed),
            decode_errors: reader.decode_errors.load(Ordering::Relaxed),
            first_decode_error: reader.first_decode_error.get().cloned(),
            reader_failed: reader.failed.load(Ordering::Relaxed),
            filtered: buffer.filtered(),
            dropped: stats.total_dropped,
            sidecar_failed: buffer.failed(),
            queued: stats.current_size as u64,
        };
        let ring = RingAccount { read: reader.read.load(Ordering::Relaxed), ..ring };
        let deliveries = buffer.deliveries().iter();
        let destinations =
            deliveries.map(|delivery| DestinationAccount::new(delivery, &spans)).collect();
        Self { kernel, ring, spans, identity, destinations, failure: None }
    }

    /// Records of every kind that the kernel side wrote to the ring.
    fn submitted(&self) -> u64 {
        [
            Counter::Submitted,
            Counter::LifecycleSubmitted,
            Counter::RunningSubmitted,
            Counter::SignalSubmitted,
        ]
        .into_iter()
        .map(|counter| self.kernel.get(counter))
        .sum()
    }

    /// The equations of the books that do not hold, each in one line.
    pub fn imbalances(&self) -> Vec<String> {
        equation::imbalances(&self.accounts())
    }

    /// Whether all equations hold.
    pub fn balanced(&self) -> bool {
        self.imbalances().is_empty()
    }

    /// What was lost, by name; empty when nothing was. What was left out on request is not lost.
    pub fn losses(&self) -> Vec<(String, u64)> {
        let kernel = [
            Counter::ReserveFailed,
            Counter::LifecycleReserveFailed,
            Counter::RunningReserveFailed,
            Counter::SignalReserveFailed,
            Counter::SignalNotKept,
            Counter::StoreFailed,
        ]
        .map(|counter| (counter.name().to_owned(), self.kernel.get(counter)));
        let misses = ("recursion_misses".to_owned(), self.kernel.recursion_misses);
        let errors = ("decode_error".to_owned(), self.spans.decode_errors);
        let failed = ("reader_failed".to_owned(), self.spans.reader_failed);
        let wanted =
            |reason: &str| DropReason::ALL.iter().any(|it| it.is_wanted() && it.name() == reason);
        let destinations = self.destinations.iter().flat_map(|it| {
            it.dropped
                .iter()
                .filter(|(reason, _)| !wanted(reason))
                .map(|(reason, count)| (format!("{}: {reason}", it.name), *count))
        });
        kernel
            .into_iter()
            .chain([misses, errors, failed])
            .chain(destinations)
            .filter(|(_, n)| *n > 0)
            .collect()
    }

    /// One JSON object; the names are a contract, see `docs/output.md`.
    pub fn to_json(&self) -> Value {
        let mut all = self.accounts();
        let imbalances = equation::imbalances(&all);
        all["balanced"] = imbalances.is_empty().into();
        all["imbalances"] = imbalances.into();
        all
    }

    /// All counters, by account and name.
    fn accounts(&self) -> Value {
        let mut kernel: Map<String, Value> = Counter::ALL
            .iter()
            .map(|counter| (counter.name().to_owned(), self.kernel.get(*counter).into()))
            .collect();
        kernel.insert("recursion_misses".into(), self.kernel.recursion_misses.into());
        let destinations: Map<String, Value> = self
            .destinations
            .iter()
            .map(|it| {
                let dropped: Map<String, Value> =
                    it.dropped.iter().map(|(reason, n)| ((*reason).into(), (*n).into())).collect();
                let account = json!({
                    "delivered": it.delivered,
                    "dropped": dropped,
                    "queued": it.queued,
                    "possible_duplicates": it.possible_duplicates,
                    "announced": it.announced,
                    "first_error": it.first_error,
                });
                (it.name.clone(), account)
            })
            .collect();
        json!({
            "kernel": kernel,
            "ring": {
                "size": self.ring.size,
                "submitted": self.submitted(),
                "read": self.ring.read,
                "residual": self.ring.residual_bytes,
            },
            "spans": {
                "read": self.ring.read,
                "spans": self.spans.made.saturating_sub(self.spans.filtered),
                "filtered_user": self.spans.filtered,
                "processes": self.spans.processes,
                "losses": self.spans.losses,
                "lost_told": self.spans.lost_told,
                "lifecycle": self.spans.lifecycle,
                "unannounced": self.spans.unannounced,
                "late": self.spans.late,
                "traceparent_invalid": self.spans.traceparent_invalid,
                "environment_cut": self.spans.environment_cut,
                "decode_error": self.spans.decode_errors,
                "first_decode_error": self.spans.first_decode_error,
                "reader_failed": self.spans.reader_failed,
                "queue_full": self.spans.dropped,
                "sidecar_failed": self.spans.sidecar_failed,
                "queued": self.spans.queued,
            },
            "identity": {
                "cgroups_told": self.identity.cgroups_told,
                "cgroups_unknown": self.identity.cgroups_unknown,
                "processes_identified": self.identity.processes_identified,
                "processes_missed": self.identity.processes_missed,
            },
            "destinations": destinations,
            "failure": self.failure,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> Ledger {
        let mut kernel = KernelCounts::default();
        let mut set = |counter: Counter, value| kernel.counters.values[counter as usize] = value;
        set(Counter::EnterSeen, 110);
        set(Counter::Filtered, 9);
        set(Counter::Stored, 100);
        set(Counter::NoReturn, 1);
        set(Counter::Matched, 97);
        set(Counter::InFlight, 2);
        set(Counter::TaskDied, 1);
        set(Counter::FilteredResult, 1);
        set(Counter::Submitted, 90);
        set(Counter::ReserveFailed, 10);
        set(Counter::CgroupMade, 5);
        set(Counter::CgroupLost, 1);
        set(Counter::Forked, 3);
        set(Counter::Exited, 2);
        set(Counter::LifecycleSubmitted, 4);
        set(Counter::RunningAtAttach, 2);
        set(Counter::RunningSubmitted, 1);
        set(Counter::RunningReserveFailed, 1);
        set(Counter::LifecycleReserveFailed, 1);
        Ledger {
            kernel,
            ring: RingAccount { size: 4096, read: 95, residual_bytes: 0 },
            spans: SpanAccount {
                made: 93,
                processes: 2,
                lifecycle: 4,
                lost_told: 12,
                ..SpanAccount::default()
            },
            identity: IdentityAccount { cgroups_told: 4, ..IdentityAccount::default() },
            destinations: vec![DestinationAccount {
                name: "json".into(),
                delivered: 91,
                dropped: vec![("io", 2), ("not_sampled", 0)],
                queued: 0,
                possible_duplicates: 0,
                announced: 0,
                first_error: None,
            }],
            failure: None,
        }
    }

    #[test]
    fn balanced_books_name_their_losses() {
        let ledger = ledger();
        assert_eq!(ledger.imbalances(), Vec::<String>::new());
        let lost = |name: &str, count| (name.to_owned(), count);
        let kernel = [
            lost("reserve_failed", 10),
            lost("lifecycle_reserve_failed", 1),
            lost("running_reserve_failed", 1),
        ];
        let all = [&kernel[..], &[lost("json: io", 2)]].concat();
        assert_eq!(ledger.losses(), all);
        assert_eq!(ledger.to_json()["balanced"], true);
        let mut sampled = ledger;
        sampled.destinations[0].dropped = vec![("not_sampled", 2)];
        assert_eq!(sampled.imbalances(), Vec::<String>::new());
        assert_eq!(sampled.losses(), kernel);
    }

    #[test]
    fn each_equation_can_fail() {
        let count = |counter: Counter| {
            let mut ledger = ledger();
            ledger.kernel.counters.values[counter as usize] += 1;
            ledger.imbalances().len()
        };
        assert_eq!(count(Counter::EnterSeen), 1);
        assert_eq!(count(Counter::Stored), 2);
        assert_eq!(count(Counter::Matched), 2);
        assert_eq!(count(Counter::FilteredResult), 1);
        assert_eq!(count(Counter::Submitted), 2);
        assert_eq!(count(Counter::CgroupLost), 1);
        assert_eq!(count(Counter::Executed), 1);
        assert_eq!(count(Counter::LifecycleSubmitted), 2);
        assert_eq!(count(Counter::RunningAtAttach), 1);
        assert_eq!(count(Counter::RunningSubmitted), 2);
        assert_eq!(count(Counter::Signals), 1);
        assert_eq!(count(Counter::SignalSubmitted), 2);
        let mut wrong = ledger();
        wrong.spans.made -= 1;
        assert_eq!(wrong.imbalances().len(), 2);
        let mut wrong = ledger();
        wrong.spans.filtered = 1;
        assert_eq!(wrong.imbalances().len(), 1);
        let mut wrong = ledger();
        wrong.spans.queued = 1;
        assert_eq!(wrong.imbalances(), ["queued = 0: 1 is not 0"]);
        let mut wrong = ledger();
        wrong.ring.residual_bytes = 8;
        assert!(!wrong.balanced());
        let mut wrong = ledger();
        wrong.destinations[0].delivered -= 1;
        assert_eq!(
            wrong.imbalances(),
            ["spans.spans + announced = delivered + dropped + queued: 93 is not 92"]
        );
    }
}
