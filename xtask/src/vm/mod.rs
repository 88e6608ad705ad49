//! `cargo xtask vm`: the kernel tests on other kernels, each in a virtual machine.

mod arch;
mod console;
mod guest;
mod images;
mod initramfs;
mod kernel;
mod payload;
mod report;

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use clap::Args;

use self::arch::Arch;
use self::images::{Cache, Image};
use self::kernel::Kernel;
use self::payload::Selection;
use self::report::Report;
use crate::test::Summary;
use crate::{command, edge_cases, setup};

const DEFAULT_JOBS: NonZeroUsize = NonZeroUsize::new(2).unwrap();
const DEFAULT_TIMEOUT: u64 = 1200;
/// What CI grants a guest: its core of the tests takes 400 to 900 s on 2 processors.
const CORE_TIMEOUT: u64 = 1800;
const DEFAULT_ACCEL: &str = "tcg,thread=single";

/// What to run where.
#[derive(Args)]
pub(crate) struct Options {
    /// Kernels to boot, all of which must pass; without any: all of them, where 5.10 and latest
    /// are reported and do not fail the command
    #[arg(value_name = "KERNEL")]
    kernels: Vec<Kernel>,
    /// Processor of the guests; of arm64, without any KERNEL, there is one, 6.12
    #[arg(long, value_name = "ARCH", default_value = "amd64")]
    arch: Arch,
    /// Run the tests whose name contains this; can be repeated
    #[arg(long, value_name = "TEXT")]
    filter: Vec<String>,
    /// Leave out the tests whose name contains this; can be repeated
    #[arg(long, value_name = "TEXT")]
    skip: Vec<String>,
    /// Guests at a time
    #[arg(long, value_name = "N", default_value_t = DEFAULT_JOBS)]
    jobs: NonZeroUsize,
    /// Limit for one guest in seconds, from its start to its end; one that is silent for too long
    /// is ended before
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_TIMEOUT)]
    timeout: u64,
    /// How QEMU runs the guest, in its words: `tcg` emulates (a guest has hung with a thread for
    /// each CPU), `kvm` is for hosts where KVM is known to work
    #[arg(long, value_name = "ACCEL", default_value = DEFAULT_ACCEL)]
    accel: String,
    /// Where kernels are kept once downloaded; delete them to get newer ones [default:
    /// target/vm/cache]
    #[arg(long, value_name = "FOLDER")]
    cache: Option<PathBuf>,
    /// Scheme and host of a Debian mirror [default: the one that apt uses here]
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
}

/// A kernel to boot.
#[derive(Clone, Copy)]
struct Task {
    kernel: Kernel,
    /// Whether it fails the command.
    required: bool,
}

/// What all guests have in common.
struct Lab<'a> {
    options: &'a Options,
    cache: Cache,
    /// Has a folder for each kernel.
    out: PathBuf,
    initramfs: PathBuf,
    selection: Selection,
}

/// What became of the tests in all guests.
pub(crate) struct Outcome {
    /// On the kernels that must pass.
    pub(crate) blocking: Summary,
    /// On those that are only reported.
    pub(crate) others: Summary,
}

/// Boots every kernel, prints a table, and fails if a kernel does that has to pass.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let reports = examine(options)?;
    println!("{}", report::summary(&reports));
    let passed = reports.iter().all(|report| report.problem.is_none() || !report.required);
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What `cargo xtask ci` has time for: whether the programs load, read all memory and pair all calls
/// as they must is what differs most between kernels.
const CORE: [&str; 7] =
    ["edge::", "strings::", "memory::", "scope::", "errors::", "truth::", "lockdown::"];

/// Which tests to run in all guests.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tests {
    /// Those that say most about a kernel.
    Core,
    /// All that run in guests.
    All,
}

/// Boots all kernels, as `cargo xtask ci` does.
pub(crate) fn run_all(tests: Tests) -> Result<Outcome> {
    let core = if tests == Tests::Core { &CORE[..] } else { &[] };
    let options = Options {
        kernels: Vec::new(),
        arch: Arch::Amd64,
        filter: core.iter().copied().map(str::to_owned).collect(),
        skip: Vec::new(),
        jobs: DEFAULT_JOBS,
        timeout: if tests == Tests::Core { CORE_TIMEOUT } else { DEFAULT_TIMEOUT },
        accel: DEFAULT_ACCEL.to_owned(),
        cache: None,
        mirror: None,
    };
    let mut outcome = Outcome { blocking: Summary::default(), others: Summary::default() };
    for report in examine(&options)? {
        let sum = if report.required { &mut outcome.blocking } else { &mut outcome.others };
        sum.merge(&report.tests());
    }
    Ok(outcome)
}

/// Boots every kernel and prints a table.
fn examine(options: &Options) -> Result<Vec<Report>> {
    setup::install(options.arch.packages()).context("QEMU")?;
    let start = Instant::now();
    let folder = command::root()?.join("target/vm");
    let lab = prepare(options, &folder)?;
    eprintln!("vm: built in {} s", start.elapsed().as_secs());
    let mut reports = lab.run(&tasks(options.arch, &options.kernels))?;
    reports.sort_by_key(|report| report.kernel);
    eprintln!("vm: {} s in all", start.elapsed().as_secs());
    print!("{}", report::table(&reports));
    Ok(reports)
}

/// Builds what runs in the guests.
fn prepare<'a>(options: &'a Options, folder: &Path) -> Result<Lab<'a>> {
    let arch = options.arch;
    let default = folder.join("cache");
    let cache = options.cache.as_deref().unwrap_or(&default);
    let cache = Cache::new(cache, options.mirror.as_deref(), arch)?;
    let programs = payload::build(arch, &cache)?;
    let selection = payload::select(arch, &programs, &options.filter, &options.skip)?;
    for (name, reason) in &selection.skipped {
        eprintln!("vm: skipped in the guest: {name} ({reason})");
    }
    let busybox = cache.busybox().context("busybox for the guests")?;
    let folder = folder.join(arch.name());
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let initramfs = initramfs::make(arch, &folder, &busybox.file, &programs, &selection)?;
    Ok(Lab { options, cache, out: folder, initramfs, selection })
}

/// The kernels that were named, or the default.
fn tasks(arch: Arch, named: &[Kernel]) -> Vec<Task> {
    let task = |kernel: Kernel, required| Task { kernel, required };
    match (arch, named) {
        (Arch::Amd64, []) => Kernel::ALL.map(|kernel| task(kernel, kernel.is_required())).to_vec(),
        (Arch::Arm64, []) => vec![task(Kernel::V6_12, true)],
        (_, named) => named.iter().map(|&kernel| task(kernel, true)).collect(),
    }
}

impl Lab<'_> {
    /// Runs them, some at a time.
    fn run(&self, tasks: &[Task]) -> Result<Vec<Report>> {
        let next = AtomicUsize::new(0);
        let work = || {
            let task = || tasks.get(next.fetch_add(1, Ordering::Relaxed));
            std::iter::from_fn(task).map(|task| self.examine(*task)).collect::<Vec<_>>()
        };
        thread::scope(|scope| {
            let start = |number| {
                let name = format!("guests-{number}");
                thread::Builder::new().name(name).spawn_scoped(scope, work)
            };
            let threads = (0..self.options.jobs.get().min(tasks.len())).map(start);
            let threads = threads.collect::<Result<Vec<_>, _>>().context("starting a thread")?;
            let mut reports = Vec::new();
            for thread in threads {
                reports.extend(thread.join().map_err(|_| anyhow!("a thread of vm panicked"))?);
            }
            Ok(reports)
        })
    }

    /// One kernel: gets it, boots it and judges what it printed.
    fn examine(&self, task: Task) -> Report {
        let start = Instant::now();
        let examined = match self.cache.kernel(task.kernel) {
            Ok(image) => self.boot(task, &image),
            Err(error) => self
                .keep(task.kernel, "")
                .map(|()| Report::failed(task, "-", format!("not to be had: {error:#}"))),
        };
        let mut report = examined
            .unwrap_or_else(|error| Report::failed(task, "-", format!("not tried: {error:#}")));
        report.seconds = start.elapsed().as_secs();
        // One write: others print at the same time.
        eprint!("{}", report.progress());
        report
    }

    /// Keeps what the tests printed, if they were all there are, for the table of edge cases.
    fn keep(&self, kernel: Kernel, output: &str) -> Result<()> {
        let Options { arch, filter, skip, .. } = self.options;
        let whole = filter.is_empty() && skip.is_empty() && kernel.is_supported();
        if whole && *arch == Arch::Amd64 { edge_cases::keep(kernel.name(), output) } else { Ok(()) }
    }

    fn boot(&self, task: Task, image: &Image) -> Result<Report> {
        let guest = guest::Guest {
            arch: self.options.arch,
            kernel: &image.file,
            initramfs: &self.initramfs,
            folder: self.out.join(task.kernel.name()),
            accel: &self.options.accel,
            payload: task.kernel.payload(),
            limit: Duration::from_secs(self.options.timeout),
        };
        let record = guest.boot()?;
        for line in record.output.lines().filter(|line| line.starts_with("**** SKIPPED")) {
            eprintln!("vm: {}: {line}", task.kernel.name());
        }
        self.keep(task.kernel, &record.output)?;
        let expected = task.kernel.is_supported().then_some(self.selection.tests.len() as u64);
        let verdict = console::judge(&record, expected.unwrap_or(1));
        let skipped = expected.map_or(0, |_| self.selection.skipped.len() as u64);
        Ok(Report::of(task, &image.version, verdict, skipped))
    }
}
