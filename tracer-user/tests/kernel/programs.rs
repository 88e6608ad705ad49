//! Programs of the system, with the names of what their descriptors lead to: each name that tracer
//! prints is one that strace has seen for a descriptor of the same call.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::LazyLock,
};

use regex::Regex;

use crate::support::{json, skipped, tracer};

/// A program that starts with the same files each time, and what makes these.
struct Program {
    name: &'static str,
    prepare: &'static str,
    command: &'static str,
}

const PROGRAMS: [Program; 4] = [
    Program {
        name: "python3",
        prepare: "",
        command: "python3 -B -c 'import json, http.client, subprocess; \
                  subprocess.run([\"cat\", \"/etc/passwd\"], stdout=subprocess.DEVNULL)'",
    },
    Program {
        name: "gcc",
        prepare: "printf '#include <stdio.h>\\nint main(void){puts(\"x\");return 0;}\\n' > x.c",
        command: "gcc -O1 -o x x.c",
    },
    Program {
        name: "tar",
        prepare: "for d in a b; do mkdir -p t/$d; for f in 1 2 3 4; do seq 1 20000 > t/$d/$f; done; \
                  done",
        command: "tar czf out.tar t; rm out.tar",
    },
    Program {
        name: "git",
        prepare: "git init -q .; git config user.name n; git config user.email n@e; \
                  for f in 1 2 3 4; do seq 1 200 > $f; done; git add .; git commit -qm one; \
                  git config gc.auto 0; echo more >> 1",
        command: "git --no-optional-locks status --short",
    },
];

/// A call or its end, and in it a descriptor or a folder with a name.
static CALL: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?:<\.\.\. )?\b([a-z_0-9]+)(?:\(| resumed>)").unwrap());
static MARK: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\b(?:AT_FDCWD|\d+)<((?:[^<>]|<[^<>]*>)*)>").unwrap());
/// Calls of whose descriptors strace prints the numbers alone.
const STRACE_PRINTS_NONE: [&str; 2] = ["pipe2", "close_range"];
/// A folder in which nothing is looked up, the path being absolute; tracer prints none.
static UNUSED: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#"AT_FDCWD<[^<>]*>, "/"#).unwrap());
/// What differs in every run.
static CHANGING: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"/tmp/cc[A-Za-z0-9]{6}|(?:pipe|socket):\[\d+\]|/proc/\d+/|[0-9a-f]{6}\.tmp")
        .unwrap()
});

/// The names in lines of either, by call: how often each stands there.
fn names(text: &str) -> HashMap<(String, String), usize> {
    let mut found = HashMap::new();
    for line in text.lines() {
        let Some(call) = CALL.captures(line) else { continue };
        // Strings hold anything.
        let bare = without_strings(&UNUSED.replace(line, "AT_FDCWD, \"/"));
        for mark in MARK.captures_iter(&bare) {
            let name = CHANGING.replace_all(&mark[1], "CHANGING").into_owned();
            *found.entry((call[1].to_owned(), name)).or_default() += 1;
        }
    }
    found
}

/// The line without what stands in quotes.
fn without_strings(line: &str) -> String {
    let (mut out, mut is_inside, mut is_escaped) = (String::new(), false, false);
    for character in line.chars() {
        match character {
            '"' if !is_escaped => is_inside = !is_inside,
            _ if !is_inside => out.push(character),
            _ => {}
        }
        is_escaped = is_inside && character == '\\' && !is_escaped;
    }
    out
}

fn shell(folder: &Path, script: &str) {
    let status = Command::new("sh").args(["-ec", script]).current_dir(folder).status().unwrap();
    assert!(status.success(), "{script}");
}

fn is_there(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).status();
    found.is_ok_and(|status| status.success())
}

fn within(folder: &Path, command: &str) -> String {
    format!("exec < /dev/null > /dev/null 2> /dev/null; cd {}; {command}", folder.display())
}

/// What strace sees of it.
fn strace(folder: &Path, command: &str) -> HashMap<(String, String), usize> {
    let log = folder.join("strace.log");
    let output = Command::new("strace")
        .args(["-f", "-y", "-s", "0", "-o"])
        .arg(&log)
        .args(["sh", "-c", &within(folder, command)])
        // As for tracer: where the shell's own streams lead is seen too.
        .output()
        .unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    names(&String::from_utf8_lossy(&fs::read(log).unwrap()))
}

/// What tracer prints of it, with these arguments.
fn traced(folder: &Path, command: &str, args: &[&str]) -> HashMap<(String, String), usize> {
    let (log, ledger) = (folder.join("tracer.log"), folder.join("ledger.json"));
    let mut all = vec!["-y", "-s", "0", "-o", log.to_str().unwrap()];
    all.extend(["--ledger", ledger.to_str().unwrap()]);
    all.extend(args);
    let command = within(folder, command);
    all.extend(["--", "sh", "-c", &command]);
    let output = tracer(&all);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(json(&ledger)["balanced"], true);
    names(&String::from_utf8_lossy(&fs::read(log).unwrap()))
}

#[test]
fn names_of_programs_of_the_system_are_those_that_strace_sees() {
    if !is_there("strace") {
        return skipped("there is no strace");
    }
    for Program { name, prepare, command } in PROGRAMS {
        if !is_there(name) {
            skipped(&format!("there is no {name}"));
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        shell(folder.path(), prepare);
        let seen: HashSet<_> = strace(folder.path(), command).into_keys().collect();
        assert!(seen.len() > 10, "{name}: {seen:?}");
        for args in [&[][..], &["--min-duration", "20us"], &["--min-duration", "1ms"], &["-Z"]] {
            let printed = traced(folder.path(), command, args);
            let is_seen = |it: &&(String, String)| {
                let is_silent = STRACE_PRINTS_NONE.contains(&&*it.0);
                seen.contains(*it) || is_silent && seen.iter().any(|(_, name)| *name == it.1)
            };
            let others: Vec<_> = printed.keys().filter(|it| !is_seen(it)).collect();
            assert!(others.is_empty(), "{name} {args:?}: {others:?} of {}", printed.len());
            // One that shows all shows all names too.
            if args.is_empty() {
                let missing: Vec<_> = seen.iter().filter(|it| !printed.contains_key(*it)).collect();
                assert!(missing.is_empty(), "{name}: {missing:?}");
            }
            println!(
                "{name} {args:?}: {} names of {} calls",
                printed.len(),
                printed.values().sum::<usize>()
            );
        }
    }
}
