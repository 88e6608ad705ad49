//! `docs/benchmarks.md`: a section for each sub-suite, of which those that were measured are
//! replaced.

/// What stands above the sections.
const HEADER: &str = "\
# Benchmarks

Written by `cargo xtask bench --write`, section by section: each says when and on which machine it
was measured. The machine is shared and its speed drifts: figures of one round are compared with
each other, and ratios count. Targets are the project's own; for those that are missed
[where-the-time-goes.md](where-the-time-goes.md) says why.
";

/// The document with this section's text replaced, or put where it belongs in `order`, which has
/// the headings of all sections.
pub(super) fn replace(document: &str, order: &[&str], heading: &str, text: &str) -> String {
    let mut sections: Vec<(&str, &str)> = sections(document)
        .filter(|(name, _)| order.contains(name) && *name != heading)
        .chain([(heading, text)])
        .collect();
    sections.sort_by_key(|(name, _)| order.iter().position(|it| it == name));
    sections.iter().fold(HEADER.to_owned(), |all, (name, text)| {
        all + "\n## " + name + "\n\n" + text.trim() + "\n"
    })
}

/// Headings, and what stands below each up to the next.
fn sections(document: &str) -> impl Iterator<Item = (&str, &str)> {
    // The first piece is above all headings. A line of a listing may begin like a heading, but none
    // of ours does.
    document.split("\n## ").skip(1).map(|section| section.split_once('\n').unwrap_or((section, "")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: [&str; 3] = ["First", "Second", "Third"];

    #[test]
    fn only_what_was_measured_is_replaced() {
        let one = replace("", &ORDER, "Third", "three\n");
        let two = replace(&one, &ORDER, "First", "one, with\n\n### parts\n");
        assert_eq!(
            two,
            format!("{HEADER}\n## First\n\none, with\n\n### parts\n\n## Third\n\nthree\n")
        );
        let again = replace(&two, &ORDER, "First", "other");
        assert_eq!(again, format!("{HEADER}\n## First\n\nother\n\n## Third\n\nthree\n"));
        assert_eq!(replace(&again, &ORDER, "First", "other"), again);
    }

    #[test]
    fn unknown_sections_and_old_headers_go() {
        let old = "# Old\n\n## What was\n\nx\n\n## Second\n\ntwo\n";
        let now = replace(old, &ORDER, "First", "one");
        assert_eq!(now, format!("{HEADER}\n## First\n\none\n\n## Second\n\ntwo\n"));
    }
}
