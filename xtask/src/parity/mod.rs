//! `cargo xtask parity`: real programs under strace and under tracer, call by call.

pub(crate) mod document;
mod report;
mod workloads;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use self::report::Comparison;
use self::workloads::{PACKAGES, WORKLOADS, Workload};
use crate::{built, calls, command, setup};

/// What can be chosen.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Compare only the workloads whose name contains this
    filter: Option<String>,
    /// Write the table to docs/parity.md
    #[arg(long, conflicts_with = "filter")]
    write: bool,
    /// Compare with -y: descriptors with what they lead to
    #[arg(long)]
    names: bool,
    /// Leave both outputs of each workload in this folder
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
    /// Fail if of any program fewer than 99 % of the calls are equal in name and result, or fewer
    /// than 95 % in all arguments
    #[arg(long)]
    check: bool,
}

/// Compares all workloads and prints the table.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::install(&PACKAGES).context("the programs to compare")?;
    let mut cargo = command::cargo()?;
    cargo.args(["build", "--locked", "-p", "tracer-user", "--bin", "tracer"]);
    let tracer = built::build(&mut cargo)?.program("tracer")?.path.clone();
    let folder = tempfile::tempdir().context("a folder to work in")?;
    let place = Place { tracer: &tracer, folder: folder.path(), keep: options.keep.as_deref() };
    let mut document = report::HEAD.to_owned();
    for names in [false, true] {
        if names != options.names && !options.write {
            continue;
        }
        let comparisons = all(options.filter.as_deref(), &place, names)?;
        document.push_str(&report::table(&comparisons, names));
        if options.check {
            report::check(&comparisons)?;
        }
    }
    println!("{document}");
    if options.write {
        document::write(document::Part::Programs, &document)?;
    }
    Ok(())
}

/// Where programs run, and what traces them.
struct Place<'a> {
    tracer: &'a Path,
    folder: &'a Path,
    keep: Option<&'a Path>,
}

/// Compares the workloads whose names contain the filter.
fn all(
    filter: Option<&str>,
    place: &Place<'_>,
    names: bool,
) -> Result<Vec<(&'static str, Comparison)>> {
    let mut comparisons = Vec::new();
    for workload in WORKLOADS.iter().filter(|it| filter.is_none_or(|name| it.name.contains(name))) {
        eprintln!("parity: {}{}", workload.name, if names { " -y" } else { "" });
        let best = best(|| compare(workload, place, names));
        comparisons.push((workload.name, best.with_context(|| workload.name.to_owned())?));
    }
    Ok(comparisons)
}

/// The best of at most three comparisons: programs that wait for others do otherwise from run to
/// run, and what is compared is what is shown of the same calls.
fn best(compare: impl Fn() -> Result<Comparison>) -> Result<Comparison> {
    const MOST: usize = 3;
    let mut best = compare()?;
    for _ in 1..MOST {
        if report::is_enough(&best) {
            break;
        }
        let again = compare()?;
        if again.all - again.same < best.all - best.same {
            best = again;
        }
    }
    Ok(best)
}

/// Runs a workload under both, in the same place. tracer is between two runs of strace, so that
/// what changes with time has changed between those too.
fn compare(workload: &Workload, place: &Place<'_>, names: bool) -> Result<Comparison> {
    let with_strace = || -> Result<String> {
        let log = place.folder.join("strace.txt");
        let mut command = calls::same_layout(Path::new("strace"), None)?;
        command.args(calls::STRACE).args(names.then_some("-y")).arg("-o").arg(&log);
        trace(workload, place.folder, command.arg("--"))?;
        read(&log)
    };
    let with_tracer = || -> Result<String> {
        let log = place.folder.join("tracer.txt");
        let mut command = calls::same_layout(place.tracer, None)?;
        command.args(calls::TRACER).arg("--fail-on-loss").args(names.then_some("-y"));
        trace(workload, place.folder, command.arg("-o").arg(&log).arg("--"))?;
        read(&log)
    };
    let (first, ours, second) = (with_strace()?, with_tracer()?, with_strace()?);
    if let Some(keep) = place.keep {
        fs::create_dir_all(keep)?;
        for (text, of) in [(&first, "strace"), (&second, "strace-2"), (&ours, "tracer")] {
            fs::write(keep.join(format!("{}.{of}", workload.name)), text)?;
        }
    }
    let [first, second] = [first, second].map(|text| calls::strace(&text));
    ensure!(!first.is_empty(), "strace has shown no call");
    Ok(report::summarize(calls::compare(&first, &second, &calls::tracer(&ours))))
}

/// Prepares the workload's folder, and runs it behind `tracer` or `strace`.
fn trace(workload: &Workload, folder: &Path, command: &mut Command) -> Result<()> {
    let place = folder.join("work");
    if place.exists() {
        fs::remove_dir_all(&place)?;
    }
    fs::create_dir(&place)?;
    shell(workload.prepare, &place).status().context("preparing")?;
    let mut server = workload.server.then(|| workloads::serve(&place)).transpose()?;
    let program = shell(workload.command, &place);
    command.arg(program.get_program()).args(program.get_args()).current_dir(&place);
    environment(command, &place);
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    if let Some(server) = &mut server {
        server.stop()?;
    }
    let shown = command::describe(command);
    command::succeeded(&shown, status.with_context(|| format!("starting `{shown}`"))?)
}

/// A script in the workload's folder. `exec` in it leaves no shell.
fn shell(script: &str, place: &Path) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-ec", script]).current_dir(place);
    environment(&mut command, place);
    command
}

/// The same for every run, wherever it is.
fn environment(command: &mut Command, place: &Path) {
    command.env_clear();
    command.env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
    command.env("HOME", place).env("LC_ALL", "C").env("TZ", "UTC");
}

fn read(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
