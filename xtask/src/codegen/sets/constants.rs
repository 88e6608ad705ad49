//! Values of constants: from the source text of the `linux-raw-sys` crate, which has every
//! architecture's, and from `uapi.txt`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context as _, Result, ensure};

use crate::command;

/// Names and values; those below zero as the 64 bits they are.
pub(super) type Constants = BTreeMap<String, u64>;

/// The crate that has the constants of every architecture.
const CRATE: &str = "linux-raw-sys";
/// Its files; the others have nothing that a set names.
const FILES: [&str; 17] = [
    "general",
    "net",
    "netlink",
    "prctl",
    "ptrace",
    "system",
    "ioctl",
    "io_uring",
    "landlock",
    "loop_device",
    "mempolicy",
    "vm_sockets",
    "if_packet",
    "if_ether",
    "if_tun",
    "if_arp",
    "errno",
];

/// All constants of an architecture.
pub(super) fn read(root: &Path, architecture: &str) -> Result<Constants> {
    let mut constants = raw_sys(root, architecture)?;
    for (name, value) in super::harvest::committed()? {
        constants.entry(name).or_insert(value);
    }
    Ok(constants)
}

/// Those of `linux-raw-sys`.
pub(super) fn raw_sys(root: &Path, architecture: &str) -> Result<Constants> {
    let directory = directory(root)?.join("src").join(architecture);
    let mut constants = Constants::new();
    for file in FILES {
        let path = directory.join(file).with_extension("rs");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}", path.display()))?;
        for (name, value) in parse(&text) {
            constants.entry(name).or_insert(value);
        }
    }
    ensure!(constants.len() > 5000, "{CRATE}: only {} constants", constants.len());
    Ok(constants)
}

/// Where cargo has the crate's source.
fn directory(root: &Path) -> Result<&'static Path> {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    if let Some(directory) = DIRECTORY.get() {
        return Ok(directory);
    }
    let mut cargo = command::cargo()?;
    cargo.args(["metadata", "--format-version", "1", "--locked"]).current_dir(root);
    let output = cargo.output().context("cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", output.status);
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("cargo metadata: no packages")?;
    let manifest = packages
        .iter()
        .filter(|package| package["name"] == CRATE && package["version"] == VERSION)
        .find_map(|package| package["manifest_path"].as_str())
        .with_context(|| format!("cargo metadata: no {CRATE} {VERSION}"))?;
    let directory = Path::new(manifest).parent().context("a manifest without a folder")?;
    Ok(DIRECTORY.get_or_init(|| directory.to_owned()))
}

/// The version that xtask depends on; another may be in the tree because of other crates.
const VERSION: &str = "0.12.1";

/// `pub const NAME: type = number;` and `NAME = number,` of an enum.
fn parse(text: &str) -> impl Iterator<Item = (String, u64)> {
    text.lines().filter_map(|line| {
        let line = line.trim_end_matches([';', ',']);
        let (name, value) = match line.strip_prefix("pub const ") {
            Some(constant) => {
                let (name, rest) = constant.split_once(": ")?;
                (name, rest.split_once(" = ")?.1)
            }
            None => line.split_once(" = ")?,
        };
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let value = value.parse::<i128>().ok().filter(|_| is_name)?;
        let bits = u64::try_from(value).or_else(|_| i64::try_from(value).map(i64::cast_unsigned));
        Some((name.to_owned(), bits.ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_and_variants_are_read() {
        let text = "pub const A: u32 = 5;\npub enum e {\nB = 7,\n}\npub const C: i32 = -100;\n\
                    pub const D: &[u8; 2] = b\"x\";\npub const E: e = e::B;\n";
        let read: Vec<_> = parse(text).collect();
        let pair = |name: &str, value| (name.to_owned(), value);
        assert_eq!(read, [pair("A", 5), pair("B", 7), pair("C", (-100_i64).cast_unsigned())]);
    }

    #[test]
    fn architectures_differ() {
        let root = super::super::super::root().unwrap();
        let of = |architecture, name: &str| read(root, architecture).unwrap()[name];
        assert_eq!(
            (of("x86_64", "O_DIRECTORY"), of("aarch64", "O_DIRECTORY")),
            (0o200_000, 0o40_000)
        );
        assert_eq!((of("x86_64", "F_GETLK"), of("x86", "F_GETLK64")), (5, 12));
    }
}
