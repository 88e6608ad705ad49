//! What `-e` and its like leave out: calls, signals, ends of processes.

use super::{args::TraceArgs, config::UsageError, signal_set};
use crate::{export::Lines, filter::SyscallFilter};

/// What `-e` and the options beside it say.
pub(super) struct Filters {
    pub(super) syscalls: SyscallFilter,
    /// Where they are named.
    pub(super) signals: Option<u64>,
    /// No ends of processes.
    pub(super) quiet: bool,
}

impl Filters {
    pub(super) fn of(args: &TraceArgs) -> Result<Self, UsageError> {
        let quiet = args.quiet >= 2;
        let mut all = Self { syscalls: SyscallFilter::all(), signals: None, quiet };
        for expression in &args.trace {
            match expression.split_once('=') {
                Some(("signal" | "signals" | "s", set)) => {
                    all.signals = Some(signal_set::parse(set)?);
                }
                Some(("quiet" | "silent" | "silence" | "q", set)) => all.add_quiet(set)?,
                _ => all.syscalls.add(expression)?,
            }
        }
        for set in &args.signal {
            all.signals = Some(signal_set::parse(set)?);
        }
        args.quiet_set.iter().try_for_each(|set| all.add_quiet(set))?;
        Ok(all)
    }

    /// strace's set of messages that are left out. Of those, tracer has the ends of processes alone.
    fn add_quiet(&mut self, text: &str) -> Result<(), UsageError> {
        let (is_negated, list) = match text.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let mut has_exit = false;
        for word in list.split(',').map(str::trim) {
            match word {
                "exit" | "exits" | "all" => has_exit = true,
                "attach" | "path-resolution" | "path-resolve" | "personality" | "thread-execve"
                | "superseded" | "none" => {}
                _ => return Err(UsageError::Quiet(word.to_owned())),
            }
        }
        self.quiet |= has_exit != is_negated;
        Ok(())
    }
}

/// Whether an expression of `-e` is about calls.
pub(super) fn is_of_calls(text: &str) -> bool {
    const OTHERS: [&str; 7] = ["signal", "signals", "s", "quiet", "silent", "silence", "q"];
    text.split_once('=').is_none_or(|(key, _)| !OTHERS.contains(&key))
}

/// Which lines about no call belong to what is shown: with a filter on calls, those of processes that
/// have shown one.
pub(super) fn others(args: &TraceArgs) -> Lines {
    let filters = args.trace.iter().any(|text| is_of_calls(text))
        || args.successful
        || args.failed
        || !args.errno.is_empty()
        || args.min_duration.is_some();
    if filters { Lines::OfShown } else { Lines::All }
}
