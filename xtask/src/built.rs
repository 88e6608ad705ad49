//! What cargo builds for lint, tests and virtual machines: all of it with the same features, those of
//! what tests depend on included, so that every library is built once.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::command;

/// All but the eBPF crate, which needs another compiler. Of one package or without all features,
/// libraries would have fewer features, and be built again.
pub(crate) const SELECTION: [&str; 4] =
    ["--workspace", "--exclude", "tracer-ebpf", "--all-features"];

/// An executable that cargo built.
#[derive(Debug, PartialEq)]
pub(crate) struct Executable {
    /// The file.
    pub(crate) path: PathBuf,
    /// The directory of its package, in which cargo would run a test.
    pub(crate) package: PathBuf,
    /// The name of its target.
    name: String,
    /// `lib`, `bin`, `test` and so on.
    kind: String,
    is_test: bool,
    /// Whether it is built only with some feature.
    is_special: bool,
}

/// Executables, in the order in which cargo told of them.
#[derive(Debug)]
pub(crate) struct Executables(Vec<Executable>);

/// Builds the unoptimized programs, and all tests.
pub(crate) fn all() -> Result<Executables> {
    let mut cargo = command::cargo()?;
    cargo.args(["build", "--locked"]).args(SELECTION);
    // Tests bring the programs that they start.
    cargo.args(["--bin", "tracer-bench", "--tests"]);
    build(&mut cargo)
}

/// Runs a cargo command that builds.
pub(crate) fn build(cargo: &mut std::process::Command) -> Result<Executables> {
    // Diagnostics still go to stderr for people.
    cargo.arg("--message-format=json-render-diagnostics");
    command::show(cargo);
    Ok(Executables::parse(&command::output(cargo)?))
}

impl Executables {
    /// Reads cargo's messages, one JSON object a line.
    fn parse(messages: &str) -> Self {
        let lines = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        Self(lines.filter_map(|message| Executable::parse(&message)).collect())
    }

    /// The program of this name.
    pub(crate) fn program(&self, name: &str) -> Result<&Executable> {
        self.find("bin", name)
    }

    /// The one of this kind (`bin`, `test`, `bench`) and name.
    pub(crate) fn find(&self, kind: &str, name: &str) -> Result<&Executable> {
        let is_it =
            |it: &&Executable| it.name == name && it.kind == kind && (kind != "bin" || !it.is_test);
        self.0.iter().find(is_it).with_context(|| format!("cargo made no {kind} `{name}`"))
    }

    /// Tests that run anywhere: they need no feature.
    pub(crate) fn plain_tests(&self) -> impl Iterator<Item = &Executable> {
        self.0.iter().filter(|it| it.is_test && !it.is_special)
    }
}

impl Executable {
    fn parse(message: &Value) -> Option<Self> {
        let target = &message["target"];
        Some(Self {
            path: message["executable"].as_str()?.into(),
            package: Path::new(message["manifest_path"].as_str()?).parent()?.into(),
            name: target["name"].as_str()?.to_owned(),
            kind: target["kind"].get(0)?.as_str()?.to_owned(),
            is_test: message["profile"]["test"] == true,
            is_special: target["required-features"].is_array(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGES: &str = r#"
{"reason":"compiler-artifact","manifest_path":"/w/t/Cargo.toml","target":{"kind":["lib"],"name":"t"},"profile":{"test":false},"executable":null}
{"reason":"compiler-artifact","manifest_path":"/w/t/Cargo.toml","target":{"kind":["bin"],"name":"p"},"profile":{"test":true},"executable":"/o/p-2"}
{"reason":"compiler-artifact","manifest_path":"/w/t/Cargo.toml","target":{"kind":["bin"],"name":"p"},"profile":{"test":false},"executable":"/o/p"}
{"reason":"compiler-artifact","manifest_path":"/w/t/Cargo.toml","target":{"kind":["test"],"name":"kernel","required-features":["k"]},"profile":{"test":true},"executable":"/o/kernel-1"}
{"reason":"build-finished","success":true}"#;

    #[test]
    fn an_executable_is_found_by_kind_and_name() {
        let all = Executables::parse(MESSAGES);
        let kernel = all.find("test", "kernel").unwrap();
        assert_eq!(kernel.path, Path::new("/o/kernel-1"));
        assert_eq!(kernel.package, Path::new("/w/t"));
        assert_eq!(all.program("p").unwrap().path, Path::new("/o/p"));
        assert_eq!(all.find("test", "t").unwrap_err().to_string(), "cargo made no test `t`");
    }

    #[test]
    fn tests_that_need_a_feature_are_not_plain() {
        let all = Executables::parse(MESSAGES);
        let plain: Vec<_> = all.plain_tests().map(|it| it.path.as_path()).collect();
        assert_eq!(plain, [Path::new("/o/p-2")]);
    }
}
