//! Sockets, by the numbers of their inodes.

use std::{
    net::{TcpListener, TcpStream, UdpSocket},
    os::{
        fd::{AsRawFd as _, IntoRawFd as _},
        unix::net::{UnixDatagram, UnixListener, UnixStream},
    },
};

use super::{Case, Situation, granted};

fn socket(case: &Case, what: &str, numbers: [i32; 3]) -> Result<i32, String> {
    // SAFETY: no pointers.
    let fd = granted(what, unsafe { libc::socket(numbers[0], numbers[1], numbers[2]) })?;
    case.used(fd);
    Ok(fd)
}

fn refused(error: std::io::Error) -> String {
    error.to_string()
}

pub(super) const CASES: &[(&str, Situation)] = &[
    ("sockets of TCP", |case| {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(refused)?;
        let client =
            TcpStream::connect(listener.local_addr().map_err(refused)?).map_err(refused)?;
        let (server, _) = listener.accept().map_err(refused)?;
        for fd in [listener.as_raw_fd(), client.as_raw_fd(), server.as_raw_fd()] {
            case.used(fd);
        }
        drop(server);
        case.used(client.as_raw_fd());
        case.used(case.copied(client.as_raw_fd()));
        Ok(())
    }),
    ("socket of TCP without an address", |case| {
        socket(case, "TCP", [libc::AF_INET, libc::SOCK_STREAM, 0]).map(drop)
    }),
    ("sockets of UDP", |case| {
        case.used(UdpSocket::bind("127.0.0.1:0").map_err(refused)?.into_raw_fd());
        Ok(())
    }),
    ("socket of IPv6", |case| {
        socket(case, "AF_INET6", [libc::AF_INET6, libc::SOCK_STREAM, 0]).map(drop)
    }),
    ("pair of UNIX sockets", |case| {
        let (one, two) = UnixStream::pair().map_err(refused)?;
        case.used(one.as_raw_fd());
        case.used(two.as_raw_fd());
        drop(two);
        case.used(one.as_raw_fd());
        Ok(())
    }),
    ("UNIX socket with a path", |case| {
        let listener = UnixListener::bind("socket").map_err(refused)?;
        let client = UnixStream::connect("socket").map_err(refused)?;
        case.used(listener.as_raw_fd());
        case.used(client.as_raw_fd());
        case.used(case.opened("socket", libc::O_PATH));
        std::fs::remove_file("socket").map_err(refused)?;
        case.used(listener.as_raw_fd());
        case.used(UnixDatagram::unbound().map_err(refused)?.into_raw_fd());
        Ok(())
    }),
    ("netlink", |case| socket(case, "AF_NETLINK", [libc::AF_NETLINK, libc::SOCK_RAW, 0]).map(drop)),
    ("raw packets", |case| {
        socket(case, "AF_PACKET", [libc::AF_PACKET, libc::SOCK_RAW, 0]).map(drop)
    }),
    ("cipher", |case| socket(case, "AF_ALG", [libc::AF_ALG, libc::SOCK_SEQPACKET, 0]).map(drop)),
];
