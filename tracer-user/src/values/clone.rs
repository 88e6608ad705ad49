//! The arguments of `clone` and `clone3`: which there are follows from the flags.

use tracer_common::{event::Abi, syscalls::Set};

use super::{
    Context, TextArgument,
    layout::{self, Entry, Kind, field},
    node::{Fields, Node, Shown},
    reader::Reader,
    set, signal,
};

const CLONE_ARGS: &[Entry] = &[
    field("flags", Kind::Custom(clone3_flags)),
    field("pidfd", Kind::Pointer64),
    field("child_tid", Kind::Pointer64),
    field("parent_tid", Kind::Pointer64),
    field("exit_signal", Kind::U64),
    field("stack", Kind::Pointer64),
    field("stack_size", Kind::X64),
    field("tls", Kind::Pointer64),
    field("set_tid", Kind::Pointer64),
    field("set_tid_size", Kind::U64),
    field("cgroup", Kind::U64),
];

/// `struct clone_args`: what its flags make use of; text says behind it what the call has returned
/// there.
pub(super) fn arguments(reader: &mut Reader<'_>, context: &Context<'_>) -> Node {
    let mut fields = fields(reader);
    if context.is_cut {
        fields.cut_after(reader.len());
    }
    let has_parent = fields
        .symbol("flags")
        .is_some_and(|flags| flags.split('|').any(|flag| flag == "CLONE_PARENT_SETTID"));
    let place = fields.number("parent_tid").filter(|_| has_parent);
    match parent_tid(context, place) {
        None => fields.into(),
        Some(tid) => {
            let mut returned = Fields::default();
            returned.push("parent_tid", Node::List(vec![Node::Signed(tid)]));
            let mut text = Vec::new();
            Node::from(fields.clone()).push_text(&mut text);
            text.extend(b" => ");
            Node::from(returned).push_text(&mut text);
            let text = Node::Symbol(String::from_utf8_lossy(&text).into_owned());
            Node::Either(Box::new(text), Box::new(fields.into()))
        }
    }
}

fn fields(reader: &mut Reader<'_>) -> Fields {
    let mut fields = layout::read(CLONE_ARGS, reader);
    let flags = fields.symbol("flags").unwrap_or_default().to_owned();
    let has = |flag: &str| flags.split('|').any(|name| name == flag);
    let unset = |fields: &Fields, name| fields.number(name).unwrap_or_default() == 0;
    for (field, needed) in [
        ("pidfd", has("CLONE_PIDFD")),
        ("child_tid", has("CLONE_CHILD_SETTID") || has("CLONE_CHILD_CLEARTID")),
        ("parent_tid", has("CLONE_PARENT_SETTID")),
        ("tls", has("CLONE_SETTLS")),
        ("cgroup", has("CLONE_INTO_CGROUP") || !unset(&fields, "cgroup")),
        ("set_tid", !unset(&fields, "set_tid") || !unset(&fields, "set_tid_size")),
        ("set_tid_size", !unset(&fields, "set_tid") || !unset(&fields, "set_tid_size")),
    ] {
        fields.show(field, if needed { Shown::Always } else { Shown::Silent });
    }
    if let Some(signal) = fields.number("exit_signal").and_then(|value| i32::try_from(value).ok()) {
        fields.replace("exit_signal", Node::Symbol(signal::name(signal)));
    }
    // Earlier versions of the structure end before these, which is no cut.
    fields.ends_after("tls");
    fields
}

fn clone3_flags(reader: &mut Reader<'_>) -> Option<Node> {
    let flags = reader.u64()?;
    Some(Node::Symbol(set::flags_text(Set::Clone3Flags, reader.abi(), flags)))
}

/// What the kernel has written to where the parent's copy of the thread id goes: the same number
/// that it returns, `kernel_clone`,
/// <https://github.com/torvalds/linux/blob/v6.12/kernel/fork.c#L2788>. That it cannot write there is
/// no error: nothing is where no program has memory.
fn parent_tid(context: &Context<'_>, place: Option<u64>) -> Option<i64> {
    const FIRST_PAGE: u64 = 4096;
    place.filter(|place| *place >= FIRST_PAGE)?;
    Some(context.ret).filter(|ret| *ret > 0)
}

/// Names of a `clone`'s flags.
struct Flags(String);

impl Flags {
    fn new(context: &Context<'_>) -> Self {
        Self(set::flags_text(Set::CloneFlags, context.abi, context.args[0] & !0xff))
    }

    fn has(&self, names: &[&str]) -> bool {
        self.0.split('|').any(|flag| names.contains(&flag))
    }

    fn use_parent(&self) -> bool {
        self.has(&["CLONE_PARENT_SETTID", "CLONE_PIDFD"])
    }

    fn use_tls(&self) -> bool {
        self.has(&["CLONE_SETTLS"])
    }

    fn use_child(&self) -> bool {
        self.has(&["CLONE_CHILD_SETTID", "CLONE_CHILD_CLEARTID"])
    }
}

/// How many arguments `clone` has: those from the end that its flags make no use of are left out.
pub(super) fn argument_count(context: &Context<'_>) -> Option<usize> {
    let flags = Flags::new(context);
    match (flags.use_child(), flags.use_tls(), flags.use_parent()) {
        (false, false, false) => Some(2),
        (false, false, true) => Some(3),
        _ => None,
    }
}

/// The arguments of `clone` as strace orders and names them, those without use left out.
pub(super) fn text_order(context: &Context<'_>) -> Vec<TextArgument> {
    let argument = |index, name| TextArgument { index, name, pointee: None };
    // clone(2): the last two stand the other way round on x86-64.
    let (tls, child) = if matches!(context.abi, Abi::X86_64 | Abi::X32) { (4, 3) } else { (3, 4) };
    let flags = Flags::new(context);
    let mut order = vec![argument(1, "child_stack"), argument(0, "flags")];
    if flags.use_parent() {
        let place = Some(context.args[2]).filter(|_| flags.has(&["CLONE_PARENT_SETTID"]));
        let pointee = parent_tid(context, place);
        order.push(TextArgument { pointee, ..argument(2, "parent_tid") });
    }
    if flags.use_tls() {
        order.push(argument(tls, "tls"));
    }
    if flags.use_child() {
        order.push(argument(child, "child_tidptr"));
    }
    order
}
