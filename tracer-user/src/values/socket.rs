//! Socket addresses, options and control messages.

use std::net::{Ipv4Addr, Ipv6Addr};

use tracer_common::{event::Abi, syscalls::Set};

use super::{
    Context,
    layout::{self, Entry, Kind, field},
    node::{Fields, Node, Shown, hex_text},
    reader::Reader,
    set, time,
};

/// `struct sock_fprog`, `linux/filter.h`.
pub(super) const PROGRAM: &[Entry] = &[field("len", Kind::U16), field("filter", Kind::Pointer)];

/// Descriptors, messages or hexadecimal bytes that are shown, at most.
const MAX_ITEMS: usize = 64;

/// `{sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("127.0.0.1")}`
pub(super) fn address(bytes: &[u8], abi: Abi) -> Option<Fields> {
    let mut reader = Reader::new(bytes, abi);
    let family = set::value_text(Set::AddressFamilies, abi, reader.u16()?.into());
    let mut fields = Fields::default();
    fields.push("sa_family", Node::Symbol(family.clone()));
    if reader.rest().is_empty() {
        return Some(fields);
    }
    let known = match family.as_str() {
        "AF_UNIX" => unix(&mut fields, &reader),
        "AF_INET" => inet(&mut fields, &mut reader),
        "AF_INET6" => inet6(&mut fields, &mut reader),
        "AF_NETLINK" => netlink(&mut fields, &mut reader),
        "AF_PACKET" => packet(&mut fields, &mut reader),
        "AF_VSOCK" => vsock(&mut fields, &mut reader),
        _ => None,
    };
    if known.is_none() {
        fields.push("sa_data", Node::bytes(bytes.get(2..).unwrap_or_default()));
    }
    Some(fields)
}

/// A path, or behind a zero byte a name that is none.
fn unix(fields: &mut Fields, reader: &Reader<'_>) -> Option<()> {
    const LONGEST: usize = 108;
    let path = reader.rest().get(..reader.rest().len().min(LONGEST))?;
    let node = match path {
        [0, name @ ..] => Node::Text { bytes: name.to_vec(), cut: false, before: "@" },
        path => {
            let end = path.iter().position(|byte| *byte == 0).unwrap_or(path.len());
            Node::bytes(path.get(..end)?)
        }
    };
    fields.push("sun_path", node);
    Some(())
}

fn port(reader: &mut Reader<'_>) -> Option<Node> {
    Some(Node::Call("htons", vec![Node::Unsigned(reader.u16()?.swap_bytes().into())]))
}

fn quoted(text: &str) -> Node {
    Node::bytes(text.as_bytes())
}

fn ipv4(reader: &mut Reader<'_>) -> Option<Node> {
    let octets: [u8; 4] = reader.take(4)?.try_into().ok()?;
    Some(Node::Call("inet_addr", vec![quoted(&Ipv4Addr::from(octets).to_string())]))
}

fn inet(fields: &mut Fields, reader: &mut Reader<'_>) -> Option<()> {
    let mut ahead = reader.clone();
    // Shorter is no address.
    ahead.take(14)?;
    fields.push("sin_port", port(reader)?);
    fields.push("sin_addr", ipv4(reader)?);
    Some(())
}

fn inet6(fields: &mut Fields, reader: &mut Reader<'_>) -> Option<()> {
    let mut ahead = reader.clone();
    ahead.take(22)?;
    fields.push("sin6_port", port(reader)?);
    let flow = reader.u32()?.swap_bytes();
    fields.push("sin6_flowinfo", Node::Call("htonl", vec![Node::Unsigned(flow.into())]));
    let octets: [u8; 16] = reader.take(16)?.try_into().ok()?;
    let address = Ipv6Addr::from(octets);
    let text = quoted(&address.to_string());
    let family = Node::Symbol("AF_INET6".to_owned());
    let name = Node::Symbol("&sin6_addr".to_owned());
    fields.push_as(
        "inet_pton",
        Node::Call("inet_pton", vec![family, text.clone(), name]),
        Shown::Text,
    );
    fields.push_as("sin6_addr", text, Shown::Silent);
    if let Some(scope) = reader.u32() {
        let is_local = matches!(octets, [0xfe, 0x80..=0xbf, ..])
            || matches!(octets, [0xff, second, ..] if second & 0xf == 2);
        fields.push(
            "sin6_scope_id",
            if is_local { interface(scope) } else { Node::Unsigned(scope.into()) },
        );
    }
    Some(())
}

/// An interface by its number: its name now may not be the one it had then.
fn interface(index: u32) -> Node {
    Node::Unsigned(index.into())
}

fn netlink(fields: &mut Fields, reader: &mut Reader<'_>) -> Option<()> {
    reader.u16()?;
    fields.push("nl_pid", Node::Signed(reader.i32()?.into()));
    fields.push("nl_groups", Node::Padded(reader.u32()?.into(), 8));
    Some(())
}

fn packet(fields: &mut Fields, reader: &mut Reader<'_>) -> Option<()> {
    let abi = reader.abi();
    let mut ahead = reader.clone();
    ahead.take(10)?;
    let protocol = reader.u16()?.swap_bytes();
    let protocol = set::value_text(Set::EthernetProtocols, abi, protocol.into());
    fields.push("sll_protocol", Node::Call("htons", vec![Node::Symbol(protocol)]));
    fields.push("sll_ifindex", interface(reader.u32()?));
    let hardware = reader.u16()?;
    fields
        .push("sll_hatype", Node::Symbol(set::value_text(Set::ArpHardware, abi, hardware.into())));
    let kind = reader.u8()?;
    fields.push("sll_pkttype", Node::Symbol(set::value_text(Set::PacketTypes, abi, kind.into())));
    let len = reader.u8()?;
    fields.push("sll_halen", Node::Unsigned(len.into()));
    if len != 0 {
        let bytes = reader.take_up_to(len.into());
        let mut items: Vec<Node> = bytes.iter().map(|byte| Node::Hex((*byte).into())).collect();
        if bytes.len() < usize::from(len) {
            items.push(Node::More);
        }
        fields.push("sll_addr", Node::List(items));
    }
    Some(())
}

fn vsock(fields: &mut Fields, reader: &mut Reader<'_>) -> Option<()> {
    let mut ahead = reader.clone();
    ahead.take(10)?;
    reader.u16()?;
    fields.push("svm_port", Node::Hex(reader.u32()?.into()));
    let cid = reader.u32()?;
    let name = set::name(Set::VsockCids, reader.abi(), cid.into());
    fields
        .push("svm_cid", name.map_or(Node::Hex(cid.into()), |name| Node::Symbol(name.to_owned())));
    Some(())
}

/// Options of sockets that are more than an `int`, by the beginnings of their names.
const NOT_NUMBERS: [&str; 17] = [
    "SO_ATTACH_",
    "SO_GET_FILTER",
    "SO_BINDTO",
    "SO_PEER",
    "SO_RCVTIMEO",
    "SO_SNDTIMEO",
    "SO_COOKIE",
    "SO_MEMINFO",
    "SO_TXTIME",
    "SO_NETNS",
    "SO_MAX_PACING",
    "SO_BPF",
    "SO_DOMAIN",
    "SO_PROTOCOL",
    "SO_TYPE",
    "SO_SECURITY",
    "SO_ERROR",
];

/// The value of an option of `setsockopt` and `getsockopt`: level and name are arguments.
pub(super) fn option(bytes: &[u8], context: &Context<'_>) -> Option<Node> {
    let [_, level, name, ..] = context.args;
    let level = set::name(Set::SocketLevels, context.abi, level & 0xffff_ffff).unwrap_or_default();
    let mut reader = Reader::new(bytes, context.abi);
    if level == "SOL_SOCKET" {
        match (super::combined::socket_option(context, name), bytes.len()) {
            (Some("SO_LINGER"), 8..) => {
                let mut fields = Fields::default();
                fields.push("l_onoff", Node::Signed(reader.i32()?.into()));
                fields.push("l_linger", Node::Signed(reader.i32()?.into()));
                return Some(fields.into());
            }
            (Some("SO_ATTACH_FILTER" | "SO_ATTACH_REUSEPORT_CBPF"), len)
                if len >= reader.word() * 2 =>
            {
                return Some(layout::read(PROGRAM, &mut reader).into());
            }
            // The length of a filter that is got is a number of instructions, not of bytes.
            (
                Some(
                    "SO_LINGER" | "SO_ATTACH_FILTER" | "SO_ATTACH_REUSEPORT_CBPF" | "SO_GET_FILTER",
                ),
                _,
            ) => return None,
            (Some("SO_RCVTIMEO_OLD" | "SO_SNDTIMEO_OLD"), len) if len >= reader.word() * 2 => {
                return Some(layout::read(time::TIMEVAL, &mut reader).into());
            }
            (Some("SO_RCVTIMEO_NEW" | "SO_SNDTIMEO_NEW"), 16..) => {
                return Some(layout::read(time::TIMEVAL64, &mut reader).into());
            }
            (Some("SO_PEERCRED"), 12..) if context.at_exit => {
                return credentials(&mut reader).map(Node::Fields);
            }
            (Some(name), 5..) if !NOT_NUMBERS.iter().any(|start| name.starts_with(start)) => {
                return Some(Node::List(vec![Node::Signed(reader.i32()?.into())]));
            }
            (Some("SO_ERROR"), 4..) if context.at_exit => {
                return Some(Node::List(vec![error(reader.i32()?)]));
            }
            _ => {}
        }
    }
    if bytes.len() == 4 || (level == "SOL_NETLINK" && bytes.len() > 4) {
        return Some(Node::List(vec![Node::Signed(reader.i32()?.into())]));
    }
    let node = Node::bytes(bytes);
    Some(if context.is_cut { node.cut(bytes.len()) } else { node })
}

/// The name of an error number; 0 is none.
fn error(number: i32) -> Node {
    match tracer_common::errno::name(number.unsigned_abs()) {
        Some(name) => Node::Symbol(name.to_owned()),
        None => Node::Signed(number.into()),
    }
}

fn credentials(reader: &mut Reader<'_>) -> Option<Fields> {
    let mut fields = Fields::default();
    fields.push("pid", Node::Signed(reader.i32()?.into()));
    fields.push("uid", Node::id(reader.u32()?));
    fields.push("gid", Node::id(reader.u32()?));
    Some(fields)
}

/// Control messages, one after the other: `[{cmsg_len=20, cmsg_level=SOL_SOCKET, …}]`.
pub(super) fn control(bytes: &[u8], abi: Abi) -> Node {
    let mut items = Vec::new();
    let mut rest = bytes;
    let word = Reader::new(bytes, abi).word();
    let header = word + 8;
    while rest.len() >= header && items.len() < MAX_ITEMS {
        let mut reader = Reader::new(rest, abi);
        let Some((fields, len)) = message(&mut reader, header) else { break };
        items.push(fields.into());
        // The lengths are the program's: one that is too small would never end.
        let step = usize::try_from(len).unwrap_or(usize::MAX).max(header);
        let step = step.checked_next_multiple_of(word).unwrap_or(usize::MAX);
        rest = rest.get(step..).unwrap_or_default();
    }
    if !rest.is_empty() {
        items.push(Node::More);
    }
    Node::List(items)
}

fn message(reader: &mut Reader<'_>, header: usize) -> Option<(Fields, u64)> {
    let abi = reader.abi();
    let (len, level, kind) = (reader.ulong()?, reader.i32()?, reader.i32()?);
    let level_name = set::value_text(Set::SocketLevels, abi, level.cast_unsigned().into());
    let mut fields = Fields::default();
    fields.push("cmsg_len", Node::Unsigned(len));
    fields.push("cmsg_level", Node::Symbol(level_name.clone()));
    let wanted = usize::try_from(len).unwrap_or(usize::MAX).saturating_sub(header);
    let data = reader.take_up_to(wanted);
    let (name, value) = match level_name.as_str() {
        "SOL_SOCKET" => socket_message(kind, data, abi),
        _ => (Node::Hex(kind.cast_unsigned().into()), None),
    };
    fields.push("cmsg_type", name);
    match value {
        Some(value) => fields.push("cmsg_data", value),
        None if data.is_empty() => {}
        None => fields.push_as("cmsg_data", hex_text(data), Shown::Silent),
    }
    if data.len() < wanted {
        fields.cut_after(reader.len());
    }
    Some((fields, len))
}

/// Type and value of a message of the level `SOL_SOCKET`.
fn socket_message(kind: i32, data: &[u8], abi: Abi) -> (Node, Option<Node>) {
    // Times have the numbers of the options that ask for them.
    let name = set::name(Set::ScmTypes, abi, kind.cast_unsigned().into());
    let mut reader = Reader::new(data, abi);
    let value = match name {
        Some("SCM_RIGHTS") => Some(Node::List(
            std::iter::from_fn(|| reader.i32().map(Node::Fd)).take(MAX_ITEMS).collect(),
        )),
        Some("SCM_CREDENTIALS") => credentials(&mut reader).map(Node::Fields),
        Some("SO_TIMESTAMP_OLD") => Some(layout::read(time::TIMEVAL, &mut reader).into()),
        Some("SO_TIMESTAMPNS_OLD") => Some(layout::read(time::TIMESPEC, &mut reader).into()),
        _ => None,
    };
    let text = set::value_text(Set::ScmTypes, abi, kind.cast_unsigned().into());
    (Node::Symbol(text), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(abi: Abi, name: u64, at_exit: bool, words: &[u64]) -> String {
        let args = [3, 1, name, 0, 0, 0];
        let context =
            Context { abi, name: "setsockopt", args, ret: 0, at_exit, is_cut: false, fds: &[] };
        let bytes: Vec<u8> = words
            .iter()
            .flat_map(|word| match abi {
                Abi::I386 => word.to_le_bytes()[..4].to_vec(),
                _ => word.to_le_bytes().to_vec(),
            })
            .collect();
        let mut out = Vec::new();
        option(&bytes, &context).unwrap().push_text(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn options_that_are_structures() {
        let timeout = "{tv_sec=5, tv_usec=7}";
        for abi in [Abi::X86_64, Abi::I386, Abi::Aarch64] {
            // SO_RCVTIMEO_OLD, SO_SNDTIMEO_OLD, SO_ATTACH_FILTER
            assert_eq!(text(abi, 20, false, &[5, 7]), timeout);
            assert_eq!(text(abi, 21, true, &[5, 7]), timeout);
            assert_eq!(text(abi, 26, false, &[3, 0x1000]), "{len=3, filter=0x1000}");
        }
        // SO_SNDTIMEO_NEW, of 64 bits everywhere; SO_PEERCRED; SO_LINGER.
        assert_eq!(text(Abi::I386, 67, false, &[5, 0, 7, 0]), timeout);
        assert_eq!(text(Abi::I386, 17, true, &[9, 0, 0xffff_ffff]), "{pid=9, uid=0, gid=-1}");
        assert_eq!(text(Abi::I386, 13, false, &[1, 30]), "{l_onoff=1, l_linger=30}");
        // Too short for a time.
        assert_eq!(
            text(Abi::X86_64, 20, false, &[0x41]),
            "\"A\\x00\\x00\\x00\\x00\\x00\\x00\\x00\""
        );
    }
}
