//! The decoder with arbitrary bytes: never panics, and never allocates more than 64 KiB for a
//! record. As property tests, for the sanitizers of coverage-guided fuzzing need a nightly
//! compiler. `TRACER_FUZZ_CASES` says how many cases each has.

#![expect(clippy::expect_used, reason = "a test says what it expected by failing")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    sync::Arc,
};

use proptest::{collection::vec, prelude::*, sample::Index};
use tracer_common::event::{CaptureState, SyscallEvent};
use tracer_user::{
    clock::WallClock,
    decode::{Decoder, encode},
    ids::IdSource,
};

/// Most bytes that one record may make the decoder allocate.
const LIMIT: usize = 64 << 10;

thread_local! {
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
    static PARTS: (Arc<WallClock>, IdSource) =
        (Arc::new(WallClock::new()), IdSource::this_boot());
}

struct Counting;

// SAFETY: passes every call on to the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.with(|bytes| bytes.set(bytes.get() + layout.size()));
        // SAFETY: by the caller's word.
        unsafe { System.alloc(layout) }
    }

    // SAFETY: as above.
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: by the caller's word.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The body: decodes, looks at all there is, and returns whether it was a record.
fn decode(bytes: &[u8]) -> bool {
    let (clock, ids) = PARTS.with(Clone::clone);
    // A new one each time: what it keeps of processes grows with their number.
    let mut decoder = Decoder::new(clock, ids);
    let before = ALLOCATED.with(Cell::get);
    let result = decoder.decode(bytes);
    let allocated = ALLOCATED.with(Cell::get) - before;
    assert!(allocated <= LIMIT, "{allocated} bytes allocated for a record of {}", bytes.len());
    let Ok(Some(span)) = result else { return false };
    let call = span.syscall().expect("the decoder makes syscalls");
    assert!(!call.name().is_empty() && call.arg_count() <= 6);
    let strings: usize = (0..=6).filter_map(|arg| call.string(arg)).map(|it| it.bytes.len()).sum();
    assert!(strings <= bytes.len());
    assert!(span.end_time_nanos() >= span.start_time_nanos());
    assert!(call.comm().len() <= 16 && !call.comm().contains(&0));
    assert_eq!(call.errno().is_some(), call.error().is_some());
    true
}

fn wanted() -> u32 {
    std::env::var("TRACER_FUZZ_CASES").map_or(1_000, |text| text.parse().expect("a number"))
}

fn cases() -> ProptestConfig {
    // Nothing is kept between runs: what a failure shows is its smallest case.
    ProptestConfig { cases: wanted(), failure_persistence: None, ..ProptestConfig::default() }
}

/// A record as the kernel side could write it.
fn record() -> impl Strategy<Value = Vec<u8>> {
    let state = prop::sample::select(CaptureState::ALL);
    let text = prop_oneof![9 => vec(any::<u8>(), 0..80), 1 => vec(any::<u8>(), 0..4096)];
    let strings = vec((0..6u8, state, text), 0..4);
    (any::<[u64; 10]>(), 0..5u8, 0..3u8, 0..6u8, strings).prop_map(
        |(
            [nr, ids, start_ns, duration_ns, ret, first, last, cgroup_id, born, comm],
            abi,
            record,
            reason,
            strings,
        )| {
            #[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
            let event = SyscallEvent {
                nr: nr as u32,
                tgid: ids as u32,
                tid: (ids >> 32) as u32,
                start_ns,
                duration_ns,
                ret: ret.cast_signed(),
                args: [first, 0, nr, 1, ids, last],
                cgroup_id,
                process_start_ns: born,
                comm: (u128::from(comm) << 64 | u128::from(nr)).to_le_bytes(),
                abi,
                record,
                reason,
                ..SyscallEvent::default()
            };
            let strings: Vec<_> =
                strings.iter().map(|(arg, state, text)| (*arg, *state, text.as_slice())).collect();
            encode(event, &strings)
        },
    )
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..1024)) {
        decode(&bytes);
    }

    /// Where the length agrees, what stands behind it is looked at.
    #[test]
    fn any_bytes_of_the_right_length(bytes in vec(any::<u8>(), 144..1024)) {
        let mut bytes = bytes;
        let len = u32::try_from(bytes.len() - 144).expect("small");
        bytes[..2].copy_from_slice(&1u16.to_ne_bytes());
        bytes[20..24].copy_from_slice(&len.to_ne_bytes());
        decode(&bytes);
    }

    /// Records of processes, by one decoder: whatever they claim, each process that is not known to
    /// have ended has one span in the end.
    #[test]
    fn any_processes(records in vec((0..5u8, 0..3u8, vec(0..6u8, 168)), 0..40)) {
        let (clock, ids) = PARTS.with(Clone::clone);
        let mut decoder = Decoder::new(clock, ids);
        for (what, how, mut bytes) in records {
            bytes[..4].copy_from_slice(&[2, 0, what, how]);
            bytes[4..8].fill(0);
            bytes[76..80].fill(0);
            bytes[108..110].fill(0);
            // Few ids and starts, so that they meet.
            for number in [8..16, 24..32, 32..48] {
                bytes[number].iter_mut().skip(1).for_each(|byte| *byte = 0);
            }
            prop_assert!(decoder.decode(&bytes).expect("a record").is_none());
        }
        let kept = decoder.tree().len();
        decoder.tree().finish(u64::MAX);
        let mut spans = 0;
        while let Some(span) = decoder.tree().next_span() {
            prop_assert!(span.end_time_nanos() >= span.start_time_nanos());
            spans += 1;
        }
        prop_assert!(spans >= kept, "{spans} spans of {kept} processes");
    }

    #[test]
    fn records_are_decoded(bytes in record()) {
        prop_assert!(decode(&bytes));
    }

    /// Some bytes are others, and the end is missing or is another record's.
    #[test]
    fn damaged_records(
        bytes in record(),
        other in record(),
        flips in vec((any::<Index>(), any::<u8>()), 0..8),
        cut in any::<Index>(),
        how in 0..4u8,
    ) {
        let mut bytes = bytes;
        match how {
            0 => bytes.truncate(cut.index(bytes.len())),
            1 => bytes.extend(&other[cut.index(other.len())..]),
            2 => {
                let from = cut.index(bytes.len().min(other.len()));
                bytes.truncate(from);
                bytes.extend(&other[from..]);
            }
            _ => {}
        }
        for (at, value) in flips {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] ^= value;
            }
        }
        decode(&bytes);
    }
}

/// A generator that costs little, for very many cases: a hundred for each one wanted.
#[test]
fn very_many_damaged_records() {
    let texts: [&[u8]; 4] = [b"", b"/etc/hostname", &[b'x'; 70], &[0xff; 700]];
    let records: Vec<Vec<u8>> = (0..texts.len())
        .map(|count| {
            let strings = texts.iter().zip(0..).take(count);
            let strings: Vec<_> =
                strings.map(|(text, arg)| (arg, CaptureState::Whole, *text)).collect();
            encode(SyscallEvent { nr: 257, ret: -2, ..SyscallEvent::default() }, &strings)
        })
        .collect();
    let mut state = 1u64;
    // xorshift64, <https://www.jstatsoft.org/article/view/v008i14>.
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 11).expect("53 bits") % below
    };
    let (mut good, mut bad) = (0u64, 0u64);
    let mut bytes = Vec::new();
    for _ in 0..100 * u64::from(wanted()) {
        bytes.clone_from(&records[random(records.len())]);
        for _ in 0..random(4) {
            let at = random(bytes.len());
            bytes[at] = u8::try_from(random(256)).expect("a byte");
        }
        if random(8) == 0 {
            bytes.truncate(random(bytes.len()));
        }
        if decode(&bytes) { good += 1 } else { bad += 1 }
    }
    assert!(good > 0 && bad > 0, "{good} records and {bad} others");
}

/// No record of the kernel side is as long; one that claims to be costs no memory.
#[test]
fn the_longest_claims() {
    for len in [LIMIT - 8, LIMIT, 1 << 20, 16 << 20] {
        let text = vec![b'x'; len];
        let event = SyscallEvent { nr: 257, ..SyscallEvent::default() };
        assert!(!decode(&encode(event, &[(1, CaptureState::Whole, &text)])), "{len}");
    }
}
