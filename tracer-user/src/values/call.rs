//! What depends on a call as a whole: which arguments it has, and what its result means.

use tracer_common::syscalls::Set;

use super::{
    Context, Returned, clone, combined, commands, node::Node, process, reader::Reader, set, time,
};

/// How many arguments the call has, where the table's number is only the most.
pub(super) fn argument_count(context: &Context<'_>) -> Option<usize> {
    let args = context.args;
    Some(match context.name {
        "open" | "mq_open" if !creates(args[1]) => 2,
        "openat" if !creates(args[2]) => 3,
        "fcntl" | "fcntl64" => return fcntl(context),
        "futex" | "futex_time64" => futex(context),
        "prctl" => return prctl(context),
        "ioctl" => return ioctl(context),
        "keyctl" => return keyctl(context),
        "ptrace" => return ptrace(context),
        "mremap" if args[3] & 2 == 0 && args[3] & 4 == 0 => 4,
        "reboot" if !restarts_with_text(context) => 3,
        "clone" => return clone::argument_count(context),
        _ => return None,
    })
}

/// `O_CREAT`, and the own bit of `O_TMPFILE`: the same on every ABI here.
fn creates(flags: u64) -> bool {
    flags & (0o100 | 0o20_000_000) != 0
}

/// Of the commands of `reboot` only one has something to say.
fn restarts_with_text(context: &Context<'_>) -> bool {
    commands::command(Set::RebootCommands, context, 2) == "LINUX_REBOOT_CMD_RESTART2"
}

fn fcntl(context: &Context<'_>) -> Option<usize> {
    match commands::command(Set::FcntlCommands, context, 1) {
        "F_GETFD" | "F_GETFL" | "F_GETOWN" | "F_GETPIPE_SZ" | "F_GETLEASE" | "F_GET_SEALS"
        | "F_GETSIG" => Some(2),
        _ => None,
    }
}

/// Commands of `ioctl` without an argument.
fn ioctl(context: &Context<'_>) -> Option<usize> {
    match commands::command(Set::IoctlCommands, context, 1) {
        "FIOCLEX" | "FIONCLEX" | "TIOCSBRK" | "TIOCCBRK" | "TIOCCONS" | "TIOCNOTTY"
        | "TIOCEXCL" | "TIOCNXCL" | "TIOCVHANGUP" => Some(2),
        _ => None,
    }
}

/// Requests of `ptrace` that only have a process, or nothing at all.
fn ptrace(context: &Context<'_>) -> Option<usize> {
    match commands::command(Set::PtraceRequests, context, 0) {
        "PTRACE_TRACEME" => Some(1),
        "PTRACE_ATTACH" | "PTRACE_KILL" | "PTRACE_INTERRUPT" | "PTRACE_LISTEN" => Some(2),
        _ => None,
    }
}

/// Commands of `keyctl` with fewer than four things to say.
fn keyctl(context: &Context<'_>) -> Option<usize> {
    match commands::command(Set::KeyctlOperations, context, 0) {
        "KEYCTL_SESSION_TO_PARENT" => Some(1),
        "KEYCTL_REVOKE"
        | "KEYCTL_CLEAR"
        | "KEYCTL_INVALIDATE"
        | "KEYCTL_ASSUME_AUTHORITY"
        | "KEYCTL_JOIN_SESSION_KEYRING"
        | "KEYCTL_SET_REQKEY_KEYRING" => Some(2),
        "KEYCTL_GET_KEYRING_ID"
        | "KEYCTL_SETPERM"
        | "KEYCTL_LINK"
        | "KEYCTL_UNLINK"
        | "KEYCTL_SET_TIMEOUT"
        | "KEYCTL_GET_PERSISTENT"
        | "KEYCTL_CAPABILITIES" => Some(3),
        "KEYCTL_CHOWN"
        | "KEYCTL_DESCRIBE"
        | "KEYCTL_UPDATE"
        | "KEYCTL_READ"
        | "KEYCTL_GET_SECURITY"
        | "KEYCTL_NEGATE"
        | "KEYCTL_RESTRICT_KEYRING" => Some(4),
        _ => None,
    }
}

fn futex(context: &Context<'_>) -> usize {
    let operation = combined::value(Set::FutexOperations, context, context.args[1]);
    let operation = operation.split('|').next().unwrap_or_default();
    match operation.strip_suffix("_PRIVATE").unwrap_or(operation) {
        "FUTEX_WAKE" | "FUTEX_FD" => 3,
        "FUTEX_WAIT" | "FUTEX_LOCK_PI" | "FUTEX_LOCK_PI2" => 4,
        "FUTEX_REQUEUE" | "FUTEX_WAIT_REQUEUE_PI" => 5,
        "FUTEX_UNLOCK_PI" | "FUTEX_TRYLOCK_PI" => 2,
        _ => 6,
    }
}

fn prctl(context: &Context<'_>) -> Option<usize> {
    match commands::command(Set::PrctlOptions, context, 0) {
        "PR_GET_KEEPCAPS"
        | "PR_GET_SECCOMP"
        | "PR_GET_TIMERSLACK"
        | "PR_GET_TIMING"
        | "PR_GET_DUMPABLE"
        | "PR_GET_SECUREBITS"
        | "PR_TASK_PERF_EVENTS_DISABLE"
        | "PR_TASK_PERF_EVENTS_ENABLE" => Some(1),
        "PR_SET_NAME"
        | "PR_GET_NAME"
        | "PR_GET_PDEATHSIG"
        | "PR_SET_PDEATHSIG"
        | "PR_SET_DUMPABLE"
        | "PR_CAPBSET_READ"
        | "PR_CAPBSET_DROP"
        | "PR_SET_KEEPCAPS"
        | "PR_SET_CHILD_SUBREAPER"
        | "PR_GET_CHILD_SUBREAPER"
        | "PR_SET_TIMERSLACK"
        | "PR_GET_TID_ADDRESS"
        | "PR_SET_PTRACER"
        | "PR_SET_SECUREBITS"
        | "PR_SET_TSC"
        | "PR_GET_TSC" => Some(2),
        "PR_SET_SECCOMP" if context.args[1] == 1 => Some(2),
        "PR_SET_SECCOMP" if context.args[1] == 2 => Some(3),
        _ => None,
    }
}

/// A result that is not read in decimal: bits of `fcntl`, a mode of `umask`.
pub(super) fn result(context: &Context<'_>) -> Option<Node> {
    let value = u64::try_from(context.ret).ok()?;
    match context.name {
        "fcntl" | "fcntl64" if commands::fcntl_result_is_bits(context) => Some(Node::Hex(value)),
        "umask" => Some(Node::Octal(value)),
        _ => None,
    }
}

/// What strace writes behind the result, without brackets.
pub(super) fn result_note(context: &Context<'_>) -> Option<String> {
    match context.name {
        "fcntl" | "fcntl64" => commands::fcntl_result(context),
        "poll" | "ppoll" | "ppoll_time64" | "select" | "_newselect" | "pselect6"
        | "pselect6_time64"
            if context.ret == 0 =>
        {
            Some("Timeout".to_owned())
        }
        _ => None,
    }
}

/// What strace writes behind the result of a call that has waited for descriptors: those that are
/// ready. `returned` has the memory of an argument after the call.
pub(super) fn ready<'a>(
    context: &Context<'_>,
    returned: impl Fn(usize) -> Option<Returned<'a>>,
) -> Option<String> {
    match context.name {
        _ if context.ret <= 0 => None,
        "poll" | "ppoll" | "ppoll_time64" => polled(context, returned(0)?),
        "select" | "_newselect" | "pselect6" | "pselect6_time64" => selected(context, returned),
        _ => None,
    }
}

/// `[{fd=3, revents=POLLIN}]`
fn polled(context: &Context<'_>, returned: Returned<'_>) -> Option<String> {
    const SIZE: usize = 8;
    let items = returned.bytes.chunks_exact(SIZE).filter_map(|bytes| {
        let mut reader = Reader::new(bytes, context.abi);
        let (fd, _, events) = (reader.i32()?, reader.u16()?, reader.u16()?);
        let events = set::flags_text(Set::PollEvents, context.abi, events.into());
        (events != "0").then(|| format!("{{fd={fd}, revents={events}}}"))
    });
    let mut items: Vec<String> = items.collect();
    if returned.is_cut {
        items.push("...".to_owned());
    }
    (!items.is_empty()).then(|| format!("[{}]", items.join(", ")))
}

/// `in [3], out [4], left {tv_sec=0, tv_usec=5}`
fn selected<'a>(
    context: &Context<'_>,
    returned: impl Fn(usize) -> Option<Returned<'a>>,
) -> Option<String> {
    let mut parts = Vec::new();
    for (index, name) in [(1, "in"), (2, "out"), (3, "except")] {
        let Some(it) = returned(index) else { continue };
        let mut node = process::descriptors(it.bytes, context);
        if it.is_cut {
            node = node.cut(it.bytes.len());
        }
        if !node.is_empty() {
            parts.push(format!("{name} {}", text(&node)));
        }
    }
    if let Some(left) = returned(4) {
        let layout = match context.name {
            "pselect6" => time::TIMESPEC,
            "pselect6_time64" => time::TIMESPEC64,
            _ => time::TIMEVAL,
        };
        let left = super::layout::read(layout, &mut Reader::new(left.bytes, context.abi));
        parts.push(format!("left {}", text(&left.into())));
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn text(node: &Node) -> String {
    let mut out = Vec::new();
    node.push_text(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}
