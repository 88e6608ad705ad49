//! A destination: one exporter with a bounded queue and a thread of its own, so that a slow or
//! broken one costs its own spans and nobody else's.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Instant,
};

use crate::{
    export::{ExportError, Exporter},
    span_record::SpanRecord,
};

/// Spans that all destinations share.
pub(super) type Batch = Arc<Vec<SpanRecord>>;

/// Spans that wait for a destination, at most.
const QUEUE_SPANS: usize = 65_536;
/// Batches that wait for a destination, at most; few are this small when spans are many.
const QUEUE_BATCHES: usize = 4096;

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
    /// The reader of a pipe has gone.
    PipeClosed = "pipe_closed",
    /// The exporter refused the spans for another reason.
    Rejected = "rejected",
    /// The exporter has panicked; it gets no more spans.
    Panicked = "panicked",
    /// The exporter was not done when the time for shutting down was over.
    ShutdownDeadline = "shutdown_deadline",
}

/// What became of the spans of one destination. Sidecar and exporting thread count once a batch.
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
    delivered: u64,
    dropped: [u64; DropReason::ALL.len()],
    first_error: Option<String>,
    /// Why the exporter takes no more spans.
    gone: Option<DropReason>,
    /// The exporting thread has ended.
    ended: bool,
}

impl Account {
    fn drop_spans(&mut self, reason: DropReason, spans: usize) {
        self.dropped[reason as usize] += spans as u64;
    }
}

impl Delivery {
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
    /// Spans on their way.
    pub fn queued(&self) -> u64 {
        self.account().queued
    }
    /// What the exporter said when it first failed.
    pub fn first_error(&self) -> Option<String> {
        self.account().first_error.clone()
    }
    /// Whether the exporter can take no more spans.
    pub fn is_gone(&self) -> bool {
        self.account().gone.is_some()
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, error: &str) {
        let mut account = self.account();
        if account.first_error.is_none() {
            log::error!("{}: {error}", self.name);
            account.first_error = Some(error.to_owned());
        }
    }

    /// Waits until the exporting thread has ended. Past the deadline its spans count as dropped,
    /// whatever it may still write.
    fn wait_for_end(&self, deadline: Option<Instant>) {
        let mut account = self.account();
        while !account.ended {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            account = match left {
                None => self.ended.wait(account).unwrap_or_else(PoisonError::into_inner),
                Some(left) if left.is_zero() => {
                    let queued = usize::try_from(account.queued).unwrap_or(usize::MAX);
                    account.drop_spans(DropReason::ShutdownDeadline, queued);
                    account.queued = 0;
                    account.gone = Some(DropReason::ShutdownDeadline);
                    return;
                }
                Some(left) => {
                    let woken = self.ended.wait_timeout(account, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

/// An exporter with its name, not yet running.
pub struct Destination {
    exporter: Box<dyn Exporter>,
    delivery: Arc<Delivery>,
}

impl std::fmt::Debug for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Destination").field("delivery", &self.delivery).finish_non_exhaustive()
    }
}

impl Destination {
    /// A destination called `name` in the ledger and in messages.
    pub fn new(name: impl Into<String>, exporter: impl Exporter + 'static) -> Self {
        let delivery = Delivery {
            name: name.into(),
            account: Mutex::new(Account::default()),
            ended: Condvar::new(),
        };
        Self { exporter: Box::new(exporter), delivery: Arc::new(delivery) }
    }

    /// Its counters, which stay readable when it is gone.
    pub fn delivery(&self) -> Arc<Delivery> {
        Arc::clone(&self.delivery)
    }

    pub(super) fn start(self) -> io::Result<Worker> {
        let (sender, receiver) = sync_channel(QUEUE_BATCHES);
        let delivery = Arc::clone(&self.delivery);
        // The kernel keeps 15 bytes of a thread's name.
        let name: String = format!("tracer-{}", delivery.name).chars().take(15).collect();
        let work = move || {
            let ended = Ended(&self.delivery);
            work(self.exporter, &self.delivery, &receiver);
            drop(ended);
        };
        thread::Builder::new().name(name).spawn(work)?;
        Ok(Worker { sender, delivery })
    }
}

/// Tells the end of the exporting thread, also when it panics.
struct Ended<'a>(&'a Delivery);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.account().ended = true;
        self.0.ended.notify_all();
    }
}

/// A running destination.
pub(super) struct Worker {
    sender: SyncSender<Batch>,
    delivery: Arc<Delivery>,
}

/// A destination that gets no more spans.
pub(super) struct Finishing(Arc<Delivery>);

impl Worker {
    /// Queues a batch, or drops and counts it.
    pub(super) fn offer(&self, batch: &Batch) {
        let spans = batch.len();
        let mut account = self.delivery.account();
        if let Some(reason) = account.gone {
            account.drop_spans(reason, spans);
        } else if account.queued + spans as u64 <= QUEUE_SPANS as u64
            && self.sender.try_send(Arc::clone(batch)).is_ok()
        {
            account.queued += spans as u64;
        } else {
            account.drop_spans(DropReason::QueueFull, spans);
        }
    }

    /// Lets the exporting thread end when it has delivered what is queued.
    pub(super) fn finish(self) -> Finishing {
        Finishing(self.delivery)
    }
}

impl Finishing {
    /// Waits for that.
    pub(super) fn wait(self, deadline: Option<Instant>) {
        self.0.wait_for_end(deadline);
    }
}

fn work(mut exporter: Box<dyn Exporter>, delivery: &Delivery, receiver: &Receiver<Batch>) {
    for batch in receiver {
        let gone = delivery.account().gone;
        let outcome = match gone {
            Some(reason) => Outcome { delivered: 0, reason, error: None, gone },
            None => deliver(exporter.as_mut(), &batch),
        };
        if let Some(error) = &outcome.error {
            delivery.note(error);
        }
        let mut account = delivery.account();
        if account.gone == Some(DropReason::ShutdownDeadline) {
            // These spans are counted already.
            return;
        }
        account.queued -= batch.len() as u64;
        account.delivered += outcome.delivered as u64;
        account.drop_spans(outcome.reason, batch.len() - outcome.delivered);
        account.gone = outcome.gone;
    }
    if delivery.account().gone.is_some() {
        return;
    }
    match catch_unwind(AssertUnwindSafe(|| exporter.shutdown())) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => delivery.note(&error.to_string()),
        Err(_) => delivery.note("the exporter panicked at shutdown"),
    }
}

/// What became of a batch; the spans not delivered have the reason.
struct Outcome {
    delivered: usize,
    reason: DropReason,
    error: Option<String>,
    gone: Option<DropReason>,
}

fn deliver(exporter: &mut dyn Exporter, batch: &[SpanRecord]) -> Outcome {
    match catch_unwind(AssertUnwindSafe(|| exporter.export(batch))) {
        Ok(Ok(())) => Outcome {
            delivered: batch.len(),
            reason: DropReason::Rejected,
            error: None,
            gone: None,
        },
        Ok(Err(error)) => {
            let reason = reason(&error);
            let closed = reason == DropReason::PipeClosed;
            Outcome {
                delivered: error.delivered().min(batch.len()),
                reason,
                error: (!closed).then(|| error.to_string()),
                gone: closed.then_some(reason),
            }
        }
        Err(_) => Outcome {
            delivered: 0,
            reason: DropReason::Panicked,
            error: Some("the exporter has panicked; it gets no more spans".to_owned()),
            gone: Some(DropReason::Panicked),
        },
    }
}

/// The reason under which the spans of a failed export are counted.
const fn reason(error: &ExportError) -> DropReason {
    match error {
        ExportError::Io { .. } => DropReason::Io,
        ExportError::PipeClosed { .. } => DropReason::PipeClosed,
        ExportError::Rejected { .. } => DropReason::Rejected,
    }
}
