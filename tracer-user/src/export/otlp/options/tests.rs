//! The variables and the URL, right and wrong.

use super::{environment::GRPC_METHOD, *};

fn options(url: Option<&str>, set: &[(&str, &str)]) -> Result<OtlpOptions, OtlpOptionError> {
    OtlpOptions::new(url, |name| {
        set.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
    })
}

fn endpoint(url: Option<&str>, set: &[(&str, &str)]) -> (String, Protocol) {
    let options = options(url, set).unwrap();
    (options.endpoint.to_string(), options.protocol)
}

const ALL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";

fn grpc(base: &str) -> (String, Protocol) {
    (format!("{base}{GRPC_METHOD}"), Protocol::Grpc)
}

fn http(url: &str) -> (String, Protocol) {
    (url.to_owned(), Protocol::HttpProtobuf)
}

#[test]
fn the_nearest_word_on_the_endpoint_counts() {
    assert_eq!(endpoint(None, &[]), http("http://localhost:4318/v1/traces"));
    assert_eq!(endpoint(None, &[(PROTOCOL, "grpc")]), grpc("http://localhost:4317"));
    let both = [(ALL, "http://all:4318/base/"), (TRACES, "http://traces:1/x")];
    assert_eq!(endpoint(None, &both[..1]), http("http://all:4318/base/v1/traces"));
    assert_eq!(endpoint(None, &both), http("http://traces:1/x"));
    assert_eq!(endpoint(Some("http://h:4317"), &both), grpc("http://h:4317"));
    assert_eq!(endpoint(Some("https://h/own"), &both), http("https://h/own"));
    assert_eq!(endpoint(None, &[(TRACES, "http://h:9")]), http("http://h:9/"));
    assert_eq!(endpoint(None, &[(TRACES, ""), (ALL, "http://h:9")]), http("http://h:9/v1/traces"));
}

#[test]
fn the_protocol_for_traces_goes_before_the_general_one() {
    let set = [(PROTOCOL, "grpc"), ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "HTTP/Protobuf")];
    assert_eq!(endpoint(Some("http://h:4317"), &set), http("http://h:4317/v1/traces"));
    assert_eq!(endpoint(Some("http://h:1"), &set[..1]), grpc("http://h:1"));
}

#[test]
fn without_a_scheme_grpc_is_safe_unless_told_otherwise() {
    let set = [(PROTOCOL, "grpc"), ("OTEL_EXPORTER_OTLP_INSECURE", "true")];
    assert_eq!(endpoint(Some("h:5"), &set), grpc("http://h:5"));
    assert_eq!(endpoint(Some("h:5"), &set[..1]), grpc("https://h:5"));
    // A scheme goes before it.
    assert_eq!(endpoint(Some("https://h:5"), &set), grpc("https://h:5"));
}

#[test]
fn what_is_assumed_is_known() {
    let assumed = |url, set: &[(&str, &str)]| {
        let assumed = options(Some(url), set).unwrap().assumed;
        (assumed.protocol, assumed.scheme)
    };
    assert_eq!(assumed("http://h:4317", &[]), (true, false));
    assert_eq!(assumed("https://h:4317", &[(PROTOCOL, "grpc")]), (false, false));
    assert_eq!(assumed("h:4317", &[]), (true, true));
    assert_eq!(assumed("h:1", &[("OTEL_EXPORTER_OTLP_INSECURE", "true")]), (true, false));
}

#[test]
fn wrong_values_are_named() {
    let message = |url, set: &[(&str, &str)]| options(url, set).unwrap_err().to_string();
    for (name, value, part) in [
        (PROTOCOL, "http/json", "unknown value `http/json`; known are grpc and http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "lz4", "gzip, zstd and none"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "`10s` is not a number of milliseconds"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "0", "above 0"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=b,c", "entry 2"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=%0a", "entry 1"),
        ("OTEL_RESOURCE_ATTRIBUTES", "=x", "entry 1"),
        (ALL, "ftp://h", "http:// or https://"),
        (ALL, "http://", "is not a URL"),
        (TRACES, "http://user:secret@h", "OTEL_EXPORTER_OTLP_HEADERS"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "k", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE is not set"),
    ] {
        let message = message(None, &[(name, value)]);
        assert!(message.contains(part), "{message}");
        assert!(!message.contains("secret"), "{message}");
        assert!(message.contains("certificate") || message.starts_with(name), "{message}");
    }
    assert!(message(Some("nonsense/x"), &[]).starts_with("--export otlp: "));
    assert!(message(Some("http://a b"), &[]).contains("`http://a b` is not a URL"));
}

#[test]
fn headers_are_decoded_and_shown_nowhere() {
    let set = [
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=no"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "Api-Key=se%20cret, x = y"),
    ];
    let options = options(None, &set).unwrap();
    assert_eq!(options.headers["api-key"], "se cret");
    assert_eq!(options.headers["x"], "y");
    assert!(!format!("{options:?} {:?}", options.headers).contains("cret"));
}

#[test]
fn the_service_name_has_its_own_variable() {
    let set = [
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=a,k=1%2C2,process.pid=7,k=3"),
        ("OTEL_SERVICE_NAME", "b"),
    ];
    let find = |options: &OtlpOptions, key: &str| {
        let found: Vec<_> = options.resource.iter().filter(|(known, _)| known == key).collect();
        assert!(found.len() <= 1, "{found:?}");
        found.first().map(|(_, value)| value.clone())
    };
    let both = options(None, &set).unwrap();
    assert_eq!(find(&both, "service.name").as_deref(), Some("b"));
    assert_eq!(find(&both, "k").as_deref(), Some("3"));
    assert_eq!(find(&both, "process.pid"), None);
    let one = options(None, &set[..1]).unwrap();
    assert_eq!(find(&one, "service.name").as_deref(), Some("a"));
    assert_eq!(find(&options(None, &[]).unwrap(), "service.name").as_deref(), Some("tracer"));
}

#[test]
fn times_files_and_compression_are_read() {
    let set = [
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1500"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/c.pem"),
        ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "/k.pem"),
    ];
    let options = options(None, &set).unwrap();
    assert_eq!(options.timeout, Duration::from_millis(1500));
    assert_eq!(options.compression, Compression::Zstd);
    assert_eq!(options.tls.ca, Some("/ca.pem".into()));
    assert_eq!(options.tls.client, Some(("/c.pem".into(), "/k.pem".into())));
}
