//! Arguments that are no more than what is in a register.

use tracer_common::{
    event::Abi,
    file::CURRENT_FOLDER,
    syscalls::{ArgKind, When},
};

use super::{Context, combined};

/// Appends what is in a register. Those of a 32-bit call have 32 bits.
pub fn push_register(out: &mut Vec<u8>, context: &Context<'_>, kind: ArgKind, raw: u64) {
    let mut number = itoa::Buffer::new();
    // Registers hold more bits than the kernel looks at for an `int`.
    let low = u32::try_from(raw & u64::from(u32::MAX)).unwrap_or_default();
    let is_32_bit = matches!(context.abi, Abi::I386 | Abi::Arm);
    match kind {
        ArgKind::Fd if low.cast_signed() == CURRENT_FOLDER => {
            out.extend(number.format(low.cast_signed()).bytes());
        }
        ArgKind::Fd | ArgKind::DirFd => super::push_fd(out, context, low.cast_signed()),
        ArgKind::Int | ArgKind::Pid => out.extend(number.format(low.cast_signed()).bytes()),
        ArgKind::Signal => super::push_signal(out, low.cast_signed()),
        ArgKind::Uid | ArgKind::Gid if has_short_ids(context) => match low & 0xffff {
            0xffff => out.extend(b"-1"),
            id => out.extend(number.format(id).bytes()),
        },
        // -1 means "leave as it is", chown(2).
        ArgKind::Uid | ArgKind::Gid if low == u32::MAX => out.extend(b"-1"),
        ArgKind::Uint | ArgKind::Uid | ArgKind::Gid => out.extend(number.format(low).bytes()),
        ArgKind::Long if is_32_bit => out.extend(number.format(low.cast_signed()).bytes()),
        ArgKind::Long | ArgKind::Offset => out.extend(number.format(raw.cast_signed()).bytes()),
        ArgKind::Ulong | ArgKind::Size => out.extend(number.format(raw).bytes()),
        ArgKind::Mode => super::push_mode(out, low),
        ArgKind::FileMode => super::push_file_mode(out, low),
        ArgKind::Dev => super::push_device(out, raw),
        ArgKind::Flags(set) => super::push_flags(out, set, context, raw),
        ArgKind::Enum(set) => super::push_enum(out, set, context, raw),
        ArgKind::Struct(_, When::FutexTimeout, _) if combined::futex_counts_twice(context) => {
            out.extend(number.format(low).bytes());
        }
        ArgKind::Hex | ArgKind::IoctlArg | ArgKind::FcntlArg | ArgKind::PrctlArg => {
            super::push_number(out, raw);
        }
        ArgKind::Path
        | ArgKind::Str
        | ArgKind::Ptr
        | ArgKind::Data(..)
        | ArgKind::PathOut(_)
        | ArgKind::Struct(..)
        | ArgKind::Sockaddr(..)
        | ArgKind::Iovec(..)
        | ArgKind::Msghdr(_)
        | ArgKind::Mmsghdr(..)
        | ArgKind::Argv
        | ArgKind::Envp => super::push_pointer(out, raw),
    }
}

/// Whether ids have 16 bits: calls of i386 from before Linux 2.4, whose successors end in `32`.
fn has_short_ids(context: &Context<'_>) -> bool {
    const CALLS: [&str; 11] = [
        "chown",
        "fchown",
        "lchown",
        "setfsgid",
        "setfsuid",
        "setgid",
        "setregid",
        "setresgid",
        "setresuid",
        "setreuid",
        "setuid",
    ];
    context.abi == Abi::I386 && CALLS.contains(&context.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracer_common::syscalls::Set;

    fn text(kind: ArgKind, raw: u64) -> String {
        let mut out = Vec::new();
        let context = Context {
            abi: Abi::X86_64,
            name: "",
            args: [raw; 6],
            ret: 0,
            at_exit: false,
            is_cut: false,
            fds: &[],
        };
        push_register(&mut out, &context, kind, raw);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn kinds_are_written_as_strace_writes_them() {
        assert_eq!(text(ArgKind::DirFd, 0xffff_ff9c), "AT_FDCWD");
        assert_eq!(text(ArgKind::DirFd, u64::MAX - 99), "AT_FDCWD");
        assert_eq!(text(ArgKind::Fd, 0xffff_ffff), "-1");
        assert_eq!(text(ArgKind::Mode, 0o644), "0644");
        assert_eq!(text(ArgKind::Hex, 0x80000), "0x80000");
        assert_eq!(text(ArgKind::Hex, u64::MAX), "0xffffffffffffffff");
        assert_eq!(text(ArgKind::Ptr, 0), "NULL");
        assert_eq!(text(ArgKind::Size, 4096), "4096");
        assert_eq!(text(ArgKind::Offset, u64::MAX), "-1");
        assert!(!text(ArgKind::Flags(Set::OpenFlags), 0x80000).is_empty());
    }
}
