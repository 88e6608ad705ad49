//! The way from the destination's thread to the sending one, with room for requests that wait.

use std::{
    io,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Instant,
};

use bytes::Bytes;
use tokio::{
    runtime::{self, Handle, Runtime},
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::timeout,
};

use super::{
    OtlpError,
    body::{self, Pool},
    encode::Encoder,
    options::{Compression, OtlpOptions, Protocol},
    send::{Line, Parcel, Phase},
    spill::{NotStored, Spill},
    transport::Transport,
};
use crate::export::{Delivery, DropReason};

/// Belongs to the destination's thread.
#[derive(Debug)]
pub(super) struct Sender {
    protocol: Protocol,
    compression: Compression,
    pool: Pool,
    line: Arc<Line>,
    /// One for each request that may be on its way.
    slots: Arc<Semaphore>,
    in_flight: u32,
    spill: Option<Spill>,
    runtime: Handle,
    /// Until there is a thread to run it.
    waiting: Option<Runtime>,
    /// The thread, and what ends it.
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Sender {
    pub(super) fn new(options: &OtlpOptions, delivery: Arc<Delivery>) -> Result<Self, OtlpError> {
        let transport = Transport::new(options)?;
        // Names are looked up in a thread that comes and goes.
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .thread_name("tracer-otlp-dns")
            .build()
            .map_err(OtlpError::Runtime)?;
        let spill = options.spill.as_ref().map(|spill| {
            let folder = spill.folder.clone();
            Spill::open(spill).map_err(|source| OtlpError::Spill { folder, source })
        });
        let in_flight = options.in_flight.max(1);
        Ok(Self {
            protocol: options.protocol,
            compression: options.compression,
            // One for each request on its way, one to write into, one to compress into.
            pool: Pool::new(in_flight as usize + 2),
            line: Arc::new(Line::new(options, transport, delivery)),
            slots: Arc::new(Semaphore::new(in_flight as usize)),
            in_flight,
            spill: spill.transpose()?,
            runtime: runtime.handle().clone(),
            waiting: Some(runtime),
            running: None,
        })
    }

    /// Starts the sending thread, if there is none.
    pub(super) fn start(&mut self) -> io::Result<()> {
        let Some(runtime) = self.waiting.take() else { return Ok(()) };
        let (stop, stopped) = oneshot::channel::<()>();
        let closing = Closing(Arc::clone(&self.slots));
        let work = move || {
            let closing = closing;
            // An error says that the other end is gone, which is a stop as well.
            drop(runtime.block_on(stopped));
            runtime.shutdown_background();
            drop(closing);
        };
        let thread = thread::Builder::new().name("tracer-otlp-io".into()).spawn(work)?;
        self.running = Some((stop, thread));
        Ok(())
    }

    /// Spans that are not sent.
    pub(super) fn give_up(&self, reason: DropReason, spans: u64, text: &str) {
        self.line.give_up(reason, spans, text);
    }

    /// Sends what the encoder has. While too many requests are on their way it goes to disk; where
    /// there is no room, waits.
    pub(super) fn send(&mut self, encoder: &mut Encoder) {
        let Some(parcel) = self.pack(encoder) else { return };
        self.pump();
        let is_first = self.spill.as_ref().is_none_or(Spill::is_empty);
        if is_first && let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
            return self.dispatch(parcel, slot);
        }
        if let Some(parcel) = self.store(parcel) {
            // What is on disk goes first.
            while self.spill.as_ref().is_some_and(|spill| !spill.is_empty()) {
                let slot = self.runtime.block_on(Arc::clone(&self.slots).acquire_owned());
                self.dispatch_stored(slot.ok());
            }
            let slot = self.runtime.block_on(Arc::clone(&self.slots).acquire_owned());
            self.dispatch_or_lose(parcel, slot.ok());
        }
    }

    /// Sends what is on disk, as far as there is room without waiting.
    pub(super) fn pump(&mut self) {
        while self.spill.as_ref().is_some_and(|spill| !spill.is_empty())
            && let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned()
        {
            self.dispatch_stored(Some(slot));
        }
    }

    /// Sends the rest and waits for all requests; past the deadline they give up.
    pub(super) fn finish(&mut self, encoder: &mut Encoder, deadline: Instant) {
        if self.running.is_none() {
            return;
        }
        self.line.enter(Phase::Draining);
        let last = self.pack(encoder);
        while self.spill.as_ref().is_some_and(|spill| !spill.is_empty()) {
            if let Ok(slot) = self.slot_until(deadline) {
                self.dispatch_stored(slot);
            } else {
                let spans = self.spill.as_mut().map_or(0, Spill::clear);
                let text = "requests on disk were not sent by the end";
                self.give_up(DropReason::ShutdownDeadline, spans, text);
            }
        }
        if let Some(parcel) = last {
            if let Ok(slot) = self.slot_until(deadline) {
                self.dispatch_or_lose(parcel, slot);
            } else {
                let text = "too many requests without an answer";
                self.give_up(DropReason::ShutdownDeadline, parcel.spans, text);
            }
        }
        let all = || self.slots.acquire_many(self.in_flight);
        let left = deadline.saturating_duration_since(Instant::now());
        if self.runtime.block_on(async { timeout(left, all()).await }).is_err() {
            self.line.enter(Phase::GiveUp);
            drop(self.runtime.block_on(all()));
        }
    }

    /// A request of what the encoder has.
    fn pack(&self, encoder: &mut Encoder) -> Option<Parcel> {
        if encoder.spans() == 0 {
            return None;
        }
        let (request, spans) = encoder.take(self.pool.get());
        match body::make(request, self.protocol, self.compression, &self.pool) {
            Ok(body) => Some(Parcel { body, spans }),
            Err(error) => {
                self.give_up(DropReason::Io, spans, &format!("cannot compress: {error}"));
                None
            }
        }
    }

    /// Puts a request on disk; gives it back when that cannot be.
    fn store(&mut self, parcel: Parcel) -> Option<Parcel> {
        let Some(spill) = &mut self.spill else { return Some(parcel) };
        match spill.push(&parcel.body, parcel.spans) {
            Ok(()) => None,
            Err(NotStored::Full) => Some(parcel),
            Err(NotStored::Io(error)) => {
                self.line.cannot_store(&error);
                Some(parcel)
            }
        }
    }

    /// Sends the oldest request on disk.
    fn dispatch_stored(&mut self, slot: Option<OwnedSemaphorePermit>) {
        let Some(spill) = &mut self.spill else { return };
        match spill.pop(self.pool.get()) {
            None => {}
            Some((Ok(body), spans)) => {
                let body: Bytes = self.pool.lend(body);
                self.dispatch_or_lose(Parcel { body, spans }, slot);
            }
            Some((Err(error), spans)) => {
                let text = format!("cannot read what was on disk: {error}");
                self.give_up(DropReason::Io, spans, &text);
            }
        }
    }

    /// Without a slot there is no thread any more.
    fn dispatch_or_lose(&self, parcel: Parcel, slot: Option<OwnedSemaphorePermit>) {
        if let Some(slot) = slot {
            self.dispatch(parcel, slot);
        } else {
            self.give_up(DropReason::Rejected, parcel.spans, "the sending thread has ended");
        }
    }

    fn dispatch(&self, parcel: Parcel, slot: OwnedSemaphorePermit) {
        let line = Arc::clone(&self.line);
        self.runtime.spawn(async move {
            line.deliver(&parcel).await;
            drop(slot);
        });
    }

    /// A slot; `None` when there is no thread any more.
    fn slot_until(&self, deadline: Instant) -> Result<Option<OwnedSemaphorePermit>, TooLate> {
        let left = deadline.saturating_duration_since(Instant::now());
        let slot = Arc::clone(&self.slots).acquire_owned();
        let slot = self.runtime.block_on(async { timeout(left, slot).await });
        slot.map(Result::ok).map_err(|_| TooLate)
    }
}

/// The deadline has passed.
struct TooLate;

/// Lets nobody wait for a thread that has ended.
struct Closing(Arc<Semaphore>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            drop(stop);
            if thread.join().is_err() {
                log::error!("the thread that sends spans has panicked");
            }
        }
    }
}
