//! Very many calls with known results, compared call by call: number, arguments, strings, result,
//! thread and order.

use std::{collections::BTreeMap, time::SystemTime};

use tracer_common::{counter::Counter, event::CaptureState};
use tracer_user::{pipeline::TraceOptions, span_record::SpanRecord};

use crate::{
    recording::{record_workload, ring_for},
    support::{amount, fewer_in_guests},
};

#[path = "../shared/predictable.rs"]
mod shared;

use self::shared::{Call, Lane, MARK, tag};

const THREADS: u64 = 8;
/// One for each thread, for its child, and for that one's thread.
const LANES: u64 = 3 * THREADS;

#[test]
fn every_call_of_a_random_program() {
    let rounds = amount("TRACER_TEST_ROUNDS", 1);
    let calls = amount("TRACER_TEST_CALLS", fewer_in_guests(5_000));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let seed = amount("TRACER_TEST_SEED", u64::from(now.subsec_nanos()));
    for seed in seed..seed + rounds {
        one_round(seed, calls);
    }
}

fn one_round(seed: u64, calls: u64) {
    let words = [seed, THREADS, calls].map(|word| word.to_string());
    let workload = ["predictable", &words[0], &words[1], &words[2]];
    // What else the processes do is little.
    let ring_size = ring_for(LANES * calls + 100_000);
    let options = TraceOptions { ring_size, ..TraceOptions::default() };
    let (spans, ledger) = record_workload(&workload, options);
    assert_eq!(ledger.losses(), Vec::new(), "seed {seed}");
    for counter in [Counter::InFlight, Counter::Superseded, Counter::TaskDied] {
        assert_eq!(ledger.kernel.get(counter), 0, "seed {seed}: {}", counter.name());
    }
    let mut lanes: BTreeMap<u64, Vec<&SpanRecord>> = BTreeMap::new();
    for span in &spans {
        let mark = span.syscall().unwrap().args[5];
        if mark >> 48 == MARK {
            lanes.entry(mark >> 32 & 0xffff).or_default().push(span);
        }
    }
    assert_eq!(lanes.keys().copied().collect::<Vec<_>>(), (0..LANES).collect::<Vec<_>>());
    let mut threads = BTreeMap::new();
    for (lane, seen) in lanes {
        assert_eq!(seen.len() as u64, calls, "seed {seed}, lane {lane}");
        let tid = seen[0].thread_id();
        assert_eq!(threads.insert(tid, lane), None, "seed {seed}: two lanes of one thread");
        let mut expected = Lane::new(seed, lane);
        for (index, span) in (0..).zip(seen) {
            let call = expected.next_call();
            let told = format!("seed {seed}, lane {lane}, call {index}: {call:?}\n{span:?}");
            assert_eq!(span.thread_id(), tid, "{told}");
            agree(&call, tag(lane, index), span, &told);
        }
    }
}

fn agree(call: &Call, tag: u64, span: &SpanRecord, told: &str) {
    let seen = span.syscall().unwrap();
    let record = (i64::from(seen.nr), seen.ret, seen.record.name(), seen.args[5]);
    assert_eq!(record, (call.number, call.result, "complete", tag), "{told}");
    let same = |arg: usize| seen.args[arg] == call.args[arg] || (arg == 1 && call.path.is_some());
    assert!((0..5).all(same), "{told}");
    if let Some(path) = &call.path {
        let string = seen.string(1).expect("a string");
        assert_eq!((string.state, string.bytes), (CaptureState::Whole, path.as_bytes()), "{told}");
    }
}
