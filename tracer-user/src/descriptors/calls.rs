//! Which descriptors a call names: in its registers, in the memory that was captured, in its
//! result.

use tracer_common::{
    memory::{MAX_MESSAGES, part},
    syscalls::{Arg, ArgKind, Ret, Struct, When},
};

use crate::span_record::{Captured, FdName, SyscallSpan};

/// Descriptors of one call that are named, at most.
const MOST: usize = 64;

/// The low half of a register, as an `int`.
pub(super) fn int(value: u64) -> i32 {
    u32::try_from(value & 0xffff_ffff).unwrap_or_default().cast_signed()
}

/// Descriptors that the program has passed, [`FdName::CURRENT_FOLDER`] among them.
pub(super) fn passed(call: &SyscallSpan) -> Vec<i32> {
    let mut found = Vec::new();
    for (index, (arg, raw)) in arguments(call).iter().zip(call.args).enumerate() {
        match arg.kind {
            ArgKind::Fd | ArgKind::DirFd => found.push(int(raw)),
            ArgKind::Struct(Struct::Pollfd, ..) => {
                let bytes = memory(call.passed(index, part::WHOLE));
                found.extend(bytes.chunks_exact(8).filter_map(first));
            }
            ArgKind::Struct(Struct::FdSet, ..) => {
                found.extend(bits(memory(call.passed(index, part::WHOLE))));
            }
            ArgKind::Msghdr(When::Enter) | ArgKind::Mmsghdr(When::Enter, _) => {
                found.extend(rights(call, index, false));
            }
            _ => {}
        }
    }
    found.retain(|fd| *fd >= 0 || *fd == FdName::CURRENT_FOLDER);
    found.sort_unstable();
    found.dedup();
    found.truncate(MOST);
    found
}

/// Descriptors that the call has returned.
pub(super) fn returned(call: &SyscallSpan) -> Vec<i32> {
    let mut found = Vec::new();
    if !call.has_result() || call.ret < 0 {
        return found;
    }
    if returns_descriptor(call) {
        found.extend(i32::try_from(call.ret));
    }
    for (index, arg) in arguments(call).iter().enumerate() {
        match arg.kind {
            ArgKind::Struct(Struct::FdPair, ..) => found.extend(pair(call, index)),
            ArgKind::Msghdr(When::Exit) | ArgKind::Mmsghdr(When::Exit, _) => {
                found.extend(rights(call, index, true));
            }
            _ => {}
        }
    }
    found.retain(|fd| *fd >= 0);
    found.truncate(MOST);
    found
}

/// Whether the result is a descriptor, for `fcntl` by its command.
fn returns_descriptor(call: &SyscallSpan) -> bool {
    let Some(info) = call.info() else { return false };
    let copies = matches!(info.name, "fcntl" | "fcntl64") && COPIES.contains(&int(call.args[1]));
    info.ret == Ret::Fd || copies
}

/// `F_DUPFD` and `F_DUPFD_CLOEXEC`, fcntl(2).
pub(super) const COPIES: [i32; 2] = [0, 1030];

/// The two descriptors that a pointer leads to after the call.
pub(super) fn pair(call: &SyscallSpan, index: usize) -> Vec<i32> {
    memory(call.returned(index, part::WHOLE)).chunks_exact(4).filter_map(first).take(2).collect()
}

/// Descriptors in the control messages of one or more messages.
pub(super) fn rights(call: &SyscallSpan, index: usize, returned: bool) -> Vec<i32> {
    let parts = (part::CONTROL..).step_by(usize::from(part::MESSAGE)).take(MAX_MESSAGES);
    let narrow =
        matches!(call.abi, tracer_common::event::Abi::I386 | tracer_common::event::Abi::Arm);
    let mut found = Vec::new();
    for part in parts {
        let it = if returned { call.returned(index, part) } else { call.passed(index, part) };
        push_rights(&mut found, memory(it), if narrow { 4 } else { 8 });
    }
    found
}

/// `struct cmsghdr`: its length, level and type stand before the data, cmsg(3).
fn push_rights(found: &mut Vec<i32>, mut bytes: &[u8], word: usize) {
    const SOL_SOCKET: i32 = 1;
    const SCM_RIGHTS: i32 = 1;
    let head = word + 8;
    while let Some((header, rest)) = bytes.split_at_checked(head) {
        let Some(len) = header.get(..4).and_then(first) else { return };
        // The lengths are a traced program's: one that is too small would never end.
        let len = usize::try_from(len).unwrap_or_default().max(head);
        let data = rest.get(..(len - head).min(rest.len())).unwrap_or_default();
        let field = |at: usize| header.get(at..).and_then(first);
        if (field(word), field(word + 4)) == (Some(SOL_SOCKET), Some(SCM_RIGHTS)) {
            found.extend(data.chunks_exact(4).filter_map(first));
        }
        bytes = bytes.get(len.next_multiple_of(word)..).unwrap_or_default();
    }
}

fn arguments(call: &SyscallSpan) -> &'static [Arg] {
    call.info().map_or(&[], |info| info.args)
}

fn memory(it: Option<Captured<'_>>) -> &[u8] {
    it.filter(Captured::is_read).map_or(&[], |it| it.bytes)
}

fn first(bytes: &[u8]) -> Option<i32> {
    bytes.first_chunk().copied().map(i32::from_ne_bytes)
}

fn bits(bytes: &[u8]) -> impl Iterator<Item = i32> {
    let all = (0_i32..).zip(bytes.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1)));
    all.filter(|(_, bit)| *bit != 0).map(|(fd, _)| fd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_that_were_sent_are_found() {
        let message = |level: i32, kind: i32, fds: &[i32]| {
            let len = 16 + fds.len() * 4;
            let mut bytes = (len as u64).to_ne_bytes().to_vec();
            bytes.extend(level.to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            for fd in fds {
                bytes.extend(fd.to_ne_bytes());
            }
            bytes.resize(len.next_multiple_of(8), 0);
            bytes
        };
        let bytes = [message(1, 2, &[9]), message(1, 1, &[5, 6, 7])].concat();
        let mut found = Vec::new();
        push_rights(&mut found, &bytes, 8);
        assert_eq!(found, [5, 6, 7]);
        // Any bytes end.
        push_rights(&mut found, &[0; 100], 8);
        push_rights(&mut found, &[0xff; 100], 8);
        assert_eq!(bits(&[0b101, 0, 1]).collect::<Vec<_>>(), [0, 2, 16]);
    }
}
