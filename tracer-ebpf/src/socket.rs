//! What the kernel holds of a socket: protocol, state and addresses.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use tracer_common::file::{SocketHeader, flag};

use crate::{
    capture::bounded,
    kernel_memory::{at, clear_words, read_kernel, word, words},
    maps::{
        ALLOC_INODE, FILES, FileDesk, HAS_CAST, INET_SPORT, INODE_INO, NETLINK_PORTID, SKC_DADDR,
        SKC_DPORT, SKC_FAMILY, SKC_RCV_SADDR, SKC_STATE, SKC_V6_DADDR, SKC_V6_RCV_SADDR,
        SOCK_PROTOCOL, SOCK_SOCKET, SOCKET_SK, SOCKET_TYPE, UNIX_ADDR, UNIX_ADDRESS_LEN,
        UNIX_ADDRESS_NAME, UNIX_PEER,
    },
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
    // SAFETY: the header is so many words, aligned as above.
    unsafe { clear_words::<{ HEADER / 8 }>(core::ptr::from_mut(it).cast()) };
    if HAS_CAST.load() != 0 {
        write::<true>(desk, it, socket);
    } else {
        write::<false>(desk, it, socket);
    }
    0
}

#[inline(always)]
fn write<const CAST: bool>(desk: *mut FileDesk, it: &mut SocketHeader, socket: u64) {
    it.kind = at::<CAST>(socket, &SOCKET_TYPE) as u16;
    let sock = at::<CAST>(socket, &SOCKET_SK);
    if sock == 0 {
        return flag(desk, flag::FAULT);
    }
    it.family = at::<CAST>(sock, &SKC_FAMILY) as u16;
    it.state = at::<CAST>(sock, &SKC_STATE) as u8;
    it.protocol = at::<CAST>(sock, &SOCK_PROTOCOL) as u16;
    // SAFETY: the callers' desk, which they have taken.
    unsafe { (*desk).len = HEADER as u32 };
    match it.family {
        AF_INET | AF_INET6 => internet::<CAST>(it, sock),
        AF_UNIX => unix::<CAST>(desk, it, sock),
        AF_NETLINK => it.port_id = known(sock, NETLINK_PORTID.load()),
        _ => {}
    }
}

#[inline(always)]
fn flag(desk: *mut FileDesk, bit: u8) {
    // SAFETY: the callers' desk, which they have taken.
    unsafe { (*desk).header.flags |= bit };
}

/// A field that not every kernel has; 0 where it is missing.
#[inline(always)]
fn known<T: Copy + Default>(base: u64, offset: u32) -> T {
    if offset == 0 { T::default() } else { read_kernel(base + u64::from(offset)) }
}

#[inline(always)]
fn internet<const CAST: bool>(it: &mut SocketHeader, sock: u64) {
    it.own_port = at::<CAST>(sock, &INET_SPORT) as u16;
    it.peer_port = at::<CAST>(sock, &SKC_DPORT) as u16;
    if it.family == AF_INET6 && SKC_V6_DADDR.load() != 0 {
        let own = words::<CAST>(sock + u64::from(SKC_V6_RCV_SADDR.load()));
        let peer = words::<CAST>(sock + u64::from(SKC_V6_DADDR.load()));
        store(&mut it.own_address, own);
        store(&mut it.peer_address, peer);
    } else {
        store(&mut it.own_address, [at::<CAST>(sock, &SKC_RCV_SADDR) & 0xffff_ffff, 0]);
        store(&mut it.peer_address, [at::<CAST>(sock, &SKC_DADDR) & 0xffff_ffff, 0]);
    }
}

/// Stores 16 bytes as two words, as they stand in memory.
#[inline(always)]
fn store(to: &mut [u8; 16], words: [u64; 2]) {
    let to = to.as_mut_ptr().cast::<u64>();
    // SAFETY: there is room for two words, and both fields of addresses begin at a multiple of 8.
    unsafe { to.write_volatile(words[0]) };
    // SAFETY: as above.
    unsafe { to.add(1).write_volatile(words[1]) };
}

/// The address of a UNIX socket; of one without, that of the socket it is connected to.
#[inline(always)]
fn unix<const CAST: bool>(desk: *mut FileDesk, it: &mut SocketHeader, sock: u64) {
    if UNIX_ADDR.load() == 0 {
        return;
    }
    let mut address = at::<CAST>(sock, &UNIX_ADDR);
    let peer = at::<CAST>(sock, &UNIX_PEER);
    if peer != 0 {
        let socket = at::<CAST>(peer, &SOCK_SOCKET);
        if socket != 0 {
            let number = ALLOC_INODE.load() + INODE_INO.load();
            it.peer_inode = word::<CAST>(socket + u64::from(number));
        }
        if address == 0 {
            address = at::<CAST>(peer, &UNIX_ADDR);
            flag(desk, flag::PEER_ADDRESS);
        }
    }
    if address == 0 {
        return;
    }
    let len = at::<CAST>(address, &UNIX_ADDRESS_LEN) as u32;
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
