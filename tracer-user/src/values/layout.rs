//! Structures described as data: the names, types and order of their fields.

use tracer_common::syscalls::Set;

use super::{
    node::{Fields, Node, Shown},
    reader::Reader,
    set,
};

/// A field of a structure.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    name: &'static str,
    kind: Kind,
    shown: Shown,
}

/// The type of a field; alignment follows from it.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    U8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    /// A file descriptor.
    Fd,
    /// `long`
    Long,
    /// `unsigned long`
    Ulong,
    /// Hexadecimal.
    X32,
    X64,
    Xlong,
    Pointer,
    /// A pointer in 64 bits, on every ABI: `__aligned_u64`.
    Pointer64,
    Flags16(Set),
    Flags32(Set),
    Flags64(Set),
    FlagsLong(Set),
    Enum16(Set),
    Enum32(Set),
    EnumLong(Set),
    /// Text of so many bytes, up to its zero.
    Text(usize),
    /// Bytes that mean nothing.
    Skip(usize),
    /// A structure inside.
    Inner(&'static [Entry]),
    /// So many numbers, or structures.
    Array(&'static Kind, usize),
    /// What has a function of its own.
    Custom(fn(&mut Reader<'_>) -> Option<Node>),
}

impl Entry {
    /// The field's name.
    pub(super) const fn name(&self) -> &'static str {
        self.name
    }
}

/// A field that is shown.
pub(super) const fn field(name: &'static str, kind: Kind) -> Entry {
    Entry { name, kind, shown: Shown::Always }
}

/// A field that text abridges.
pub(super) const fn abridged(name: &'static str, kind: Kind) -> Entry {
    Entry { name, kind, shown: Shown::Abridged }
}

/// A field that JSON alone has.
pub(super) const fn silent(name: &'static str, kind: Kind) -> Entry {
    Entry { name, kind, shown: Shown::Silent }
}

/// Bytes between fields.
pub(super) const fn skip(bytes: usize) -> Entry {
    Entry { name: "", kind: Kind::Skip(bytes), shown: Shown::Silent }
}

/// Reads a structure; where the memory ends before it, the fields up to there.
pub(super) fn read(layout: &[Entry], reader: &mut Reader<'_>) -> Fields {
    let mut fields = Fields::default();
    for entry in layout {
        match (entry.kind.read(reader), entry.kind) {
            (Some(_), Kind::Skip(_)) => {}
            (Some(node), _) => fields.push_as(entry.name, node, entry.shown),
            (None, _) => {
                fields.cut_after(reader.len());
                break;
            }
        }
    }
    fields
}

impl Kind {
    /// Reads a value, if all of it is there.
    pub(super) fn read(self, reader: &mut Reader<'_>) -> Option<Node> {
        let abi = reader.abi();
        let symbol = |text| Some(Node::Symbol(text));
        match self {
            Self::U8 => reader.u8().map(|value| Node::Unsigned(value.into())),
            Self::U16 => reader.u16().map(|value| Node::Unsigned(value.into())),
            Self::I16 => reader.u16().map(|value| Node::Signed(value.cast_signed().into())),
            Self::U32 => reader.u32().map(|value| Node::Unsigned(value.into())),
            Self::I32 => reader.i32().map(|value| Node::Signed(value.into())),
            Self::Fd => reader.i32().map(Node::Fd),
            Self::U64 => reader.u64().map(Node::Unsigned),
            Self::I64 => reader.u64().map(|value| Node::Signed(value.cast_signed())),
            Self::Long => reader.long().map(Node::Signed),
            Self::Ulong => reader.ulong().map(Node::Unsigned),
            Self::X32 => reader.u32().map(|value| Node::Hex(value.into())),
            Self::X64 => reader.u64().map(Node::Hex),
            Self::Xlong => reader.ulong().map(Node::Hex),
            Self::Pointer => reader.ulong().map(Node::Pointer),
            Self::Pointer64 => reader.aligned_u64().map(Node::Pointer),
            Self::Flags16(set) => symbol(set::flags_text(set, abi, reader.u16()?.into())),
            Self::Flags32(set) => symbol(set::flags_text(set, abi, reader.u32()?.into())),
            Self::Flags64(set) => symbol(set::flags_text(set, abi, reader.u64()?)),
            Self::FlagsLong(set) => symbol(set::flags_text(set, abi, reader.ulong()?)),
            Self::Enum16(set) => symbol(set::value_text(set, abi, reader.u16()?.into())),
            Self::Enum32(set) => symbol(set::value_text(set, abi, reader.u32()?.into())),
            Self::EnumLong(set) => symbol(set::value_text(set, abi, reader.ulong()?)),
            Self::Text(len) => reader.take(len).map(Node::text),
            Self::Skip(len) => reader.take(len).map(|_| Node::More),
            Self::Inner(layout) => inner(layout, reader),
            Self::Array(kind, len) => {
                let items = (0..len).map_while(|_| kind.read(reader)).collect::<Vec<_>>();
                (items.len() == len).then_some(Node::List(items))
            }
            Self::Custom(read) => read(reader),
        }
    }
}

/// A structure inside another; one that is cut short counts as missing only if nothing is there.
fn inner(layout: &[Entry], reader: &mut Reader<'_>) -> Option<Node> {
    if reader.rest().is_empty() {
        return None;
    }
    Some(read(layout, reader).into())
}
