//! What the kernel holds of a socket: protocol, state and addresses.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use tracer_common::file::{SocketHeader, flag};

use crate::{
    capture::bounded,
    maps::{
        ALLOC_INODE, FILES, FileDesk, INET_SPORT, INODE_INO, NETLINK_PORTID, SKC_DADDR, SKC_DPORT,
        SKC_FAMILY, SKC_RCV_SADDR, SKC_STATE, SKC_V6_DADDR, SKC_V6_RCV_SADDR, SOCK_PROTOCOL,
        SOCK_SOCKET, SOCKET_SK, SOCKET_TYPE, UNIX_ADDR, UNIX_ADDRESS_LEN, UNIX_ADDRESS_NAME,
        UNIX_PEER,
    },
    task::read_kernel,
};

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const AF_NETLINK: u16 = 16;
const HEADER: usize = size_of::<SocketHeader>();
/// Bytes of a `sockaddr_un`.
const UNIX_ADDRESS: usize = 110;

/// Writes what is known of the `struct socket` at `socket` to the desk's bytes. A global function
/// for the kernel, as those of `place`.
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) extern "C" fn write_socket(desk: *mut FileDesk, socket: u64) -> u32 {
    // Kernels before 6.8 look at a global function that nobody calls, too.
    if FILES.load() == 0 {
        return 0;
    }
    if desk.is_null() {
        return 0;
    }
    // In its place: on the stack there is no room for it.
    // SAFETY: by the caller's word it is a desk that it has taken. Its bytes begin at a multiple of 8,
    // there is room, and nothing else here refers to these.
    let it = unsafe { &mut *(&raw mut (*desk).bytes).cast::<SocketHeader>() };
    *it = SocketHeader { kind: at(socket, SOCKET_TYPE.load()), ..SocketHeader::default() };
    let sock: u64 = at(socket, SOCKET_SK.load());
    if sock == 0 {
        flag(desk, flag::FAULT);
        return 0;
    }
    it.family = at(sock, SKC_FAMILY.load());
    it.state = at(sock, SKC_STATE.load());
    it.protocol = at(sock, SOCK_PROTOCOL.load());
    // SAFETY: as above.
    unsafe { (*desk).len = HEADER as u32 };
    match it.family {
        AF_INET | AF_INET6 => internet(it, sock),
        AF_UNIX => unix(desk, it, sock),
        AF_NETLINK => it.port_id = known(sock, NETLINK_PORTID.load()),
        _ => {}
    }
    0
}

#[inline(always)]
fn flag(desk: *mut FileDesk, bit: u8) {
    // SAFETY: the callers' desk, which they have taken.
    unsafe { (*desk).header.flags |= bit };
}

#[inline(always)]
fn at<T: Copy + Default>(base: u64, offset: u32) -> T {
    read_kernel(base + u64::from(offset))
}

/// A field that not every kernel has; 0 where it is missing.
#[inline(always)]
fn known<T: Copy + Default>(base: u64, offset: u32) -> T {
    if offset == 0 { T::default() } else { at(base, offset) }
}

#[inline(always)]
fn internet(it: &mut SocketHeader, sock: u64) {
    it.own_port = at(sock, INET_SPORT.load());
    it.peer_port = at(sock, SKC_DPORT.load());
    if it.family == AF_INET6 && SKC_V6_DADDR.load() != 0 {
        it.own_address = at(sock, SKC_V6_RCV_SADDR.load());
        it.peer_address = at(sock, SKC_V6_DADDR.load());
    } else {
        let own: [u8; 4] = at(sock, SKC_RCV_SADDR.load());
        let peer: [u8; 4] = at(sock, SKC_DADDR.load());
        (it.own_address[0], it.own_address[1]) = (own[0], own[1]);
        (it.own_address[2], it.own_address[3]) = (own[2], own[3]);
        (it.peer_address[0], it.peer_address[1]) = (peer[0], peer[1]);
        (it.peer_address[2], it.peer_address[3]) = (peer[2], peer[3]);
    }
}

/// The address of a UNIX socket; of one without, that of the socket it is connected to.
#[inline(always)]
fn unix(desk: *mut FileDesk, it: &mut SocketHeader, sock: u64) {
    if UNIX_ADDR.load() == 0 {
        return;
    }
    let mut address: u64 = at(sock, UNIX_ADDR.load());
    let peer: u64 = at(sock, UNIX_PEER.load());
    if peer != 0 {
        let socket: u64 = at(peer, SOCK_SOCKET.load());
        if socket != 0 {
            it.peer_inode = at(socket, ALLOC_INODE.load() + INODE_INO.load());
        }
        if address == 0 {
            address = at(peer, UNIX_ADDR.load());
            flag(desk, flag::PEER_ADDRESS);
        }
    }
    if address == 0 {
        return;
    }
    let len: u32 = at(address, UNIX_ADDRESS_LEN.load());
    let len = bounded(len as usize, UNIX_ADDRESS);
    // SAFETY: there is room behind the header; the helper checks the address.
    let failed = unsafe {
        let to = (&raw mut (*desk).bytes).cast::<u8>().add(HEADER);
        let from = (address + u64::from(UNIX_ADDRESS_NAME.load())) as *const _;
        bpf_probe_read_kernel(to.cast(), len as u32, from)
    };
    if failed == 0 {
        // SAFETY: as above.
        unsafe { (*desk).len = (HEADER + len) as u32 };
    } else {
        flag(desk, flag::FAULT);
    }
}
