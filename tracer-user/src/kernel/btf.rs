//! Offsets of kernel struct fields and names of tracepoints, read from the running kernel's BTF.
//!
//! The format: <https://docs.kernel.org/bpf/btf.html>. Total: damaged bytes give an error.

use std::collections::HashMap;

/// Where the kernel shows the types it was built with.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_TYPEDEF: u32 = 8;
const KIND_FUNC: u32 = 12;

/// Why a field could not be found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BtfError {
    /// The bytes are not BTF.
    #[error("kernel BTF is damaged at byte {at}")]
    Damaged {
        /// Where reading stopped, in bytes.
        at: usize,
    },
    /// No such struct, or no such field in it.
    #[error("kernel BTF has no field `{path}`")]
    NoField {
        /// `struct.field`.
        path: String,
    },
}

struct Member {
    name: u32,
    type_id: u32,
    bit_offset: u32,
}

/// The structs of a kernel.
pub struct KernelTypes {
    strings: Vec<u8>,
    /// Members by type id; anonymous ones are needed to look inside.
    composites: HashMap<u32, Vec<Member>>,
    by_name: HashMap<String, u32>,
    /// Name offsets.
    typedefs: Vec<u32>,
    /// Name offsets and ids of functions.
    functions: Vec<(u32, u32)>,
}

impl KernelTypes {
    /// Reads BTF.
    pub fn parse(bytes: &[u8]) -> Result<Self, BtfError> {
        let header = Words { bytes, at: 0 };
        if header.u16_at(0)? != MAGIC {
            return Err(BtfError::Damaged { at: 0 });
        }
        let start = header.u32_at(4)? as usize;
        let section = |offset: u32, len: u32| {
            let from = start.checked_add(offset as usize)?;
            bytes.get(from..from.checked_add(len as usize)?)
        };
        let types = section(header.u32_at(8)?, header.u32_at(12)?)
            .ok_or(BtfError::Damaged { at: start })?;
        let strings = section(header.u32_at(16)?, header.u32_at(20)?)
            .ok_or(BtfError::Damaged { at: start })?;
        let mut found = Self {
            strings: strings.to_vec(),
            composites: HashMap::new(),
            by_name: HashMap::new(),
            typedefs: Vec::new(),
            functions: Vec::new(),
        };
        found.read_types(Words { bytes: types, at: 0 })?;
        Ok(found)
    }

    fn read_types(&mut self, mut words: Words<'_>) -> Result<(), BtfError> {
        let mut id = 0;
        while words.at < words.bytes.len() {
            id += 1;
            let name = words.next()?;
            let info = words.next()?;
            words.next()?;
            let kind = info >> 24 & 0x1f;
            let count = info & 0xffff;
            let is_bitfield_encoded = info >> 31 == 1;
            if kind == KIND_TYPEDEF {
                self.typedefs.push(name);
            }
            if kind == KIND_FUNC {
                self.functions.push((name, id));
            }
            if kind != KIND_STRUCT && kind != KIND_UNION {
                words.skip(trailing_words(kind, count))?;
                continue;
            }
            let mut members = Vec::with_capacity(count as usize);
            for _ in 0..count {
                let (name, type_id, offset) = (words.next()?, words.next()?, words.next()?);
                let bit_offset = if is_bitfield_encoded { offset & 0x00ff_ffff } else { offset };
                members.push(Member { name, type_id, bit_offset });
            }
            self.composites.insert(id, members);
            if kind == KIND_STRUCT && name != 0 {
                let name = self.string(name).to_owned();
                self.by_name.entry(name).or_insert(id);
            }
        }
        Ok(())
    }

    fn string(&self, offset: u32) -> &str {
        let tail = self.strings.get(offset as usize..).unwrap_or_default();
        let end = tail.iter().position(|byte| *byte == 0).unwrap_or(tail.len());
        std::str::from_utf8(&tail[..end]).unwrap_or_default()
    }

    /// Whether programs can be attached to a tracepoint: the kernel declares a type for each.
    pub fn has_tracepoint(&self, name: &str) -> bool {
        self.typedefs.iter().any(|offset| {
            self.string(*offset).strip_prefix("btf_trace_").is_some_and(|found| found == name)
        })
    }

    /// The id of a function, by which a program calls it.
    pub fn function(&self, name: &str) -> Option<u32> {
        self.functions.iter().find(|(offset, _)| self.string(*offset) == name).map(|(_, id)| *id)
    }

    /// The id of a struct.
    pub fn struct_id(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// The offset of `field` in `struct owner`, in bytes; fields of anonymous members count as
    /// the struct's own.
    pub fn offset(&self, owner: &str, field: &str) -> Result<u32, BtfError> {
        self.by_name
            .get(owner)
            .and_then(|id| self.member(*id, field, 0))
            .ok_or_else(|| BtfError::NoField { path: format!("{owner}.{field}") })
    }

    fn member(&self, id: u32, field: &str, depth: u32) -> Option<u32> {
        const DEEPEST: u32 = 8;
        if depth > DEEPEST {
            return None;
        }
        self.composites.get(&id)?.iter().find_map(|member| {
            let base = member.bit_offset / 8;
            if member.name == 0 {
                return self.member(member.type_id, field, depth + 1).map(|inner| base + inner);
            }
            (self.string(member.name) == field).then_some(base)
        })
    }
}

/// Words that follow the three common ones of a type.
fn trailing_words(kind: u32, count: u32) -> usize {
    let count = count as usize;
    match kind {
        // INT, VAR, DECL_TAG
        1 | 14 | 17 => 1,
        // ARRAY
        3 => 3,
        // ENUM, FUNC_PROTO
        6 | 13 => count * 2,
        // DATASEC, ENUM64
        15 | 19 => count * 3,
        _ => 0,
    }
}

struct Words<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Words<'_> {
    fn u16_at(&self, at: usize) -> Result<u16, BtfError> {
        let raw = self.bytes.get(at..at + 2).and_then(|raw| raw.try_into().ok());
        raw.map(u16::from_ne_bytes).ok_or(BtfError::Damaged { at })
    }
    fn u32_at(&self, at: usize) -> Result<u32, BtfError> {
        let raw = self.bytes.get(at..at + 4).and_then(|raw| raw.try_into().ok());
        raw.map(u32::from_ne_bytes).ok_or(BtfError::Damaged { at })
    }
    fn next(&mut self) -> Result<u32, BtfError> {
        let word = self.u32_at(self.at)?;
        self.at += 4;
        Ok(word)
    }
    fn skip(&mut self, words: usize) -> Result<(), BtfError> {
        self.at += words * 4;
        if self.at > self.bytes.len() { Err(BtfError::Damaged { at: self.at }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `struct outer { int a; struct { int b; int c; }; }`, and `struct inner` anonymous.
    fn sample() -> Vec<u8> {
        let strings = b"\0outer\0a\0b\0c\0";
        let word = |out: &mut Vec<u8>, value: u32| out.extend(value.to_ne_bytes());
        let mut types = Vec::new();
        for value in [0, 1 << 24, 4, 32] {
            word(&mut types, value);
        }
        for value in [0, 4 << 24 | 2, 8, 9, 1, 0, 11, 1, 32] {
            word(&mut types, value);
        }
        for value in [1, 4 << 24 | 2, 12, 7, 1, 0, 0, 2, 32] {
            word(&mut types, value);
        }
        let mut out = Vec::new();
        out.extend(MAGIC.to_ne_bytes());
        out.extend([1, 0]);
        let types_len = u32::try_from(types.len()).unwrap();
        for value in [24, 0, types_len, types_len, u32::try_from(strings.len()).unwrap()] {
            word(&mut out, value);
        }
        out.extend(types);
        out.extend(strings);
        out
    }

    #[test]
    fn finds_fields_of_anonymous_members() {
        let types = KernelTypes::parse(&sample()).unwrap();
        assert_eq!(types.offset("outer", "a"), Ok(0));
        assert_eq!(types.offset("outer", "c"), Ok(8));
        let missing = BtfError::NoField { path: "outer.z".into() };
        assert_eq!(types.offset("outer", "z"), Err(missing));
    }

    #[test]
    fn reads_this_kernel() {
        let Ok(bytes) = std::fs::read(VMLINUX) else {
            println!("SKIPPED: this kernel shows no BTF at {VMLINUX}");
            return;
        };
        let types = KernelTypes::parse(&bytes).unwrap();
        let pid = types.offset("task_struct", "pid").unwrap();
        assert_eq!(types.offset("task_struct", "tgid"), Ok(pid + 4));
        assert!(types.offset("signal_struct", "live").is_ok());
        assert!(types.has_tracepoint("sys_enter") && !types.has_tracepoint("no_such_one"));
    }

    proptest! {
        #[test]
        fn damage_is_an_error_not_a_panic(at in 0usize..100, value: u8, cut in 0usize..140) {
            let mut bytes = sample();
            let at = at % bytes.len();
            bytes[at] = value;
            bytes.truncate(bytes.len().saturating_sub(cut));
            if let Ok(types) = KernelTypes::parse(&bytes) {
                prop_assert!(types.offset("outer", "no such field").is_err());
            }
        }
    }
}
