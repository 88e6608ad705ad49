//! What `-e` and its like leave out: calls, signals, ends of processes.

use super::{args::TraceArgs, signal_set, usage::UsageError};
use crate::{export::Lines, filter::SyscallFilter};

/// What `-e` and the options beside it say.
pub(super) struct Filters {
    pub(super) syscalls: SyscallFilter,
    /// Where they are named.
    pub(super) signals: Option<u64>,
    /// No ends of processes.
    pub(super) quiet: bool,
    pub(super) successful: bool,
    pub(super) failed: bool,
    /// How often `-y` was given, or what stands for it.
    pub(super) names: u8,
}

impl Filters {
    pub(super) fn of(args: &TraceArgs) -> Result<Self, UsageError> {
        let mut all = Self {
            syscalls: SyscallFilter::all(),
            signals: None,
            quiet: args.quiet >= 2,
            successful: args.successful,
            failed: args.failed,
            names: args.names,
        };
        for expression in &args.trace {
            match Qualifier::of(expression) {
                (Qualifier::Trace, set) => all.syscalls.add(set)?,
                (Qualifier::Signal, set) => all.signals = Some(signal_set::parse(set)?),
                (Qualifier::Quiet, set) => all.add_quiet(set)?,
                (Qualifier::Status, set) => all.add_status(set)?,
                (Qualifier::DecodeFds, set) => all.add_names(set)?,
                (Qualifier::Other { key, instead }, _) => {
                    return Err(UsageError::Qualifier { key: key.to_owned(), instead });
                }
            }
        }
        for set in &args.signal {
            all.signals = Some(signal_set::parse(set)?);
        }
        args.quiet_set.iter().try_for_each(|set| all.add_quiet(set))?;
        Ok(all)
    }

    /// strace's set of the ends of calls that are shown. Of those, tracer filters by success alone.
    fn add_status(&mut self, text: &str) -> Result<(), UsageError> {
        let (is_negated, list) = match text.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mut successful, mut failed) = (is_negated, is_negated);
        for word in list.split(',').map(str::trim) {
            match word {
                "successful" => successful = !is_negated,
                "failed" => failed = !is_negated,
                "all" => (successful, failed) = (!is_negated, !is_negated),
                _ => return Err(UsageError::Status(word.to_owned())),
            }
        }
        if !successful && !failed {
            return Err(UsageError::Status(text.to_owned()));
        }
        (self.successful, self.failed) = (successful && !failed, failed && !successful);
        Ok(())
    }

    /// strace's set of what is shown of descriptors.
    fn add_names(&mut self, text: &str) -> Result<(), UsageError> {
        for word in text.split(',').map(str::trim) {
            let names = match word {
                "none" => 0,
                "path" => 1,
                "all" | "socket" | "dev" | "pidfd" | "eventfd" | "signalfd" => 2,
                _ => return Err(UsageError::DecodeFds(word.to_owned())),
            };
            self.names = self.names.max(names);
        }
        Ok(())
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

/// What an expression of `-e` is about: strace(1) names that before a `=`.
enum Qualifier<'a> {
    Trace,
    Signal,
    Quiet,
    Status,
    DecodeFds,
    /// One that tracer does not have.
    Other {
        key: &'a str,
        /// What there is.
        instead: &'static str,
    },
}

impl<'a> Qualifier<'a> {
    /// The qualifier and its set; without one an expression is about calls.
    fn of(text: &'a str) -> (Self, &'a str) {
        let Some((key, set)) = text.split_once('=') else { return (Self::Trace, text) };
        let other = |instead| Self::Other { key, instead };
        let qualifier = match key {
            "trace" | "t" => Self::Trace,
            "signal" | "signals" | "s" => Self::Signal,
            "quiet" | "silent" | "silence" | "q" => Self::Quiet,
            "status" => Self::Status,
            "decode-fds" | "decode-fd" => Self::DecodeFds,
            "read" | "reads" | "r" | "write" | "writes" | "w" => {
                other("-s N shows N bytes of all data that is read and written")
            }
            "abbrev" | "a" | "verbose" | "v" | "raw" | "x" => {
                other("arguments are always decoded, and --export json has their raw values too")
            }
            "inject" | "fault" => other("tracer never changes what a program does"),
            "kvm" => other("exits of virtual machines are no syscalls"),
            _ => return (Self::Trace, text),
        };
        (qualifier, set)
    }
}

/// Whether an expression of `-e` is about calls.
pub(super) fn is_of_calls(text: &str) -> bool {
    matches!(Qualifier::of(text), (Qualifier::Trace, _))
}

/// Which lines about no call belong to what is shown: with a filter on calls, those of processes that
/// have shown one.
pub(super) fn others(args: &TraceArgs, filters: &Filters) -> Lines {
    let has_filter = args.trace.iter().any(|text| is_of_calls(text))
        || filters.successful
        || filters.failed
        || !args.errno.is_empty()
        || args.min_duration.is_some();
    if has_filter { Lines::OfShown } else { Lines::All }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::{Cli, Verb};

    fn filters(words: &[&str]) -> Result<Filters, UsageError> {
        let words = ["tracer", "trace"].iter().chain(words);
        let Verb::Trace(args) = Cli::try_parse_from(words).unwrap().verb else { panic!() };
        Filters::of(&args)
    }

    #[test]
    fn status_is_as_z_and_its_capital() {
        let status = |set: &str| {
            let filters = filters(&["-e", &format!("status={set}")]).unwrap();
            (filters.successful, filters.failed)
        };
        assert_eq!(status("successful"), (true, false));
        assert_eq!(status("!successful"), (false, true));
        assert_eq!(status("failed"), (false, true));
        assert_eq!((status("all"), status("failed,successful")), ((false, false), (false, false)));
        for wrong in ["status=none", "status=!all", "status=detached", "status="] {
            assert!(filters(&["-e", wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn descriptors_are_shown_as_wanted() {
        let names = |words: &[&str]| filters(words).unwrap().names;
        assert_eq!((names(&["-e", "decode-fds=path"]), names(&["-y"])), (1, 1));
        assert_eq!((names(&["-e", "decode-fds=all"]), names(&["-yy"])), (2, 2));
        assert_eq!((names(&["-e", "decode-fds=none"]), names(&[])), (0, 0));
        assert!(filters(&["-e", "decode-fds=colour"]).is_err());
    }

    #[test]
    fn what_tracer_does_not_have_is_said_with_what_it_has() {
        for (expression, expected) in [
            (
                "inject=open:error=ENOENT",
                "-e inject=: tracer has no such option: tracer never changes",
            ),
            ("read=3", "-e read=: tracer has no such option: -s N"),
            ("raw=all", "-e raw=: tracer has no such option: arguments are always decoded"),
        ] {
            let error = filters(&["-e", expression]).err().unwrap().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
