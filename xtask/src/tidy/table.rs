//! The table of the modules of `tracer-user` and of what each may use.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail, ensure};

/// Where the table is, below the root.
pub(super) const FILE: &str = "docs/ARCHITECTURE.md";
/// The lines before and after it.
const START: &str = "<!-- modules -->";
const END: &str = "<!-- /modules -->";
/// The second cell of a module that uses no other.
const NOTHING: &str = "—";

/// Modules, and those that each may use.
pub(super) type Table = BTreeMap<String, BTreeSet<String>>;

/// Finds and reads the table in the document.
pub(super) fn parse(document: &str) -> Result<Table> {
    let mut lines = document.lines().map(str::trim);
    lines.find(|line| *line == START).with_context(|| format!("no line `{START}`"))?;
    let mut rows = Vec::new();
    loop {
        match lines.next() {
            Some(END) => break,
            Some("") => {}
            Some(line) => rows.push(line),
            None => bail!("no line `{END}`"),
        }
    }
    ensure!(rows.len() > 2, "the table of modules has no rows");
    let mut table = Table::new();
    // The first two are the heading and the line below it.
    for row in &rows[2..] {
        let (module, may_use) = parse_row(row).with_context(|| format!("row `{row}`"))?;
        ensure!(table.insert(module, may_use).is_none(), "row `{row}`: the module has two");
    }
    Ok(table)
}

/// Reads ``| `module` | `one`, `another` |``.
fn parse_row(row: &str) -> Result<(String, BTreeSet<String>)> {
    let cells = row.strip_prefix('|').and_then(|row| row.strip_suffix('|')).context("no cells")?;
    let (module, may_use) = cells.split_once('|').context("two cells are wanted")?;
    let may_use = may_use.trim();
    if may_use == NOTHING {
        return Ok((name(module)?, BTreeSet::new()));
    }
    Ok((name(module)?, may_use.split(',').map(name).collect::<Result<_>>()?))
}

/// The name of a module, in backticks or not.
fn name(text: &str) -> Result<String> {
    let name = text.trim().trim_matches('`');
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    ensure!(!name.is_empty() && name.chars().all(fits), "`{}` is no module", text.trim());
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "\
# Architecture

| other | table |
|---|---|
| a | b |

<!-- modules -->

| module | may use |
|---|---|
| `clock` | — |
| `ring_buffer` | `clock`, `span_record` |
| cli | ring_buffer |

<!-- /modules -->
";

    #[test]
    fn the_table_between_the_marks_is_read() {
        let table = parse(DOCUMENT).unwrap();
        let row = |name: &str| table[name].iter().map(String::as_str).collect::<Vec<_>>();
        assert_eq!(table.len(), 3);
        assert!(row("clock").is_empty());
        assert_eq!(row("ring_buffer"), ["clock", "span_record"]);
        assert_eq!(row("cli"), ["ring_buffer"]);
    }

    fn error(document: &str) -> String {
        format!("{:#}", parse(document).unwrap_err())
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(error("# A\n"), "no line `<!-- modules -->`");
        assert_eq!(error("<!-- modules -->\n"), "no line `<!-- /modules -->`");
        assert_eq!(
            error("<!-- modules -->\n<!-- /modules -->\n"),
            "the table of modules has no rows"
        );
        let rows = |rows: &str| error(&DOCUMENT.replace("| cli | ring_buffer |", rows));
        assert_eq!(rows("cli"), "row `cli`: no cells");
        assert_eq!(rows("| cli |"), "row `| cli |`: two cells are wanted");
        assert_eq!(rows("| cli | |"), "row `| cli | |`: `` is no module");
        assert_eq!(rows("| cli | A b |"), "row `| cli | A b |`: `A b` is no module");
        assert_eq!(rows("| clock | cli |"), "row `| clock | cli |`: the module has two");
    }
}
