//! The process whose calls are measured, as the benchmark sees it: one order at a time.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{process::Background, statistics};

/// What the worker can be asked to do, over and over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// A call that does nothing.
    Getppid,
    /// `openat` of a path that does not exist, from a warm page.
    OpenMissing,
    /// `openat`, `read` and `close` of a file of 64 bytes.
    File,
    /// A byte to another process and back, through two pipes.
    PingPong,
    /// A process that is forked, runs /bin/true and is waited for.
    Life,
    /// The same with a program that ends at once, of one call and no library.
    ShortLife,
    /// `getppid` by 2 threads at once.
    TwoThreads,
    /// `getppid` by 8 threads at once.
    EightThreads,
}

impl Work {
    pub(crate) const ALL: [Self; 8] = [
        Self::Getppid,
        Self::OpenMissing,
        Self::File,
        Self::PingPong,
        Self::Life,
        Self::ShortLife,
        Self::TwoThreads,
        Self::EightThreads,
    ];

    /// As it is ordered.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Getppid => "getppid",
            Self::OpenMissing => "openat",
            Self::File => "file",
            Self::PingPong => "ping-pong",
            Self::Life => "life",
            Self::ShortLife => "short-life",
            Self::TwoThreads => "2-threads",
            Self::EightThreads => "8-threads",
        }
    }

    /// System calls in one turn at the least, those of other processes too.
    pub(crate) const fn calls(self) -> u64 {
        match self {
            Self::File => 3,
            // `fork`, `execve`, `exit_group`, `wait4`; the rest is the program's.
            Self::PingPong | Self::Life | Self::ShortLife => 4,
            _ => 1,
        }
    }
}

/// What an order took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Took {
    /// Processor time of the worker and of its children that have ended, in nanoseconds.
    pub(crate) cpu: u64,
    /// Time, in nanoseconds.
    pub(crate) wall: u64,
}

impl Took {
    /// Nanoseconds of processor time a turn.
    pub(crate) fn cpu_per(self, turns: u64) -> f64 {
        statistics::per(self.cpu, turns)
    }

    /// Nanoseconds a turn.
    pub(crate) fn wall_per(self, turns: u64) -> f64 {
        statistics::per(self.wall, turns)
    }
}

/// A worker that waits for orders.
pub(crate) struct Worker {
    _process: Background,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    pid: u32,
}

impl Worker {
    /// On this processor, or anywhere. With a tracer's command line in `under` the worker is that
    /// tracer's command.
    pub(crate) fn start(cpu: Option<usize>, under: &[String]) -> Result<Self> {
        let me = std::env::current_exe().context("the path of this program")?;
        let mut command = match under {
            [] => Command::new(me),
            [tracer, args @ ..] => {
                let mut command = Command::new(tracer);
                command.args(args).arg(me);
                command
            }
        };
        command.arg("worker");
        if let Some(cpu) = cpu {
            command.args(["--cpu", &cpu.to_string()]);
        }
        let mut process = Background::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let child = process.child();
        let (orders, answers) =
            child.stdin.take().zip(child.stdout.take()).context("the worker has no pipes")?;
        let mut worker =
            Self { _process: process, orders, answers: BufReader::new(answers), pid: 0 };
        worker.pid = worker.answer()?.parse().context("the worker's id")?;
        Ok(worker)
    }

    /// Its process, which is not the one that was started when that is a tracer.
    pub(crate) const fn pid(&self) -> u32 {
        self.pid
    }

    /// Makes it work so often.
    pub(crate) fn work(&mut self, work: Work, turns: u64) -> Result<Took> {
        self.order(&format!("{} {turns}", work.name()))
    }

    /// Makes it run a shell script, and waits for its end.
    pub(crate) fn run(&mut self, script: &str) -> Result<Took> {
        if script.contains('\n') {
            bail!("a script for the worker has more than one line");
        }
        self.order(&format!("run {script}"))
    }

    fn order(&mut self, order: &str) -> Result<Took> {
        writeln!(self.orders, "{order}").context("giving the worker an order")?;
        let answer = self.answer()?;
        let numbers = answer.split_once(' ').and_then(|(cpu, wall)| {
            Some(Took { cpu: cpu.parse().ok()?, wall: wall.parse().ok()? })
        });
        numbers.with_context(|| format!("`{order}`: {answer}"))
    }

    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.answers.read_line(&mut line).context("the worker's answer")? == 0 {
            bail!("the worker has ended");
        }
        Ok(line.trim().to_owned())
    }
}
