//! What an OTLP destination is told: the standard variables, and what a URL says.
//! <https://github.com/open-telemetry/opentelemetry-specification/blob/v1.49.0/specification/protocol/exporter.md>

mod environment;
#[cfg(test)]
mod tests;

use std::{ffi::OsString, fmt, path::PathBuf, time::Duration};

use hyper::{Uri, header::HeaderMap};

use environment::Source;

/// Which failed syscalls have the status `Error`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ErrorStatus {
    /// All that failed.
    All,
    /// All but those whose error is part of a program's normal course, such as `ENOENT`.
    #[default]
    Unexpected,
    /// None; the error's name is in the attribute `error.type` all the same.
    Never,
}

/// How requests travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC.
    Grpc,
    /// Protobuf in HTTP/1.1.
    HttpProtobuf,
}

/// How requests are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip, level 1.
    Gzip,
    /// zstd, level 1.
    Zstd,
}

/// When a request is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The first pause; each further one is twice as long. Half of a pause is up to chance.
    pub first: Duration,
    /// The longest pause, unless the receiver asks for a longer one.
    pub longest: Duration,
    /// After this time a request is given up.
    pub limit: Duration,
}

/// When a request is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Bytes, before compression; one span more is added at most. Receivers refuse more than
    /// 4 MiB.
    pub bytes: usize,
    /// Spans.
    pub spans: u64,
    /// Time since its first span.
    pub age: Duration,
}

/// Where requests wait while too many are on their way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpillOptions {
    /// A folder on a disk; the file in it has no name.
    pub folder: PathBuf,
    /// Size of the file at most, in bytes.
    pub bytes: u64,
}

/// Files for TLS, all PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates to trust, in place of the system's.
    pub ca: Option<PathBuf>,
    /// The client's certificate and its key.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// What nobody has said, so that it may be wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Assumed {
    /// The protocol follows from the port.
    pub protocol: bool,
    /// The address has no scheme, and https is meant.
    pub scheme: bool,
}

/// All that an OTLP destination is told.
#[derive(Clone, PartialEq, Eq)]
pub struct OtlpOptions {
    /// The URL to which requests go, path included.
    pub endpoint: Uri,
    /// How they travel.
    pub protocol: Protocol,
    /// What of these two nobody has said.
    pub assumed: Assumed,
    /// Sent with each request; they may hold secrets and are shown nowhere.
    pub headers: HeaderMap,
    /// How they are compressed.
    pub compression: Compression,
    /// How long a receiver may take to answer one.
    pub timeout: Duration,
    /// Files for TLS.
    pub tls: TlsFiles,
    /// What all processes have in common: `service.name` and the like.
    pub resource: Vec<(String, String)>,
    /// Which failed syscalls have the status `Error`.
    pub error_status: ErrorStatus,
    /// When a request is sent again.
    pub retry: Retry,
    /// When a request is complete.
    pub batch: BatchLimits,
    /// Requests on their way at the same time, at most. With `batch.bytes` it bounds memory.
    pub in_flight: u32,
    /// Where more of them wait; `None`: in the destination's queue, in memory, alone.
    pub spill: Option<SpillOptions>,
    /// How long `shutdown` waits for requests on their way.
    pub drain: Duration,
}

impl fmt::Debug for OtlpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtlpOptions")
            .field("receiver", &self.endpoint.authority())
            .field("protocol", &self.protocol)
            .field("compression", &self.compression)
            .finish_non_exhaustive()
    }
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OtlpOptionError {
    /// Not a URL.
    #[error("{name}: `{value}` is not a URL; write it like http://localhost:4317")]
    Url {
        /// Where it was set.
        name: String,
        /// What was set.
        value: String,
    },
    /// A URL of another kind.
    #[error("{name}: the URL must begin with http:// or https://")]
    Scheme {
        /// Where it was set.
        name: String,
    },
    /// The URL has a user name, which would be seen in lists of processes.
    #[error("{name}: a URL with a user name is not supported; use OTEL_EXPORTER_OTLP_HEADERS")]
    UserInfo {
        /// Where it was set.
        name: String,
    },
    /// Not one of the values there are.
    #[error("{name}: unknown value `{value}`; known are {known}")]
    Unknown {
        /// Where it was set.
        name: String,
        /// What was set.
        value: String,
        /// The values there are.
        known: &'static str,
    },
    /// Not a time.
    #[error("{name}: `{value}` is not a number of milliseconds above 0")]
    Milliseconds {
        /// Where it was set.
        name: String,
        /// What was set.
        value: String,
    },
    /// Not a list of pairs. The text is not shown, for it may hold secrets.
    #[error("{name}: entry {entry} is not of the form key=value, or not of legal characters")]
    Pair {
        /// Where it was set.
        name: String,
        /// Which entry, counted from 1.
        entry: usize,
    },
    /// One of two that belong together.
    #[error("a client certificate needs its key, and a key its certificate: {missing} is not set")]
    HalfClient {
        /// The variable that is missing.
        missing: &'static str,
    },
    /// Bytes that are no text.
    #[error("{name}: the value is not UTF-8")]
    NotText {
        /// Where it was set.
        name: String,
    },
}

impl OtlpOptions {
    /// Reads the variables of the OpenTelemetry specification; one for traces alone goes before
    /// the general one, `url` before both, and an empty one is as good as none.
    pub fn new(
        url: Option<&str>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, OtlpOptionError> {
        let source = Source::new(&variable);
        let protocol = source.protocol()?;
        let (endpoint, protocol, assumed) = source.endpoint(url, protocol)?;
        Ok(Self {
            endpoint,
            protocol,
            assumed,
            headers: source.headers()?,
            compression: source.compression()?,
            timeout: source.timeout()?,
            tls: source.tls()?,
            resource: source.resource()?,
            error_status: ErrorStatus::default(),
            retry: Retry {
                first: Duration::from_millis(250),
                longest: Duration::from_secs(5),
                limit: Duration::from_mins(5),
            },
            batch: BatchLimits { bytes: 2 << 20, spans: 8192, age: Duration::from_millis(200) },
            in_flight: 8,
            spill: None,
            drain: Duration::from_secs(5),
        })
    }
}
