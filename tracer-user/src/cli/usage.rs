//! Mistakes on the command line, each in one line.

use std::path::PathBuf;

use tracer_common::{event::COMM_LEN, memory::MAX_DATA};

#[cfg(feature = "parquet")]
use super::exports::parquet::TargetError;
use super::{containers::ContainerError, exports::limits::LimitError, signal_set::SignalError};
use crate::{filter::FilterError, kernel::cgroup::CgroupError, traceparent::TraceParentError};

/// A mistake on the command line.
#[derive(Debug, thiserror::Error)]
pub(super) enum UsageError {
    #[error("--pid: `{0}` is not a process id")]
    Pid(String),
    #[error("--cgroup: {0}")]
    Cgroup(#[from] CgroupError),
    #[error(transparent)]
    Container(#[from] ContainerError),
    #[error("--comm: `{name}` has {len} bytes; thread names have 1 to {max}", max = COMM_LEN - 1)]
    Comm { name: String, len: usize },
    #[error("--uid: no user `{0}`")]
    User(String),
    #[error("--trace: {0}")]
    Syscalls(#[from] FilterError),
    #[error(transparent)]
    Signal(#[from] SignalError),
    #[error(
        "--quiet: unknown message `{0}`; known are attach, exit, path-resolution, personality, \
         thread-execve, all and none"
    )]
    Quiet(String),
    #[error("-e status: `{0}` is not successful, failed or all, of which one must be left")]
    Status(String),
    #[error("-e decode-fds: unknown `{0}`; known are all, none, path, socket, dev and pidfd")]
    DecodeFds(String),
    #[error("-e {key}=: tracer has no such option: {instead}")]
    Qualifier { key: String, instead: &'static str },
    #[error("-ff: tracer does not write a file for each process; use --export parquet or json")]
    FilePerProcess,
    #[error("--env: `{0}` has no name; write it like NAME=VALUE, or NAME to take it away")]
    Variable(String),
    #[error("--errno: unknown error `{name}`{hint}")]
    Errno { name: String, hint: String },
    #[error("--{option}: `{value}` is not a time; write it like 500us, 10ms or 1s")]
    Time { option: &'static str, value: String },
    #[error("--{option}: `{value}` is not a size; write it like 64KiB or 16MiB")]
    Size { option: &'static str, value: String },
    #[error("--ring-size: {value} is not a power of two; the nearest are {below} and {above}")]
    RingSize { value: u64, below: String, above: String },
    #[error("--ring-size: {value} bytes are less than a page; the least is {least}")]
    RingTooSmall { value: u64, least: String },
    #[error("--ring-size: {value} bytes are more than a ring may have; the most is {most}")]
    RingTooLarge { value: u64, most: String },
    #[error("--string-limit: `{value}` is not a number of bytes from 0 to {MAX_DATA}")]
    StringLimit { value: String },
    #[error(
        "--export: unknown kind `{0}`; known are text[=FILE], json[=FILE], otlp[=URL], \
         parquet=DIR and null"
    )]
    Export(String),
    #[error("--export: this tracer was built without {0}; build it with the feature `{0}`")]
    NotBuilt(&'static str),
    #[cfg(feature = "parquet")]
    #[error("--export: {0}")]
    Parquet(#[from] TargetError),
    #[error("--traceparent: `{value}` is no W3C traceparent: {source}")]
    TraceParent { value: String, source: TraceParentError },
    #[error("--export: `{}` is given twice; each destination needs a file of its own", .0.display())]
    SameFile(PathBuf),
    #[error("--{option} does nothing without --export {kind}")]
    Without { option: &'static str, kind: &'static str },
    #[error("--export: null takes no file")]
    NullTarget,
    #[cfg(feature = "otlp")]
    #[error("--export: the URL of otlp is not UTF-8")]
    UrlNotText,
    #[error(transparent)]
    Limit(#[from] LimitError),
    #[cfg(feature = "otlp")]
    #[error(transparent)]
    Otlp(#[from] crate::export::otlp::OtlpOptionError),
}
