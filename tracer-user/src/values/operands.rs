//! Arguments in registers whose meaning follows from a command before them: those of `keyctl` and
//! `prctl`.

use tracer_common::{errno, syscalls::Set};

use super::{Context, combined, commands, reader::is_narrow, set};

/// What is in a register.
#[derive(Clone, Copy)]
enum Operand {
    /// A key, or a keyring by what it is for.
    Key,
    /// An address.
    Pointer,
    /// An `int`.
    Int,
    /// An `unsigned int`; of ids the largest stands for none.
    Uint,
    Id,
    /// A `size_t`.
    Size,
    /// The number of an error.
    Errno,
    Enum(Set),
    Flags(Set),
    /// A number with its name as a comment.
    Noted(Set),
}

/// The arguments behind the command, keyctl(2).
const KEYCTL: &[(&str, &[Operand])] = {
    use Operand::{Enum, Errno, Flags, Id, Int, Key, Pointer, Size, Uint};
    &[
        ("KEYCTL_GET_KEYRING_ID", &[Key, Int]),
        ("KEYCTL_JOIN_SESSION_KEYRING", &[Pointer]),
        ("KEYCTL_UPDATE", &[Key, Pointer, Size]),
        ("KEYCTL_CHOWN", &[Key, Id, Id]),
        ("KEYCTL_SETPERM", &[Key, Flags(Set::KeyPermissions)]),
        ("KEYCTL_DESCRIBE", &[Key, Pointer, Size]),
        ("KEYCTL_LINK", &[Key, Key]),
        ("KEYCTL_UNLINK", &[Key, Key]),
        ("KEYCTL_SEARCH", &[Key, Pointer, Pointer, Key]),
        ("KEYCTL_READ", &[Key, Pointer, Size]),
        ("KEYCTL_INSTANTIATE", &[Key, Pointer, Size, Key]),
        ("KEYCTL_NEGATE", &[Key, Uint, Key]),
        ("KEYCTL_SET_REQKEY_KEYRING", &[Enum(Set::KeyRequestDefaults)]),
        ("KEYCTL_SET_TIMEOUT", &[Key, Uint]),
        ("KEYCTL_GET_SECURITY", &[Key, Pointer, Size]),
        ("KEYCTL_REJECT", &[Key, Uint, Errno, Key]),
        ("KEYCTL_INSTANTIATE_IOV", &[Key, Pointer, Size, Key]),
        ("KEYCTL_GET_PERSISTENT", &[Id, Key]),
        ("KEYCTL_DH_COMPUTE", &[Pointer, Pointer, Size, Pointer]),
        ("KEYCTL_PKEY_QUERY", &[Key, Size, Pointer, Pointer]),
        ("KEYCTL_PKEY_ENCRYPT", &[Pointer, Pointer, Pointer, Pointer]),
        ("KEYCTL_PKEY_DECRYPT", &[Pointer, Pointer, Pointer, Pointer]),
        ("KEYCTL_PKEY_SIGN", &[Pointer, Pointer, Pointer, Pointer]),
        ("KEYCTL_PKEY_VERIFY", &[Pointer, Pointer, Pointer, Pointer]),
        ("KEYCTL_RESTRICT_KEYRING", &[Key, Pointer, Pointer]),
        ("KEYCTL_CAPABILITIES", &[Pointer, Size]),
    ]
};

/// The arguments behind the option, prctl(2); those that `commands` shows are not here.
const PRCTL: &[(&str, &[Operand])] = {
    use Operand::{Enum, Flags, Int, Noted, Pointer, Size, Uint};
    &[
        ("PR_GET_UNALIGN", &[Pointer]),
        ("PR_GET_FPEMU", &[Pointer]),
        ("PR_GET_FPEXC", &[Pointer]),
        ("PR_GET_ENDIAN", &[Pointer]),
        ("PR_GET_TSC", &[Pointer]),
        ("PR_GET_CHILD_SUBREAPER", &[Pointer]),
        ("PR_SET_UNALIGN", &[Flags(Set::PrctlUnalign)]),
        ("PR_SET_FPEMU", &[Uint]),
        ("PR_SET_FPEXC", &[Uint]),
        ("PR_SET_ENDIAN", &[Uint]),
        ("PR_SET_TSC", &[Enum(Set::PrctlTsc)]),
        ("PR_GET_SPECULATION_CTRL", &[Enum(Set::PrctlSpeculation)]),
        (
            "PR_SET_SPECULATION_CTRL",
            &[Enum(Set::PrctlSpeculation), Enum(Set::PrctlSpeculationModes)],
        ),
        ("PR_SET_SECCOMP", &[Enum(Set::SeccompModes), Pointer]),
        ("PR_SET_SYSCALL_USER_DISPATCH", &[Enum(Set::PrctlDispatch), Size, Size, Pointer]),
        ("PR_SET_VMA", &[Enum(Set::PrctlVma), Pointer, Size, Pointer]),
        ("PR_SET_PTRACER", &[Int]),
        ("PR_MCE_KILL", &[Enum(Set::PrctlMceKill), Enum(Set::PrctlMceKillPolicy)]),
        ("PR_CAP_AMBIENT", &[Enum(Set::PrctlCapAmbient), Enum(Set::Capabilities)]),
        ("PR_SCHED_CORE", &[Enum(Set::PrctlSchedCore), Int, Noted(Set::PidTypes), Pointer]),
        ("PR_SET_FP_MODE", &[Flags(Set::PrctlFpMode)]),
        ("PR_PAC_RESET_KEYS", &[Flags(Set::PrctlPacKeys)]),
        ("PR_PAC_SET_ENABLED_KEYS", &[Flags(Set::PrctlPacKeys), Flags(Set::PrctlPacKeys)]),
    ]
};

/// The text of an argument of the call, if its command says what it is.
pub(super) fn text(context: &Context<'_>, index: usize) -> Option<String> {
    let (set, table) = match context.name {
        "keyctl" => (Set::KeyctlOperations, KEYCTL),
        "prctl" => (Set::PrctlOptions, PRCTL),
        _ => return None,
    };
    let command = commands::command(set, context, 0);
    let (_, operands) = table.iter().find(|(known, _)| *known == command)?;
    let operand = operands.get(index.checked_sub(1)?)?;
    if index > 1 && !has_more(command, context.args[1] & 0xffff_ffff) {
        return None;
    }
    Some(operand_text(*operand, context, *context.args.get(index)?))
}

/// Whether there is something behind the argument after the command: for some not behind every value.
fn has_more(command: &str, value: u64) -> bool {
    match command {
        // A filter; a name; a feature that is known; a policy that is set; all but to clear all.
        "PR_SET_SECCOMP" => value == 2,
        "PR_SET_VMA" => value == 0,
        "PR_SET_SPECULATION_CTRL" => value <= 2,
        "PR_MCE_KILL" => value == 1,
        "PR_CAP_AMBIENT" => (1..=3).contains(&value),
        _ => true,
    }
}

fn operand_text(operand: Operand, context: &Context<'_>, value: u64) -> String {
    let abi = context.abi;
    let low = u32::try_from(value & 0xffff_ffff).unwrap_or_default();
    match operand {
        Operand::Key => combined::key_text(abi, low.cast_signed()),
        Operand::Pointer if value == 0 => "NULL".to_owned(),
        Operand::Pointer => format!("{value:#x}"),
        Operand::Id if low == u32::MAX => "-1".to_owned(),
        Operand::Int => low.cast_signed().to_string(),
        Operand::Uint | Operand::Id => low.to_string(),
        Operand::Size if is_narrow(abi) => low.to_string(),
        Operand::Size => value.to_string(),
        Operand::Errno => errno::name(low).map_or_else(|| low.to_string(), str::to_owned),
        // The only set of which strace writes unknown values in decimal, for one of them is -1.
        Operand::Enum(Set::KeyRequestDefaults) => {
            match set::name(Set::KeyRequestDefaults, abi, low.into()) {
                Some(name) => name.to_owned(),
                None => format!("{} /* KEY_REQKEY_DEFL_??? */", low.cast_signed()),
            }
        }
        Operand::Enum(set) => set::value_text(set, abi, value),
        Operand::Noted(set) => {
            format!("{value} /* {} */", set::name(set, abi, value).unwrap_or("???"))
        }
        Operand::Flags(set) => set::flags_text(set, abi, value),
    }
}

#[cfg(test)]
mod tests {
    use tracer_common::event::Abi;

    use super::*;

    fn texts(name: &'static str, args: [u64; 6]) -> Vec<String> {
        let context = Context {
            abi: Abi::X86_64,
            name,
            args,
            ret: 0,
            at_exit: false,
            is_cut: false,
            fds: &[],
        };
        (1..5).map_while(|index| text(&context, index)).collect()
    }

    #[test]
    fn commands_say_what_is_behind_them() {
        let key = 0xffff_fffd;
        assert_eq!(texts("keyctl", [8, 5, key, 0, 0, 0]), ["5", "KEY_SPEC_SESSION_KEYRING"]);
        assert_eq!(texts("keyctl", [4, 5, 0xffff_ffff, 7, 0, 0]), ["5", "-1", "7"]);
        assert_eq!(texts("keyctl", [14, 0xffff_ffff, 0, 0, 0, 0]), ["KEY_REQKEY_DEFL_NO_CHANGE"]);
        let rejected = ["5", "60", "EKEYREJECTED", "KEY_SPEC_SESSION_KEYRING"];
        assert_eq!(texts("keyctl", [19, 5, 60, 129, key, 0]), rejected);
        assert_eq!(texts("keyctl", [99, 1, 2, 3, 4, 5]), [""; 0]);
        assert_eq!(texts("prctl", [47, 2, 21, 0, 0, 0]), ["PR_CAP_AMBIENT_RAISE", "CAP_SYS_ADMIN"]);
    }
}
