//! What stands behind a descriptor, as strace's `-y` and `-yy` write it, and the same as JSON.

use std::io::Write as _;

use tracer_common::file::FileKind;

use crate::{
    escape,
    span_record::{DescriptorFile, SocketFile},
};

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const AF_NETLINK: u16 = 16;

/// Appends what a descriptor leads to, brackets included: `</etc/hostname>`, or why there is no name.
/// Nothing for one that was not open.
pub(super) fn push(out: &mut Vec<u8>, file: &DescriptorFile<'_>) {
    match text(file) {
        Some(name) => {
            out.push(b'<');
            out.extend(name);
            out.push(b'>');
        }
        None if file.kind() == Some(FileKind::Closed) => {}
        None => out.extend(b"(unreadable)"),
    }
    let is_gone = file.is_deleted() || file.kind() == Some(FileKind::Memory);
    if is_gone {
        out.extend(b"(deleted)");
    }
    if file.changed {
        out.extend(b"(changed)");
    }
}

fn text(file: &DescriptorFile<'_>) -> Option<Vec<u8>> {
    let inode = file.inode();
    let mut out = Vec::new();
    match file.kind()? {
        FileKind::Closed => return None,
        FileKind::File => {
            push_name(&mut out, &file.path()?);
            push_special(&mut out, file);
        }
        FileKind::Pipe => push_text(&mut out, format_args!("pipe:[{inode}]")),
        FileKind::Socket => push_socket(&mut out, file),
        FileKind::Anonymous => {
            out.extend(b"anon_inode:");
            push_name(&mut out, file.name()?);
        }
        FileKind::Namespace => {
            push_name(&mut out, file.name().unwrap_or(b"ns"));
            push_text(&mut out, format_args!(":[{inode}]"));
        }
        FileKind::Memory => {
            out.push(b'/');
            push_name(&mut out, file.name()?);
        }
        FileKind::Process => match file.process() {
            Some(pid) => push_text(&mut out, format_args!("pid:{pid}")),
            None => out.extend(b"anon_inode:[pidfd]"),
        },
        FileKind::Other => push_name(&mut out, file.name()?),
    }
    Some(out)
}

/// Appends bytes of a traced program, harmless and without the brackets that stand around names.
fn push_name(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut visible = Vec::with_capacity(bytes.len());
    escape::push_visible(&mut visible, bytes);
    for byte in visible {
        match byte {
            b'<' => out.extend(b"\\x3c"),
            b'>' => out.extend(b"\\x3e"),
            _ => out.push(byte),
        }
    }
}

fn push_special(out: &mut Vec<u8>, file: &DescriptorFile<'_>) {
    const S_IFMT: u16 = 0o170_000;
    const S_IFCHR: u16 = 0o020_000;
    const S_IFBLK: u16 = 0o060_000;
    let kind = match file.mode() & S_IFMT {
        S_IFCHR => "char",
        S_IFBLK => "block",
        _ => return,
    };
    if let Some((major, minor)) = file.special() {
        push_text(out, format_args!("<{kind} {major}:{minor}>"));
    }
}

fn push_socket(out: &mut Vec<u8>, file: &DescriptorFile<'_>) {
    let inode = file.inode();
    let socket = file.socket();
    let known = socket.as_ref().and_then(|it| Some((it, protocol(it)?)));
    let Some((socket, name)) = known else {
        return push_text(out, format_args!("socket:[{inode}]"));
    };
    push_text(out, format_args!("{name}:["));
    match socket.header.family {
        AF_UNIX => {
            push_text(out, format_args!("{inode}"));
            if socket.header.peer_inode != 0 {
                push_text(out, format_args!("->{}", socket.header.peer_inode));
            }
            if let Some(path) = unix_path(socket).filter(|_| !socket.is_peer) {
                out.extend(b",\"");
                out.extend(path);
                out.push(b'"');
            }
        }
        AF_NETLINK => push_text(out, format_args!("{}", socket.header.port_id)),
        _ => match (own(socket), peer(socket)) {
            (Some(own), Some(peer)) => push_text(out, format_args!("{own}->{peer}")),
            (Some(own), None) => push_text(out, format_args!("{own}")),
            (None, Some(peer)) => push_text(out, format_args!("{inode}->{peer}")),
            (None, None) => push_text(out, format_args!("{inode}")),
        },
    }
    out.push(b']');
}

/// The protocol as strace names it: types by socket(2), protocols by in(3).
fn protocol(socket: &SocketFile<'_>) -> Option<String> {
    let header = &socket.header;
    let name = match (header.family, header.kind, header.protocol) {
        (AF_INET | AF_INET6, 1, 6) => "TCP",
        (AF_INET | AF_INET6, 1, 262) => "MPTCP",
        (AF_INET | AF_INET6, 2, 17) => "UDP",
        (AF_INET | AF_INET6, 2, 136) => "UDPLITE",
        (AF_INET | AF_INET6, 1 | 5, 132) => "SCTP",
        (AF_INET | AF_INET6, 3, _) => "RAW",
        (AF_UNIX, 1, _) => "UNIX-STREAM",
        (AF_UNIX, 2, _) => "UNIX-DGRAM",
        (AF_UNIX, 5, _) => "UNIX-SEQPACKET",
        (AF_NETLINK, ..) => "NETLINK",
        _ => return None,
    };
    let version = if header.family == AF_INET6 { "v6" } else { "" };
    Some(format!("{name}{version}"))
}

/// The socket's own address and port; `None` before it has one.
fn own(socket: &SocketFile<'_>) -> Option<String> {
    let header = &socket.header;
    internet(header.family, &header.own_address, header.own_port)
}

/// The other side's; `None` for one that is not connected.
fn peer(socket: &SocketFile<'_>) -> Option<String> {
    let header = &socket.header;
    if header.peer_port == 0 {
        return None;
    }
    internet(header.family, &header.peer_address, header.peer_port)
}

fn internet(family: u16, address: &[u8; 16], port: u16) -> Option<String> {
    let port = u16::from_be(port);
    let is_any = address.iter().all(|byte| *byte == 0);
    if is_any && port == 0 {
        return None;
    }
    match family {
        AF_INET => {
            let octets: [u8; 4] = *address.first_chunk()?;
            Some(format!("{}:{port}", std::net::Ipv4Addr::from(octets)))
        }
        AF_INET6 => Some(format!("[{}]:{port}", std::net::Ipv6Addr::from(*address))),
        _ => None,
    }
}

/// The path of a UNIX socket, or `@` and its name; escaped. `None` for one without an address.
fn unix_path(socket: &SocketFile<'_>) -> Option<Vec<u8>> {
    let path = socket.unix.get(2..).filter(|path| !path.is_empty())?;
    let mut out = Vec::new();
    match path {
        [0, name @ ..] => {
            out.push(b'@');
            push_name(&mut out, name);
        }
        path => push_name(&mut out, path.split(|byte| *byte == 0).next()?),
    }
    Some(out)
}

/// Appends what a descriptor leads to as a JSON object; `docs/output.md` has the members.
pub(super) fn push_json(out: &mut Vec<u8>, file: &DescriptorFile<'_>) {
    let kind = file.kind();
    push_text(out, format_args!("{{\"fd\":{},\"kind\":\"", file.fd));
    out.extend(kind.map_or("other", FileKind::name).bytes());
    out.push(b'"');
    if kind != Some(FileKind::Closed) && file.inode() != 0 {
        let (major, minor) = file.device();
        push_text(out, format_args!(",\"device\":\"{major}:{minor}\",\"inode\":{}", file.inode()));
    }
    let path = file.path();
    let name = match kind {
        Some(FileKind::Anonymous | FileKind::Memory | FileKind::Namespace | FileKind::Other) => {
            file.name()
        }
        _ => None,
    };
    push_bytes(out, "path", path.as_deref());
    push_bytes(out, "name", name);
    if let Some(pid) = file.process() {
        push_text(out, format_args!(",\"pid\":{pid}"));
    }
    if let Some(socket) = file.socket() {
        push_socket_json(out, &socket);
    }
    for (member, is_set) in [
        ("deleted", file.is_deleted()),
        ("outside_root", file.is_outside_root()),
        ("cut", file.is_cut()),
        ("changed", file.changed),
        ("fault", file.is_unreadable()),
    ] {
        if is_set {
            push_text(out, format_args!(",\"{member}\":true"));
        }
    }
    out.push(b'}');
}

fn push_socket_json(out: &mut Vec<u8>, socket: &SocketFile<'_>) {
    let header = &socket.header;
    push_text(out, format_args!(",\"family\":{},\"type\":{}", header.family, header.kind));
    push_text(out, format_args!(",\"protocol_number\":{}", header.protocol));
    if let Some(name) = protocol(socket) {
        push_text(out, format_args!(",\"protocol\":\"{name}\""));
    }
    if let Some(state) = state(socket) {
        push_text(out, format_args!(",\"state\":\"{state}\""));
    }
    if let Some(address) = own(socket) {
        push_text(out, format_args!(",\"local\":\"{address}\""));
    }
    if let Some(address) = peer(socket) {
        push_text(out, format_args!(",\"peer\":\"{address}\""));
    }
    if header.family == AF_UNIX {
        let path = socket.unix.get(2..).filter(|it| !it.is_empty());
        push_bytes(out, if socket.is_peer { "peer_path" } else { "local_path" }, path);
        if header.peer_inode != 0 {
            push_text(out, format_args!(",\"peer_inode\":{}", header.peer_inode));
        }
    }
}

/// The state of a connection by the kernel's name, `enum` in
/// <https://github.com/torvalds/linux/blob/v6.12/include/net/tcp_states.h#L12>; sockets of other
/// protocols than TCP use some of the same numbers.
fn state(socket: &SocketFile<'_>) -> Option<&'static str> {
    const NAMES: [&str; 13] = [
        "ESTABLISHED",
        "SYN_SENT",
        "SYN_RECV",
        "FIN_WAIT1",
        "FIN_WAIT2",
        "TIME_WAIT",
        "CLOSE",
        "CLOSE_WAIT",
        "LAST_ACK",
        "LISTEN",
        "CLOSING",
        "NEW_SYN_RECV",
        "BOUND_INACTIVE",
    ];
    let has_states = matches!(socket.header.family, AF_UNIX | AF_INET | AF_INET6);
    let place = usize::from(socket.header.state).checked_sub(1).filter(|_| has_states)?;
    NAMES.get(place).copied()
}

/// Appends a member with bytes of a traced program, by `crate::escape`.
fn push_bytes(out: &mut Vec<u8>, member: &str, bytes: Option<&[u8]>) {
    let Some(bytes) = bytes else { return };
    push_text(out, format_args!(",\"{member}\":"));
    if escape::push_json(out, bytes) {
        push_text(out, format_args!(",\"{member}_escaped\":true"));
    }
}

/// Writing to memory does not fail.
fn push_text(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "writing to memory");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        span_record::file_capture,
        values::{Context, push_fd, push_files_detail, push_folder},
    };
    use tracer_common::{
        event::{Abi, Phase},
        file::{CURRENT_FOLDER, FileHeader, flag},
        memory::part,
        syscalls::ArgKind,
    };

    /// A file of argument 0 as text and as JSON.
    fn shown(kind: FileKind, flags: u8, fd: i32, components: &[u8]) -> [String; 2] {
        let header = FileHeader { kind: kind as u8, flags, fd, ..FileHeader::default() };
        let fds = &file_capture(part::FILE, Phase::Enter, header, components);
        let args = [0; 6];
        let (abi, name, ret) = (Abi::X86_64, "", 0);
        let context = Context { abi, name, args, ret, at_exit: false, is_cut: false, fds };
        let (mut text, mut json) = (Vec::new(), Vec::new());
        push_fd(&mut text, &context, fd);
        push_files_detail(&mut json, &context, ArgKind::Fd, 0);
        if fd == CURRENT_FOLDER {
            let mut folder = b"AT_FDCWD".to_vec();
            assert!(push_folder(&mut folder, &context, 0));
            assert_eq!(folder, text);
        }
        [text, json].map(|it| String::from_utf8(it).unwrap())
    }

    #[test]
    fn a_descriptor_without_a_name_says_why() {
        let [text, json] = shown(FileKind::Closed, flag::CHANGED, 3, b"");
        assert_eq!(text, "3(changed)");
        assert_eq!(json, r#","file":{"fd":3,"kind":"closed","changed":true}"#);
        let [text, json] = shown(FileKind::File, flag::FAULT, 3, b"a\0");
        assert_eq!(text, "3(unreadable)");
        assert_eq!(json, r#","file":{"fd":3,"kind":"file","fault":true}"#);
        let [text, json] = shown(FileKind::Closed, 0, 3, b"");
        assert_eq!(text, "3");
        assert_eq!(json, r#","file":{"fd":3,"kind":"closed"}"#);
        let [text, _] = shown(FileKind::File, flag::CHANGED, CURRENT_FOLDER, b"me\0home\0");
        assert_eq!(text, "AT_FDCWD</home/me>(changed)");
    }

    #[test]
    fn a_path_that_was_cut_never_looks_whole() {
        for fd in [3, CURRENT_FOLDER] {
            let [text, json] = shown(FileKind::File, flag::CUT, fd, b"y\0x\0");
            assert!(text.ends_with("<.../x/y>"), "{text}");
            assert!(json.contains(r#""path":".../x/y","cut":true"#), "{json}");
        }
        // Nothing of it was read.
        assert_eq!(shown(FileKind::File, flag::CUT, 3, b"")[0], "3<.../>");
        // Whole paths begin with a slash, also those of a file that is called like the mark.
        assert_eq!(shown(FileKind::File, 0, 3, b"y\0...\0")[0], "3</.../y>");
    }
}
