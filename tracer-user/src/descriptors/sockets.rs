//! Sockets as the tables of /proc/PID/net have them: `proc_pid_net(5)`.

use std::{
    fs,
    net::{Ipv4Addr, Ipv6Addr},
};

use super::name::{Socket, is_any};

/// Largest table that is read, in bytes: a host with more connections would be kept busy by it.
const LARGEST: u64 = 4 << 20;

/// Tables with the family, type and protocol of their sockets.
const TABLES: [(&str, u64, u64, u64); 4] =
    [("tcp", 2, 1, 6), ("tcp6", 10, 1, 6), ("udp", 2, 2, 17), ("udp6", 10, 2, 17)];

/// The socket with that inode, seen from the network of a process.
pub(super) fn find(pid: u32, inode: u64) -> Option<Socket> {
    // Those whose owner is gone have none.
    if inode == 0 {
        return None;
    }
    let internet = TABLES.iter().find_map(|(table, family, kind, protocol)| {
        let text = read(&format!("/proc/{pid}/net/{table}"))?;
        let socket =
            Socket { family: *family, kind: *kind, protocol: *protocol, ..Socket::default() };
        text.lines().skip(1).find_map(|line| internet(line, inode, &socket))
    });
    internet.or_else(|| {
        let text = read(&format!("/proc/{pid}/net/unix"))?;
        text.lines().skip(1).find_map(|line| unix(line, inode))
    })
}

fn read(path: &str) -> Option<String> {
    use std::io::Read as _;
    let mut text = String::new();
    fs::File::open(path).ok()?.take(LARGEST).read_to_string(&mut text).ok()?;
    Some(text)
}

/// `0: 0100007F:1F90 00000000:0000 0A … inode …`
fn internet(line: &str, inode: u64, socket: &Socket) -> Option<Socket> {
    let mut fields = line.split_ascii_whitespace();
    let (own, peer) = (fields.nth(1)?, fields.next()?);
    // State, queues, timer, retransmits, user and timeout stand between.
    if fields.nth(6)?.parse::<u64>().ok()? != inode {
        return None;
    }
    let known = |text: &str| address(text).filter(|it| !it.ends_with(":0"));
    let peer = known(peer).filter(|it| !is_any(it)).map(Into::into);
    Some(Socket { inode: Some(inode), own: known(own).map(Into::into), peer, ..socket.clone() })
}

/// An address in hexadecimal, by words as the machine has them.
fn address(text: &str) -> Option<String> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words: Option<Vec<[u8; 4]>> = (0..address.len())
        .step_by(8)
        .map(|at| u32::from_str_radix(address.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes))
        .collect();
    match words?.as_slice() {
        [word] => Some(format!("{}:{port}", Ipv4Addr::from(*word))),
        words => {
            let octets: [u8; 16] = words.concat().try_into().ok()?;
            Some(format!("[{}]:{port}", Ipv6Addr::from(octets)))
        }
    }
}

/// `ffff…: 00000002 00000000 00010000 0001 01 12345 /run/socket`
fn unix(line: &str, inode: u64) -> Option<Socket> {
    let mut fields = line.split_ascii_whitespace();
    let kind = u64::from_str_radix(fields.nth(4)?, 16).ok()?;
    if fields.nth(1)?.parse::<u64>().ok()? != inode {
        return None;
    }
    let path = fields.next().map(|path| {
        let mut out = Vec::new();
        crate::escape::push_quoted(&mut out, path.as_bytes());
        String::from_utf8_lossy(&out).replace('<', "\\x3c").replace('>', "\\x3e").into()
    });
    Some(Socket { family: 1, kind, inode: Some(inode), own: path, ..Socket::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        net::{TcpListener, TcpStream},
        os::{fd::AsFd, unix::fs::MetadataExt as _},
    };

    fn inode(socket: impl AsFd) -> u64 {
        let fd = std::os::fd::AsRawFd::as_raw_fd(&socket.as_fd());
        fs::metadata(format!("/proc/self/fd/{fd}")).unwrap().ino()
    }

    #[test]
    fn real_sockets_are_found() {
        let pid = std::process::id();
        for own in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(own) else {
                assert!(own.starts_with('['), "there is always IPv4");
                continue;
            };
            let address = listener.local_addr().unwrap();
            let client = TcpStream::connect(address).unwrap();
            let found = find(pid, inode(&listener)).unwrap();
            assert_eq!(found.own.as_deref(), Some(address.to_string().as_str()));
            assert_eq!(found.peer, None);
            let found = find(pid, inode(&client)).unwrap();
            let local = client.local_addr().unwrap().to_string();
            assert_eq!(found.own.as_deref(), Some(local.as_str()));
            assert_eq!(found.peer.as_deref(), Some(address.to_string().as_str()));
        }
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let found = find(pid, inode(&one)).unwrap();
        assert_eq!((found.family, found.kind, found.own), (1, 1, None));
        assert_eq!(find(pid, 0), None);
    }
}
