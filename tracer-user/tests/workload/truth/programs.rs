//! Descriptors that shells and wrappers hand to a program.

use std::process::Command;

use super::{Case, Situation, run_program};

/// Words that run this program on its standard streams and on the paths that follow.
const GIVEN: &str = r#""$OWN" now truth-given "$NAME" "$INDEX""#;

fn shell(case: &Case, words: &str) -> Result<(), String> {
    run_program(case, Command::new("bash").arg("-c").arg(words.replace("GIVEN", GIVEN)))
}

pub(super) const CASES: &[(&str, Situation)] = &[
    ("process substitution", |case| shell(case, "GIVEN <(echo hi) <(echo ho)")),
    ("pipeline", |case| shell(case, "echo hi | GIVEN | cat")),
    ("redirections", |case| shell(case, "GIVEN < /dev/null 2> errors")),
    ("here document", |case| shell(case, "GIVEN <<< text")),
    ("standard streams by their paths", |case| {
        shell(case, "echo hi > in; GIVEN /dev/stdin /dev/fd/0 /proc/self/fd/0 < in")
    }),
    ("standard streams that are a pipe, by their paths", |case| {
        shell(case, "echo hi | GIVEN /dev/stdin /proc/thread-self/comm")
    }),
    ("descriptors moved by the shell", |case| shell(case, "exec 3> a 4>&1; GIVEN /dev/fd/3 2>&4")),
    ("script by its name", |case| {
        let script = format!("#!/bin/sh\n{GIVEN} \"$0\"\n");
        std::fs::write("script", script).expect("a file");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions("script", mode).expect("a mode");
        run_program(case, &mut Command::new("./script"))
    }),
    ("wrapper env", |case| shell(case, "env A=b GIVEN < /dev/null")),
    ("wrapper nice", |case| shell(case, "nice -n 1 GIVEN < /dev/null")),
    ("wrapper timeout", |case| shell(case, "timeout 60 GIVEN < /dev/null")),
    ("wrapper nohup", |case| shell(case, "nohup GIVEN < /dev/null")),
    ("wrapper setsid", |case| shell(case, "setsid -w GIVEN < /dev/null")),
    ("wrapper xargs", |case| shell(case, "echo /dev/null | xargs GIVEN")),
    ("shell that changes its folder", |case| {
        shell(case, "mkdir below; echo hi > below/a; (cd below; GIVEN a) ; GIVEN below/a")
    }),
];
