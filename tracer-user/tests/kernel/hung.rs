//! Beside a file system whose daemon does not answer, and a name service that does not either: what
//! others do is told all the same, by each destination, before anybody answers.

use std::{
    collections::BTreeSet,
    ffi::CString,
    fs::{self, File},
    io::{self, BufRead, BufReader, Write},
    os::unix::{ffi::OsStrExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    ptr, thread,
    time::{Duration, Instant},
};

use nix::{
    sched::{CloneFlags, setns, unshare},
    sys::stat::Mode,
    unistd::mkfifo,
};
use regex::Regex;
use serde_json::Value;
use tempfile::TempDir;

#[cfg(feature = "receiver-tests")]
use crate::receiver::Receiver;
use crate::{
    parquet::rows,
    support::{
        Running, all_json_lines, fewer_in_guests, json, skipped, tracer_path, workload_path,
    },
};

/// Calls that the program beside makes in a round, see `hung::beside` of the workload.
const CALLS: [&str; 7] = ["lseek", "fcntl", "dup", "close", "openat", "read", "close"];
/// Those of them that have the descriptor of the file on the mount.
const ON_THE_MOUNT: [&str; 3] = ["lseek", "fcntl", "dup"];
/// Far longer than a record is on its way, however slow the machine is.
const LONGEST: Duration = Duration::from_mins(1);

/// How the daemon ceases to answer.
#[derive(Clone, Copy, Debug)]
enum Silence {
    /// It is stopped: a caller that is killed gives its request up.
    Stopped,
    /// It takes requests and keeps them: no caller can even be killed.
    Taking,
}

/// A program that says when it has done a step, and is told to do the next. Killed at the end.
struct Program {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Program {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, input, output: BufReader::new(output) }
    }

    fn id(&self) -> u32 {
        self.child.id()
    }

    fn wait_for(&mut self, step: &str) {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), step);
    }

    /// Lets it do the next step.
    fn go_on(&mut self) {
        self.input.write_all(b"\n").unwrap();
    }

    /// Waits until it waits to be told.
    fn wait_until_it_waits(&self) {
        let start = format!("{} 0x0 ", libc::SYS_read);
        let path = format!("/proc/{}/syscall", self.id());
        wait_until(|| fs::read_to_string(&path).is_ok_and(|text| text.starts_with(&start)));
    }

    fn signal(&self, signal: i32) {
        // SAFETY: our own child, not yet waited for.
        assert_eq!(unsafe { libc::kill(self.id().cast_signed(), signal) }, 0);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_until(condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < LONGEST, "waited in vain");
        thread::yield_now();
    }
}

/// A mount that ceases to answer, and programs on it and beside it. The fields are dropped in this
/// order: without a daemon all calls fail, and who waits in one can end.
struct Hung {
    daemon: Program,
    /// Has threads that are blocked in calls on the mount.
    callers: Program,
    /// Goes on.
    beside: Program,
    /// Runs a program of the mount.
    from_mount: Program,
    /// Has its command line there.
    arguments: Program,
    place: TempDir,
}

impl Hung {
    /// All is there, and the daemon has begun to be silent. `None` where there is no such file
    /// system.
    fn new(silence: Silence, rounds: u64) -> Option<Self> {
        if !Path::new("/dev/fuse").exists() {
            skipped("there is no /dev/fuse");
            return None;
        }
        let place = tempfile::tempdir().unwrap();
        let (mount, other) = (place.path().join("mount"), place.path().join("other"));
        fs::create_dir(&mount).unwrap();
        fs::write(&other, "x").unwrap();
        let (mount, other) = (mount.to_str().unwrap(), other.to_str().unwrap());
        let workload = workload_path();
        let mut daemon =
            Program::start(Command::new(&workload).args(["now", "serve-files", mount]));
        daemon.wait_for("mounted");
        let start = |program: &str, args: &[&str]| {
            Program::start(inside(Command::new(program).args(args), &daemon))
        };
        let rounds = rounds.to_string();
        let mut hung = Self {
            callers: start(&workload, &["now", "hung-callers", mount]),
            beside: start(&workload, &["now", "hung-beside", mount, other, &rounds]),
            from_mount: start(&format!("{mount}/program"), &["wait", "calls", "1"]),
            arguments: start(&workload, &["now", "hung-arguments", mount]),
            daemon,
            place,
        };
        for program in [&mut hung.callers, &mut hung.beside, &mut hung.arguments] {
            program.wait_for("ready");
        }
        hung.from_mount.wait_until_it_waits();
        hung.arguments.wait_until_it_waits();
        hung.daemon.signal(match silence {
            Silence::Stopped => libc::SIGSTOP,
            Silence::Taking => libc::SIGUSR1,
        });
        hung.block_some();
        Some(hung)
    }

    fn mount(&self) -> PathBuf {
        self.place.path().join("mount")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// The programs to trace, for `-p`.
    fn pids(&self) -> String {
        let all = [&self.callers, &self.beside, &self.from_mount, &self.arguments];
        all.map(|program| program.id().to_string()).join(",")
    }

    /// More threads make calls that wait for the daemon.
    fn block_some(&mut self) {
        self.callers.go_on();
        self.callers.wait_for("blocked");
    }

    /// The program beside makes its calls, to the last.
    fn go_on_beside(&mut self) {
        self.beside.go_on();
        self.beside.wait_for("done");
    }
}

/// The command is started where the mount can be seen.
fn inside<'a>(command: &'a mut Command, daemon: &Program) -> &'a mut Command {
    let namespace = File::open(format!("/proc/{}/ns/mnt", daemon.id())).unwrap();
    let enter = move || Ok(setns(&namespace, CloneFlags::CLONE_NEWNS)?);
    // SAFETY: makes one system call.
    unsafe { command.pre_exec(enter) }
}

/// How often each call of the program beside is among these; all of them whole, and with the file
/// that is meant.
fn check_calls(spans: &[Value], data: &Path, rounds: u64) {
    for name in CALLS {
        let named: Vec<_> = spans.iter().filter(|span| span["name"] == name).collect();
        let a_round = CALLS.iter().filter(|call| **call == name).count() as u64;
        // It reads from standard input, too.
        assert!(named.len() as u64 >= rounds * a_round, "{name}: {}", named.len());
        for span in named {
            let call = &span["syscall"];
            let is_told = call["record"] == "complete" || call["reason"] != "none";
            assert!(is_told && span["executable"].is_string(), "{span}");
            let path = &call["args"][0]["file"]["path"];
            assert!(!ON_THE_MOUNT.contains(&name) || *path == data.to_str().unwrap(), "{span}");
        }
    }
}

/// The spans of a process that have been written to a file of JSON lines.
fn spans_of(process: u32, path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    // The last one may be on its way.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let spans = whole.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    spans.filter(|span| span["pid"] == process).collect()
}

/// Waits until text and JSON have all that the program has done beside `folder`.
fn wait_for_calls(process: u32, (text, lines): (&Path, &Path), folder: &Path, rounds: u64) {
    let data = folder.join("data");
    let all = rounds * ON_THE_MOUNT.len() as u64;
    wait_until(|| {
        let told = fs::read_to_string(text).unwrap_or_default();
        lines_on_the_mount(&told, &data) as u64 >= all
    });
    wait_until(|| {
        let spans = spans_of(process, lines);
        spans.iter().filter(|span| span["name"] == "close").count() as u64 >= 2 * rounds
    });
    check_calls(&spans_of(process, lines), &data, rounds);
}

/// How many lines of the text tell of a call with the file on the mount.
fn lines_on_the_mount(text: &str, data: &Path) -> usize {
    let starts = ON_THE_MOUNT.map(|name| format!(" {name}("));
    let file = format!("<{}>", data.display());
    let lines = text.lines().filter(|line| starts.iter().any(|start| line.contains(start)));
    lines.filter(|line| line.contains(&file)).count()
}

/// Traces all of them by this command, which runs tracer, into these destinations and text, JSON
/// and Parquet; returns the ledger. Nobody has been answered when it returns.
fn trace(hung: &mut Hung, command: &mut Command, rounds: u64, others: &[&str]) -> Value {
    let [text, lines, recording, books] =
        ["text", "json", "recording", "books"].map(|name| hung.file(name));
    let [to_text, to_json, to_parquet] =
        [("text", &text), ("json", &lines), ("parquet", &recording)]
            .map(|(kind, path)| format!("{kind}={}", path.display()));
    let pids = hung.pids();
    let mut args = vec!["-yy", "-p", &pids, "--ledger", books.to_str().unwrap()];
    for target in [&*to_text, &*to_json, &*to_parquet].iter().chain(others) {
        args.extend(["--export", target]);
    }
    let running = Running::by(inside(command, &hung.daemon), &args);
    hung.block_some();
    hung.go_on_beside();
    wait_for_calls(hung.beside.id(), (&text, &lines), &hung.mount(), rounds);
    running.signal(libc::SIGINT);
    let (status, said) = running.finish();
    assert_eq!(status, Some(0), "{said}");
    let books = json(&books);
    assert_eq!(books["balanced"], true, "{books}");
    assert_eq!(rows(&recording), books["spans"]["spans"].as_u64().unwrap());
    check_others(hung, &all_json_lines(&lines));
    books
}

/// Those that hang are told of too: what they are, and in which calls.
fn check_others(hung: &Hung, spans: &[Value]) {
    let of = |program: &Program, reason: &str| {
        let mine = spans.iter().filter(|span| span["pid"] == program.id());
        mine.filter(|span| span["syscall"]["reason"] == reason).count()
    };
    // Of each lot five threads, and the first one.
    assert_eq!(of(&hung.callers, "running_at_attach"), 6);
    assert!(of(&hung.callers, "unfinished") >= 5);
    let process = |program: &Program| {
        let is_it = |span: &&Value| span["pid"] == program.id() && span["syscall"].is_null();
        spans.iter().find(is_it).unwrap()
    };
    let from_mount = process(&hung.from_mount);
    assert_eq!(from_mount["executable"], hung.mount().join("program").to_str().unwrap());
    assert!(process(&hung.callers)["executable"].is_string());
    assert_eq!(process(&hung.arguments)["attributes"]["process.command_args"], Value::Null);
}

#[test]
fn a_file_system_that_does_not_answer_holds_up_nobody() {
    let rounds = fewer_in_guests(200);
    for silence in [Silence::Stopped, Silence::Taking] {
        let Some(mut hung) = Hung::new(silence, rounds) else { return };
        trace(&mut hung, &mut Command::new(tracer_path()), rounds, &[]);
    }
}

#[cfg(feature = "receiver-tests")]
#[test]
fn a_receiver_gets_all_beside_a_file_system_that_does_not_answer() {
    const SCENARIO: &str = "fine/hung";
    let rounds = fewer_in_guests(200);
    let receiver = Receiver::start(None);
    let Some(mut hung) = Hung::new(Silence::Stopped, rounds) else { return };
    let url = receiver.url("http");
    let mut command = Command::new(tracer_path());
    command.env("OTEL_EXPORTER_OTLP_HEADERS", format!("x-scenario={SCENARIO}"));
    command.env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
    let books = trace(&mut hung, &mut command, rounds, &[&format!("otlp={url}")]);
    let arrived = receiver.account(SCENARIO).get("distinct");
    assert_eq!(books["destinations"]["otlp"]["delivered"], arrived, "{books}");
    assert_eq!(books["spans"]["spans"], arrived, "{books}");
}

/// What tracer may ask of a traced process, as docs/scope.md has it.
const ASKED: &str = r"^/proc/\d+/(status|stat|task|task/\d+/stat|cgroup)$";

/// No file of a traced process is opened or looked at, and none that could lead to one.
#[test]
fn no_file_of_a_traced_process_is_looked_at() {
    const CALLS: &str = "trace=%file,open_by_handle_at,process_vm_readv,ptrace,pidfd_getfd";
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        return skipped("there is no strace");
    }
    let rounds = fewer_in_guests(200);
    let Some(mut hung) = Hung::new(Silence::Stopped, rounds) else { return };
    let log = hung.file("strace.log");
    // `-D`: tracer is this process's child, and strace is not.
    let mut strace = Command::new("strace");
    strace.args(["-D", "-f", "-e", CALLS, "-o"]).arg(&log).arg(tracer_path());
    trace(&mut hung, &mut strace, rounds, &[]);
    let log = fs::read_to_string(log).unwrap();
    let (quoted, asked) = (Regex::new(r#""([^"]*)""#).unwrap(), Regex::new(ASKED).unwrap());
    let others = Regex::new(r"^/proc/\d").unwrap();
    // The first line is the start of tracer itself.
    let lines: Vec<_> = log.lines().skip(1).collect();
    let paths: BTreeSet<_> = lines
        .iter()
        .flat_map(|line| quoted.captures_iter(line).map(|path| path.extract::<1>().1[0]))
        .collect();
    let own = fs::canonicalize(workload_path()).unwrap();
    let traced = [hung.mount(), hung.file("other"), own, workload_path().into()];
    for path in &paths {
        let is_of_a_file = traced.iter().any(|traced| Path::new(path).starts_with(traced));
        assert!(!is_of_a_file, "{path}");
        assert!(!others.is_match(path) || asked.is_match(path), "{path}");
    }
    for call in ["process_vm_readv(", "ptrace(", "pidfd_getfd("] {
        assert!(!lines.iter().any(|line| line.contains(call)), "{call}");
    }
    // So much strace has seen at least.
    let status = format!("/proc/{}/status", hung.callers.id());
    assert!(paths.contains(&*status) && paths.contains(hung.file("text").to_str().unwrap()));
}

/// The command runs where the files by which users and hosts are found are pipes that nobody writes
/// to.
fn without_name_service<'a>(command: &'a mut Command, pipe: &Path) -> &'a mut Command {
    let pipe = CString::new(pipe.as_os_str().as_bytes()).unwrap();
    let hide = move || {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let null = ptr::null();
        let mount = |source: *const _, target: *const _, flags| {
            // SAFETY: strings that end, and null.
            let failed = unsafe { libc::mount(source, target, null, flags, null.cast()) };
            if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        };
        mount(c"none".as_ptr(), c"/".as_ptr(), libc::MS_REC | libc::MS_PRIVATE)?;
        mount(pipe.as_ptr(), c"/etc/nsswitch.conf".as_ptr(), libc::MS_BIND)?;
        mount(pipe.as_ptr(), c"/etc/passwd".as_ptr(), libc::MS_BIND)
    };
    // SAFETY: makes system calls only.
    unsafe { command.pre_exec(hide) }
}

/// Whether a thread of the process with this name is blocked in `openat`.
fn is_opening(process: u32, name: &str) -> bool {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let start = format!("{} ", libc::SYS_openat);
    tasks.filter_map(Result::ok).any(|task| {
        let read = |file| fs::read_to_string(task.path().join(file)).unwrap_or_default();
        read("comm").trim_end() == name && read("syscall").starts_with(&start)
    })
}

/// Neither the list of users nor the address of a receiver is to be had. Users stay numbers, and the
/// other destinations have all.
#[test]
fn a_name_service_that_does_not_answer_holds_up_nobody() {
    if ["/etc/passwd", "/etc/nsswitch.conf"].iter().any(|path| !Path::new(path).exists()) {
        return skipped("there is no /etc/nsswitch.conf");
    }
    let rounds = fewer_in_guests(200);
    let place = tempfile::tempdir().unwrap();
    let file = |name: &str| place.path().join(name);
    let (pipe, text, lines, books) = (file("pipe"), file("text"), file("json"), file("books"));
    let recording = file("recording");
    mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    fs::write(file("data"), "x").unwrap();
    let (rounds_text, data) = (rounds.to_string(), file("data"));
    let args = [place.path().to_str().unwrap(), data.to_str().unwrap(), &rounds_text];
    let mut command = Command::new(workload_path());
    let mut beside = Program::start(command.args(["now", "hung-beside"]).args(args));
    beside.wait_for("ready");
    let pid = beside.id().to_string();
    let [to_text, to_json, to_parquet] =
        [("text", &text), ("json", &lines), ("parquet", &recording)]
            .map(|(kind, path)| format!("{kind}={}", path.display()));
    let mut args = vec!["-yy", "-p", &pid, "--ledger", books.to_str().unwrap()];
    for target in ["otlp=http://receiver.invalid:4318", &to_text, &to_json, &to_parquet] {
        args.extend(["--export", target]);
    }
    args.extend(["--shutdown-timeout", "1s"]);
    let running = Running::by(without_name_service(&mut Command::new(tracer_path()), &pipe), &args);
    beside.go_on();
    beside.wait_for("done");
    wait_for_calls(beside.id(), (&text, &lines), place.path(), rounds);
    wait_until(|| is_opening(running.pid(), "tracer-users"));
    wait_until(|| is_opening(running.pid(), "tracer-otlp-dns"));
    running.signal(libc::SIGINT);
    let (status, said) = running.finish();
    // One destination has failed, or was left behind before it could say so.
    assert!(matches!(status, Some(0 | 1)), "{status:?}: {said}");
    let books = json(&books);
    assert_eq!(books["balanced"], true, "{books}");
    let spans = &books["spans"]["spans"];
    for name in ["text", "json", "parquet"] {
        assert_eq!(&books["destinations"][name]["delivered"], spans, "{books}");
    }
    assert_eq!(books["destinations"]["otlp"]["delivered"], 0, "{books}");
    assert_eq!(rows(&recording), spans.as_u64().unwrap());
    for span in all_json_lines(&lines) {
        assert!(span["uid"].is_number() && span["user"].is_null(), "{span}");
    }
}
