//! `start`: how long a command waits for its tracer, and how long the whole takes.
#![expect(clippy::print_stderr, reason = "progress")]

use std::{
    env,
    ffi::OsString,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::time::{ClockId, clock_gettime};

use crate::{
    options::Options,
    report::Report,
    statistics::{Summary, ratio},
};

const ROUNDS: usize = 21;

/// One command and one tracer, as they are typed.
struct Line {
    name: &'static str,
    args: &'static [&'static str],
}

/// The first is nobody.
const LINES: [Line; 6] = [
    Line { name: "", args: &[] },
    Line { name: "tracer", args: &["trace", "-e", "getppid", "--export", "null"] },
    Line { name: "tracer", args: &["trace", "--export", "null"] },
    Line { name: "tracer", args: &["trace", "-y", "--export", "null"] },
    Line { name: "strace", args: &["-f", "-e", "getppid", "-o", "/dev/null"] },
    Line { name: "perf", args: &["trace", "-e", "getppid", "-o", "/dev/null"] },
];

/// Milliseconds until the command runs, and until all is over.
struct Sample {
    runs: f64,
    over: f64,
}

pub(crate) fn run(options: &Options) -> Report {
    let mut samples: [Vec<Sample>; LINES.len()] = Default::default();
    let mut problems: [Option<String>; LINES.len()] = Default::default();
    for round in 1..=ROUNDS {
        eprintln!("bench: start: round {round} of {ROUNDS}");
        for (at, line) in LINES.iter().enumerate() {
            if problems[at].is_some() {
                continue;
            }
            match measure(line, &options.tracer) {
                Ok(sample) => samples[at].push(sample),
                Err(error) => problems[at] = Some(format!("{error:#}")),
            }
        }
    }
    let mut report = Report::default();
    report.heading("From the start of a tracer to that of its command, and to the end");
    report.say(&format!(
        "{ROUNDS} rounds, each line once a round. The command prints the clock and ends. `runs` is the \
         time from the start of the tracer until then, `over` until the tracer has ended; median, \
         lowest and highest, in ms.",
    ));
    let mut rows = Vec::new();
    for ((line, samples), problem) in LINES.iter().zip(&samples).zip(&problems) {
        let show = |figure: fn(&Sample) -> f64| {
            Summary::of(samples.iter().map(figure)).map_or_else(String::new, |it| it.show(1))
        };
        let name = format!("{} {}", line.name, line.args.join(" "));
        let name = if line.name.is_empty() { "no tracer".to_owned() } else { format!("`{name}`") };
        let note = problem.clone().unwrap_or_default();
        rows.push(vec![name, show(|it| it.runs), show(|it| it.over), note]);
    }
    report.table(&["", "runs", "over", ""], &rows);
    report
}

fn measure(line: &Line, tracer: &Path) -> Result<Sample> {
    let own = env::current_exe().context("where this program is")?;
    let mut command = match line.name {
        "" => Command::new(own),
        name => {
            let program = if name == "tracer" { tracer.as_os_str() } else { name.as_ref() };
            let mut command = Command::new(program);
            let args = line.args.iter().map(OsString::from);
            command.args(args).arg("--").arg(own);
            command
        }
    };
    let start = now()?;
    let output = command
        .arg("now")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {}", line.name))?;
    let over = now()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    let text = String::from_utf8_lossy(&output.stdout);
    let nanos = text.trim().parse().with_context(|| format!("the clock in {text:?}"))?;
    let millis = |time: Duration| ratio(time.saturating_sub(start).as_secs_f64(), 1e-3);
    Ok(Sample { runs: millis(Duration::from_nanos(nanos)), over: millis(over) })
}

/// What the command does.
#[expect(clippy::print_stdout, reason = "all that it is for")]
pub(crate) fn print_now() -> Result<()> {
    println!("{}", now()?.as_nanos());
    Ok(())
}

fn now() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_MONOTONIC).context("the clock")?.into())
}
