//! Answers of all kinds.

use super::*;
use hyper::header::HeaderValue;

fn answer(status: u16, headers: &[(&'static str, &str)], body: &[u8]) -> Answer {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, HeaderValue::from_str(value).unwrap());
    }
    let status = StatusCode::from_u16(status).unwrap();
    Answer { status, headers: map, body: Bytes::copy_from_slice(body), trailers: None }
}

fn http(status: u16, headers: &[(&'static str, &str)], body: &[u8]) -> Verdict {
    judge(Protocol::HttpProtobuf, &answer(status, headers, body))
}

fn failure(verdict: Verdict) -> Failure {
    match verdict {
        Verdict::Failed(failure) => failure,
        accepted @ Verdict::Accepted { .. } => panic!("{accepted:?}"),
    }
}

#[test]
fn only_four_http_statuses_are_tried_again() {
    for status in 300..600 {
        let then = failure(http(status, &[], b"")).then;
        let expected = match status {
            429 | 502 | 503 | 504 => Then::Retry(None),
            _ => Then::Refused,
        };
        assert_eq!(then, expected, "{status}");
    }
}

#[test]
fn a_pause_is_seconds_or_a_date() {
    let pause = |text: &str| match failure(http(503, &[("retry-after", text)], b"")).then {
        Then::Retry(pause) => pause,
        other => panic!("{other:?}"),
    };
    assert_eq!(pause("7"), Some(Duration::from_secs(7)));
    assert_eq!(pause("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
    assert!(pause("Fri, 06 Nov 2893 08:49:37 GMT").unwrap() > Duration::from_hours(1));
    assert_eq!(pause("soon"), None);
    assert_eq!(pause("-1"), None);
}

#[test]
fn only_some_grpc_codes_are_tried_again() {
    let then = |code: i32, details: Vec<u8>| {
        let status = Status::with_details(Code::from_i32(code), "m", details.into());
        let (parts, ()) = status.into_http::<()>().into_parts();
        let answer = Answer { headers: parts.headers, ..answer(200, &[], b"") };
        failure(judge(Protocol::Grpc, &answer)).then
    };
    for code in 1..=16 {
        let expected = match code {
            1 | 4 | 10 | 11 | 14 | 15 => Then::Retry(None),
            _ => Then::Refused,
        };
        assert_eq!(then(code, Vec::new()), expected, "{code}");
    }
    let pause = Then::Retry(Some(Duration::from_millis(2500)));
    let details =
        messages::tests::details("type.googleapis.com/google.rpc.RetryInfo", 2, 500_000_000);
    assert_eq!(then(8, details.clone()), pause);
    assert_eq!(then(14, details.clone()), pause);
    assert_eq!(then(3, details), Then::Refused);
}

#[test]
fn a_partial_success_is_accepted() {
    let partial = messages::PartialSuccess { rejected_spans: 3, error_message: "a\x1bb".into() };
    let body = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    let verdict = http(200, &[("content-type", "application/x-protobuf")], &body);
    assert_eq!(verdict, Verdict::Accepted { rejected: 3, message: "a\\x1bb".into() });
    let nothing = Verdict::Accepted { rejected: 0, message: String::new() };
    assert_eq!(http(200, &[], b""), nothing);
    let mut framed = vec![0, 0, 0, 0, u8::try_from(body.len()).unwrap()];
    framed.extend(&body);
    let headers = [("content-type", "application/grpc"), ("grpc-status", "0")];
    let verdict = judge(Protocol::Grpc, &answer(200, &headers, &framed));
    assert_eq!(verdict, Verdict::Accepted { rejected: 3, message: "a\\x1bb".into() });
}

#[test]
fn other_answers_are_malformed() {
    let html = http(200, &[("content-type", "text/html")], b"<html>");
    let garbage = http(200, &[("content-type", "application/x-protobuf")], b"\xff\xff\xff");
    let zip = http(200, &[("content-encoding", "gzip")], b"");
    let grpc = |headers: &[(&'static str, &str)], body: &[u8]| {
        judge(Protocol::Grpc, &answer(200, headers, body))
    };
    let fine = [("content-type", "application/grpc"), ("grpc-status", "0")];
    let verdicts = [
        html,
        garbage,
        zip,
        grpc(&[("content-type", "text/html")], b""),
        grpc(&fine, b"\0\0\0\0\x09"),
        grpc(&fine, b"\x01\0\0\0\0"),
        grpc(&fine, b""),
    ];
    for verdict in verdicts {
        let failure = failure(verdict);
        assert_eq!(failure.then, Then::Malformed);
        assert!(failure.maybe_arrived && failure.reason.starts_with("unusable answer: "));
    }
    let silent = failure(grpc(&fine[..1], b""));
    assert_eq!((silent.then, silent.maybe_arrived), (Then::Retry(None), true));
}
