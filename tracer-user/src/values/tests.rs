//! Any bytes give text that is harmless and JSON that is valid, and neither grows without bounds.

use proptest::prelude::*;
use tracer_common::{
    event::Abi,
    syscalls::{self, ArgKind, Set, Struct},
};

use super::*;

/// Most bytes of text or JSON for one value of up to 600 bytes.
const MOST: usize = 64 * 1024;

fn context() -> impl Strategy<Value = Context<'static>> {
    let abi = prop::sample::select(Abi::ALL.to_vec());
    let names = vec![
        "ioctl",
        "fcntl",
        "prctl",
        "bpf",
        "setsockopt",
        "getsockopt",
        "futex",
        "sched_setattr",
        "io_uring_setup",
        "landlock_add_rule",
        "name_to_handle_at",
        "poll",
        "select",
        "clone",
        "msgctl",
        "semctl",
        "shmctl",
        "keyctl",
        "ptrace",
        "mbind",
        "migrate_pages",
        "modify_ldt",
        "mount",
        "io_uring_enter",
        "seccomp",
        "ipc",
        "socketcall",
        "signal",
    ];
    let name = prop::sample::select(names);
    // Commands and levels are small; other arguments are anything.
    let number = prop_oneof![0..64_u64, 0x5400..0x5480_u64, any::<u64>()];
    let args = proptest::array::uniform6(number);
    (abi, name, args, any::<i64>(), any::<bool>()).prop_map(|(abi, name, args, ret, at_exit)| {
        Context { abi, name, args, ret, at_exit, is_cut: false, fds: &[] }
    })
}

fn check_text(out: &[u8]) -> Result<(), TestCaseError> {
    let text = std::str::from_utf8(out).map_err(|_| TestCaseError::fail("not UTF-8"))?;
    prop_assert!(!text.chars().any(char::is_control), "{text}");
    prop_assert!(out.len() <= MOST, "{} bytes", out.len());
    Ok(())
}

fn check_json(out: &[u8]) -> Result<(), TestCaseError> {
    prop_assert!(out.len() <= MOST, "{} bytes", out.len());
    serde_json::from_slice::<serde_json::Value>(out)
        .map(|_| ())
        .map_err(|error| TestCaseError::fail(format!("{error}: {}", out.escape_ascii())))
}

proptest! {
    #[test]
    fn any_bytes_are_a_structure_or_none(
        context in context(),
        bytes in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        for kind in Struct::ALL {
            let (mut text, mut json) = (Vec::new(), Vec::new());
            let decoded = push_struct(&mut text, *kind, &context, &bytes);
            prop_assert_eq!(decoded, !text.is_empty());
            prop_assert_eq!(push_detail(&mut json, *kind, &context, &bytes), decoded);
            if decoded {
                check_text(&text)?;
                check_json(&json)?;
            }
        }
    }

    #[test]
    fn any_bytes_are_an_address_or_none(
        context in context(),
        family in prop::sample::select(vec![0_u16, 1, 2, 10, 16, 17, 40, 999]),
        rest in prop::collection::vec(any::<u8>(), 0..150),
    ) {
        let bytes = [&family.to_le_bytes()[..], &rest].concat();
        let (mut text, mut json) = (Vec::new(), Vec::new());
        prop_assert!(push_sockaddr(&mut text, &context, &bytes));
        prop_assert!(push_sockaddr_detail(&mut json, &context, &bytes));
        check_text(&text)?;
        check_json(&json)?;
        prop_assert!(!push_sockaddr(&mut text, &context, &bytes[..1]));
    }

    #[test]
    fn any_bytes_are_control_messages(
        context in context(),
        bytes in prop::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(24), any::<u8>()], 0..600),
    ) {
        let (mut text, mut json) = (Vec::new(), Vec::new());
        push_control(&mut text, &context, &bytes);
        push_control_detail(&mut json, &context, &bytes);
        check_text(&text)?;
        check_json(&json)?;
    }

    #[test]
    fn any_number_has_a_text(context in context(), value in any::<u64>()) {
        let mut out = Vec::new();
        for set in Set::ALL {
            push_flags(&mut out, *set, &context, value);
            push_enum(&mut out, *set, &context, value);
            check_text(&out)?;
            out.clear();
        }
        // Flags follow from the register and the ABI alone: exporters keep their text.
        let other = Context { name: "", args: [0; MAX_ARGS], ..context };
        for set in Set::ALL {
            let mut texts = [Vec::new(), Vec::new()];
            push_flags(&mut texts[0], *set, &context, value);
            push_flags(&mut texts[1], *set, &other, value);
            prop_assert_eq!(&texts[0], &texts[1], "{}", set.name());
        }
        for kind in [ArgKind::IoctlArg, ArgKind::FcntlArg, ArgKind::PrctlArg, ArgKind::Hex] {
            (0..6).for_each(|index| {
                push_command_number(&mut out, kind, &context, index);
            });
        }
        let low = u32::try_from(value & 0xffff_ffff).unwrap();
        push_signal(&mut out, low.cast_signed());
        push_file_mode(&mut out, low);
        push_mode(&mut out, low);
        push_device(&mut out, value);
        push_result(&mut out, &context);
        let memory = value.to_le_bytes();
        push_result_note(&mut out, &context, |_| Some(Returned { bytes: &memory, is_cut: false }));
        prop_assert!(argument_count(&context, 6) <= 6);
        check_text(&out)?;
    }
}

/// Structures that are shown only for some commands, or by the exporters.
const BY_COMMAND: [Struct; 8] = [
    Struct::IoUringEnterArg,
    Struct::IoctlArg,
    Struct::FcntlArg,
    Struct::PrctlArg,
    Struct::MsqidDs,
    Struct::SemidDs,
    Struct::ShmidDs,
    Struct::SocketcallArgs,
];

#[test]
fn every_structure_of_the_table_has_a_decoder() {
    for kind in Struct::ALL {
        for abi in [Abi::X86_64, Abi::I386, Abi::Aarch64] {
            let context = Context {
                abi,
                name: "",
                args: [0; MAX_ARGS],
                ret: 0,
                at_exit: true,
                is_cut: false,
                fds: &[],
            };
            let bytes = vec![0; usize::from(kind.size(abi))];
            let mut out = Vec::new();
            let decoded = push_struct(&mut out, *kind, &context, &bytes);
            assert!(decoded || BY_COMMAND.contains(kind), "{}", kind.name());
            let text = String::from_utf8(out).unwrap();
            // Two are arguments in memory, which only i386 has.
            let is_other = matches!(kind, Struct::MmapArg | Struct::SelectArg) && abi != Abi::I386;
            let is_cut = text.contains("cut after") && !is_other;
            assert!(!is_cut, "{} {}: {text}", kind.name(), abi.name());
        }
    }
}

#[test]
fn what_is_cut_short_is_said() {
    let context = Context {
        abi: Abi::X86_64,
        name: "",
        args: [0; MAX_ARGS],
        ret: 0,
        at_exit: true,
        is_cut: false,
        fds: &[],
    };
    for kind in [Struct::Timespec, Struct::Stat, Struct::Rusage, Struct::Sigaction, Struct::Sysinfo]
    {
        let mut out = Vec::new();
        assert!(push_struct(&mut out, kind, &context, &[0; 9]));
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("cut after 9 bytes"), "{text}");
    }
}

#[test]
fn sets_of_the_syscall_table_are_used_as_what_they_are() {
    for abi in [Abi::X86_64, Abi::I386, Abi::Aarch64] {
        for (_, call) in syscalls::all(abi) {
            for arg in call.args {
                let (ArgKind::Flags(set) | ArgKind::Enum(set)) = arg.kind else { continue };
                assert!(constants(set, abi).next().is_some(), "{}: {}", call.name, arg.name);
            }
        }
    }
}

/// A structure of a call on x86-64, as text.
fn shown(kind: Struct, name: &'static str, args: [u64; MAX_ARGS], words: &[u32]) -> String {
    let abi = Abi::X86_64;
    text(kind, Context { abi, name, args, ret: 0, at_exit: true, is_cut: false, fds: &[] }, words)
}

/// The same, read at the call's beginning.
fn passed(kind: Struct, name: &'static str, words: &[u32]) -> String {
    let (abi, args) = (Abi::X86_64, [0; MAX_ARGS]);
    text(kind, Context { abi, name, args, ret: 0, at_exit: false, is_cut: false, fds: &[] }, words)
}

fn text(kind: Struct, context: Context<'_>, words: &[u32]) -> String {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let mut out = Vec::new();
    if !push_struct(&mut out, kind, &context, &bytes) {
        return "none".to_owned();
    }
    String::from_utf8(out).unwrap()
}

#[test]
fn a_period_can_be_a_frequency() {
    let attributes = |bits| {
        let words = [0, 128, 0, 0, 4000, 0, 0, 0, 0, 0, bits, 0];
        shown(Struct::PerfEventAttr, "perf_event_open", [0; 6], &words)
    };
    let rest = "4000, sample_type=0, read_format=0, ...}";
    let head = "{type=PERF_TYPE_HARDWARE, size=128, config=0, ";
    assert_eq!(attributes(1 << 10), format!("{head}sample_freq={rest}"));
    assert_eq!(attributes(1 << 9), format!("{head}sample_period={rest}"));
}

#[test]
fn half_a_number_is_none() {
    let mount =
        |flags| shown(Struct::Int, "name_to_handle_at", [0, 0, 0, 0, flags, 0], &[0x8000_001c]);
    assert_eq!([mount(0), mount(1)], ["-2147483620", "none"]);
}

#[test]
fn what_is_asked_for_is_all_that_is_read() {
    let words = [13, 7, 7, 7];
    assert_eq!(passed(Struct::UserDesc, "get_thread_area", &words), "{entry_number=13}");
    for text in [
        passed(Struct::UserDesc, "set_thread_area", &words),
        shown(Struct::UserDesc, "get_thread_area", [0; MAX_ARGS], &words),
    ] {
        assert!(text.contains("base_addr="), "{text}");
    }
    let mut words = [7_u32; 64];
    let adjusted = passed(Struct::Timex64, "clock_adjtime", &words);
    assert!(adjusted.contains("offset="), "{adjusted}");
    words[0] = 0;
    assert_eq!(passed(Struct::Timex64, "clock_adjtime", &words), "{modes=0}");
    let answer = shown(Struct::Timex64, "clock_adjtime", [0; MAX_ARGS], &words);
    assert!(answer.contains("offset="), "{answer}");
}

#[test]
fn a_set_has_the_descriptors_that_the_call_was_told_of() {
    let set = |count: u64| {
        shown(Struct::FdSet, "select", [count, 0, 0, 0, 0, 0], &[0b1001, 1 << 8, 1, 0])
    };
    assert_eq!([set(4), set(3), set(65)], ["[0 3]", "[0]", "[0 3 40 64]"]);
    assert_eq!([set(0), set(u64::from(u32::MAX))], ["[]", "[]"]);
}

#[test]
fn commands_of_bpf_name_what_they_use() {
    let words = [3, 0, 0x1000, 0, 0x2000, 0, 0, 0];
    let of = |command| shown(Struct::BpfAttr, "bpf", [command, 0x1000, 32, 0, 0, 0], &words);
    assert_eq!(of(4), "{map_fd=3, key=0x1000, next_key=0x2000}");
    assert_eq!(of(3), "{map_fd=3, key=0x1000}");
    assert_eq!(of(1), "{map_fd=3, key=0x1000, value=0x2000, flags=0}");
}

#[test]
fn numbers_mean_what_their_call_makes_of_them() {
    let text = |set, name, args: [u64; MAX_ARGS], value| {
        let abi = Abi::X86_64;
        let context = Context { abi, name, args, ret: 0, at_exit: false, is_cut: false, fds: &[] };
        let mut out = Vec::new();
        push_enum(&mut out, set, &context, value);
        String::from_utf8(out).unwrap()
    };
    let option = |name| text(Set::SocketOptions, name, [3, 1, 26, 0, 0, 0], 26);
    assert_eq!(option("setsockopt"), "SO_ATTACH_FILTER");
    assert_eq!(option("getsockopt"), "SO_GET_FILTER");
    let flags = |operation| text(Set::SeccompFilterFlags, "seccomp", [operation; 6], 1);
    assert_eq!(flags(1), "SECCOMP_FILTER_FLAG_TSYNC");
    assert_eq!([flags(0), flags(2), flags(3)], ["0x1", "0x1", "0x1"]);
    let clock = |id: i32| {
        let value = u64::from(id.cast_unsigned());
        text(Set::Clocks, "clock_gettime", [value, 0, 0, 0, 0, 0], value)
    };
    assert_eq!(clock(-1), "0xffffffff /* CLOCK_??? */");
    assert_eq!(clock(-5), "FD_TO_CLOCKID(0)");
    assert_eq!(clock(-2), "MAKE_THREAD_CPUCLOCK(0, CPUCLOCK_SCHED)");
    assert_eq!(clock(-6), "MAKE_PROCESS_CPUCLOCK(0, CPUCLOCK_SCHED)");
}
