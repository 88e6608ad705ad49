//! Runs programs under strace, under tracer, and under strace again.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::batch;
use super::programs::Program;
use crate::apt;
use crate::calls::{self, Comparison};

/// The exit statuses of `timeout` for what did not end by itself.
const ENDLESS: [&str; 2] = ["124", "137"];

/// Where programs run, and what traces them.
pub(super) struct Place<'a> {
    pub(super) tracer: &'a Path,
    /// The folder of the programs.
    pub(super) tests: &'a Path,
    /// Seconds that a run may take.
    pub(super) limit: u64,
}

/// What came of a program.
pub(super) enum Run {
    /// It ended under both.
    Ended {
        comparison: Comparison,
        /// Where they are not the same: the exit status under strace and under tracer.
        statuses: Option<[String; 2]>,
        /// What tracer's ledger has against the run.
        imbalances: Vec<String>,
    },
    /// It did not end in time; under which of both.
    Endless(&'static str),
}

/// What a run of several programs has printed, and how they ended.
struct Printed {
    text: String,
    statuses: String,
}

/// What both have printed of programs: strace, strace again, and tracer.
pub(super) struct Printouts {
    printed: [Printed; 3],
    ledger: Value,
}

/// The ends of the names of the files in which that is kept.
const ENDS: [&str; 3] = ["strace", "strace-2", "tracer"];

/// Runs programs under both. tracer is between two runs of strace, so that what changes with time
/// has changed between those too.
pub(super) fn run(programs: &[&Program], place: &Place<'_>) -> Result<Printouts> {
    let first = under_strace(programs, place)?;
    let (ours, ledger) = under_tracer(programs, place)?;
    let second = under_strace(programs, place)?;
    Ok(Printouts { printed: [first, second, ours], ledger })
}

impl Printouts {
    /// Writes all of it into a folder.
    pub(super) fn keep(&self, folder: &Path, name: &str) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        for (printed, end) in self.printed.iter().zip(ENDS) {
            fs::write(folder.join(format!("{name}.{end}")), &printed.text)?;
            fs::write(folder.join(format!("{name}.{end}.statuses")), &printed.statuses)?;
        }
        fs::write(folder.join(format!("{name}.ledger")), self.ledger.to_string())?;
        Ok(())
    }

    /// Reads what was kept.
    pub(super) fn kept(folder: &Path, name: &str) -> Result<Self> {
        let read = |end: &str| {
            let path = folder.join(format!("{name}.{end}"));
            fs::read_to_string(&path).with_context(|| path.display().to_string())
        };
        let printed = |end: &str| -> Result<Printed> {
            Ok(Printed { text: read(end)?, statuses: read(&format!("{end}.statuses"))? })
        };
        let [first, second, ours] = ENDS.map(printed);
        let ledger = serde_json::from_str(&read("ledger")?).context("a ledger")?;
        Ok(Self { printed: [first?, second?, ours?], ledger })
    }
}

/// Compares what was printed, program by program.
pub(super) fn compare(programs: &[&Program], printouts: &Printouts) -> Result<Vec<Run>> {
    let Printouts { printed: all, ledger } = printouts;
    let [first, second, ours] = all;
    let [their, again, our] =
        [calls::strace(&first.text), calls::strace(&second.text), calls::tracer(&ours.text)]
            .map(|threads| batch::split(threads, programs.len()));
    ensure!(!their.iter().all(Vec::is_empty), "strace has printed no call");
    let statuses = all.each_ref().map(|printed| batch::statuses(&printed.statuses));
    let mut imbalances = imbalances(ledger);
    let programs = programs.iter().zip(their).zip(again.into_iter().zip(our));
    let run = |((program, first), (second, ours)): ((&&Program, Vec<_>), (Vec<_>, Vec<_>))| {
        let [their, again, our] = statuses
            .each_ref()
            .map(|statuses| statuses.get(program.name.as_str()).copied().unwrap_or("none"));
        for (status, under) in [(their, "strace"), (again, "strace"), (our, "tracer")] {
            if ENDLESS.contains(&status) {
                return Run::Endless(under);
            }
        }
        let statuses = (their == again && their != our).then(|| [their.to_owned(), our.to_owned()]);
        let comparison = calls::compare(&first, &second, &ours);
        // The ledger is of all together.
        Run::Ended { comparison, statuses, imbalances: std::mem::take(&mut imbalances) }
    };
    Ok(programs.map(run).collect())
}

fn under_strace(programs: &[&Program], place: &Place<'_>) -> Result<Printed> {
    traced(programs, place, Path::new("strace"), &calls::STRACE, &[])
}

/// What is printed, and the ledger.
fn under_tracer(programs: &[&Program], place: &Place<'_>) -> Result<(Printed, Value)> {
    let folder = tempfile::tempdir().context("a folder for the ledger")?;
    let ledger = folder.path().join("ledger.json");
    let more = ["--ledger".as_ref(), ledger.as_path()];
    let printed = traced(programs, place, place.tracer, &calls::TRACER, &more)?;
    let ledger = match fs::read(&ledger) {
        Ok(ledger) => serde_json::from_slice(&ledger).context("tracer's ledger")?,
        Err(_) => Value::Null,
    };
    Ok((printed, ledger))
}

/// Runs each program in a folder of its own, which is the same and empty in every run.
fn traced(
    programs: &[&Program],
    place: &Place<'_>,
    tracer: &Path,
    options: &[&str],
    more: &[&Path],
) -> Result<Printed> {
    let folder = place.tests.join("oracle.dir");
    apt::remove(&folder)?;
    for program in programs {
        let own = folder.join(&program.name);
        fs::create_dir_all(&own).with_context(|| own.display().to_string())?;
    }
    let outputs = tempfile::tempdir().context("a folder for what is printed")?;
    let log = outputs.path().join("log");
    // Only what hangs although each program has a limit runs into this one.
    let limit = (place.limit + 5) * (programs.len() as u64 + 5);
    let mut command = calls::same_layout(tracer, Some(limit))?;
    command.args(options).args(more).arg("-o").arg(&log).args(["--", "/bin/sh", "-c"]);
    command.arg(batch::script(programs, place.tests, &folder, place.limit)).current_dir(&folder);
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
    command.env("HOME", &folder).env("LC_ALL", "C").env("TZ", "UTC");
    let said = outputs.path().join("said");
    let said_file = File::create(&said).with_context(|| said.display().to_string())?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said_file);
    let status = command.status().with_context(|| format!("starting {}", tracer.display()))?;
    let text = fs::read(&log).unwrap_or_default();
    if text.is_empty() {
        let said = fs::read_to_string(&said).unwrap_or_default();
        bail!("{} has printed no call: {status}: {said}", tracer.display());
    }
    Ok(Printed {
        text: String::from_utf8_lossy(&text).into_owned(),
        statuses: fs::read_to_string(folder.join("statuses")).unwrap_or_default(),
    })
}

/// What a ledger says that should not be: equations that do not hold, and losses.
fn imbalances(ledger: &Value) -> Vec<String> {
    let mut all = Vec::new();
    if ledger.is_null() {
        all.push("no ledger".to_owned());
    } else if ledger["balanced"] != true {
        all.push(format!("not balanced: {}", ledger["imbalances"]));
    }
    let losses = ["reserve_failed", "store_failed", "lifecycle_reserve_failed"];
    for loss in losses {
        let count = &ledger["kernel"][loss];
        if count.as_u64().is_some_and(|count| count > 0) {
            all.push(format!("{loss}: {count}"));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_ledger_is_held_against_the_run() {
        let kernel = json!({ "reserve_failed": 0, "store_failed": 2 });
        let ledger = json!({ "balanced": true, "imbalances": [], "kernel": kernel });
        assert_eq!(imbalances(&ledger), ["store_failed: 2"]);
        let ledger = json!({ "balanced": false, "imbalances": ["a = b"] });
        assert_eq!(imbalances(&ledger), ["not balanced: [\"a = b\"]"]);
        assert_eq!(imbalances(&json!({ "balanced": true })), [""; 0]);
        assert_eq!(imbalances(&Value::Null), ["no ledger"]);
    }

    #[test]
    fn what_is_kept_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let printed = |text: &str| Printed { text: text.to_owned(), statuses: "a 0\n".to_owned() };
        let tree = |call: &str| {
            format!("1 execve() = 0\n1 fork() = 2\n2 fork() = 3\n3 execve() = 0\n3 {call}\n")
        };
        let ours = "0 a[1] fork() = 2\n0 a[2] fork() = 3\n0 a[3] execve() = 0\n0 a[3] b() = 5\n";
        let strace = tree("b() = 4");
        Printouts {
            printed: [printed(&strace), printed(&strace), printed(ours)],
            ledger: json!({ "balanced": true }),
        }
        .keep(folder.path(), "a")
        .unwrap();
        assert!(Printouts::kept(folder.path(), "b").is_err());
        let kept = Printouts::kept(folder.path(), "a").unwrap();
        let runs = compare(&[&Program::about("a", &[])], &kept).unwrap();
        let [Run::Ended { comparison, statuses: None, imbalances }] = &runs[..] else {
            panic!("it has ended, with the same status")
        };
        assert!(imbalances.is_empty());
        assert_eq!(comparison.outcomes.len(), 2);
        assert_eq!(comparison.outcomes[1].differences[0].ours, "5");
    }
}
