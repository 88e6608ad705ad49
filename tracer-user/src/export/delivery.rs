//! The account of one destination: where each span offered to it has gone.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Why spans did not reach a destination.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum DropReason { $($(#[$doc])* $variant,)* }

        impl DropReason {
            /// All reasons.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];
            /// The name in the ledger.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

drop_reasons! {
    /// The destination was slower than the spans came.
    QueueFull = "queue_full",
    /// Writing failed.
    Io = "io",
    /// The disk is full, or the file would be larger than a file may be.
    DiskFull = "disk_full",
    /// The user's quota is used up.
    Quota = "quota",
    /// The folder that files are written to was removed.
    FolderGone = "folder_gone",
    /// The object store was away until the end; the file with them is in the spool folder.
    NotUploaded = "not_uploaded",
    /// The reader of a pipe has gone.
    PipeClosed = "pipe_closed",
    /// The exporter refused the spans for another reason.
    Rejected = "rejected",
    /// The exporter has panicked; it gets no more spans.
    Panicked = "panicked",
    /// The exporter was not done when the time for shutting down was over.
    ShutdownDeadline = "shutdown_deadline",
    /// The exporter ended without saying what became of them.
    Unsettled = "unsettled",
    /// A receiver took the request they were in, but not them.
    RejectedPartial = "rejected_partial",
    /// A receiver answered with an error that forbids sending them again.
    Nonretryable = "nonretryable",
    /// A receiver was away or busy for too long.
    RetryExhausted = "retry_exhausted",
    /// What answered was no receiver of this protocol.
    ProtocolError = "protocol_error",
    /// A span too long for any receiver.
    TooLong = "too_long",
    /// Of a trace that was not chosen.
    NotSampled = "not_sampled",
    /// More than were wanted in a second.
    RateLimited = "rate_limited",
}

impl DropReason {
    /// Whether it was asked for, so that it is no loss.
    pub const fn is_wanted(self) -> bool {
        matches!(self, Self::NotSampled | Self::RateLimited)
    }
}

/// What became of the spans of one destination. Each span is in exactly one of: queued (waits for
/// the exporter), held (the exporter has taken it and is not done), delivered, dropped. Counted
/// once a batch.
#[derive(Debug)]
pub struct Delivery {
    name: String,
    account: Mutex<Account>,
    /// Notified when the exporting thread has ended.
    ended: Condvar,
}

#[derive(Debug, Default)]
struct Account {
    queued: u64,
    held: u64,
    delivered: u64,
    dropped: [u64; DropReason::ALL.len()],
    /// Sent, and not answered yet.
    in_doubt: u64,
    possible_duplicates: u64,
    /// Records of losses that the destination made itself: they are offered beside the spans.
    announced: u64,
    /// Spans that found the queue full, and of which there is no record yet.
    unannounced: Option<Missing>,
    first_error: Option<String>,
    /// Why the exporter takes no more spans.
    gone: Option<DropReason>,
    /// The exporting thread has ended.
    ended: bool,
}

/// Spans that are missing between two moments, in nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) spans: u64,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl Account {
    /// The queue was full.
    fn refuse(&mut self, spans: u64) {
        self.drop_spans(DropReason::QueueFull, spans);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let missing = self.unannounced.get_or_insert(Missing { spans: 0, from: now, to: now });
        missing.spans += spans;
        missing.to = now.max(missing.from);
    }

    const fn drop_spans(&mut self, reason: DropReason, spans: u64) {
        self.dropped[reason as usize] += spans;
    }

    /// As many of these spans as are held, which are held no longer. An exporter that settles a span
    /// twice must not change the books.
    const fn release(&mut self, spans: u64) -> u64 {
        let released = if spans < self.held { spans } else { self.held };
        self.held -= released;
        released
    }

    /// Everything not delivered yet is dropped for this reason.
    const fn abandon(&mut self, reason: DropReason) {
        self.drop_spans(reason, self.queued + self.held);
        self.queued = 0;
        self.held = 0;
        self.gone = Some(reason);
        self.possible_duplicates += self.in_doubt;
        self.in_doubt = 0;
    }

    /// Past the deadline everything is counted already, whatever the exporter may still do.
    fn is_closed(&self) -> bool {
        self.gone == Some(DropReason::ShutdownDeadline)
    }
}

impl Delivery {
    /// An empty account of the destination of this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), account: Mutex::new(Account::default()), ended: Condvar::new() }
    }

    /// The destination's name.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// Spans that arrived.
    pub fn delivered(&self) -> u64 {
        self.account().delivered
    }
    /// Spans that did not, for this reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.account().dropped[reason as usize]
    }
    /// Spans that did not, for any reason.
    pub fn dropped_total(&self) -> u64 {
        self.account().dropped.iter().sum()
    }
    /// Spans that a receiver may have beyond those delivered, each as often as it may have it: they
    /// were sent, and the answer was lost or said nothing certain. The receiver has between
    /// `delivered` and `delivered + possible_duplicates` spans.
    pub fn possible_duplicates(&self) -> u64 {
        self.account().possible_duplicates
    }
    /// Spans on their way: waiting for the exporter, or taken by it and not settled.
    pub fn queued(&self) -> u64 {
        let account = self.account();
        account.queued + account.held
    }
    /// What the exporter said when it first failed.
    pub fn first_error(&self) -> Option<String> {
        self.account().first_error.clone()
    }
    /// Whether the exporter can take no more spans.
    pub fn is_gone(&self) -> bool {
        self.account().gone.is_some()
    }

    /// Enters spans as taken by the exporter, which a destination does by itself. For programs that
    /// call an exporter of their own, see [`super::Exporter::settles_later`].
    pub fn hold(&self, spans: u64) {
        self.account().held += spans;
    }

    /// Spans that an exporter held have arrived. For exporters that settle later, see
    /// [`super::Exporter::settles_later`].
    pub fn settle_delivered(&self, spans: u64) {
        let mut account = self.account();
        if !account.is_closed() {
            let spans = account.release(spans);
            account.delivered += spans;
        }
    }

    /// Spans that an exporter held will not arrive.
    pub fn settle_dropped(&self, reason: DropReason, spans: u64) {
        let mut account = self.account();
        if !account.is_closed() {
            let spans = account.release(spans);
            account.drop_spans(reason, spans);
        }
    }

    /// Spans are sent to a receiver whose answer will tell what became of them; false when it is
    /// too late for that. To be followed by [`Self::end_attempt`], after they were settled.
    #[must_use]
    pub fn begin_attempt(&self, spans: u64) -> bool {
        let mut account = self.account();
        if !account.is_closed() {
            account.in_doubt += spans;
        }
        !account.is_closed()
    }

    /// The answer has come, or none will. `certain`: it is known what became of the spans.
    pub fn end_attempt(&self, spans: u64, certain: bool) {
        let mut account = self.account();
        if !account.is_closed() {
            account.in_doubt = account.in_doubt.saturating_sub(spans);
            if !certain {
                account.possible_duplicates += spans;
            }
        }
    }

    /// Keeps the first error for the ledger, and says it.
    pub fn note(&self, error: &str) {
        let mut account = self.account();
        if account.first_error.is_none() {
            log::error!("{}: {error}", self.name);
            account.first_error = Some(error.to_owned());
        }
    }

    /// Enters spans that `send` puts into a queue for at most `limit` spans; counts them as
    /// dropped where that is full, or nobody takes them any more.
    pub(crate) fn enqueue(&self, spans: u64, limit: u64, send: impl FnOnce() -> bool) {
        let mut account = self.account();
        if let Some(reason) = account.gone {
            account.drop_spans(reason, spans);
        } else if account.queued + spans <= limit && send() {
            account.queued += spans;
        } else {
            account.refuse(spans);
        }
    }

    /// Takes out what was refused since the last time, if it has gone on for so long, for a record of
    /// it, which is held then like a span. `None` where there is nothing to tell, or nobody who takes it.
    pub(crate) fn announce(&self, least: Duration) -> Option<Missing> {
        let mut account = self.account();
        let is_long = |it: &Missing| u128::from(it.to - it.from) >= least.as_nanos();
        if account.gone.is_some() || !account.unannounced.as_ref().is_some_and(is_long) {
            return None;
        }
        let missing = account.unannounced.take()?;
        account.announced += 1;
        account.held += 1;
        Some(missing)
    }

    /// Records of losses that the destination has made itself: in the books they stand beside the
    /// spans that it was offered.
    pub fn announced(&self) -> u64 {
        self.account().announced
    }

    /// A batch leaves the queue for the exporter; the reason, if the exporter takes no more.
    pub(crate) fn take(&self, spans: u64) -> Result<(), DropReason> {
        let mut account = self.account();
        if account.is_closed() {
            return Err(DropReason::ShutdownDeadline);
        }
        account.queued -= spans;
        account.held += spans;
        account.gone.map_or(Ok(()), Err)
    }

    /// The exporter takes no more spans.
    pub(crate) fn close(&self, reason: DropReason) {
        let mut account = self.account();
        if account.gone.is_none() {
            account.gone = Some(reason);
        }
    }

    /// The exporting thread has ended; what it still has is lost.
    pub(crate) fn end(&self) {
        let mut account = self.account();
        if account.queued + account.held > 0 {
            let reason = account.gone.unwrap_or(DropReason::Unsettled);
            account.abandon(reason);
        }
        account.ended = true;
        self.ended.notify_all();
    }

    /// Waits until the exporting thread has ended. Past the deadline its spans count as dropped,
    /// whatever it may still write.
    pub(crate) fn wait_for_end(&self, deadline: Option<Instant>) {
        let mut account = self.account();
        while !account.ended {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            account = match left {
                None => self.ended.wait(account).unwrap_or_else(PoisonError::into_inner),
                Some(left) if left.is_zero() => {
                    account.abandon(DropReason::ShutdownDeadline);
                    return;
                }
                Some(left) => {
                    let woken = self.ended.wait_timeout(account, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_span_is_in_one_place() {
        let delivery = Delivery::new("test");
        delivery.enqueue(10, 15, || true);
        delivery.enqueue(10, 15, || true);
        assert_eq!((delivery.queued(), delivery.dropped(DropReason::QueueFull)), (10, 10));
        delivery.take(10).unwrap();
        delivery.settle_delivered(4);
        delivery.settle_dropped(DropReason::Io, 3);
        assert_eq!((delivery.queued(), delivery.delivered()), (3, 4));
        delivery.end();
        assert_eq!((delivery.queued(), delivery.dropped(DropReason::Unsettled)), (0, 3));
        assert_eq!(delivery.delivered() + delivery.dropped_total(), 20);
    }

    #[test]
    fn what_is_settled_twice_counts_once() {
        let delivery = Delivery::new("test");
        delivery.enqueue(10, 15, || true);
        delivery.take(10).unwrap();
        delivery.settle_delivered(10);
        delivery.settle_delivered(10);
        delivery.settle_dropped(DropReason::Io, 1);
        delivery.end_attempt(3, false);
        assert_eq!((delivery.delivered(), delivery.dropped_total()), (10, 0));
        assert_eq!(delivery.queued(), 0);
    }

    #[test]
    fn what_was_refused_is_announced_once() {
        let delivery = Delivery::new("test");
        assert_eq!(delivery.announce(Duration::ZERO), None);
        delivery.enqueue(10, 15, || true);
        delivery.enqueue(10, 15, || true);
        delivery.enqueue(7, 15, || false);
        let missing = delivery.announce(Duration::ZERO).unwrap();
        assert_eq!((missing.spans, missing.from <= missing.to), (17, true));
        assert_eq!(
            (delivery.announce(Duration::ZERO), delivery.announced(), delivery.queued()),
            (None, 1, 11)
        );
        delivery.settle_delivered(1);
        delivery.take(10).unwrap();
        delivery.settle_delivered(10);
        assert_eq!(delivery.delivered() + delivery.dropped_total(), 27 + delivery.announced());
    }

    #[test]
    fn what_is_in_doubt_may_have_arrived() {
        let delivery = Delivery::new("test");
        delivery.enqueue(7, 15, || true);
        delivery.take(7).unwrap();
        assert!(delivery.begin_attempt(2) && delivery.begin_attempt(5));
        delivery.end_attempt(2, false);
        assert!(delivery.begin_attempt(2));
        delivery.settle_delivered(2);
        delivery.end_attempt(2, true);
        assert_eq!(delivery.possible_duplicates(), 2);
        delivery.wait_for_end(Some(Instant::now()));
        delivery.end_attempt(5, false);
        assert!(!delivery.begin_attempt(5));
        assert_eq!((delivery.delivered(), delivery.possible_duplicates()), (2, 7));
    }

    #[test]
    fn what_a_panic_leaves_has_its_reason() {
        let delivery = Delivery::new("test");
        delivery.enqueue(10, 15, || true);
        delivery.take(10).unwrap();
        delivery.settle_delivered(4);
        delivery.close(DropReason::Panicked);
        delivery.end();
        assert_eq!((delivery.queued(), delivery.dropped(DropReason::Panicked)), (0, 6));
    }

    #[test]
    fn nothing_counts_twice_after_the_deadline() {
        let delivery = Delivery::new("test");
        delivery.enqueue(5, 15, || true);
        delivery.enqueue(2, 15, || true);
        delivery.take(5).unwrap();
        delivery.wait_for_end(Some(Instant::now()));
        delivery.settle_delivered(5);
        assert_eq!(delivery.take(2), Err(DropReason::ShutdownDeadline));
        delivery.end();
        assert_eq!(delivery.dropped(DropReason::ShutdownDeadline), 7);
        assert_eq!(delivery.delivered() + delivery.dropped_total(), 7);
    }
}
