//! What processes are made of and may do.

use tracer_common::syscalls::Set;

use super::{
    Context,
    layout::{self, Entry, Kind, field, silent},
    node::{Fields, Node, Shown},
    reader::Reader,
    set, signal,
};

pub(super) const UTSNAME: &[Entry] = &utsname(65);
pub(super) const OLDUTSNAME: &[Entry] = &old_utsname(65);
pub(super) const OLDOLDUTSNAME: &[Entry] = &old_utsname(9);

const fn old_utsname(len: usize) -> [Entry; 5] {
    [
        field("sysname", Kind::Text(len)),
        field("nodename", Kind::Text(len)),
        layout::abridged("release", Kind::Text(len)),
        layout::abridged("version", Kind::Text(len)),
        layout::abridged("machine", Kind::Text(len)),
    ]
}

const fn utsname(len: usize) -> [Entry; 6] {
    let [sysname, nodename, release, version, machine] = old_utsname(len);
    let domainname = layout::abridged("domainname", Kind::Text(len));
    [sysname, nodename, release, version, machine, domainname]
}

pub(super) const SYSINFO: &[Entry] = &[
    field("uptime", Kind::Ulong),
    field("loads", Kind::Array(&Kind::Ulong, 3)),
    field("totalram", Kind::Ulong),
    field("freeram", Kind::Ulong),
    field("sharedram", Kind::Ulong),
    field("bufferram", Kind::Ulong),
    field("totalswap", Kind::Ulong),
    field("freeswap", Kind::Ulong),
    field("procs", Kind::U16),
    field("totalhigh", Kind::Ulong),
    field("freehigh", Kind::Ulong),
    field("mem_unit", Kind::U32),
];
pub(super) const RLIMIT: &[Entry] =
    &[field("rlim_cur", Kind::Custom(limit)), field("rlim_max", Kind::Custom(limit))];
pub(super) const RLIMIT64: &[Entry] =
    &[field("rlim_cur", Kind::Custom(limit64)), field("rlim_max", Kind::Custom(limit64))];
const SCHED_ATTR: &[Entry] = &[
    field("size", Kind::U32),
    field("sched_policy", Kind::Enum32(Set::SchedPolicies)),
    field("sched_flags", Kind::Flags64(Set::SchedAttrFlags)),
    field("sched_nice", Kind::I32),
    field("sched_priority", Kind::U32),
    field("sched_runtime", Kind::U64),
    field("sched_deadline", Kind::U64),
    field("sched_period", Kind::U64),
    field("sched_util_min", Kind::U32),
    field("sched_util_max", Kind::U32),
];
pub(super) const CAP_HEADER: &[Entry] =
    &[field("version", Kind::Enum32(Set::CapabilityVersions)), field("pid", Kind::I32)];
pub(super) const FUTEX_WAITV: &[Entry] = &[
    field("val", Kind::X64),
    field("uaddr", Kind::Pointer64),
    field("flags", Kind::Custom(futex2_flags)),
    silent("__reserved", Kind::U32),
];
pub(super) const SEMBUF: &[Entry] = &[
    field("sem_num", Kind::U16),
    field("sem_op", Kind::I16),
    field("sem_flg", Kind::Flags16(Set::SemopFlags)),
];
pub(super) const MQ_ATTR: &[Entry] = &[
    field("mq_flags", Kind::FlagsLong(Set::MqFlags)),
    field("mq_maxmsg", Kind::Long),
    field("mq_msgsize", Kind::Long),
    field("mq_curmsgs", Kind::Long),
];

/// `struct user_desc`: bits with names of their own.
pub(super) fn user_desc(reader: &mut Reader<'_>) -> Option<Fields> {
    const BITS: [(&str, u32, u32); 7] = [
        ("seg_32bit", 0, 1),
        ("contents", 1, 3),
        ("read_exec_only", 3, 1),
        ("limit_in_pages", 4, 1),
        ("seg_not_present", 5, 1),
        ("useable", 6, 1),
        ("lm", 7, 1),
    ];
    let mut fields = Fields::default();
    // -1 asks for a free one.
    fields.push("entry_number", Node::Signed(reader.i32()?.into()));
    fields.push("base_addr", Node::Padded(reader.u32()?.into(), 8));
    fields.push("limit", Node::Padded(reader.u32()?.into(), 8));
    let bits = reader.u32()?;
    for (name, shift, mask) in BITS {
        if name != "lm" || !reader.is_narrow() {
            fields.push(name, Node::Unsigned((bits >> shift & mask).into()));
        }
    }
    Some(fields)
}

/// A limit of the ABI's `long`.
fn limit(reader: &mut Reader<'_>) -> Option<Node> {
    if reader.is_narrow() {
        let limit = reader.u32()?;
        return Some(limit_node(limit.into(), limit == u32::MAX, "RLIM_INFINITY"));
    }
    limit64(reader)
}

fn limit64(reader: &mut Reader<'_>) -> Option<Node> {
    reader.u64().map(|limit| limit_node(limit, limit == u64::MAX, "RLIM64_INFINITY"))
}

fn limit_node(limit: u64, is_infinite: bool, infinity: &str) -> Node {
    match limit {
        _ if is_infinite => Node::Symbol(infinity.to_owned()),
        1025.. if limit.is_multiple_of(1024) => Node::Times1024(limit / 1024),
        _ => Node::Unsigned(limit),
    }
}

/// `struct sched_attr`: as much of it as its size says.
pub(super) fn sched_attr(reader: &mut Reader<'_>, context: &Context<'_>) -> Fields {
    // Sizes of the first and the second version, sched_setattr(2).
    const FIRST: u64 = 48;
    const SECOND: u64 = 56;
    const PARAMETERS: [&str; 5] =
        ["sched_nice", "sched_priority", "sched_runtime", "sched_deadline", "sched_period"];
    let mut fields = layout::read(SCHED_ATTR, reader);
    let is_set = context.name == "sched_setattr";
    let size = match fields.number("size") {
        Some(0) | None if is_set => FIRST,
        size => size.unwrap_or_default(),
    };
    if size < FIRST {
        let mut head = Fields::default();
        head.push("size", Node::Unsigned(fields.number("size").unwrap_or_default()));
        return head;
    }
    if size < SECOND {
        fields.show("sched_util_min", Shown::Silent);
        fields.show("sched_util_max", Shown::Silent);
        fields.ends_after("sched_period");
    }
    let flags = fields.symbol("sched_flags").unwrap_or_default().to_owned();
    let keeps = |flag: &str| is_set && flags.split('|').any(|name| name == flag);
    if keeps("SCHED_FLAG_KEEP_POLICY") || keeps("SCHED_FLAG_KEEP_PARAMS") {
        fields.show("sched_policy", Shown::Silent);
    }
    if keeps("SCHED_FLAG_KEEP_PARAMS") {
        for name in PARAMETERS {
            fields.show(name, Shown::Silent);
        }
    }
    if is_set && size > SECOND {
        fields.push_as("rest", Node::More, Shown::Abridged);
    }
    fields
}

fn futex2_flags(reader: &mut Reader<'_>) -> Option<Node> {
    reader.u32().map(|flags| Node::Symbol(futex2_flags_text(reader, flags)))
}

/// The size of the number in two bits, then flags.
fn futex2_flags_text(reader: &Reader<'_>, flags: u32) -> String {
    const SIZES: [&str; 4] =
        ["FUTEX2_SIZE_U8", "FUTEX2_SIZE_U16", "FUTEX2_SIZE_U32", "FUTEX2_SIZE_U64"];
    let size = usize::try_from(flags & 3).unwrap_or_default();
    let size = SIZES.get(size).copied().unwrap_or_default();
    set::joined(size, Set::Futex2Flags, reader.abi(), (flags & !3).into())
}

/// Two `struct __user_cap_data_struct`: three sets, each in two halves.
pub(super) fn cap_data(reader: &mut Reader<'_>) -> Fields {
    let mut halves = [[0_u64; 3]; 2];
    let mut fields = Fields::default();
    let mut known = 0;
    for half in &mut halves {
        let (Some(effective), Some(permitted), Some(inheritable)) =
            (reader.u32(), reader.u32(), reader.u32())
        else {
            break;
        };
        *half = [effective.into(), permitted.into(), inheritable.into()];
        known += 1;
    }
    // The first version of the structure has but one.
    if known == 0 {
        fields.cut_after(reader.len());
        return fields;
    }
    let [low, high] = halves;
    for ((name, low), high) in ["effective", "permitted", "inheritable"].iter().zip(low).zip(high) {
        fields.push(name, Node::Symbol(capabilities(reader, low | high << 32)));
    }
    fields
}

/// `1<<CAP_CHOWN|1<<CAP_KILL`
fn capabilities(reader: &Reader<'_>, mask: u64) -> String {
    let names = (0..64).filter(|bit| mask >> bit & 1 == 1).map(|bit| {
        match set::name(Set::Capabilities, reader.abi(), bit) {
            Some(name) => format!("1<<{name}"),
            None => format!("{:#x}", 1_u64 << bit),
        }
    });
    let text = names.collect::<Vec<_>>().join("|");
    if text.is_empty() { "0".to_owned() } else { text }
}

/// What `wait` says of a child's end.
pub(super) fn wait_status(reader: &mut Reader<'_>) -> Option<Node> {
    let status = reader.u32()?;
    let low = status & 0x7f;
    let exit = (status >> 8 & 0xff).cast_signed();
    let (text, rest) = match status {
        0xffff => ("{WIFCONTINUED(s)}".to_owned(), 0),
        _ if status & 0xff == 0x7f => {
            let stop = signal::name(exit & 0x7f);
            let trap = if exit & 0x80 == 0 { "" } else { " | 0x80" };
            (format!("{{WIFSTOPPED(s) && WSTOPSIG(s) == {stop}{trap}}}"), status & !0xffff)
        }
        _ if low != 0 => {
            let core = if status & 0x80 == 0 { "" } else { " && WCOREDUMP(s)" };
            let end = signal::name(low.cast_signed());
            (format!("{{WIFSIGNALED(s) && WTERMSIG(s) == {end}{core}}}"), status & !0xff)
        }
        _ => (format!("{{WIFEXITED(s) && WEXITSTATUS(s) == {exit}}}"), status & !0xff00),
    };
    Some(Node::Symbol(text + &wait_rest(rest)))
}

/// `|PTRACE_EVENT_FORK<<16|0x1`
fn wait_rest(rest: u32) -> String {
    let mut text = String::new();
    let event = rest >> 16;
    if event != 0 {
        let abi = tracer_common::event::Abi::X86_64;
        let event = set::value_text(Set::PtraceEvents, abi, event.into());
        text = format!("|{event}<<16");
    }
    if rest & 0xffff != 0 {
        text = format!("{text}|{:#x}", rest & 0xffff);
    }
    text
}

/// Bits as the numbers of those that are set: a set of CPUs.
pub(super) fn bits(bytes: &[u8]) -> Node {
    Node::Members { items: set_bits(bytes).map(Node::Unsigned).collect(), negated: false }
}

/// A `fd_set`, in the same way. It has as many descriptors as the first argument says: the kernel
/// looks at no others, select(2).
pub(super) fn descriptors(bytes: &[u8], context: &Context<'_>) -> Node {
    let low = u32::try_from(context.args[0] & 0xffff_ffff).unwrap_or_default();
    let count = low.cast_signed();
    let fds = set_bits(bytes).filter_map(|bit| i32::try_from(bit).ok());
    let items = fds.filter(|fd| *fd < count).map(Node::Fd).collect();
    Node::Members { items, negated: false }
}

fn set_bits(bytes: &[u8]) -> impl Iterator<Item = u64> {
    (0_u64..).zip(bytes.iter()).flat_map(|(index, byte)| {
        (0..8_u64).filter(move |bit| byte >> bit & 1 == 1).map(move |bit| index * 8 + bit)
    })
}
