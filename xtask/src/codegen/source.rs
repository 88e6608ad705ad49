//! Parses `syscalls.txt`.

use anyhow::{Context as _, Result, bail, ensure};

use super::{kind, names::Names};

/// Arguments of a syscall, at most.
const MAX_ARGS: usize = 6;
/// String arguments that the kernel side reads, at most.
const MAX_STRINGS: usize = 3;

/// Names in the file and the ABIs they stand for.
const ABIS: [&str; 3] = ["x86_64", "i386", "aarch64"];
/// Names in the file and variants of `Ret`.
const RETS: [(&str, &str); 6] = [
    ("int", "Int"),
    ("narrow", "Narrow"),
    ("fd", "Fd"),
    ("ptr", "Pointer"),
    ("none", "None"),
    ("size", "Size"),
];
/// Names in the file and constants of `Class`.
const CLASSES: [(&str, &str); 18] = [
    ("file", "FILE"),
    ("network", "NETWORK"),
    ("desc", "DESC"),
    ("process", "PROCESS"),
    ("memory", "MEMORY"),
    ("signal", "SIGNAL"),
    ("ipc", "IPC"),
    ("clock", "CLOCK"),
    ("creds", "CREDS"),
    ("pure", "PURE"),
    ("stat", "STAT"),
    ("lstat", "LSTAT"),
    ("fstat", "FSTAT"),
    ("%stat", "STAT_LIKE"),
    ("statfs", "STATFS"),
    ("fstatfs", "FSTATFS"),
    ("%statfs", "STATFS_LIKE"),
    ("uname", "UNAME"),
];

/// An argument.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Argument {
    pub(super) name: String,
    /// Expression of type `ArgKind`.
    pub(super) kind: String,
    /// Bits that the kernel takes, where they are not the kind's.
    pub(super) bits: Option<u8>,
}

/// One line of the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Definition {
    /// The ABI it is for, when not for all that have the call.
    pub(super) abi: Option<&'static str>,
    pub(super) name: String,
    pub(super) args: Vec<Argument>,
    /// Variant of `Ret`.
    pub(super) ret: &'static str,
    /// Constants of `Class`.
    pub(super) classes: Vec<&'static str>,
}

impl Definition {
    /// What the line begins with.
    pub(super) fn display(&self) -> String {
        match self.abi {
            Some(abi) => format!("{abi}:{}", self.name),
            None => self.name.clone(),
        }
    }

    /// The file's order: by name, the plain line first.
    fn key(&self) -> (&str, Option<&str>) {
        (&self.name, self.abi)
    }
}

/// The definitions of the file, in its order.
pub(super) fn parse(text: &str, names: &Names) -> Result<Vec<Definition>> {
    let mut definitions: Vec<Definition> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let definition =
            parse_line(line, names).with_context(|| format!("line {number}: `{line}`"))?;
        if let Some(last) = definitions.last() {
            ensure!(
                last.key() < definition.key(),
                "line {number}: `{}` is out of order or a duplicate",
                definition.display()
            );
        }
        definitions.push(definition);
    }
    Ok(definitions)
}

/// The definition of a call in an ABI: its own, or else the plain one.
pub(super) fn find(definitions: &[Definition], abi: &str, name: &str) -> Option<usize> {
    let at = |abi| definitions.binary_search_by_key(&(name, abi), Definition::key).ok();
    at(Some(abi)).or_else(|| at(None))
}

fn parse_line(line: &str, names: &Names) -> Result<Definition> {
    let (head, rest) = line.split_once('(').context("no `(`")?;
    let (args, tail) = rest.split_once(") -> ").context("no `) -> `")?;
    let (result, classes) = match tail.split_once("  ") {
        Some((result, classes)) => (result, classes.split(',').collect()),
        None => (tail, Vec::new()),
    };
    let (abi, name) = match head.split_once(':') {
        Some((abi, name)) => {
            let known = ABIS.iter().find(|known| **known == abi);
            (Some(*known.with_context(|| format!("unknown abi `{abi}`"))?), name)
        }
        None => (None, head),
    };
    let pairs = args
        .split(", ")
        .filter(|arg| !arg.is_empty())
        .map(|arg| arg.split_once(':').with_context(|| format!("no kind: `{arg}`")))
        .collect::<Result<Vec<_>>>()?;
    let all: Vec<&str> = pairs.iter().map(|(name, _)| *name).collect();
    let args = pairs
        .iter()
        .map(|(name, kind)| {
            let (kind, bits) = width(kind)?;
            let kind = kind::expression(kind, &all, names)?;
            Ok(Argument { name: identifier(name)?, kind, bits })
        })
        .collect::<Result<Vec<_>>>()?;
    ensure!(args.len() <= MAX_ARGS, "more than {MAX_ARGS} arguments");
    let strings = args
        .iter()
        .filter(|arg| matches!(arg.kind.as_str(), "ArgKind::Path" | "ArgKind::Str"))
        .count();
    ensure!(strings <= MAX_STRINGS, "more than {MAX_STRINGS} `path` and `str` arguments");
    let classes =
        classes.into_iter().map(|class| variant(&CLASSES, class)).collect::<Result<Vec<_>>>()?;
    Ok(Definition { abi, name: identifier(name)?, args, ret: variant(&RETS, result)?, classes })
}

/// A kind, and the bits that stand behind it: `hex/32`. Memory that depends on another argument has a
/// slash of its own.
fn width(text: &str) -> Result<(&str, Option<u8>)> {
    if text.contains('?') {
        return Ok((text, None));
    }
    let Some((kind, bits)) = text.split_once('/') else { return Ok((text, None)) };
    match bits {
        "16" => Ok((kind, Some(16))),
        "32" => Ok((kind, Some(32))),
        "64" => Ok((kind, Some(64))),
        _ => bail!("not a number of bits: `{bits}`"),
    }
}

/// The Rust name of a name in the file.
fn variant(table: &[(&str, &'static str)], name: &str) -> Result<&'static str> {
    match table.iter().find(|(known, _)| *known == name) {
        Some((_, variant)) => Ok(variant),
        None => bail!("unknown name `{name}`"),
    }
}

/// The text, if it is a C identifier.
fn identifier(text: &str) -> Result<String> {
    let valid = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    ensure!(valid && !text.is_empty(), "not an identifier: `{text}`");
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names::parse(vec!["open_flags".into()], "").unwrap()
    }

    #[test]
    fn a_line_is_read() {
        let parsed = parse(
            "# comment\n\ni386:f(a:path, b:flags.open_flags/64) -> fd  file,desc\n",
            &names(),
        )
        .unwrap();
        let argument = |name: &str, kind: &str, bits| Argument {
            name: name.to_owned(),
            kind: kind.to_owned(),
            bits,
        };
        let expected = Definition {
            abi: Some("i386"),
            name: "f".to_owned(),
            args: vec![
                argument("a", "ArgKind::Path", None),
                argument("b", "ArgKind::Flags(Set::OpenFlags)", Some(64)),
            ],
            ret: "Fd",
            classes: vec!["FILE", "DESC"],
        };
        assert_eq!(parsed, [expected]);
    }

    #[test]
    fn an_abi_finds_its_own_line_first() {
        let parsed = parse("f() -> int\ni386:f() -> fd\ng() -> int\n", &names()).unwrap();
        assert_eq!(find(&parsed, "i386", "f"), Some(1));
        assert_eq!(find(&parsed, "x86_64", "f"), Some(0));
        assert_eq!(find(&parsed, "i386", "g"), Some(2));
        assert_eq!(find(&parsed, "i386", "h"), None);
    }

    #[test]
    fn bad_lines_are_refused() {
        for (text, expected) in [
            ("f", "no `(`"),
            ("f()", "no `) -> `"),
            ("f() -> what", "unknown name `what`"),
            ("f() -> int  what", "unknown name `what`"),
            ("f(a:what) -> int", "unknown name `what`"),
            ("f(a) -> int", "no kind: `a`"),
            ("f(a:int/12) -> int", "not a number of bits: `12`"),
            ("f(a b:int) -> int", "not an identifier: `a b`"),
            ("mips:f() -> int", "unknown abi `mips`"),
            ("f(a:int, b:int, c:int, d:int, e:int, f:int, g:int) -> int", "more than 6 arguments"),
            ("f(a:path, b:str, c:path, d:str) -> int", "more than 3 `path` and `str` arguments"),
            ("f() -> int\nf() -> int", "line 2: `f` is out of order or a duplicate"),
            ("g() -> int\nf() -> int", "line 2: `f` is out of order or a duplicate"),
        ] {
            let error = parse(text, &names()).unwrap_err();
            assert_eq!(error.root_cause().to_string(), expected, "{text}");
        }
    }
}
