//! The few messages that receivers answer with. The hot path does not come here.

use std::time::Duration;

use prost::Message;

/// <https://github.com/open-telemetry/opentelemetry-proto/blob/v1.9.0/opentelemetry/proto/collector/trace/v1/trace_service.proto#L46>
#[derive(Clone, PartialEq, Message)]
pub(super) struct ExportTraceServiceResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PartialSuccess {
    #[prost(int64, tag = "1")]
    pub(super) rejected_spans: i64,
    #[prost(string, tag = "2")]
    pub(super) error_message: String,
}

/// `google.rpc.Status`, <https://cloud.google.com/apis/design/errors>.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<ProtoDuration>,
}

#[derive(Clone, PartialEq, Message)]
struct ProtoDuration {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// The pause that the details of a gRPC status ask for; `None` without a `RetryInfo`. One that
/// names no pause, or a negative one, asks for none.
pub(super) fn retry_delay(details: &[u8]) -> Option<Duration> {
    let status = RpcStatus::decode(details).ok()?;
    let any = status.details.iter().find(|any| any.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let info = RetryInfo::decode(any.value.as_slice()).ok()?;
    let delay = info.retry_delay.unwrap_or_default();
    let seconds = u64::try_from(delay.seconds).unwrap_or_default();
    let nanos = u32::try_from(delay.nanos).unwrap_or_default();
    Some(Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanos.into())))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::trace::v1 as official;
    use proptest::prelude::*;

    pub(in super::super) fn details(type_url: &str, seconds: i64, nanos: i32) -> Vec<u8> {
        let info = RetryInfo { retry_delay: Some(ProtoDuration { seconds, nanos }) };
        let any = Any { type_url: type_url.into(), value: info.encode_to_vec() };
        RpcStatus { code: 8, message: String::new(), details: vec![any] }.encode_to_vec()
    }

    #[test]
    fn the_pause_is_found() {
        const URL: &str = "type.googleapis.com/google.rpc.RetryInfo";
        let found = retry_delay(&details(URL, 1, 500_000_000));
        assert_eq!(found, Some(Duration::from_millis(1500)));
        assert_eq!(retry_delay(&details(URL, -1, -5)), Some(Duration::ZERO));
        assert_eq!(retry_delay(&details("type.googleapis.com/google.rpc.Help", 1, 0)), None);
        assert_eq!(retry_delay(&[]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            retry_delay(&bytes);
            drop(ExportTraceServiceResponse::decode(bytes.as_slice()));
        }

        #[test]
        fn answers_are_read_as_the_official_type_reads_them(rejected: i64, message: String) {
            let answer = official::ExportTraceServiceResponse {
                partial_success: Some(official::ExportTracePartialSuccess {
                    rejected_spans: rejected,
                    error_message: message.clone(),
                }),
            };
            let bytes = answer.encode_to_vec();
            let found = ExportTraceServiceResponse::decode(bytes.as_slice()).unwrap();
            let found = found.partial_success.unwrap();
            prop_assert_eq!((found.rejected_spans, found.error_message), (rejected, message));
        }
    }
}
