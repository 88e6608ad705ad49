//! Calls of i386 that stand for others, under the names of these: strace prints what is called,
//! tracer what the kernel was called with.

use super::call::Call;

/// The calls whose first argument names what is called.
const MULTIPLEXED: [&str; 2] = ["socketcall", "ipc"];

/// The call that a call stands for; any other as it is.
pub(super) fn unfold(call: Call) -> Call {
    let inner = match call.name.as_str() {
        name if MULTIPLEXED.contains(&name) => multiplexed(&call),
        "select" | "mmap" => structure(&call),
        _ => None,
    };
    inner.unwrap_or(call)
}

/// `socketcall(SYS_SEND, [3, 0x20])` as `send(3, 0x20)`, `ipc(1<<16|SHMDT, shmaddr=0x10)` as
/// `shmdt(0x10)`.
fn multiplexed(call: &Call) -> Option<Call> {
    let (first, rest) = call.args.split_first()?;
    let name = first.rsplit('|').next()?;
    let name = name.strip_prefix("SYS_").unwrap_or(name);
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric()) {
        return None;
    }
    let inside = match rest {
        [words] if words.starts_with('[') => words.strip_prefix('[')?.strip_suffix(']')?.to_owned(),
        // The words could not be read.
        [_] if call.name == "socketcall" => return None,
        _ => rest.iter().map(|it| value(it)).collect::<Vec<_>>().join(", "),
    };
    parse(&name.to_ascii_lowercase(), &inside, &call.result)
}

/// `select({n=1, tvp=0x10})` as `select(1, 0x10)`.
fn structure(call: &Call) -> Option<Call> {
    let [only] = call.args.as_slice() else { return None };
    let inside = only.strip_prefix('{')?.strip_suffix('}')?;
    let mut inner = parse(&call.name, inside, &call.result)?;
    for arg in &mut inner.args {
        *arg = value(arg).to_owned();
    }
    Some(inner)
}

fn parse(name: &str, inside: &str, result: &str) -> Option<Call> {
    Call::parse(&format!("{name}({inside}) = {result}"))
}

/// What is behind a member's name.
fn value(member: &str) -> &str {
    let is_name = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    member.split_once('=').filter(|(name, _)| is_name(name)).map_or(member, |(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unfolded(text: &str) -> String {
        unfold(Call::parse(text).unwrap()).show()
    }

    #[test]
    fn a_call_has_the_name_of_what_it_stands_for() {
        let same = |a: &str, b: &str| assert_eq!(unfolded(a), b);
        same(
            "socketcall(SYS_SENDTO, [4, 0xff, MSG_DONTWAIT]) = 4",
            "sendto(4, 0xff, MSG_DONTWAIT) = 4",
        );
        same(
            "ipc(1<<16|SHMGET, key=0x1, shmflg=IPC_CREAT|0600) = 3",
            "shmget(0x1, IPC_CREAT|0600) = 3",
        );
        same(
            "select({n=0, inp=NULL, tvp=0x10}) = 0 (Timeout)",
            "select(0, NULL, 0x10) = 0 (Timeout)",
        );
        same(
            "mmap({addr=0x1, prot=PROT_READ|PROT_EXEC}) = 0x1",
            "mmap(0x1, PROT_READ|PROT_EXEC) = 0x1",
        );
    }

    #[test]
    fn others_stay() {
        for text in [
            "socketcall(0 /* SYS_??? */, 0x10) = -1 EINVAL",
            "socketcall(SYS_SOCKET, 0x10) = -1 EFAULT",
            "ipc(0 /* SYS_??? */, 0, 0, NULL) = -1 ENOSYS",
            "select(0, NULL, NULL, NULL, {tv_sec=0}) = 0",
            "mmap(NULL) = 0",
            "read(3, \"\", 0) = 0",
        ] {
            assert_eq!(unfolded(text), text);
        }
    }
}
