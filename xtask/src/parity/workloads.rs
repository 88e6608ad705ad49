//! The programs that are compared.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result, anyhow};

/// Debian packages of the programs.
pub(super) const PACKAGES: [&str; 10] = [
    "strace",
    "tar",
    "git",
    "python3",
    "gcc",
    "libc6-dev",
    "curl",
    "sqlite3",
    "openssh-client",
    "findutils",
];

/// A program and what it needs.
pub(super) struct Workload {
    pub(super) name: &'static str,
    /// A script that makes its files.
    pub(super) prepare: &'static str,
    /// The script that is traced.
    pub(super) command: &'static str,
    /// Whether there is to be a web server.
    pub(super) server: bool,
}

/// Files in folders.
const TREE: &str = "for d in a b c; do mkdir -p t/$d/sub; for f in 1 2 3 4 5 6 7 8; do \
    seq 1 $((f * 40)) > t/$d/$f; ln -s ../$f t/$d/sub/$f; done; done; chmod 600 t/a/1";
const REPOSITORY: &str = "export GIT_AUTHOR_DATE=2001-01-01T00:00:00Z \
    GIT_COMMITTER_DATE=2001-01-01T00:00:00Z; for d in a b; do mkdir $d; for f in 1 2 3 4; do seq 1 $((f * 30)) > $d/$f; \
    done; done; find . -type f -exec touch -d 2001-01-01 {} +; git init -q .; git config user.name n; git config user.email n@e; \
    git config gc.auto 0; git add .; git commit -qm one; echo more >> a/1; git commit -qam two; \
    echo changed >> b/2; find . -type f -exec touch -d 2001-01-02 {} +; git status --short";

/// Where the server listens.
const PORT: u16 = 34_180;

/// All of them.
pub(super) const WORKLOADS: [Workload; 10] = [
    workload("ls", TREE, "exec ls -lR t"),
    workload("tar", TREE, "exec tar cf out.tar t"),
    workload("git", REPOSITORY, "git status --short; git log --oneline; git diff"),
    workload(
        "python",
        "",
        "exec /usr/bin/python3 -B -c 'import json, random; print(json.dumps([1]))'",
    ),
    workload(
        "gcc",
        "printf '#include <stdio.h>\\nint main(void){puts(\"x\");return 0;}\\n' > x.c",
        "exec gcc -O1 -o x x.c",
    ),
    Workload {
        server: true,
        ..workload("curl", "seq 1 2000 > page", "exec curl -s http://127.0.0.1:34180/page")
    },
    workload(
        "sqlite3",
        "",
        "exec sqlite3 x.db 'create table t(a, b); insert into t values(1, 2), (3, 4); \
         create index i on t(a); select sum(b) from t; vacuum;'",
    ),
    workload("ssh-keygen", "", "exec ssh-keygen -q -t ed25519 -N '' -C c -f key"),
    workload("find", TREE, "exec find t -type f -size +0 -name '[1-4]' -newermt 2001-01-01"),
    workload("pipeline", TREE, "cat t/a/8 | sort | uniq -c | sort -rn | head -n 5 | wc -l"),
];

const fn workload(name: &'static str, prepare: &'static str, command: &'static str) -> Workload {
    Workload { name, prepare, command, server: false }
}

/// A web server with one page.
pub(super) struct Server {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

/// Serves the file `page` of a folder to one after the other.
pub(super) fn serve(place: &Path) -> Result<Server> {
    let page = std::fs::read(place.join("page")).context("the page to serve")?;
    let listener = TcpListener::bind(("127.0.0.1", PORT)).context("the server's port")?;
    let ends = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&ends);
    let thread = thread::Builder::new().name("web-server".to_owned()).spawn(move || {
        for stream in listener.incoming() {
            if seen.load(Ordering::Relaxed) {
                break;
            }
            answer(stream?, &page)?;
        }
        Ok(())
    })?;
    Ok(Server { ends, thread: Some(thread) })
}

fn answer(mut stream: TcpStream, page: &[u8]) -> Result<()> {
    let mut request = Vec::new();
    let mut chunk = [0; 1024];
    while !request.ends_with(b"\r\n\r\n") {
        let len = stream.read(&mut chunk)?;
        if len == 0 {
            return Ok(());
        }
        request.extend(chunk.get(..len).unwrap_or_default());
    }
    let head = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", page.len());
    // In one piece, so that it is read in one.
    stream.write_all(&[head.as_bytes(), page].concat())?;
    Ok(())
}

impl Server {
    /// Ends it, and says what went wrong.
    pub(super) fn stop(&mut self) -> Result<()> {
        self.ends.store(true, Ordering::Relaxed);
        // Wakes the thread; whether it still listens does not matter.
        drop(TcpStream::connect(("127.0.0.1", PORT)));
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.join().map_err(|_| anyhow!("the web server panicked"))?
    }
}
