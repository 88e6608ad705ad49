//! Structures that were captured in part: how much of one there has to be.

use tracer_common::syscalls::{Set, Struct};

use super::{Context, commands, interface, reader::Reader, set};

/// Whether bytes behind which the memory goes on are nevertheless all of a structure: what is
/// captured is the most that one can have, and some say themselves that they are shorter, or that
/// they are not all there.
pub(super) fn is_whole(kind: Struct, context: &Context<'_>, bytes: &[u8]) -> bool {
    let mut reader = Reader::new(bytes, context.abi);
    let mut size_at = |at: usize, least: u32| {
        reader.seek(at);
        reader.u32().map(|size| if size == 0 { least } else { size })
    };
    let needed = match kind {
        // Their decoders see what is missing, or ask for no more than is there.
        Struct::Dirents
        | Struct::Dirents64
        | Struct::FcntlArg
        | Struct::Msgbuf
        | Struct::MsqidDs
        | Struct::NodeMask
        | Struct::PrctlArg
        | Struct::SemidDs
        | Struct::ShmidDs
        | Struct::SocketcallArgs
        | Struct::Sockopt => Some(0),
        Struct::IoctlArg => Some(of_ioctl(context)),
        Struct::MountData => return bytes.contains(&0),
        // Sizes of their first versions, which 0 stands for.
        Struct::SchedAttr => size_at(0, 48),
        Struct::PerfEventAttr => size_at(4, 64),
        Struct::MntIdReq | Struct::NsIdReq => size_at(0, u32::MAX),
        Struct::FileHandle => size_at(0, 0).map(|bytes| bytes.saturating_add(8)),
        Struct::LandlockRuleAttr => Some(of_landlock(context)),
        Struct::SockFprog => Some(of_seccomp(context)),
        // `kernel_siginfo_t`; what is behind it is padding.
        Struct::Siginfo if !super::reader::is_narrow(context.abi) => Some(48),
        _ => None,
    };
    let needed = needed.and_then(|needed| usize::try_from(needed).ok());
    needed.is_some_and(|needed| bytes.len() >= needed)
}

/// Bytes that the command of `ioctl` says, or `struct ifreq` has; of others none.
fn of_ioctl(context: &Context<'_>) -> u32 {
    if interface::is_request(commands::command(Set::IoctlCommands, context, 1)) {
        return if super::reader::is_narrow(context.abi) { 32 } else { 40 };
    }
    u32::try_from(context.args[1] >> 16 & 0x3fff).unwrap_or_default()
}

/// `struct landlock_path_beneath_attr` is packed, `struct landlock_net_port_attr` is not.
fn of_landlock(context: &Context<'_>) -> u32 {
    let rule = commands::command(Set::LandlockRules, context, 1);
    if rule == "LANDLOCK_RULE_NET_PORT" { 16 } else { 12 }
}

/// A word, three short numbers, or a `struct sock_fprog`.
fn of_seccomp(context: &Context<'_>) -> u32 {
    match set::name(Set::SeccompOperations, context.abi, context.args[0] & 0xffff_ffff) {
        Some("SECCOMP_GET_ACTION_AVAIL") => 4,
        Some("SECCOMP_GET_NOTIF_SIZES") => 6,
        _ => Struct::SockFprog.size(context.abi).into(),
    }
}
