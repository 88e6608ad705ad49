//! The command line without privilege: help, mistakes, exit statuses.
#![expect(
    clippy::expect_used,
    clippy::multiple_unsafe_ops_per_block,
    reason = "a test fails loudly"
)]

use std::{
    os::unix::process::CommandExt,
    process::{Command, Output},
};

/// Runs tracer without the capabilities it needs, also where this test runs as root, so that
/// nothing is ever loaded.
fn tracer(args: &[&str]) -> Output {
    const CAP_SYS_ADMIN: u64 = 21;
    const CAP_PERFMON: u64 = 38;
    const CAP_BPF: u64 = 39;
    let mut command = Command::new(env!("CARGO_BIN_EXE_tracer"));
    command.args(args);
    // SAFETY: makes system calls only.
    unsafe {
        command.pre_exec(|| {
            for capability in [CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF] {
                // Without privilege there is none to drop.
                libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0);
            }
            Ok(())
        });
    }
    command.output().expect("tracer runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn mistake(args: &[&str], expected: &str) {
    let output = tracer(args);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).starts_with(expected), "{}", said(&output));
    assert_eq!(said(&output).lines().count(), 1, "{}", said(&output));
    assert!(output.stdout.is_empty());
}

#[test]
fn help_shows_examples_and_exit_statuses() {
    let output = tracer(&["trace", "--help"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(text.contains("Examples:") && text.contains("Exit status:"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
}

#[test]
fn mistakes_are_told_in_one_line() {
    mistake(
        &["trace", "-e", "opneat"],
        "tracer: --trace: unknown syscall `opneat`; did you mean `openat`?",
    );
    mistake(&["trace", "-e", "%fiel"], "tracer: --trace: unknown syscall class `%fiel`; did you");
    mistake(&["trace", "--errno", "ENOEMT"], "tracer: --errno: unknown error `ENOEMT`; did you");
    mistake(&["trace", "--ring-size", "100KiB"], "tracer: --ring-size: 102400 is not a power");
    mistake(&["trace", "--ring-size", "1KiB"], "tracer: --ring-size: 1024 bytes are less than a");
    mistake(&["trace", "--ring-size", "4GiB"], "tracer: --ring-size: 4294967296 bytes are more th");
    for value in ["100000", "4097", "-1", "many"] {
        let expected = format!("tracer: --string-limit: `{value}` is not a number of bytes from 0");
        mistake(&["trace", "-s", value], &expected);
    }
    mistake(&["trace", "--export", "otlp=http://localhost:99999"], "tracer: --export otlp: ");
    mistake(
        &["trace", "--export", "json=same", "--export", "text=./same"],
        "tracer: --export: `./same` is given twice",
    );
    mistake(
        &["trace", "--otlp-spill", "/tmp"],
        "tracer: --otlp-spill does nothing without --export otlp",
    );
    mistake(
        &["trace", "--tree", "--export", "json"],
        "tracer: --tree does nothing without --export text",
    );
    mistake(&["trace", "-e", "signal=SIGNO"], "tracer: --signal: no signal `SIGNO`");
    mistake(&["trace", "--quiet=exits-of-all"], "tracer: --quiet: unknown message `exits-of-all`");
    mistake(&["trace", "-p", "many"], "tracer: --pid: `many` is not a process id");
    mistake(&["trace", "-u", "no-such-user"], "tracer: --uid: no user `no-such-user`");
    mistake(&["trace", "--min-duration", "soon"], "tracer: --min-duration: `soon` is not a time");
    mistake(&["trace", "--export", "xml"], "tracer: --export: unknown kind `xml`");
    mistake(&["trace", "--cgroup", "/no/such"], "tracer: --cgroup: no cgroup `/no/such`");
    mistake(&["trace", "--cgroup", "/tmp"], "tracer: --cgroup: `/tmp` is not a cgroup");
}

#[test]
fn a_command_line_without_a_verb_shows_the_one_that_was_meant() {
    mistake(&["-p", "1"], "tracer: options follow a verb: tracer trace -p 1");
    mistake(&["ls", "-l"], "tracer: there is no verb `ls`; to trace a command: tracer trace ls -l");
}

#[test]
fn a_command_needs_no_dashes_before_it() {
    // It is understood: what is missing is the privilege.
    for args in [&["trace", "ls", "-l"][..], &["trace", "-e", "read", "ls", "--version"]] {
        let output = tracer(args);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains("CAP_BPF"), "{}", said(&output));
    }
}

#[test]
fn options_that_do_not_exist_are_clap_s_affair() {
    let output = tracer(&["trace", "--no-such-option"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("--no-such-option"));
    assert_eq!(tracer(&["trace", "-z", "-Z"]).status.code(), Some(2));
    assert_eq!(tracer(&[]).status.code(), Some(2));
}

#[test]
fn the_doctor_names_what_is_missing() {
    let output = tracer(&["doctor", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let findings: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let first = &findings[0];
    assert_eq!(
        (first["check"].as_str(), first["verdict"].as_str()),
        (Some("privilege"), Some("missing"))
    );
    assert!(first["found"].as_str().unwrap().contains("sudo"), "{first}");
    let output = tracer(&["doctor"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.starts_with(b"missing   privilege "), "{output:?}");
}

#[test]
fn without_privilege_it_names_what_is_missing() {
    let output = tracer(&["trace", "--", "true"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        said(&output),
        "tracer: missing CAP_BPF and CAP_PERFMON: loading kernel programs needs root; \
         run it with sudo\n"
    );
}
