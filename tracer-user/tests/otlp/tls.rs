//! Certificates, good and bad. There is no way from `https://` to an unsafe connection.

use std::time::Duration;

use tracer_user::{
    export::otlp::{OtlpExporter, TlsFiles},
    ring_buffer::{Destination, DropReason},
};

use crate::{
    receiver::SHARED,
    support::{compare, options, run, spans},
};

fn ca() -> TlsFiles {
    TlsFiles { ca: Some(SHARED.file("ca.pem")), client: None }
}

fn https(port: &str) -> String {
    format!("https://127.0.0.1:{}", SHARED.port(port))
}

#[test]
fn good_certificates_are_trusted() {
    for (port, protocol) in [("good", "http/protobuf"), ("grpc_tls", "grpc")] {
        let scenario = format!("fine/{port}");
        let variables = [("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)];
        let mut options = options(&https(port), &scenario, &variables);
        options.tls = ca();
        let delivery = run(&options, spans(100));
        compare(&delivery, &SHARED.account(&scenario));
        assert_eq!(delivery.delivered(), 100, "{port}");
    }
}

#[test]
fn bad_certificates_are_refused() {
    for (port, files, part) in [
        ("expired", ca(), "expired"),
        ("wrong_host", ca(), "not valid for name"),
        ("stranger", ca(), "UnknownIssuer"),
        // The system does not know our authority.
        ("good", TlsFiles { ca: Some(SHARED.file("stranger.pem")), client: None }, "certificate"),
        ("mutual", ca(), "CertificateRequired"),
    ] {
        let scenario = format!("fine/refused-{port}");
        let mut options = options(&https(port), &scenario, &[]);
        options.tls = files;
        options.retry.limit = Duration::from_millis(300);
        let delivery = run(&options, spans(40));
        let account = SHARED.account(&scenario);
        compare(&delivery, &account);
        assert_eq!((delivery.delivered(), account.get("requests")), (0, 0), "{port}");
        assert_eq!(delivery.dropped(DropReason::RetryExhausted), 40, "{port}");
        let error = delivery.first_error().unwrap();
        assert!(error.contains(part), "{port}: {error}");
    }
}

#[test]
fn a_receiver_that_asks_who_we_are_is_told() {
    let mut options = options(&https("mutual"), "fine/mutual", &[]);
    let client = Some((SHARED.file("client.pem"), SHARED.file("client-key.pem")));
    options.tls = TlsFiles { client, ..ca() };
    let delivery = run(&options, spans(100));
    assert_eq!(delivery.delivered(), 100, "{delivery:?}");
}

#[test]
fn a_file_that_cannot_be_used_is_named_at_the_start() {
    let mut options = options(&https("good"), "fine/no-file", &[]);
    let key = SHARED.file("ca.pem");
    options.tls = TlsFiles { client: Some((SHARED.file("client.pem"), key)), ..ca() };
    let open = |delivery| OtlpExporter::open(&options, delivery);
    let error = Destination::with_account("otlp", open).unwrap_err().to_string();
    assert!(error.contains("ca.pem"), "{error}");
}
