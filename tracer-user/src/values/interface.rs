//! Network interfaces as `ioctl` asks for them and sets them: `struct ifreq`, netdevice(7).

use tracer_common::syscalls::Set;

use super::{
    layout::{Entry, Kind, field},
    node::{Fields, Node},
    reader::Reader,
    set, socket,
};

/// Bytes of an interface's name, `IFNAMSIZ`.
const NAME: usize = 16;

/// What the commands are about: the end of their names, the field and its type.
const FIELDS: &[(&str, &str, Kind)] = &[
    ("IFADDR", "ifr_addr", Kind::Custom(address)),
    ("IFDSTADDR", "ifr_dstaddr", Kind::Custom(address)),
    ("IFBRDADDR", "ifr_broadaddr", Kind::Custom(address)),
    ("IFNETMASK", "ifr_netmask", Kind::Custom(address)),
    ("IFHWADDR", "ifr_hwaddr", Kind::Custom(hardware)),
    ("IFFLAGS", "ifr_flags", Kind::Flags16(Set::InterfaceFlags)),
    ("IFMETRIC", "ifr_metric", Kind::I32),
    ("IFMTU", "ifr_mtu", Kind::I32),
    ("IFSLAVE", "ifr_slave", Kind::Text(NAME)),
    ("IFTXQLEN", "ifr_qlen", Kind::I32),
    ("IFMAP", "ifr_map", Kind::Inner(MAP)),
    ("IFINDEX", "ifr_ifindex", Kind::I32),
];
const MAP: &[Entry] = &[
    field("mem_start", Kind::Xlong),
    field("mem_end", Kind::Xlong),
    field("base_addr", Kind::Custom(|reader| reader.u16().map(|it| Node::Hex(it.into())))),
    field("irq", Kind::Custom(byte)),
    field("dma", Kind::Custom(byte)),
    field("port", Kind::Custom(byte)),
];

/// Whether it returns what is asked for, `SIOCG…`, and is no argument of another kind.
pub(super) fn is_returned(command: &str) -> bool {
    command == "SIOCGIFNAME" || command.strip_prefix("SIOCG").is_some_and(|it| kind(it).is_some())
}

/// Whether the argument of a command is a `struct ifreq`.
pub(super) fn is_request(command: &str) -> bool {
    let is_set = command.strip_prefix("SIOCS").is_some_and(|it| kind(it).is_some());
    is_set || is_returned(command)
}

fn kind(end: &str) -> Option<(&'static str, Kind)> {
    FIELDS.iter().find(|(known, ..)| *known == end).map(|(_, name, kind)| (*name, *kind))
}

/// The argument of a command; before the call, what is asked for.
pub(super) fn request(reader: &mut Reader<'_>, command: &str, at_exit: bool) -> Option<Node> {
    let name = ("ifr_name", Kind::Text(NAME));
    let index = ("ifr_ifindex", Kind::I32);
    let (first, second) = match command {
        // Both of them stand where they always do: the name in front.
        "SIOCGIFNAME" => (index, name),
        command => {
            let end = command.strip_prefix("SIOCG").or_else(|| command.strip_prefix("SIOCS"))?;
            (name, kind(end)?)
        }
    };
    let is_asked = is_returned(command) && !at_exit;
    let mut fields = Fields::default();
    for (name, kind) in [Some(first), Some(second).filter(|_| !is_asked)].into_iter().flatten() {
        reader.seek(if name == "ifr_name" { 0 } else { NAME });
        let Some(node) = kind.read(reader) else {
            fields.cut_after(reader.len());
            break;
        };
        fields.push(name, node);
    }
    Some(fields.into())
}

fn byte(reader: &mut Reader<'_>) -> Option<Node> {
    reader.u8().map(|value| Node::Hex(value.into()))
}

fn address(reader: &mut Reader<'_>) -> Option<Node> {
    let abi = reader.abi();
    socket::address(reader.take(16)?, abi).map(Node::Fields)
}

/// The type of the hardware in place of the family, and its address.
fn hardware(reader: &mut Reader<'_>) -> Option<Node> {
    // if_arp.h: how long the address is follows from the type; unknown ones have all there is.
    const LENGTHS: [(u16, usize); 3] = [(0, 7), (1, 6), (772, 6)];
    const ROOM: usize = 14;
    let kind = reader.u16()?;
    let known = LENGTHS.iter().find(|(known, _)| *known == kind).map(|(_, len)| *len);
    let octets = reader.take(known.unwrap_or(ROOM))?;
    let text: Vec<String> = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    let mut fields = Fields::default();
    let kind = set::value_text(Set::ArpHardware, reader.abi(), kind.into());
    fields.push("sa_family", Node::Symbol(kind));
    fields.push("sa_data", Node::Symbol(text.join(":")));
    Some(fields.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracer_common::event::Abi;

    fn text(command: &str, at_exit: bool, bytes: &[u8]) -> String {
        let mut out = Vec::new();
        let mut reader = Reader::new(bytes, Abi::X86_64);
        request(&mut reader, command, at_exit).unwrap().push_text(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn requests_are_shown_as_far_as_they_are_known() {
        let mut bytes = [0; 40];
        bytes[..2].copy_from_slice(b"lo");
        bytes[16..18].copy_from_slice(&[0x49, 0]);
        assert_eq!(text("SIOCGIFFLAGS", false, &bytes), r#"{ifr_name="lo"}"#);
        let flags = r#"{ifr_name="lo", ifr_flags=IFF_UP|IFF_LOOPBACK|IFF_RUNNING}"#;
        assert_eq!(text("SIOCGIFFLAGS", true, &bytes), flags);
        assert_eq!(text("SIOCSIFFLAGS", false, &bytes), flags);
        bytes[16] = 1;
        assert_eq!(text("SIOCGIFNAME", true, &bytes), r#"{ifr_ifindex=1, ifr_name="lo"}"#);
        assert!(text("SIOCGIFMTU", true, &bytes[..18]).contains("cut after 18 bytes"));
    }
}
