//! Signals as events. A second request to stop ends the process at once.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use signal_hook::{
    consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ},
    iterator::Signals,
    low_level,
};

use crate::control::Call;

/// What happened outside.
#[derive(Debug)]
pub(super) enum Event {
    /// Stop tracing; the number of the signal.
    Stop(i32),
    /// Write the ledger.
    WriteLedger,
    /// A child has ended.
    Child,
    /// A request by the control socket.
    Control(Call),
}

/// What came by signal, in order; but a request to stop before all others.
pub(super) struct Events {
    events: Receiver<Event>,
    /// The signal that asked to stop; 0 for none. Beside the queue, which others may fill.
    stop: Arc<AtomicI32>,
}

/// The way by which requests come in among the events.
pub(super) struct Requests(SyncSender<Event>);

impl Requests {
    /// Passes a request on; whether there was room for it.
    pub(super) fn push(&self, call: Call) -> bool {
        self.0.try_send(Event::Control(call)).is_ok()
    }
}

impl Events {
    /// Waits for the next event.
    pub(super) fn recv_timeout(&self, timeout: Duration) -> Result<Event, RecvTimeoutError> {
        match self.stop.swap(0, Ordering::AcqRel) {
            0 => self.events.recv_timeout(timeout),
            signal => Ok(Event::Stop(signal)),
        }
    }
}

/// Starts to listen. To be called after the command was forked, and before it is released.
pub(super) fn listen() -> io::Result<(Events, Requests)> {
    // Enough for all that can come between two looks; a signal more of the same kind says nothing.
    const PENDING: usize = 16;
    let (sender, events) = sync_channel(PENDING);
    let stop = Arc::new(AtomicI32::new(0));
    let stop_asked = Arc::clone(&stop);
    let requests = Requests(sender.clone());
    let mut wanted = vec![SIGINT, SIGTERM, SIGUSR1, SIGCHLD];
    // nohup(1) starts programs with this one ignored, and means it.
    if !is_ignored(SIGHUP) {
        wanted.push(SIGHUP);
    }
    // Handled, a file that would be too large is an error of `write`, and does not end us. Not
    // ignored, which a command would inherit.
    signal_hook::flag::register(SIGXFSZ, Arc::default())?;
    let mut signals = Signals::new(wanted)?;
    thread::Builder::new().name("tracer-signals".into()).spawn(move || {
        let mut stopping = false;
        for signal in signals.forever() {
            let event = match signal {
                SIGUSR1 => Event::WriteLedger,
                SIGCHLD => Event::Child,
                _ if stopping => low_level::exit(128 + signal),
                _ => {
                    stopping = true;
                    stop_asked.store(signal, Ordering::Release);
                    // Only so that nobody waits any longer.
                    Event::Child
                }
            };
            // Full: the loop has enough to look at. Closed: it is about to end.
            if sender.try_send(event).is_err() {
                log::debug!("signal {signal} while the queue of events was full or closed");
            }
        }
    })?;
    Ok((Events { events, stop }, requests))
}

fn is_ignored(signal: i32) -> bool {
    // SAFETY: an action of zeroes is a valid one.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: only asks for the present action.
    let failed = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) };
    failed == 0 && action.sa_sigaction == libc::SIG_IGN
}
