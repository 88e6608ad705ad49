//! Who made a call: its program and its user, as the kernel held them when the call was entered. The
//! traced programs ask the kernel themselves, so the result of such a call is what its span must say.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

/// A user that nobody has.
const OTHER: u32 = 61_236;

use crate::identity::base;
use crate::support::{
    Group, Running, Workload, all_json_lines, json, json_lines, rounds, skipped, tracer,
    workload_path,
};

/// What a command makes, launched by tracer: its calls and its processes.
fn launched(command: &[&str]) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let (out, ledger) = (folder.path().join("out.json"), folder.path().join("ledger.json"));
    let export = format!("json={}", out.display());
    let mut args = vec!["--export", &export, "--ledger", ledger.to_str().unwrap(), "--"];
    args.extend(command);
    let output = tracer(&args);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(json(&ledger)["balanced"], true);
    all_json_lines(&out)
}

fn calls(spans: &[Value]) -> impl Iterator<Item = &Value> {
    spans.iter().filter(|span| !span["syscall"].is_null())
}

fn is_exec(span: &Value) -> bool {
    let name = &span["syscall"]["name"];
    (name == "execve" || name == "execveat") && span["syscall"]["ret"] == 0
}

/// The path that `readlink` would show.
fn shown(span: &Value) -> Option<String> {
    let path = span["executable"].as_str()?;
    let is_deleted = span["executable_deleted"] == true;
    Some(format!("{path}{}", if is_deleted { " (deleted)" } else { "" }))
}

/// Calls of each process, in the order of their logical clocks.
fn by_process(spans: &[Value]) -> BTreeMap<u64, Vec<&Value>> {
    let mut found: BTreeMap<u64, Vec<&Value>> = BTreeMap::new();
    for span in calls(spans) {
        found.entry(span["pid"].as_u64().unwrap()).or_default().push(span);
    }
    for of in found.values_mut() {
        of.sort_by_key(|span| span["logical_clock"].as_u64());
    }
    found
}

/// Compares with what the programs were answered; returns how many answers there were, and the
/// programs.
fn check(spans: &[Value]) -> (usize, HashSet<String>) {
    let (mut answers, mut programs) = (0, HashSet::new());
    for span in calls(spans) {
        let call = &span["syscall"];
        let said = match call["name"].as_str().unwrap() {
            "geteuid" => span["uid"] == call["ret"],
            "getegid" => span["gid"] == call["ret"],
            "readlinkat" if call["args"][1]["text"] == "/proc/self/exe" => {
                let truth = call["args"][2]["text"].as_str().unwrap();
                programs.insert(truth.to_owned());
                // A file can be removed while it runs: `executable` is of when the program began.
                let now = shown(span).unwrap_or_default();
                now == truth || format!("{now} (deleted)") == truth
            }
            _ => continue,
        };
        assert!(said, "{span}");
        answers += 1;
    }
    for of in by_process(spans).values() {
        for program in of.split_inclusive(|span| is_exec(span)) {
            let paths: HashSet<_> = program.iter().map(|span| shown(span)).collect();
            assert_eq!(paths.len(), 1, "{paths:?} in {}", program[0]);
        }
    }
    (answers, programs)
}

fn workload() -> PathBuf {
    fs::canonicalize(workload_path()).unwrap()
}

#[test]
fn a_wrapper_keeps_its_calls_and_its_execve() {
    let workload = workload();
    let Ok(env) = fs::canonicalize("/usr/bin/env") else {
        return skipped("there is no env");
    };
    let spans = launched(&["env", workload.to_str().unwrap(), "now", "ask"]);
    let (answers, programs) = check(&spans);
    assert_eq!((answers, programs.len()), (3, 1));
    let of =
        |path: &Path| calls(&spans).filter(|it| it["executable"] == path.to_str().unwrap()).count();
    // The launched process executes env, env executes the workload.
    let execs: Vec<_> = calls(&spans).filter(|span| is_exec(span)).collect();
    assert_eq!(execs.len(), 2);
    assert_eq!(execs[1]["executable"], env.to_str().unwrap());
    assert!(of(&env) > 20 && of(&workload) > 20, "{} and {}", of(&env), of(&workload));
    assert_eq!(of(&env) + of(&workload) + 1, calls(&spans).count());
}

#[test]
fn a_call_is_its_user_s_at_that_moment() {
    let workload = workload();
    let spans = launched(&[workload.to_str().unwrap(), "now", "users", "5"]);
    assert_eq!(check(&spans).0, 3 * 16);
    // Who drops a privilege still has it, who takes it back has not.
    let uids: Vec<_> =
        calls(&spans).filter(|it| it["name"] == "setresuid").map(|it| it["uid"].clone()).collect();
    assert_eq!(uids, [0, 61_234].repeat(5));
    let named = calls(&spans).filter(|it| it["uid"] == 0).all(|it| it["user"] == "root");
    let unnamed = calls(&spans).filter(|it| it["uid"] == 61_234).all(|it| it["user"].is_null());
    assert!(named && unnamed);
}

#[test]
fn workers_of_other_users_are_told_from_their_parent() {
    let workload = workload();
    let workers = rounds(50, 10);
    let spans = launched(&[workload.to_str().unwrap(), "now", "workers", &workers.to_string()]);
    assert_eq!(check(&spans).0, 3 * 5 * (workers + 1));
    let uids: HashSet<_> =
        calls(&spans).filter(|it| it["name"] == "geteuid").map(|it| it["uid"].as_u64()).collect();
    assert_eq!(uids.len(), workers + 1);
}

#[test]
fn a_program_is_the_file_that_the_kernel_has_mapped() {
    let folder = tempfile::tempdir().unwrap();
    let at = fs::canonicalize(folder.path()).unwrap();
    let workload = workload();
    let spans = launched(&[workload.to_str().unwrap(), "now", "programs", at.to_str().unwrap()]);
    let (answers, programs) = check(&spans);
    // Asked once by each but the one that is removed, which asks twice, and by what it executes.
    assert_eq!(answers, 3 * 12, "{programs:?}");
    let copy = at.join("copy");
    for path in [&workload, &copy] {
        assert!(programs.contains(path.to_str().unwrap()), "{programs:?}");
    }
    assert!(programs.contains("/memfd:in-memory (deleted)"), "{programs:?}");
    assert!(programs.contains(&format!("{}/deleted (deleted)", at.display())), "{programs:?}");
    // A process is called by what was executed, or by its file where that is no name.
    let names: HashSet<_> = spans
        .iter()
        .filter(|span| span["syscall"].is_null())
        .map(|span| span["name"].as_str().unwrap())
        .collect();
    for name in ["link", "script", "memfd:in-memory", "copy"] {
        assert!(names.contains(name), "{names:?}");
    }
    assert!(!names.contains("exe") && !names.contains("3"), "{names:?}");
}

/// Where the page of a string was not resident at the entry, the kernel's own copy is shown.
#[test]
fn an_execve_of_literals_shows_its_path_and_arguments() {
    let workload = workload();
    let count = rounds(1000, 100);
    let spans = launched(&[workload.to_str().unwrap(), "now", "literals", &count.to_string()]);
    let execs: Vec<_> = calls(&spans)
        .filter(|it| is_exec(it) && it["executable"] == workload.to_str().unwrap())
        .collect();
    assert_eq!(execs.len(), count);
    for span in execs {
        let args = &span["syscall"]["args"];
        assert_eq!(args[0]["text"], "/bin/true", "{span}");
        assert_eq!(args[1]["text"], r#"["true", "one", "two"]"#, "{span}");
        let environment = args[2]["text"].as_str().unwrap();
        assert!(environment.ends_with(" /* 2 vars */"), "{span}");
        assert!((0..3).all(|arg| args[arg]["state"].is_null()), "{span}");
    }
}

#[test]
fn a_command_line_is_whole_up_to_4096_bytes() {
    let workload = workload();
    let path = workload.to_str().unwrap();
    for (total, is_cut) in [(3900, false), (4096, false), (4097, true), (5000, true)] {
        // Behind each argument stands a zero byte.
        let rest = total - (path.len() + 1) - "now\0ask\0".len();
        let lengths = [1000, rest - 1002].map(|length: usize| length.to_string());
        let spans = launched(&[path, "now", "arguments", &lengths[0], &lengths[1]]);
        let process = spans.iter().find(|span| span["syscall"].is_null()).unwrap();
        let args: Vec<_> = process["attributes"]["process.command_args"]
            .as_array()
            .unwrap()
            .iter()
            .map(|arg| arg.as_str().unwrap())
            .collect();
        assert_eq!(args[..3], [path, "now", "ask"]);
        assert_eq!(args[3], "x".repeat(1000));
        let bytes: usize = args.iter().map(|arg| arg.len() + 1).sum();
        let cut = process["attributes"]["tracer.process.args_truncated"] == true;
        assert_eq!((cut, bytes - usize::from(is_cut)), (is_cut, total.min(4096)));
    }
}

/// What was there before tracing began is known from the first call on.
#[test]
fn a_process_that_was_there_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.json");
    let workload = Workload::new(&["users", "2"]);
    let pid = workload.pid();
    let running =
        Running::start(&["-p", &pid.to_string(), "--export", &format!("json={}", out.display())]);
    workload.run();
    assert_eq!(running.finish().0, Some(0));
    let spans = all_json_lines(&out);
    assert_eq!(check(&spans).0, 3 * 7);
    let process = spans.iter().find(|span| span["syscall"].is_null()).unwrap();
    let attributes = &process["attributes"];
    assert_eq!(process["name"], self::workload().file_name().unwrap().to_str().unwrap());
    assert_eq!(attributes["process.parent_pid"], std::process::id());
    assert_eq!(attributes["process.executable.path"], self::workload().to_str().unwrap());
    let own = self::workload();
    let args = [own.to_str().unwrap(), "wait", "users", "2"];
    assert_eq!(attributes["process.command_args"], serde_json::json!(args));
}

/// The same, in scope by its cgroup or its user.
#[test]
fn a_process_that_was_there_is_known_by_cgroup_and_by_user() {
    let top = Group::new(base("was-there"));
    // Where the other user may run it.
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let own = place.path().join("tracer-workload");
    fs::copy(workload_path(), &own).unwrap();
    for by_user in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out.json");
        let mut command = Command::new(&own);
        command.args(["wait", "ask"]);
        if by_user {
            command.uid(OTHER);
        }
        let workload = Workload::with(&mut command);
        if !by_user {
            fs::write(top.0.join("cgroup.procs"), workload.pid().to_string()).unwrap();
        }
        let user = OTHER.to_string();
        let scope = if by_user { ["-u", &user] } else { ["--cgroup", top.0.to_str().unwrap()] };
        let export = format!("json={}", out.display());
        let running = Running::start(&[scope[0], scope[1], "--export", &export]);
        workload.run();
        running.signal(libc::SIGINT);
        assert_eq!(running.finish().0, Some(0));
        let spans = all_json_lines(&out);
        assert!(calls(&spans).count() >= 3, "{spans:?}");
        for span in calls(&spans) {
            assert_eq!(span["executable"], own.to_str().unwrap(), "{span}");
            assert!(by_user || span["cgroup_path"].is_string(), "{span}");
        }
        let process = spans.iter().find(|span| span["syscall"].is_null()).unwrap();
        let args = [own.to_str().unwrap(), "wait", "ask"];
        assert_eq!(process["attributes"]["process.command_args"], serde_json::json!(args));
    }
}

/// A process whose command line nobody can read holds up neither start nor end.
#[test]
fn a_command_line_that_cannot_be_read_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let (out, ledger) = (folder.path().join("out.json"), folder.path().join("ledger.json"));
    let mut command = Command::new(workload_path());
    let workload = Workload::with(command.args(["now", "hidden-command-line"]));
    workload.wait_until_it_waits();
    let export = format!("json={}", out.display());
    let pid = workload.pid().to_string();
    let running =
        Running::start(&["-p", &pid, "--export", &export, "--ledger", ledger.to_str().unwrap()]);
    running.signal(libc::SIGINT);
    let (status, said) = running.finish();
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(json(&ledger)["balanced"], true);
    let spans = all_json_lines(&out);
    let process = spans.iter().find(|span| span["syscall"].is_null()).unwrap();
    assert_eq!(process["attributes"]["process.command_args"], Value::Null);
    assert_eq!(process["executable"], self::workload().to_str().unwrap());
    workload.run();
}

/// A shell that was there before, which executes another program.
#[test]
fn a_shell_that_becomes_a_program_keeps_its_calls() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.json");
    let Ok(shell) = fs::canonicalize("/bin/sh") else { return skipped("there is no shell") };
    let next = format!("read line; cd /; exec {} now ask", workload().display());
    let shell_process =
        Workload::with(Command::new("/bin/sh").args(["-c", &next]).stdout(Stdio::null()));
    let pid = shell_process.pid().to_string();
    let running = Running::start(&["-p", &pid, "--export", &format!("json={}", out.display())]);
    shell_process.run();
    assert_eq!(running.finish().0, Some(0));
    let spans = json_lines(&out);
    assert_eq!(check(&spans).0, 3);
    let of = by_process(&spans);
    let programs: Vec<_> =
        of.values().next().unwrap().split_inclusive(|span| is_exec(span)).collect();
    assert_eq!(programs.len(), 2);
    assert_eq!(programs[0][0]["executable"], shell.to_str().unwrap());
    assert!(programs[0].iter().any(|span| span["name"] == "chdir"));
    assert_eq!(programs[1][0]["executable"], workload().to_str().unwrap());
}
