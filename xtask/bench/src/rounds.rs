//! Interleaved rounds: each setting once a round, compared with the others of that round, for the
//! machine's speed drifts.
#![expect(clippy::print_stderr, reason = "progress")]

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::{
    bench::Bench,
    job::{Make, Sample, measure},
    statistics::{Summary, ratio},
    tracers::Tool,
};

/// All rounds of one kind of work.
pub(crate) struct Rounds {
    tools: Vec<Tool>,
    /// By tool, then by round. A tool that has failed has no more.
    samples: Vec<Vec<Sample>>,
    failures: Vec<Option<String>>,
}

/// What is measured in rounds.
pub(crate) struct Plan<'a> {
    /// For people.
    pub(crate) title: &'a str,
    /// In each round.
    pub(crate) tools: &'a [Tool],
    /// In the first round alone.
    pub(crate) once: &'a [Tool],
    /// How many.
    pub(crate) rounds: usize,
    /// No round begins later, but the first.
    pub(crate) patience: Duration,
}

impl Rounds {
    /// Measures all tools.
    pub(crate) fn run(bench: &Bench, plan: &Plan<'_>, make: &Make<'_>) -> Result<Self> {
        let Plan { title, rounds, patience, .. } = *plan;
        let tools: Vec<Tool> = plan.tools.iter().chain(plan.once).copied().collect();
        let started = Instant::now();
        let mut job = make(bench, &[])?;
        // Not for the record: memory and caches are warm then.
        job.run(10)?;
        let mut all = Self {
            tools: tools.clone(),
            samples: vec![Vec::new(); tools.len()],
            failures: vec![None; tools.len()],
        };
        for round in 1..=rounds {
            if round > 1 && started.elapsed() > patience {
                eprintln!("bench: {title}: the time for it is over");
                break;
            }
            eprintln!("bench: {title}: round {round} of {rounds}");
            for (index, tool) in tools.iter().enumerate() {
                let again = round == 1 || plan.tools.contains(tool);
                if !again || all.failures[index].is_some() {
                    continue;
                }
                match measure(bench, *tool, job.as_mut(), make) {
                    Ok(sample) => all.samples[index].push(sample),
                    Err(error) => {
                        eprintln!("bench: {title}: {}: {error:#}", tool.name());
                        all.failures[index] = Some(format!("{error:#}"));
                        // What it did to the work is not for the others.
                        job = make(bench, &[])?;
                    }
                }
            }
        }
        Ok(all)
    }

    /// Each tool with its samples, or why there are none.
    pub(crate) fn tools(&self) -> impl Iterator<Item = (Tool, Result<&[Sample], &str>)> {
        self.tools.iter().zip(&self.samples).zip(&self.failures).map(
            |((tool, samples), failure)| {
                (*tool, if let Some(why) = failure { Err(why.as_str()) } else { Ok(&samples[..]) })
            },
        )
    }

    /// One figure of a tool in every round.
    pub(crate) fn summary(&self, tool: Tool, figure: impl Fn(&Sample) -> f64) -> Option<Summary> {
        Summary::of(self.of(tool)?.iter().map(figure))
    }

    /// How much more than another tool, round by round.
    pub(crate) fn added(
        &self,
        tool: Tool,
        to: Tool,
        figure: impl Fn(&Sample) -> f64,
    ) -> Option<Summary> {
        let pairs = self.of(tool)?.iter().zip(self.of(to)?);
        Summary::of(pairs.map(|(it, base)| figure(it) - figure(base)))
    }

    /// What a tool adds to nothing, as a multiple of what another adds, round by round.
    pub(crate) fn added_ratio(&self, tool: Tool, to: Tool) -> Option<Summary> {
        let (bare, it, to) = (self.of(Tool::Bare)?, self.of(tool)?, self.of(to)?);
        Summary::of(
            bare.iter()
                .zip(it)
                .zip(to)
                .map(|((bare, it), to)| ratio(it.cpu - bare.cpu, to.cpu - bare.cpu)),
        )
    }

    /// A figure as a multiple of what it is with nothing attached, round by round.
    pub(crate) fn slowdown(&self, tool: Tool, figure: impl Fn(&Sample) -> f64) -> Option<Summary> {
        let pairs = self.of(tool)?.iter().zip(self.of(Tool::Bare)?);
        Summary::of(pairs.map(|(it, bare)| ratio(figure(it), figure(bare))))
    }

    /// What was lost in all rounds, in percent of the turns; `None` when the tool cannot tell.
    pub(crate) fn lost(&self, tool: Tool) -> Option<u64> {
        self.of(tool)?.iter().map(|sample| sample.lost).sum()
    }

    fn of(&self, tool: Tool) -> Option<&[Sample]> {
        let index = self.tools.iter().position(|it| *it == tool)?;
        let samples = self.samples.get(index)?;
        (!samples.is_empty() && self.failures[index].is_none()).then_some(samples)
    }
}

/// A summary for a table.
pub(crate) fn cell(summary: Option<Summary>, digits: usize) -> String {
    summary.map_or_else(|| "—".to_owned(), |summary| summary.show(digits))
}

/// The middle of a summary for a table.
pub(crate) fn middle(summary: Option<Summary>, digits: usize) -> String {
    summary.map_or_else(|| "—".to_owned(), |it| format!("{:.digits$}", it.median))
}

/// What a tool has lost, for a table.
pub(crate) fn lost_cell(lost: Option<u64>) -> String {
    lost.map_or_else(|| "not told".to_owned(), |lost| lost.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn sample(cpu: f64, lost: Option<u64>) -> Sample {
        Sample { cpu, wall: 2.0 * cpu, tracer: 1.0, lost, resident: 0.0 }
    }

    fn rounds() -> Rounds {
        Rounds {
            tools: vec![Tool::Bare, Tool::Floor, Tool::Null, Tool::Strace],
            samples: vec![
                vec![sample(100.0, Some(0)), sample(200.0, Some(0))],
                vec![sample(200.0, Some(0)), sample(400.0, Some(0))],
                vec![sample(300.0, Some(2)), sample(600.0, Some(3))],
                vec![sample(900.0, None)],
            ],
            failures: vec![None, None, None, Some("not there".into())],
        }
    }

    #[test]
    fn comparisons_are_within_a_round() {
        let rounds = rounds();
        assert_eq!(cell(rounds.added_ratio(Tool::Null, Tool::Floor), 2), "2.00");
        assert_eq!(cell(rounds.added(Tool::Null, Tool::Bare, |it| it.cpu), 0), "300 (200 to 400)");
        assert_eq!(cell(rounds.slowdown(Tool::Null, |it| it.wall), 1), "3.0");
        assert_eq!(middle(rounds.summary(Tool::Floor, |it| it.cpu), 0), "300");
    }

    #[test]
    fn losses_are_added_up() {
        let mut rounds = rounds();
        assert_eq!(rounds.lost(Tool::Null), Some(5));
        rounds.samples[2][1].lost = None;
        assert_eq!(lost_cell(rounds.lost(Tool::Null)), "not told");
    }

    #[test]
    fn what_has_failed_has_no_figures() {
        let rounds = rounds();
        assert_eq!(cell(rounds.summary(Tool::Strace, |it| it.cpu), 0), "—");
        let failed: Vec<_> = rounds.tools().filter_map(|(_, samples)| samples.err()).collect();
        assert_eq!(failed, ["not there"]);
    }
}
