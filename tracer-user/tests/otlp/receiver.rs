//! The receiver in `tests/receivers/receiver.py`, as a process.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{LazyLock, Mutex},
};

use serde_json::Value;
use tempfile::TempDir;

/// The receiver that most tests share.
pub(crate) static SHARED: LazyLock<Receiver> = LazyLock::new(|| Receiver::start(None));

/// A running receiver; it ends with this process, by the end of its standard input.
pub(crate) struct Receiver {
    child: Mutex<Child>,
    stdin: Mutex<Option<ChildStdin>>,
    ports: Value,
    folder: TempDir,
}

/// What it has counted in a scenario.
#[derive(Debug)]
pub(crate) struct Account(pub(crate) Value);

impl Account {
    pub(crate) fn get(&self, name: &str) -> u64 {
        self.0[name].as_u64().unwrap()
    }
}

/// The interpreter of the environment that `cargo xtask` makes.
pub(crate) fn python() -> PathBuf {
    let made = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/python/bin/python");
    let python = std::env::var_os("TRACER_PYTHON").map_or_else(|| made.into(), PathBuf::from);
    assert!(python.exists(), "no {}: run `cargo xtask setup`", python.display());
    python
}

impl Receiver {
    pub(crate) fn start(grpc_port: Option<u16>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/receivers/receiver.py");
        let mut child = Command::new(python())
            .arg(script)
            .arg(folder.path())
            .args(grpc_port.map(|port| port.to_string()))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ports = serde_json::from_str(&line).expect("the receiver has not started");
        let stdin = Mutex::new(child.stdin.take());
        Self { child: Mutex::new(child), stdin, ports, folder }
    }

    pub(crate) fn port(&self, name: &str) -> u16 {
        self.ports[name].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap()
    }

    pub(crate) fn url(&self, name: &str) -> String {
        format!("http://127.0.0.1:{}", self.port(name))
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        Path::join(self.folder.path(), name)
    }

    pub(crate) fn account(&self, scenario: &str) -> Account {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port("http"))).unwrap();
        write!(stream, "GET /{scenario} HTTP/1.1\r\n\r\n").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        Account(serde_json::from_str(body).unwrap())
    }

    /// Kills it; nothing is left of what it counted.
    pub(crate) fn kill(self) {
        let mut child = self.child.lock().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.stdin.lock().unwrap().take());
        let mut child = self.child.lock().unwrap();
        // It may have been killed already.
        drop(child.kill());
        child.wait().unwrap();
    }
}
