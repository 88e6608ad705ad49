//! A command's calls at a receiver made of the official protobuf classes.

use std::{
    io::Write,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use crate::{
    parquet::rows,
    receiver::{Receiver, python},
    support::{Running, Workload, all_json_lines, amount, json, tracer_path, workload_path},
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
        assert_eq!(all_json_lines(&lines).len() as u64, arrived.get("distinct"));
        assert!(arrived.get("distinct") > CALLS);
        assert_eq!(arrived.get("undecodable"), 0);
    }
}

/// A program with the official SDK, and what tracer sees of the program that it runs in its span.
#[test]
fn spans_of_an_instrumented_program_and_ours_are_one_trace() {
    const SCENARIO: &str = "places/sdk";
    let receiver = Receiver::start(None);
    let url = receiver.url("http");
    let client = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/receivers/client.py");
    let output = Command::new(tracer_path())
        .args(["trace", "-e", "trace=getppid", "--export", &format!("otlp={url}"), "--"])
        .arg(python())
        .args([client, &url, SCENARIO, &workload_path(), "now", "leaf", "inner", "7"])
        .env("OTEL_EXPORTER_OTLP_HEADERS", format!("x-scenario={SCENARIO}"))
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        .env_remove("TRACEPARENT")
        .output()
        .expect("tracer runs");
    assert!(output.status.success(), "{output:?}");
    let account = receiver.account(SCENARIO);
    let spans = account.0["kept"].as_array().expect("what has arrived");
    let named = |name: &str| spans.iter().filter(|span| span["name"] == name).collect::<Vec<_>>();
    let [client] = named("client")[..] else { panic!("{spans:?}") };
    let [process] = named("tracer-workload")[..] else { panic!("{spans:?}") };
    assert_eq!(process["parent_span_id"], client["span_id"]);
    let calls: Vec<_> = named("getppid")
        .into_iter()
        .filter(|call| call["parent_span_id"] == process["span_id"])
        .collect();
    assert_eq!(calls.len(), 7);
    for span in calls.into_iter().chain([process]) {
        assert_eq!(span["trace_id"], client["trace_id"]);
        assert_eq!(span["trace_state"], "client=1");
    }
}

/// A receiver is killed again and again, and another one comes in its place; the recording beside
/// it has every span all the same. `TRACER_TEST_RECEIVER_KILLS=20` takes a minute, three seconds
/// for each; without it there are few, as soon as each receiver has got something.
#[test]
fn receivers_that_are_killed_cost_no_row_of_a_recording() {
    const SCENARIO: &str = "fine/killed";
    let kills = amount("TRACER_TEST_RECEIVER_KILLS", 3);
    let life = Duration::from_secs(if kills > 3 { 3 } else { 0 });
    let folder = tempfile::tempdir().expect("a folder");
    let (recording, books) = (folder.path().join("recording"), folder.path().join("ledger"));
    let mut receiver = Receiver::start(None);
    let port = receiver.port("grpc");
    let parquet = format!("parquet={},rotate-interval=1s", recording.display());
    let otlp = format!("otlp={}", receiver.url("grpc"));
    let mut workload = Workload::new(&["pace"]);
    let running = Running::with(
        &[
            &["-p", &workload.pid().to_string(), "--export", &parquet, "--export", &otlp][..],
            &["--shutdown-timeout", "60s", "--ledger", books.to_str().expect("UTF-8")],
        ]
        .concat(),
        &[
            ("OTEL_EXPORTER_OTLP_HEADERS", &format!("x-scenario={SCENARIO}")),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ],
    );
    workload.begin();
    // At least so many, for one may take more before it is gone.
    let mut arrived = 0;
    for _ in 0..kills {
        let begun = Instant::now();
        let seen = loop {
            let seen = receiver.account(SCENARIO).get("spans");
            if seen > 0 && begun.elapsed() >= life {
                break seen;
            }
            assert!(begun.elapsed() < Duration::from_mins(1), "nothing came");
            thread::yield_now();
        };
        arrived += seen;
        receiver.kill();
        receiver = Receiver::start(Some(port));
    }
    running.signal(libc::SIGINT);
    let (status, said) = running.finish();
    assert!(matches!(status, Some(0 | 1)), "{status:?}: {said}");
    arrived += receiver.account(SCENARIO).get("spans");
    let books = json(&books);
    assert_eq!(books["balanced"], true, "{books}");
    let spans = books["spans"]["spans"].as_u64().expect("a number");
    let account = |name: &str| &books["destinations"][name];
    assert_eq!(account("parquet")["delivered"], spans, "{books}");
    assert_eq!(rows(&recording), spans);
    let number = |name: &str| account("otlp")[name].as_u64().expect("a number");
    let most = number("delivered") + number("possible_duplicates");
    assert!(number("delivered") > 0 && arrived <= most, "{arrived}: {books}");
    let told = format!(
        "{kills} receivers killed: {spans} spans, as many rows; OTLP: {} delivered, {} possible \
         duplicates, dropped: {}\n",
        number("delivered"),
        number("possible_duplicates"),
        account("otlp")["dropped"],
    );
    std::io::stderr().write_all(told.as_bytes()).expect("somewhere to say it");
}
