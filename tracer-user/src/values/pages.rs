//! Memory as the kernel manages it: nodes, pages, and what is loaded for the next kernel.

use tracer_common::{errno, syscalls::Set};

use super::{
    Context,
    layout::{self, Entry, Kind, field},
    node::{Fields, Node, Shown},
    reader::Reader,
    set, signal, socket,
};

/// `struct kexec_segment`, `linux/kexec.h`.
pub(super) const KEXEC_SEGMENT: &[Entry] = &[
    field("buf", Kind::Pointer),
    field("bufsz", Kind::Ulong),
    field("mem", Kind::Pointer),
    field("memsz", Kind::Ulong),
];

/// Words with a bit for each node. Of `maxnode` bits the kernel looks at all but one,
/// `get_nodes` in mm/mempolicy.c.
pub(super) fn nodes(reader: &mut Reader<'_>, context: &Context<'_>) -> Node {
    let maxnode = match context.name {
        "migrate_pages" => context.args[1],
        "mbind" => context.args[4],
        _ => context.args[2],
    };
    let (bits, digits) = if reader.is_narrow() { (32, 8) } else { (64, 16) };
    let words = maxnode.saturating_sub(1).div_ceil(bits);
    let items = (0..words).map_while(|_| reader.ulong()).map(|word| Node::Padded(word, digits));
    let mut items: Vec<Node> = items.collect();
    if u64::try_from(items.len()).unwrap_or(u64::MAX) < words {
        items.push(Node::More);
    }
    Node::List(items)
}

/// Where a page is now, or why it is not where it should be: a node, or an error below zero.
pub(super) fn page_status(reader: &mut Reader<'_>) -> Option<Node> {
    let status = reader.i32()?;
    Some(match errno::name(status.unsigned_abs()).filter(|_| status < 0) {
        Some(name) => Node::Symbol(format!("-{name}")),
        None => Node::Signed(status.into()),
    })
}

/// The last argument of `io_uring_enter`: a set of signals, or a structure that leads to one.
pub(super) fn io_uring_wait(
    reader: &mut Reader<'_>,
    context: &Context<'_>,
    bytes: &[u8],
) -> Option<Node> {
    /// `struct io_uring_getevents_arg`, `linux/io_uring.h`.
    const EXTENDED: &[Entry] = &[
        field("sigmask", Kind::Pointer64),
        field("sigmask_sz", Kind::U32),
        field("min_wait_usec", Kind::U32),
        field("ts", Kind::Pointer64),
    ];
    const SIGSET: u64 = 8;
    let flags = set::flags_text(Set::IoUringEnterFlags, context.abi, context.args[3]);
    if flags.split('|').any(|flag| flag == "IORING_ENTER_EXT_ARG") {
        return Some(layout::read(EXTENDED, reader).into());
    }
    (context.args[5] == SIGSET).then(|| signal::set_node(bytes))
}

/// What `seccomp` is told or asked, by the operation.
pub(super) fn seccomp(reader: &mut Reader<'_>, context: &Context<'_>) -> Option<Node> {
    /// `struct seccomp_notif_sizes`, `linux/seccomp.h`.
    const SIZES: &[Entry] = &[
        field("seccomp_notif", Kind::U16),
        field("seccomp_notif_resp", Kind::U16),
        field("seccomp_data", Kind::U16),
    ];
    let operation = set::name(Set::SeccompOperations, context.abi, context.args[0] & 0xffff_ffff);
    match operation {
        Some("SECCOMP_GET_ACTION_AVAIL") => {
            let action = set::value_text(Set::SeccompActions, context.abi, reader.u32()?.into());
            Some(Node::List(vec![Node::Symbol(action)]))
        }
        Some("SECCOMP_GET_NOTIF_SIZES") if context.at_exit => {
            Some(layout::read(SIZES, reader).into())
        }
        Some("SECCOMP_GET_NOTIF_SIZES") => None,
        _ => Some(layout::read(socket::PROGRAM, reader).into()),
    }
}

/// A message of System V: its type; what it says is data.
pub(super) fn message(reader: &mut Reader<'_>) -> Option<Fields> {
    let mut fields = Fields::default();
    fields.push("mtype", Node::Signed(reader.long()?));
    fields.push_as("mtext", Node::More, Shown::Text);
    Some(fields)
}

#[cfg(test)]
mod tests {
    use tracer_common::{event::Abi, syscalls::Struct};

    use super::super::push_struct;
    use super::*;

    fn text(name: &'static str, args: [u64; 6], kind: Struct, bytes: &[u8]) -> String {
        let context = Context {
            abi: Abi::X86_64,
            name,
            args,
            ret: 0,
            at_exit: true,
            is_cut: false,
            fds: &[],
        };
        let mut out = Vec::new();
        let known = push_struct(&mut out, kind, &context, bytes);
        if known { String::from_utf8(out).unwrap() } else { "none".to_owned() }
    }

    #[test]
    fn of_nodes_there_are_as_many_as_the_kernel_looks_at() {
        let nodes = |maxnode, len| {
            text("set_mempolicy", [2, 0, maxnode, 0, 0, 0], Struct::NodeMask, &[3; 128][..len])
        };
        let word = "0x303030303030303";
        assert_eq!(nodes(1, 8), "[]");
        assert_eq!(nodes(64, 8), format!("[{word}]"));
        assert_eq!(nodes(65, 16), format!("[{word}]"));
        assert_eq!(nodes(66, 16), format!("[{word}, {word}]"));
        assert_eq!(nodes(u64::MAX, 8), format!("[{word}, ...]"));
    }

    #[test]
    fn what_follows_from_an_operation() {
        let wait = |flags, len| {
            text("io_uring_enter", [3, 0, 0, flags, 0, len], Struct::IoUringEnterArg, &[2; 24])
        };
        let extended = "{sigmask=0x202020202020202, sigmask_sz=33686018, \
                        min_wait_usec=33686018, ts=0x202020202020202}";
        assert_eq!(wait(8, 24), extended);
        assert_eq!((wait(0, 24), wait(0, 8)), ("none".to_owned(), wait(1, 8)));
        let ask = |operation, bytes| {
            text("seccomp", [operation, 0, 0, 0, 0, 0], Struct::SockFprog, bytes)
        };
        let action = 0x7fff_0000_u32.to_le_bytes();
        assert_eq!(ask(2, &action), "[SECCOMP_RET_ALLOW]");
        let sizes = "{seccomp_notif=80, seccomp_notif_resp=24, seccomp_data=64}";
        assert_eq!(ask(3, &[80, 0, 24, 0, 64, 0]), sizes);
    }

    #[test]
    fn a_page_is_on_a_node_or_not_there() {
        let status = |value: i32| text("", [0; 6], Struct::PageStatus, &value.to_le_bytes());
        assert_eq!([status(1), status(-2), status(-999)], ["1", "-ENOENT", "-999"]);
    }
}
