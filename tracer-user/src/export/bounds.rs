//! How much of the memory that was captured belongs to an argument: behind what the program has
//! passed, or the kernel has written, stands what nobody meant.

use tracer_common::{
    event::CaptureState,
    memory::part,
    syscalls::{ArgKind, Extent},
};

use super::pointee::number;
use crate::span_record::{Captured, SyscallSpan};

/// `MSG_TRUNC`, recv(2).
const MSG_TRUNC: u64 = 0x20;

/// What the program has passed by an argument: a part of it.
pub(super) fn passed(call: &SyscallSpan, index: usize, part: u8) -> Option<Captured<'_>> {
    let it = call.passed(index, part)?;
    match name(call) {
        "capset" if index == 1 => up_to(it, capabilities(call)),
        _ => Some(it),
    }
}

/// What the kernel has written to where an argument leads: a part of it.
pub(super) fn returned(call: &SyscallSpan, index: usize, part: u8) -> Option<Captured<'_>> {
    let it = call.returned(index, part)?;
    if part != part::WHOLE {
        return Some(it);
    }
    match (name(call), index) {
        ("capget", 1) => up_to(it, capabilities(call)),
        ("waitid", 4) if !has_found(call) => None,
        // Of pages behind one that could not be moved nothing is said, `do_pages_move`,
        // <https://github.com/torvalds/linux/blob/v6.12/mm/migrate.c#L2275>.
        ("move_pages", 4) if call.ret > 0 && call.args[3] != 0 => None,
        ("recvfrom", 1) if may_discard(call.args[3], size(call.ret), call.args[2]) => None,
        _ => match extent(call, index) {
            Some(Extent::BytesAt(length)) => up_to(it, room(call, usize::from(length))?),
            _ => Some(it),
        },
    }
}

/// The first bytes of what was captured; nothing where there are none.
pub(super) fn up_to(it: Captured<'_>, most: usize) -> Option<Captured<'_>> {
    if most == 0 {
        return None;
    }
    let bytes = it.bytes.get(..most);
    let whole = |bytes| Captured { state: CaptureState::Whole, bytes };
    Some(bytes.filter(|_| it.is_read()).map_or(it, whole))
}

/// Whether a call with these flags that has received `len` bytes, with room for `room`, may have
/// left the room as it was: with `MSG_TRUNC` TCP throws away what it has received, tcp(7), all other
/// protocols say how much there was. Which one it is shows only where that is more than the room.
pub(super) fn may_discard(flags: u64, len: u64, room: u64) -> bool {
    flags & MSG_TRUNC != 0 && len <= room
}

fn name(call: &SyscallSpan) -> &'static str {
    call.info().map_or("", |info| info.name)
}

fn size(ret: i64) -> u64 {
    u64::try_from(ret).unwrap_or_default()
}

fn extent(call: &SyscallSpan, index: usize) -> Option<Extent> {
    match call.info()?.args.get(index)?.kind {
        ArgKind::Sockaddr(_, extent) | ArgKind::Struct(_, _, extent) => Some(extent),
        _ => None,
    }
}

/// The room that the program has said there was: a number that the kernel then has overwritten.
fn room(call: &SyscallSpan, index: usize) -> Option<usize> {
    let it = call.passed(index, part::WHOLE).filter(Captured::is_read)?;
    let room = u32::try_from(number(it.bytes, 0, 4)?).ok()?;
    usize::try_from(room.cast_signed()).ok()
}

/// Whether `waitid` has found a child: only then the kernel says what it has used.
fn has_found(call: &SyscallSpan) -> bool {
    const WNOHANG: u64 = 1;
    let signal = call.returned(2, part::WHOLE).and_then(|it| number(it.bytes, 0, 4));
    call.args[3] & WNOHANG == 0 || signal.is_some_and(|signal| signal != 0)
}

/// Bytes of the capabilities of `capget` and `capset`: the first version has one structure, others
/// two, capset(2).
fn capabilities(call: &SyscallSpan) -> usize {
    const VERSION_1: u64 = 0x1998_0330;
    const ONE: usize = 12;
    let header = call.passed(0, part::WHOLE).or_else(|| call.returned(0, part::WHOLE));
    match header.and_then(|it| number(it.bytes, 0, 4)) {
        Some(VERSION_1) => ONE,
        _ => ONE * 2,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::Arc};

    use super::super::{Exporter, JsonExporter, Output, TextExporter, TextStyle};
    use crate::{
        process::Process,
        span_record::{Payload, SpanContext, SpanRecord, SyscallSpan},
    };
    use tracer_common::{
        event::{Abi, CaptureState, Phase, Reason, Record},
        memory::part,
        syscalls,
    };

    /// A call, its arguments, and their memory.
    type Case<'a> = (&'static str, &'a [u64], Vec<Vec<u8>>);

    const WHOLE: CaptureState = CaptureState::Whole;
    const TRUNCATED: CaptureState = CaptureState::Truncated;

    /// Memory that an argument leads to, as the kernel side sends it.
    fn memory(arg: u8, phase: Phase, state: CaptureState, bytes: &[u8]) -> Vec<u8> {
        part_of(arg, phase, state, bytes, part::WHOLE)
    }

    fn part_of(arg: u8, phase: Phase, state: CaptureState, bytes: &[u8], part: u8) -> Vec<u8> {
        let mut out = vec![arg, state as u8, phase as u8, part];
        out.extend(u32::try_from(bytes.len()).unwrap().to_ne_bytes());
        out.extend(bytes);
        out.resize(out.len().next_multiple_of(8), 0);
        out
    }

    fn span(name: &str, args: &[u64], ret: i64, memory: &[Vec<u8>]) -> SpanRecord {
        let mut all = [0; 6];
        all[..args.len()].copy_from_slice(args);
        let call = SyscallSpan {
            uid: 1000,
            gid: 100,
            args: all,
            ret,
            cgroup_id: 1,
            comm: [b'c'; 16],
            payload: Payload::new(&memory.concat()),
            nr: syscalls::number(Abi::X86_64, name).unwrap(),
            abi: Abi::X86_64,
            record: Record::Complete,
            reason: Reason::None,
        };
        let context = SpanContext {
            process: Arc::new(Process::default()),
            span_id: [2; 8],
            start_time_nanos: 1,
            duration_nanos: 1,
            logical_clock: 1,
            thread_id: 1,
        };
        SpanRecord::from_syscall(context, call)
    }

    /// The arguments, as text.
    fn text(name: &str, args: &[u64], ret: i64, memory: &[Vec<u8>]) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        let output = Output::from(file.reopen().unwrap());
        let span = span(name, args, ret, memory);
        TextExporter::new(output, TextStyle::default()).export(&[span]).unwrap();
        let line = fs::read_to_string(file.path()).unwrap();
        let line = line.split_once(&format!(" {name}(")).unwrap().1;
        line.rsplit_once(" <").unwrap().0.to_owned()
    }

    fn json(name: &str, args: &[u64], ret: i64, memory: &[Vec<u8>]) -> serde_json::Value {
        let file = tempfile::NamedTempFile::new().unwrap();
        let output = Output::from(file.reopen().unwrap());
        JsonExporter::new(output).export(&[span(name, args, ret, memory)]).unwrap();
        let line: serde_json::Value = serde_json::from_reader(file.reopen().unwrap()).unwrap();
        line["syscall"]["args"].clone()
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    const INET: &[u8] = b"\x02\0\x00\x50\x7f\0\0\x01\0\0\0\0\0\0\0\0";
    const ADDRESS: &str =
        r#"{sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("127.0.0.1")}"#;

    #[test]
    fn of_an_address_there_is_as_much_as_there_was_room_for() {
        let name = |passed: Option<u32>| {
            let mut all = vec![
                memory(1, Phase::Exit, WHOLE, INET),
                memory(2, Phase::Exit, WHOLE, &words(&[16])),
            ];
            all.extend(passed.map(|it| memory(2, Phase::Enter, WHOLE, &words(&[it]))));
            text("getsockname", &[3, 0x1000, 0x2000], 0, &all)
        };
        assert_eq!(name(Some(128)), format!("3, {ADDRESS}, [128 => 16]) = 0"));
        let cut = r#"3, {sa_family=AF_INET, sa_data="\0P\x7f\0"}, [6 => 16]) = 0"#;
        assert_eq!(name(Some(6)).replace("\\x00", "\\0"), cut);
        // Nothing was written, or it is not known how much.
        assert_eq!(name(Some(0)), "3, 0x1000, [0 => 16]) = 0");
        assert_eq!(name(None), "3, 0x1000, [16]) = 0");
    }

    #[test]
    fn a_message_keeps_what_was_passed_from_what_was_returned() {
        let head = |name_len: u32| {
            let mut head = [0; 56];
            head[..4].copy_from_slice(&words(&[0x5000]));
            head[8..12].copy_from_slice(&words(&[name_len]));
            head
        };
        let all = [
            memory(1, Phase::Enter, WHOLE, &head(128)),
            memory(1, Phase::Exit, WHOLE, &head(16)),
            part_of(1, Phase::Exit, WHOLE, INET, part::NAME),
        ];
        let args = [3, 0x1000, 0];
        let shown = text("recvmsg", &args, 5, &all);
        assert!(shown.starts_with(&format!("3, {{msg_name={ADDRESS}, msg_namelen=128 => 16, ")));
        let detail = &json("recvmsg", &args, 5, &all)[1]["detail"];
        assert_eq!(detail["msg_namelen"], serde_json::json!({"passed": 128, "returned": 16}));
        let failed = text("recvmsg", &args, -11, &all[..1]);
        assert!(failed.starts_with("3, {msg_namelen=128}, 0) = -1 EAGAIN"), "{failed}");
        assert!(text("recvmsg", &args, 5, &all[1..]).starts_with("3, {msg_name=0x5000, "));
    }

    #[test]
    fn what_no_child_has_used_is_not_shown() {
        let used = memory(4, Phase::Exit, WHOLE, &[b'Z'; 144]);
        let of = |signal: u32, options: u64, all: bool| {
            let found = memory(2, Phase::Exit, WHOLE, &words(&[signal, 0, 1, 0, 5, 0, 3]));
            let all = if all { vec![found, used.clone()] } else { vec![used.clone()] };
            let text = text("waitid", &[0, 0, 0x1000, options, 0x2000], 0, &all);
            (text.contains("ru_utime"), text.contains("si_utime"))
        };
        assert_eq!(of(17, 4 | 1, true), (true, false));
        assert_eq!(of(0, 4 | 1, true), (false, false));
        // Without a place for what was found, only a call that waits has surely found a child.
        assert_eq!(of(0, 4 | 1, false), (false, false));
        assert_eq!(of(0, 4, false), (true, false));
    }

    #[test]
    fn the_first_version_of_capabilities_has_one_structure() {
        let of = |version: u32| {
            let all = [
                memory(0, Phase::Enter, WHOLE, &words(&[version, 0])),
                memory(1, Phase::Enter, WHOLE, &words(&[1, 1, 1, u32::MAX, u32::MAX, u32::MAX])),
            ];
            text("capset", &[0x1000, 0x2000], 0, &all)
        };
        assert!(of(0x1998_0330).contains("{effective=1<<CAP_CHOWN, permitted=1<<CAP_CHOWN, "));
        assert!(of(0x2008_0522).contains("1<<CAP_CHECKPOINT_RESTORE"));
    }

    /// Whatever the decoder makes of it: every kind of structure, and what is around structures.
    #[test]
    fn what_was_captured_in_part_says_so_in_every_form() {
        let passed = |arg, bytes: &[u8]| vec![memory(arg, Phase::Enter, TRUNCATED, bytes)];
        let both = |arg, bytes: &[u8]| {
            let returned = memory(arg, Phase::Exit, TRUNCATED, bytes);
            vec![memory(arg, Phase::Enter, TRUNCATED, bytes), returned]
        };
        let cases: [Case<'_>; 12] = [
            ("openat2", &[3, 0, 0x1000, 4096], passed(2, &[0; 64])),
            ("mq_notify", &[3, 0x1000], passed(1, &[0; 24])),
            ("clone3", &[0x1000, 88], passed(0, &[0; 80])),
            ("capset", &[0x1000, 0x2000], passed(1, &[0; 12])),
            ("ioctl", &[3, 0x8914, 0x1000], passed(2, &[0; 20])),
            ("setsockopt", &[3, 6, 13, 0x1000, 300], passed(3, &[7; 64])),
            (
                "setsockopt",
                &[3, 1, 25, 0x1000, 300],
                passed(3, b"eth0\0aaaaaaaaaaaaaaaaaaaaaaaaaa"),
            ),
            ("connect", &[3, 0x1000, 110], passed(1, b"\x01\0/tmp/a")),
            ("sched_setaffinity", &[0, 256, 0x1000], passed(2, &[1; 128])),
            ("rt_sigprocmask", &[0, 0x1000, 0, 16], passed(1, &[1; 8])),
            ("poll", &[0x1000, 99, 0], both(0, &[3, 0, 0, 0, 1, 0, 1, 0])),
            ("pselect6", &[2000, 0x1000, 0, 0, 0, 0], both(1, &[1; 128])),
        ];
        for (name, args, all) in cases {
            let text = text(name, args, 1, &all);
            assert!(text.contains("..."), "{name}: {text}");
            let (call, note) = text.split_once(" = ").unwrap();
            assert!(call.contains("..."), "{name}: {text}");
            assert!(note == "1" || note.contains("..."), "{name}: {text}");
        }
    }

    #[test]
    fn what_says_itself_how_long_it_is_can_be_whole() {
        let passed = |arg, bytes: &[u8]| vec![memory(arg, Phase::Enter, TRUNCATED, bytes)];
        let attributes = [words(&[48, 0]), vec![0; 40]].concat();
        let cases: [Case<'_>; 8] = [
            ("sched_setattr", &[0, 0x1000, 0], passed(1, &attributes)),
            ("open_by_handle_at", &[3, 0x1000, 0], passed(1, &words(&[4, 1, 9]))),
            ("landlock_add_rule", &[3, 1, 0x1000, 0], passed(2, &[0; 12])),
            ("mount", &[0, 0, 0, 0, 0x1000], passed(4, b"size=1\0")),
            // FS_IOC_SETFLAGS, FIOSETOWN, TIOCSWINSZ
            ("ioctl", &[3, 0x4008_6602, 0x1000], passed(2, &words(&[0x30]))),
            ("ioctl", &[3, 0x8901, 0x1000], passed(2, &words(&[5]))),
            ("ioctl", &[3, 0x5414, 0x1000], passed(2, &[0; 8])),
            ("listmount", &[0x1000, 0, 0, 0], passed(0, &[words(&[24]), vec![0; 20]].concat())),
        ];
        for (name, args, all) in cases {
            let text = text(name, args, -22, &all);
            assert!(!text.contains("..."), "{name}: {text}");
        }
    }

    #[test]
    fn what_was_read_at_exit_says_so() {
        let of = |phase| json("nanosleep", &[0x1000, 0], 0, &[memory(0, phase, WHOLE, &[0; 16])]);
        assert_eq!(of(Phase::Late)[0]["read_at"], "exit");
        assert_eq!(of(Phase::Late)[1].get("read_at"), None);
        assert_eq!(of(Phase::Enter)[0].get("read_at"), None);
    }
}
