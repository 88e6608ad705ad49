//! What the kernel side has lost, told in the stream where it happened. The counters are looked at from
//! time to time, by who asks for it: no call pays for that.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tracer_common::counter::Counter;

use crate::{
    kernel::KernelCounts,
    reader::Notices,
    span_record::{Loss, LossPlace, SpanRecord},
};

/// While a loss goes on, a record of it comes that often.
const LONGEST: Duration = Duration::from_secs(1);

/// Each place with the counters of calls that are lost there, and of other records.
const PLACES: [(LossPlace, &[Counter], &[Counter]); 2] = [
    (
        LossPlace::KernelRing,
        &[Counter::ReserveFailed],
        &[
            Counter::LifecycleReserveFailed,
            Counter::RunningReserveFailed,
            Counter::SignalReserveFailed,
        ],
    ),
    (LossPlace::KernelMemory, &[Counter::StoreFailed], &[Counter::SignalNotKept]),
];

/// What has been lost so far, as these counters say.
pub(crate) fn lost(counts: &KernelCounts) -> impl Iterator<Item = Loss> {
    PLACES
        .map(|(place, calls, others)| {
            let sum = |all: &[Counter]| all.iter().map(|counter| counts.get(*counter)).sum();
            Loss { place, calls: sum(calls), others: sum(others) }
        })
        .into_iter()
}

/// Whether a counter of this name is one of them.
pub(crate) fn is_told(name: &str) -> bool {
    let mut all = PLACES.iter().flat_map(|(_, calls, others)| calls.iter().chain(*others));
    all.any(|counter| counter.name() == name)
}

/// Looks at the counters, and makes records of what they have risen by.
#[derive(Debug)]
pub(crate) struct Losses {
    notices: Arc<Notices>,
    watches: Vec<Watch>,
    /// When they were looked at last, in nanoseconds since the Unix epoch.
    looked: u64,
}

/// A place, what was lost there by the last look, and what of it has not been told.
#[derive(Debug)]
struct Watch {
    seen: Loss,
    untold: Loss,
    /// When the untold began.
    since: u64,
}

impl Losses {
    /// Begins with nothing lost.
    pub(crate) fn new(notices: Arc<Notices>) -> Self {
        let none = |place| Loss { place, calls: 0, others: 0 };
        let watch = |place| Watch { seen: none(place), untold: none(place), since: 0 };
        let watches = PLACES.iter().map(|(place, ..)| watch(*place)).collect();
        Self { notices, watches, looked: now() }
    }

    /// Takes in what the counters say now; at the end all is told.
    pub(crate) fn look(&mut self, counts: &KernelCounts, is_last: bool) {
        let (before, now) = (self.looked, now());
        for (watch, lost) in self.watches.iter_mut().zip(lost(counts)) {
            let span = watch.look(lost, before, now, is_last);
            let Some((since, loss)) = span else { continue };
            match self.notices.push(SpanRecord::from_loss(since, now, loss)) {
                Ok(()) => watch.untold = Loss { calls: 0, others: 0, ..loss },
                // Told with the next one; the reader takes all in the end.
                Err(_) => watch.since = since,
            }
        }
        self.looked = now;
    }

    /// Whether a notice found no room, and is still to be told.
    pub(crate) fn is_told(&self) -> bool {
        self.watches.iter().all(|watch| watch.untold.total() == 0)
    }
}

impl Watch {
    /// What is to be told now, and since when it is missing.
    fn look(&mut self, lost: Loss, before: u64, now: u64, is_last: bool) -> Option<(u64, Loss)> {
        let calls = lost.calls.saturating_sub(self.seen.calls);
        let others = lost.others.saturating_sub(self.seen.others);
        self.seen = lost;
        if self.untold.total() == 0 {
            self.since = before;
        }
        self.untold.calls += calls;
        self.untold.others += others;
        let goes_on = calls + others > 0;
        let is_long = u128::from(now.saturating_sub(self.since)) >= LONGEST.as_nanos();
        let is_due = self.untold.total() > 0 && (!goes_on || is_long || is_last);
        is_due.then_some((self.since, self.untold))
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(lost: u64, processes: u64) -> KernelCounts {
        let mut counts = KernelCounts::default();
        counts.counters.values[Counter::ReserveFailed as usize] = lost;
        counts.counters.values[Counter::LifecycleReserveFailed as usize] = processes;
        counts
    }

    #[test]
    fn a_loss_is_told_when_it_is_over_or_long() {
        let loss = |calls, others| Loss { place: LossPlace::KernelRing, calls, others };
        let mut watch = Watch { seen: loss(0, 0), untold: loss(0, 0), since: 0 };
        assert_eq!(watch.look(loss(0, 0), 10, 20, false), None);
        assert_eq!(watch.look(loss(5, 1), 20, 30, false), None);
        assert_eq!(watch.look(loss(7, 1), 30, 40, false), None);
        assert_eq!(watch.look(loss(7, 1), 40, 50, false), Some((20, loss(7, 1))));
        watch.untold = loss(0, 0);
        assert_eq!(watch.look(loss(7, 1), 50, 60, false), None);
        let later = 60 + 1_000_000_000;
        assert_eq!(watch.look(loss(9, 1), 60, later, false), Some((60, loss(2, 0))));
        watch.untold = loss(0, 0);
        assert_eq!(watch.look(loss(10, 1), later, later + 1, true), Some((later, loss(1, 0))));
    }

    #[test]
    fn all_that_is_lost_is_told_once() {
        let notices = Arc::new(Notices::new(2));
        let mut losses = Losses::new(Arc::clone(&notices));
        losses.look(&counts(3, 0), false);
        assert!(notices.is_empty() && !losses.is_told());
        losses.look(&counts(3, 0), false);
        losses.look(&counts(8, 2), true);
        assert!(losses.is_told());
        // No room: it is told with the next.
        losses.look(&counts(9, 2), true);
        assert!(!losses.is_told());
        let mut told: u64 = 0;
        let mut take = || {
            while let Some(span) = notices.pop() {
                assert!(span.start_time_nanos() <= span.end_time_nanos() && span.is_root());
                told += span.loss().unwrap().total();
            }
        };
        take();
        losses.look(&counts(9, 2), true);
        take();
        assert_eq!((told, losses.is_told()), (11, true));
    }
}
