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

pub(super) const CASES: &[(&str, Situation)] = &[
    ("sockets of TCP", |case| {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
        let client = TcpStream::connect(listener.local_addr().map_err(|error| error.to_string())?)
            .map_err(|error| error.to_string())?;
        let (server, _) = listener.accept().map_err(|error| error.to_string())?;
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
        case.used(UdpSocket::bind("127.0.0.1:0").map_err(|error| error.to_string())?.into_raw_fd());
        Ok(())
    }),
    ("socket of IPv6", |case| {
        socket(case, "AF_INET6", [libc::AF_INET6, libc::SOCK_STREAM, 0]).map(drop)
    }),
    ("pair of UNIX sockets", |case| {
        let (one, two) = UnixStream::pair().map_err(|error| error.to_string())?;
        case.used(one.as_raw_fd());
        case.used(two.as_raw_fd());
        drop(two);
        case.used(one.as_raw_fd());
        Ok(())
    }),
    ("UNIX socket with a path", |case| {
        let listener = UnixListener::bind("socket").map_err(|error| error.to_string())?;
        let client = UnixStream::connect("socket").map_err(|error| error.to_string())?;
        case.used(listener.as_raw_fd());
        case.used(client.as_raw_fd());
        case.used(case.opened("socket", libc::O_PATH));
        std::fs::remove_file("socket").map_err(|error| error.to_string())?;
        case.used(listener.as_raw_fd());
        case.used(UnixDatagram::unbound().map_err(|error| error.to_string())?.into_raw_fd());
        Ok(())
    }),
    ("netlink", |case| socket(case, "AF_NETLINK", [libc::AF_NETLINK, libc::SOCK_RAW, 0]).map(drop)),
    ("raw packets", |case| {
        socket(case, "AF_PACKET", [libc::AF_PACKET, libc::SOCK_RAW, 0]).map(drop)
    }),
    ("cipher", |case| socket(case, "AF_ALG", [libc::AF_ALG, libc::SOCK_SEQPACKET, 0]).map(drop)),
];
