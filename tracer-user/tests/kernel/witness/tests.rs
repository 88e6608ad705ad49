//! The witness itself: it finds a single call that is missing or made up.

use std::{
    collections::BTreeMap,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use tracer_user::pipeline::TraceOptions;

use super::{Books, Run};
use crate::support::{Session, Workload, skipped, syscalls};

/// Traces a family, and lets the witness judge its books with a change.
fn is_believed(calls: &str, change: impl Fn(&mut Books)) -> bool {
    let workload = Workload::new(&["family", "50"]);
    workload.wait_until_it_waits();
    let options = TraceOptions {
        pids: vec![workload.pid()],
        syscalls: syscalls(calls),
        ..TraceOptions::default()
    };
    let mut run = Run::of(&options);
    let mut session = Session::start(&options);
    run.attached();
    workload.run();
    session.wait_for_end();
    run.detaching();
    let (spans, ledger) = session.stop();
    let mut books = Books::new(&ledger.kernel, Some(&spans));
    change(&mut books);
    catch_unwind(AssertUnwindSafe(|| run.finish(&books, false))).is_ok()
}

#[test]
fn a_call_more_or_less_is_found() {
    for calls in ["all", "getppid"] {
        assert!(is_believed(calls, |_| ()));
        assert!(!is_believed(calls, |books| books.entries -= 1));
        assert!(!is_believed(calls, |books| books.entries += 1));
        // In one process, or in another one.
        let of = |books: &mut Books, at: usize| {
            *books.spans.as_mut().unwrap().values_mut().nth(at).unwrap() -= 1;
        };
        assert!(!is_believed(calls, |books| of(books, 0)));
        assert!(!is_believed(calls, |books| of(books, 2)));
        assert!(!is_believed(calls, |books| {
            books.spans.as_mut().unwrap().insert((1, 1), 1);
        }));
    }
}

/// Where a test starts tracer past the harness, so that the witness does not judge that run: how
/// often in which file, and why.
const UNWATCHED: [(&str, usize, &str); 11] = [
    ("books.rs", 1, "there is no reader: the test counts what the ring holds"),
    (
        "command.rs",
        10,
        "as another user, with streams or variables of its own, in another namespace",
    ),
    ("errors.rs", 2, "under limits of a shell"),
    ("faults.rs", 4, "below strace, and under limits of a shell"),
    ("hosts.rs", 1, "in a mount namespace of its own"),
    ("hung.rs", 4, "beside a file system or a name service that does not answer"),
    ("more.rs", 1, "in a time namespace of its own"),
    ("object_store.rs", 1, "with the credentials of a store"),
    ("otlp.rs", 2, "with variables for the receiver; what arrives is compared with the ledger"),
    ("parquet.rs", 1, "as another user"),
    ("trace_context.rs", 1, "with variables for the trace's context"),
];

#[test]
fn runs_that_are_not_judged_are_known() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernel");
    let Ok(files) = fs::read_dir(folder) else {
        return skipped("runs that the witness does not judge: the sources are not here");
    };
    let mut found = BTreeMap::new();
    for file in files {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() || ["support.rs", "recording.rs"].contains(&name.as_str()) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let starts = ["tracer_path()", "Trace::start(", "Loaded::load("];
        let times: usize = starts.iter().map(|start| text.matches(start).count()).sum();
        if times > 0 {
            found.insert(name, times);
        }
    }
    let known = UNWATCHED.iter().map(|(name, times, _)| ((*name).to_owned(), *times));
    assert_eq!(found, known.collect());
}
