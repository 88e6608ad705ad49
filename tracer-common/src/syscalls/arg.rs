//! What arguments and results are.

/// An argument of a syscall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Arg {
    /// The kernel's name for it.
    pub name: &'static str,
    /// What it is.
    pub kind: ArgKind,
}

impl Arg {
    pub(super) const fn new(name: &'static str, kind: ArgKind) -> Self {
        Self { name, kind }
    }
}

/// What an argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArgKind {
    /// Signed, 32 bits.
    Int,
    /// Unsigned, 32 bits.
    Uint,
    /// Signed, as wide as the ABI's registers.
    Long,
    /// Unsigned, as wide as the ABI's registers.
    Ulong,
    /// A number of bytes or items, as wide as the ABI's registers.
    Size,
    /// Signed, 64 bits; only in 64-bit ABIs, where it fits one register.
    Offset,
    /// A mask or an opaque number, best read in hexadecimal.
    Hex,
    /// A file mode, read in octal.
    Mode,
    /// A file descriptor.
    Fd,
    /// A file descriptor of a directory, or `AT_FDCWD`.
    DirFd,
    /// A pointer to a file name that ends in zero.
    Path,
    /// A pointer to another string, passed in, that ends in zero.
    Str,
    /// Any other pointer or address.
    Ptr,
    /// A pointer to bytes the kernel reads.
    BufIn,
    /// A pointer to bytes the kernel writes.
    BufOut,
    /// A process, thread or process group id.
    Pid,
    /// A user id.
    Uid,
    /// A group id.
    Gid,
    /// A signal number.
    Signal,
    /// A device number.
    Dev,
    /// A pointer to a socket address.
    Sockaddr,
    /// A set of named bits.
    Flags,
}

impl ArgKind {
    /// Whether the kernel side reads the string that the argument points to.
    pub const fn is_string(self) -> bool {
        matches!(self, Self::Path | Self::Str)
    }
}

/// What a syscall returns when it succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ret {
    /// A number.
    Int,
    /// A file descriptor.
    Fd,
    /// An address.
    Pointer,
    /// Nothing: the call does not return.
    None,
    /// A number of bytes, an offset or a time.
    Size,
}
