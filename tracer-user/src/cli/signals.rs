//! Signals as events. A second request to stop ends the process at once.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{Receiver, sync_channel},
    },
    thread,
};

use signal_hook::{
    consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ},
    iterator::Signals,
    low_level,
};

/// What happened outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// Stop tracing; the number of the signal.
    Stop(i32),
    /// Write the ledger.
    WriteLedger,
    /// A child has ended.
    Child,
}

/// Starts to listen. To be called after the command was forked, and before it is released.
pub(super) fn listen() -> io::Result<Receiver<Event>> {
    // Enough for all that can come between two looks; a signal more of the same kind says nothing.
    const PENDING: usize = 16;
    let (sender, receiver) = sync_channel(PENDING);
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
                    Event::Stop(signal)
                }
            };
            // Full: the loop has enough to look at. Closed: it is about to end.
            if sender.try_send(event).is_err() && stopping {
                log::debug!("signal {signal} while the queue of events was full or closed");
            }
        }
    })?;
    Ok(receiver)
}

fn is_ignored(signal: i32) -> bool {
    // SAFETY: an action of zeroes is a valid one.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: only asks for the present action.
    let failed = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) };
    failed == 0 && action.sa_sigaction == libc::SIG_IGN
}
