//! No circles: no file of a crate uses another that uses it in turn, directly or by way of others. A
//! file may use what the `mod.rs` above it has, which uses it: a folder is one room.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::Source;
use super::code::{self, is_word};

/// Where a file of a crate stands: `["export", "text"]`; the root is empty.
type Module = Vec<String>;

/// Circles that there are. Each is a fault to be mended, and must go from here when it is.
const KNOWN: [&str; 1] =
    ["tracer-user: export::argument, export::bounds, export::message, export::pointee"];

/// Circles that are not known, and known ones that are no more.
pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let mut crates: BTreeMap<&str, BTreeMap<Module, String>> = BTreeMap::new();
    for source in sources {
        if let Some((name, module)) = place(&source.path) {
            let code = code::without_tests(&source.code);
            crates.entry(name).or_default().insert(module, code);
        }
    }
    let mut found = Vec::new();
    for (name, files) in &crates {
        found.extend(
            circles(files).into_iter().map(|circle| format!("{name}: {}", circle.join(", "))),
        );
    }
    let unknown = found.iter().filter(|circle| !KNOWN.contains(&circle.as_str()));
    let gone = KNOWN.iter().filter(|known| !found.iter().any(|circle| circle == *known));
    unknown
        .map(|circle| format!("modules that use each other in a circle: {circle}"))
        .chain(gone.map(|circle| format!("no circle any more, take it off the list: {circle}")))
        .collect()
}

/// The crate and the module of a file of its sources; tests are none.
fn place(path: &Path) -> Option<(&str, Module)> {
    let (name, inside) = path.to_str()?.split_once("/src/")?;
    let inside = inside.strip_suffix(".rs")?;
    let mut module: Module = inside.split('/').map(str::to_owned).collect();
    if module.iter().any(|part| part == "tests") {
        return None;
    }
    match module.last()?.as_str() {
        "mod" => drop(module.pop()),
        "lib" | "main" if module.len() == 1 => module.clear(),
        _ => {}
    }
    Some((name, module))
}

/// Groups of modules each of which leads to all others of its group, by their names.
fn circles(files: &BTreeMap<Module, String>) -> Vec<Vec<String>> {
    let uses: BTreeMap<&Module, BTreeSet<&Module>> =
        files.iter().map(|(here, code)| (here, used(files, here, code))).collect();
    let reached: BTreeMap<&Module, BTreeSet<&Module>> =
        files.keys().map(|from| (from, reachable(&uses, from))).collect();
    let leads = |from: &Module, to: &Module| reached.get(from).is_some_and(|all| all.contains(to));
    let mut groups: BTreeSet<Vec<String>> = BTreeSet::new();
    for one in files.keys().filter(|one| leads(one, one)) {
        let group = files.keys().filter(|other| leads(one, other) && leads(other, one));
        groups.insert(group.map(|module| module.join("::")).collect());
    }
    groups.into_iter().collect()
}

/// The modules to which uses lead, however many; the module itself where they lead back.
fn reachable<'a>(
    uses: &BTreeMap<&Module, BTreeSet<&'a Module>>,
    from: &Module,
) -> BTreeSet<&'a Module> {
    let next = |module: &Module| uses.get(module).into_iter().flatten().copied();
    let mut waiting: Vec<&Module> = next(from).collect();
    let mut reached = BTreeSet::new();
    while let Some(module) = waiting.pop() {
        if reached.insert(module) {
            waiting.extend(next(module));
        }
    }
    reached
}

/// The modules that the code of one names, but itself and those above it.
fn used<'a>(
    files: &'a BTreeMap<Module, String>,
    here: &Module,
    code: &str,
) -> BTreeSet<&'a Module> {
    let paths = paths(code).into_iter();
    let found = paths.filter_map(|path| module_of(files, here, &path));
    found.filter(|module| !here.starts_with(module)).collect()
}

/// The longest beginning of a path that is a module.
fn module_of<'a>(
    files: &'a BTreeMap<Module, String>,
    here: &Module,
    path: &[String],
) -> Option<&'a Module> {
    let mut rest = path.iter().map(String::as_str).peekable();
    let mut module = here.clone();
    match rest.peek() {
        Some(&"crate") => {
            module.clear();
            rest.next();
        }
        Some(&"self") => drop(rest.next()),
        _ => {
            while rest.next_if_eq(&"super").is_some() {
                module.pop();
            }
        }
    }
    for part in rest {
        module.push(part.to_owned());
        if !files.contains_key(&module) {
            module.pop();
            break;
        }
    }
    files.get_key_value(&module).map(|(module, _)| module)
}

/// All paths of uses, and those in code that begin with `crate`, `self` or `super`.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for word in ["use ", "crate::", "self::", "super::"] {
        for (at, _) in code.match_indices(word) {
            let is_part = code[..at].ends_with(is_word) || code[..at].ends_with("::");
            if !is_part {
                let from = if word == "use " { at + word.len() } else { at };
                expand(&code[from..], &[], &mut all);
            }
        }
    }
    all
}

/// Reads a path, or the paths of a group, behind a beginning; returns what follows.
fn expand<'a>(text: &'a str, before: &[String], all: &mut Vec<Vec<String>>) -> &'a str {
    let mut path = before.to_vec();
    let mut rest = text.trim_start();
    loop {
        if let Some(group) = rest.strip_prefix('{') {
            rest = group.trim_start();
            while !rest.is_empty() && !rest.starts_with('}') {
                let after = expand(rest, &path, all);
                // What is no path, such as `as` with a name, is passed over.
                let next = after.find([',', '}']).unwrap_or(after.len());
                rest = after[next..].trim_start_matches(',').trim_start();
            }
            return rest.strip_prefix('}').unwrap_or(rest);
        }
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        if end == 0 {
            break;
        }
        path.push(rest[..end].to_owned());
        rest = &rest[end..];
        match rest.strip_prefix("::") {
            Some(next) => rest = next.trim_start(),
            None => break,
        }
    }
    all.push(path);
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<Source> = files
            .iter()
            .map(|(path, text)| Source::new(format!("a/src/{path}.rs"), *text))
            .collect();
        let problems = check(&sources).into_iter();
        problems.filter(|problem| problem.contains("circle: a")).collect()
    }

    #[test]
    fn paths_are_those_of_groups_and_of_code() {
        let joined = |code| -> Vec<String> { paths(code).iter().map(|it| it.join("::")).collect() };
        assert_eq!(
            joined("use a::{b, c::{d as e, f}, g};"),
            ["a::b", "a::c::d", "a::c::f", "a::g"]
        );
        assert_eq!(joined("fn x() { super::y::z(1) }"), ["super::y::z"]);
        assert_eq!(joined("pub(crate) use x::*;"), ["x"]);
    }

    #[test]
    fn two_that_use_each_other_are_a_circle() {
        assert!(found(&[("x", "use super::y::A;"), ("y", "struct A;")]).is_empty());
        let both = found(&[("x", "use super::y::A;"), ("y", "fn f() { crate::x::g() }")]);
        assert_eq!(both, ["modules that use each other in a circle: a: x, y"]);
    }

    #[test]
    fn a_circle_may_have_more_members() {
        let files = [("x", "use crate::y;"), ("y", "use super::z::B;"), ("z/mod", "use crate::x;")];
        assert_eq!(found(&files), ["modules that use each other in a circle: a: x, y, z"]);
    }

    #[test]
    fn what_is_above_may_be_used_and_tests_may_use_all() {
        let files = [("z/mod", "mod x; use x::A;"), ("z/x", "use super::B;")];
        assert!(found(&files).is_empty());
        let files = [("x", "use crate::y;"), ("y", "#[cfg(test)]\nmod tests { use crate::x; }")];
        assert!(found(&files).is_empty());
    }
}
