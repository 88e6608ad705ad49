//! Entries of directories, as `getdents` returns them.

use tracer_common::syscalls::Set;

use super::{
    Context,
    node::{Fields, Node},
    reader::Reader,
    set,
};

/// Bytes of an entry of `getdents64` before its name: inode, offset, length, type.
const HEAD64: usize = 19;

/// The entries in a buffer: text counts them, as strace does, JSON has each. `bytes` may be fewer
/// than the call has returned.
pub(super) fn entries(bytes: &[u8], context: &Context<'_>, wide: bool) -> Node {
    let mut items = Vec::new();
    let mut rest = bytes;
    while let Some((entry, len)) = entry(&mut Reader::new(rest, context.abi), wide) {
        items.push(entry.into());
        rest = rest.get(len..).unwrap_or_default();
    }
    let returned = usize::try_from(context.ret).unwrap_or_default();
    let more = returned > bytes.len();
    let count = items.len();
    let note = match (more, count) {
        (true, _) => format!("{count} entries or more"),
        (false, _) => format!("{count} entries"),
    };
    if more {
        items.push(Node::More);
    }
    let address = Node::Pointer(context.args[1]);
    let text = Node::Note(Box::new(address), note);
    Node::Either(Box::new(text), Box::new(Node::List(items)))
}

/// `struct linux_dirent64`, or `struct linux_dirent` of the ABI, which has its type in its last
/// byte; getdents(2). With its length.
fn entry(reader: &mut Reader<'_>, wide: bool) -> Option<(Fields, usize)> {
    let abi = reader.abi();
    let head = if wide { HEAD64 } else { reader.word() * 2 + 2 };
    let (inode, offset) = if wide {
        (reader.unaligned_u64()?, reader.unaligned_u64()?)
    } else {
        (reader.ulong()?, reader.ulong()?)
    };
    let len = usize::from(reader.u16()?);
    let kind = if wide { reader.u8()? } else { 0 };
    // The lengths are a traced program's: one that is too small would never end.
    let rest = reader.take(len.checked_sub(head).filter(|rest| *rest > 0)?)?;
    let (kind, name) = match rest {
        [name @ .., kind] if !wide => (*kind, name),
        name => (kind, name),
    };
    let mut fields = Fields::default();
    fields.push("d_ino", Node::Unsigned(inode));
    fields.push("d_off", Node::Unsigned(offset));
    fields.push("d_type", Node::Symbol(set::value_text(Set::DirentTypes, abi, kind.into())));
    fields.push("d_name", Node::text(name));
    Some((fields, len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracer_common::event::Abi;

    fn entry_of(name: &[u8]) -> Vec<u8> {
        let mut bytes = [&5_u64.to_le_bytes()[..], &9_u64.to_le_bytes(), &[0, 0, 4]].concat();
        bytes.extend(name);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        let len = u16::try_from(bytes.len()).unwrap();
        bytes[16..18].copy_from_slice(&len.to_le_bytes());
        bytes
    }

    fn both(bytes: &[u8], ret: usize) -> (String, String) {
        let ret = i64::try_from(ret).unwrap();
        let args = [3, 0xabc, 0, 0, 0, 0];
        let context = Context {
            abi: Abi::X86_64,
            name: "getdents64",
            args,
            ret,
            at_exit: true,
            is_cut: false,
            fds: &[],
        };
        let node = entries(bytes, &context, true);
        let (mut text, mut json) = (Vec::new(), Vec::new());
        node.push_text(&mut text);
        node.push_json(&mut json);
        (String::from_utf8(text).unwrap(), String::from_utf8(json).unwrap())
    }

    #[test]
    fn entries_are_counted() {
        assert_eq!(both(&[], 0), ("0xabc /* 0 entries */".to_owned(), "[]".to_owned()));
        let bytes = [entry_of(b"a"), entry_of(b"a-longer-name")].concat();
        let (text, json) = both(&bytes, bytes.len());
        assert_eq!(text, "0xabc /* 2 entries */");
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json[1]["d_name"], "a-longer-name");
        assert_eq!((&json[0]["d_ino"], &json[0]["d_type"]), (&5.into(), &"DT_DIR".into()));
    }

    #[test]
    fn what_was_not_captured_is_said() {
        let bytes = [entry_of(b"a"), entry_of(b"b")].concat();
        let (text, _) = both(&bytes[..bytes.len() - 3], bytes.len());
        assert_eq!(text, "0xabc /* 1 entries or more */");
        let (text, _) = both(&[0; 64], 64);
        assert_eq!(text, "0xabc /* 0 entries */", "an entry without a length");
    }
}
