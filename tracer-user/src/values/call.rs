//! What depends on a call as a whole: which arguments it has, and what its result means.

use tracer_common::syscalls::Set;

use super::{Context, combined, commands, set};

/// How many arguments the call has, where the table's number is only the most.
pub(super) fn argument_count(context: &Context) -> Option<usize> {
    let args = context.args;
    Some(match context.name {
        "open" if !creates(args[1]) => 2,
        "openat" if !creates(args[2]) => 3,
        "mq_open" if !creates(args[1]) => 2,
        "fcntl" | "fcntl64" => return fcntl(context),
        "futex" | "futex_time64" => futex(context),
        "prctl" => return prctl(context),
        "ioctl" => return ioctl(context),
        "mremap" if args[3] & 2 == 0 && args[3] & 4 == 0 => 4,
        "clone" => return clone(context),
        _ => return None,
    })
}

/// `O_CREAT`, and the own bit of `O_TMPFILE`: the same on every ABI here.
fn creates(flags: u64) -> bool {
    flags & (0o100 | 0o20_000_000) != 0
}

fn fcntl(context: &Context) -> Option<usize> {
    match commands::command(Set::FcntlCommands, context, 1) {
        "F_GETFD" | "F_GETFL" | "F_GETOWN" | "F_GETPIPE_SZ" | "F_GETLEASE" | "F_GET_SEALS"
        | "F_GETSIG" => Some(2),
        _ => None,
    }
}

/// Commands of `ioctl` without an argument.
fn ioctl(context: &Context) -> Option<usize> {
    match commands::command(Set::IoctlCommands, context, 1) {
        "FIOCLEX" | "FIONCLEX" | "TIOCSBRK" | "TIOCCBRK" | "TIOCCONS" | "TIOCNOTTY"
        | "TIOCEXCL" | "TIOCNXCL" | "TIOCVHANGUP" => Some(2),
        _ => None,
    }
}

fn futex(context: &Context) -> usize {
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

fn prctl(context: &Context) -> Option<usize> {
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

/// Arguments of `clone` that its flags make no use of, from the end.
fn clone(context: &Context) -> Option<usize> {
    let flags = set::flags_text(Set::CloneFlags, context.abi, context.args[0] & !0xff);
    let has = |name: &str| flags.split('|').any(|flag| flag == name);
    let uses = |names: &[&str]| names.iter().any(|name| has(name));
    let child = uses(&["CLONE_CHILD_SETTID", "CLONE_CHILD_CLEARTID"]);
    let parent = uses(&["CLONE_PARENT_SETTID", "CLONE_PIDFD"]);
    match (child, has("CLONE_SETTLS"), parent) {
        (false, false, false) => Some(2),
        (false, false, true) => Some(3),
        _ => None,
    }
}

/// What strace writes behind the result, without brackets.
pub(super) fn result_note(context: &Context) -> Option<String> {
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
