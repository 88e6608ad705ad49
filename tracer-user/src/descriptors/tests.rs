//! The stage as a whole, on calls of a process that /proc knows nothing of but what a test says.

use std::collections::BTreeMap;

use tracer_common::{
    event::{Abi, CaptureState, Phase, Reason, Record},
    syscalls,
};

use super::*;
use crate::{
    descriptors::name::Device,
    span_record::{Payload, SpanContext},
};

/// Links by process and descriptor; folders by process.
#[derive(Default)]
struct Fake {
    links: BTreeMap<(u32, i32), &'static str>,
}

impl Source for Fake {
    fn process(&mut self, pid: u32) -> Option<Seen> {
        let of = self.links.iter().filter(|((of, _), _)| *of == pid);
        let descriptors =
            of.map(|((_, fd), link)| (*fd, link.as_bytes().to_vec(), false)).collect();
        Some(Seen { descriptors, folder: Some(b"/home".to_vec()), has_our_root: true })
    }
    fn link(&mut self, pid: u32, fd: i32) -> Option<Vec<u8>> {
        self.links.get(&(pid, fd)).map(|link| link.as_bytes().to_vec())
    }
    fn folder(&mut self, _: u32) -> Option<Vec<u8>> {
        Some(b"/home".to_vec())
    }
    fn has_our_root(&mut self, _: u32) -> bool {
        true
    }
    fn resolve(&mut self, _: u32, _: bool, path: &[u8], _: bool) -> Option<Vec<u8>> {
        // `/lib` is a link, and nothing else is.
        path.strip_prefix(b"/lib/").map(|rest| [b"/usr/lib/", rest].concat())
    }
    fn device(&mut self, path: &[u8]) -> Option<Device> {
        (path == b"/dev/null").then_some(Device { is_char: true, major: 1, minor: 3 })
    }
    fn socket(&mut self, _: u32, _: u64) -> Option<Socket> {
        None
    }
}

/// A process's calls, one after the other.
struct Script {
    stage: Descriptors,
    now: u64,
    /// When children were first seen.
    births: BTreeMap<u32, u64>,
}

const PARENT: u32 = 10;

impl Script {
    fn new(links: &[((u32, i32), &'static str)]) -> Self {
        Self::shows(links, SyscallFilter::all(), true)
    }

    fn shows(links: &[((u32, i32), &'static str)], filter: SyscallFilter, follows: bool) -> Self {
        let source = Box::new(Fake { links: links.iter().copied().collect() });
        let shown = Arc::new(Shown::new(filter));
        let stage = Descriptors::with_source(source, Detail::Protocols, follows, shown, [PARENT]);
        Self { now: stage.began + 1000, stage, births: BTreeMap::new() }
    }

    fn process(&mut self, pid: u32) -> Arc<Process> {
        let child = pid != PARENT;
        let birth = *self.births.entry(pid).or_insert(self.now - 5);
        Arc::new(Process {
            tgid: pid,
            start_ns: if child { birth } else { 1 },
            span_id: [u8::try_from(pid).unwrap(); 8],
            parent_tgid: if child { PARENT } else { 0 },
            ..Process::default()
        })
    }

    /// Runs a call with memory of its arguments; as it is exported, if it is.
    fn call(
        &mut self,
        pid: u32,
        name: &str,
        args: &[u64],
        ret: i64,
        memory: &[(u8, Phase, u8, &[u8])],
    ) -> Option<SpanRecord> {
        self.now += 10;
        let mut payload = Vec::new();
        for (arg, phase, part, bytes) in memory {
            payload.extend([*arg, CaptureState::Whole as u8, *phase as u8, *part]);
            payload.extend(u32::try_from(bytes.len()).unwrap().to_ne_bytes());
            payload.extend_from_slice(bytes);
            payload.resize(payload.len().next_multiple_of(8), 0);
        }
        let mut all = [0; 6];
        // Pointers that lead to captured memory are not null.
        for (arg, ..) in memory {
            all[usize::from(*arg)] = 0x1000;
        }
        all[..args.len()].copy_from_slice(args);
        let call = SyscallSpan {
            args: all,
            ret,
            cgroup_id: 1,
            uid: 1000,
            gid: 100,
            comm: [0; 16],
            payload: Payload::new(&payload),
            nr: syscalls::number(Abi::X86_64, name).unwrap(),
            abi: Abi::X86_64,
            record: Record::Complete,
            reason: Reason::None,
        };
        let context = SpanContext {
            process: self.process(pid),
            span_id: [9; 8],
            start_time_nanos: self.now,
            duration_nanos: 2,
            logical_clock: self.now,
            thread_id: pid,
        };
        let mut spans = vec![SpanRecord::from_syscall(context, call)];
        self.stage.process(&mut spans, 0);
        spans.pop()
    }

    fn open(&mut self, pid: u32, path: &str, fd: i64) -> SpanRecord {
        let path = path.as_bytes();
        self.call(pid, "openat", &[u64::MAX - 99, 0x1000], fd, &[(1, Phase::Enter, 0, path)])
            .unwrap()
    }

    /// What `read` finds its descriptor to be.
    fn read(&mut self, pid: u32, fd: u64) -> Option<String> {
        let span = self.call(pid, "read", &[fd], 1, &[]).unwrap();
        let fd = i32::try_from(fd).unwrap();
        FdName::find(span.fd_names(), fd, false).map(str::to_owned)
    }

    fn name(&mut self, fd: u64) -> String {
        self.read(PARENT, fd).unwrap_or_default()
    }
}

#[test]
fn files_are_followed_from_open_to_close() {
    let mut script = Script::new(&[((PARENT, 0), "/dev/null"), ((PARENT, 1), "pipe:[77]")]);
    assert_eq!(script.name(0), "</dev/null<char 1:3>>");
    assert_eq!(script.name(1), "<pipe:[77]>");
    let span = script.open(PARENT, "../etc//x", 3);
    assert_eq!(FdName::find(span.fd_names(), -100, false), Some("</home>"));
    assert_eq!(FdName::find(span.fd_names(), 3, true), Some("</etc/x>"));
    assert_eq!(FdName::find(span.fd_names(), 3, false), None);
    script.open(PARENT, "/lib/libc.so", 4);
    assert_eq!(script.name(4), "</usr/lib/libc.so>");
    // A descriptor of a folder, and a path below it.
    script.call(PARENT, "openat", &[3, 0x1000], 5, &[(1, Phase::Enter, 0, b"y")]);
    assert_eq!(script.name(5), "</etc/x/y>");
    script.call(PARENT, "dup2", &[4, 5], 5, &[]);
    assert_eq!(script.name(5), "</usr/lib/libc.so>");
    script.call(PARENT, "fcntl", &[3, 0, 7], 7, &[]);
    assert_eq!(script.name(7), "</etc/x>");
    let closed = script.call(PARENT, "close", &[3], 0, &[]).unwrap();
    assert_eq!(FdName::find(closed.fd_names(), 3, false), Some("</etc/x>"));
    assert_eq!(script.read(PARENT, 3), None);
    script.call(PARENT, "close_range", &[4, 6, 0], 0, &[]);
    assert_eq!((script.read(PARENT, 4), script.read(PARENT, 5)), (None, None));
    assert_eq!(script.name(7), "</etc/x>");
    script.call(PARENT, "chdir", &[], 0, &[(0, Phase::Enter, 0, b"/var/./log")]);
    let span = script.open(PARENT, "m", 3);
    assert_eq!(FdName::find(span.fd_names(), 3, true), Some("</var/log/m>"));
    // A call that fails changes nothing.
    script.call(PARENT, "close", &[7], -9, &[]);
    assert_eq!(script.name(7), "</etc/x>");
    script.call(PARENT, "close", &[7], -5, &[]);
    assert_eq!(script.read(PARENT, 7), None, "close(2) closes whatever it says");
}

#[test]
fn children_inherit_and_programs_close() {
    let mut script = Script::new(&[]);
    script.open(PARENT, "/a", 3);
    script.call(
        PARENT,
        "openat",
        &[u64::MAX - 99, 0x1000, 0o2_000_000],
        4,
        &[(1, Phase::Enter, 0, b"/b")],
    );
    script.call(PARENT, "clone", &[0], 20, &[]);
    assert_eq!(script.read(20, 4).as_deref(), Some("</b>"));
    script.call(20, "execve", &[], 0, &[]);
    assert_eq!(script.read(20, 3).as_deref(), Some("</a>"));
    assert_eq!(script.read(20, 4), None, "closed at exec");
    assert_eq!(script.name(4), "</b>", "not the parent's");
    script.call(20, "close", &[3], 0, &[]);
    assert_eq!(script.name(3), "</a>");
    // `CLONE_FILES`: what the child closes is closed for the parent, until it runs another program.
    script.call(PARENT, "clone", &[0x400], 21, &[]);
    script.open(21, "/c", 5);
    assert_eq!(script.name(5), "</c>");
    script.call(21, "execve", &[], 0, &[]);
    script.call(21, "close", &[5], 0, &[]);
    assert_eq!(script.name(5), "</c>");
    script.call(20, "exit_group", &[], 0, &[]);
    assert!(!script.stage.ids.contains_key(&20) && script.stage.ids.contains_key(&21));
}

#[test]
fn what_has_no_path_is_named_as_the_kernel_does() {
    let mut script = Script::new(&[]);
    script.call(PARENT, "epoll_create1", &[0], 3, &[]);
    script.call(PARENT, "memfd_create", &[], 4, &[(0, Phase::Enter, 0, b"mem")]);
    script.call(PARENT, "pidfd_open", &[77], 5, &[]);
    assert_eq!(script.name(3), "<anon_inode:[eventpoll]>");
    assert_eq!(script.name(4), "</memfd:mem>(deleted)");
    assert_eq!(script.name(5), "<pid:77>");
    let pair = [6_i32.to_ne_bytes(), 7_i32.to_ne_bytes()].concat();
    let span = script.call(PARENT, "pipe2", &[], 0, &[(0, Phase::Exit, 0, &pair)]).unwrap();
    assert_eq!(FdName::find(span.fd_names(), 7, true), Some("<pipe:[?]>"));
}

#[test]
fn sockets_have_the_addresses_of_their_calls() {
    let address = |port: u8| [2, 0, 0, port, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut script = Script::new(&[((PARENT, 3), "socket:[31]")]);
    script.call(PARENT, "socket", &[2, 1, 0], 3, &[]);
    assert_eq!(script.name(3), "<TCP:[31]>");
    script.call(PARENT, "bind", &[3], 0, &[(1, Phase::Enter, 0, &address(80))]);
    assert_eq!(script.name(3), "<TCP:[127.0.0.1:80]>");
    let memory: &[(u8, Phase, u8, &[u8])] = &[(1, Phase::Exit, 0, &address(90))];
    script.call(PARENT, "accept4", &[3, 0x1000, 0x1000, 0], 4, memory);
    assert_eq!(script.name(4), "<TCP:[127.0.0.1:80->127.0.0.1:90]>");
    script.call(PARENT, "socket", &[2, 1, 0], 5, &[]);
    script.call(PARENT, "connect", &[5], -115, &[(1, Phase::Enter, 0, &address(80))]);
    assert_eq!(script.name(5), "<TCP:[?->127.0.0.1:80]>");
}

#[test]
fn descriptors_that_were_received_are_looked_up() {
    let mut script = Script::new(&[((PARENT, 9), "/received")]);
    script.open(PARENT, "/old", 9);
    let mut control = 20_u64.to_ne_bytes().to_vec();
    control.extend([1_i32, 1, 9].iter().flat_map(|it| it.to_ne_bytes()));
    control.resize(24, 0);
    let memory: &[(u8, Phase, u8, &[u8])] = &[(1, Phase::Exit, 2, &control)];
    let span = script.call(PARENT, "recvmsg", &[5, 0x1000, 0], 1, memory).unwrap();
    assert_eq!(FdName::find(span.fd_names(), 9, true), Some("</received>"));
}

#[test]
fn calls_that_were_not_asked_for_are_followed_and_not_shown() {
    let mut filter = SyscallFilter::all();
    filter.add("read").unwrap();
    let mut script = Script::shows(&[], filter, true);
    let path: &[(u8, Phase, u8, &[u8])] = &[(1, Phase::Enter, 0, b"/x")];
    assert!(script.call(PARENT, "openat", &[u64::MAX - 99], 3, path).is_none());
    assert_eq!(script.name(3), "</x>");
    script.stage.shown.set(SyscallFilter::all());
    assert!(script.call(PARENT, "openat", &[u64::MAX - 99], 4, path).is_some());
}

#[test]
fn what_cannot_be_followed_is_looked_up_each_time() {
    let mut script = Script::shows(&[((PARENT, 3), "/now")], SyscallFilter::all(), false);
    script.open(PARENT, "/then", 3);
    assert_eq!(script.name(3), "</now>");
    // Lost spans may have changed anything.
    let mut script = Script::new(&[((PARENT, 3), "/now")]);
    script.open(PARENT, "/then", 3);
    assert_eq!(script.name(3), "</then>");
    script.stage.process(&mut Vec::new(), 1);
    assert_eq!(script.name(3), "</now>");
}

#[test]
fn only_so_many_processes_are_kept() {
    let mut script = Script::new(&[]);
    for id in 0..=MOST_PROCESSES as u64 {
        script.stage.make_room();
        let state = State { files: Arc::default(), folder: None, our_root: true, used: id };
        script.stage.processes.insert((1, id), state);
        script.stage.ids.insert(u32::try_from(id).unwrap(), (1, id));
    }
    assert!(script.stage.processes.len() <= MOST_PROCESSES);
    assert_eq!(script.stage.processes.len(), script.stage.ids.len());
    assert!(script.stage.processes.contains_key(&(1, MOST_PROCESSES as u64)));
}
