//! What the output of a guest says about it.

/// Everything that is left of a guest.
#[derive(Default)]
pub(super) struct Record {
    /// The kernel's messages and those of init.
    pub(super) console: String,
    /// What the tests printed.
    pub(super) output: String,
    /// How QEMU ended, unless well.
    pub(super) qemu: String,
}

/// How many tests ended how.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(super) struct Counts {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) ignored: u64,
}

/// The judgement of one guest.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Verdict {
    pub(super) counts: Counts,
    /// Why it failed, in one line.
    pub(super) problem: Option<String>,
    /// What to look at, in many.
    pub(super) details: String,
}

/// What init prints before the payload starts, and when it has ended.
const BOOTED: &str = "vm: booted ";
const EXIT: &str = "vm: exit ";

/// What a kernel prints when a program of ours makes it do what it should not.
const COMPLAINTS: [&str; 5] = ["verifier bug", "WARNING: ", "BUG:", "Oops", "Kernel panic"];

/// How much of the end of a log is shown.
const TAIL: usize = 40;

/// Judges what a guest printed that had to run so many tests.
pub(super) fn judge(record: &Record, tests: u64) -> Verdict {
    let ended = exit_status(&record.console).is_some();
    let counts = counts(&record.output).filter(|_| ended);
    let counts = counts.unwrap_or_else(|| unfinished(&record.output));
    let problem = problem(record, counts, tests);
    let details = if problem.is_some() { details(record) } else { String::new() };
    Verdict { counts, problem, details }
}

fn problem(record: &Record, counts: Counts, tests: u64) -> Option<String> {
    if let Some(complaint) = complaints(record).next() {
        return Some(format!("the kernel said: {complaint}"));
    }
    let Some(status) = exit_status(&record.console) else {
        let how = if record.qemu.is_empty() { "ended too early" } else { &record.qemu };
        let test = running(&record.output).map(|test| format!(" in {test}"));
        return Some(how.to_owned() + &test.unwrap_or_default());
    };
    if counts.failed > 0 {
        return Some(format!("{} tests failed", counts.failed));
    }
    if status != "0" {
        return Some(format!("the tests ended with status {status}"));
    }
    let run = counts.passed + counts.ignored;
    (run != tests).then(|| format!("{run} of {tests} tests ran"))
}

/// The status in the line that init prints last.
fn exit_status(console: &str) -> Option<&str> {
    console.lines().rev().find_map(|line| line.strip_prefix(EXIT)?.split(' ').next())
}

/// The kernel's complaints since the tests began.
fn complaints(record: &Record) -> impl Iterator<Item = &str> {
    let booted = record.console.find(BOOTED).unwrap_or(record.console.len());
    let kernel = record.console[booted..].lines();
    let is_one = |line: &&str| COMPLAINTS.iter().any(|complaint| line.contains(complaint));
    // The verifier's own log is among what the tests print.
    let verifier = record.output.lines().filter(|line| line.contains(COMPLAINTS[0]));
    kernel.filter(is_one).chain(verifier).map(str::trim)
}

/// The failures that the tests told of, and the ends of what does not end well.
fn details(record: &Record) -> String {
    let mut details = String::new();
    let failures = record.output.find("\nfailures:\n").map(|at| &record.output[at + 1..]);
    let ended = exit_status(&record.console).is_some();
    details.push_str(failures.unwrap_or_else(|| tail(&record.output)).trim_end());
    if !ended || complaints(record).next().is_some() {
        details.push_str("\n---- the console ends:\n");
        details.push_str(tail(&record.console).trim_end());
    }
    details + "\n"
}

/// The last lines.
fn tail(text: &str) -> &str {
    let mut ends = text.trim_end().rmatch_indices('\n');
    ends.nth(TAIL - 1).map_or(text, |(at, _)| &text[at + 1..])
}

/// The numbers in `test result: ok. 2 passed; 0 failed; 1 ignored; …`.
fn counts(output: &str) -> Option<Counts> {
    let result = output.lines().rev().find_map(|line| line.strip_prefix("test result: "))?;
    let number = |what: &str| {
        let mut parts = result.split(['.', ';']).map(str::trim);
        parts.find_map(|part| part.strip_suffix(what)?.trim().parse().ok())
    };
    Some(Counts {
        passed: number("passed")?,
        failed: number("failed")?,
        ignored: number("ignored")?,
    })
}

/// The test that had begun last and did not end. Programs it started may have printed since.
fn running(output: &str) -> Option<&str> {
    let last = output.lines().rev().find(|line| line.starts_with("test "))?;
    let (name, end) = last.strip_prefix("test ")?.split_once(" ... ")?;
    let ended = ["ok", "FAILED", "ignored"].iter().any(|word| end.starts_with(word));
    (!ended).then_some(name)
}

/// The same from the lines of single tests, where there is no result.
fn unfinished(output: &str) -> Counts {
    let count = |end: &str| {
        let is_one = |line: &&str| line.starts_with("test ") && line.contains(end);
        output.lines().filter(is_one).map(|_| 1).sum()
    };
    Counts {
        passed: count(" ... ok"),
        failed: count(" ... FAILED"),
        ignored: count(" ... ignored"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSOLE: &str = "\
[    0.000000] Linux version 6.1.0
[    1.000000] WARNING: CPU: 0 PID: 1 at a/driver.c
vm: booted 6.1.0-56-cloud-amd64 x86_64 after 3.51 s
[    9.000000] tracer[99] is installing a program

vm: exit 0 after 30.12 s
";
    const OUTPUT: &str = "
running 3 tests
test a ... ok
test b ... ignored
test c ... ok

test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 20.11s
";

    fn record(console: &str, output: &str, qemu: &str) -> Record {
        Record { console: console.into(), output: output.into(), qemu: qemu.into() }
    }

    fn problem_of(console: &str, output: &str, qemu: &str) -> Option<String> {
        judge(&record(console, output, qemu), 3).problem
    }

    #[test]
    fn a_good_guest_passes() {
        let verdict = judge(&record(CONSOLE, OUTPUT, ""), 3);
        let counts = Counts { passed: 2, failed: 0, ignored: 1 };
        assert_eq!(verdict, Verdict { counts, problem: None, details: String::new() });
    }

    #[test]
    fn failed_tests_are_counted_and_shown() {
        let failing = "test a ... FAILED\n\nfailures:\n\n---- a stdout ----\nassertion\n\n\
                       failures:\n    a\n\ntest result: FAILED. 2 passed; 1 failed; 0 ignored\n";
        let console = CONSOLE.replace("exit 0", "exit 101");
        let verdict = judge(&record(&console, failing, ""), 3);
        assert_eq!(verdict.problem.as_deref(), Some("1 tests failed"));
        assert!(verdict.details.starts_with("failures:\n\n---- a stdout ----\nassertion\n"));
        assert!(!verdict.details.contains("console"));
    }

    #[test]
    fn an_end_without_the_marker_is_a_failure() {
        let console = CONSOLE.split("vm: exit").next().unwrap();
        let output = "test a ... ok\ntest b ... FAILED\ntest c ... ";
        let verdict = judge(&record(console, output, "timed out after 180 s"), 3);
        assert_eq!(verdict.problem.as_deref(), Some("timed out after 180 s in c"));
        assert_eq!(verdict.counts, Counts { passed: 1, failed: 1, ignored: 0 });
        assert_eq!(problem_of("", "", "").as_deref(), Some("ended too early"));
        let verdict = judge(&record(console, "test a ... ", ""), 3);
        assert!(verdict.details.starts_with("test a ...\n---- the console ends:\n[    0.00"));
    }

    #[test]
    fn a_status_or_a_number_of_tests_that_is_wrong_is_a_failure() {
        assert_eq!(running("test a ... ok\ntest b ... said\nmore\n"), Some("b"));
        assert_eq!(running("test a ... ok\nx\n"), None);
        let status = |status| problem_of(&CONSOLE.replace("exit 0", status), "", "");
        assert_eq!(status("exit 127").as_deref(), Some("the tests ended with status 127"));
        assert_eq!(status("exit 0").as_deref(), Some("0 of 3 tests ran"));
    }

    #[test]
    fn complaints_of_the_kernel_count_once_the_tests_run() {
        for complaint in [
            "[   10.0] WARNING: CPU: 1 PID: 77 at kernel/bpf/verifier.c:2731",
            "[   10.0] WARNING: kernel/bpf/verifier.c:2731 at x+0x1/0x2, CPU#1: tracer/77",
            "[   10.0] BUG: kernel NULL pointer dereference",
            "[   10.0] Kernel panic - not syncing",
        ] {
            let console = CONSOLE.replace("\n\nvm: exit", &format!("\n{complaint}\n\nvm: exit"));
            let problem = problem_of(&console, OUTPUT, "");
            assert_eq!(problem, Some(format!("the kernel said: {complaint}")));
        }
        let output = format!("verifier bug: REG INVARIANTS VIOLATION\n{OUTPUT}");
        assert!(problem_of(CONSOLE, &output, "").unwrap().contains("REG INVARIANTS"));
    }

    #[test]
    fn tails_are_short() {
        assert_eq!(tail("a\nb\n"), "a\nb\n");
        let long = "x\n".repeat(100);
        assert_eq!(tail(&long).lines().count(), TAIL);
    }
}
