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
    ("found", "Found"),
    ("inout", "Both"),
    ("interrupted", "Interrupted"),
    ("futextimeout", "FutexTimeout"),
    ("ipc", "IpcCommand"),
];

/// The expression for a kind; `args` are the names of the call's arguments.
pub(super) fn expression(text: &str, args: &[&str], names: &Names) -> Result<String> {
    if let Some((_, variant)) = PLAIN.iter().find(|(name, _)| *name == text) {
        return Ok(format!("ArgKind::{variant}"));
    }
    let (text, command) = match text.split_once('?') {
        Some((text, condition)) => (text, Some(self::command(condition, args)?)),
        None => (text, None),
    };
    let end = text.find(['[', '@', '%']).unwrap_or(text.len());
    let (head, measure) = text.split_at(end);
    let extent = extent(measure, args).with_context(|| format!("in `{text}`"))?;
    if let Some((_, variant, fills)) = MEMORY.iter().find(|(name, ..)| *name == head) {
        let when = match (command, fills) {
            (Some(command), _) => command,
            (None, true) => "When::Exit".to_owned(),
            (None, false) => "When::Enter".to_owned(),
        };
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
            let when = command.unwrap_or_else(|| format!("When::{when}"));
            Ok(format!("ArgKind::Struct(Struct::{name}, {when}, {extent})"))
        }
    }
}

/// With which values of another argument memory is read at entry and at exit: `op:1,2/3`.
fn command(text: &str, args: &[&str]) -> Result<String> {
    let (name, values) = text.split_once(':').with_context(|| format!("no values in `{text}`"))?;
    let arg = index(name, args)?;
    let (passed, returned) = values.split_once('/').unwrap_or((values, ""));
    let mask = |list: &str| -> Result<u64> {
        list.split(',').filter(|value| !value.is_empty()).try_fold(0, |mask, value| {
            let bit: u32 = value.parse().with_context(|| format!("not a value: `{value}`"))?;
            let bit = 1_u64.checked_shl(bit).with_context(|| format!("above 63: `{value}`"))?;
            Ok(mask | bit)
        })
    };
    let (passed, returned) = (mask(passed)?, mask(returned)?);
    Ok(format!(
        "When::Command(Command {{ arg: {arg}, passed: {passed:#x}, returned: {returned:#x} }})"
    ))
}

fn index(name: &str, args: &[&str]) -> Result<usize> {
    let at = args.iter().position(|arg| *arg == name);
    at.with_context(|| format!("no argument `{name}`"))
}

/// How much memory there is.
fn extent(text: &str, args: &[&str]) -> Result<String> {
    let index = |name: &str| index(name, args);
    if text.is_empty() {
        return Ok("Extent::One".to_owned());
    }
    if let Some(name) = text.strip_prefix("[ret<=").and_then(|rest| rest.strip_suffix(']')) {
        return Ok(format!("Extent::CountReturnedUpTo({})", index(name)?));
    }
    if let Some(name) = text.strip_prefix("@ret<=") {
        return Ok(format!("Extent::BytesReturnedUpTo({})", index(name)?));
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
            ("bufout@ret<=len", "ArgKind::Data(When::Exit, Extent::BytesReturnedUpTo(2))"),
            (
                "out.pollfd[ret<=nfds]",
                "ArgKind::Struct(Struct::Pollfd, When::Exit, Extent::CountReturnedUpTo(1))",
            ),
            ("found.pollfd", "ArgKind::Struct(Struct::Pollfd, When::Found, Extent::One)"),
            (
                "inout.pollfd?nfds:1,2/5",
                "ArgKind::Struct(Struct::Pollfd, When::Command(Command { arg: 1, passed: 0x6, \
                 returned: 0x20 }), Extent::One)",
            ),
            ("msghdr", "ArgKind::Msghdr(When::Enter)"),
            ("msghdrout", "ArgKind::Msghdr(When::Exit)"),
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
            ("in.pollfd?count:1", "no argument `count`"),
            ("in.pollfd?len:64", "above 63: `64`"),
            ("in.pollfd?len", "no values in `len`"),
            ("bufin$len", "unknown name `bufin$len`"),
        ] {
            let error = expression(text, &["len"], &names).unwrap_err();
            assert_eq!(error.root_cause().to_string(), expected, "{text}");
        }
    }
}
