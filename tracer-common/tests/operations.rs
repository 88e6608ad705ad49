//! What is captured of calls that can succeed without writing, or write less than they return.
#![expect(clippy::unwrap_used, reason = "tests fail with the reason")]

use tracer_common::{
    event::Abi,
    memory::{Count, DataLimit, OP_WORDS, Op, SPECIAL, operations},
    syscalls::{lookup, number},
};

fn words(name: &str) -> Vec<u64> {
    let nr = number(Abi::X86_64, name).unwrap();
    let all = DataLimit { bytes: 32, data: true };
    operations(lookup(Abi::X86_64, nr).unwrap(), Abi::X86_64, all).to_vec()
}

fn op(name: &str) -> Op {
    Op(words(name)[0])
}

#[test]
fn what_is_returned_is_bounded_by_the_room() {
    for (name, room) in [("listxattr", 2), ("getxattr", 3), ("recvfrom", 2)] {
        let wide = Count::RetUpToWide as u64;
        assert_eq!((op(name).count(), op(name).count_arg()), (wide, room), "{name}");
    }
    assert_eq!(op("getgroups").count(), Count::RetUpTo as u64);
    let received = Op(words("recvmmsg")[SPECIAL * OP_WORDS]);
    assert!(received.at_enter() && received.at_exit());
    assert_eq!((received.count(), received.count_arg()), (Count::RetUpTo as u64, 2));
}

#[test]
fn what_is_found_depends_on_the_result() {
    assert!(op("wait4").when_found() && op("wait4").at_exit());
    assert!(!op("fstat").when_found());
}

#[test]
fn what_is_read_and_written_depends_on_a_command() {
    let syslog = words("syslog");
    assert_eq!((op("syslog").condition(), syslog[1], syslog[2]), (Some(0), 0, 0b1_1100));
    assert!(op("syslog").at_exit() && !op("syslog").at_enter());
    let seccomp = words("seccomp");
    assert_eq!((op("seccomp").condition(), seccomp[1], seccomp[2]), (Some(0), 0b110, 0b1000));
    assert!(op("seccomp").at_exit() && op("seccomp").at_enter());
}
