//! What programs say of themselves, and whether the spans agree.

use std::collections::{BTreeMap, BTreeSet};

use tracer_user::span_record::SpanRecord;

/// What a program has said of itself: the kinds of calls it is about, and each thread's calls.
pub(crate) struct Expected {
    pub(crate) kinds: Vec<String>,
    pub(crate) threads: BTreeMap<u64, Vec<String>>,
}

impl Expected {
    pub(crate) fn parse(text: &str) -> Self {
        let mut expected = Self { kinds: Vec::new(), threads: BTreeMap::new() };
        for line in text.lines() {
            let mut words = line.split_whitespace().map(str::to_owned);
            match words.next().as_deref() {
                Some("kinds") => expected.kinds.extend(words),
                Some("thread") => {
                    let tid = words.next().unwrap().parse().unwrap();
                    expected.threads.entry(tid).or_default().extend(words);
                }
                other => panic!("unexpected {other:?} in {text}"),
            }
        }
        assert!(!expected.threads.is_empty(), "the program said nothing");
        expected
    }
}

/// A span in the words of the programs.
pub(crate) fn describe(span: &SpanRecord) -> String {
    let call = span.syscall().unwrap();
    let code = call.restart().map(Into::into).or_else(|| call.error());
    let result = match code {
        Some(code) => code.into_owned(),
        None if call.has_result() => call.ret.to_string(),
        None => "?".to_owned(),
    };
    format!("{}={result}/{}", span.span_name(), call.record.name())
}

fn matches(expected: &str, seen: &str) -> bool {
    match expected.split_once("=*") {
        Some((name, record)) => seen.starts_with(&format!("{name}=")) && seen.ends_with(record),
        None => expected == seen,
    }
}

/// Compares what a program has said with what was seen: thread by thread, in order.
#[track_caller]
pub(crate) fn compare(case: &str, text: &str, spans: &[SpanRecord]) {
    let expected = Expected::parse(text);
    let mut seen: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    let kinds: BTreeSet<&str> = expected.kinds.iter().map(String::as_str).collect();
    for span in spans.iter().filter(|span| kinds.contains(span.span_name().as_ref())) {
        seen.entry(span.thread_id()).or_default().push(describe(span));
    }
    let tids: Vec<_> = seen.keys().collect();
    assert_eq!(tids, expected.threads.keys().collect::<Vec<_>>(), "{case}: {seen:?}\n{text}");
    for (tid, calls) in &seen {
        let wanted = &expected.threads[tid];
        let agree = wanted.len() == calls.len()
            && wanted.iter().zip(calls).all(|(wanted, seen)| matches(wanted, seen));
        assert!(agree, "{case}, thread {tid}:\n expected {wanted:?}\n     seen {calls:?}");
    }
}
