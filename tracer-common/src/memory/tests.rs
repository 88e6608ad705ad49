//! What operations a call has.

use super::*;
use crate::{
    event::Abi,
    syscalls::{lookup, number},
};

fn ops(abi: Abi, name: &str, limit: DataLimit) -> OpWords {
    operations(lookup(abi, number(abi, name).unwrap()).unwrap(), abi, limit)
}

#[test]
fn an_operation_keeps_its_fields() {
    let op = Op::new(OpKind::Iovec, 5, 16, 512).counted(Count::Ret, 4).on(When::Both);
    assert_eq!((op.kind(), op.arg(), op.size(), op.limit()), (2, 5, 16, 512));
    assert_eq!((op.count(), op.count_arg(), op.condition()), (3, 4, None));
    assert!(op.at_enter() && op.at_exit() && !op.when_interrupted() && !op.is_compat());
    let op = op.if_arg(1).compat(true);
    assert!(op.condition() == Some(1) && op.is_compat());
}

#[test]
fn data_is_read_only_when_asked_for() {
    let none = DataLimit::default();
    let all = DataLimit { bytes: 100, data: true };
    for name in ["read", "write", "sendto", "add_key", "setxattr"] {
        let count = |limit| {
            let words = ops(Abi::X86_64, name, limit);
            words.chunks(OP_WORDS).filter(|op| Op(op[0]).is_some()).count()
        };
        assert_eq!(count(all), count(none) + 1, "{name}");
    }
    assert_eq!(Op(ops(Abi::X86_64, "write", all)[0]).limit(), 100);
    assert_eq!(ops(Abi::X86_64, "getpid", all), OpWords::default());
}

#[test]
fn counts_are_as_wide_as_the_kernel_takes_them() {
    let limit = DataLimit { bytes: 100, data: true };
    let count = |name, place: usize| Op(ops(Abi::X86_64, name, limit)[place]).count();
    let special = SPECIAL * OP_WORDS;
    // `unsigned int nfds`, `int addrlen`, `unsigned int vlen`.
    assert_eq!(count("poll", 0), Count::Arg as u64);
    assert_eq!(count("bind", 0), Count::Arg as u64);
    assert_eq!(count("sendmmsg", special), Count::Arg as u64);
    // `size_t count`, `unsigned long vlen`.
    assert_eq!(count("write", 0), Count::Wide as u64);
    assert_eq!(count("writev", special), Count::Wide as u64);
}

#[test]
fn layouts_are_the_abis() {
    let size = |abi| Op(ops(abi, "nanosleep", DataLimit::default())[0]).size();
    assert_eq!((size(Abi::X86_64), size(Abi::I386), size(Abi::Aarch64)), (16, 8, 16));
    let special = SPECIAL * OP_WORDS;
    assert!(Op(ops(Abi::I386, "writev", DataLimit::default())[special]).is_compat());
}

#[test]
fn no_call_has_more_operations_than_there_is_room_for() {
    for abi in Abi::ALL {
        for (_, syscall) in crate::syscalls::all(*abi) {
            let limit = DataLimit { bytes: 32, data: true };
            let all = (0..).take(syscall.args.len());
            let ops = all.filter_map(|arg| operation(arg, syscall.args, *abi, limit));
            let (plain, special): (Vec<_>, Vec<_>) =
                ops.partition(|op| Op(op[0]).kind() == OpKind::Bytes as u64);
            let name = syscall.name;
            assert!(plain.len() <= SPECIAL && special.len() <= 1, "{name}");
            let position = |kind| syscall.args.iter().position(|it| it.kind == kind);
            let next = position(ArgKind::Argv).map(|at| at + 1);
            assert_eq!(next, position(ArgKind::Envp), "{name}");
        }
    }
}

#[test]
fn conditions_look_at_the_operation_without_its_flags() {
    // FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME, FUTEX_WAKE_PRIVATE.
    assert!(condition_holds(9 | 128 | 256, FUTEX_WITH_TIMEOUT));
    assert!(!condition_holds(1 | 128, FUTEX_WITH_TIMEOUT));
    // IPC_SET and MSG_STAT with IPC_64; GETALL of semctl(2) is SHM_STAT of another call.
    assert!(condition_holds(0x101, IPC_IN) && !condition_holds(0x102, IPC_IN));
    assert!(condition_holds(0x10b, ipc_out(Struct::MsqidDs)));
    assert!(condition_holds(13, ipc_out(Struct::ShmidDs)));
    assert!(!condition_holds(13, ipc_out(Struct::SemidDs)));
    // F_GETLK, F_DUPFD_CLOEXEC.
    assert!(condition_holds(5, FCNTL_IN) && !condition_holds(1030, FCNTL_IN));
}
