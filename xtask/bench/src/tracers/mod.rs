//! Everything that can be attached to work: nothing, the floor, tracer, and other tracers. Each is
//! started for real, is ready by evidence, and says at its end what it lost.

mod ledger;
mod losses;
mod start;

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;

use crate::{
    bench::Bench,
    floor::Floor,
    process::{self, Background},
};

/// Traces a call that nobody makes, for tracer and strace alike.
pub(crate) const NO_CALL: &str = "trace=swapoff";

/// One thing to attach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    /// Nothing.
    Bare,
    /// Two empty raw tracepoints.
    Floor,
    /// tracer, with another process in scope.
    Bystander,
    /// tracer, of a call that the work does not make: what is left are records of processes.
    Lives,
    /// tracer, to null.
    Null,
    /// tracer, to Parquet.
    Parquet,
    /// tracer, to an OTLP receiver that counts.
    Otlp,
    /// `strace -f --seccomp-bpf` of a call that the work does not make.
    StraceBystander,
    /// bpftrace with a histogram of latencies in the kernel.
    BpftraceHistogram,
    /// `perf record` of both raw tracepoints.
    PerfRecord,
    /// bpftrace with a line and the latency for each call.
    BpftracePrintf,
    /// `strace -f`.
    Strace,
    /// `perf trace`.
    PerfTrace,
    /// aprender-profile, a tracer in Rust that uses ptrace.
    AprenderProfile,
}

impl Tool {
    /// The other tracers, the cheapest first.
    pub(crate) const PEERS: [Self; 7] = [
        Self::StraceBystander,
        Self::BpftraceHistogram,
        Self::PerfRecord,
        Self::BpftracePrintf,
        Self::Strace,
        Self::AprenderProfile,
        Self::PerfTrace,
    ];

    /// As it stands in tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bare => "nothing attached",
            Self::Floor => "two empty raw tracepoints",
            Self::Bystander => "tracer, another process in scope",
            Self::Lives => "tracer, births, programs and ends, to null",
            Self::Null => "tracer, every call, to null",
            Self::Parquet => "tracer, every call, to Parquet",
            Self::Otlp => "tracer, every call, to OTLP",
            Self::StraceBystander => "strace -f --seccomp-bpf, of another call",
            Self::BpftraceHistogram => "bpftrace, histogram in the kernel",
            Self::PerfRecord => "perf record, both raw tracepoints",
            Self::BpftracePrintf => "bpftrace, printf for each call",
            Self::Strace => "strace -f",
            Self::PerfTrace => "perf trace",
            Self::AprenderProfile => "aprender-profile",
        }
    }

    /// By how much less work is enough, and all that can be waited for.
    pub(crate) const fn slowness(self) -> u64 {
        match self {
            Self::BpftracePrintf | Self::PerfRecord => 5,
            // It stops threads at each call all the same.
            Self::StraceBystander => 10,
            Self::Strace | Self::PerfTrace | Self::AprenderProfile => 50,
            _ => 1,
        }
    }

    /// The command line that must start the work, for what cannot attach to it.
    pub(crate) fn launcher(self, bench: &Bench) -> Result<Vec<String>> {
        Ok(match self {
            Self::StraceBystander => {
                let line =
                    ["strace", "-f", "--seccomp-bpf", "-qq", "-e", NO_CALL, "-o", "/dev/null"];
                line.into_iter().chain(["--"]).map(str::to_owned).collect()
            }
            // A process that it attaches to never goes on (0.72.3); what it starts has its output, where
            // it writes too.
            Self::AprenderProfile => {
                let tracer = bench.peer("aprender-profile")?;
                let script = format!(
                    "exec 3>&1; exec '{}' -f -- sh -c 'exec \"$@\" >&3' sh \"$@\" > /dev/null",
                    tracer.display()
                );
                vec!["sh".to_owned(), "-c".to_owned(), script, "sh".to_owned()]
            }
            _ => Vec::new(),
        })
    }

    const fn signal(self) -> Signal {
        match self {
            // What strace is interrupted by depends on its options.
            Self::Strace => Signal::SIGTERM,
            _ => Signal::SIGINT,
        }
    }
}

/// What to trace.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    /// A process.
    pub(crate) pid: u32,
    /// Whether it starts threads or processes that belong to the work.
    pub(crate) tree: bool,
}

/// A tracer that is attached.
pub(crate) struct Attached {
    tool: Tool,
    holds: Holds,
    /// Where its files are.
    folder: PathBuf,
}

/// What is attached.
enum Holds {
    Nothing,
    Floor {
        _links: Floor,
    },
    /// A process, and what it had used when it was ready.
    Process(Background, Duration),
}

/// What a tracer says at its end.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Outcome {
    /// Processor time of its process since it was ready, until all was worked off.
    pub(crate) cpu: Duration,
    /// Events lost; `None` when it cannot tell.
    pub(crate) lost: Option<u64>,
    /// Resident memory when all was worked off, in KiB; 0 without a process.
    pub(crate) resident_kib: u64,
}

impl Attached {
    /// Attaches it, and waits until there is evidence that it is ready.
    pub(crate) fn start(tool: Tool, bench: &Bench, target: Target) -> Result<Self> {
        let mut attached = Self { tool, holds: Holds::Nothing, folder: bench.new_folder()? };
        attached.holds = match tool {
            Tool::Bare | Tool::StraceBystander => Holds::Nothing,
            Tool::AprenderProfile => {
                ensure!(
                    process::ptraced_by(target.pid) != 0,
                    "it does not trace what it has started"
                );
                Holds::Nothing
            }
            Tool::Floor => Holds::Floor { _links: Floor::attach().context("the floor")? },
            _ => {
                let process = start::start(tool, bench, target, &attached.folder);
                attached.hold(process)?
            }
        };
        Ok(attached)
    }

    /// Attaches tracer with these options of scope, to null.
    pub(crate) fn tracer(bench: &Bench, scope: &[String]) -> Result<Self> {
        let folder = bench.new_folder()?;
        let mut attached = Self { tool: Tool::Null, holds: Holds::Nothing, folder };
        let process = start::tracer_of(bench, scope, &attached.folder);
        attached.holds = attached.hold(process)?;
        Ok(attached)
    }

    /// A process that is ready; an error with what it said, if it is not.
    fn hold(&self, process: Result<Background>) -> Result<Holds> {
        let process = process.map_err(|error| match said(&self.folder) {
            Some(said) => error.context(said),
            None => error,
        })?;
        let before = process::cpu_time(process.pid())?;
        Ok(Holds::Process(process, before))
    }

    /// The tracer's process.
    pub(crate) fn pid(&self) -> Result<u32> {
        match &self.holds {
            Holds::Process(process, _) => Ok(process.pid()),
            _ => bail!("{} has no process", self.tool.name()),
        }
    }

    /// Waits until it has worked off what it has.
    pub(crate) fn until_idle(&self) -> Result<()> {
        match &self.holds {
            Holds::Process(process, _) => process.until_idle(),
            _ => Ok(()),
        }
    }

    /// Lets it work off what it has, and ends it. `events` is what it must have seen at the least,
    /// when that is known.
    pub(crate) fn finish(mut self, events: Option<u64>) -> Result<Outcome> {
        let Holds::Process(process, before) = &mut self.holds else {
            return Ok(Outcome { lost: Some(0), ..Outcome::default() });
        };
        process.until_idle()?;
        let cpu = process::cpu_time(process.pid())?.saturating_sub(*before);
        let resident_kib = process::resident_kib(process.pid())?;
        let status = process.end(self.tool.signal())?;
        let said = process::text(&self.folder.join(start::ERRORS));
        process::succeeded(self.tool.name(), status, &said)?;
        let lost = losses::lost(self.tool, &self.folder, events)?;
        Ok(Outcome { cpu, lost, resident_kib })
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // Before its folder goes.
        self.holds = Holds::Nothing;
        // The whole folder is removed in the end.
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// The last line of what it said.
fn said(folder: &std::path::Path) -> Option<String> {
    let text = process::text(&folder.join(start::ERRORS));
    text.trim().lines().last().map(str::to_owned)
}
