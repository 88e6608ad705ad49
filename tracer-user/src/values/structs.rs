//! Which decoder reads which structure of the syscall table.

use tracer_common::syscalls::{Set, Struct};

use super::{
    Context, clone, combined, commands, cut, dirents, files, ipc,
    layout::{self, Entry, Kind, field, silent},
    multiplexed,
    node::{Fields, Node},
    pages, process,
    reader::Reader,
    signal, socket, time,
};

const EPOLL_EVENT: &[Entry] =
    &[field("events", Kind::Flags32(Set::EpollEvents)), field("data", Kind::Custom(epoll_data))];
const IO_EVENT: &[Entry] = &[
    field("data", Kind::X64),
    field("obj", Kind::X64),
    field("res", Kind::I64),
    field("res2", Kind::I64),
];
const SQ_OFFSETS: &[Entry] = &[
    field("head", Kind::U32),
    field("tail", Kind::U32),
    field("ring_mask", Kind::U32),
    field("ring_entries", Kind::U32),
    field("flags", Kind::U32),
    field("dropped", Kind::U32),
    field("array", Kind::U32),
    silent("resv1", Kind::U32),
    silent("user_addr", Kind::Pointer64),
];
const CQ_OFFSETS: &[Entry] = &[
    field("head", Kind::U32),
    field("tail", Kind::U32),
    field("ring_mask", Kind::U32),
    field("ring_entries", Kind::U32),
    field("overflow", Kind::U32),
    field("cqes", Kind::U32),
    field("flags", Kind::U32),
    silent("resv1", Kind::U32),
    silent("user_addr", Kind::Pointer64),
];
const IOVEC: &[Entry] = &[field("iov_base", Kind::Pointer), field("iov_len", Kind::Ulong)];
const LANDLOCK_RULESET: &[Entry] = &[
    field("handled_access_fs", Kind::Flags64(Set::LandlockAccessFs)),
    field("handled_access_net", Kind::Flags64(Set::LandlockAccessNet)),
    field("scoped", Kind::Flags64(Set::LandlockScope)),
];
const MNT_ID_REQ: &[Entry] = &[
    field("size", Kind::U32),
    silent("spare", Kind::U32),
    field("mnt_id", Kind::X64),
    field("param", Kind::X64),
    field("mnt_ns_id", Kind::X64),
];
const NS_ID_REQ: &[Entry] = &[
    field("size", Kind::U32),
    field("ns_type", Kind::X32),
    field("ns_id", Kind::X64),
    field("user_ns_id", Kind::X64),
];
const PERF_EVENT_ATTR: &[Entry] = &[
    field("type", Kind::Enum32(Set::PerfTypes)),
    field("size", Kind::U32),
    field("config", Kind::X64),
    field("sample_period", Kind::U64),
    field("sample_type", Kind::X64),
    field("read_format", Kind::X64),
    layout::abridged("bits", Kind::X64),
];
const IOCB: &[Entry] = &[
    field("aio_data", Kind::X64),
    silent("aio_key", Kind::U32),
    silent("aio_rw_flags", Kind::Flags32(Set::RwfFlags)),
    field("aio_lio_opcode", Kind::Enum16(Set::IocbCommands)),
    silent("aio_reqprio", Kind::I16),
    field("aio_fildes", Kind::Fd),
    field("aio_buf", Kind::X64),
    field("aio_nbytes", Kind::U64),
    field("aio_offset", Kind::I64),
];
/// `struct mmap_arg_struct32`
const MMAP_ARG: &[Entry] = &[
    field("addr", Kind::Pointer),
    field("len", Kind::U32),
    field("prot", Kind::Flags32(Set::MmapProt)),
    field("flags", Kind::Custom(mmap_flags)),
    field("fd", Kind::Fd),
    field("offset", Kind::X32),
];
/// `struct compat_sel_arg_struct`; of `n` the kernel takes an `int`.
const SELECT_ARG: &[Entry] = &[
    field("n", Kind::I32),
    field("inp", Kind::Pointer),
    field("outp", Kind::Pointer),
    field("exp", Kind::Pointer),
    field("tvp", Kind::Pointer),
];
const MSGHDR: &[Entry] = &[
    field("msg_name", Kind::Pointer),
    field("msg_namelen", Kind::I32),
    field("msg_iov", Kind::Pointer),
    field("msg_iovlen", Kind::Ulong),
    field("msg_control", Kind::Pointer),
    field("msg_controllen", Kind::Ulong),
    field("msg_flags", Kind::Flags32(Set::MsgFlags)),
];
const MMSGHDR: &[Entry] = &[field("msg_hdr", Kind::Inner(MSGHDR)), field("msg_len", Kind::U32)];
const FD_PAIR: Kind = Kind::Array(&Kind::Fd, 2);

/// Reads one structure; nothing where it is none that is known, or nothing of it is there. One that
/// was captured in part says so, whatever its decoder has made of what there is.
pub(super) fn decode(kind: Struct, context: &Context<'_>, bytes: &[u8]) -> Option<Node> {
    let node = read(kind, context, bytes)?;
    // A number is all there, also where the command of `ioctl` says more: FS_IOC_SETFLAGS.
    let is_number = kind == Struct::IoctlArg && !matches!(node, Node::Fields(_));
    let is_short = context.is_cut && !is_number && !cut::is_whole(kind, context, bytes);
    Some(if is_short { node.cut(bytes.len()) } else { node })
}

fn read(kind: Struct, context: &Context<'_>, bytes: &[u8]) -> Option<Node> {
    let may_be_empty = matches!(kind, Struct::Sockopt | Struct::Dirents | Struct::Dirents64);
    if bytes.is_empty() && !may_be_empty {
        return None;
    }
    let mut reader = Reader::new(bytes, context.abi);
    if let Some(layout) = described(kind) {
        return Some(layout::read(layout, &mut reader).into());
    }
    number(kind, context, &mut reader).or_else(|| special(kind, context, &mut reader, bytes))
}

/// Structures that are but a list of fields.
fn described(kind: Struct) -> Option<&'static [Entry]> {
    Some(match kind {
        Struct::Cachestat => files::CACHESTAT,
        Struct::CachestatRange => files::CACHESTAT_RANGE,
        Struct::CapHeader => process::CAP_HEADER,
        Struct::EpollEvent => EPOLL_EVENT,
        Struct::FileAttr => files::FILE_ATTR,
        Struct::FutexWaitv => process::FUTEX_WAITV,
        Struct::IoEvent => IO_EVENT,
        Struct::Iovec => IOVEC,
        Struct::KexecSegment => pages::KEXEC_SEGMENT,
        Struct::Itimerspec => time::ITIMERSPEC,
        Struct::Itimerspec64 => time::ITIMERSPEC64,
        Struct::Itimerval => time::ITIMERVAL,
        Struct::MmapArg => MMAP_ARG,
        Struct::Mmsghdr => MMSGHDR,
        Struct::MountAttr => files::MOUNT_ATTR,
        Struct::MqAttr => process::MQ_ATTR,
        Struct::Msghdr => MSGHDR,
        Struct::NsIdReq => NS_ID_REQ,
        Struct::Oldoldutsname => process::OLDOLDUTSNAME,
        Struct::Oldutsname => process::OLDUTSNAME,
        Struct::PselectSigmask | Struct::AioSigset => signal::SIGSET_POINTER,
        Struct::Rlimit => process::RLIMIT,
        Struct::Rlimit64 => process::RLIMIT64,
        Struct::Rusage => time::RUSAGE,
        Struct::SelectArg => SELECT_ARG,
        Struct::Sembuf => process::SEMBUF,
        Struct::Stack => signal::STACK,
        Struct::Sysinfo => process::SYSINFO,
        Struct::Timespec => time::TIMESPEC,
        Struct::Timespec64 => time::TIMESPEC64,
        Struct::Timeval => time::TIMEVAL,
        Struct::Timezone => time::TIMEZONE,
        Struct::Tms => time::TMS,
        Struct::Ustat => files::USTAT,
        Struct::Utimbuf => time::UTIMBUF,
        Struct::Utsname => process::UTSNAME,
        Struct::XattrArgs => files::XATTR_ARGS,
        _ => return None,
    })
}

/// Whether the kernel writes a mount's unique id, `AT_HANDLE_MNT_ID_UNIQUE`, `name_to_handle_at(2)`.
fn is_unique_mount(context: &Context<'_>) -> bool {
    const UNIQUE: u64 = 1;
    let [_, _, _, _, flags, _] = context.args;
    context.name == "name_to_handle_at" && flags & UNIQUE != 0
}

/// Plain numbers, of which all bytes must be there.
fn number(kind: Struct, context: &Context<'_>, reader: &mut Reader<'_>) -> Option<Node> {
    match kind {
        // A number of twice as many bytes, of which half was read.
        Struct::Int if is_unique_mount(context) => None,
        Struct::Int | Struct::Socklen | Struct::SchedParam => {
            reader.i32().map(|value| Node::Signed(value.into()))
        }
        Struct::Uint => reader.u32().map(|value| Node::Unsigned(value.into())),
        Struct::Uid | Struct::Gid if reader.is_narrow() => reader.u16().map(|value| {
            if value == u16::MAX { Node::id(u32::MAX) } else { Node::id(value.into()) }
        }),
        Struct::Uid32 | Struct::Gid32 | Struct::Uid | Struct::Gid => reader.u32().map(Node::id),
        Struct::Ulong => reader.ulong().map(Node::Unsigned),
        Struct::U64 => reader.u64().map(Node::Unsigned),
        Struct::Off if context.name.starts_with("sendfile") => reader.ulong().map(Node::Unsigned),
        Struct::Loff if context.name.starts_with("sendfile") => reader.u64().map(Node::Unsigned),
        Struct::MempolicyMode => reader.u32().map(|mode| {
            let text = combined::flags(Set::MempolicyModes, context, mode.into());
            Node::Symbol(text)
        }),
        Struct::Off => reader.long().map(Node::Signed),
        Struct::Loff => reader.u64().map(|value| Node::Signed(value.cast_signed())),
        Struct::Pointer | Struct::AioContext => reader.ulong().map(Node::Pointer),
        Struct::Time => reader.long().map(time::seconds),
        Struct::WaitStatus => process::wait_status(reader),
        Struct::FdPair => FD_PAIR.read(reader),
        Struct::PageStatus => pages::page_status(reader),
        _ => None,
    }
}

/// Flags of the `mmap` whose arguments stand in memory.
fn mmap_flags(reader: &mut Reader<'_>) -> Option<Node> {
    Some(Node::Symbol(combined::mmap_flags(reader.abi(), reader.u32()?.into())))
}

/// Structures with a function of their own.
fn special(
    kind: Struct,
    context: &Context<'_>,
    reader: &mut Reader<'_>,
    bytes: &[u8],
) -> Option<Node> {
    let fields: Fields = match kind {
        Struct::Stat => files::stat(reader),
        Struct::Stat64 => files::stat64(reader),
        Struct::Oldstat => files::oldstat(reader),
        Struct::Statx => files::statx(reader),
        Struct::Statfs => files::statfs(reader),
        Struct::Statfs64 => files::statfs64(reader),
        Struct::OpenHow => files::open_how(reader),
        Struct::FileHandle => files::file_handle(reader, context),
        Struct::SchedAttr => process::sched_attr(reader, context),
        Struct::CloneArgs => return Some(clone::arguments(reader, context)),
        Struct::CapData => process::cap_data(reader),
        Struct::IoUringParams => io_uring(reader, context),
        Struct::LandlockRulesetAttr => {
            ended_by_length(LANDLOCK_RULESET, reader, "handled_access_fs")
        }
        Struct::LandlockRuleAttr => landlock_rule(reader, context),
        Struct::Sigaction => signal::or_cut(reader, signal::sigaction),
        Struct::OldSigaction => signal::or_cut(reader, signal::old_sigaction),
        Struct::UserDesc => {
            let mut fields = signal::or_cut(reader, process::user_desc);
            // What is asked for, set_thread_area(2); the kernel writes the rest.
            if context.name == "get_thread_area" && !context.at_exit {
                fields.only("entry_number");
            }
            fields
        }
        Struct::Timex | Struct::Timex64 => time::timex(kind, reader, context),
        Struct::Sigevent => signal::or_cut(reader, signal::sigevent),
        Struct::Siginfo => {
            let mut fields = signal::or_cut(reader, signal::siginfo);
            if context.name == "waitid" {
                // The kernel leaves these two as they were,
                // <https://github.com/torvalds/linux/blob/v6.12/kernel/exit.c#L1768>.
                for name in ["si_utime", "si_stime"] {
                    fields.remove(name);
                }
            }
            fields
        }
        Struct::PerfEventAttr => perf_event(reader),
        Struct::MntIdReq => {
            let mut fields = layout::read(MNT_ID_REQ, reader);
            // The first version ends here, and says so.
            if fields.number("size") == Some(24) {
                fields.ends_after("param");
            }
            fields
        }
        Struct::Iocb => {
            let mut fields = layout::read(IOCB, reader);
            if context.name == "io_cancel" {
                for name in ["aio_buf", "aio_nbytes", "aio_offset"] {
                    fields.show(name, super::node::Shown::Silent);
                }
            }
            fields
        }
        Struct::Msgbuf => signal::or_cut(reader, pages::message),
        Struct::BpfAttr => commands::bpf(reader, context),
        Struct::MsqidDs | Struct::SemidDs | Struct::ShmidDs => ipc::control(reader, context)?,
        Struct::Pollfd => pollfd(reader),
        Struct::TimespecPair => return Some(time::timespec_pair(reader, false)),
        Struct::Timespec64Pair => return Some(time::timespec_pair(reader, true)),
        Struct::TimevalPair => return Some(time::timeval_pair(reader)),
        Struct::Sigset | Struct::OldSigset => return Some(signal::set_node(bytes)),
        Struct::FdSet => return Some(process::descriptors(bytes, context)),
        Struct::CpuSet => return Some(process::bits(bytes)),
        Struct::NodeMask => return Some(pages::nodes(reader, context)),
        Struct::IoUringEnterArg => return pages::io_uring_wait(reader, context, bytes),
        Struct::SockFprog => return pages::seccomp(reader, context),
        Struct::MountData => return files::mount_data(bytes, context),
        Struct::Sockopt => return socket::option(bytes, context),
        Struct::Dirents | Struct::Dirents64 => {
            return Some(dirents::entries(bytes, context, kind == Struct::Dirents64));
        }
        Struct::IoctlArg => return commands::ioctl(reader, context),
        Struct::FcntlArg => return commands::fcntl(reader, context),
        Struct::PrctlArg => return commands::prctl(reader, context),
        Struct::FutexWaitvPair => {
            let pair = [
                layout::read(process::FUTEX_WAITV, reader),
                layout::read(process::FUTEX_WAITV, reader),
            ];
            return Some(Node::List(pair.map(Node::Fields).into()));
        }
        Struct::SocketcallArgs => return multiplexed::socket_arguments(reader, context),
        _ => return None,
    };
    Some(fields.into())
}

/// What is asked for; what has happened stands behind the result.
fn pollfd(reader: &mut Reader<'_>) -> Fields {
    const ASKED: &[Entry] = &[
        field("fd", Kind::Fd),
        field("events", Kind::Flags16(Set::PollEvents)),
        silent("revents", Kind::Flags16(Set::PollEvents)),
    ];
    let mut fields = layout::read(ASKED, reader);
    if fields.number("fd").is_some_and(|fd| fd.cast_signed() < 0) {
        fields.show("events", super::node::Shown::Silent);
    }
    fields
}

/// `struct io_uring_params`: the kernel fills in the rest.
fn io_uring(reader: &mut Reader<'_>, context: &Context<'_>) -> Fields {
    let mut fields = Fields::default();
    let abi = context.abi;
    let head: Option<Vec<u32>> = (0..10).map(|_| reader.u32()).collect();
    let Some([sq, cq, flags, cpu, idle, features, wq, ..]) = head.as_deref() else {
        fields.cut_after(reader.len());
        return fields;
    };
    let number = |value: &u32| Node::Unsigned((*value).into());
    let flags_text = super::set::flags_text(Set::IoUringSetupFlags, abi, (*flags).into());
    let attaches = flags_text.contains("IORING_SETUP_ATTACH_WQ");
    fields.push("flags", Node::Symbol(flags_text));
    fields.push("sq_thread_cpu", Node::Hex((*cpu).into()));
    fields.push("sq_thread_idle", number(idle));
    if attaches {
        fields.push("wq_fd", Node::Signed(wq.cast_signed().into()));
    }
    if context.at_exit {
        fields.push("sq_entries", number(sq));
        fields.push("cq_entries", number(cq));
        let features = super::set::flags_text(Set::IoUringFeatures, abi, (*features).into());
        fields.push("features", Node::Symbol(features));
        fields.push("sq_off", layout::read(SQ_OFFSETS, reader).into());
        fields.push("cq_off", layout::read(CQ_OFFSETS, reader).into());
    }
    fields
}

/// `struct perf_event_attr`: by a bit, what is a period is a frequency, `perf_event_open(2)`.
fn perf_event(reader: &mut Reader<'_>) -> Fields {
    const FREQ: u64 = 1 << 10;
    let mut fields = layout::read(PERF_EVENT_ATTR, reader);
    if fields.number("bits").is_some_and(|bits| bits & FREQ != 0) {
        fields.rename("sample_period", "sample_freq");
    }
    fields
}

/// A structure that grew: earlier versions end behind this field.
fn ended_by_length(layout: &[Entry], reader: &mut Reader<'_>, first: &str) -> Fields {
    let mut fields = layout::read(layout, reader);
    fields.ends_after(first);
    fields
}

/// `struct landlock_path_beneath_attr` or `struct landlock_net_port_attr`, by the type of rule.
fn landlock_rule(reader: &mut Reader<'_>, context: &Context<'_>) -> Fields {
    const PATH: &[Entry] = &[
        field("allowed_access", Kind::Flags64(Set::LandlockAccessFs)),
        field("parent_fd", Kind::Fd),
    ];
    const PORT: &[Entry] =
        &[field("allowed_access", Kind::Flags64(Set::LandlockAccessNet)), field("port", Kind::U64)];
    let rule = super::set::name(Set::LandlockRules, context.abi, context.args[1] & 0xffff_ffff);
    layout::read(if rule == Some("LANDLOCK_RULE_NET_PORT") { PORT } else { PATH }, reader)
}

/// What a program keeps with a descriptor; on x86 it is not aligned.
fn epoll_data(reader: &mut Reader<'_>) -> Option<Node> {
    let packed = !matches!(reader.abi(), tracer_common::event::Abi::Aarch64);
    let data = if packed { reader.unaligned_u64() } else { reader.u64() }?;
    let mut fields = Fields::default();
    fields.push("u32", Node::Unsigned(data & 0xffff_ffff));
    fields.push("u64", Node::Unsigned(data));
    Some(fields.into())
}
