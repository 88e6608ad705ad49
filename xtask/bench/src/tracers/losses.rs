//! What each tracer says, or its output shows, that it has lost.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::Path,
};

use anyhow::{Context as _, Result, ensure};

use super::{
    Tool, ledger,
    start::{ERRORS, LEDGER, OUTPUT},
};
use crate::process;

/// Events lost, of at least `events` calls; `None` when nobody can tell.
pub(super) fn lost(tool: Tool, folder: &Path, events: Option<u64>) -> Result<Option<u64>> {
    Ok(match tool {
        Tool::Bystander | Tool::Lives => Some(ledger::read(&folder.join(LEDGER))?.0),
        Tool::Null | Tool::Parquet | Tool::Otlp => {
            let (lost, matched) = ledger::read(&folder.join(LEDGER))?;
            let least = events.unwrap_or_default();
            ensure!(matched + lost >= least, "tracer saw {matched} of {least} calls");
            Some(lost)
        }
        // They stop the traced process for each event.
        Tool::Strace | Tool::AprenderProfile => Some(0),
        Tool::PerfRecord => {
            // Each call is two samples.
            let samples = samples(&process::text(&folder.join(ERRORS)));
            events.and_then(|events| Some((2 * events).saturating_sub(samples?)))
        }
        Tool::PerfTrace => Some(sum_of_lost(&folder.join(OUTPUT))?),
        Tool::BpftracePrintf => {
            Some(sum_of_lost(&folder.join(OUTPUT))? + sum_of_lost(&folder.join(ERRORS))?)
        }
        // No event leaves the kernel.
        _ => None,
    })
}

/// How many samples `perf record` says that it has written.
fn samples(said: &str) -> Option<u64> {
    let line = said.lines().find(|line| line.contains("Captured and wrote"))?;
    let (_, rest) = line.rsplit_once('(')?;
    rest.split_once(" samples)")?.0.parse().ok()
}

/// Adds up what lines say of lost events, as `perf trace` and bpftrace write them.
fn sum_of_lost(path: &Path) -> Result<u64> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let mut sum = 0;
    for line in BufReader::new(file).split(b'\n') {
        let line = line.with_context(|| format!("reading {}", path.display()))?;
        // Most lines are events.
        if line.starts_with(b"L") {
            sum += lost_in(&String::from_utf8_lossy(&line)).unwrap_or_default();
        }
    }
    Ok(sum)
}

/// `LOST 12 events!`, or `Lost 12 events`.
fn lost_in(line: &str) -> Option<u64> {
    let rest = line.strip_prefix("LOST ").or_else(|| line.strip_prefix("Lost "))?;
    rest.split_once(" events")?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn samples_of_perf_are_read() {
        let said = "[ perf record: Woken up 9 times to write data ]\n\
                    [ perf record: Captured and wrote 0.101 MB perf.data (1234 samples) ]\n";
        assert_eq!(samples(said), Some(1234));
        assert_eq!(samples("[ perf record: Captured and wrote 0.001 MB perf.data ]"), None);
    }

    #[test]
    fn lost_events_are_added_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("output");
        fs::write(&path, b"Attaching 2 probes...\nLost 12 events\n1 2 3\nLOST 30 events!\n\xff\n")
            .unwrap();
        assert_eq!(sum_of_lost(&path).unwrap(), 42);
        assert!(sum_of_lost(Path::new("/no/such/file")).is_err());
    }
}
