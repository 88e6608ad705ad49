//! Names of descriptors, against the kernel's own word on each.

use std::collections::BTreeMap;

use tracer_common::memory::part;
use tracer_user::{
    descriptors::Detail,
    pipeline::TraceOptions,
    span_record::{FdName, SpanRecord},
};

use crate::support::{fewer_in_guests, syscalls, trace_workload};

/// What the kernel says of a descriptor, as it is to be shown.
fn expected(link: &[u8]) -> String {
    let link = String::from_utf8(link.to_vec()).unwrap();
    match link.strip_suffix(" (deleted)") {
        Some(path) => format!("<{path}>(deleted)"),
        None => format!("<{link}>"),
    }
}

/// The number of a pipe or socket is not known when it did not live long enough to be looked up.
fn without_number(name: &str) -> String {
    let start = ["<pipe:[", "<socket:["].into_iter().find(|start| name.starts_with(start));
    start.map_or_else(|| name.to_owned(), |start| format!("{start}…]>"))
}

#[test]
fn descriptors_of_many_threads_and_programs_are_named_right() {
    const THREADS: usize = 4;
    let steps = fewer_in_guests(500);
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().canonicalize().unwrap();
    let options = TraceOptions {
        syscalls: syscalls("fsync,readlinkat"),
        names: Some(Detail::Paths),
        ..TraceOptions::default()
    };
    let (threads, count) = (THREADS.to_string(), steps.to_string());
    let run = ["descriptors", place.to_str().unwrap(), &threads, &count];
    let (spans, ledger) = trace_workload(&run, options);
    // Followed, and not shown.
    assert!(spans.iter().all(|span| ["fsync", "readlinkat"].contains(&&*span.span_name())));
    assert!(ledger.spans.filtered > steps * THREADS as u64);
    let mut threads: BTreeMap<u64, Vec<&SpanRecord>> = BTreeMap::new();
    for span in &spans {
        threads.entry(span.thread_id()).or_default().push(span);
    }
    let (mut named, mut unnamed, mut closed) = (0, Vec::new(), 0);
    for pair in threads.values().flat_map(|spans| spans.windows(2)) {
        let [used, asked] = [pair[0], pair[1]].map(|span| span.syscall().unwrap());
        if used.name() != "fsync" {
            continue;
        }
        let fd = i32::try_from(used.args[0]).unwrap();
        let name = FdName::find(pair[0].fd_names(), fd, false);
        // There is no such descriptor.
        if asked.ret < 0 {
            assert_eq!(name, None, "{fd}");
            closed += 1;
            continue;
        }
        let expected = expected(asked.returned(2, part::WHOLE).unwrap().bytes);
        match name {
            Some(name) => {
                assert_eq!(without_number(name), without_number(&expected), "{fd}: {used:?}");
                named += 1;
            }
            None => unnamed.push(expected),
        }
    }
    assert!(named >= steps * THREADS as u64, "{named} are named");
    assert!(closed > 20, "{closed} were found closed");
    // What was received has a name only if it lives until it is looked up.
    assert!(unnamed.len() as u64 * 10 < named, "{} of {named} have no name", unnamed.len());
}
