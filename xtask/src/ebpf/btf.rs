//! The type information of an object, as far as its order is concerned.
//!
//! A type that is reached only through a pointer inside another type becomes a forward
//! declaration. LLVM writes those last, in the order of the addresses of its own nodes
//! (`FixupDerivedTypes` in `BTFDebug.cpp`), which change from run to run: two of them make an
//! object that a rebuild repeats only sometimes.

use anyhow::{Context as _, Result, bail};
use object::{Object as _, ObjectSection as _};

/// `BTF_MAGIC`: <https://docs.kernel.org/bpf/btf.html#btf-type-encoding>.
const MAGIC: u16 = 0xeb9f;
/// `BTF_KIND_FWD`.
const FORWARD: u32 = 7;

/// Fails if the order of the types in an object is left to chance.
pub(super) fn check_order(object: &[u8]) -> Result<()> {
    let file = object::File::parse(object)?;
    let section = file.section_by_name(".BTF").context("no section .BTF")?;
    let forward = forward_declarations(section.data()?).context("unexpected .BTF")?;
    if forward.len() > 1 {
        bail!(
            "the types {} are reached only through pointers in other types, and LLVM orders them \
             by chance: leave one such pointer at most",
            forward.join(", ")
        );
    }
    Ok(())
}

/// The names of the forward declarations; `None` if these are not types in little endian.
fn forward_declarations(btf: &[u8]) -> Option<Vec<&str>> {
    if u16::from_le_bytes(btf.get(..2)?.try_into().ok()?) != MAGIC {
        return None;
    }
    let header = u32_at(btf, 4)?;
    let types = part(btf, header + u32_at(btf, 8)?, u32_at(btf, 12)?)?;
    let names = part(btf, header + u32_at(btf, 16)?, u32_at(btf, 20)?)?;
    let mut found = Vec::new();
    let mut at = 0;
    while at < types.len() {
        let name = usize::try_from(u32_at(types, at)?).ok()?;
        let info = u32_at(types, at + 4)?;
        let kind = info >> 24 & 0x1f;
        if kind == FORWARD {
            let text = names.get(name..)?.split(|&byte| byte == 0).next()?;
            found.push(str::from_utf8(text).ok()?);
        }
        at += 12 + extra(kind, usize::try_from(info & 0xffff).ok()?)?;
    }
    Some(found)
}

/// Bytes that follow the three words each type has; `None` for a kind that is not known.
fn extra(kind: u32, members: usize) -> Option<usize> {
    match kind {
        2 | 7..=12 | 16 | 18 => Some(0),
        1 | 14 | 17 => Some(4),
        3 => Some(12),
        4 | 5 | 15 | 19 => Some(12 * members),
        6 | 13 => Some(8 * members),
        _ => None,
    }
}

fn part(bytes: &[u8], offset: u32, length: u32) -> Option<&[u8]> {
    let offset = usize::try_from(offset).ok()?;
    bytes.get(offset..)?.get(..usize::try_from(length).ok()?)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..)?.get(..4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A section with types of (kind, count of members, what follows) and the names `a` and `b`.
    fn section(types: &[(u32, u32, usize)]) -> Vec<u8> {
        let mut body = Vec::new();
        for (place, &(kind, members, follow)) in types.iter().enumerate() {
            let name = if place == 0 { 1_u32 } else { 3 };
            body.extend([name, kind << 24 | members, 0].map(u32::to_le_bytes).concat());
            body.resize(body.len() + follow, 0);
        }
        let length = u32::try_from(body.len()).unwrap();
        let mut bytes = MAGIC.to_le_bytes().to_vec();
        bytes.extend([1, 0]);
        bytes.extend([24, 0, length, length, 5].map(u32::to_le_bytes).concat());
        bytes.extend(body);
        bytes.extend(b"\0a\0b\0");
        bytes
    }

    #[test]
    fn forward_declarations_are_found_among_others() {
        let bytes = section(&[(4, 2, 24), (FORWARD, 0, 0), (1, 0, 4)]);
        assert_eq!(forward_declarations(&bytes), Some(vec!["b"]));
        let bytes = section(&[(FORWARD, 0, 0), (FORWARD, 0, 0)]);
        assert_eq!(forward_declarations(&bytes), Some(vec!["a", "b"]));
    }

    #[test]
    fn what_is_no_type_information_is_refused() {
        assert_eq!(forward_declarations(b""), None);
        assert_eq!(forward_declarations(&section(&[(31, 0, 0)])), None);
    }
}
