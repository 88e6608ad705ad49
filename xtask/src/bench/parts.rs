//! `parts`: decoding, pushing and exporting, each alone, by criterion.

use anyhow::Result;

use super::SILENCE;
use crate::command;

/// What the figures are.
const TEXT: &str = "\
Each on one thread, by criterion: lowest, middle and highest estimate. `push` is one push while the
sidecar exports to null; with 4 producers three other threads push at the same time, on 2 CPUs, so
that some wait for a processor: `push median` has the quartiles of batches of 32 pushes, `push full`
how many of them found the queue full, which is counted. `export` and `otlp` are for 1024 spans,
`parquet` for 65,536 and of CPU time.
";

/// The median that a push may have.
const PUSH_NANOS: f64 = 50.0;

/// Runs them; the text of the section.
pub(super) fn run() -> Result<String> {
    let mut cargo = command::cargo()?;
    cargo.args(["bench", "--locked", "-p", "tracer-user", "--bench", "parts", "--"]);
    cargo.args(["--noplot", "--warm-up-time", "1", "--measurement-time", "3"]);
    let shown = command::describe(&cargo);
    let (status, output) = command::tee(&mut cargo, SILENCE)?;
    command::succeeded(&shown, status)?;
    let estimates = estimates(&output);
    let lines: Vec<String> =
        estimates.iter().map(|(name, estimate)| format!("{name:24} {estimate}")).collect();
    Ok(format!("{TEXT}\n```\n{}\n```\n\n{}", lines.join("\n"), targets(&estimates)))
}

/// What is wanted of a push, beside what it takes.
fn targets(estimates: &[(String, String)]) -> String {
    let verdict = |(name, estimate): &(String, String)| {
        let nanos = middle(estimate);
        let is_met = nanos.is_some_and(|nanos| nanos <= PUSH_NANOS);
        let verdict = if is_met { "met" } else { "**missed**" };
        let shown = nanos.map_or_else(|| estimate.clone(), |nanos| format!("{nanos:.1} ns"));
        format!("- target: {name}: {shown}, wanted at most {PUSH_NANOS} ns: {verdict}")
    };
    let pushes = estimates.iter().filter(|(name, _)| name.starts_with("push median/"));
    pushes.map(verdict).collect::<Vec<_>>().join("\n")
}

/// The middle of criterion's three estimates, in nanoseconds.
fn middle(estimate: &str) -> Option<f64> {
    let mut words = estimate.trim_matches(['[', ']']).split(' ').skip(2);
    let value: f64 = words.next()?.parse().ok()?;
    let unit = match words.next()? {
        "ps" => 1e-3,
        "ns" => 1.0,
        "µs" => 1e3,
        "ms" => 1e6,
        _ => return None,
    };
    Some(value * unit)
}

/// Each benchmark's name and estimates of criterion's output, which breaks the line after a long
/// name.
fn estimates(output: &str) -> Vec<(String, String)> {
    let mut name = "";
    let estimate = |line| {
        let (head, time) = str::split_once(line, "time:").unwrap_or((line, ""));
        if !head.trim().is_empty() {
            name = head.trim();
        }
        if let Some((name, share)) =
            line.split_once("  ").filter(|it| it.0.starts_with("push full/"))
        {
            return Some((name.to_owned(), share.trim().to_owned()));
        }
        // Lines with percents compare with an earlier run.
        (!time.is_empty() && !time.contains('%')).then(|| (name.to_owned(), time.trim().to_owned()))
    };
    output.lines().filter_map(estimate).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_are_found_behind_long_and_short_names() {
        let output = "decode/getppid          time:   [28.6 ns 28.7 ns 28.8 ns]\n\
                      \x20                       thrpt:  [34.7 Melem/s]\n\
                      \x20                       time:   [+1.0% +2.0% +3.0%]\n\
                      push full/4 producers  7%\n\
                      push/a very long name of a benchmark\n\
                      \x20                       time:   [1 ns 2 ns 3 ns]\n";
        let found = estimates(output);
        assert_eq!(found[0], ("decode/getppid".into(), "[28.6 ns 28.7 ns 28.8 ns]".into()));
        assert_eq!(found[1], ("push full/4 producers".into(), "7%".into()));
        assert_eq!(
            found[2],
            ("push/a very long name of a benchmark".into(), "[1 ns 2 ns 3 ns]".into())
        );
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn pushes_have_a_target() {
        let estimate = |name: &str, estimate: &str| (name.to_owned(), estimate.to_owned());
        let said = targets(&[
            estimate("decode/x", "[1 ns 2 ns 3 ns]"),
            estimate("push/1", "[49 ns 60 ns 61 ns]"),
            estimate("push full/1", "3%"),
            estimate("push median/1", "[49 ns 50 ns 51 ns]"),
            estimate("push median/4", "[1.1 µs 1.2 µs 1.3 µs]"),
            estimate("push median/8", "unreadable"),
        ]);
        assert_eq!(
            said,
            "- target: push median/1: 50.0 ns, wanted at most 50 ns: met\n\
             - target: push median/4: 1200.0 ns, wanted at most 50 ns: **missed**\n\
             - target: push median/8: unreadable, wanted at most 50 ns: **missed**"
        );
    }
}
