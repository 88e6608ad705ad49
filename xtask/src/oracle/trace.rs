//! Runs programs under strace, under tracer, and under strace again.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::batch;
use super::programs::Program;
use crate::apt;
use crate::calls::{self, Comparison, Difference, Part};

/// The exit statuses of `timeout` for what did not end by itself.
const ENDLESS: [&str; 2] = ["124", "137"];

/// Of tracer's ring: programs that call without pause are not what is compared here.
const RING: &str = "128MiB";

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
    /// tracer has lost calls while it ran, and counted them.
    Lost(String),
}

impl Run {
    /// Whether another run may be more equal.
    pub(super) fn is_unsteady(&self) -> bool {
        !matches!(self, Self::Endless(_)) && self.lone() > 0
    }

    /// How many calls one of both has alone; without an end there is nothing better.
    pub(super) fn lone(&self) -> usize {
        let is_lone = |it: &Difference| matches!(it.part, Part::Theirs | Part::Ours);
        match self {
            Self::Ended { comparison, .. } => {
                comparison.outcomes.iter().filter(|it| it.differences.iter().any(is_lone)).count()
            }
            Self::Endless(_) | Self::Lost(_) => usize::MAX,
        }
    }
}

/// What a run of a batch has printed, and how its programs ended.
struct Printed {
    text: String,
    statuses: String,
}

/// A run of the three: tracer is between two of strace, so that what changes with time has changed
/// between those too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    First,
    Tracer,
    Second,
}

impl Which {
    /// In the order in which they run.
    pub(super) const ALL: [Self; 3] = [Self::First, Self::Tracer, Self::Second];

    /// The end of the names of the files with what was printed.
    pub(super) fn end(self) -> &'static str {
        match self {
            Self::First => "strace",
            Self::Tracer => "tracer",
            Self::Second => "strace-2",
        }
    }
}

/// The files of a batch of programs, which are named after the first.
pub(super) struct Files<'a> {
    folder: &'a Path,
    name: &'a str,
}

impl<'a> Files<'a> {
    /// Those of a batch in a folder.
    pub(super) fn new(folder: &'a Path, batch: &[&'a Program]) -> Result<Self> {
        let name = &batch.first().context("a batch of no program")?.name;
        Ok(Self { folder, name })
    }

    fn path(&self, end: &str) -> PathBuf {
        self.folder.join(format!("{}.{end}", self.name))
    }

    fn read(&self, end: &str) -> Result<String> {
        let path = self.path(end);
        let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn printed(&self, which: Which) -> Result<Printed> {
        let end = which.end();
        Ok(Printed { text: self.read(end)?, statuses: self.read(&format!("{end}.statuses"))? })
    }
}

/// Runs each program in a folder of its own, which is the same and empty in every run.
pub(super) fn run(
    programs: &[&Program],
    which: Which,
    place: &Place<'_>,
    files: &Files<'_>,
) -> Result<()> {
    let folder = place.tests.join("oracle.dir");
    apt::remove(&folder)?;
    for program in programs {
        let own = folder.join(&program.name);
        fs::create_dir_all(&own).with_context(|| own.display().to_string())?;
    }
    fs::create_dir_all(files.folder).with_context(|| files.folder.display().to_string())?;
    let end = which.end();
    let [log, errors] = [files.path(end), files.path(&format!("{end}.errors"))];
    // Only what hangs although each program has a limit runs into this one.
    let limit = (place.limit + 5) * (programs.len() as u64 + 5);
    let mut command = match which {
        Which::Tracer => {
            let mut command = calls::same_layout(place.tracer, Some(limit))?;
            command.args(calls::TRACER).args(["--ring-size", RING]);
            command.arg("--ledger").arg(files.path("ledger"));
            command
        }
        Which::First | Which::Second => {
            let mut command = calls::same_layout(Path::new("strace"), Some(limit))?;
            command.args(calls::STRACE);
            command
        }
    };
    command.arg("-o").arg(&log).args(["--", "/bin/sh", "-c"]);
    command.arg(batch::script(programs, place.tests, &folder, place.limit)).current_dir(&folder);
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
    command.env("HOME", &folder).env("LC_ALL", "C").env("TZ", "UTC");
    let file = File::create(&errors).with_context(|| errors.display().to_string())?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
    let status = command.status().with_context(|| format!("starting {end}"))?;
    if fs::metadata(&log).map_or(0, |log| log.len()) == 0 {
        let errors = fs::read_to_string(&errors).unwrap_or_default();
        bail!("{end} has printed no call: {status}: {errors}");
    }
    let statuses = fs::read(folder.join("statuses")).unwrap_or_default();
    fs::write(files.path(&format!("{end}.statuses")), statuses)?;
    Ok(())
}

/// Compares what was printed, program by program.
pub(super) fn compare(programs: &[&Program], files: &Files<'_>) -> Result<Vec<Run>> {
    let [first, ours, second] = Which::ALL.map(|which| files.printed(which));
    let [first, ours, second] = [first?, ours?, second?];
    let all = [&first, &second, &ours];
    let ledger = files.read("ledger").ok();
    let ledger = ledger.and_then(|ledger| serde_json::from_str(&ledger).ok());
    let ledger = ledger.unwrap_or(Value::Null);
    let [their, again, our] =
        [calls::strace(&first.text), calls::strace(&second.text), calls::tracer(&ours.text)]
            .map(|threads| batch::split(threads, programs));
    ensure!(!their.iter().all(Vec::is_empty), "strace has printed no call");
    let statuses = all.each_ref().map(|printed| batch::statuses(&printed.statuses));
    let mut imbalances = imbalances(&ledger);
    let losses = losses(&ledger);
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
        let run = Run::Ended { comparison, statuses, imbalances: std::mem::take(&mut imbalances) };
        if losses.is_empty() || run.lone() == 0 { run } else { Run::Lost(losses.clone()) }
    };
    Ok(programs.map(run).collect())
}

/// What a ledger says that should not be: equations that do not hold, and losses.
fn imbalances(ledger: &Value) -> Vec<String> {
    let mut all = Vec::new();
    if ledger.is_null() {
        all.push("no ledger".to_owned());
    } else if ledger["balanced"] != true {
        all.push(format!("not balanced: {}", ledger["imbalances"]));
    }
    all
}

/// The losses that a ledger counts, in words.
fn losses(ledger: &Value) -> String {
    let mut all = Vec::new();
    let mut note = |name: &str, count: &Value| {
        if let Some(count) = count.as_u64().filter(|count| *count > 0) {
            all.push(format!("{name} {count}"));
        }
    };
    for name in ["reserve_failed", "store_failed", "lifecycle_reserve_failed"] {
        note(name, &ledger["kernel"][name]);
    }
    note("queue_full", &ledger["spans"]["queue_full"]);
    let dropped = ledger["destinations"]["text"]["dropped"].as_object();
    for (reason, count) in dropped.into_iter().flatten() {
        note(reason, count);
    }
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_ledger_is_held_against_the_run() {
        let kernel = json!({ "reserve_failed": 0, "store_failed": 2 });
        let ledger = json!({ "balanced": true, "imbalances": [], "kernel": kernel });
        assert_eq!((imbalances(&ledger).len(), losses(&ledger).as_str()), (0, "store_failed 2"));
        let dropped = json!({ "text": { "dropped": { "io": 0, "queue_full": 3 } } });
        assert_eq!(losses(&json!({ "destinations": dropped })), "queue_full 3");
        let ledger = json!({ "balanced": false, "imbalances": ["a = b"] });
        assert_eq!(imbalances(&ledger), ["not balanced: [\"a = b\"]"]);
        assert_eq!(imbalances(&json!({ "balanced": true })), [""; 0]);
        assert_eq!(imbalances(&Value::Null), ["no ledger"]);
    }

    #[test]
    fn what_was_printed_is_compared() {
        let folder = tempfile::tempdir().unwrap();
        let program = Program::about("a", &[]);
        let files = Files::new(folder.path(), &[&program]).unwrap();
        let strace =
            "1 execve() = 0\n1 fork() = 2\n2 fork() = 3\n3 execve(\"/a\") = 0\n3 b() = 4\n";
        let ours =
            "0 a[1] fork() = 2\n0 a[2] fork() = 3\n0 a[3] execve(\"/a\") = 0\n0 a[3] b() = 5\n";
        let write = |end: &str, text: &str| fs::write(files.path(end), text).unwrap();
        for which in Which::ALL {
            write(which.end(), if which == Which::Tracer { ours } else { strace });
            write(&format!("{}.statuses", which.end()), "a 0\n");
        }
        write("ledger", "{\"balanced\": true}");
        let runs = compare(&[&program], &files).unwrap();
        let [Run::Ended { comparison, statuses: None, imbalances }] = &runs[..] else {
            panic!("it has ended, with the same status")
        };
        assert!(imbalances.is_empty());
        assert_eq!(comparison.outcomes.len(), 2);
        assert_eq!(comparison.outcomes[1].differences[0].ours, "5");
        let lost = "{\"balanced\": true, \"kernel\": {\"reserve_failed\": 7}}";
        write("ledger", lost);
        assert!(matches!(&compare(&[&program], &files).unwrap()[..], [Run::Ended { .. }]));
        write("tracer", &ours.replace(") = 5", ") = 5\n0 a[3] c() = 6"));
        let runs = compare(&[&program], &files).unwrap();
        assert!(matches!(&runs[..], [Run::Lost(what)] if what == "reserve_failed 7"));
        write("strace.statuses", "a 124\n");
        assert!(matches!(compare(&[&program], &files).unwrap()[..], [Run::Endless("strace")]));
        write("strace-2.statuses", "a 1\n");
        fs::remove_file(files.path("tracer")).unwrap();
        assert!(compare(&[&program], &files).is_err());
    }
}
