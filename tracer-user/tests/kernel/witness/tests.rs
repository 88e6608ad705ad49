//! The witness itself: it finds a single call that is missing or made up.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tracer_user::pipeline::TraceOptions;

use super::{Books, Run};
use crate::support::{Session, Workload, syscalls};

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
