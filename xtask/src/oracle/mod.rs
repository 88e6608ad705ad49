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
use self::trace::{Place, Printouts, Run};
use self::turn::Turn;
use crate::parity::document::{self, Part};
use crate::{calls, command, setup};

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
        command::build(&mut cargo, "bin", "tracer")?.path
    };
    let mut turn = Turn::new(options.lock.as_deref());
    let mut tallies = Vec::new();
    for abi in Abi::ALL {
        if options.abi.is_some_and(|it| it != abi) {
            continue;
        }
        let built = source::build(abi, options.mirror.as_deref())?;
        let place = Place {
            tracer: &tracer,
            tests: &built.tests,
            limit: options.timeout,
        };
        let (chosen, not_built) = chosen(&built, &options.filter);
        tallies.push((abi, Tally { not_built, ..Tally::default() }));
        for (number, batch) in chosen.chunks(BATCH).enumerate() {
            let runs = if options.again {
                From::Logs(&built.logs)
            } else {
                turn.take()?;
                From::Runs { keep: options.keep.then_some(built.logs.as_path()) }
            };
            let of = format!("{}/{}", (number * BATCH + batch.len()), chosen.len());
            if let Some((_, tally)) = tallies.last_mut() {
                add(batch, &place, &runs, &rules, tally)?;
                eprintln!("oracle: {} {of}", abi.name());
            }
            write_list(&tallies)?;
        }
    }
    drop(turn);
    ensure!(tallies.iter().any(|(_, tally)| tally.programs > 0), "no program has this name");
    let list = write_list(&tallies)?;
    let text = report::document(&tallies);
    println!("{text}\nEvery group of differences: {}", list.display());
    if options.write {
        document::write(Part::Tests, &text)?;
    }
    println!("{}", report::summary(&tallies));
    Ok(())
}

/// Programs that run one after the other under one tracer: attaching takes longer than they do.
const BATCH: usize = 25;

/// Writes every group of the differences that there are by now.
fn write_list(tallies: &[(Abi, Tally)]) -> Result<PathBuf> {
    let list = source::folder()?.join("differences.txt");
    fs::write(&list, report::list(tallies)).with_context(|| list.display().to_string())?;
    Ok(list)
}

/// The programs whose names contain a filter, and of these those that could not be built.
fn chosen<'a>(built: &'a source::Built, filter: &[String]) -> (Vec<&'a Program>, Vec<String>) {
    let is_chosen = |program: &&Program| {
        filter.is_empty() || filter.iter().any(|text| program.name.contains(text.as_str()))
    };
    let is_built = |program: &&Program| built.tests.join(&program.name).exists();
    let (chosen, missing): (Vec<_>, Vec<_>) =
        built.programs.iter().filter(is_chosen).partition(is_built);
    (chosen, missing.iter().map(|program| program.name.clone()).collect())
}

/// Where what is compared is from.
enum From<'a> {
    Logs(&'a Path),
    Runs {
        /// A folder for what is printed.
        keep: Option<&'a Path>,
    },
}

/// Compares programs, and adds what came of them.
fn add(
    batch: &[&Program],
    place: &Place<'_>,
    from: &From<'_>,
    rules: &Rules,
    tally: &mut Tally,
) -> Result<()> {
    let Some(name) = batch.first().map(|program| &program.name) else { return Ok(()) };
    let printouts = match from {
        From::Logs(folder) => Printouts::kept(folder, name)?,
        From::Runs { keep } => {
            let printouts = trace::run(batch, place)?;
            keep.map(|folder| printouts.keep(folder, name)).transpose()?;
            printouts
        }
    };
    for (program, mut run) in batch.iter().zip(trace::compare(batch, &printouts)?) {
        if matches!(from, From::Runs { .. }) {
            run = steady(program, run, place).with_context(|| program.name.clone())?;
        }
        let shown = tally.add(program, run, rules);
        eprintln!("oracle: {}: {shown}", program.name);
    }
    Ok(())
}

/// Runs a program again whose threads met otherwise, and returns the more equal of both runs.
fn steady(program: &Program, run: Run, place: &Place<'_>) -> Result<Run> {
    let is_lone =
        |it: &calls::Difference| matches!(it.part, calls::Part::Theirs | calls::Part::Ours);
    let lone = |run: &Run| match run {
        Run::Ended { comparison, .. } => {
            comparison.outcomes.iter().filter(|it| it.differences.iter().any(is_lone)).count()
        }
        Run::Endless(_) => 0,
    };
    if lone(&run) == 0 {
        return Ok(run);
    }
    let again = trace::compare(&[program], &trace::run(&[program], place)?)?;
    let again = again.into_iter().next().context("no run")?;
    Ok(if matches!(again, Run::Ended { .. }) && lone(&again) < lone(&run) { again } else { run })
}
