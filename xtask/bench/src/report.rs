//! What a sub-suite has to say: text, tables, targets and figures, as Markdown on standard output.

use std::fmt::Write as _;

/// A section of the documentation in the making.
#[derive(Debug, Default)]
pub(crate) struct Report {
    text: String,
    figures: String,
}

/// What is wanted of a figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Wanted {
    /// So much at most.
    AtMost(f64),
    /// So much at least.
    AtLeast(f64),
}

impl Wanted {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
        }
    }

    fn show(self) -> String {
        match self {
            Self::AtMost(bound) => format!("at most {bound}"),
            Self::AtLeast(bound) => format!("at least {bound}"),
        }
    }
}

impl Report {
    /// A paragraph.
    pub(crate) fn say(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push_str("\n\n");
    }

    /// A heading within the section.
    pub(crate) fn heading(&mut self, text: &str) {
        self.say(&format!("### {text}"));
    }

    /// A table: the first column is text, the others stand right.
    pub(crate) fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        let mut line = |cells: &mut dyn Iterator<Item = &str>| {
            self.text.push('|');
            for cell in cells {
                self.text.push(' ');
                // A bar would end the cell.
                self.text.push_str(&cell.replace('|', "\\|"));
                self.text.push_str(" |");
            }
            self.text.push('\n');
        };
        line(&mut head.iter().copied());
        line(&mut head.iter().enumerate().map(|(at, _)| if at == 0 { "---" } else { "---:" }));
        for row in rows {
            line(&mut row.iter().map(String::as_str));
        }
        self.text.push('\n');
    }

    /// A target of the project beside the figure that was measured.
    pub(crate) fn target(&mut self, what: &str, value: f64, wanted: Wanted) {
        let verdict = if wanted.is_met(value) { "met" } else { "**missed**" };
        self.line(&format!("- target: {what}: {value:.2}, wanted {}: {verdict}", wanted.show()));
    }

    /// A target that could not be measured, and why.
    pub(crate) fn no_target(&mut self, what: &str, why: &str) {
        self.line(&format!("- target: {what}: not measured, {why}: **open**"));
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// Ends a list of targets.
    pub(crate) fn end_list(&mut self) {
        self.text.push('\n');
    }

    /// A figure that docs/capacity.md computes with, as a comment, which does not show.
    pub(crate) fn figure(&mut self, name: &str, value: f64) {
        writeln!(self.figures, "<!-- figure {name} {value:.3} -->").unwrap_or(());
    }

    /// All of it.
    pub(crate) fn text(&self) -> String {
        format!("{}\n\n{}", self.text.trim_end(), self.figures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_markdown() {
        let mut report = Report::default();
        report.table(&["a", "b"], &[vec!["x|y".into(), "1".into()]]);
        assert_eq!(report.text.trim_end(), "| a | b |\n| --- | ---: |\n| x\\|y | 1 |");
    }

    #[test]
    fn targets_are_met_or_missed() {
        let mut report = Report::default();
        report.target("cost", 1.8, Wanted::AtMost(1.8));
        report.target("cost", 1.81, Wanted::AtMost(1.8));
        report.target("speed", 2.0, Wanted::AtLeast(3.0));
        report.target("speed", f64::NAN, Wanted::AtLeast(3.0));
        report.no_target("speed", "no such program");
        let verdicts: Vec<_> =
            report.text.lines().filter_map(|line| line.rsplit(": ").next()).collect();
        assert_eq!(verdicts, ["met", "**missed**", "**missed**", "**missed**", "**open**"]);
    }

    #[test]
    fn figures_do_not_show() {
        let mut report = Report::default();
        report.figure("a_ns", 1.5);
        report.say("shows");
        assert_eq!(report.text(), "shows\n\n<!-- figure a_ns 1.500 -->\n");
    }
}
