//! What is printed at the end of a trace: what was lost, and on request what was not. The whole books are
//! in the file of `--ledger`.

use tracer_common::counter::Counter;

use super::say;
use crate::{
    ledger::Ledger,
    losses,
    span_record::{LossPlace, grouped},
};

/// Prints what was lost, and with `all` what was not.
pub(super) fn print(ledger: &Ledger, all: bool) {
    for loss in losses::lost(&ledger.kernel).filter(|loss| loss.total() > 0) {
        let hint = match loss.place {
            LossPlace::KernelRing => "; a narrower scope loses less too",
            _ => "",
        };
        say(&format!("{}: {}{hint}", loss.words(), loss.place.words()));
    }
    let losses = ledger.losses();
    // A reader that closes its pipe has seen enough: no loss worth a word.
    let told: Vec<String> = losses
        .iter()
        .filter(|(name, _)| !name.ends_with(": pipe_closed") && !losses::is_told(name))
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    if !told.is_empty() {
        say(&format!("lost: {}", told.join(", ")));
    }
    if let Some(error) = &ledger.spans.first_decode_error {
        say(&format!("the first record that could not be decoded: {error}"));
    }
    if let Some(failure) = &ledger.failure {
        say(failure);
    }
    let unseen = ledger.kernel.get(Counter::IoUringOps);
    if unseen > 0 {
        say(&format!("{unseen} io_uring operations are not shown: they are no syscalls"));
    }
    for imbalance in ledger.imbalances() {
        say(&format!("the books do not balance: {imbalance}"));
    }
    if all {
        for line in counted(ledger) {
            say(&line);
        }
    }
}

/// How many calls were recorded, and what became of their spans.
fn counted(ledger: &Ledger) -> Vec<String> {
    let kernel = |counter| ledger.kernel.get(counter);
    let spans = &ledger.spans;
    let others = [
        spans.processes,
        spans.losses,
        spans.filtered,
        kernel(Counter::SignalSubmitted),
        kernel(Counter::RunningSubmitted),
    ];
    let recorded = spans.made.saturating_sub(others.iter().sum());
    let lost = kernel(Counter::ReserveFailed) + kernel(Counter::StoreFailed);
    let outside = kernel(Counter::Filtered) + kernel(Counter::FilteredResult) + spans.filtered;
    let mut lines = vec![format!(
        "{} calls recorded, {} lost on the way; {} seen on this host, {} of them outside scope or filter",
        grouped(recorded),
        grouped(lost),
        grouped(kernel(Counter::EnterSeen)),
        grouped(outside)
    )];
    for it in &ledger.destinations {
        lines.push(format!(
            "{}: {} spans of calls, processes and signals delivered, {} not",
            it.name,
            grouped(it.delivered),
            grouped(it.dropped_total())
        ));
    }
    lines
}
