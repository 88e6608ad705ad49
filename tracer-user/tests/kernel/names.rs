//! Files of descriptors, against the kernel's own word on each.

use std::collections::BTreeMap;

use tracer_common::memory::part;
use tracer_user::{
    kernel::FileDetail,
    pipeline::TraceOptions,
    span_record::{DescriptorFile, SpanRecord, SyscallSpan},
    values::{self, Context},
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

/// What tracer says of it; empty where it says nothing.
pub(crate) fn shown(call: &SyscallSpan, fd: i32) -> String {
    let context = Context {
        abi: call.abi,
        name: "",
        args: call.args,
        ret: 0,
        at_exit: false,
        is_cut: false,
        fds: call.payload.as_slice(),
    };
    let mut text = Vec::new();
    values::push_fd(&mut text, &context, fd);
    String::from_utf8(text).unwrap().trim_start_matches(|c: char| c.is_ascii_digit()).to_owned()
}

#[test]
fn descriptors_of_many_threads_and_programs_are_named_right() {
    const THREADS: usize = 4;
    let steps = fewer_in_guests(500);
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().canonicalize().unwrap();
    let options = TraceOptions {
        syscalls: syscalls("fsync,readlinkat"),
        names: Some(FileDetail::Paths),
        ..TraceOptions::default()
    };
    let (threads, count) = (THREADS.to_string(), steps.to_string());
    let run = ["descriptors", place.to_str().unwrap(), &threads, &count];
    let (spans, _) = trace_workload(&run, options);
    let calls = spans.iter().filter(|span| span.syscall().is_some());
    assert!(calls.clone().all(|span| ["fsync", "readlinkat"].contains(&&*span.span_name())));
    let mut threads: BTreeMap<u64, Vec<&SpanRecord>> = BTreeMap::new();
    for span in calls {
        threads.entry(span.thread_id()).or_default().push(span);
    }
    let (mut named, mut closed) = (0, 0);
    for pair in threads.values().flat_map(|spans| spans.windows(2)) {
        let [used, asked] = [pair[0], pair[1]].map(|span| span.syscall().unwrap());
        if used.name() != "fsync" {
            continue;
        }
        let fd = i32::try_from(used.args[0]).unwrap();
        let file = DescriptorFile::find(used.payload.as_slice(), fd, false).unwrap();
        let name = shown(used, fd);
        // There is no such descriptor.
        if asked.ret < 0 {
            assert_eq!(name, "", "{fd}");
            closed += 1;
            continue;
        }
        assert!(!file.changed, "{fd}: {used:?}");
        let expected = expected(asked.returned(2, part::WHOLE).unwrap().bytes);
        assert_eq!(name, expected, "{fd}: {used:?}");
        named += 1;
    }
    assert!(named >= steps * THREADS as u64, "{named} are named");
    assert!(closed > 20, "{closed} were found closed");
}
