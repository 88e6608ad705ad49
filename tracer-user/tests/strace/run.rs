//! Runs the calls under strace.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
};

use tracer_common::event::Abi;

use super::cases::Case;

/// strace's lines, one for each case; nothing where there is no strace.
pub(crate) fn strace(cases: &[Case]) -> Option<Vec<String>> {
    if !Path::new("/usr/bin/strace").exists() {
        eprintln!("SKIPPED: strace is not installed: `cargo xtask setup`");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let (mut program, mut input) = start(cases);
    let mut strace = Command::new("/usr/bin/strace")
        .args(["-a1", "-s256", "-e", "signal=none", "-e", "inject=!read,exit_group:retval=0", "-o"])
        .arg(&log)
        .args(["-p", &program.id().to_string()])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(strace.stderr.as_mut().unwrap()).read_line(&mut said).unwrap();
    assert!(said.contains("attached"), "strace: {said}");
    input.write_all(b"\n").unwrap();
    assert!(program.wait().unwrap().success());
    assert!(strace.wait().unwrap().success());
    let text = String::from_utf8_lossy(&fs::read(&log).unwrap()).into_owned();
    let is_call = |line: &&str| {
        line.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && !line.starts_with("read(0,")
            && !line.starts_with("exit_group(0)")
            && !line.starts_with("syscall_0x")
    };
    Some(text.lines().filter(is_call).map(str::to_owned).collect())
}

/// The program, waiting to begin.
fn start(cases: &[Case]) -> (Child, ChildStdin) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_tracer-workload"))
        .args(["now", "raw"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = program.stdin.take().unwrap();
    let mut text = String::new();
    for case in cases {
        text.push_str(if case.abi == Abi::I386 { "1" } else { "0" });
        text.push_str(&format!(" {}", case.nr));
        case.args.iter().for_each(|arg| text.push_str(&format!(" {arg}")));
        text.push(' ');
        // What is behind are zeroes there.
        let end = case.memory.iter().rposition(|byte| *byte != 0).unwrap_or_default();
        case.memory[..=end].iter().for_each(|byte| text.push_str(&format!("{byte:02x}")));
        text.push('\n');
    }
    text.push_str("go\n");
    input.write_all(text.as_bytes()).unwrap();
    let mut ready = String::new();
    BufReader::new(program.stdout.as_mut().unwrap()).read_line(&mut ready).unwrap();
    assert_eq!(ready.trim(), "ready");
    (program, input)
}

/// Name and arguments of a line.
pub(crate) fn split(line: &str) -> (&str, Vec<String>) {
    let (name, rest) = line.split_once('(').unwrap();
    let mut arguments = Vec::new();
    let mut depth = 0;
    let mut quoted = false;
    let mut escaped = false;
    let mut current = String::new();
    for c in rest.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' | '[' | '{' => depth += 1,
            ')' if depth == 0 => break,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                arguments.push(std::mem::take(&mut current).trim().to_owned());
                continue;
            }
            _ => {}
        }
        current.push(c);
    }
    if !current.trim().is_empty() {
        arguments.push(current.trim().to_owned());
    }
    (name, arguments)
}
