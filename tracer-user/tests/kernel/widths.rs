//! The syscall table's widths of arguments against the prototypes of the running kernel.

use tracer_common::{
    event::Abi,
    syscalls::{self, Arg, ArgKind, Syscall},
};

use super::prototypes::{Parameter, Prototypes, Type};

/// Arguments of which the kernel takes other bits than its prototype says, and why.
const MEANT: &[(&str, &str, &str)] = &[
    ("readv", "fd", "`do_readv` passes it on as `unsigned int`, to `fdget_pos`"),
    ("writev", "fd", "`do_writev` passes it on as `unsigned int`, to `fdget_pos`"),
    ("preadv", "fd", "`do_preadv` passes it on as `unsigned int`, to `fdget`"),
    ("preadv2", "fd", "as `preadv`"),
    ("pwritev", "fd", "`do_pwritev` passes it on as `unsigned int`, to `fdget`"),
    ("pwritev2", "fd", "as `pwritev`"),
    ("preadv", "pos_l", "`pos_from_hilo` makes it a `loff_t`"),
    ("preadv2", "pos_l", "as `preadv`"),
    ("pwritev", "pos_l", "as `preadv`"),
    ("pwritev2", "pos_l", "as `preadv`"),
    ("clone", "clone_flags", "the call passes on `lower_32_bits` of it"),
    ("mbind", "mode", "`kernel_mbind` makes it an `int`"),
    ("umask", "mask", "the call looks at nine bits of the `int`, `S_IRWXUGO`"),
    ("mmap", "fd", "`ksys_mmap_pgoff` passes it on as `unsigned int`, to `fget`"),
    (
        "msgsnd",
        "msgsz",
        "of i386 a `compat_ssize_t`; below zero it is refused as `size_t` above its half",
    ),
    ("msgrcv", "msgsz", "as `msgsnd`"),
    ("ptrace", "pid", "`find_get_task_by_vpid` takes a `pid_t`"),
];

/// Calls of i386 with `old_uid_t` and `old_gid_t`: their functions are inlined into others.
const OLD_IDS: [&str; 11] = [
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

/// Calls that no kernel has, or not this one, or whose function is inlined: what `arguments` says of
/// them stands in `include/linux/syscalls.h` and `include/linux/compat.h`, or, of the old ones, in the
/// sources of the kernels that had them.
const NOT_THERE: [&str; 24] = [
    "_llseek",
    "bdflush",
    "create_module",
    "delete_module",
    "epoll_ctl_old",
    "epoll_wait_old",
    "finit_module",
    "init_module",
    "kexec_file_load",
    "kexec_load",
    "listns",
    "lookup_dcookie",
    "map_shadow_stack",
    "nfsservctl",
    "nice",
    "query_module",
    "readdir",
    "sigaction",
    "signal",
    "sigprocmask",
    "sigsuspend",
    "ssetmask",
    "vm86",
    "waitpid",
];

/// The name in `SYSCALL_DEFINE`, where it is not the table's.
fn function_of(abi: Abi, name: &str) -> &str {
    match name {
        "stat" => "newstat",
        "lstat" => "newlstat",
        "fstat" | "oldfstat" => "newfstat",
        "uname" => "newuname",
        "umount2" => "umount",
        "sendfile" => "sendfile64",
        "_llseek" => "llseek",
        "_newselect" => "select",
        "mmap2" => "mmap_pgoff",
        "ugetrlimit" => "getrlimit",
        "fcntl64" => "fcntl",
        name if abi == Abi::I386 => {
            ["_time64", "32", "64"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
        }
        name => name,
    }
}

/// The prototype behind a call, and whether it has the call's parameters in their places.
fn prototype(kernel: &Prototypes, abi: Abi, call: &Syscall) -> Option<(Vec<Parameter>, bool)> {
    let name = call.name;
    let function = function_of(abi, name);
    let own = match abi {
        Abi::I386 => ["__do_compat_sys_", "__do_compat_sys_ia32_", "compat_", "compat_ksys_"]
            .iter()
            .find_map(|prefix| kernel.function(&format!("{prefix}{name}"))),
        _ => None,
    };
    if let Some(found) = own {
        return Some((found, true));
    }
    let found = kernel
        .native(name)
        .or_else(|| kernel.native(function))
        .or_else(|| kernel.function(&format!("ksys_{function}")))
        .or_else(|| kernel.function(&format!("ksys_{name}")))?;
    // Some calls of i386 have two arguments for a number of 64 bits.
    let same = found.len() == call.args.len() && abi != Abi::I386;
    Some((found, same))
}

/// Bits that are taken, of registers as wide as the ABI's.
fn bits(abi: Abi, bits: u32) -> u32 {
    bits.min(if abi == Abi::I386 { 32 } else { 64 })
}

/// Whether a number of this kind is shown with its sign, where the kind says so.
fn is_signed(kind: ArgKind) -> Option<bool> {
    match kind {
        ArgKind::Int | ArgKind::Long | ArgKind::Offset => Some(true),
        ArgKind::Uint | ArgKind::Ulong | ArgKind::Size => Some(false),
        _ => None,
    }
}

/// What of an argument differs from the kernel's parameter.
fn difference(abi: Abi, arg: &Arg, parameter: Type) -> Option<String> {
    let Type::Number { bytes, signed } = parameter else {
        return arg.kind.is_register().then(|| "is a pointer".to_owned());
    };
    let (ours, theirs) = (bits(abi, arg.bits.into()), bits(abi, bytes * 8));
    if ours != theirs {
        return Some(format!("has {ours} bits, the kernel takes {theirs}"));
    }
    // In 32 bits a large number of one kernel type is a negative one of another.
    let sign = is_signed(arg.kind).filter(|shown| *shown != signed);
    sign.map(|shown| format!("is shown as {}", if shown { "signed" } else { "unsigned" }))
}

#[test]
fn arguments_are_as_wide_as_the_kernel_takes_them() {
    let Some(kernel) = Prototypes::read() else { return };
    assert_eq!(kernel.size("old_uid_t").zip(kernel.size("old_gid_t")), Some((2, 2)));
    let mut wrong = Vec::new();
    let mut missing = Vec::new();
    let mut used = vec![false; MEANT.len()];
    for abi in [Abi::X86_64, Abi::I386] {
        let mut compared = 0;
        for (_, call) in syscalls::all(abi) {
            let has_old_ids = abi == Abi::I386 && OLD_IDS.contains(&call.name);
            let Some((parameters, in_place)) = prototype(&kernel, abi, call) else {
                let has_numbers = call.args.iter().any(|arg| arg.kind.is_register());
                if has_numbers && !NOT_THERE.contains(&call.name) {
                    missing.push(format!("{} {}", abi.name(), call.name));
                }
                continue;
            };
            for (index, arg) in call.args.iter().enumerate() {
                let is_named = |it: &&Parameter| it.0.trim_start_matches('_') == arg.name;
                let found =
                    if in_place { parameters.get(index) } else { parameters.iter().find(is_named) };
                let Some((_, parameter)) = found else { continue };
                compared += usize::from(arg.kind.is_register());
                let parameter = match (arg.kind, *parameter) {
                    (ArgKind::Uid | ArgKind::Gid, Type::Number { signed, .. }) if has_old_ids => {
                        Type::Number { bytes: 2, signed }
                    }
                    (_, parameter) => parameter,
                };
                let Some(text) = difference(abi, arg, parameter) else { continue };
                let meant = MEANT.iter().position(|it| (it.0, it.1) == (call.name, arg.name));
                match meant {
                    Some(at) => used[at] = true,
                    None => {
                        wrong.push(format!("{} {}: {} {text}", abi.name(), call.name, arg.name));
                    }
                }
            }
        }
        println!("{}: {compared} arguments compared", abi.name());
        assert!(compared > 550, "only {compared} arguments of {}", abi.name());
    }
    assert!(wrong.is_empty(), "{} arguments:\n{}", wrong.len(), wrong.join("\n"));
    assert!(missing.is_empty(), "no prototypes of: {}", missing.join(", "));
    let unused = MEANT.iter().zip(used).filter(|(_, used)| !used).map(|(it, _)| (it.0, it.1));
    assert_eq!(unused.collect::<Vec<_>>(), [], "differences that are none");
}
