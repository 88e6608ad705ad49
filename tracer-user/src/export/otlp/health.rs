//! One line when a receiver's state changes, and few of them when it changes all the time.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::export::Delivery;

/// Lines that may come at once.
const BURST: u32 = 10;
/// After this time there may be one more.
const REFILL: Duration = Duration::from_secs(10);

/// How a receiver does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It takes spans.
    Fine,
    /// It is not reached, or has no time for us.
    Away,
    /// It takes requests and does not want what is in them.
    Refusing,
}

/// What was last said of a receiver.
#[derive(Debug)]
pub(super) struct Health {
    /// The receiver, for a person.
    receiver: String,
    said: Mutex<Said>,
    has_warned: AtomicBool,
}

#[derive(Debug)]
struct Said {
    state: State,
    lines: u32,
    refilled: Instant,
}

impl Health {
    pub(super) fn new(receiver: String) -> Self {
        let said = Said { state: State::Fine, lines: BURST, refilled: Instant::now() };
        Self { receiver, said: Mutex::new(said), has_warned: AtomicBool::new(false) }
    }

    /// It has taken spans.
    pub(super) fn fine(&self, delivery: &Delivery) {
        if self.changes_to(State::Fine) {
            log::warn!("{}: {} takes spans again", delivery.name(), self.receiver);
        }
    }

    /// A word of the receiver or about it with which nothing is lost; only the first is said.
    pub(super) fn warned(&self, delivery: &Delivery, message: &str) {
        if !self.has_warned.swap(true, Ordering::Relaxed) {
            log::warn!("{}: {}: {message}", delivery.name(), self.receiver);
        }
    }

    /// It could not be reached, or has no time; nothing is lost yet.
    pub(super) fn away(&self, delivery: &Delivery, reason: &str) {
        if self.changes_to(State::Away) {
            let (name, receiver) = (delivery.name(), &self.receiver);
            log::warn!("{name}: {receiver} takes no spans: {reason}; they are sent again");
        }
    }

    /// It does not want spans, which are lost.
    pub(super) fn refusing(&self, delivery: &Delivery, reason: &str) {
        let changes = self.changes_to(State::Refusing);
        self.lost(delivery, reason, changes);
    }

    /// Spans were given up.
    pub(super) fn given_up(&self, delivery: &Delivery, reason: &str) {
        self.lost(delivery, reason, false);
    }

    /// The first loss is kept for the ledger, which says it too.
    fn lost(&self, delivery: &Delivery, reason: &str, say: bool) {
        let text = format!("{}: spans are lost: {reason}", self.receiver);
        if delivery.first_error().is_none() {
            delivery.note(&text);
        } else if say {
            log::warn!("{}: {text}", delivery.name());
        }
    }

    /// Whether to say so.
    fn changes_to(&self, state: State) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.state == state {
            return false;
        }
        said.state = state;
        let passed = said.refilled.elapsed();
        let earned = u32::try_from(passed.as_secs() / REFILL.as_secs()).unwrap_or(u32::MAX);
        if earned > 0 {
            said.lines = said.lines.saturating_add(earned).min(BURST);
            said.refilled = Instant::now();
        }
        let may = said.lines > 0;
        said.lines = said.lines.saturating_sub(1);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_said_once_and_a_storm_is_cut() {
        let health = Health::new("r".into());
        assert!(!health.changes_to(State::Fine));
        assert!(health.changes_to(State::Away) && !health.changes_to(State::Away));
        assert!(health.changes_to(State::Fine));
        let storm = (0..50).map(|n| if n % 2 == 0 { State::Away } else { State::Fine });
        let said = storm.filter(|state| health.changes_to(*state)).count();
        assert!(said < 12, "{said}");
    }

    #[test]
    fn the_first_loss_is_kept() {
        let (health, delivery) = (Health::new("r".into()), Delivery::new("otlp"));
        health.away(&delivery, "no route");
        assert_eq!(delivery.first_error(), None);
        health.refusing(&delivery, "no key");
        health.refusing(&delivery, "no lock");
        assert_eq!(delivery.first_error().as_deref(), Some("r: spans are lost: no key"));
    }
}
