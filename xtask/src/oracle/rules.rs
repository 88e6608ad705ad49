//! The classes of differences, by the rules in `rules.txt`.

use std::fmt;

use anyhow::{Context as _, Result, bail};
use regex::Regex;

use crate::calls::Difference;

/// The rules, of which the first that fits counts.
const RULES: &str = include_str!("rules.txt");

/// What a difference means, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// No rule fits: counts as wrong.
    Unclassed,
    /// tracer prints what is not so.
    Wrong,
    /// tracer prints less than strace.
    Undecoded,
    /// The same, written otherwise.
    Form,
    /// strace prints less than tracer, or what is not so.
    Strace,
    /// Both are right, of different runs.
    Inherent,
}

impl Class {
    pub(super) const ALL: [Self; 6] =
        [Self::Unclassed, Self::Wrong, Self::Undecoded, Self::Form, Self::Strace, Self::Inherent];

    /// Whether what tracer prints is so, and no less than strace prints.
    pub(super) fn is_right(self) -> bool {
        self >= Self::Form
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Unclassed => "unclassed",
            Self::Wrong => "wrong",
            Self::Undecoded => "undecoded",
            Self::Form => "form",
            Self::Strace => "strace",
            Self::Inherent => "inherent",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// All rules.
pub(super) struct Rules(Vec<Rule>);

struct Rule {
    class: Class,
    why: String,
    program: Option<Regex>,
    call: Option<Regex>,
    part: Option<Regex>,
    theirs: Option<Regex>,
    ours: Option<Regex>,
    is_same_value: bool,
}

impl Rules {
    /// Those of the repository.
    pub(super) fn committed() -> Result<Self> {
        Self::parse(RULES).context("xtask/src/oracle/rules.txt")
    }

    /// Reads rules, which are separated by empty lines.
    fn parse(text: &str) -> Result<Self> {
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let blocks = lines.split(|line| line.trim().is_empty()).filter(|block| !block.is_empty());
        let rule = |block: &[&str]| rule(block).with_context(|| block.join(" / "));
        Ok(Self(blocks.map(rule).collect::<Result<_>>()?))
    }

    /// The class of a difference, and why it has it.
    pub(super) fn classify(&self, program: &str, it: &Difference) -> (Class, &str) {
        let part = it.part.to_string();
        let fits = |pattern: &Option<Regex>, text: &str| {
            pattern.as_ref().is_none_or(|pattern| pattern.is_match(text))
        };
        let rule = self.0.iter().find(|rule| {
            fits(&rule.call, &it.call)
                && fits(&rule.part, &part)
                && fits(&rule.program, program)
                && fits(&rule.theirs, &it.theirs)
                && fits(&rule.ours, &it.ours)
                && (!rule.is_same_value || is_same_value(&it.theirs, &it.ours))
        });
        rule.map_or((Class::Unclassed, ""), |rule| (rule.class, &rule.why))
    }
}

fn rule(block: &[&str]) -> Result<Rule> {
    let mut class = None;
    let mut why = None;
    let [mut program, mut call, mut part, mut theirs, mut ours] = [const { None }; 5];
    let mut is_same_value = false;
    for line in block {
        let (key, value) = line.split_once(' ').context("a line of one word")?;
        let whole = || Regex::new(&format!("^(?:{value})$"));
        match key {
            "class" => class = Class::ALL.into_iter().find(|class| class.name() == value),
            "why" => why = Some(value.to_owned()),
            "program" => program = Some(whole()?),
            "call" => call = Some(whole()?),
            "part" => part = Some(whole()?),
            "strace" => theirs = Some(Regex::new(value)?),
            "tracer" => ours = Some(Regex::new(value)?),
            "same" if value == "value" => is_same_value = true,
            _ => bail!("`{line}`"),
        }
    }
    let class = class.filter(|class| *class != Class::Unclassed).context("no class")?;
    let why = why.context("no reason")?;
    Ok(Rule { class, why, program, call, part, theirs, ours, is_same_value })
}

/// Whether both are one number, in the notation of another base, with a comment or without.
fn is_same_value(theirs: &str, ours: &str) -> bool {
    number(theirs).is_some_and(|number_| Some(number_) == number(ours))
}

fn number(text: &str) -> Option<i128> {
    let text = text.split_once(" /* ").filter(|(_, it)| it.ends_with("*/")).map_or(text, |it| it.0);
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let value = match digits.strip_prefix("0x") {
        Some(digits) => i128::from_str_radix(digits, 16),
        None if digits.len() > 1 && digits.starts_with('0') => i128::from_str_radix(digits, 8),
        None if digits == "NULL" => Ok(0),
        None => digits.parse(),
    };
    Some(sign * value.ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::Part;

    fn difference(call: &str, part: Part, theirs: &str, ours: &str) -> Difference {
        let lines = [theirs.to_owned(), ours.to_owned()];
        Difference {
            call: call.to_owned(),
            part,
            theirs: theirs.to_owned(),
            ours: ours.to_owned(),
            lines,
        }
    }

    #[test]
    fn the_first_rule_that_fits_counts() {
        let rules = Rules::parse(
            "# x\nclass form\nsame value\nwhy base\n\nclass undecoded\ncall send.*\npart argument 2\n\
             tracer ^\"\nwhy bytes\n\nclass strace\nprogram p\nstrace ^x\nwhy old\n",
        )
        .unwrap();
        let class = |it: &Difference| rules.classify("p", it);
        let it = difference("sendto", Part::Argument(2), "{nlmsg}", "\"a\"");
        assert_eq!(class(&it), (Class::Undecoded, "bytes"));
        assert_eq!(class(&difference("a", Part::Result, "0x10", "16")), (Class::Form, "base"));
        assert_eq!(class(&difference("a", Part::Result, "0x10", "17")).0, Class::Unclassed);
        let it = difference("resendto", Part::Argument(2), "x", "\"a\"");
        assert_eq!(class(&it), (Class::Strace, "old"));
        assert_eq!(rules.classify("q", &it).0, Class::Unclassed);
    }

    #[test]
    fn numbers_in_other_bases() {
        assert!(is_same_value("NULL", "0") && is_same_value("-1", "-0x1"));
        assert!(is_same_value("010", "8") && !is_same_value("0xffffffff", "-1"));
        assert!(!is_same_value("A", "A") && !is_same_value("", ""));
        assert!(
            is_same_value("0x1 /* PIDTYPE_TGID */", "1 /* X */")
                && !is_same_value("1 /* X */", "2")
        );
        assert!(!is_same_value("-", "-") && !is_same_value("0x", "0x"));
        assert!(!is_same_value("9".repeat(99).as_str(), "9"));
    }

    #[test]
    fn bad_rules_are_refused() {
        for bad in
            ["class form", "why x", "class unclassed\nwhy x", "class form\nwhy x\ncall (", "x y"]
        {
            assert!(Rules::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_committed_rules_are_read() {
        assert!(!Rules::committed().unwrap().0.is_empty());
    }
}
