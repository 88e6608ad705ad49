//! Strings of calls: read where they can be, and told apart where they cannot.

use std::os::unix::fs::FileExt as _;

use tracer_common::{
    counter::Counter,
    event::{CaptureState, Phase},
    parse::Captures,
};
use tracer_user::{pipeline::TraceOptions, span_record::SpanRecord};

use crate::{
    arch::{OPEN, RENAME},
    support::{rounds, syscalls, trace_workload},
};

fn trace(args: &[&str], calls: &str) -> Vec<SpanRecord> {
    let options = TraceOptions { syscalls: syscalls(calls), ..TraceOptions::default() };
    trace_workload(args, options).0
}

/// The last call of this name that has a string in this argument.
fn last_string(spans: &[SpanRecord], arg: usize) -> (CaptureState, Vec<u8>) {
    let string = spans.last().unwrap().syscall().unwrap().string(arg).expect("a string");
    (string.state, string.bytes.to_vec())
}

#[test]
fn paths_of_any_length_are_whole() {
    for len in [1, 79, 80, 254, 255, 256, 257, 1000, 4094, 4095].into_iter().step_by(rounds(1, 3)) {
        let path = format!("/{}", "x".repeat(len - 1));
        let spans = trace(&["open", &path], OPEN);
        let whole = (CaptureState::Whole, path.into_bytes());
        assert_eq!(last_string(&spans, 1), whole, "length {len}");
    }
}

#[test]
fn a_path_longer_than_any_is_cut_and_says_so() {
    let path = format!("/{}", "x".repeat(5000));
    let spans = trace(&["open", &path], OPEN);
    let (state, bytes) = last_string(&spans, 1);
    assert_eq!((state, bytes.len()), (CaptureState::Truncated, 4095));
    assert!(path.as_bytes().starts_with(&bytes));
}

#[test]
fn two_paths_are_both_read() {
    for (from, to) in [(10, 20), (300, 10), (10, 3000), (2500, 2500), (4095, 3000)] {
        let (from, to) = (format!("/{}", "f".repeat(from - 1)), format!("/{}", "t".repeat(to - 1)));
        let spans = trace(&["rename", &from, &to], RENAME.0);
        assert_eq!(last_string(&spans, RENAME.1[0]), (CaptureState::Whole, from.into_bytes()));
        assert_eq!(last_string(&spans, RENAME.1[1]), (CaptureState::Whole, to.into_bytes()));
    }
}

#[test]
fn a_path_on_a_page_that_was_never_touched_is_read_at_exit() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("path");
    std::fs::write(&file, b"/etc/hostname\0").unwrap();
    for _ in 0..rounds(20, 3) {
        let spans = trace(&["open-cold", file.to_str().unwrap()], "openat");
        assert_eq!(last_string(&spans, 1), (CaptureState::Whole, b"/etc/hostname".to_vec()));
    }
}

/// Not one name is blank, of as many pages as there are calls.
#[test]
fn ten_thousand_pages_that_were_never_touched() {
    const STEP: usize = 16 * 4096;
    let count = rounds(10_000, 500);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pages");
    let file = std::fs::File::create(&path).unwrap();
    file.set_len((count * STEP) as u64).unwrap();
    for number in 0..count {
        let name = format!("/no/such/file/{number}\0");
        file.write_all_at(name.as_bytes(), (number * STEP) as u64).unwrap();
    }
    drop(file);
    let args = ["open-cold-pages", path.to_str().unwrap(), &count.to_string()];
    let options = TraceOptions { syscalls: syscalls("openat"), ..TraceOptions::default() };
    let (spans, ledger) = trace_workload(&args, options);
    let late = spans.iter().filter(|span| {
        let call = span.syscall().unwrap();
        let mut all = Captures::new(call.payload.as_slice());
        all.any(|(header, _)| header.phase == Phase::Late as u8)
    });
    assert!(late.count() >= count * 9 / 10, "the pages are not cold");
    let names: Vec<_> =
        spans.iter().map(|span| span.syscall().unwrap().string(1).unwrap()).collect();
    assert!(names.iter().all(|name| name.state == CaptureState::Whole && !name.bytes.is_empty()));
    let expected = (0..count).map(|number| format!("/no/such/file/{number}").into_bytes());
    let found = names.iter().filter(|name| name.bytes.starts_with(b"/no/such")).map(|it| it.bytes);
    assert!(found.eq(expected), "the paths of the pages, in their order");
    assert_eq!(ledger.kernel.get(Counter::StringFault), 0);
}

/// What was read whole at entry stays so when another string has to be read again at exit.
#[test]
fn a_cold_path_beside_a_long_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("path");
    for (from, to) in [(10, 10), (3000, 20), (200, 200), (200, 3000), (10, 4000)] {
        let (from, to) = (format!("/{}", "f".repeat(from - 1)), format!("/{}", "t".repeat(to - 1)));
        std::fs::write(&file, format!("{to}\0")).unwrap();
        let spans = trace(&["rename-cold", &from, file.to_str().unwrap()], RENAME.0);
        assert_eq!(last_string(&spans, RENAME.1[0]), (CaptureState::Whole, from.into_bytes()));
        assert_eq!(last_string(&spans, RENAME.1[1]), (CaptureState::Whole, to.into_bytes()));
    }
}

#[test]
fn a_path_that_ends_with_its_page_is_whole() {
    for len in [1, 7, 254, 255, 256, 257, 4000, 4094].into_iter().step_by(rounds(1, 3)) {
        let spans = trace(&["open-page-end", &len.to_string()], "openat");
        let path = format!("/{}", "x".repeat(len - 1));
        assert_eq!(last_string(&spans, 1), (CaptureState::Whole, path.into_bytes()), "{len}");
    }
}

/// A string is an observation: each is one of the two, or cut together from both, never longer.
#[test]
fn a_path_that_is_rewritten_meanwhile_is_one_or_the_other() {
    let count = rounds(100_000, 5_000);
    let spans = trace(&["open-flipping", &count.to_string()], "openat");
    let flipped: Vec<_> = spans
        .iter()
        .map(|span| span.syscall().unwrap().string(1).unwrap())
        .filter(|it| it.bytes.starts_with(b"/a") || it.bytes.starts_with(b"/b"))
        .collect();
    assert!(flipped.len() >= count);
    let is_mixed = |bytes: &[u8]| bytes.len() == 7 && bytes[1..].iter().all(|b| b"ab".contains(b));
    assert!(flipped.iter().all(|it| it.state == CaptureState::Whole && is_mixed(it.bytes)));
}

#[test]
fn a_null_pointer_is_not_a_string() {
    let spans = trace(&["open-address", "0"], "openat");
    assert_eq!(spans.last().unwrap().syscall().unwrap().string(1), None);
    assert_eq!(spans.last().unwrap().status_message(), "EFAULT");
}

#[test]
fn kernel_memory_is_never_read() {
    for address in [0xffff_ffff_8100_0000_u64, u64::MAX, 0x8000_0000_0000_0000, 1] {
        let options = TraceOptions { syscalls: syscalls("openat"), ..TraceOptions::default() };
        let (spans, ledger) = trace_workload(&["open-address", &address.to_string()], options);
        assert_eq!(last_string(&spans, 1), (CaptureState::Fault, Vec::new()), "{address:#x}");
        assert_eq!(ledger.kernel.get(Counter::StringFault), 1);
        assert_eq!(spans.last().unwrap().status_message(), "EFAULT");
    }
}

#[test]
fn bytes_that_are_not_text_stay_as_they_are() {
    let path = "/\u{1b}[31m\n\u{202e}\"\\";
    let spans = trace(&["open", path], OPEN);
    assert_eq!(last_string(&spans, 1), (CaptureState::Whole, path.as_bytes().to_vec()));
}
