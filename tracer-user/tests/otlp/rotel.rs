//! Rotel, a collector written by others: <https://github.com/streamfold/rotel>.

use std::{
    io::{BufRead, BufReader},
    net::TcpStream,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, sync_channel},
    thread,
    time::{Duration, Instant},
};

use crate::{
    receiver::python,
    support::{options, reserved_port, run, span},
};

struct Rotel {
    child: Child,
    grpc: u16,
    http: u16,
    lines: Receiver<String>,
}

impl Drop for Rotel {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn start() -> Rotel {
    let find =
        "import rotel, os; print(os.path.join(os.path.dirname(rotel.__file__), 'rotel-agent'))";
    let found = Command::new(python()).args(["-c", find]).output().unwrap();
    let agent = String::from_utf8(found.stdout).unwrap();
    // Kept until it listens.
    let (_grpc_socket, grpc) = reserved_port();
    let (_http_socket, http) = reserved_port();
    let mut child = Command::new(agent.trim())
        .arg("start")
        .args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{grpc}")])
        .args(["--otlp-http-endpoint", &format!("127.0.0.1:{http}")])
        .args(["--exporter", "blackhole", "--debug-log", "traces"])
        .args(["--debug-log-verbosity", "detailed"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let (sender, lines) = sync_channel(1 << 16);
    let read = move || {
        for line in stdout.lines().map_while(Result::ok) {
            // The test may have seen enough.
            if sender.send(line).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("rotel".into()).spawn(read).unwrap();
    let rotel = Rotel { child, grpc, http, lines };
    let begun = Instant::now();
    for port in [grpc, http] {
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < Duration::from_mins(1), "Rotel does not listen");
            thread::yield_now();
        }
    }
    rotel
}

#[test]
fn a_collector_understands_both_protocols() {
    let rotel = start();
    for (protocol, port, name) in
        [("grpc", rotel.grpc, "/by-grpc"), ("http/protobuf", rotel.http, "/by-http")]
    {
        // It knows no zstd.
        for compression in ["none", "gzip"] {
            let variables = [
                ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
                ("OTEL_EXPORTER_OTLP_COMPRESSION", compression),
            ];
            let options = options(&format!("http://127.0.0.1:{port}"), "none/0", &variables);
            let path = format!("{name}-{compression}");
            let delivery = run(&options, (0..50).map(|n| span(n, 7, path.as_bytes())));
            assert_eq!(delivery.delivered(), 50, "{path}: {delivery:?}");
            let mut seen = 0;
            while seen < 50 {
                let line = rotel.lines.recv_timeout(Duration::from_mins(1)).unwrap();
                seen += u32::from(line.contains(&path));
            }
        }
    }
}
