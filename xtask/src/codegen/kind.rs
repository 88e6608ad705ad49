//! Argument kinds as `syscalls.txt` writes them, and the Rust they become.

use anyhow::{Context as _, Result, bail};

use super::names::{Names, variant_name};

/// Kinds without a parameter, and variants of `ArgKind`.
const PLAIN: [(&str, &str); 24] = [
    ("int", "Int"),
    ("uint", "Uint"),
    ("long", "Long"),
    ("ulong", "Ulong"),
    ("size", "Size"),
    ("offset", "Offset"),
    ("hex", "Hex"),
    ("mode", "Mode"),
    ("filemode", "FileMode"),
    ("fd", "Fd"),
    ("dirfd", "DirFd"),
    ("path", "Path"),
    ("str", "Str"),
    ("ptr", "Ptr"),
    ("pid", "Pid"),
    ("uid", "Uid"),
    ("gid", "Gid"),
    ("signal", "Signal"),
    ("dev", "Dev"),
    ("argv", "Argv"),
    ("envp", "Envp"),
    ("ioctlarg", "IoctlArg"),
    ("fcntlarg", "FcntlArg"),
    ("prctlarg", "PrctlArg"),
];

/// Memory that needs no structure's name: the variant, and whether the call fills it.
const MEMORY: [(&str, &str, bool); 11] = [
    ("bufin", "Data", false),
    ("bufout", "Data", true),
    ("pathout", "PathOut", true),
    ("sockaddr", "Sockaddr", false),
    ("sockaddrout", "Sockaddr", true),
    ("iovec", "Iovec", false),
    ("iovecout", "Iovec", true),
    ("msghdr", "Msghdr", false),
    ("msghdrout", "Msghdr", true),
    ("mmsghdr", "Mmsghdr", false),
    ("mmsghdrout", "Mmsghdr", true),
];

/// When a structure is read, and variants of `When`.
const WHEN: [(&str, &str); 7] = [
    ("in", "Enter"),
    ("out", "Exit"),
    ("inout", "Both"),
    ("interrupted", "Interrupted"),
    ("futextimeout", "FutexTimeout"),
    ("ipc", "IpcCommand"),
    ("attached", "Attached"),
];

/// The expression for a kind; `args` are the names of the call's arguments.
pub(super) fn expression(text: &str, args: &[&str], names: &Names) -> Result<String> {
    if let Some((_, variant)) = PLAIN.iter().find(|(name, _)| *name == text) {
        return Ok(format!("ArgKind::{variant}"));
    }
    let end = text.find(['[', '@', '%']).unwrap_or(text.len());
    let (head, measure) = text.split_at(end);
    let extent = extent(measure, args).with_context(|| format!("in `{text}`"))?;
    if let Some((_, variant, fills)) = MEMORY.iter().find(|(name, ..)| *name == head) {
        let when = if *fills { "When::Exit" } else { "When::Enter" };
        return Ok(match *variant {
            "PathOut" => format!("ArgKind::PathOut({extent})"),
            "Msghdr" => format!("ArgKind::Msghdr({when})"),
            variant => format!("ArgKind::{variant}({when}, {extent})"),
        });
    }
    let Some((head, name)) = head.split_once('.') else { bail!("unknown name `{text}`") };
    match head {
        "flags" | "enum" => {
            names.check_set(name)?;
            let variant = if head == "flags" { "Flags" } else { "Enum" };
            Ok(format!("ArgKind::{variant}(Set::{})", variant_name(name)))
        }
        _ => {
            let when = WHEN.iter().find(|(known, _)| *known == head);
            let (_, when) = when.with_context(|| format!("unknown name `{head}`"))?;
            names.check_struct(name)?;
            let name = variant_name(name);
            Ok(format!("ArgKind::Struct(Struct::{name}, When::{when}, {extent})"))
        }
    }
}

/// How much memory there is.
fn extent(text: &str, args: &[&str]) -> Result<String> {
    let index = |name: &str| {
        let at = args.iter().position(|arg| *arg == name);
        at.with_context(|| format!("no argument `{name}`"))
    };
    if text.is_empty() {
        return Ok("Extent::One".to_owned());
    }
    if let Some(name) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return Ok(match name {
            "ret" => "Extent::CountReturned".to_owned(),
            _ => format!("Extent::Count({})", index(name)?),
        });
    }
    if let Some(name) = text.strip_prefix("@*") {
        return Ok(format!("Extent::BytesAt({})", index(name)?));
    }
    if let Some(name) = text.strip_prefix('@') {
        return Ok(match name {
            "ret" => "Extent::BytesReturned".to_owned(),
            _ => format!("Extent::Bytes({})", index(name)?),
        });
    }
    if let Some(name) = text.strip_prefix('%') {
        return Ok(format!("Extent::Bits({})", index(name)?));
    }
    bail!("not a length: `{text}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_become_expressions() {
        let names = Names::parse(vec!["open_flags".into()], "pollfd 8\n").unwrap();
        let args = ["fds", "nfds", "len"];
        for (text, expected) in [
            ("fd", "ArgKind::Fd"),
            ("flags.open_flags", "ArgKind::Flags(Set::OpenFlags)"),
            ("enum.open_flags", "ArgKind::Enum(Set::OpenFlags)"),
            ("in.pollfd", "ArgKind::Struct(Struct::Pollfd, When::Enter, Extent::One)"),
            ("inout.pollfd[nfds]", "ArgKind::Struct(Struct::Pollfd, When::Both, Extent::Count(1))"),
            ("out.pollfd@*len", "ArgKind::Struct(Struct::Pollfd, When::Exit, Extent::BytesAt(2))"),
            ("out.pollfd%nfds", "ArgKind::Struct(Struct::Pollfd, When::Exit, Extent::Bits(1))"),
            ("bufout@ret", "ArgKind::Data(When::Exit, Extent::BytesReturned)"),
            ("pathout@ret", "ArgKind::PathOut(Extent::BytesReturned)"),
            ("msghdr", "ArgKind::Msghdr(When::Enter)"),
            ("iovec[nfds]", "ArgKind::Iovec(When::Enter, Extent::Count(1))"),
        ] {
            assert_eq!(expression(text, &args, &names).unwrap(), expected);
        }
    }

    #[test]
    fn unknown_names_are_refused() {
        let names = Names::parse(vec!["open_flags".into()], "pollfd 8\n").unwrap();
        for (text, expected) in [
            ("flags.open_flag", "syscalls.txt uses the set `open_flag`, which sets.txt has not"),
            ("in.pollf", "syscalls.txt uses the structure `pollf`, which structs.txt has not"),
            ("on.pollfd", "unknown name `on`"),
            ("in.pollfd[count]", "no argument `count`"),
            ("bufin$len", "unknown name `bufin$len`"),
        ] {
            let error = expression(text, &["len"], &names).unwrap_err();
            assert_eq!(error.root_cause().to_string(), expected, "{text}");
        }
    }
}
