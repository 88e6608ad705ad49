//! What is different in every run, and how it is made equal. Nothing else is changed:
//!
//! 1. numbers in hexadecimal with six digits or more: addresses, `ADDR`;
//! 2. ids of processes and threads that the run has made: `PID`;
//! 3. times and dates, and what a process has used: `TIME`;
//! 4. what `getrandom` has returned, the names that are made of random letters, and other data of
//!    cryptography: `RANDOM`;
//! 5. bytes that are no text: strace escapes them in octal, tracer in hexadecimal;
//! 6. numbers of inodes, free blocks and memory in `statfs` and `sysinfo`: `COUNT`;
//! 7. what `rt_sigreturn` has put back into the register of results, which strace shows as its
//!    result and tracer, for it is none, does not: `REGISTER`;
//! 8. numbers of inodes of pipes and sockets: `INODE`.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::lines::{Call, Thread};
use crate::text::push;

/// A pattern that is known to be one.
fn pattern(text: &str) -> Regex {
    #[expect(clippy::expect_used, reason = "the patterns are constants, and tests use each")]
    Regex::new(text).expect("a pattern")
}

static ADDRESS: LazyLock<Regex> = LazyLock::new(|| pattern(r"0x[0-9a-f]{6,}"));
static NUMBER: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b[0-9]+\b"));
static TIME: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"\b(tv_sec|tv_nsec|tv_usec|si_utime|si_stime|tms_[a-z]+|uptime)=-?[0-9]+")
});
static DATE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"/\* ([0-9]{4,}-[0-9]{2}-[0-9]{2}T[0-9:.]+[+]0000|[0-9.]+ s) \*/"));
static COUNT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"\b(f_bfree|f_bavail|f_ffree|loads|totalram|freeram|sharedram|bufferram|freeswap|procs)=(\[[^\]]*\]|[0-9]+)",
    )
});
static INODE: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b(pipe|socket):\[[0-9?]+\]"));
static RANDOM_NAME: LazyLock<Regex> = LazyLock::new(|| pattern(r"/tmp/cc[A-Za-z0-9]{6}"));
static ESCAPE: LazyLock<Regex> = LazyLock::new(|| pattern(r"\\([0-7]{1,3}|v|f)"));

/// Ids that a run has made.
pub(super) fn ids(threads: &[Thread]) -> BTreeSet<String> {
    let makes =
        ["clone", "clone3", "fork", "vfork", "getpid", "gettid", "set_tid_address", "getppid"];
    threads
        .iter()
        .flat_map(|thread| &thread.calls)
        .filter(|call| makes.contains(&call.name.as_str()))
        .map(|call| call.result.clone())
        .filter(|result| result.len() > 1)
        .collect()
}

/// A result, without what is different in every run.
pub(super) fn result(call: &Call, ids: &BTreeSet<String>) -> String {
    let text = call.result.split(" (").next().unwrap_or_default();
    if call.name == "times" {
        return "TIME".to_owned();
    }
    if call.name == "rt_sigreturn" {
        return "REGISTER".to_owned();
    }
    normal(text, ids)
}

/// The arguments, without what is different in every run; last what stands behind the result.
pub(super) fn args(call: &Call, ids: &BTreeSet<String>) -> Vec<String> {
    let mut args: Vec<String> = call.args.iter().map(|arg| normal(arg, ids)).collect();
    if call.name == "getrandom"
        && let Some(first) = args.first_mut()
    {
        "RANDOM".clone_into(first);
    }
    // The description of an error is the C library's.
    let note = call.result.split_once(" (").filter(|_| !call.result.starts_with("-1 "));
    args.push(note.map_or_else(String::new, |(_, note)| normal(note, ids)));
    args
}

fn normal(text: &str, ids: &BTreeSet<String>) -> String {
    let text = ESCAPE.replace_all(text, |found: &Captures<'_>| match &found[1] {
        "v" => "\\x0b".to_owned(),
        "f" => "\\x0c".to_owned(),
        digits => format!("\\x{:02x}", u32::from_str_radix(digits, 8).unwrap_or_default()),
    });
    let text = DATE.replace_all(&text, "/* TIME */");
    let text = TIME.replace_all(&text, "$1=TIME");
    let text = COUNT.replace_all(&text, "$1=COUNT");
    let text = INODE.replace_all(&text, "$1:[INODE]");
    let text = RANDOM_NAME.replace_all(&text, "/tmp/ccRANDOM");
    let text = ADDRESS.replace_all(&text, "ADDR");
    let text = NUMBER.replace_all(&text, |found: &Captures<'_>| {
        if ids.contains(&found[0]) { "PID".to_owned() } else { found[0].to_owned() }
    });
    ascii(&text)
}

/// Letters beyond ASCII as the bytes they are, as strace has them.
fn ascii(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                push(&mut out, format_args!("\\x{byte:02x}"));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changes_is_changed() {
        let ids = BTreeSet::from(["812".to_owned()]);
        let same = |text: &str| assert_eq!(normal(text, &ids), text);
        same("{st_mode=S_IFREG|0644, st_size=813, ...}");
        same("0x80000");
        assert_eq!(normal("0x7ffc12345678", &ids), "ADDR");
        assert_eq!(normal("[812, 8120]", &ids), "[PID, 8120]");
        assert_eq!(normal("{tv_sec=12, tv_nsec=5}", &ids), "{tv_sec=TIME, tv_nsec=TIME}");
        assert_eq!(normal("5 /* 2024-01-02T03:04:05.000000001+0000 */", &ids), "5 /* TIME */");
        assert_eq!(normal("12 /* 0.12 s */", &ids), "12 /* TIME */");
        assert_eq!(normal("{loads=[1, 2, 3], procs=4}", &ids), "{loads=COUNT, procs=COUNT}");
        assert_eq!(normal("\"/tmp/ccAbCdEf.s\"", &ids), "\"/tmp/ccRANDOM.s\"");
        assert_eq!(normal("\"a\\0\\177\\n\\v\"", &ids), "\"a\\x00\\x7f\\n\\x0b\"");
        assert_eq!(normal("é", &ids), "\\xc3\\xa9");
    }
}
