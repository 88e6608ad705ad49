//! What a descriptor is called: a path, a kernel object, a socket with its addresses.

use std::fmt::Write as _;

use crate::escape;

/// How much is said, as strace's `-y` and `-yy`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// Paths, and the kernel's names of what has none: `-y`.
    #[default]
    Paths,
    /// Protocols and addresses of sockets, numbers of devices and processes too: `-yy`.
    Protocols,
}

/// What a descriptor is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    text: Box<str>,
    /// Where relative paths begin.
    path: Option<Box<[u8]>>,
    socket: Option<Socket>,
}

/// A device: whether it transfers characters, and its number's halves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Device {
    pub(super) is_char: bool,
    pub(super) major: u64,
    pub(super) minor: u64,
}

impl Name {
    /// A file, by its absolute path.
    pub(super) fn path(path: &[u8], device: Option<Device>) -> Self {
        let (path, deleted) = match path.strip_suffix(b" (deleted)") {
            Some(path) => (path, "(deleted)"),
            None => (path, ""),
        };
        let mut text = format!("<{}", escaped(path));
        if let Some(Device { is_char, major, minor }) = device {
            let kind = if is_char { "char" } else { "block" };
            push(&mut text, format_args!("<{kind} {major}:{minor}>"));
        }
        push(&mut text, format_args!(">{deleted}"));
        Self { text: text.into(), path: Some(path.into()), socket: None }
    }

    /// What has no path, as the kernel calls it: `pipe:[5]`, `anon_inode:[eventpoll]`.
    pub(super) fn object(name: &str) -> Self {
        Self { text: format!("<{}>", escaped(name.as_bytes())).into(), path: None, socket: None }
    }

    /// A socket.
    pub(super) fn socket(socket: Socket, detail: Detail) -> Self {
        Self { text: socket.text(detail).into(), path: None, socket: Some(socket) }
    }

    /// What stands behind the descriptor, brackets included.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The path, if it has one.
    pub(super) fn as_path(&self) -> Option<&[u8]> {
        self.path.as_deref()
    }

    /// The socket, if it is one.
    pub(super) fn as_socket(&self) -> Option<&Socket> {
        self.socket.as_ref()
    }
}

/// Bytes of a traced program, harmless and without the brackets that stand around names.
fn escaped(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len());
    escape::push_visible(&mut out, bytes);
    String::from_utf8_lossy(&out).replace('<', "\\x3c").replace('>', "\\x3e")
}

/// What is known of a socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) family: u64,
    pub(super) kind: u64,
    pub(super) protocol: u64,
    /// The number of its inode, where /proc has told it in time.
    pub(super) inode: Option<u64>,
    /// Its own address, if it has one that is known.
    pub(super) own: Option<Box<str>>,
    /// The other side's.
    pub(super) peer: Option<Box<str>>,
}

const AF_UNIX: u64 = 1;
const AF_INET: u64 = 2;
const AF_INET6: u64 = 10;

impl Socket {
    /// The protocol as strace names it.
    fn protocol_name(&self) -> Option<String> {
        // socket(2): types without their flags; in(3): protocols.
        let kind = self.kind & 0xf;
        let name = match (self.family, kind, self.protocol) {
            (AF_INET | AF_INET6, 1, 0 | 6) => "TCP",
            (AF_INET | AF_INET6, 2, 0 | 17) => "UDP",
            (AF_INET | AF_INET6, 2, 136) => "UDPLITE",
            (AF_INET | AF_INET6, 1 | 5, 132) => "SCTP",
            (AF_UNIX, 1, _) => "UNIX-STREAM",
            (AF_UNIX, 2, _) => "UNIX-DGRAM",
            (AF_UNIX, 5, _) => "UNIX-SEQPACKET",
            _ => return None,
        };
        let version = if self.family == AF_INET6 { "v6" } else { "" };
        Some(format!("{name}{version}"))
    }

    fn text(&self, detail: Detail) -> String {
        let inode = self.inode.map_or_else(|| "?".to_owned(), |inode| inode.to_string());
        let name = self.protocol_name().filter(|_| detail == Detail::Protocols);
        let Some(name) = name else { return format!("<socket:[{inode}]>") };
        let own = self.own.as_deref();
        match (self.family, own, self.peer.as_deref()) {
            (AF_UNIX, Some(own), _) => format!("<{name}:[{inode},{own}]>"),
            (AF_UNIX, None, _) | (_, None, None) => format!("<{name}:[{inode}]>"),
            (_, own, Some(peer)) => format!("<{name}:[{}->{peer}]>", own.unwrap_or("?")),
            (_, Some(own), None) => format!("<{name}:[{own}]>"),
        }
    }
}

/// The text of a socket's address, `127.0.0.1:80`, `[::1]:80` or `"/run/socket"`.
pub(super) fn address(bytes: &[u8]) -> Option<Box<str>> {
    let family = u64::from(u16::from_ne_bytes(*bytes.first_chunk()?));
    let port = || bytes.get(2..4)?.try_into().ok().map(u16::from_be_bytes);
    let text = match family {
        AF_INET => {
            let octets: [u8; 4] = bytes.get(4..8)?.try_into().ok()?;
            format!("{}:{}", std::net::Ipv4Addr::from(octets), port()?)
        }
        AF_INET6 => {
            let octets: [u8; 16] = bytes.get(8..24)?.try_into().ok()?;
            format!("[{}]:{}", std::net::Ipv6Addr::from(octets), port()?)
        }
        AF_UNIX => {
            let path = bytes.get(2..).filter(|path| !path.is_empty())?;
            match path {
                [0, name @ ..] => format!("\"@{}\"", escaped(name)),
                path => {
                    let end = path.iter().position(|byte| *byte == 0).unwrap_or(path.len());
                    format!("\"{}\"", escaped(path.get(..end)?))
                }
            }
        }
        _ => return None,
    };
    Some(text.into())
}

/// Whether an address stands for any, so that a connection has another one.
pub(super) fn is_any(address: &str) -> bool {
    address.starts_with("0.0.0.0:") || address.starts_with("[::]:") || address.ends_with(":0")
}

/// Writing to a `String` does not fail.
fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "writing to a String");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_strace_s() {
        assert_eq!(Name::path(b"/etc/a<b>\n", None).text(), "</etc/a\\x3cb\\x3e\\n>");
        let null = Device { is_char: true, major: 1, minor: 3 };
        assert_eq!(Name::path(b"/dev/null", Some(null)).text(), "</dev/null<char 1:3>>");
        let gone = Name::path(b"/tmp/x (deleted)", None);
        assert_eq!((gone.text(), gone.as_path()), ("</tmp/x>(deleted)", Some(&b"/tmp/x"[..])));
        assert_eq!(Name::object("pipe:[5]").text(), "<pipe:[5]>");
    }

    #[test]
    fn sockets_say_as_much_as_is_asked_for() {
        let mut socket = Socket { family: 2, kind: 1, inode: Some(9), ..Socket::default() };
        assert_eq!(socket.text(Detail::Paths), "<socket:[9]>");
        assert_eq!(socket.text(Detail::Protocols), "<TCP:[9]>");
        socket.peer = address(b"\x02\0\x00\x50\x7f\0\0\x01\0\0\0\0\0\0\0\0");
        assert_eq!(socket.text(Detail::Protocols), "<TCP:[?->127.0.0.1:80]>");
        socket.own = address(b"\x02\0\x86\x76\x7f\0\0\x01\0\0\0\0\0\0\0\0");
        assert_eq!(socket.text(Detail::Protocols), "<TCP:[127.0.0.1:34422->127.0.0.1:80]>");
        let six = [&[10, 0, 0, 80, 0, 0, 0, 0], &[0; 15][..], &[1, 0, 0, 0, 0]].concat();
        assert_eq!(address(&six).as_deref(), Some("[::1]:80"));
        let socket = Socket { family: 1, kind: 2, own: address(b"\x01\0\0a"), ..socket };
        assert_eq!(socket.text(Detail::Protocols), "<UNIX-DGRAM:[9,\"@a\"]>");
        assert_eq!((address(b"\x02"), address(b"\x01\0")), (None, None));
    }
}
