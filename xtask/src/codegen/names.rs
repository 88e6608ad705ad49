//! Names of sets of constants and of structures: `sets.txt` and `structs.txt`.

use anyhow::{Context as _, Result, ensure};

use crate::text::push;

/// All names, each list sorted.
#[derive(Debug)]
pub(super) struct Names {
    sets: Vec<String>,
    structs: Vec<(String, [u16; 3])>,
}

impl Names {
    /// Reads the structures, beside the names of the sets.
    pub(super) fn parse(mut sets: Vec<String>, structs: &str) -> Result<Self> {
        sets.sort_unstable();
        let structs = lines(structs)
            .map(|line| parse_struct(line).with_context(|| format!("structs.txt: `{line}`")))
            .collect::<Result<Vec<_>>>()?;
        ensure!(
            structs.is_sorted_by(|a, b| a.0 < b.0),
            "structs.txt is not sorted, or has a name twice"
        );
        Ok(Self { sets, structs })
    }

    pub(super) fn check_set(&self, name: &str) -> Result<()> {
        let known = self.sets.iter().any(|set| set == name);
        ensure!(known, "syscalls.txt uses the set `{name}`, which sets.txt has not");
        Ok(())
    }

    pub(super) fn check_struct(&self, name: &str) -> Result<()> {
        let known = self.structs.iter().any(|(known, _)| known == name);
        ensure!(known, "syscalls.txt uses the structure `{name}`, which structs.txt has not");
        Ok(())
    }

    /// `names.rs` of `tracer-common`, before formatting.
    pub(super) fn source(&self, header: &str) -> String {
        let mut out = format!("{header}use crate::event::Abi;\n\n");
        out.push_str("/// A set of named constants.\n");
        push_enum(&mut out, "Set", self.sets.iter().map(String::as_str));
        out.push_str("\n/// A structure in the memory of a traced program.\n");
        push_enum(&mut out, "Struct", self.structs.iter().map(|(name, _)| name.as_str()));
        let mut sizes = String::new();
        for (_, [x86_64, i386, aarch64]) in &self.structs {
            push(&mut sizes, format_args!("[{x86_64}, {i386}, {aarch64}],"));
        }
        push(
            &mut out,
            format_args!(
                "\nimpl Struct {{
    /// Sizes on x86-64, for 32-bit calls, and on aarch64.
    const SIZES: [[u16; 3]; {}] = [{sizes}];

    /// Size in bytes; where an argument gives the length, the most that is captured.
    pub const fn size(self, abi: Abi) -> u16 {{
        let [x86_64, i386, aarch64] = Self::SIZES[self as usize];
        match abi {{
            Abi::X86_64 | Abi::X32 => x86_64,
            Abi::I386 | Abi::Arm => i386,
            Abi::Aarch64 => aarch64,
        }}
    }}
}}
",
                self.structs.len()
            ),
        );
        out
    }
}

/// `OpenFlags` for `open_flags`.
pub(super) fn variant_name(name: &str) -> String {
    name.split('_')
        .map(|word| {
            let mut chars = word.chars();
            let first = chars.next().map(|c| c.to_ascii_uppercase());
            first.into_iter().chain(chars).collect::<String>()
        })
        .collect()
}

/// Lines that are neither empty nor comments.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()))
}

fn parse_struct(line: &str) -> Result<(String, [u16; 3])> {
    let mut words = line.split(' ');
    let name = words.next().context("no name")?;
    let sizes = words.map(str::parse).collect::<Result<Vec<u16>, _>>()?;
    let sizes = match sizes[..] {
        [size] => [size; 3],
        [x86_64, i386, aarch64] => [x86_64, i386, aarch64],
        _ => anyhow::bail!("neither one size nor three"),
    };
    ensure!(sizes.iter().all(|size| (1..=4096).contains(size)), "a size is not in 1..=4096");
    Ok((name.to_owned(), sizes))
}

fn push_enum<'a>(out: &mut String, title: &str, names: impl Iterator<Item = &'a str> + Clone) {
    let mut variants = String::new();
    let mut all = String::new();
    let mut texts = String::new();
    for name in names.clone() {
        let variant = variant_name(name);
        push(&mut variants, format_args!("/// `{name}`.\n{variant},\n"));
        push(&mut all, format_args!("Self::{variant},"));
        push(&mut texts, format_args!("{name:?},"));
    }
    push(
        out,
        format_args!(
            "#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum {title} {{ {variants} }}

impl {title} {{
    /// All of them, in the order of their names.
    pub const ALL: &[Self] = &[{all}];

    const NAMES: [&'static str; {}] = [{texts}];

    /// The name in `xtask/src/codegen`.
    pub const fn name(self) -> &'static str {{
        Self::NAMES[self as usize]
    }}
}}
",
            names.count()
        ),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_variants() {
        assert_eq!(variant_name("open_flags"), "OpenFlags");
        assert_eq!(variant_name("timespec64_pair"), "Timespec64Pair");
        assert_eq!(variant_name("u64"), "U64");
    }

    #[test]
    fn a_structure_has_one_size_or_three() {
        let names = Names::parse(Vec::new(), "s 8\nt 16 8 16\n").unwrap();
        assert_eq!(names.structs[0], ("s".to_owned(), [8; 3]));
        assert_eq!(names.structs[1], ("t".to_owned(), [16, 8, 16]));
    }

    #[test]
    fn mistakes_are_told() {
        for (structs, expected) in [
            ("a 8\na 8\n", "structs.txt is not sorted, or has a name twice"),
            ("a 8 9\n", "neither one size nor three"),
            ("a 4097\n", "a size is not in 1..=4096"),
        ] {
            let error = Names::parse(Vec::new(), structs).unwrap_err();
            assert_eq!(error.root_cause().to_string(), expected);
        }
    }
}
