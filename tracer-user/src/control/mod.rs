//! A socket by which the scope is changed while tracing: one request per line, one line for answer.
//!
//! Whoever may connect is root or called sudo, and is still not trusted: lines are bounded, so are
//! connections, and a client that does not read its answers is left.

mod server;
mod socket;

pub use socket::{ControlError, ControlThread, Socket};

use std::{path::PathBuf, sync::mpsc::SyncSender};

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// `add pid N`
    AddProcess(u32),
    /// `remove pid N`
    RemoveProcess(u32),
    /// `add cgroup PATH`
    AddCgroup(PathBuf),
    /// `remove cgroup PATH`
    RemoveCgroup(PathBuf),
    /// `trace SET`
    Trace(String),
    /// `status`
    Status,
}

/// A line that is no request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not one of the requests.
    #[error(
        "unknown request; known are `add pid N`, `remove pid N`, `add cgroup PATH`, \
         `remove cgroup PATH`, `trace SET` and `status`"
    )]
    Unknown,
    /// Not the number of a process.
    #[error("`{0}` is not a process id")]
    Process(String),
    /// Bytes that are not UTF-8, or control characters.
    #[error("a request is one line of UTF-8 without control characters")]
    NotText,
}

impl Request {
    /// Reads a line without its end.
    pub fn parse(line: &[u8]) -> Result<Self, RequestError> {
        let line = std::str::from_utf8(line).map_err(|_| RequestError::NotText)?;
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.chars().any(char::is_control) {
            return Err(RequestError::NotText);
        }
        let (verb, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        let rest = rest.trim_start();
        match (verb, rest) {
            ("status", "") => return Ok(Self::Status),
            ("trace", set) if !set.is_empty() => return Ok(Self::Trace(set.to_owned())),
            _ => {}
        }
        let (kind, what) = rest.split_once(' ').ok_or(RequestError::Unknown)?;
        let what = what.trim_start();
        let pid = || {
            let pid = what.parse().ok().filter(|pid| *pid > 0);
            pid.ok_or_else(|| RequestError::Process(what.to_owned()))
        };
        match (verb, kind) {
            ("add", "pid") => pid().map(Self::AddProcess),
            ("remove", "pid") => pid().map(Self::RemoveProcess),
            ("add", "cgroup") => Ok(Self::AddCgroup(what.into())),
            ("remove", "cgroup") => Ok(Self::RemoveCgroup(what.into())),
            _ => Err(RequestError::Unknown),
        }
    }
}

/// A request with the place for its answer: what to say after `ok`, or after `error`.
#[derive(Debug)]
pub struct Call {
    /// What is asked for.
    pub request: Request,
    answer: SyncSender<Result<String, String>>,
}

impl Call {
    /// Answers.
    pub fn answer(self, answer: Result<String, String>) {
        // The thread waits for it, unless it has ended.
        drop(self.answer.send(answer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn requests_are_read() {
        let parse = |line: &str| Request::parse(line.as_bytes());
        assert_eq!(parse("add pid 12"), Ok(Request::AddProcess(12)));
        assert_eq!(parse("  remove  pid  12\r"), Ok(Request::RemoveProcess(12)));
        assert_eq!(parse("add cgroup a b/c"), Ok(Request::AddCgroup("a b/c".into())));
        assert_eq!(parse("remove cgroup /x"), Ok(Request::RemoveCgroup("/x".into())));
        assert_eq!(parse("trace openat,%file"), Ok(Request::Trace("openat,%file".into())));
        assert_eq!(parse("status"), Ok(Request::Status));
        assert_eq!(parse("add pid 0"), Err(RequestError::Process("0".into())));
        for bad in ["", "add", "add pid", "trace", "status now", "remove all 1", "Add pid 1"] {
            assert_eq!(parse(bad), Err(RequestError::Unknown), "{bad}");
        }
        assert_eq!(parse("add cgroup \x1b[2J"), Err(RequestError::NotText));
        assert_eq!(Request::parse(b"add cgroup \xff"), Err(RequestError::NotText));
    }

    proptest! {
        #[test]
        fn any_line_is_a_request_or_an_error(line: Vec<u8>, words in "(add|remove)? ?(pid|cgroup)? ?.{0,9}") {
            for line in [line.as_slice(), words.as_bytes()] {
                if let Err(error) = Request::parse(line) {
                    prop_assert!(!error.to_string().chars().any(char::is_control));
                }
            }
        }
    }
}
