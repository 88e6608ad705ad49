//! The reference model keeps its books: the ledger's identities hold at every step of any sequence.
//! `tests/kernel/model.rs` holds the model against the kernel programs.

use proptest::{collection::vec, prelude::*, sample::Index};
use tracer_common::counter::Counter;
use tracer_user::{
    kernel::KernelCounts,
    ledger::{IdentityAccount, Ledger, RingAccount},
    reader::ReaderCounts,
    ring_buffer::SpanRingBuffer,
};

#[path = "shared/machine.rs"]
mod machine;

use machine::{Machine, Op};

/// The books as if tracing ended now and all records were read.
fn closed(machine: &Machine, unused: &SpanRingBuffer) -> Ledger {
    let mut machine = machine.clone();
    if machine.is_tracing() {
        machine.apply(Op::Detach);
    }
    let records: usize = machine.records.values().map(Vec::len).sum();
    let reader = ReaderCounts::default();
    for count in [&reader.read, &reader.spans] {
        count.store(records as u64, std::sync::atomic::Ordering::Relaxed);
    }
    let kernel = KernelCounts { counters: machine.counters, recursion_misses: 0 };
    let (ring, identity) = (RingAccount::default(), IdentityAccount::default());
    Ledger::new(kernel, ring, &reader, identity, unused)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_books_balance_at_every_step(picks in vec(any::<Index>(), 0..200)) {
        // Nothing is pushed to it.
        let unused = SpanRingBuffer::with_destinations(1, vec![]).unwrap();
        let mut machine = Machine::new();
        let mut before = machine.counters;
        for pick in picks {
            let choices = machine.choices();
            if choices.is_empty() {
                break;
            }
            let op = *pick.get(&choices);
            machine.apply(op);
            let ledger = closed(&machine, &unused);
            prop_assert_eq!(ledger.imbalances(), Vec::<String>::new(), "after {:?}", op);
            prop_assert!(Counter::ALL.iter().all(|it| machine.counters.get(*it) >= before.get(*it)));
            // Nothing is seen of what is not traced, and calls are only lost by name.
            prop_assert!(machine.is_tracing() || machine.counters == before || op == Op::Detach);
            before = machine.counters;
        }
    }
}

/// Each counter that the model has can be reached, so the property is about all of them.
#[test]
fn every_end_of_a_call_occurs() {
    let mut machine = Machine::new();
    for op in [
        Op::Fork(0),
        Op::Block(1),
        Op::Attach,
        Op::Wake(1),
        Op::Thread(1),
        Op::Quick(2),
        Op::Deny(2),
        Op::LoseExits,
        Op::Quick(2),
        Op::Quick(2),
        Op::Block(1),
        Op::Exit(2),
        Op::Block(0),
        Op::Detach,
    ] {
        assert!(machine.choices().contains(&op), "{op:?}: {machine:?}");
        machine.apply(op);
    }
    let expected = [
        (Counter::EnterSeen, 7),
        (Counter::Stored, 6),
        (Counter::Matched, 2),
        (Counter::ExitOnly, 2),
        (Counter::ChildReturn, 1),
        (Counter::Superseded, 1),
        (Counter::NoReturn, 1),
        (Counter::TaskDied, 2),
        (Counter::InFlight, 1),
        (Counter::Submitted, 9),
    ];
    for counter in Counter::ALL {
        let wanted = expected.iter().find(|(it, _)| it == counter).map_or(0, |(_, count)| *count);
        assert_eq!(machine.counters.get(*counter), wanted, "{}", counter.name());
    }
}
