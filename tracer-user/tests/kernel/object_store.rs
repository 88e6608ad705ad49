//! Recordings in an object store: servers of others, from `PyPI` and npm, take them.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread,
};

use serde_json::Value;

use crate::{
    parquet::{python, readers},
    support::{json, stderr, tracer_path, workload_path},
};

const BUCKET: &str = "recordings";

/// A protocol.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    S3,
    Azure,
}

/// A server that ends with the test.
struct Server {
    kind: Kind,
    child: Child,
    port: u16,
}

impl Server {
    fn start(kind: Kind) -> Self {
        // A port that was free a moment ago.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Self { kind, child: Self::spawn(kind, port), port };
        server.wait();
        assert_eq!(server.bucket(&["create", BUCKET]), BUCKET);
        server
    }

    fn spawn(kind: Kind, port: u16) -> Child {
        let port = port.to_string();
        let mut command = match kind {
            Kind::S3 => {
                let mut command = Command::new(python().with_file_name("moto_server"));
                command.args(["-H", "127.0.0.1", "-p", &port]);
                command
            }
            Kind::Azure => {
                let azurite = "../target/node/node_modules/.bin/azurite-blob";
                let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join(azurite));
                command.args(["--blobHost", "127.0.0.1", "--blobPort", &port, "--silent"]);
                // It need not know the version that is newest.
                command.args(["--inMemoryPersistence", "--skipApiVersionCheck"]);
                command
            }
        };
        let command = command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("no server: run `cargo xtask setup`")
    }

    fn wait(&mut self) {
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(self.child.try_wait().unwrap().is_none(), "the server has ended");
            thread::yield_now();
        }
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        let url = format!("http://127.0.0.1:{}", self.port);
        match self.kind {
            Kind::S3 => command
                .env("AWS_ENDPOINT", url)
                .env("AWS_ALLOW_HTTP", "true")
                .env("AWS_ACCESS_KEY_ID", "test")
                .env("AWS_SECRET_ACCESS_KEY", "test")
                .env("AWS_REGION", "us-east-1")
                .env("AWS_DEFAULT_REGION", "us-east-1"),
            Kind::Azure => command
                .env("AZURITE_BLOB_STORAGE_URL", url)
                .env("AZURE_STORAGE_USE_EMULATOR", "true"),
        };
        command
    }

    fn url(&self, path: &str) -> String {
        let scheme = if self.kind == Kind::S3 { "s3" } else { "az" };
        format!("{scheme}://{BUCKET}{path}")
    }

    /// What `tests/parquet/bucket.py` or `container.py` says.
    fn bucket(&self, args: &[&str]) -> Value {
        let script = if self.kind == Kind::S3 { "bucket.py" } else { "container.py" };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parquet").join(script);
        let output = self.command(python()).arg(script).args(args).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn tracer(&self, args: &[&str]) -> Output {
        self.command(tracer_path()).args(args).output().unwrap()
    }

    fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Ended already in a test that stopped it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn other_readers_count_a_recording_in_s3() {
    readers_count_a_recording_in(&Server::start(Kind::S3));
}

#[test]
fn other_readers_count_a_recording_in_azurite() {
    readers_count_a_recording_in(&Server::start(Kind::Azure));
}

fn readers_count_a_recording_in(server: &Server) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (spool, books, copy) = (path("spool"), path("ledger.json"), path("copy"));
    let url = server.url("/a/b");
    let export = format!("parquet={url},rotate-interval=300ms");
    let options = ["--export", &export, "--spool", &spool, "--ledger", &books];
    let workload = ["--", &workload_path(), "now", "processes", "3", "5000"];
    let output = server.tracer(&[&["trace"], &options[..], &workload[..]].concat());
    assert_eq!(stderr(&output), "");
    let ledger = json(Path::new(&books));
    assert_eq!(ledger["balanced"], true, "{ledger}");
    let delivered = &ledger["destinations"]["parquet"]["delivered"];
    assert_eq!(delivered, &ledger["spans"]["spans"]);
    let keys = server.bucket(&["download", BUCKET, &copy]);
    let keys = keys.as_array().unwrap();
    assert!(keys.iter().all(|key| key.as_str().unwrap().starts_with("a/b/date=")), "{keys:?}");
    let found = readers("counts", &Path::new(&copy).join("a/b"));
    for reader in ["duckdb", "pyarrow", "polars"] {
        assert_eq!(&found[reader]["rows"], delivered, "{reader}");
    }
    assert_eq!(server.bucket(&["uploads", BUCKET]), 0);

    // Another file of that name must not take its place.
    let key = keys[0].as_str().unwrap();
    let spooled = tracer_user::export::parquet::upload::spool_folder(Path::new(&spool), &url)
        .join(key.strip_prefix("a/b/").unwrap());
    assert!(!spooled.exists(), "it was uploaded");
    fs::write(&spooled, b"another").unwrap();
    let output = server.tracer(&["recover", &url, "--spool", &spool]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("not uploaded: an object of that name"), "{output:?}");
    let again = path("again");
    server.bucket(&["download", BUCKET, &again]);
    assert_eq!(
        fs::read(Path::new(&again).join(key)).unwrap(),
        fs::read(Path::new(&copy).join(key)).unwrap()
    );
}

#[test]
fn other_readers_find_in_s3_later_what_was_spooled_while_it_was_away() {
    let mut server = Server::start(Kind::S3);
    server.stop();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (spool, books, copy) = (path("spool"), path("ledger.json"), path("copy"));
    let url = server.url("");
    let export = format!("parquet={url}");
    // Longer than a request is tried again, so that its failure is what ends it.
    let patience = ["--shutdown-timeout", "60s"];
    let options = ["--export", &export, "--spool", &spool, "--ledger", &books];
    let output = server.tracer(
        &[
            &["trace"],
            &patience[..],
            &options[..],
            &["--", &workload_path(), "now", "calls", "500"],
        ]
        .concat(),
    );
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let ledger = json(Path::new(&books));
    assert_eq!(ledger["balanced"], true, "{ledger}");
    let account = &ledger["destinations"]["parquet"];
    let lost = account["dropped"]["not_uploaded"].as_u64().unwrap();
    assert_eq!(
        (&account["delivered"], Value::from(lost)),
        (&Value::from(0), ledger["spans"]["spans"].clone())
    );

    server.child = Server::spawn(server.kind, server.port);
    server.wait();
    server.bucket(&["create", BUCKET]);
    let output = server.tracer(&["recover", &url, "--spool", &spool]);
    assert!(output.status.success(), "{}", stderr(&output));
    server.bucket(&["download", BUCKET, &copy]);
    assert_eq!(readers("counts", Path::new(&copy))["duckdb"]["rows"], lost);
}
