//! Work that is done while something is attached, and what it takes.

use anyhow::Result;

use crate::{
    bench::Bench,
    statistics,
    tracers::{Attached, Target, Tool},
    worker::{Took, Work, Worker},
};

/// Work that can be repeated.
pub(crate) trait Job {
    /// What a tracer has to trace.
    fn target(&self) -> Target;

    /// Does it, by so much less than what suits an untraced program.
    fn run(&mut self, slowness: u64) -> Result<Done>;
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Done {
    /// So often.
    pub(crate) turns: u64,
    /// In this time.
    pub(crate) took: Took,
    /// With so many system calls at the least, if that is known.
    pub(crate) calls: Option<u64>,
}

/// How a job is made; with a tracer's command line, as that tracer's command.
pub(crate) type Make<'a> = dyn Fn(&Bench, &[String]) -> Result<Box<dyn Job>> + 'a;

/// One measurement, a turn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample {
    /// Nanoseconds of the work's processor time.
    pub(crate) cpu: f64,
    /// Nanoseconds.
    pub(crate) wall: f64,
    /// Nanoseconds of the tracer's processor time.
    pub(crate) tracer: f64,
    /// Events that the tracer has lost; `None` when it cannot tell.
    pub(crate) lost: Option<u64>,
    /// Resident memory of the tracer, in MiB.
    pub(crate) resident: f64,
}

/// Measures the job while the tool is attached; `again` makes a job of its own for a tool that
/// cannot attach to one that runs.
pub(crate) fn measure(
    bench: &Bench,
    tool: Tool,
    job: &mut dyn Job,
    again: &Make<'_>,
) -> Result<Sample> {
    let launcher = tool.launcher(bench)?;
    let mut own = None;
    let job = if launcher.is_empty() { job } else { own.insert(again(bench, &launcher)?).as_mut() };
    let attached = Attached::start(tool, bench, job.target())?;
    let done = job.run(tool.slowness())?;
    let outcome = attached.finish(done.calls)?;
    let nanos = u64::try_from(outcome.cpu.as_nanos()).unwrap_or(u64::MAX);
    Ok(Sample {
        cpu: done.took.cpu_per(done.turns),
        wall: done.took.wall_per(done.turns),
        tracer: statistics::per(nanos, done.turns),
        lost: outcome.lost,
        resident: statistics::per(outcome.resident_kib, 1024),
    })
}

/// The worker's calls, over and over.
pub(crate) struct Loop {
    worker: Worker,
    work: Work,
    turns: u64,
    /// Whether it starts threads or processes.
    many: bool,
}

impl Loop {
    /// `turns` are for an untraced worker.
    pub(crate) fn new(bench: &Bench, under: &[String], work: Work, turns: u64) -> Result<Self> {
        let threads = matches!(work, Work::TwoThreads | Work::EightThreads);
        // Threads that are to run at once must be able to.
        let cpu = bench.work_cpu().filter(|_| !threads);
        let mut worker = Worker::start(cpu, under)?;
        // What it needs is there before a tracer is, so that all trace the same.
        worker.work(work, 10)?;
        let many = threads || matches!(work, Work::PingPong | Work::Life | Work::ShortLife);
        Ok(Self { worker, work, turns, many })
    }
}

impl Job for Loop {
    fn target(&self) -> Target {
        Target { pid: self.worker.pid(), tree: self.many }
    }

    fn run(&mut self, slowness: u64) -> Result<Done> {
        let turns = (self.turns / slowness).max(1);
        let took = self.worker.work(self.work, turns)?;
        Ok(Done { turns, took, calls: Some(turns * self.work.calls()) })
    }
}
