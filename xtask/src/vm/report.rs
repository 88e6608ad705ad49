//! What became of each kernel, for people.

use super::Task;
use super::console::{Counts, Verdict};
use super::kernel::Kernel;
use crate::test::Summary;

/// What became of one kernel.
pub(super) struct Report {
    pub(super) kernel: Kernel,
    /// Whether it fails the command.
    pub(super) required: bool,
    /// Of the package.
    version: String,
    counts: Counts,
    /// Tests left out by name.
    left_out: u64,
    pub(super) seconds: u64,
    pub(super) problem: Option<String>,
    details: String,
}

impl Report {
    pub(super) fn of(task: Task, version: &str, verdict: Verdict, left_out: u64) -> Self {
        let Task { kernel, required } = task;
        let Verdict { counts, problem, details } = verdict;
        let version = version.to_owned();
        Self { kernel, required, version, counts, left_out, seconds: 0, problem, details }
    }

    /// A kernel that was not judged at all.
    pub(super) fn failed(task: Task, version: &str, problem: String) -> Self {
        let verdict = Verdict { problem: Some(problem), ..Verdict::default() };
        Self::of(task, version, verdict, 0)
    }

    /// What became of its tests; a problem that is no test counts as one that failed.
    pub(super) fn tests(&self) -> Summary {
        let Counts { passed, failed, ignored } = self.counts;
        let failed = failed.max(u64::from(self.problem.is_some()));
        let failures = self.problem.iter().map(|_| self.progress()).collect();
        Summary { passed, failed, skipped: ignored + self.left_out, failures }
    }

    /// What is printed when it is done.
    pub(super) fn progress(&self) -> String {
        let name = self.kernel.name();
        let head = format!("vm: {name} after {} s: {}\n", self.seconds, self.verdict());
        let details = self.details.lines().map(|line| format!("{name}| {line}\n"));
        std::iter::once(head).chain(details).collect()
    }

    fn verdict(&self) -> String {
        match &self.problem {
            None => "pass".to_owned(),
            Some(problem) if self.required => format!("FAIL: {problem}"),
            Some(problem) => format!("FAIL, does not block: {problem}"),
        }
    }
}

/// A line for each kernel.
pub(super) fn table(reports: &[Report]) -> String {
    let width = reports.iter().map(|report| report.version.len()).max().unwrap_or(0).max(7);
    let head = format!(
        "{:6}  {:width$}  {:>6}  {:>6}  {:>7}  {:>7}  verdict\n",
        "kernel", "package", "passed", "failed", "skipped", "seconds"
    );
    let line = |report: &Report| {
        let Report { kernel, version, counts, left_out, seconds, .. } = report;
        let Counts { passed, failed, ignored } = counts;
        let (name, verdict) = (kernel.name(), report.verdict());
        let skipped = ignored + left_out;
        format!(
            "{name:6}  {version:width$}  {passed:>6}  {failed:>6}  {skipped:>7}  {seconds:>7}  \
             {verdict}\n"
        )
    };
    std::iter::once(head).chain(reports.iter().map(line)).collect()
}

/// The last line: how many kernels passed.
pub(super) fn summary(reports: &[Report]) -> String {
    let count = |required, passed| {
        let is_one = |it: &&Report| it.required == required && it.problem.is_none() == passed;
        reports.iter().filter(is_one).count()
    };
    let blocking = format!("{} passed, {} failed", count(true, true), count(true, false));
    if reports.iter().all(|report| report.required) {
        return blocking;
    }
    let (passed, failed) = (count(false, true), count(false, false));
    format!("{blocking}; reported without blocking: {passed} passed, {failed} failed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(kernel: Kernel, required: bool, problem: Option<&str>) -> Report {
        let counts = Counts { passed: 40, failed: 0, ignored: 1 };
        let problem = problem.map(str::to_owned);
        let verdict = Verdict { counts, problem, details: "a\nb\n".to_owned() };
        Report::of(Task { kernel, required }, "6.1.170-1", verdict, 2)
    }

    #[test]
    fn a_kernel_is_a_line() {
        let reports =
            [report(Kernel::V6_1, true, None), report(Kernel::Latest, false, Some("timed out"))];
        assert_eq!(
            table(&reports),
            "kernel  package    passed  failed  skipped  seconds  verdict\n\
             6.1     6.1.170-1      40       0        3        0  pass\n\
             latest  6.1.170-1      40       0        3        0  FAIL, does not block: timed out\n"
        );
    }

    #[test]
    fn what_does_not_block_is_counted_apart() {
        let mut reports = vec![
            report(Kernel::V6_1, true, None),
            report(Kernel::V6_12, true, None),
            report(Kernel::V6_18, true, Some("x")),
        ];
        assert_eq!(summary(&reports), "2 passed, 1 failed");
        reports.push(report(Kernel::Latest, false, Some("x")));
        let wanted = "2 passed, 1 failed; reported without blocking: 0 passed, 1 failed";
        assert_eq!(summary(&reports), wanted);
    }

    #[test]
    fn a_problem_is_a_failure() {
        let tests = |problem| report(Kernel::V6_1, true, problem).tests().to_string();
        assert_eq!(tests(None), "40 passed, 0 failed, 3 skipped");
        assert_eq!(tests(Some("timed out")), "40 passed, 1 failed, 3 skipped");
    }

    #[test]
    fn details_name_their_kernel() {
        let text = report(Kernel::V6_12, true, Some("x")).progress();
        assert_eq!(text, "vm: 6.12 after 0 s: FAIL: x\n6.12| a\n6.12| b\n");
    }
}
