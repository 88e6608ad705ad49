//! What the kernel side has to know of a call, apart from whether it is traced.

use tracer_common::{
    plan::{FileArg, Inside, MAX_FILES, MAX_FOLDERS, MAX_STRINGS, Plan},
    syscalls::{Arg, ArgKind, Ret, Struct, Syscall, When},
};

/// The plan of a call.
pub(super) fn shape(info: &Syscall) -> Plan {
    const FORKS: [&str; 4] = ["fork", "vfork", "clone", "clone3"];
    const EXECS: [&str; 2] = ["execve", "execveat"];
    const ENDS: [&str; 2] = ["exit", "exit_group"];
    let mut plan = Plan::default();
    if FORKS.contains(&info.name) {
        plan = plan.forks();
    }
    if EXECS.contains(&info.name) {
        plan = plan.execs();
    }
    match info.ret {
        Ret::None => plan = plan.no_result(),
        Ret::Narrow => plan = plan.narrow(),
        Ret::Int | Ret::Fd | Ret::Pointer | Ret::Size => {}
    }
    if ENDS.contains(&info.name) && info.ret == Ret::None {
        plan = plan.no_return();
    }
    let strings =
        (0..).zip(info.args).filter(|(_, arg)| matches!(arg.kind, ArgKind::Path | ArgKind::Str));
    for (slot, (arg, _)) in (0..).zip(strings.take(MAX_STRINGS)) {
        plan = plan.string(slot, arg);
    }
    files(plan, info)
}

/// Which descriptors of the call are looked up.
fn files(mut plan: Plan, info: &Syscall) -> Plan {
    let args = info.args;
    let is_path = |at: usize| args.get(at).is_some_and(|arg| arg.kind == ArgKind::Path);
    let registers = (0..).zip(args).filter(|(_, arg)| is_descriptor(arg.kind));
    for (slot, (arg, it)) in (0..).zip(registers.take(MAX_FILES)) {
        let of_path = it.kind == ArgKind::DirFd && is_path(arg as usize + 1);
        let (ends, is_needed) = (ends(info.name, arg), is_needed(info.name, arg));
        plan = plan.file(slot, FileArg { arg, of_path, ends, is_needed });
    }
    if let Some((arg, bit)) = no_files_if(info.name) {
        plan = plan.no_files_if(arg, bit);
    }
    if matches!(info.name, "chdir" | "pivot_root") {
        plan = plan.moves_folder();
    }
    let relative = args.iter().enumerate().filter(|(at, arg)| {
        let has_folder = at.checked_sub(1).is_some_and(|it| args[it].kind == ArgKind::DirFd);
        arg.kind == ArgKind::Path && !has_folder && !is_target(info.name, arg)
    });
    for (slot, (arg, _)) in (0..).zip(relative.take(MAX_FOLDERS)) {
        plan = plan.folder(slot, u32::try_from(arg).unwrap_or_default());
    }
    for (at, arg) in (0..).zip(args) {
        if let Some(inside) = inside(arg.kind) {
            plan = plan.inside(inside, at);
            break;
        }
    }
    match (info.ret, info.name) {
        (Ret::Fd, _) => plan.returns_file(),
        (_, "fcntl" | "fcntl64") => plan.returns_copy(),
        _ => plan,
    }
}

const fn is_descriptor(kind: ArgKind) -> bool {
    matches!(kind, ArgKind::Fd | ArgKind::DirFd)
}

/// Whether the call itself makes the descriptor lead elsewhere: then a change is no news.
fn ends(name: &str, arg: u32) -> bool {
    matches!((name, arg), ("close" | "close_range", 0) | ("dup2" | "dup3", 1))
}

/// Whether the call fails if the descriptor is not open. `splice` and `tee` of nothing look at none,
/// nor does `fanotify_mark` with `FAN_MARK_FLUSH` at a folder.
fn is_needed(name: &str, arg: u32) -> bool {
    let others = ["close_range", "splice", "tee", "kexec_file_load"];
    let is_other = matches!((name, arg), ("dup2" | "dup3", 1) | ("fanotify_mark", 1..));
    !is_other && !others.contains(&name)
}

/// The argument and its bit by which the call's registers have no descriptors: `MAP_ANONYMOUS`,
/// `IORING_ENTER_REGISTERED_RING` and `IORING_REGISTER_USE_REGISTERED_RING`.
fn no_files_if(name: &str) -> Option<(u32, u32)> {
    match name {
        "mmap" | "mmap2" => Some((3, 5)),
        "io_uring_enter" => Some((3, 4)),
        "io_uring_register" => Some((1, 31)),
        _ => None,
    }
}

/// The text of a symbolic link is no path of the process.
fn is_target(name: &str, arg: &Arg) -> bool {
    matches!(name, "symlink" | "symlinkat") && arg.name == "oldname"
}

const fn inside(kind: ArgKind) -> Option<Inside> {
    match kind {
        ArgKind::Struct(Struct::Pollfd, ..) => Some(Inside::Poll),
        ArgKind::Struct(Struct::FdSet, ..) => Some(Inside::Sets),
        ArgKind::Struct(Struct::FdPair, ..) => Some(Inside::Pair),
        ArgKind::Msghdr(When::Exit) => Some(Inside::Received),
        ArgKind::Msghdr(_) => Some(Inside::Sent),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracer_common::{event::Abi, syscalls};

    fn plan(name: &str) -> Plan {
        let number = syscalls::number(Abi::X86_64, name).unwrap();
        shape(syscalls::lookup(Abi::X86_64, number).unwrap())
    }

    fn registers(name: &str) -> Vec<(u32, bool, bool)> {
        let slots = (0..).take(MAX_FILES).map_while(|slot| plan(name).file_arg(slot));
        slots.map(|it| (it.arg, it.of_path, it.ends)).collect()
    }

    #[test]
    fn descriptors_are_found_where_the_table_has_them() {
        assert_eq!(registers("read"), [(0, false, false)]);
        assert_eq!(registers("close"), [(0, false, true)]);
        assert_eq!(registers("dup2"), [(0, false, false), (1, false, true)]);
        assert_eq!(registers("renameat"), [(0, true, false), (2, true, false)]);
        assert_eq!(registers("symlinkat"), [(1, true, false)]);
        assert_eq!(registers("mmap"), [(4, false, false)]);
        assert_eq!(registers("getpid"), []);
        assert!(!plan("getpid").has_files() && plan("read").has_files());
    }

    #[test]
    fn what_a_call_needs_of_its_descriptors_is_known() {
        let needed = |name| {
            let slots = (0..).take(MAX_FILES).map_while(|slot| plan(name).file_arg(slot));
            slots.map(|it| it.is_needed).collect::<Vec<_>>()
        };
        assert_eq!(needed("read"), [true]);
        assert_eq!(needed("close"), [true]);
        assert_eq!(needed("dup2"), [true, false]);
        assert_eq!(needed("splice"), [false, false]);
        assert_eq!(plan("mmap").no_files_by(), Some((3, 5)));
        assert_eq!(plan("io_uring_register").no_files_by(), Some((1, 31)));
        assert_eq!(plan("read").no_files_by(), None);
        assert!(plan("chdir").can_move_folder() && !plan("unlink").can_move_folder());
    }

    #[test]
    fn relative_paths_have_a_folder() {
        let folders = |name| [plan(name).folder_arg(0), plan(name).folder_arg(1)];
        assert_eq!(folders("unlink"), [Some(0), None]);
        assert_eq!(folders("rename"), [Some(0), Some(1)]);
        assert_eq!(folders("symlink"), [Some(1), None]);
        assert_eq!(folders("openat"), [None, None]);
        assert_eq!(folders("inotify_add_watch"), [Some(1), None]);
    }

    #[test]
    fn memory_and_results_have_descriptors() {
        assert_eq!(plan("poll").inside_arg(), (Inside::Poll as u64, 0));
        assert_eq!(plan("select").inside_arg(), (Inside::Sets as u64, 1));
        assert_eq!(plan("sendmsg").inside_arg(), (Inside::Sent as u64, 1));
        assert_eq!(plan("recvmsg").inside_arg(), (Inside::Received as u64, 1));
        assert_eq!(plan("socketpair").inside_arg(), (Inside::Pair as u64, 3));
        assert_eq!(plan("read").inside_arg().0, 0);
        assert!(plan("openat").can_return_file() && !plan("openat").is_returned_by_command());
        assert!(plan("fcntl").can_return_file() && plan("fcntl").is_returned_by_command());
        assert!(!plan("read").can_return_file());
    }
}
