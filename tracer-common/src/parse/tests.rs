//! Records come back, and any bytes are read without a panic.

use proptest::prelude::*;
use zerocopy::IntoBytes as _;

use super::*;

#[test]
fn reads_what_was_written() {
    let event = SyscallEvent {
        kind: KIND_SYSCALL,
        record: 2,
        abi: 1,
        reason: 3,
        captures: 1,
        pad: 0,
        nr: 257,
        tgid: 10,
        tid: 11,
        payload_len: 16,
        start_ns: 1 << 40,
        duration_ns: 77,
        ret: -2,
        args: [1, 2, 3, 4, 5, u64::MAX],
        cgroup_id: 99,
        process_start_ns: 1 << 39,
        comm: *b"cat\0\0\0\0\0\0\0\0\0\0\0\0\0",
        uid: 1000,
        gid: 100,
        exec_id: 7,
        spare: 0,
    };
    let mut bytes = event.as_bytes().to_vec();
    assert_eq!(bytes.len(), size_of::<SyscallEvent>());
    bytes.extend([1, 0, 0, 0, 4, 0, 0, 0]);
    bytes.extend(b"/etc\0\0\0\0");
    let (parsed, payload) = syscall_event(&bytes).unwrap();
    assert_eq!(parsed, event);
    let mut captures = Captures::new(payload);
    let (header, text) = captures.next().unwrap();
    assert_eq!((header.arg, text), (1, &b"/etc"[..]));
    assert!(captures.next().is_none());
    assert!(captures.rest().is_empty());
}

#[test]
fn rejects_what_is_not_a_record() {
    assert_eq!(syscall_event(&[0; 10]), Err(ParseError::TooShort { len: 10, need: 144 }));
    assert_eq!(syscall_event(&[0; 144]), Err(ParseError::UnknownKind { kind: 0 }));
    let event = SyscallEvent { kind: KIND_SYSCALL, payload_len: 8, ..Default::default() };
    let mut bytes = event.as_bytes().to_vec();
    let error = ParseError::LengthMismatch { len: 144, claimed: 152 };
    assert_eq!(syscall_event(&bytes), Err(error));
    bytes.extend([0; 8]);
    assert!(syscall_event(&bytes).is_ok());
}

#[test]
fn a_process_is_read_as_it_was_written() {
    let event = LifecycleEvent {
        kind: KIND_LIFECYCLE,
        what: 2,
        how: 1,
        path_len: 7,
        args_len: 4,
        tgid: 10,
        tid: 11,
        time_ns: 1 << 40,
        process_start_ns: 1 << 39,
        parent_tgid: 8,
        parent_tid: 9,
        parent_start_ns: 1 << 38,
        call_start_ns: 1 << 37,
        cgroup_id: 99,
        status: 0x100,
        threads: 3,
        inner_pid: 2,
        env_len: 5,
        env_total: 6000,
        args_total: 4,
        uid: 1000,
        gid: 100,
        is_interpreted: 1,
        exec_id: 3,
        exe_dev: 0x0080_0001,
        exe_len: 3,
        exe_flags: 1,
        path_state: 2,
        exe_ino: 1 << 41,
        namespaces: [1, 2, 3, 4, 5, 6, 7],
        spare: 0,
        comm: *b"sleep\0\0\0\0\0\0\0\0\0\0\0",
    };
    let mut bytes = event.as_bytes().to_vec();
    assert!(lifecycle_event(&bytes).is_err());
    bytes.extend(b"/bin/sh\0sh\0x\0\0\0\0");
    bytes.extend(b"sh\0\0\0\0\0\0");
    bytes.extend(b"A=b\0c");
    let (parsed, parts) = lifecycle_event(&bytes).unwrap();
    assert_eq!(parsed, event);
    assert_eq!(
        (parts.path, parts.args, parts.exe, parts.env),
        (&b"/bin/sh"[..], &b"sh\0x"[..], &b"sh\0"[..], &b"A=b\0c"[..])
    );
    bytes.pop();
    assert!(lifecycle_event(&bytes).is_err());
    let bare = LifecycleEvent { path_len: 0, args_len: 0, exe_len: 0, env_len: 0, ..event };
    let bytes = bare.as_bytes();
    assert!(is_lifecycle(bytes) && syscall_event(bytes).is_err());
    assert_eq!(lifecycle_event(bytes).unwrap(), (bare, LaunchParts::default()));
}

#[test]
fn a_signal_is_read_as_it_was_written() {
    let event = SignalEvent {
        kind: KIND_SIGNAL,
        info_len: 48,
        signal: 10,
        tgid: 7,
        tid: 8,
        time_ns: 1 << 40,
        process_start_ns: 1 << 39,
        cgroup_id: 5,
        uid: 1000,
        gid: 100,
        exec_id: 3,
        spare: 0,
        info: [3; SIGINFO_LEN],
        comm: *b"sleep\0\0\0\0\0\0\0\0\0\0\0",
    };
    let mut bytes = event.as_bytes().to_vec();
    assert!(is_signal(&bytes) && !is_lifecycle(&bytes) && syscall_event(&bytes).is_err());
    assert_eq!(signal_event(&bytes).unwrap(), event);
    assert!(signal_event(&bytes[..100]).is_err());
    bytes.push(0);
    assert!(signal_event(&bytes).is_err());
    bytes.pop();
    bytes[2] = 49;
    assert!(signal_event(&bytes).is_err());
}

proptest! {
    #[test]
    fn no_process_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..1600)) {
        let mut bytes = bytes;
        if bytes.len() >= 2 {
            bytes[..2].copy_from_slice(&KIND_LIFECYCLE.to_ne_bytes());
        }
        if let Ok((event, parts)) = lifecycle_event(&bytes) {
            prop_assert_eq!(parts.path.len(), usize::from(event.path_len));
            prop_assert_eq!(parts.exe.len(), usize::from(event.exe_len));
            prop_assert_eq!(parts.env.len(), event.env_len as usize);
        }
    }

    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400), valid: bool) {
        let mut bytes = bytes;
        if valid && bytes.len() >= size_of::<SyscallEvent>() {
            let len = u32::try_from(bytes.len() - size_of::<SyscallEvent>()).unwrap();
            bytes[..2].copy_from_slice(&KIND_SYSCALL.to_ne_bytes());
            bytes[20..24].copy_from_slice(&len.to_ne_bytes());
            prop_assert!(syscall_event(&bytes).is_ok());
        }
        if let Ok((_, payload)) = syscall_event(&bytes) {
            let total: usize = Captures::new(payload).map(|(_, text)| text.len()).sum();
            prop_assert!(total <= payload.len());
        }
    }
}
