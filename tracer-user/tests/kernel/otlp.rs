//! A command's calls at a receiver made of the official protobuf classes.

use std::process::Command;

use crate::{
    receiver::Receiver,
    support::{json, json_lines, tracer_path, workload_path},
};

#[test]
fn every_call_of_a_command_arrives() {
    const CALLS: u64 = 20_000;
    let receiver = Receiver::start(None);
    for (port, protocol) in [("grpc", "grpc"), ("http", "http/protobuf")] {
        let folder = tempfile::tempdir().expect("a folder");
        let (lines, ledger) = (folder.path().join("calls"), folder.path().join("ledger"));
        let scenario = format!("fine/kernel-{port}");
        let output = Command::new(tracer_path())
            .args(["trace", "--export", &format!("otlp={}", receiver.url(port))])
            .args(["--export", &format!("json={}", lines.display())])
            .args(["--ledger", ledger.to_str().expect("UTF-8")])
            .args(["--", &workload_path(), "now", "calls", &CALLS.to_string()])
            .env("OTEL_EXPORTER_OTLP_HEADERS", format!("x-scenario={scenario}"))
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
            .output()
            .expect("tracer runs");
        assert!(output.status.success(), "{output:?}");
        let books = json(&ledger);
        assert_eq!(books["balanced"], true, "{books}");
        let account = &books["destinations"]["otlp"];
        let arrived = receiver.account(&scenario);
        assert_eq!(account["delivered"], books["spans"]["spans"], "{books}");
        assert_eq!(account["delivered"], arrived.get("distinct"), "{arrived:?}");
        assert_eq!(json_lines(&lines).len() as u64, arrived.get("distinct"));
        assert!(arrived.get("distinct") > CALLS);
        assert_eq!(arrived.get("undecodable"), 0);
    }
}
