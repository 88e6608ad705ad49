//! Offsets of kernel struct fields and names of tracepoints, read from the running kernel's BTF.
//!
//! The format: <https://docs.kernel.org/bpf/btf.html>. Total: damaged bytes give an error.

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

/// A struct or a union: its id, and where in the types it stands.
struct Composite {
    id: u32,
    at: usize,
}

/// The types of a kernel, of which there are a hundred thousand and more. A start of tracer asks for
/// some dozens: they are looked for when they are asked for, and nothing is made of the others.
pub struct KernelTypes<'a> {
    types: Words<'a>,
    strings: &'a [u8],
    /// In the order of their ids; anonymous ones are needed to look inside.
    composites: Vec<Composite>,
    /// Name offsets.
    typedefs: Vec<u32>,
    /// Name offsets and ids of functions.
    functions: Vec<(u32, u32)>,
}

impl<'a> KernelTypes<'a> {
    /// Reads BTF.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BtfError> {
        let damaged = |at| BtfError::Damaged { at };
        if !bytes.starts_with(&MAGIC.to_ne_bytes()) {
            return Err(damaged(0));
        }
        let header = Words::new(bytes);
        let field = |index: usize| header.get(index).ok_or(damaged(index * 4));
        let start = field(1)? as usize;
        let section = |offset: u32, len: u32| {
            let from = start.checked_add(offset as usize)?;
            bytes.get(from..from.checked_add(len as usize)?)
        };
        let types = section(field(2)?, field(3)?).ok_or(damaged(start))?;
        let strings = section(field(4)?, field(5)?).ok_or(damaged(start))?;
        let mut found = Self {
            types: Words::new(types),
            strings,
            composites: Vec::new(),
            typedefs: Vec::new(),
            functions: Vec::new(),
        };
        found.list()?;
        Ok(found)
    }

    /// Goes through all types once.
    fn list(&mut self) -> Result<(), BtfError> {
        let types = self.types;
        let (mut at, mut id) = (0, 0);
        while at < types.len() {
            id += 1;
            let Head { name, kind, count, .. } =
                types.head(at).ok_or(BtfError::Damaged { at: at * 4 })?;
            match kind {
                KIND_STRUCT | KIND_UNION => self.composites.push(Composite { id, at }),
                KIND_TYPEDEF => self.typedefs.push(name),
                KIND_FUNC => self.functions.push((name, id)),
                _ => {}
            }
            at += HEAD_WORDS + trailing_words(kind, count);
        }
        if at == types.len() { Ok(()) } else { Err(BtfError::Damaged { at: at * 4 }) }
    }

    /// Whether the string at this offset is the name.
    fn is(&self, offset: u32, name: &str) -> bool {
        let rest =
            self.strings.get(offset as usize..).and_then(|it| it.strip_prefix(name.as_bytes()));
        rest.is_some_and(|rest| rest.first() == Some(&0))
    }

    /// Whether programs can be attached to a tracepoint: the kernel declares a type for each.
    pub fn has_tracepoint(&self, name: &str) -> bool {
        let name = format!("btf_trace_{name}");
        self.typedefs.iter().any(|offset| self.is(*offset, &name))
    }

    /// The id of a function, by which a program calls it.
    pub fn function(&self, name: &str) -> Option<u32> {
        self.functions.iter().find(|(offset, _)| self.is(*offset, name)).map(|(_, id)| *id)
    }

    /// The id of a struct.
    pub fn struct_id(&self, name: &str) -> Option<u32> {
        self.structure(name).map(|found| found.id)
    }

    /// The first struct of this name.
    fn structure(&self, name: &str) -> Option<&Composite> {
        self.composites.iter().find(|composite| {
            let head = self.types.head(composite.at);
            head.is_some_and(|head| head.kind == KIND_STRUCT && self.is(head.name, name))
        })
    }

    /// The offset of `field` in `struct owner`, in bytes; fields of anonymous members count as
    /// the struct's own.
    pub fn offset(&self, owner: &str, field: &str) -> Result<u32, BtfError> {
        self.structure(owner)
            .and_then(|found| self.member(found.at, field, 0))
            .ok_or_else(|| BtfError::NoField { path: format!("{owner}.{field}") })
    }

    fn member(&self, at: usize, field: &str, depth: u32) -> Option<u32> {
        const DEEPEST: u32 = 8;
        if depth > DEEPEST {
            return None;
        }
        let head = self.types.head(at)?;
        (0..head.count).find_map(|index| {
            let at = at + HEAD_WORDS + index * MEMBER_WORDS;
            let [name, type_id, offset] = [0, 1, 2].map(|word| self.types.get(at + word));
            let bit_offset = if head.flag { offset? & 0x00ff_ffff } else { offset? };
            let base = bit_offset / 8;
            if name? == 0 {
                let inner = self.member(self.composite(type_id?)?, field, depth + 1);
                return inner.map(|inner| base + inner);
            }
            self.is(name?, field).then_some(base)
        })
    }

    /// Where the struct or the union with this id stands.
    fn composite(&self, id: u32) -> Option<usize> {
        let found = self.composites.binary_search_by_key(&id, |composite| composite.id).ok()?;
        self.composites.get(found).map(|composite| composite.at)
    }
}

/// Words that follow the three common ones of a type.
fn trailing_words(kind: u32, count: usize) -> usize {
    match kind {
        // INT, VAR, DECL_TAG
        1 | 14 | 17 => 1,
        // ARRAY
        3 => 3,
        KIND_STRUCT | KIND_UNION => count * MEMBER_WORDS,
        // ENUM, FUNC_PROTO
        6 | 13 => count * 2,
        // DATASEC, ENUM64
        15 | 19 => count * 3,
        _ => 0,
    }
}

/// Words that all types begin with, and words of a member.
const HEAD_WORDS: usize = 3;
const MEMBER_WORDS: usize = 3;

/// What all types begin with.
struct Head {
    name: u32,
    kind: u32,
    count: usize,
    /// Of a struct or a union: that offsets are those of bit fields.
    flag: bool,
}

/// Words in the order of this machine, wherever they begin.
#[derive(Clone, Copy)]
struct Words<'a>(&'a [[u8; 4]]);

impl<'a> Words<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self(bytes.as_chunks().0)
    }

    fn len(self) -> usize {
        self.0.len()
    }

    fn get(self, at: usize) -> Option<u32> {
        self.0.get(at).map(|bytes| u32::from_ne_bytes(*bytes))
    }

    /// The type that begins here, without its size.
    fn head(self, at: usize) -> Option<Head> {
        if at + HEAD_WORDS > self.0.len() {
            return None;
        }
        let [name, info] = [self.0[at], self.0[at + 1]].map(u32::from_ne_bytes);
        let kind = info >> 24 & 0x1f;
        Some(Head { name, kind, count: (info & 0xffff) as usize, flag: info >> 31 == 1 })
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
        let bytes = sample();
        let types = KernelTypes::parse(&bytes).unwrap();
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
