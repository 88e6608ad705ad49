//! The reference model against the kernel programs: real threads do what the model does, and after
//! each step the counters are the same, in the end the records too.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    os::fd::AsRawFd,
    process::Command,
    time::SystemTime,
};

use tracer_common::counter::Counter;
use tracer_user::{pipeline::TraceOptions, span_record::SpanRecord};

use crate::{
    expected::describe,
    recording::Recording,
    support::{Workload, amount, fewer_in_guests, syscalls, workload_path},
};

#[path = "../shared/machine.rs"]
mod machine;

use self::machine::{Machine, Op};

/// What the model knows; what else the kernel side counts has nothing to do with single calls.
const COUNTERS: [Counter; 11] = [
    Counter::Stored,
    Counter::NoReturn,
    Counter::StoreFailed,
    Counter::Matched,
    Counter::Superseded,
    Counter::TaskDied,
    Counter::InFlight,
    Counter::ChildReturn,
    Counter::ExitOnly,
    Counter::Submitted,
    Counter::ReserveFailed,
];

const TRACED: &str = "getpgid,getuid,getgid,pselect6,clone,clone3,execve,exit,exit_group";

/// The threads that do what the model does.
struct Theatre {
    folder: tempfile::TempDir,
    answers: BufReader<File>,
    /// Thread ids, by the model's ids.
    tids: BTreeMap<usize, u32>,
    orders: BTreeMap<usize, File>,
    recording: Option<Recording>,
    spans: Vec<SpanRecord>,
    ended: Option<tracer_user::kernel::KernelCounts>,
    root: Workload,
}

impl Theatre {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let answers = queue(folder.path().join("answers"));
        let orders = BTreeMap::from([(0, queue(folder.path().join("0")))]);
        let mut command = Command::new(workload_path());
        let mut root = Workload::with(command.args(["wait", "puppet"]).arg(folder.path()).arg("0"));
        root.begin();
        let mut new = Self {
            folder,
            answers: BufReader::new(answers),
            tids: BTreeMap::new(),
            orders,
            recording: None,
            spans: Vec::new(),
            ended: None,
            root,
        };
        new.listen(&[0]);
        new
    }

    /// Waits until each of these has answered.
    fn listen(&mut self, from: &[usize]) {
        let mut heard = Vec::new();
        for _ in from {
            let mut line = String::new();
            self.answers.read_line(&mut line).unwrap();
            let (number, tid) = line.trim().split_once(' ').unwrap();
            let number = number.parse().unwrap();
            heard.push(number);
            self.tids.insert(number, tid.parse().unwrap());
        }
        heard.sort_unstable();
        assert_eq!(heard, from);
    }

    fn tell(&mut self, id: usize, order: char, number: usize) {
        let text = format!("{order}{number:07}");
        self.orders.get_mut(&id).unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Does what the model has done already.
    fn perform(&mut self, before: &Machine, op: Op) {
        let id = |actor: usize| before.actors[actor].id;
        let process = |actor: usize| before.actors[actor].process;
        match op {
            Op::Attach => {
                let pids = before.processes().iter().map(|it| self.tids[it]).collect();
                self.recording = Some(Recording::start(&TraceOptions {
                    pids,
                    syscalls: syscalls(TRACED),
                    ..TraceOptions::default()
                }));
            }
            Op::LoseExits => lose_exits(),
            Op::Detach => {
                let (spans, ledger) = self.recording.take().unwrap().stop();
                self.spans = spans;
                self.ended = Some(ledger.kernel);
            }
            Op::Quick(actor) | Op::Deny(actor) => {
                let order = if matches!(op, Op::Quick(_)) { 'q' } else { 'd' };
                self.tell(id(actor), order, 0);
                self.listen(&[id(actor)]);
            }
            Op::Block(actor) => {
                self.tell(id(actor), 'b', 0);
                let tid = self.tids[&id(actor)];
                let start = format!("{} ", libc::SYS_pselect6);
                let path = format!("/proc/{tid}/syscall");
                while !fs::read_to_string(&path).is_ok_and(|text| text.starts_with(&start)) {
                    std::thread::yield_now();
                }
            }
            Op::Wake(actor) => {
                let (pid, tid) = (self.tids[&process(actor)], self.tids[&id(actor)]);
                // SAFETY: no pointers.
                let sent = unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, libc::SIGUSR1) };
                assert_eq!(sent, 0);
                self.listen(&[id(actor)]);
            }
            Op::Fork(actor) | Op::Thread(actor) => {
                let child = before.actors.len();
                self.orders.insert(child, queue(self.folder.path().join(child.to_string())));
                self.tell(id(actor), if matches!(op, Op::Fork(_)) { 'f' } else { 't' }, child);
                self.listen(&[id(actor), child]);
            }
            Op::Exec(actor) => {
                self.tell(id(actor), 'e', process(actor));
                self.listen(&[process(actor)]);
            }
            Op::Exit(actor) => {
                self.tell(id(actor), 'x', 0);
                self.wait_for_ends(before, process(actor));
            }
            Op::Kill(actor) => {
                let pid = i32::try_from(self.tids[&process(actor)]).unwrap();
                // SAFETY: a process of this test.
                assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
                self.wait_for_ends(before, process(actor));
            }
            Op::EndThread(actor) | Op::Condemn(actor) => {
                let order = if matches!(op, Op::EndThread(_)) { 'r' } else { 'c' };
                self.tell(id(actor), order, 0);
                wait_for_end(self.tids[&process(actor)], self.tids[&id(actor)]);
            }
        }
    }

    fn wait_for_ends(&self, before: &Machine, process: usize) {
        for actor in before.threads(process) {
            wait_for_end(self.tids[&process], self.tids[&before.actors[actor].id]);
        }
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let counts = self.recording.as_ref().map(Recording::counts).or(self.ended);
        counts.map_or_else(Vec::new, |all| {
            COUNTERS.iter().map(|it| (it.name(), all.get(*it))).collect()
        })
    }

    /// The records by the model's ids, in the model's words.
    fn records(&self) -> BTreeMap<usize, Vec<String>> {
        let ids: BTreeMap<u32, usize> = self.tids.iter().map(|(id, tid)| (*tid, *id)).collect();
        let mut records: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for span in &self.spans {
            let id = ids[&u32::try_from(span.thread_id()).unwrap()];
            let call = span.syscall().unwrap();
            let mut text = format!("{}/{}", describe(span), call.reason.name());
            let is_birth = span.span_name().starts_with("clone");
            if is_birth && call.record.name() == "complete" {
                // Which of the two calls the C library makes, and the child's id.
                "clone=*/complete/none".clone_into(&mut text);
            } else if is_birth {
                text = text.replace("clone3=", "clone=");
            }
            records.entry(id).or_default().push(text);
        }
        records
    }
}

impl Drop for Theatre {
    fn drop(&mut self) {
        // Those that a test leaves behind, whether it has passed or not.
        for tid in self.tids.values() {
            let pid = i32::try_from(*tid).unwrap();
            let is_ours = fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|it| it.windows(6).any(|word| word == b"puppet"));
            if is_ours {
                // SAFETY: a process of this test, by its command line.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
        }
        assert!(self.root.pid() > 0);
    }
}

fn queue(path: std::path::PathBuf) -> File {
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    File::options().read(true).write(true).open(path).unwrap()
}

/// Waits until a thread has ended, or is only there to be asked for its status.
fn wait_for_end(pid: u32, tid: u32) {
    let lives = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/task/{tid}/stat"));
        stat.is_ok_and(|stat| !stat.rsplit(") ").next().unwrap().starts_with(['Z', 'X']))
    };
    while lives() {
        std::thread::yield_now();
    }
}

/// Puts another file in the place of the link that holds the program at exits, which detaches it
/// as a kernel would that loses exits: the rest of the tracer knows nothing of it.
fn lose_exits() {
    let links: Vec<i32> = fs::read_dir("/proc/self/fdinfo")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd: &i32| {
            let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
            info.contains("link_type") && info.contains("sys_exit")
        })
        .collect();
    let [link] = links[..] else { panic!("one link is wanted: {links:?}") };
    let nothing = File::open("/dev/null").unwrap();
    // SAFETY: the descriptor stays one that can be closed.
    assert_eq!(unsafe { libc::dup2(nothing.as_raw_fd(), link) }, link);
    // SAFETY: no pointers; waits until no program runs any more that ran before.
    unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
}

struct Random(u64);

impl Random {
    fn pick(&mut self, choices: &[Op]) -> Op {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        choices[usize::try_from(self.0 >> 33).unwrap() % choices.len()]
    }
}

fn expected(machine: &Machine) -> Vec<(&'static str, u64)> {
    COUNTERS.iter().map(|it| (it.name(), machine.counters.get(*it))).collect()
}

/// Lets the operations that `next` gives happen in the model and to real threads.
fn play(told: &str, mut next: impl FnMut(&[Op]) -> Option<Op>) {
    let mut machine = Machine::new();
    let mut theatre = Theatre::new();
    let mut past = Vec::new();
    while let Some(op) = next(&machine.choices()) {
        assert!(machine.choices().contains(&op), "{op:?} cannot happen: {machine:?}");
        past.push(op);
        theatre.perform(&machine.clone(), op);
        machine.apply(op);
        if machine.is_tracing() {
            assert_eq!(theatre.counters(), expected(&machine), "{told}: {past:?}");
        }
    }
    assert_eq!(past.last(), Some(&Op::Detach));
    assert_eq!(theatre.counters(), expected(&machine), "{told}: {past:?}");
    assert_eq!(theatre.records(), machine.records, "{told}: {past:?}");
}

#[test]
fn random_sequences_are_counted_and_recorded_as_the_model_says() {
    let sequences = amount("TRACER_TEST_SEQUENCES", fewer_in_guests(6));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let first = amount("TRACER_TEST_SEED", u64::from(now.subsec_nanos()));
    for seed in first..first + sequences {
        let mut random = Random(seed);
        let mut steps = 0;
        play(&format!("seed {seed}"), |choices| {
            steps += 1;
            // A while before, long between, and an end.
            let wanted: Vec<Op> = choices
                .iter()
                .copied()
                .filter(|op| match op {
                    Op::Attach => steps > 8,
                    Op::LoseExits => steps > 60,
                    Op::Detach => steps > 80,
                    _ => steps < 100,
                })
                .collect();
            (!wanted.is_empty()).then(|| random.pick(&wanted))
        });
    }
}

/// Two entries without an exit between: the first call is given up under its name, on a real
/// kernel.
#[test]
fn entries_without_exits_are_superseded_or_die() {
    use Op::{Attach, Block, Detach, Exit, Fork, Kill, LoseExits, Quick, Thread, Wake};
    let ops = [
        Fork(0),
        Thread(1),
        Attach,
        Quick(2),
        LoseExits,
        Quick(2),
        Quick(2),
        Quick(2),
        Block(1),
        Wake(1),
        Fork(0),
        Exit(2),
        Quick(3),
        Kill(3),
        Block(0),
        Detach,
    ];
    let mut ops = ops.into_iter();
    play("given", |_| ops.next());
}
