//! `docs/decoding.md`: which calls are decoded fully, partly or not.

use std::collections::BTreeMap;

use super::source::{Argument, Definition};
use crate::text::push;

/// The tests of the families, from which the last table is made.
const FAMILIES: &str = include_str!("../../../tracer-user/tests/kernel/families.rs");

/// Where it is, below the root of the workspace.
pub(super) const FILE: &str = "docs/decoding.md";

/// Names of arguments that are addresses and nothing else: what is there is not passed.
const ADDRESSES: [&str; 26] = [
    "addr",
    "brk",
    "start",
    "new_addr",
    "newsp",
    "tls",
    "shmaddr",
    "uaddr",
    "uaddr1",
    "uaddr2",
    "rseq",
    "child_tidptr",
    "parent_tidptr",
    "tidptr",
    "head",
    "handler",
    "entry",
    "clear_child_tid",
    "fs_base",
    "pages",
    "stack",
    "ctx_id",
    "ctx",
    "arg5",
    "umod",
    "unused",
];
/// Structures of which the first fields are decoded, and arguments whose commands are so many that
/// only the common ones are.
const PARTIAL: [&str; 10] = [
    "Struct::BpfAttr",
    "Struct::Msgbuf",
    "Struct::PerfEventAttr",
    "Struct::SemidDs",
    "Struct::SockFprog",
    "Struct::Sockopt",
    "Set::PtraceOptions",
    "ArgKind::IoctlArg",
    "ArgKind::PrctlArg",
    "Struct::SocketcallArgs",
];

/// How much of a call is decoded.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Coverage {
    /// Every argument as what it is.
    Full,
    /// Some pointers lead to memory that is not shown, or only some commands are decoded.
    Partial,
    /// Numbers.
    Raw,
}

/// The document.
pub(super) fn document(definitions: &[Definition]) -> String {
    let mut calls: BTreeMap<Coverage, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
    for definition in definitions {
        let (coverage, rest) = coverage(definition);
        let known = calls.entry(coverage).or_default().entry(&definition.name).or_default();
        known.extend(rest);
        known.dedup();
    }
    let count = |coverage| calls.get(&coverage).map_or(0, BTreeMap::len);
    let mut out = format!(
        "# What is decoded\n\nWritten by `cargo xtask codegen` from `xtask/src/codegen/syscalls.txt`; \
         do not edit.\n\n| decoded | calls |\n|---|---:|\n| fully | {} |\n| partly | {} |\n| raw | {} |\n",
        count(Coverage::Full),
        count(Coverage::Partial),
        count(Coverage::Raw)
    );
    for (coverage, title) in [
        (
            Coverage::Full,
            "## Fully\n\nEvery argument is shown as what it is: names, structures, strings, numbers.\n\n",
        ),
        (
            Coverage::Partial,
            "## Partly\n\nIn brackets the arguments of which only the address is shown, or not \
             every command or field is decoded.\n\n",
        ),
        (
            Coverage::Raw,
            "## Raw\n\nCalls that the kernel has no longer, or whose arguments mean nothing alone.\n\n",
        ),
    ] {
        push(&mut out, format_args!("\n{title}"));
        let names =
            calls.get(&coverage).into_iter().flatten().map(|(name, rest)| match rest.as_slice() {
                _ if coverage != Coverage::Partial => format!("`{name}`"),
                rest => format!("`{name}` ({})", rest.join(", ")),
            });
        let text = names.collect::<Vec<_>>().join(", ");
        push(&mut out, format_args!("{text}.\n"));
    }
    out.push_str(
        "\n## Families\n\nOf each a program makes calls with odd values, at ends of pages, with bad pointers and \
         every bit of\nits flags, and says itself how they read (`tracer-user/tests/workload/families`); the test, \
         in\n`tracer-user/tests/kernel/families.rs`, compares.\n\n| family | test |\n|---|---|\n",
    );
    for (test, what) in families(FAMILIES) {
        push(&mut out, format_args!("| {what} | `families::{test}` |\n"));
    }
    out
}

/// Names of tests and what they are about, from the lines `name: "family", "what"`.
fn families(source: &str) -> impl Iterator<Item = (&str, &str)> {
    source.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix("    ")?.split_once(": \"")?;
        let (_, what) = rest.strip_suffix('"')?.split_once("\", \"")?;
        Some((name, what))
    })
}

/// How much is decoded, and which arguments are not.
fn coverage(definition: &Definition) -> (Coverage, Vec<&str>) {
    // The kernel answers these with ENOSYS, or they are for other architectures.
    if UNUSED.contains(&definition.name.as_str()) {
        return (Coverage::Raw, Vec::new());
    }
    let rest: Vec<&str> = definition
        .args
        .iter()
        .filter(|Argument { name, kind, .. }| {
            let is_address = ADDRESSES.contains(&name.as_str());
            // What `arg2` means depends on a command.
            let is_opaque = kind == "ArgKind::Hex" && name.starts_with("arg");
            (kind == "ArgKind::Ptr" && !is_address)
                || is_opaque
                || PARTIAL.iter().any(|part| kind.contains(part))
        })
        .map(|arg| arg.name.as_str())
        .collect();
    let all = !definition.args.is_empty() && rest.len() == definition.args.len();
    match (rest.is_empty(), all) {
        (true, _) => (Coverage::Full, rest),
        (false, true) => (Coverage::Raw, rest),
        (false, false) => (Coverage::Partial, rest),
    }
}

/// Calls that do nothing, or no longer, syscalls(2); `vm86` is for kernels of 32 bits.
const UNUSED: [&str; 22] = [
    "afs_syscall",
    "break",
    "epoll_ctl_old",
    "epoll_wait_old",
    "ftime",
    "getpmsg",
    "gtty",
    "idle",
    "lock",
    "mpx",
    "nfsservctl",
    "prof",
    "profil",
    "putpmsg",
    "query_module",
    "security",
    "stty",
    "tuxcall",
    "ulimit",
    "vm86",
    "vm86old",
    "vserver",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codegen::{names::Names, source};

    #[test]
    fn calls_are_told_apart() {
        let names = Names::parse(Vec::new(), "").unwrap();
        let parse = |text| source::parse(text, &names).unwrap();
        let definitions =
            parse("a(fd:fd) -> int\nb(fd:fd, x:ptr) -> int\nbreak() -> int\nc(x:ptr) -> int\n");
        let text = document(&definitions);
        assert!(text.contains("| fully | 1 |\n| partly | 1 |\n| raw | 2 |"), "{text}");
        assert!(text.contains("`b` (x)."), "{text}");
        let listed = families("    stat: \"stat\", \"`stat`\"\n    use: other;\n");
        assert_eq!(listed.collect::<Vec<_>>(), [("stat", "`stat`")]);
        assert!(text.contains("`families::wait`"), "{text}");
    }
}
