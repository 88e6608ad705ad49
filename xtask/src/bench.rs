//! `cargo xtask bench`: the parts by criterion, then what tracing costs the traced, as root.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::{command, privilege};

const RESULTS: &str = "docs/benchmarks.md";

/// A benchmark that says nothing for so long hangs.
const SILENCE: Duration = Duration::from_mins(20);

const HEADER: &str = "\
# Benchmarks

Written by `cargo xtask bench --write`. The machine is shared and its speed drifts: figures of one
round are compared with each other, and ratios count.

";

const COST: &str = "\
## What tracing costs

One process makes calls, pinned to one CPU; the tracer is pinned to another. Each round measures
all settings one after the other, as CPU time of the calling thread; `added` is against the bare
call of the same round, and the ratio is against two empty raw tracepoints in that round. Medians
of all rounds, with the lowest and the highest ratio.

```
";

const PARTS: &str = "\
```

## Parts

Each on one thread, by criterion: lowest, middle and highest estimate. `push` is one push while the
sidecar exports to null; with 4 producers three other threads push at the same time, here on as
many CPUs as the machine above has. `export` is for 1024 spans.

```
";

/// Runs all benchmarks; with `write` the results go into the documentation.
pub(crate) fn run(write: bool) -> Result<()> {
    let parts = parts()?;
    let cost = cost()?;
    if write {
        let path = command::root()?.join(RESULTS);
        let text = format!("{HEADER}{COST}{cost}{PARTS}{parts}```\n");
        fs::write(&path, text).with_context(|| format!("writing {RESULTS}"))?;
        println!("written: {RESULTS}");
    }
    Ok(())
}

fn parts() -> Result<String> {
    let mut cargo = command::cargo()?;
    cargo.args(["bench", "--locked", "-p", "tracer-user", "--bench", "parts", "--"]);
    cargo.args(["--noplot", "--warm-up-time", "1", "--measurement-time", "3"]);
    let shown = command::describe(&cargo);
    let (status, output) = command::tee(&mut cargo, SILENCE)?;
    command::succeeded(&shown, status)?;
    Ok(estimates(&output))
}

fn cost() -> Result<String> {
    let mut cargo = command::cargo()?;
    cargo.args(["bench", "--locked", "-p", "tracer-user", "--features", "kernel-tests"]);
    cargo.args(["--bench", "overhead", "--no-run"]);
    let bench = command::build(&mut cargo, "bench", "overhead")?;
    let mut program = privilege::as_root(&bench.path)?;
    let shown = command::describe(&program);
    let (status, output) = command::tee(&mut program, SILENCE)?;
    command::succeeded(&shown, status)?;
    Ok(output)
}

/// A line per benchmark of criterion's output, which breaks the line after a long name.
fn estimates(output: &str) -> String {
    let mut name = "";
    let estimate = |line| {
        let (head, time) = str::split_once(line, "time:").unwrap_or((line, ""));
        if !head.trim().is_empty() {
            name = head.trim();
        }
        // Lines with percents compare with an earlier run.
        (!time.is_empty() && !time.contains('%')).then(|| format!("{name:20} {}\n", time.trim()))
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
                      push/a very long name of a benchmark\n\
                      \x20                       time:   [1 ns 2 ns 3 ns]\n";
        assert_eq!(
            estimates(output),
            "decode/getppid       [28.6 ns 28.7 ns 28.8 ns]\n\
             push/a very long name of a benchmark [1 ns 2 ns 3 ns]\n"
        );
    }
}
