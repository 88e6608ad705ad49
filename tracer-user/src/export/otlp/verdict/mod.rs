//! What an answer means: the retry table of the specification.
//! <https://github.com/open-telemetry/opentelemetry-proto/blob/v1.9.0/docs/specification.md#failures>

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hyper::{
    StatusCode,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, RETRY_AFTER},
};
use prost::Message;
use tonic::{Code, Status};

use super::{
    encode::PREFIX,
    messages::{self, ExportTraceServiceResponse},
    options::Protocol,
};
use crate::escape;

/// An answer, whole.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) trailers: Option<HeaderMap>,
}

/// What became of a request.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// The receiver has it, without so many spans.
    Accepted {
        /// As the receiver counts: not to be trusted.
        rejected: i64,
        /// Why, fit to be shown.
        message: String,
    },
    /// It does not have it, or that is unknown.
    Failed(Failure),
}

/// A request that was not accepted.
#[derive(Debug, PartialEq)]
pub(super) struct Failure {
    pub(super) then: Then,
    /// Its spans may have arrived all the same.
    pub(super) maybe_arrived: bool,
    /// Fit to be shown.
    pub(super) reason: String,
}

/// What to do with a request that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// Send it again, after this time if the receiver has named one.
    Retry(Option<Duration>),
    /// Never send it again.
    Refused,
    /// Never send it again: what answers there speaks another protocol.
    Malformed,
}

impl Failure {
    /// There is no connection, or it ended, or the time did, before there was an answer.
    pub(super) fn unanswered(reason: &str) -> Self {
        Self { then: Then::Retry(None), maybe_arrived: true, reason: visible(reason) }
    }

    /// The answer is none that the protocol knows.
    pub(super) fn malformed(reason: &str) -> Self {
        let reason = format!("unusable answer: {}", visible(reason));
        Self { then: Then::Malformed, maybe_arrived: true, reason }
    }
}

/// Whether the body of an answer of this status matters.
pub(super) fn needs_body(status: StatusCode, headers: &HeaderMap) -> bool {
    status.is_success() && !headers.contains_key("grpc-status")
}

/// Whether an answer is what a receiver of the other protocol gives.
pub(super) fn is_of_another_protocol(protocol: Protocol, answer: &Answer) -> bool {
    let kind = answer.headers.get(CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
    match protocol {
        Protocol::Grpc => !kind.starts_with(b"application/grpc"),
        Protocol::HttpProtobuf => {
            kind.starts_with(b"application/grpc") || answer.status.as_u16() == 415
        }
    }
}

/// Judges an answer.
pub(super) fn judge(protocol: Protocol, answer: &Answer) -> Verdict {
    let judged = if answer.status.is_success() {
        match protocol {
            Protocol::Grpc => judge_grpc(answer),
            Protocol::HttpProtobuf => judge_http(answer),
        }
    } else {
        Err(http_failure(answer))
    };
    judged.unwrap_or_else(Verdict::Failed)
}

/// A status that is no success. A gateway that hides what happened behind it answers with 500 to
/// 504, so the spans may have arrived then; redirects are not followed.
fn http_failure(answer: &Answer) -> Failure {
    let code = answer.status.as_u16();
    let then = match code {
        429 | 502 | 503 | 504 => Then::Retry(retry_after(&answer.headers)),
        _ => Then::Refused,
    };
    Failure { then, maybe_arrived: code >= 500, reason: format!("HTTP status {code}") }
}

/// Seconds, or a date. <https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3>
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(SystemTime::from(date).duration_since(SystemTime::now()).unwrap_or_default())
}

fn judge_http(answer: &Answer) -> Result<Verdict, Failure> {
    check_encoding(&answer.headers)?;
    if answer.body.is_empty() {
        return accepted(&[]);
    }
    let kind = answer.headers.get(CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
    if !kind.starts_with(b"application/x-protobuf") {
        let kind = String::from_utf8_lossy(kind);
        return Err(Failure::malformed(&format!("content-type `{kind}`")));
    }
    accepted(&answer.body)
}

fn judge_grpc(answer: &Answer) -> Result<Verdict, Failure> {
    let kind = answer.headers.get(CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
    if !kind.starts_with(b"application/grpc") {
        let kind = String::from_utf8_lossy(kind);
        return Err(Failure::malformed(&format!("content-type `{kind}`")));
    }
    // An error without a body has its status among the headers.
    let status = Status::from_header_map(&answer.headers)
        .or_else(|| answer.trailers.as_ref().and_then(Status::from_header_map))
        .ok_or_else(|| Failure::unanswered("the answer has no gRPC status"))?;
    if status.code() != Code::Ok {
        return Err(grpc_failure(&status));
    }
    // Without having been asked for, compression is an error too.
    match answer.body.split_first_chunk::<PREFIX>() {
        Some(([0, length @ ..], message))
            if u64::from(u32::from_be_bytes(*length)) == message.len() as u64 =>
        {
            accepted(message)
        }
        _ => Err(Failure::malformed("not one gRPC message")),
    }
}

fn grpc_failure(status: &Status) -> Failure {
    let code = status.code();
    let delay = messages::retry_delay(status.details());
    let then = match code {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Then::Retry(delay),
        Code::ResourceExhausted if delay.is_some() => Then::Retry(delay),
        _ => Then::Refused,
    };
    // What a proxy says, too, when it lost the receiver in the middle of a request.
    let maybe_arrived = matches!(
        code,
        Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::Unavailable
            | Code::DataLoss
            | Code::Unknown
            | Code::Internal
    );
    let reason = format!("gRPC status {code:?}: {}", visible(status.message()));
    Failure { then, maybe_arrived, reason }
}

fn accepted(body: &[u8]) -> Result<Verdict, Failure> {
    let answer = ExportTraceServiceResponse::decode(body)
        .map_err(|error| Failure::malformed(&error.to_string()))?;
    let partial = answer.partial_success.unwrap_or_default();
    let message = visible(&partial.error_message);
    Ok(Verdict::Accepted { rejected: partial.rejected_spans, message })
}

fn check_encoding(headers: &HeaderMap) -> Result<(), Failure> {
    match headers.get(CONTENT_ENCODING) {
        Some(encoding) if encoding != "identity" => {
            Err(Failure::malformed("it is compressed, which was not asked for"))
        }
        _ => Ok(()),
    }
}

/// Text from the network, cut and made harmless.
fn visible(text: &str) -> String {
    const LONGEST: usize = 200;
    let cut: String = text.chars().take(LONGEST).collect();
    let mut out = Vec::new();
    escape::push_visible(&mut out, cut.as_bytes());
    String::from_utf8(out).unwrap_or_default()
}

#[cfg(test)]
mod tests;
