//! The witness of a run of the command: what its arguments put in scope, and what its ledger says.

use std::{fs, path::PathBuf, process::ExitStatus};

use serde_json::Value;
use tempfile::TempDir;
use tracer_user::filter::SyscallFilter;

use super::{Books, Run, Scope, Traced, Undecided};

/// Counters of calls in scope that were entered.
const ENTRIES: [&str; 3] = ["stored", "noreturn", "store_failed"];

/// A run of `tracer trace`.
pub(crate) struct Watched {
    run: Run,
    ledger: PathBuf,
    /// Where the ledger stands that the test itself has not asked for.
    _folder: Option<TempDir>,
    /// Whether tracing ends with the last process in scope, and not before.
    by_itself: bool,
}

/// The value of an option, given behind it or with `=`.
fn values<'a>(args: &[&'a str], names: &[&str]) -> Vec<&'a str> {
    let mut found = Vec::new();
    for (at, arg) in args.iter().enumerate() {
        match arg.split_once('=') {
            Some((name, value)) if arg.starts_with("--") && names.contains(&name) => {
                found.push(value);
            }
            _ if names.contains(arg) => found.extend(args.get(at + 1)),
            _ => {}
        }
    }
    found
}

fn scope(args: &[&str], has_command: bool) -> Scope {
    let pids: Vec<u32> = values(args, &["-p", "--pid"])
        .into_iter()
        .flat_map(|list| list.split(',').filter_map(|pid| pid.parse().ok()))
        .collect();
    let has = |names: &[&str]| !values(args, names).is_empty();
    let mixed = has_command && !pids.is_empty();
    match () {
        () if has(&["--cgroup", "--container"]) => Scope::Undecided(Undecided::Cgroup),
        () if has(&["--comm"]) => Scope::Undecided(Undecided::Comm),
        () if has(&["-u", "--uid"]) => Scope::Undecided(Undecided::User),
        () if has(&["--control"]) || mixed => Scope::Undecided(Undecided::Edited),
        // The tracer's id is known when it runs.
        () if has_command => Scope::Command { tracer: 0 },
        () if pids.is_empty() => Scope::Everything { tracer: 0, reader: None },
        () => Scope::Processes { pids, follow: !args.contains(&"--no-follow") },
    }
}

fn traced(args: &[&str]) -> Traced {
    let mut shown = SyscallFilter::all();
    for expression in values(args, &["-e", "--trace"]) {
        // One that is not valid ends tracer before it traces.
        let _ = shown.add(expression);
    }
    Traced { shown, others: args.iter().any(|arg| arg.starts_with("-y")) }
}

impl Watched {
    /// Before it is started; the arguments with which it must be, behind `trace`.
    pub(crate) fn new(args: &[&str]) -> (Self, Vec<String>) {
        let end = args.iter().position(|arg| *arg == "--");
        let options = &args[..end.unwrap_or(args.len())];
        let mut all: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let asked = values(options, &["--ledger"]).last().map(PathBuf::from);
        let folder = asked.is_none().then(|| tempfile::tempdir().expect("a folder"));
        let own = folder.as_ref().map(|folder| folder.path().join("ledger.json"));
        if let Some(file) = &own {
            all.splice(..0, ["--ledger".to_owned(), file.display().to_string()]);
        }
        let ledger = asked.or(own).expect("one of the two");
        let run = Run::new(scope(options, end.is_some()), traced(options));
        let by_itself = values(options, &["--duration"]).is_empty();
        (Self { run, ledger, _folder: folder, by_itself }, all)
    }

    /// It has this process id.
    pub(crate) fn started(&mut self, pid: u32) {
        if let Scope::Command { tracer } | Scope::Everything { tracer, .. } = &mut self.run.scope {
            *tracer = pid;
        }
    }

    pub(crate) fn attached(&mut self) {
        self.run.attached();
    }

    /// It is about to be asked to end.
    pub(crate) fn detaching(&mut self) {
        self.run.detaching();
    }

    /// It has ended.
    pub(crate) fn finish(mut self, status: ExitStatus) {
        let text = fs::read_to_string(&self.ledger).unwrap_or_default();
        if text.is_empty() {
            assert!(!status.success(), "no ledger");
            return self.run.set_over();
        }
        let ledger: Value = serde_json::from_str(&text).expect("a ledger");
        let counter = |name: &str| ledger["kernel"][name].as_u64().expect("a counter");
        let books = Books {
            entries: ENTRIES.into_iter().map(counter).sum(),
            misses: counter("recursion_misses"),
            spans: None,
        };
        self.run.finish(&books, self.by_itself);
    }
}
