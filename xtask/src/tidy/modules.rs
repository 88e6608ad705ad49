//! Which module of `tracer-user` uses which, against the table.

use std::collections::BTreeSet;
use std::path::Path;

use super::Source;
use super::code::{self, is_word};
use super::table::{FILE, Table};

/// The crate whose modules are in the table.
const CRATE: &str = "tracer-user/src";

/// Modules without a row, rows without a module, and uses that no row allows.
pub(super) fn check(sources: &[Source], table: &Table) -> Vec<String> {
    let members: Vec<(&str, &Source)> =
        sources.iter().filter_map(|source| Some((module_of(&source.path)?, source))).collect();
    let modules: BTreeSet<&str> = members.iter().map(|&(module, _)| module).collect();
    let mut problems: Vec<String> = modules
        .iter()
        .filter(|&&module| !table.contains_key(module))
        .map(|module| format!("{FILE}: no row for the module `{module}`"))
        .collect();
    let named = table.iter().flat_map(|(module, may_use)| may_use.iter().chain([module]));
    let unknown: BTreeSet<&str> =
        named.map(String::as_str).filter(|name| !modules.contains(name)).collect();
    problems.extend(unknown.iter().map(|name| format!("{FILE}: there is no module `{name}`")));
    for (module, source) in members {
        if let Some(may_use) = table.get(module) {
            problems.extend(check_uses(source, module, may_use, &modules));
        }
    }
    problems
}

/// The top-level module that a file belongs to; the crate's roots belong to none.
fn module_of(path: &Path) -> Option<&str> {
    let path = path.strip_prefix(CRATE).ok()?;
    let first = Path::new(path.components().next()?.as_os_str());
    let module = first.file_stem()?.to_str()?;
    (path != Path::new("lib.rs") && path != Path::new("main.rs")).then_some(module)
}

fn check_uses(
    source: &Source,
    module: &str,
    may_use: &BTreeSet<String>,
    modules: &BTreeSet<&str>,
) -> Vec<String> {
    let mut problems = Vec::new();
    for (line, used) in uses(&code::without_tests(&source.code)) {
        if used == module || may_use.contains(&used) {
            continue;
        }
        problems.push(if modules.contains(used.as_str()) {
            source.problem(line, &format!("`{module}` may not use `{used}` ({FILE})"))
        } else {
            source.problem(line, &format!("`crate::{used}`: name the module that it is from"))
        });
    }
    problems
}

/// What comes after `crate::` in paths and groups, with the line of the path.
fn uses(code: &str) -> Vec<(usize, String)> {
    let mut uses = Vec::new();
    for (at, word) in code.match_indices("crate") {
        let Some(path) = code[at + word.len()..].trim_start().strip_prefix("::") else { continue };
        if code[..at].ends_with(is_word) {
            continue;
        }
        let line = code[..at].matches('\n').count();
        uses.extend(first_names(path.trim_start()).into_iter().map(|name| (line, name)));
    }
    uses
}

/// The first name of a path, or of each path in a group.
fn first_names(path: &str) -> Vec<String> {
    let name = |path: &str| -> String {
        path.trim_start().chars().take_while(|&c| is_word(c) || c == '*').collect()
    };
    let Some(group) = path.strip_prefix('{') else { return vec![name(path)] };
    let mut names = Vec::new();
    let mut depth = 0_usize;
    let mut start = 0;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                names.push(name(&group[start..at]));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(code: &str) -> Vec<String> {
        uses(&super::super::code::only(code)).into_iter().map(|(_, name)| name).collect()
    }

    #[test]
    fn paths_and_groups_are_found() {
        assert_eq!(names("use crate::clock::Clock;"), ["clock"]);
        assert_eq!(names("fn f() -> crate::ids::Id { $crate::decode::x() }"), ["ids", "decode"]);
        assert_eq!(
            names("use crate::{a, b::{c, d::{e}, f},\n    g::*,\n};\nuse h::{i};"),
            ["a", "b", "g"]
        );
        assert_eq!(names("use crate::*;"), ["*"]);
        assert!(names("pub(crate) fn f(); // crate::a\n\"crate::b\"; pub(in crate::c)").len() == 1);
        assert!(names("use my_crate::a; use crates::b;").is_empty());
    }

    #[test]
    fn files_belong_to_modules() {
        let module = |path: &str| module_of(Path::new(path)).map(str::to_owned);
        assert_eq!(module("tracer-user/src/clock.rs").as_deref(), Some("clock"));
        assert_eq!(module("tracer-user/src/export/mod.rs").as_deref(), Some("export"));
        assert_eq!(module("tracer-user/src/export/main.rs").as_deref(), Some("export"));
        assert_eq!(module("tracer-user/src/lib.rs"), None);
        assert_eq!(module("tracer-user/src/main.rs"), None);
        assert_eq!(module("tracer-user/tests/clock.rs"), None);
        assert_eq!(module("xtask/src/run.rs"), None);
    }

    fn fixture() -> (Vec<Source>, Table) {
        let source = |name: &str, text: &str| Source::new(format!("{CRATE}/{name}"), text);
        let sources = vec![
            source("lib.rs", "pub mod cli;\npub use crate::cli::run;\n"),
            source("clock.rs", "//! Clock.\n"),
            source("export/mod.rs", "//! Export.\nuse crate::export::json;\n"),
            source("export/json.rs", "//! JSON.\n\nuse crate::{clock::A, export::B};\n"),
        ];
        let row = |module: &str, may_use: &[&str]| {
            (module.to_owned(), may_use.iter().copied().map(str::to_owned).collect())
        };
        (sources, [row("clock", &[]), row("export", &["clock"])].into())
    }

    #[test]
    fn what_the_table_allows_is_fine() {
        let (sources, table) = fixture();
        assert_eq!(check(&sources, &table), [""; 0]);
    }

    #[test]
    fn what_it_does_not_allow_is_named() {
        let (mut sources, table) = fixture();
        sources[1] = Source::new(
            format!("{CRATE}/clock.rs"),
            "//! Clock.\nuse crate::export::json;\nuse crate::Error;\n#[cfg(test)]\nuse crate::export;\n",
        );
        assert_eq!(
            check(&sources, &table),
            [
                "tracer-user/src/clock.rs:2: `clock` may not use `export` (docs/ARCHITECTURE.md)",
                "tracer-user/src/clock.rs:3: `crate::Error`: name the module that it is from",
            ]
        );
    }

    #[test]
    fn modules_and_rows_go_together() {
        let (mut sources, mut table) = fixture();
        sources.push(Source::new(format!("{CRATE}/decode.rs"), "//! Decode.\n"));
        table.entry("clock".to_owned()).or_default().insert("gone".to_owned());
        assert_eq!(
            check(&sources, &table),
            [
                "docs/ARCHITECTURE.md: no row for the module `decode`",
                "docs/ARCHITECTURE.md: there is no module `gone`",
            ]
        );
    }
}
