//! The highest rate of calls that the whole program takes without losing one: a process calls
//! `getppid` at a given rate, `tracer trace` with the settings of its defaults records it. Run by
//! `cargo xtask bench rates`, as root.
#![expect(clippy::print_stdout, reason = "it prints its results")]

mod sink;
mod trial;
mod worker;

use std::{error::Error, path::Path};

use sink::Sink;
use trial::{Trial, run};

type Outcome<T> = Result<T, Box<dyn Error>>;

const ABOUT: &str = "\
One process calls `getppid` at a given rate, a share of it every half millisecond; `tracer trace`
with its defaults records it. Both share the machine's two CPUs with all else. The highest rate is
found by halving the range in short trials, and then held for {hold} s. OTLP goes by gRPC to a
receiver on the same machine that counts spans; Parquet goes to a disk. `lost` is what the books say
or what is missing at the destination. Memory is the most that tracer had resident: 16 MiB of it are
the kernel's ring.

```";

/// Trials until the rate is known well enough: each halves the range.
const STEPS: usize = 6;
/// Shorter holds are not tried when one fails.
const HOLDS: usize = 4;
/// What is taken off after a hold that lost something.
const LESS: f64 = 0.93;

/// A destination, and the rates between which the highest is looked for, in calls a second.
struct Plan {
    name: &'static str,
    range: (f64, f64),
}

const PLANS: [Plan; 3] = [
    Plan { name: "null", range: (200_000.0, 1_600_000.0) },
    Plan { name: "parquet", range: (200_000.0, 1_600_000.0) },
    Plan { name: "otlp", range: (100_000.0, 1_600_000.0) },
];

/// How long rates are tried and held, in seconds.
struct Times {
    probe: f64,
    hold: f64,
}

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let mut times = Times { probe: 5.0, hold: 60.0 };
    let mut only: Option<String> = None;
    let mut at: Option<f64> = None;
    let mut rest = args.iter();
    while let Some(flag) = rest.next() {
        let mut value = || rest.next().ok_or(format!("`{flag}` needs a value"));
        match flag.as_str() {
            "--worker" => return Ok(worker::run(value()?.parse()?, value()?.parse()?)?),
            "--probe" => times.probe = value()?.parse()?,
            "--hold" => times.hold = value()?.parse()?,
            "--only" => only = Some(value()?.clone()),
            "--rate" => at = Some(value()?.parse()?),
            // Given by cargo.
            "--bench" => {}
            other => return Err(format!("unknown option `{other}`").into()),
        }
    }
    let sink = Sink::start()?;
    println!("{}", ABOUT.replace("{hold}", &times.hold.to_string()));
    println!(
        "{:8} {:>9} {:>11} {:>6} {:>8} {:>13} {:>12} {:>10}",
        "to", "calls/s", "calls", "lost", "balanced", "tracer CPU", "ns per call", "memory"
    );
    for plan in PLANS.iter().filter(|plan| only.as_deref().is_none_or(|it| it == plan.name)) {
        let folder = tempfile::tempdir()?;
        let held = match at {
            Some(rate) => run(plan.name, rate, times.hold, folder.path(), &sink)?,
            None => hold(plan, &times, folder.path(), &sink)?,
        };
        print(plan.name, &held, times.hold);
    }
    println!("```");
    Ok(())
}

/// The highest rate that short trials held, held for long; less where that fails.
fn hold(plan: &Plan, times: &Times, folder: &Path, sink: &Sink) -> Outcome<Trial> {
    let mut rate = knee(plan, times, folder, sink)?;
    let mut held = run(plan.name, rate, times.hold, folder, sink)?;
    for _ in 1..HOLDS {
        if held.is_held() {
            break;
        }
        print(plan.name, &held, times.hold);
        rate *= LESS;
        held = run(plan.name, rate, times.hold, folder, sink)?;
    }
    Ok(held)
}

/// The highest rate that short trials hold.
fn knee(plan: &Plan, times: &Times, folder: &Path, sink: &Sink) -> Outcome<f64> {
    let (mut low, mut high) = plan.range;
    for _ in 0..STEPS {
        let middle = low.midpoint(high);
        let trial = run(plan.name, middle, times.probe, folder, sink)?;
        if trial.is_held() {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

#[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 52 bits")]
fn print(name: &str, trial: &Trial, seconds: f64) {
    let losses: Vec<_> =
        trial.losses.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    println!(
        "{name:8} {:9.0} {:11} {:6} {:>8} {:8.2} s/s {:12.0} {:6} MiB{}",
        trial.calls as f64 / seconds,
        trial.calls,
        trial.lost,
        trial.balanced,
        trial.cpu.as_secs_f64() / seconds,
        trial.cpu.as_secs_f64() * 1e9 / trial.calls as f64,
        trial.memory >> 20,
        if trial.is_held() { String::new() } else { format!("  not held: {}", losses.join(", ")) },
    );
}
