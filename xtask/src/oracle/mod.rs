//! `cargo xtask oracle`: strace's own test programs under strace and under tracer, call by call.

mod batch;
mod programs;
mod report;
mod rules;
mod source;
mod tally;
mod trace;
mod turn;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;

use self::programs::Program;
use self::rules::Rules;
use self::tally::Tally;
use self::trace::{Files, Place, Run, Which};
use self::turn::Turn;
use crate::parity::document::{self, Part};
use crate::{apt, built, command, setup};

/// What can be chosen.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Run only the programs whose name contains this; can be repeated
    #[arg(long, value_name = "NAME")]
    filter: Vec<String>,
    /// Run only the programs of this kind
    #[arg(long, value_name = "ABI")]
    abi: Option<Abi>,
    /// Write the figures to docs/parity.md
    #[arg(long, conflicts_with_all = ["filter", "abi"])]
    write: bool,
    /// Leave what was printed of each program in target/oracle/ABI/logs
    #[arg(long)]
    keep: bool,
    /// Compare once more what was left there, by the rules of now, and run nothing
    #[arg(long, conflicts_with = "keep")]
    again: bool,
    /// Limit for one run of a program, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    timeout: u64,
    /// Scheme and host of a Debian mirror [default: the one that apt uses here]
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// Compare this tracer instead of one that is built first
    #[arg(long, value_name = "FILE")]
    tracer: Option<PathBuf>,
    /// Hold this file's lock while programs are traced, for 100 s at a time, so that others who
    /// trace have their turn
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
}

/// By which ABI a program calls the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Abi {
    #[value(name = "x86_64")]
    X86_64,
    #[value(name = "i386")]
    I386,
}

impl Abi {
    const ALL: [Self; 2] = [Self::X86_64, Self::I386];

    fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::I386 => "i386",
        }
    }
}

/// Debian packages that build and run the programs. `gcc-multilib` would exclude the cross
/// compilers that `cargo xtask vm` uses, so [`source`] does with less.
const PACKAGES: [&str; 6] =
    ["gcc-12", "gcc-12-multilib", "libc6-dev", "make", "strace", "xz-utils"];

/// Runs the programs, and says how often both print the same.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::install(&PACKAGES).context("what builds and runs the programs")?;
    let rules = Rules::committed()?;
    let tracer = if let Some(tracer) = &options.tracer {
        fs::canonicalize(tracer).with_context(|| tracer.display().to_string())?
    } else {
        let mut cargo = command::cargo()?;
        cargo.args(["build", "--locked", "-p", "tracer-user", "--bin", "tracer"]);
        built::build(&mut cargo)?.program("tracer")?.path.clone()
    };
    let mut sets = Vec::new();
    for abi in Abi::ALL {
        if options.abi.is_none_or(|it| it == abi) {
            let built = source::build(abi, options.mirror.as_deref())?;
            sets.push(Set::new(abi, built, &options.filter));
        }
    }
    ensure!(sets.iter().any(|set| !set.programs.is_empty()), "no program has this name");
    let mut runner = Runner {
        tracer: &tracer,
        limit: options.timeout,
        turn: Turn::new(options.lock.as_deref()),
    };
    if !options.again {
        for which in Which::ALL {
            for set in &sets {
                runner.run(&set.all(), which, set, &set.built.logs)?;
            }
            runner.turn.end();
        }
    }
    let mut tallies = Vec::new();
    for set in &sets {
        let mut tally = Tally { not_built: set.not_built.clone(), ..Tally::default() };
        let mut runs = compare(&set.all(), &set.built.logs)?;
        let lone = if options.again { set.left_again()? } else { runner.again(&runs, set)? };
        take_more_equal(&mut runs, compare(&lone, &set.again())?);
        for (program, run) in runs {
            let shown = tally.add(program, run, &rules);
            eprintln!("oracle: {} {}: {shown}", set.abi.name(), program.name);
        }
        tallies.push((set.abi, tally));
        if !options.keep && !options.again {
            apt::remove(&set.built.logs)?;
        }
    }
    let list = source::folder()?.join("differences.txt");
    fs::write(&list, report::list(&tallies)).with_context(|| list.display().to_string())?;
    // Where this copy of the repository is says nothing to others.
    let root = command::root()?.to_string_lossy().into_owned();
    let text = report::document(&tallies).replace(&root, ".");
    println!("{text}\nEvery group of differences: {}", list.display());
    if options.write {
        document::write(Part::Tests, &text)?;
    }
    println!("{}", report::summary(&tallies));
    Ok(())
}

/// Programs that run one after the other under one tracer: attaching takes longer than they do.
const BATCH: usize = 80;

/// The programs of an ABI that are run.
struct Set {
    abi: Abi,
    built: source::Built,
    programs: Vec<Program>,
    not_built: Vec<String>,
}

impl Set {
    /// Those whose names contain a filter.
    fn new(abi: Abi, mut built: source::Built, filter: &[String]) -> Self {
        let is_chosen = |program: &Program| {
            filter.is_empty() || filter.iter().any(|text| program.name.contains(text.as_str()))
        };
        let chosen = std::mem::take(&mut built.programs).into_iter().filter(is_chosen);
        let (programs, missing): (Vec<Program>, Vec<Program>) =
            chosen.partition(|program| built.tests.join(&program.name).exists());
        let not_built = missing.into_iter().map(|program| program.name).collect();
        Self { abi, built, programs, not_built }
    }

    fn all(&self) -> Vec<&Program> {
        self.programs.iter().collect()
    }

    /// Where the logs of programs are that were run again.
    fn again(&self) -> PathBuf {
        self.built.logs.join("again")
    }

    /// The programs that were run again when the logs were left.
    fn left_again(&self) -> Result<Vec<&Program>> {
        let list = self.again().join(AGAIN);
        let names = fs::read_to_string(&list).with_context(|| list.display().to_string())?;
        let find = |name: &str| self.programs.iter().find(|program| program.name == name);
        Ok(names.lines().filter_map(find).collect())
    }
}

/// Compares what was printed of programs.
fn compare<'a>(programs: &[&'a Program], logs: &Path) -> Result<Vec<(&'a Program, Run)>> {
    let mut all = Vec::new();
    for batch in programs.chunks(BATCH) {
        let runs = trace::compare(batch, &Files::new(logs, batch)?)?;
        all.extend(batch.iter().copied().zip(runs));
    }
    Ok(all)
}

/// Runs programs.
struct Runner<'a> {
    tracer: &'a Path,
    limit: u64,
    turn: Turn,
}

impl Runner<'_> {
    /// Runs programs under strace or under tracer.
    fn run(&mut self, programs: &[&Program], which: Which, set: &Set, logs: &Path) -> Result<()> {
        let place = Place { tracer: self.tracer, tests: &set.built.tests, limit: self.limit };
        for (number, batch) in programs.chunks(BATCH).enumerate() {
            if which == Which::Tracer {
                self.turn.take()?;
            }
            trace::run(batch, which, &place, &Files::new(logs, batch)?)?;
            let (under, done) = (which.end(), number * BATCH + batch.len());
            eprintln!("oracle: {} under {under}: {done}/{}", set.abi.name(), programs.len());
        }
        Ok(())
    }

    /// Runs programs again whose threads met otherwise, and returns those.
    fn again<'a>(&mut self, runs: &[(&'a Program, Run)], set: &Set) -> Result<Vec<&'a Program>> {
        let lone: Vec<&Program> =
            runs.iter().filter(|(_, run)| run.is_unsteady()).map(|(program, _)| *program).collect();
        let logs = set.again();
        for which in Which::ALL {
            self.run(&lone, which, set, &logs)?;
            self.turn.end();
        }
        fs::create_dir_all(&logs).with_context(|| logs.display().to_string())?;
        let names: Vec<&str> = lone.iter().map(|program| program.name.as_str()).collect();
        let list = logs.join(AGAIN);
        fs::write(&list, names.join("\n")).with_context(|| list.display().to_string())?;
        Ok(lone)
    }
}

/// The list of the programs that were run again, in the order of their batches.
const AGAIN: &str = "programs";

/// Puts runs in the place of those that are less equal.
fn take_more_equal<'a>(runs: &mut [(&'a Program, Run)], others: Vec<(&'a Program, Run)>) {
    for (program, again) in others {
        let of =
            runs.iter_mut().find(|(other, run)| *other == program && again.lone() < run.lone());
        if let Some((_, run)) = of {
            *run = again;
        }
    }
}
