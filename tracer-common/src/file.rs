//! The file that a descriptor of a call leads to, as the kernel side writes it into a capture whose
//! part is [`part::FILE`](crate::memory::part::FILE) or one of those that follow it.
//!
//! The capture holds a [`FileHeader`]; behind it, for a socket a [`SocketHeader`] and the path of a
//! UNIX socket as the rest of a `sockaddr_un`, for anything else the components of a path, the last
//! one first, each with a zero behind it.

wire_struct! {
    /// What the capture begins with.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct FileHeader {
        /// A [`FileKind`].
        pub kind: u8,
        /// Bits of [`flag`].
        pub flags: u8,
        /// `inode.i_mode`: type and permissions.
        pub mode: u16,
        /// The descriptor, or [`CURRENT_FOLDER`].
        pub fd: i32,
        /// `super_block.s_dev`, with 20 bits for the minor number.
        pub device: u32,
        /// `inode.i_rdev` of a device, likewise; else 0.
        pub rdev: u32,
        /// `inode.i_ino`.
        pub inode: u64,
    }
}

wire_struct! {
    /// What follows the [`FileHeader`] of a socket.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct SocketHeader {
        /// `AF_*`.
        pub family: u16,
        /// `SOCK_*`.
        pub kind: u16,
        /// `IPPROTO_*`, or for netlink its own.
        pub protocol: u16,
        /// `sock_common.skc_state`: for TCP as in `enum tcp_state`.
        pub state: u8,
        /// Zero.
        pub pad: u8,
        /// The socket's own port in network byte order; 0 when it has none.
        pub own_port: u16,
        /// The other side's, likewise.
        pub peer_port: u16,
        /// The port id of a netlink socket.
        pub port_id: u32,
        /// Inode of the UNIX socket that it is connected to; 0 when there is none.
        pub peer_inode: u64,
        /// The socket's own address: of IPv4 the first four bytes.
        pub own_address: [u8; 16],
        /// The other side's, likewise.
        pub peer_address: [u8; 16],
    }
}

const _: () = {
    assert!(size_of::<FileHeader>() == 24);
    assert!(align_of::<FileHeader>() == 8);
    assert!(size_of::<SocketHeader>() == 56);
};

/// Values of the global [`FILES`](crate::abi::global::FILES).
pub mod detail {
    /// Descriptors are not named.
    pub const OFF: u32 = 0;
    /// Paths, kinds, inodes.
    pub const PATHS: u32 = 1;
    /// What sockets are connected to, numbers of devices and processes too.
    pub const PROTOCOLS: u32 = 2;
}

/// `AT_FDCWD`, openat(2): stands for the current folder of the process.
pub const CURRENT_FOLDER: i32 = -100;

/// Most bytes of a path that are kept, counted from its end, zeroes included.
pub const PATH_BYTES: usize = 4080;

/// The longest name of a component: `NAME_MAX`.
pub const COMPONENT: usize = 255;

wire_enum! {
    /// What a descriptor leads to.
    FileKind {
        /// Nothing: the descriptor is not open.
        Closed = 0 "closed",
        /// A file with a path: regular file, folder, device, FIFO, socket's place.
        File = 1 "file",
        /// A pipe without a path.
        Pipe = 2 "pipe",
        /// A socket.
        Socket = 3 "socket",
        /// An object of the kernel without an inode of its own: `anon_inode:[eventpoll]`.
        Anonymous = 4 "anonymous",
        /// A namespace; its type is the one component.
        Namespace = 5 "namespace",
        /// A file in memory without a place in any folder, such as `memfd_create` makes.
        Memory = 6 "memory",
        /// A process: a pidfd. Its id in the initial pid namespace may follow, as a `u32`.
        Process = 7 "process",
        /// Another file without a place in any folder; its name is the one component.
        Other = 8 "other",
    }
}

/// Bits of [`FileHeader::flags`].
pub mod flag {
    /// Its last link has been removed.
    pub const DELETED: u8 = 1;
    /// The path does not begin at the root of the process, but at that of the mounts, or of a mount
    /// that was taken off.
    pub const OUTSIDE_ROOT: u8 = 1 << 1;
    /// Something was renamed while the path was read: the component was read again.
    pub const RENAMED: u8 = 1 << 2;
    /// The path is longer: what stands before the captured end of it is missing.
    pub const CUT: u8 = 1 << 3;
    /// Something could not be read.
    pub const FAULT: u8 = 1 << 4;
    /// While the file was looked up, the descriptor came to lead to another one.
    pub const CHANGED: u8 = 1 << 5;
    /// The UNIX address is the other side's.
    pub const PEER_ADDRESS: u8 = 1 << 6;
}
