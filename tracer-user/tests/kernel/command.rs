//! `tracer trace -- COMMAND`, signals, files.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::{Command, Stdio},
};

use nix::unistd::{Uid, User};
use serde_json::Value;

use crate::{
    arch::PAUSE,
    support::{
        Running, Workload, all_json_lines, json, json_lines, rounds, skipped, stderr, tracer,
        tracer_path, workload_path,
    },
};

fn names(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["name"].as_str().unwrap()).collect()
}

#[test]
fn a_command_is_traced_from_its_exec_to_its_exit() {
    let folder = tempfile::tempdir().unwrap();
    let (out, books) = (folder.path().join("out.jsonl"), folder.path().join("ledger.json"));
    let export = format!("json={}", out.display());
    let ledger = books.to_str().unwrap();
    let output = tracer(&["--export", &export, "--ledger", ledger, "--", "cat", "/etc/hostname"]);
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
    assert_eq!(output.stdout, fs::read("/etc/hostname").unwrap());
    let lines = json_lines(&out);
    let names = names(&lines);
    assert_eq!((names[0], names[names.len() - 1]), ("execve", "exit_group"));
    let open = lines
        .iter()
        .find(|line| line["syscall"]["args"][1]["text"] == "/etc/hostname")
        .expect("the open of the file");
    let fd = open["syscall"]["ret"].as_i64().unwrap();
    assert!(open["name"] == "openat" && fd >= 3);
    let of_file = |line: &&Value| line["syscall"]["args"][0]["value"] == fd;
    assert!(lines.iter().filter(of_file).any(|line| line["name"] == "read"));
    assert!(
        lines
            .iter()
            .any(|line| { line["name"] == "write" && line["syscall"]["args"][0]["text"] == "1" })
    );
    let exit = &lines[lines.len() - 1]["syscall"];
    assert_eq!((&exit["record"], &exit["ret"]), (&"enter_only".into(), &Value::Null));
    assert!(lines.iter().all(|line| line["comm"] == "cat"));
    let ledger = json(&books);
    assert_eq!(ledger["balanced"], true);
    assert_eq!(ledger["destinations"]["json"]["delivered"], lines.len() + 1);
    let all = all_json_lines(&out);
    // The span of the process comes when it has ended.
    let process = all.last().expect("a span");
    assert_eq!((&process["name"], &process["syscall"]), (&"cat".into(), &Value::Null));
    assert_eq!(process["attributes"]["process.exit.code"], 0);
    assert!(lines.iter().all(|line| line["parent_span_id"] == process["span_id"]));
}

#[test]
fn the_commands_exit_status_is_passed_on() {
    let status = |script: &str| {
        tracer(&["--export", "null", "--", "sh", "-c", script]).status.code().unwrap()
    };
    assert_eq!(status("exit 0"), 0);
    assert_eq!(status("exit 7"), 7);
    assert_eq!(status("kill -TERM $$"), 143);
    assert_eq!(status("kill -KILL $$"), 137);
    // The kernel side sees the end long before the status is there.
    let megabytes = rounds(300, 20).to_string();
    let big = ["--export", "null", "--", &workload_path(), "now", "big", &megabytes, "7"];
    let big = tracer(&big);
    assert_eq!(big.status.code(), Some(7));
}

#[test]
fn a_command_that_does_not_run_says_why() {
    let output = tracer(&["--", "no-such-command-here"]);
    assert_eq!(output.status.code(), Some(127));
    assert_eq!(stderr(&output), "tracer: no-such-command-here: command not found\n");
    let output = tracer(&["--", "/etc"]);
    assert_eq!(output.status.code(), Some(126));
    let folder = tempfile::tempdir().unwrap();
    let garbage = folder.path().join("garbage");
    fs::write(&garbage, b"\x7fELFnot").unwrap();
    let output = tracer(&["--", garbage.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(126));
    let expected = format!("tracer: {}: Permission denied\n", garbage.display());
    assert_eq!(stderr(&output), expected);
    fs::set_permissions(&garbage, fs::Permissions::from_mode(0o755)).unwrap();
    let output = tracer(&["--export", "null", "--", garbage.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(126), "{}", stderr(&output));
    assert!(stderr(&output).contains("Exec format error"), "{}", stderr(&output));
}

#[test]
fn through_sudo_the_command_runs_as_the_invoking_user() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.txt");
    let output = Command::new(tracer_path())
        .args(["trace", "-o", out.to_str().unwrap(), "--", "id", "-u"])
        .env("SUDO_UID", "65534")
        .env("SUDO_GID", "65534")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "65534\n", "{}", stderr(&output));
    let file = fs::metadata(&out).unwrap();
    assert_eq!((file.uid(), file.gid(), file.mode() & 0o777), (65534, 65534, 0o600));
}

#[test]
fn through_sudo_the_command_has_the_environment_of_the_invoking_user() {
    let output = Command::new(tracer_path())
        .args(["trace", "--export", "null", "--", "env"])
        .envs([("SUDO_UID", "65534"), ("SUDO_GID", "65534"), ("KEPT", "yes")])
        .envs([("HOME", "/root"), ("USER", "root"), ("LOGNAME", "root")])
        .envs([("SHELL", "/bin/of-root"), ("MAIL", "/var/mail/root")])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let value = |name: &str| {
        let mut values = text.lines().filter_map(|line| line.strip_prefix(&format!("{name}=")));
        let value = values.next().map(str::to_owned);
        assert_eq!(values.next(), None, "{text}");
        value
    };
    let user = User::from_uid(Uid::from_raw(65534)).unwrap();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    assert_eq!(value("HOME"), user.as_ref().map(|user| path(&user.dir)));
    assert_eq!(value("USER"), user.as_ref().map(|user| user.name.clone()));
    assert_eq!(value("LOGNAME"), user.as_ref().map(|user| user.name.clone()));
    assert_eq!(value("SHELL"), user.as_ref().map(|user| path(&user.shell)));
    assert_eq!((value("MAIL"), value("KEPT")), (None, Some("yes".to_owned())));
}

#[test]
fn a_command_that_is_not_found_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.txt");
    let command = ["trace", "-o", out.to_str().unwrap(), "--", "no-such-command-here"];
    let output = Command::new(tracer_path())
        .args(command)
        .envs([("SUDO_UID", "65534"), ("SUDO_GID", "65534")])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(127));
    let said = stderr(&output);
    assert!(said.contains("command not found in the PATH that sudo sets"), "{said}");
    assert_eq!((said.lines().count(), out.exists()), (1, false));
}

/// What a shell makes of `-o >(command)`.
#[test]
fn an_inherited_descriptor_can_be_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.txt");
    let script =
        format!("exec 7>'{}'; exec {} trace -o /dev/fd/7 -- true", out.display(), tracer_path());
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(fs::read_to_string(&out).unwrap().contains("exit_group(0) = ?"));
}

#[test]
fn times_are_those_of_the_zone_that_tz_names() {
    const ZONE: &str = "Asia/Tokyo";
    if !Path::new("/usr/share/zoneinfo").join(ZONE).exists() {
        return skipped("times by the name of a zone: this host has no database of zones");
    }
    let hour = || {
        let date = Command::new("date").arg("+%H:").env("TZ", ZONE).output().unwrap();
        String::from_utf8(date.stdout).unwrap().trim().to_owned()
    };
    let before = hour();
    let output = Command::new(tracer_path())
        .args(["trace", "-e", "execve", "--", "true"])
        .env("TZ", ZONE)
        .output()
        .unwrap();
    let (said, after) = (stderr(&output), hour());
    assert!(said.starts_with(&before) || said.starts_with(&after), "{before} {after} {said}");
}

#[test]
fn text_reads_like_strace() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.txt");
    let output = tracer(&["-o", out.to_str().unwrap(), "--", "cat", "/etc/hostname"]);
    assert!(output.status.success());
    let text = fs::read_to_string(&out).unwrap();
    assert!(text.contains("openat(AT_FDCWD, \"/etc/hostname\", "), "{text}");
    assert!(text.trim_end().ends_with("+++ exited with 0 +++"), "{text}");
    assert!(text.contains("exit_group(0) = ?\n"), "{text}");
    assert!(!text.contains('\x1b'), "no colours in a file");
}

#[test]
fn an_interrupt_ends_tracing_and_shows_what_was_still_running() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.jsonl");
    let mut workload = Workload::new(&["hang"]);
    let pid = workload.pid().to_string();
    let export = format!("json={}", out.display());
    let calls = format!("{},read", PAUSE.0);
    let running = Running::start(&["-p", &pid, "-e", &calls, "--export", &export]);
    workload.begin();
    while !fs::read_to_string(&out).unwrap().contains("\"name\":\"read\"") {
        std::thread::yield_now();
    }
    let pause = PAUSE.1.to_string();
    while !fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap().starts_with(&pause) {
        std::thread::yield_now();
    }
    running.signal(libc::SIGINT);
    let (status, said) = running.finish();
    assert_eq!(status, Some(0), "{said}");
    let lines = json_lines(&out);
    let last = &lines[lines.len() - 1];
    assert_eq!(
        (&last["name"], &last["syscall"]["reason"]),
        (&PAUSE.0.into(), &"unfinished".into())
    );
}

#[test]
fn sigusr1_writes_the_ledger_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let books = folder.path().join("ledger.json");
    let running =
        Running::start(&["--export", "null", "-e", "none", "--ledger", books.to_str().unwrap()]);
    running.signal(libc::SIGUSR1);
    while fs::read_to_string(&books).unwrap().is_empty() {
        std::thread::yield_now();
    }
    running.signal(libc::SIGTERM);
    let (status, said) = running.finish();
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(json(&books)["balanced"], true);
}

#[test]
fn a_duration_ends_tracing() {
    let output = tracer(&["--duration", "50ms", "--export", "null"]);
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
}

#[test]
fn loss_can_be_made_an_error() {
    let program = workload_path();
    let calls = rounds(200_000, 10_000).to_string();
    let workload = [program.as_str(), "now", "processes", "4", &calls];
    let mut args = vec!["--ring-size", "4KiB", "--export", "null", "--fail-on-loss", "--"];
    args.extend(workload);
    let output = tracer(&args);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(said.contains("tracer: lost ") && said.contains("the kernel ring was full"), "{said}");
    let output = tracer(&["--export", "null", "--fail-on-loss", "--", "true"]);
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
}

/// Every destination has it, and it adds up to what the ledger counts.
#[test]
fn a_loss_is_told_where_it_happened() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (text, lines, books) = (file("text"), file("json"), file("books"));
    let (program, calls) = (workload_path(), rounds(200_000, 10_000).to_string());
    let output = tracer(&[
        "--ring-size",
        "4KiB",
        "-e",
        "getppid",
        "-o",
        &text,
        "--export",
        &format!("json={lines}"),
        "--ledger",
        &books,
        "--",
        &program,
        "now",
        "processes",
        "4",
        &calls,
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    let books = json(Path::new(&books));
    let kernel = |name: &str| books["kernel"][name].as_u64().unwrap();
    assert_eq!((&books["balanced"], kernel("reserve_failed") > 0), (&true.into(), true));
    let lost: Vec<Value> = all_json_lines(Path::new(&lines))
        .into_iter()
        .filter(|line| !line["lost"].is_null())
        .collect();
    let sum = |name: &str| lost.iter().map(|it| it["lost"][name].as_u64().unwrap()).sum::<u64>();
    assert_eq!(sum("calls"), kernel("reserve_failed"));
    assert_eq!(sum("others"), kernel("lifecycle_reserve_failed") + kernel("signal_reserve_failed"));
    assert_eq!(lost.len() as u64, books["spans"]["losses"].as_u64().unwrap());
    let text = fs::read_to_string(text).unwrap();
    let told = text.lines().filter(|line| line.contains(" --- lost "));
    assert_eq!(told.count(), lost.len());
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let tracer = tracer_path();
    let script = format!("{tracer} trace --export json=- -- ls / 3>&1 >/dev/null | head -n 1");
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert_eq!(stderr(&output), "");
    let script = format!("{tracer} trace --export json=- -- sh -c 'ls -lR /usr/lib' | head -n 1");
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(!stderr(&output).contains("tracer:"), "{}", stderr(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 1);
}

#[test]
fn a_full_disk_is_told_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let books = folder.path().join("ledger.json");
    let args =
        ["--export", "json=/dev/full", "--export", "null", "--ledger", books.to_str().unwrap()];
    let output = tracer(&[&args[..], &["--", "true"]].concat());
    assert!(stderr(&output).contains("No space left on device"), "{}", stderr(&output));
    let ledger = json(&books);
    assert_eq!(ledger["balanced"], true);
    assert_eq!(ledger["destinations"]["json"]["dropped"]["io"], ledger["spans"]["spans"]);
    assert_eq!(ledger["destinations"]["null"]["delivered"], ledger["spans"]["spans"]);
}

/// A destination that hangs costs its own spans, and not the end of the run.
#[test]
fn a_blocked_reader_does_not_block_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let (out, books) = (folder.path().join("out.jsonl"), folder.path().join("ledger.json"));
    let export = format!("json={}", out.display());
    let ledger = books.to_str().unwrap();
    let program = workload_path();
    let args = ["trace", "--export", "text=-", "--export", &export, "--ledger", ledger, "--"];
    let mut child = Command::new(tracer_path())
        .args(args)
        .args([program.as_str(), "now", "calls", "20000"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // Nobody reads the pipe.
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let ledger = json(&books);
    assert_eq!(ledger["balanced"], true);
    assert!(ledger["destinations"]["text"]["dropped"]["shutdown_deadline"].as_u64() > Some(0));
    assert_eq!(ledger["destinations"]["json"]["delivered"], all_json_lines(&out).len());
}

/// Once nobody listens any more, a system-wide trace ends.
#[test]
fn a_trace_that_nobody_reads_ends() {
    let mut tracer = Command::new(tracer_path())
        .args(["trace", "--export", "text=-", "-e", "getppid"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // On a quiet host nobody else makes calls. So few are too few to fill the ring, however late the
    // reader is.
    let mut workload = Workload::new(&["pace"]);
    workload.begin();
    let lines = BufReader::new(tracer.stdout.take().unwrap()).lines().take(2);
    assert_eq!(lines.map(Result::unwrap).filter(|line| line.contains("getppid()")).count(), 2);
    drop(workload);
    // The pipe is closed, and no call comes any more that could tell.
    let output = tracer.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
}

#[test]
fn another_pid_namespace_is_refused() {
    let output = Command::new("unshare")
        .args(["-pf", "--mount-proc", &tracer_path(), "trace", "--", "true"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("pid namespace"), "{}", stderr(&output));
}

#[test]
fn variables_are_set_and_taken_away_in_place() {
    let output = Command::new(tracer_path())
        .args(["trace", "--export", "null", "-E", "CHANGED=no", "-E", "GONE", "-E", "NEW=a=b"])
        .args(["--", "/usr/bin/env"])
        .env_clear()
        .envs([("CHANGED", "yes"), ("GONE", "x"), ("KEPT", "1")])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().collect::<Vec<_>>(), ["CHANGED=no", "KEPT=1", "NEW=a=b"]);
}

#[test]
fn the_end_is_told_in_sentences() {
    let work = workload_path();
    let output =
        tracer(&["-v", "-e", "getppid", "--export", "null", "--", &work, "now", "calls", "1234"]);
    let told = stderr(&output);
    assert!(told.contains("tracer: 1,234 calls recorded, 0 lost on the way; "), "{told}");
    assert!(told.contains("outside scope or filter") && told.contains("tracer: null: "), "{told}");
    assert!(!told.contains('{'), "{told}");
}
