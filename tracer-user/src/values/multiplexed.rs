//! Calls of i386 that stand for others: `ipc` and `socketcall`, <https://man7.org/linux/man-pages/man2/ipc.2.html>.

use tracer_common::{
    event::Abi,
    syscalls::{self, ArgKind, Set, Struct, When},
};

use super::{Context, TextArgument, combined, node::Node, push_register, reader::Reader, set};

/// An argument of an operation: its place in `ipc`, its own name, and what it is.
type Operand = (usize, &'static str, ArgKind);

const FIRST: usize = 1;
const SECOND: usize = 2;
const THIRD: usize = 3;
const PTR: usize = 4;
const FIFTH: usize = 5;

/// What the arguments of `ipc` are, by its operation: `compat_ksys_ipc`,
/// <https://github.com/torvalds/linux/blob/v6.18/ipc/syscall.c#L127>.
const OPERATIONS: &[(&str, &[Operand])] = {
    use ArgKind::{Enum, Flags, Int, Ptr, Uint};
    const KEY: ArgKind = Enum(Set::IpcKeys);
    &[
        ("SEMOP", &[(FIRST, "semid", Int), (PTR, "tsops", Ptr), (SECOND, "nsops", Uint)]),
        (
            "SEMTIMEDOP",
            &[
                (FIRST, "semid", Int),
                (PTR, "tsops", Ptr),
                (SECOND, "nsops", Uint),
                (FIFTH, "timeout", Ptr),
            ],
        ),
        (
            "SEMGET",
            &[(FIRST, "key", KEY), (SECOND, "nsems", Int), (THIRD, "semflg", Flags(Set::IpcFlags))],
        ),
        (
            "SEMCTL",
            &[
                (FIRST, "semid", Int),
                (SECOND, "semnum", Int),
                (THIRD, "cmd", Enum(Set::SemctlCommands)),
                (PTR, "arg", Ptr),
            ],
        ),
        (
            "MSGSND",
            &[
                (FIRST, "msqid", Int),
                (PTR, "msgp", Ptr),
                (SECOND, "msgsz", Int),
                (THIRD, "msgflg", Flags(Set::IpcMsgFlags)),
            ],
        ),
        (
            "MSGRCV",
            &[
                (FIRST, "msqid", Int),
                (PTR, "msgp", Ptr),
                (SECOND, "msgsz", Int),
                (FIFTH, "msgtyp", Int),
                (THIRD, "msgflg", Flags(Set::IpcMsgFlags)),
            ],
        ),
        ("MSGGET", &[(FIRST, "key", KEY), (SECOND, "msgflg", Flags(Set::IpcFlags))]),
        (
            "MSGCTL",
            &[(FIRST, "msqid", Int), (SECOND, "cmd", Enum(Set::MsgctlCommands)), (PTR, "buf", Ptr)],
        ),
        (
            "SHMAT",
            &[
                (FIRST, "shmid", Int),
                (PTR, "shmaddr", Ptr),
                (SECOND, "shmflg", Flags(Set::ShmatFlags)),
                (THIRD, "raddr", ArgKind::Struct(Struct::Pointer, When::Attached, ONE)),
            ],
        ),
        ("SHMDT", &[(PTR, "shmaddr", Ptr)]),
        (
            "SHMGET",
            &[
                (FIRST, "key", KEY),
                (SECOND, "size", Uint),
                (THIRD, "shmflg", Flags(Set::ShmgetFlags)),
            ],
        ),
        (
            "SHMCTL",
            &[(FIRST, "shmid", Int), (SECOND, "cmd", Enum(Set::ShmctlCommands)), (PTR, "buf", Ptr)],
        ),
    ]
};
const ONE: syscalls::Extent = syscalls::Extent::One;

/// The arguments of this operation of `ipc`; nothing for one that the kernel does not know.
fn operands(context: &Context<'_>) -> Option<&'static [Operand]> {
    let name = set::name(Set::IpcCalls, context.abi, context.args[0] & 0xffff)?;
    OPERATIONS.iter().find(|(known, _)| *known == name).map(|(_, operands)| *operands)
}

/// Whether the operation is a `MSGRCV` whose pointer leads to a message and its type together:
/// `struct compat_ipc_kludge` of version 0.
fn is_kludge(context: &Context<'_>) -> bool {
    context.args[0] == 12
}

/// The arguments of `ipc` in the order and with the names of the call that the operation stands for.
pub(super) fn text_order(context: &Context<'_>) -> Option<Vec<TextArgument>> {
    let operation = TextArgument { index: 0, name: "", pointee: None };
    let operands = operands(context)?.iter().filter_map(|(index, name, _)| match (*index, *name) {
        (FIFTH, _) if is_kludge(context) => None,
        (PTR, _) if is_kludge(context) => Some((PTR, "kludge")),
        known => Some(known),
    });
    let operands = operands.map(|(index, name)| TextArgument { index, name, pointee: None });
    Some([operation].into_iter().chain(operands).collect())
}

/// Appends an argument of `ipc` that is all in its register, as the operation says what it is.
pub(super) fn push_operand(out: &mut Vec<u8>, context: &Context<'_>, index: usize) -> bool {
    let operand = operands(context).and_then(|all| all.iter().find(|(at, ..)| *at == index));
    let value = context.args.get(index).copied().unwrap_or_default();
    operand.map(|(.., kind)| push_register(out, context, *kind, value)).is_some()
}

/// How many words each call of `socketcall` has, `nargs`,
/// <https://github.com/torvalds/linux/blob/v6.18/net/socket.c#L3062>.
const WORDS: &[(&str, usize)] = &[
    ("socket", 3),
    ("bind", 3),
    ("connect", 3),
    ("listen", 2),
    ("accept", 3),
    ("getsockname", 3),
    ("getpeername", 3),
    ("socketpair", 4),
    ("send", 4),
    ("recv", 4),
    ("sendto", 6),
    ("recvfrom", 6),
    ("shutdown", 2),
    ("setsockopt", 5),
    ("getsockopt", 5),
    ("sendmsg", 3),
    ("recvmsg", 3),
    ("accept4", 4),
    ("recvmmsg", 5),
    ("sendmmsg", 4),
];

/// The words that `socketcall` points to, as arguments of the call that it stands for; nothing for
/// an unknown call, of which the kernel reads none.
pub(super) fn socket_arguments(reader: &mut Reader<'_>, context: &Context<'_>) -> Option<Node> {
    let name = set::name(Set::Socketcalls, context.abi, context.args[0])?;
    let name = name.strip_prefix("SYS_")?.to_ascii_lowercase();
    let (name, count) = *WORDS.iter().find(|(known, _)| *known == name)?;
    let words: Vec<u64> = (0..count).map_while(|_| reader.ulong()).collect();
    // The kernel has no calls of these names: they are the others without an address.
    let name = match name {
        "send" => "sendto",
        "recv" => "recvfrom",
        name => name,
    };
    // Those for 64 bits have the same arguments, and `accept` among them.
    let call = syscalls::lookup(Abi::X86_64, syscalls::number(Abi::X86_64, name)?)?;
    let mut registers = [0; 6];
    registers.iter_mut().zip(&words).for_each(|(register, word)| *register = *word);
    let of_call = Context { name: call.name, args: call.taken(registers), ..*context };
    let known = call.args.iter().zip(of_call.args).take(words.len());
    let mut nodes: Vec<Node> =
        known.map(|(arg, value)| argument(&of_call, arg.kind, value)).collect();
    if words.len() < count {
        nodes.push(Node::More);
    }
    Some(Node::List(nodes))
}

fn argument(context: &Context<'_>, kind: ArgKind, value: u64) -> Node {
    let int = u32::try_from(value).unwrap_or_default().cast_signed();
    match kind {
        ArgKind::Fd => Node::Fd(int),
        ArgKind::Int => Node::Signed(int.into()),
        ArgKind::Uint | ArgKind::Size => Node::Unsigned(value),
        ArgKind::Flags(set) => Node::Symbol(combined::flags(set, context, value)),
        ArgKind::Enum(set) => Node::Symbol(combined::value(set, context, value)),
        _ => Node::Pointer(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(name: &'static str, args: [u64; 6]) -> Context<'static> {
        Context { abi: Abi::I386, name, args, ret: 0, at_exit: false, is_cut: false, fds: &[] }
    }

    fn ipc(args: [u64; 6]) -> String {
        let context = context("ipc", args);
        let mut out = combined::ipc_operation(Abi::I386, args[0]).into_bytes();
        for it in text_order(&context).unwrap().iter().skip(1) {
            out.extend(format!(", {}=", it.name).bytes());
            assert!(push_operand(&mut out, &context, it.index));
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn operations_of_ipc_have_the_arguments_of_their_calls() {
        assert_eq!(
            ipc([23, 0, 4096, 0o1600, 0, 0]),
            "SHMGET, key=IPC_PRIVATE, size=4096, shmflg=IPC_CREAT|0600"
        );
        assert_eq!(
            ipc([21, 7, 0o10000, 0x20, 0x5000, 0]),
            "SHMAT, shmid=7, shmaddr=0x5000, shmflg=SHM_RDONLY, raddr=0x20"
        );
        assert_eq!(ipc([22, 0, 0, 0, 0x5000, 0]), "SHMDT, shmaddr=0x5000");
        assert_eq!(
            ipc([12, 7, 8, 0o4000, 0x10, 9]),
            "MSGRCV, msqid=7, kludge=0x10, msgsz=8, msgflg=IPC_NOWAIT"
        );
        assert_eq!(
            ipc([0x1_000c, 7, 8, 0, 0x10, 0xffff_ffff]),
            "1<<16|MSGRCV, msqid=7, msgp=0x10, msgsz=8, msgtyp=-1, msgflg=0"
        );
        assert_eq!(text_order(&context("ipc", [99, 0, 0, 0, 0, 0])), None);
        for (name, _) in super::super::constants(Set::IpcCalls, Abi::I386) {
            assert!(OPERATIONS.iter().any(|(known, _)| *known == name), "{name}");
        }
    }

    fn socketcall(call: u64, words: &[u32]) -> Option<String> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let context = context("socketcall", [call, 0x100, 0, 0, 0, 0]);
        let node = socket_arguments(&mut Reader::new(&bytes, Abi::I386), &context)?;
        let mut out = Vec::new();
        node.push_text(&mut out);
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn socketcall_has_as_many_words_as_the_call_that_it_stands_for() {
        let words = [2, 0x8_0001, 6, 7, 8, 9];
        let socket = socketcall(1, &words).unwrap();
        assert_eq!(socket, "[AF_INET, SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_TCP]");
        assert_eq!(socketcall(13, &[3, 2, 0, 0, 0, 0]).unwrap(), "[3, SHUT_RDWR]");
        let sent = socketcall(9, &[3, 0x20, 5, 0x4000, 1, 1]).unwrap();
        assert_eq!(sent, "[3, 0x20, 5, MSG_NOSIGNAL]");
        let accepted = socketcall(5, &[u32::MAX, 0, 0, 1, 1, 1]).unwrap();
        assert_eq!(accepted, "[-1, NULL, NULL]");
        assert_eq!(socketcall(4, &[3]).unwrap(), "[3, ...]");
        assert_eq!(socketcall(0, &words), None);
        assert_eq!(socketcall(21, &words), None);
        for (name, _) in super::super::constants(Set::Socketcalls, Abi::I386) {
            let name = name.strip_prefix("SYS_").unwrap().to_ascii_lowercase();
            assert!(WORDS.iter().any(|(known, _)| *known == name), "{name}");
        }
    }
}
