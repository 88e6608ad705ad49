//! `tracer doctor`: what tracer can do on this host.

use serde_json::{Value, json};

use super::{Failure, RUN_TIME, args::DoctorArgs, manual::print};
use crate::{
    kernel::{
        FileDetail,
        host::{self, Finding, Verdict},
    },
    pipeline::TraceOptions,
};

pub(super) fn run(args: &DoctorArgs) -> Result<u8, Failure> {
    // With names, which are the largest part of the programs.
    let options = TraceOptions { names: Some(FileDetail::Protocols), ..TraceOptions::default() };
    let findings = host::findings(&options.settings());
    let text = if args.json { format!("{:#}\n", to_json(&findings)) } else { lines(&findings) };
    print(text.as_bytes())?;
    let is_missing = findings.iter().any(|it| it.verdict == Verdict::Missing);
    Ok(if is_missing { RUN_TIME } else { 0 })
}

const fn name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "ok",
        Verdict::Fallback => "fallback",
        Verdict::Missing => "missing",
    }
}

fn lines(findings: &[Finding]) -> String {
    let width = findings.iter().map(|it| it.check.len()).max().unwrap_or(0);
    let line =
        |it: &Finding| format!("{:8}  {:width$}  {}\n", name(it.verdict), it.check, it.found);
    findings.iter().map(line).collect()
}

fn to_json(findings: &[Finding]) -> Value {
    let one =
        |it: &Finding| json!({ "check": it.check, "verdict": name(it.verdict), "found": it.found });
    findings.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_is_a_line_and_an_object() {
        let finding = |check, verdict| Finding { check, verdict, found: "so it is".to_owned() };
        let all = [finding("kernel", Verdict::Ok), finding("cgroups", Verdict::Fallback)];
        let text = "ok        kernel   so it is\nfallback  cgroups  so it is\n";
        assert_eq!(lines(&all), text);
        let expected = json!({ "check": "cgroups", "verdict": "fallback", "found": "so it is" });
        assert_eq!(to_json(&all)[1], expected);
    }
}
