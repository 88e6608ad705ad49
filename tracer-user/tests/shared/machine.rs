//! The enter/exit state machine as a reference model: what the kernel side must count and record
//! for any sequence of operations on some threads.

use std::collections::BTreeMap;

use tracer_common::counter::{Counter, Counters};

/// What can happen. Numbers are those of actors, in the order of their births.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// Tracing begins.
    Attach,
    /// Exits are no longer seen.
    LoseExits,
    /// Tracing ends.
    Detach,
    /// A call that fails at once.
    Quick(usize),
    /// A call that seccomp denies.
    Deny(usize),
    /// A call that blocks.
    Block(usize),
    /// A signal ends the blocked call.
    Wake(usize),
    /// A process is born.
    Fork(usize),
    /// A thread is born.
    Thread(usize),
    /// A program is executed; other threads of the process end.
    Exec(usize),
    /// The process ends by its own will.
    Exit(usize),
    /// The thread ends by its own will.
    EndThread(usize),
    /// The process is killed.
    Kill(usize),
    /// seccomp kills the thread inside a call; the only one of a process with a signal.
    Condemn(usize),
}

/// A thread.
#[derive(Clone, Debug)]
pub(crate) struct Actor {
    /// The actor that was the process's first thread.
    pub(crate) process: usize,
    /// Under whose thread id it runs: another's after it has executed a program.
    pub(crate) id: usize,
    pub(crate) is_alive: bool,
    pub(crate) is_blocked: bool,
    /// The call that the kernel side keeps, and the id under which it was entered.
    open: Option<(&'static str, usize)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tracer {
    NotYet,
    On { sees_exits: bool },
    Ended,
}

/// Most actors.
const CROWD: usize = 12;

/// The model's state.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) actors: Vec<Actor>,
    tracer: Tracer,
    pub(crate) counters: Counters,
    /// By id: `name=result/record/reason`, in order.
    pub(crate) records: BTreeMap<usize, Vec<String>>,
}

impl Machine {
    /// One process with one thread; no tracer.
    pub(crate) fn new() -> Self {
        let mut new = Self {
            actors: Vec::new(),
            tracer: Tracer::NotYet,
            counters: Counters::default(),
            records: BTreeMap::new(),
        };
        new.is_born(0);
        new
    }

    fn is_born(&mut self, process: usize) {
        let id = self.actors.len();
        let open = None;
        self.actors.push(Actor { process, id, is_alive: true, is_blocked: false, open });
    }

    /// The living threads of a process.
    pub(crate) fn threads(&self, process: usize) -> Vec<usize> {
        let all = 0..self.actors.len();
        all.filter(|it| self.actors[*it].is_alive && self.actors[*it].process == process).collect()
    }

    /// The living processes.
    pub(crate) fn processes(&self) -> Vec<usize> {
        (0..self.actors.len()).filter(|it| !self.threads(*it).is_empty()).collect()
    }

    pub(crate) fn is_tracing(&self) -> bool {
        matches!(self.tracer, Tracer::On { .. })
    }

    /// All that can happen next.
    pub(crate) fn choices(&self) -> Vec<Op> {
        let mut ops = match self.tracer {
            Tracer::NotYet => vec![Op::Attach],
            Tracer::On { sees_exits: true } => vec![Op::LoseExits, Op::Detach],
            Tracer::On { sees_exits: false } => vec![Op::Detach],
            Tracer::Ended => return Vec::new(),
        };
        let is_last = self.processes().len() == 1;
        for (index, actor) in self.actors.iter().enumerate().filter(|(_, it)| it.is_alive) {
            let is_first = actor.id == actor.process;
            let is_alone = self.threads(actor.process).len() == 1;
            if !is_last {
                ops.push(Op::Kill(index));
            }
            if actor.is_blocked {
                ops.push(Op::Wake(index));
                continue;
            }
            ops.extend([Op::Quick(index), Op::Deny(index), Op::Block(index), Op::Exec(index)]);
            if self.actors.len() < CROWD {
                ops.extend([Op::Fork(index), Op::Thread(index)]);
            }
            if !is_last {
                ops.push(Op::Exit(index));
            }
            if !is_first {
                ops.push(Op::EndThread(index));
            }
            if !is_first && !is_alone || is_alone && !is_last {
                ops.push(Op::Condemn(index));
            }
        }
        ops
    }

    /// Lets it happen.
    pub(crate) fn apply(&mut self, op: Op) {
        match op {
            Op::Attach => self.tracer = Tracer::On { sees_exits: true },
            Op::LoseExits => self.tracer = Tracer::On { sees_exits: false },
            Op::Detach => self.detach(),
            Op::Quick(actor) => {
                self.enter(actor, "getpgid");
                self.exit(actor, "getpgid", "ESRCH");
            }
            Op::Deny(actor) => self.exit(actor, "getuid", "EPERM"),
            Op::Block(actor) => {
                self.enter(actor, "pselect6");
                self.actors[actor].is_blocked = true;
            }
            Op::Wake(actor) => self.unblock(actor),
            Op::Fork(actor) | Op::Thread(actor) => {
                let child = self.actors.len();
                let is_thread = matches!(op, Op::Thread(_));
                self.enter(actor, "clone");
                self.is_born(if is_thread { self.actors[actor].process } else { child });
                // On arm64 a child does not return by way of the tracepoint.
                if self.sees_exits() && cfg!(target_arch = "x86_64") {
                    self.count(Counter::ChildReturn);
                }
                self.exit(actor, "clone", "*");
            }
            Op::Exec(actor) => {
                self.enter(actor, "execve");
                let process = self.actors[actor].process;
                self.threads(process)
                    .into_iter()
                    .filter(|it| *it != actor)
                    .for_each(|it| self.die(it));
                self.actors[actor].id = process;
                self.exit(actor, "execve", "0");
            }
            Op::Exit(actor) => {
                self.end(actor, "exit_group");
                self.kill(actor);
            }
            Op::EndThread(actor) => {
                self.end(actor, "exit");
                self.die(actor);
            }
            Op::Kill(actor) => self.kill(actor),
            Op::Condemn(actor) => {
                // The only thread of a process gets a signal, and leaves the call for that.
                if self.threads(self.actors[actor].process).len() == 1 {
                    // Its registers are as before the call. On arm64 the result's is that of the first
                    // argument, which is 0; elsewhere that of the number, which is none.
                    let result = if cfg!(target_arch = "aarch64") { "0" } else { "?" };
                    self.exit(actor, "getgid", result);
                }
                self.die(actor);
            }
        }
    }

    fn sees_exits(&self) -> bool {
        self.tracer == Tracer::On { sees_exits: true }
    }

    fn count(&mut self, counter: Counter) {
        self.counters.values[counter as usize] += 1;
    }

    fn record(&mut self, id: usize, text: String) {
        self.count(Counter::Submitted);
        self.records.entry(id).or_default().push(text);
    }

    fn enter(&mut self, actor: usize, name: &'static str) {
        if !self.is_tracing() {
            return;
        }
        self.count(Counter::EnterSeen);
        self.open_end(actor, Counter::Superseded, "superseded");
        self.count(Counter::Stored);
        self.actors[actor].open = Some((name, self.actors[actor].id));
    }

    fn exit(&mut self, actor: usize, name: &str, result: &str) {
        if !self.sees_exits() {
            return;
        }
        if let Some((name, id)) = self.actors[actor].open.take() {
            self.count(Counter::Matched);
            self.record(id, format!("{name}={result}/complete/none"));
        } else {
            self.count(Counter::ExitOnly);
            let id = self.actors[actor].id;
            self.record(id, format!("{name}={result}/exit_only/enter_not_seen"));
        }
    }

    /// A call that does not return.
    fn end(&mut self, actor: usize, name: &str) {
        if self.is_tracing() {
            self.count(Counter::EnterSeen);
            self.count(Counter::NoReturn);
            let id = self.actors[actor].id;
            self.record(id, format!("{name}=?/enter_only/noreturn"));
        }
    }

    fn open_end(&mut self, actor: usize, counter: Counter, reason: &str) {
        if let Some((name, id)) = self.actors[actor].open.take() {
            self.count(counter);
            self.record(id, format!("{name}=?/enter_only/{reason}"));
        }
    }

    fn unblock(&mut self, actor: usize) {
        if self.actors[actor].is_blocked {
            self.actors[actor].is_blocked = false;
            self.exit(actor, "pselect6", "ERESTARTNOHAND");
        }
    }

    /// A thread ends; one that is blocked leaves its call first.
    fn die(&mut self, actor: usize) {
        self.unblock(actor);
        if self.is_tracing() {
            self.open_end(actor, Counter::TaskDied, "task_died");
        }
        self.actors[actor].is_alive = false;
    }

    fn kill(&mut self, actor: usize) {
        let process = self.actors[actor].process;
        self.threads(process).into_iter().for_each(|it| self.die(it));
    }

    fn detach(&mut self) {
        for actor in 0..self.actors.len() {
            self.open_end(actor, Counter::InFlight, "unfinished");
        }
        self.tracer = Tracer::Ended;
    }
}
