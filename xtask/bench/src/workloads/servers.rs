//! Servers, with the clients that people measure them with.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use socket2::{Domain, Socket, Type};

use crate::{
    bench::Bench,
    job::{Done, Job},
    process::{self, Background},
    tracers::Target,
    worker::Took,
};

/// Requests of redis-benchmark, of an untraced server.
const REDIS_REQUESTS: u64 = 100_000;

/// A server that listens.
struct Server {
    process: Background,
    pid: u32,
    port: Port,
}

impl Server {
    /// Starts it, as a tracer's command when there is one in `under`, and waits until it accepts
    /// connections and has written its id.
    fn start(
        program: &str,
        args: &[String],
        under: &[String],
        port: Port,
        pid_file: &Path,
    ) -> Result<Self> {
        let mut words = under.iter().map(String::as_str).chain([program]);
        let mut command = Command::new(words.next().unwrap_or(program));
        command.args(words).args(args).stdin(Stdio::null()).stdout(Stdio::null());
        let mut process = Background::start(command.stderr(Stdio::null()))?;
        let pid = || process::text(pid_file).trim().parse::<u32>();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.number));
        process.until("listening", || {
            pid().is_ok() && TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
        })?;
        Ok(Self { process, pid: pid().context("the server's id")?, port })
    }

    fn target(&self) -> Target {
        Target { pid: self.pid, tree: false }
    }

    /// The server's processor time for what a client does, and what that has printed.
    fn serve(&self, client: &mut Command) -> Result<(u64, String)> {
        let before = process::cpu_time(self.pid)?;
        let name = client.get_program().to_string_lossy().into_owned();
        let output = client.stdin(Stdio::null()).output().with_context(|| name.clone())?;
        let cpu = process::cpu_time(self.pid)?.saturating_sub(before);
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            bail!("{name}: {}: {}", output.status, said.trim());
        }
        let cpu = u64::try_from(cpu.as_nanos()).unwrap_or(u64::MAX);
        Ok((cpu, String::from_utf8_lossy(&output.stdout).into_owned()))
    }
}

impl Drop for Server {
    /// A tracer whose command it is may leave it running when it is killed. Until then it is the
    /// tracer's child, so that its id is nobody else's.
    fn drop(&mut self) {
        if self.process.pid() != self.pid && self.process.is_running() {
            // At worst it has ended already.
            kill(process::id(self.pid), Signal::SIGKILL).unwrap_or(());
        }
    }
}

/// A port for a server, which nobody else is given.
struct Port {
    number: u16,
    /// Bound, but not listening: whoever sets `SO_REUSEADDR`, as servers do, can bind and listen there
    /// all the same, socket(7).
    _reserved: Socket,
}

impl Port {
    fn reserve() -> Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).context("a socket")?;
        socket.set_reuse_address(true).context("a socket")?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).context("a port")?;
        let address = socket.local_addr().context("a port")?.as_socket().context("a port")?;
        Ok(Self { number: address.port(), _reserved: socket })
    }
}

/// What so many turns took at this rate.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "nanoseconds of seconds, and positive"
)]
fn done(turns: u64, a_second: f64, cpu: u64) -> Done {
    let wall = (1e9 * turns as f64 / a_second) as u64;
    Done { turns, took: Took { cpu, wall }, calls: None }
}

struct Redis(Server);

/// redis-server without a disk, and redis-benchmark's 50 clients.
pub(super) fn redis(bench: &Bench, under: &[String]) -> Result<Box<dyn Job>> {
    let (folder, port) = (bench.new_folder()?, Port::reserve()?);
    let pid_file = folder.join("pid");
    let line = format!(
        "--port {} --bind 127.0.0.1 --save  --appendonly no --daemonize no --dir {} --pidfile {}",
        port.number,
        folder.display(),
        pid_file.display()
    );
    // `--save` with an empty word: never.
    let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let server = Server::start("redis-server", &args, under, port, &pid_file)?;
    Ok(Box::new(Redis(server)))
}

impl Job for Redis {
    fn target(&self) -> Target {
        self.0.target()
    }

    fn run(&mut self, slowness: u64) -> Result<Done> {
        let turns = REDIS_REQUESTS / slowness;
        let mut client = Command::new("redis-benchmark");
        client.args(["-p", &self.0.port.number.to_string(), "-n", &turns.to_string()]);
        client.args(["-t", "get", "--csv"]);
        let (cpu, said) = self.0.serve(&mut client)?;
        let rate = redis_rate(&said).with_context(|| format!("redis-benchmark: {said}"))?;
        Ok(done(turns, rate, cpu))
    }
}

/// Requests a second, of the line that begins with the command.
fn redis_rate(csv: &str) -> Option<f64> {
    let line = csv.lines().find_map(|line| line.strip_prefix("\"GET\",\""))?;
    line.split('"').next()?.parse().ok()
}

struct Nginx(Server);

/// nginx with one page and one process, and wrk with 16 connections.
pub(super) fn nginx(bench: &Bench, under: &[String]) -> Result<Box<dyn Job>> {
    let (folder, port) = (bench.new_folder()?, Port::reserve()?);
    fs::write(folder.join("page"), [b'x'; 1024]).context("the page")?;
    let configuration = configuration(&folder, port.number);
    let file = folder.join("nginx.conf");
    fs::write(&file, configuration).context("the configuration")?;
    let shown = |path: &Path| path.display().to_string();
    let args = ["-p".to_owned(), shown(&folder), "-c".to_owned(), shown(&file)];
    // Not on everybody's search path.
    let program = PathBuf::from("/usr/sbin/nginx");
    let program = if program.exists() { shown(&program) } else { "nginx".to_owned() };
    let server = Server::start(&program, &args, under, port, &folder.join("pid"))?;
    Ok(Box::new(Nginx(server)))
}

fn configuration(folder: &Path, port: u16) -> String {
    let folder = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {folder}/{kind}; "))
        .concat();
    format!(
        "daemon off; master_process off; pid {folder}/pid; error_log {folder}/errors crit;\n\
         events {{ worker_connections 256; }}\n\
         http {{ access_log off; {temporary}\n\
         server {{ listen 127.0.0.1:{port}; location / {{ root {folder}; }} }} }}\n"
    )
}

impl Job for Nginx {
    fn target(&self) -> Target {
        self.0.target()
    }

    fn run(&mut self, _slowness: u64) -> Result<Done> {
        let mut client = Command::new("wrk");
        client.args(["-t", "1", "-c", "16", "-d", "1s", "--timeout", "10s"]);
        client.arg(format!("http://127.0.0.1:{}/page", self.0.port.number));
        let (cpu, said) = self.0.serve(&mut client)?;
        let (turns, rate) = wrk_rate(&said).with_context(|| format!("wrk: {said}"))?;
        Ok(done(turns, rate, cpu))
    }
}

/// Requests, and how many a second.
fn wrk_rate(said: &str) -> Option<(u64, f64)> {
    let turns =
        said.lines().find_map(|line| line.split_once(" requests in ")?.0.trim().parse().ok());
    let rate =
        said.lines().find_map(|line| line.strip_prefix("Requests/sec:")?.trim().parse().ok());
    turns.zip(rate)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, net::TcpListener};

    use super::*;

    #[test]
    fn rates_are_read_from_what_clients_print() {
        let csv = "\"test\",\"rps\",\"avg_latency_ms\"\n\"GET\",\"88888.50\",\"0.3\"\n";
        assert_eq!(redis_rate(csv).map(f64::to_bits), Some(88_888.5_f64.to_bits()));
        assert_eq!(redis_rate("\"SET\",\"1\"\n"), None);
        let said = "Running 1s test\n  1 threads and 16 connections\n  45102 requests in 1.10s, 50MB \
                    read\nRequests/sec:  41001.5\nTransfer/sec: 1MB\n";
        let (turns, rate) = wrk_rate(said).unwrap();
        assert_eq!((turns, rate.to_bits()), (45_102, 41_001.5_f64.to_bits()));
        assert!(wrk_rate("unable to connect").is_none());
    }

    #[test]
    fn the_time_of_turns_follows_from_the_rate() {
        let done = done(50, 100.0, 7);
        assert_eq!((done.took.wall, done.took.cpu), (500_000_000, 7));
    }

    #[test]
    fn a_port_is_kept_for_the_server_that_it_is_for() {
        let ports: Vec<Port> = (0..100).map(|_| Port::reserve().unwrap()).collect();
        let listen = |port: &Port| TcpListener::bind((Ipv4Addr::LOCALHOST, port.number)).unwrap();
        let numbers: BTreeSet<u16> = ports.iter().map(|port| port.number).collect();
        assert_eq!(numbers.len(), ports.len());
        drop(ports.iter().map(listen).collect::<Vec<_>>());
    }
}
