//! One request until it is settled: sent, and sent again as often as the receiver may want it.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

use super::{
    health::Health,
    options::{OtlpOptions, Retry},
    transport::{Departure, Transport},
    verdict::{Failure, Then, Verdict},
};
use crate::export::{Delivery, DropReason};

/// What requests on their way are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Take the time it takes.
    Running,
    /// The end is near: try again soon.
    Draining,
    /// The end is here.
    GiveUp,
}

/// Longest pause of one's own near the end.
const DRAIN_PAUSE: Duration = Duration::from_millis(500);

/// An encoded request.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) body: Bytes,
    pub(super) spans: u64,
}

/// What all requests to a receiver share.
#[derive(Debug)]
pub(super) struct Line {
    transport: Transport,
    delivery: Arc<Delivery>,
    health: Health,
    retry: Retry,
    timeout: Duration,
    phase: watch::Sender<Phase>,
    /// The receiver has asked for quiet until then.
    quiet_until: Mutex<Instant>,
}

/// No more to do for a request, or a pause before the next attempt.
enum Next {
    Settled,
    /// The pause that the receiver asks for, and why the attempt failed.
    Again(Option<Duration>, String),
}

impl Line {
    pub(super) fn new(
        options: &OtlpOptions,
        transport: Transport,
        delivery: Arc<Delivery>,
    ) -> Self {
        Self {
            health: Health::new(transport.name()),
            transport,
            delivery,
            retry: options.retry,
            timeout: options.timeout,
            phase: watch::Sender::new(Phase::Running),
            quiet_until: Mutex::new(Instant::now()),
        }
    }

    /// Tells all requests.
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// Spans that are not sent.
    pub(super) fn give_up(&self, reason: DropReason, spans: u64, text: &str) {
        self.delivery.settle_dropped(reason, spans);
        self.health.given_up(&self.delivery, text);
    }

    /// A request cannot be put on disk; it waits in memory.
    pub(super) fn cannot_store(&self, error: &io::Error) {
        let text = format!("cannot keep spans on disk: {error}; they wait in memory");
        self.health.warned(&self.delivery, &text);
    }

    /// Returns when it is known what became of the spans.
    pub(super) async fn deliver(&self, parcel: &Parcel) {
        let limit = Instant::now() + self.retry.limit;
        let mut pause = self.retry.first;
        let mut wait = Duration::ZERO;
        let mut reason = String::from("the receiver asked for quiet");
        loop {
            let until = self.quiet_until().max(Instant::now() + wait);
            if until > limit {
                let text = format!("not sent for {:?}: {reason}", self.retry.limit);
                return self.give_up(DropReason::RetryExhausted, parcel.spans, &text);
            }
            if !self.wait(until).await {
                let text = format!("not sent by the end: {reason}");
                return self.give_up(DropReason::ShutdownDeadline, parcel.spans, &text);
            }
            if self.quiet_until() > Instant::now() {
                // Asked for meanwhile, by the answer to another request.
                continue;
            }
            let asked = match self.attempt(parcel).await {
                Next::Settled => return,
                Next::Again(asked, why) => {
                    reason = why;
                    asked
                }
            };
            wait = jitter(pause);
            pause = (pause * 2).min(self.retry.longest);
            if let Some(asked) = asked {
                self.ask_for_quiet(asked);
            }
        }
    }

    async fn attempt(&self, parcel: &Parcel) -> Next {
        let Parcel { body, spans } = parcel;
        if !self.delivery.begin_attempt(*spans) {
            return Next::Settled;
        }
        let mut phase = self.phase.subscribe();
        let departure = Departure::default();
        let sending = self.transport.send(body.clone(), departure.clone());
        let sending = timeout(self.timeout, sending);
        let mut verdict = tokio::select! {
            biased;
            verdict = sending => verdict.unwrap_or_else(|_| {
                self.transport.reconnect();
                let reason = format!("no answer within {:?}", self.timeout);
                Verdict::Failed(Failure::unanswered(&reason))
            }),
            _ = phase.wait_for(|phase| *phase == Phase::GiveUp) => {
                Verdict::Failed(Failure::unanswered("no answer by the end"))
            }
        };
        if let Verdict::Failed(failure) = &mut verdict {
            failure.maybe_arrived &= departure.has_happened();
        }
        self.settle(*spans, verdict)
    }

    /// Enters into the account what an attempt has come to. An attempt ends after its spans are
    /// settled: in between they count as in doubt, which errs on the safe side.
    fn settle(&self, spans: u64, verdict: Verdict) -> Next {
        let delivery = &*self.delivery;
        let failure = match verdict {
            Verdict::Accepted { rejected, message } => {
                self.settle_accepted(spans, rejected, &message);
                return Next::Settled;
            }
            Verdict::Failed(failure) => failure,
        };
        let Failure { then, maybe_arrived, reason } = failure;
        let next = match then {
            Then::Retry(asked) => {
                self.health.away(delivery, &reason);
                Next::Again(asked.filter(|asked| !asked.is_zero()), reason)
            }
            Then::Refused => {
                delivery.settle_dropped(DropReason::Nonretryable, spans);
                self.health.refusing(delivery, &reason);
                Next::Settled
            }
            Then::Malformed => {
                delivery.settle_dropped(DropReason::ProtocolError, spans);
                self.health.refusing(delivery, &reason);
                Next::Settled
            }
        };
        delivery.end_attempt(spans, !maybe_arrived);
        next
    }

    fn settle_accepted(&self, spans: u64, rejected: i64, message: &str) {
        let delivery = &*self.delivery;
        match u64::try_from(rejected) {
            Ok(0) => {
                delivery.settle_delivered(spans);
                delivery.end_attempt(spans, true);
                self.health.fine(delivery);
                if !message.is_empty() {
                    self.health.warned(delivery, &format!("the receiver says: {message}"));
                }
            }
            Ok(rejected) if rejected <= spans => {
                delivery.settle_delivered(spans - rejected);
                delivery.settle_dropped(DropReason::RejectedPartial, rejected);
                delivery.end_attempt(spans, true);
                let reason = format!("{rejected} of {spans} rejected: {message}");
                self.health.refusing(delivery, &reason);
            }
            _ => {
                delivery.settle_dropped(DropReason::ProtocolError, spans);
                delivery.end_attempt(spans, false);
                let reason = format!("unusable answer: {rejected} of {spans} rejected: {message}");
                self.health.refusing(delivery, &reason);
            }
        }
    }

    fn quiet_until(&self) -> Instant {
        *self.quiet_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask_for_quiet(&self, time: Duration) {
        // A pause without end is as good as one that is too long for every request.
        let longest = self.retry.limit.saturating_mul(2);
        let until = Instant::now() + time.min(longest);
        let mut quiet = self.quiet_until.lock().unwrap_or_else(PoisonError::into_inner);
        *quiet = until.max(*quiet);
    }

    /// Waits; near the end not for long, unless the receiver has asked for it. False when there is
    /// no time left.
    async fn wait(&self, until: Instant) -> bool {
        let mut phase = self.phase.subscribe();
        let mut until = until;
        loop {
            let now = *phase.borrow_and_update();
            match now {
                Phase::Running => {}
                Phase::Draining => {
                    until = until.min(Instant::now() + DRAIN_PAUSE).max(self.quiet_until());
                }
                Phase::GiveUp => return false,
            }
            tokio::select! {
                () = sleep_until(until) => return true,
                changed = phase.changed() => if changed.is_err() { return false },
            }
        }
    }
}

/// Between half of the pause and all of it.
fn jitter(pause: Duration) -> Duration {
    pause.mul_f64(fastrand::f64().midpoint(1.0))
}
