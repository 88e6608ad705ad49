//! The sets of named constants: `sets.txt`, with values from headers, to tables.

mod constants;
mod emit;
mod harvest;
mod source;

use std::path::Path;

use anyhow::{Context as _, Result};

use self::constants::Constants;
use self::source::SetSource;

/// ABIs with values of their own, and `linux-raw-sys`'s names for them.
pub(super) const ABIS: [(&str, &str); 3] =
    [("x86_64", "x86_64"), ("i386", "x86"), ("aarch64", "aarch64")];

/// A set with its values, one list for each of [`ABIS`].
struct Set {
    source: SetSource,
    values: Vec<Vec<(String, u64)>>,
}

/// The path of the tables below the root of the workspace, and their unformatted text.
pub(super) fn generate(root: &Path) -> Result<(String, String)> {
    let sources = sources()?;
    let constants = ABIS
        .iter()
        .map(|(_, directory)| constants::read(root, directory))
        .collect::<Result<Vec<_>>>()?;
    let sets = sources
        .into_iter()
        .map(|source| {
            let values = constants
                .iter()
                .map(|constants| source.resolve(constants))
                .collect::<Result<Vec<_>>>()
                .with_context(|| format!("set `{}`", source.name))?;
            Ok(Set { source, values })
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(("tracer-user/src/values/tables.rs".to_owned(), emit::tables(&sets)))
}

/// Names of all sets, as in the file.
pub(super) fn names() -> Result<Vec<String>> {
    Ok(sources()?.into_iter().map(|set| set.name).collect())
}

/// Looks up, in the installed headers, what `linux-raw-sys` does not have, and writes `uapi.txt`.
pub(super) fn harvest(root: &Path) -> Result<()> {
    let constants = constants::raw_sys(root, "x86_64")?;
    harvest::write(root, &missing(&constants)?)
}

/// Constants that sets name and that are not among these.
fn missing(constants: &Constants) -> Result<Vec<String>> {
    let mut missing: Vec<String> = sources()?
        .iter()
        .flat_map(SetSource::required)
        .filter(|name| !constants.contains_key(*name))
        .map(str::to_owned)
        .collect();
    missing.sort_unstable();
    missing.dedup();
    Ok(missing)
}

fn sources() -> Result<Vec<SetSource>> {
    source::parse(include_str!("../sets.txt")).context("xtask/src/codegen/sets.txt")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harvested_values_are_those_of_the_installed_headers() {
        let root = super::super::root().unwrap();
        let constants = constants::raw_sys(root, "x86_64").unwrap();
        let names = missing(&constants).unwrap();
        match harvest::values(&names) {
            Ok(values) => assert_eq!(harvest::render(&values), harvest::COMMITTED),
            Err(error) => eprintln!("SKIPPED: no C compiler with headers here: {error:#}"),
        }
    }
}
