//! Mistakes that only a host with privileges can make; the others are in `tests/cli.rs`.

use std::process::Command;

use crate::support::{Workload, cgroup_mount, rounds, stderr, tracer, tracer_path};

#[test]
fn a_process_that_does_not_exist() {
    let output = tracer(&["-p", "4194303"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).starts_with("tracer: no process with id 4194303"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_memlock_limit_that_cannot_be_raised_is_no_error() {
    let script = format!("ulimit -l 0; exec {} trace --export null -- true", tracer_path());
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
}

#[test]
fn a_limit_on_memory_is_told_in_a_line() {
    const FULL: usize = 16;
    let rounds = rounds(FULL, 2);
    let mut tried = 0;
    for kilobytes in (40_000..200_000).step_by(10_000 * FULL / rounds) {
        let under_limit = |arguments: &str| {
            let script = format!("ulimit -v {kilobytes}; exec {} {arguments}", tracer_path());
            Command::new("sh").args(["-c", &script]).output().unwrap()
        };
        // The system itself ends a program that does not fit.
        if under_limit("--version").status.code() != Some(0) {
            continue;
        }
        tried += 1;
        let output = under_limit("trace --export null -- true");
        let said = stderr(&output);
        assert!(matches!(output.status.code(), Some(0 | 1)), "{kilobytes}: {output:?}");
        assert!(said.lines().count() <= 1, "{kilobytes}: {said}");
        assert_eq!(said.is_empty(), output.status.success(), "{kilobytes}: {said}");
    }
    assert!(tried > 0);
}

#[test]
fn an_output_that_cannot_be_written_stops_before_the_start() {
    let output = tracer(&["-o", "/no/such/folder/out", "--", "touch", "/tmp/tracer-must-not-run"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).starts_with("tracer: cannot write `/no/such/folder/out`"));
    assert!(!std::path::Path::new("/tmp/tracer-must-not-run").exists());
}

#[test]
fn a_cgroup_of_the_old_hierarchy_is_refused_with_the_way_out() {
    let Some(old) = std::fs::read_to_string("/proc/self/mountinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.contains(" - cgroup "))?.to_owned();
        Some(line.split(' ').nth(4)?.to_owned())
    }) else {
        println!("SKIPPED: this host has no cgroup v1 mount");
        return;
    };
    let output = tracer(&["--cgroup", &old]);
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    let mount = cgroup_mount();
    assert!(said.contains("cgroup v1") && said.contains(mount.to_str().unwrap()), "{said}");
}

#[test]
fn two_tracers_at_once() {
    let workload = Workload::new(&["calls", "10"]);
    let pid = workload.pid().to_string();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let other = crate::support::Running::start(&["--export", "null", "-e", "getppid"]);
    let export = format!("json={}", out.display());
    let this = crate::support::Running::start(&["-p", &pid, "-e", "getppid", "--export", &export]);
    workload.run();
    assert_eq!(this.finish().0, Some(0));
    other.signal(libc::SIGINT);
    assert_eq!(other.finish().0, Some(0));
    assert_eq!(crate::support::json_lines(&out).len(), 10);
}
