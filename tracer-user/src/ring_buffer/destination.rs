//! A destination: one exporter with a bounded queue and a thread of its own, so that a slow or
//! broken one costs its own spans and nobody else's.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    export::{Delivery, DropReason, ExportError, Exporter, Limited, Limits},
    span_record::{Loss, LossPlace, SpanRecord},
};

/// Spans that all destinations share.
pub(super) type Batch = Arc<Vec<SpanRecord>>;

/// Spans that wait for a destination, at most.
const QUEUE_SPANS: u64 = 65_536;
/// Batches that wait for a destination, at most; few are this small when spans are many.
const QUEUE_BATCHES: usize = 4096;
/// How often an exporter without spans is asked to do what is due.
const IDLE_INTERVAL: Duration = Duration::from_millis(100);

/// An exporter with its name, not yet running.
pub struct Destination {
    exporter: Box<dyn Exporter>,
    delivery: Arc<Delivery>,
    tells_losses: bool,
}

impl std::fmt::Debug for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Destination").field("delivery", &self.delivery).finish_non_exhaustive()
    }
}

impl Destination {
    /// A destination called `name` in the ledger and in messages.
    pub fn new(name: impl Into<String>, exporter: impl Exporter + 'static) -> Self {
        let delivery = Arc::new(Delivery::new(name));
        Self { exporter: Box::new(exporter), delivery, tells_losses: false }
    }

    /// A destination whose exporter settles later: it keeps the account that `open` is given.
    ///
    /// # Errors
    /// What `open` returns.
    pub fn with_account<X: Exporter + 'static, E>(
        name: impl Into<String>,
        open: impl FnOnce(Arc<Delivery>) -> Result<X, E>,
    ) -> Result<Self, E> {
        let delivery = Arc::new(Delivery::new(name));
        let exporter = Box::new(open(Arc::clone(&delivery))?);
        Ok(Self { exporter, delivery, tells_losses: false })
    }

    /// The same with fewer spans; those left out are counted with reasons of their own.
    #[must_use]
    pub fn limited(self, limits: Limits) -> Self {
        let delivery = Arc::clone(&self.delivery);
        Self { exporter: Box::new(Limited::new(self.exporter, delivery, limits)), ..self }
    }

    /// The same with a record, in its place, of spans that found the queue full: the exporter gets
    /// [`SpanRecord::loss`] for them, beside the spans that were pushed.
    #[must_use]
    pub fn telling_losses(self) -> Self {
        Self { tells_losses: true, ..self }
    }

    /// Its counters, which stay readable when it is gone.
    pub fn delivery(&self) -> Arc<Delivery> {
        Arc::clone(&self.delivery)
    }

    pub(super) fn start(self) -> io::Result<Worker> {
        let (sender, receiver) = sync_channel(QUEUE_BATCHES);
        let delivery = Arc::clone(&self.delivery);
        // The kernel keeps 15 bytes of a thread's name.
        let name: String = format!("tracer-{}", delivery.name()).chars().take(15).collect();
        let work = move || {
            let ended = Ended(&self.delivery);
            work(self.exporter, &self.delivery, &receiver, self.tells_losses);
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
        self.0.end();
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
        let send = || self.sender.try_send(Arc::clone(batch)).is_ok();
        self.delivery.enqueue(batch.len() as u64, QUEUE_SPANS, send);
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

/// While a loss goes on, a record of it comes that often.
const LOSS_INTERVAL: Duration = Duration::from_secs(1);

fn work(
    mut exporter: Box<dyn Exporter>,
    delivery: &Delivery,
    receiver: &Receiver<Batch>,
    tells_losses: bool,
) {
    loop {
        match receiver.recv_timeout(IDLE_INTERVAL) {
            Ok(batch) => match delivery.take(batch.len() as u64) {
                Ok(()) => {
                    export(exporter.as_mut(), delivery, &batch);
                    if tells_losses {
                        tell_loss(exporter.as_mut(), delivery, LOSS_INTERVAL);
                    }
                }
                Err(DropReason::ShutdownDeadline) => return,
                Err(reason) => delivery.settle_dropped(reason, batch.len() as u64),
            },
            Err(RecvTimeoutError::Timeout) if delivery.is_gone() => {}
            Err(RecvTimeoutError::Timeout) => {
                if tells_losses {
                    tell_loss(exporter.as_mut(), delivery, Duration::ZERO);
                }
                let outcome = catch_unwind(AssertUnwindSafe(|| exporter.idle()));
                note_failure(delivery, outcome);
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    if tells_losses {
        tell_loss(exporter.as_mut(), delivery, Duration::ZERO);
    }
    if delivery.is_gone() {
        return;
    }
    match catch_unwind(AssertUnwindSafe(|| exporter.shutdown())) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => delivery.note(&error.to_string()),
        Err(_) => delivery.note("the exporter panicked at shutdown"),
    }
}

/// Exports a record of the spans that found the queue full, if they did for so long. When that is
/// empty, all that was queued before them stands before it.
fn tell_loss(exporter: &mut dyn Exporter, delivery: &Delivery, least: Duration) {
    let Some(missing) = delivery.announce(least) else { return };
    let loss = Loss { place: LossPlace::DestinationQueue, calls: missing.spans, others: 0 };
    let record = SpanRecord::from_loss(missing.from, missing.to, loss);
    export(exporter, delivery, &Arc::new(vec![record]));
}

fn export(exporter: &mut dyn Exporter, delivery: &Delivery, batch: &Batch) {
    let outcome = catch_unwind(AssertUnwindSafe(|| exporter.export_shared(batch)));
    let settled = match &outcome {
        Ok(Ok(())) => Some((batch.len(), DropReason::Rejected)),
        Ok(Err(error)) => Some((error.delivered().min(batch.len()), reason(error))),
        // How much one that settles later has taken nobody knows: what it does not settle is
        // dropped at its end.
        Err(_) => (!exporter.settles_later()).then_some((0, DropReason::Panicked)),
    };
    if let Some((done, reason)) = settled {
        // One that settles later has its own word on what it has taken.
        if !exporter.settles_later() {
            delivery.settle_delivered(done as u64);
        }
        delivery.settle_dropped(reason, (batch.len() - done) as u64);
    }
    note_failure(delivery, outcome);
}

/// Says what failed, and ends an exporter that cannot go on.
fn note_failure(delivery: &Delivery, outcome: thread::Result<Result<(), ExportError>>) {
    match outcome {
        Ok(Ok(())) => {}
        // Who closes a pipe has seen enough.
        Ok(Err(ExportError::PipeClosed { .. })) => delivery.close(DropReason::PipeClosed),
        Ok(Err(error)) => delivery.note(&error.to_string()),
        Err(_) => {
            delivery.note("the exporter has panicked; it gets no more spans");
            delivery.close(DropReason::Panicked);
        }
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
