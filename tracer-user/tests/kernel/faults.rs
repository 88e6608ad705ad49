//! What a host can do to tracer itself: errors of the disk, limits, descriptors that are closed.
//! strace makes the errors, so that they come from the system calls that would meet them.

use std::{fs, path::Path, process::Command, thread};

use serde_json::Value;
use tracer_user::export::parquet::recover::recover;

use crate::{
    parquet::{SmallDisk, rows},
    support::{Running, Workload, all_json_lines, json, stderr, tracer_path, workload_path},
};

/// The account of the Parquet destination of a run in which a system call fails, and of which some
/// thousand calls are recorded; what is told, and the rows that are there at the end.
fn with_failing(call: &str, error: &str, from: u32) -> (Value, String, u64) {
    let folder = tempfile::tempdir().unwrap();
    let (root, books) = (folder.path().join("recording"), folder.path().join("ledger.json"));
    // Counted for each thread: the one of the destination makes nearly all of them.
    let inject = format!("inject={call}:error={error}:when={from}+");
    let export = format!("parquet={},flush-interval=1ms,rotate-interval=200ms", root.display());
    let output = Command::new("strace")
        .args(["-f", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject])
        .args([&tracer_path(), "trace", "--export", &export, "--ledger"])
        .arg(&books)
        .args(["--", &workload_path(), "now", "calls", "200000"])
        .output()
        .unwrap();
    let ledger = json(&books);
    assert_eq!(ledger["balanced"], true, "{ledger}");
    let account = ledger["destinations"]["parquet"].clone();
    assert_eq!(account["delivered"], rows(&root), "{ledger}");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    recover(&root).expect("it can be read");
    (account, stderr(&output), rows(&root))
}

#[test]
fn an_injected_error_of_the_disk_is_told_and_counted() {
    let (account, said, recovered) = with_failing("fdatasync", "EIO", 2);
    let lost = account["dropped"]["io"].as_u64().unwrap();
    assert!(lost > 0 && said.contains("Input/output error"), "{account} {said}");
    // What was written was left aside, and is whole after all.
    assert!(recovered > account["delivered"].as_u64().unwrap(), "{account}");
}

#[test]
fn an_injected_end_of_the_quota_is_told_and_counted() {
    let (account, said, _) = with_failing("write", "EDQUOT", 6);
    assert!(account["dropped"]["quota"].as_u64().unwrap() > 0, "{account} {said}");
    // What the thread says itself cannot be written either.
    let first = account["first_error"].as_str().unwrap();
    assert!(first.contains("Disk quota exceeded"), "{first}");
}

#[test]
fn a_limit_on_the_size_of_files_is_told_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (root, books) = (folder.path().join("recording"), folder.path().join("ledger.json"));
    let script = format!(
        "ulimit -f 100; exec {} trace --export parquet={},compression=none --ledger {} -- {} now \
         calls 200000",
        tracer_path(),
        root.display(),
        books.display(),
        workload_path()
    );
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("File too large"), "{}", stderr(&output));
    let ledger = json(&books);
    assert_eq!(ledger["balanced"], true, "{ledger}");
    let account = &ledger["destinations"]["parquet"];
    assert!(account["dropped"]["disk_full"].as_u64().unwrap() > 0, "{ledger}");
    assert_eq!(account["delivered"], rows(&root), "{ledger}");
}

#[test]
fn no_output_gets_the_number_of_a_closed_stream() {
    let folder = tempfile::tempdir().unwrap();
    let (lines, books) = (folder.path().join("out.jsonl"), folder.path().join("ledger.json"));
    let shown = |path: &Path| path.display().to_string();
    let (lines_text, books_text) = (shown(&lines), shown(&books));
    let script = format!(
        "exec {} trace -v --export json={lines_text} --ledger {books_text} -- echo traced \
         <&- >&- 2>&-",
        tracer_path()
    );
    let status = Command::new("sh").args(["-c", &script]).status().unwrap();
    assert_eq!(status.code(), Some(0));
    let spans = json(&books)["spans"]["spans"].as_u64().unwrap();
    assert!(spans > 0);
    assert_eq!(all_json_lines(&lines).len() as u64, spans);
}

#[test]
fn a_lack_of_descriptors_is_told_in_one_line() {
    let script = format!("ulimit -n 16; exec {} trace -- true", tracer_path());
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("Too many open files") && said.lines().count() == 1, "{said}");
}

#[test]
fn a_terminal_that_goes_away_ends_tracing_in_good_order() {
    let folder = tempfile::tempdir().unwrap();
    let books = folder.path().join("ledger.json");
    let mut workload = Workload::new(&["pace"]);
    let pid = workload.pid().to_string();
    let args = ["-p", &pid, "--export", "null", "--ledger", books.to_str().unwrap()];
    // Under nohup(1) the signal is ignored, and tracer keeps it so.
    // SAFETY: no handler is installed.
    unsafe { libc::signal(libc::SIGHUP, libc::SIG_DFL) };
    let running = Running::start(&args);
    workload.begin();
    running.signal(libc::SIGHUP);
    let (status, said) = running.finish();
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(json(&books)["balanced"], true, "{said}");
}

/// The disk fills while it traces, and has room again: no line is half, each is counted, and it goes on.
#[test]
fn a_full_disk_costs_whole_lines_of_json() {
    // More than is written meanwhile, however slow the machine is.
    let disk = SmallDisk::new("256m");
    let folder = tempfile::tempdir().unwrap();
    let (ballast, out) = (disk.0.path().join("ballast"), disk.0.path().join("out.jsonl"));
    let books = folder.path().join("ledger.json");
    let mut workload = Workload::new(&["pace"]);
    let pid = workload.pid().to_string();
    let export = format!("json={}", out.display());
    let running =
        Running::start(&["-p", &pid, "--export", &export, "--ledger", books.to_str().unwrap()]);
    workload.begin();
    // The ledger may be read while it is written.
    let account = |read: &dyn Fn(&Value) -> Option<u64>| loop {
        running.signal(libc::SIGUSR1);
        let ledger = fs::read(&books).ok().and_then(|text| serde_json::from_slice(&text).ok());
        if let Some(count) = ledger.and_then(|it: Value| read(&it["destinations"]["json"])) {
            return count;
        }
        thread::yield_now();
    };
    let delivered = || account(&|json| json["delivered"].as_u64());
    while delivered() == 0 {
        thread::yield_now();
    }
    let source = fs::File::open("/dev/zero").unwrap();
    let mut file = fs::File::create(&ballast).unwrap();
    // Ends when there is no more room.
    let _ = std::io::copy(&mut { source }, &mut file);
    while account(&|json| json["dropped"]["io"].as_u64()) == 0 {
        thread::yield_now();
    }
    let before = delivered();
    fs::remove_file(&ballast).unwrap();
    drop(file);
    while delivered() <= before {
        thread::yield_now();
    }
    running.signal(libc::SIGINT);
    running.finish();
    let text = fs::read_to_string(&out).unwrap();
    assert!(text.ends_with('\n'));
    let lines = text.lines().filter(|line| serde_json::from_str::<Value>(line).is_ok()).count();
    assert_eq!(lines, text.lines().count());
    let books = json(&books);
    let account = &books["destinations"]["json"];
    assert_eq!((&books["balanced"], &account["delivered"]), (&true.into(), &lines.into()));
}
