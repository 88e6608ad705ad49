//! What arguments and results are.

use super::names::{Set, Struct};

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

/// When the memory behind a pointer is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum When {
    /// At entry: the kernel reads it.
    Enter,
    /// At exit, when the call has succeeded: the kernel writes it.
    Exit,
    /// At exit, when the call has returned more than 0: with 0 it has found nothing, and the kernel
    /// writes nothing.
    Found,
    /// At entry, and at exit when the call has succeeded.
    Both,
    /// At exit, when a signal has interrupted the call: the time that was left.
    Interrupted,
    /// At entry or at exit of a call that has succeeded, as another argument says.
    Command(Command),
    /// At entry, when the futex operation in the second argument takes a timeout.
    FutexTimeout,
    /// At entry or at exit, as the System V command says that is the argument before: `IPC_SET`
    /// and `IPC_STAT`, and those that are alike.
    IpcCommand,
}

impl When {
    /// Whether it can be read at entry.
    pub const fn at_enter(self) -> bool {
        match self {
            Self::Enter | Self::Both | Self::FutexTimeout | Self::IpcCommand => true,
            Self::Exit | Self::Found | Self::Interrupted => false,
            Self::Command(command) => command.passed != 0,
        }
    }
    /// Whether it can be read at exit.
    pub const fn at_exit(self) -> bool {
        match self {
            Self::Exit | Self::Found | Self::Both | Self::Interrupted | Self::IpcCommand => true,
            Self::Enter | Self::FutexTimeout => false,
            Self::Command(command) => command.returned != 0,
        }
    }
}

/// With which values of another argument the kernel looks at the memory behind a pointer, and with
/// which it writes there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Command {
    /// The other argument, 0..=5.
    pub arg: u8,
    /// Its values, 0..=63, with which the kernel reads: bit N for value N.
    pub passed: u64,
    /// Its values, 0..=63, with which the kernel writes.
    pub returned: u64,
}

/// How much memory there is behind a pointer. Indices are those of arguments, 0..=5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Extent {
    /// One element.
    One,
    /// As many elements as the argument says.
    Count(u8),
    /// As many elements as the call has returned.
    CountReturned,
    /// The same, at most as many as the argument says: the result can be how many there would be.
    CountReturnedUpTo(u8),
    /// As many bytes as the argument says.
    Bytes(u8),
    /// As many bytes as the call has returned.
    BytesReturned,
    /// The same, at most as many as the argument says.
    BytesReturnedUpTo(u8),
    /// As many bytes as the 32-bit number says that the argument points to, at exit.
    BytesAt(u8),
    /// As many bits as the argument says, in whole words of the ABI.
    Bits(u8),
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
    /// File permissions, read in octal.
    Mode,
    /// A file's type and permissions: `mode_t` of mknod(2).
    FileMode,
    /// A file descriptor.
    Fd,
    /// A file descriptor of a directory, or `AT_FDCWD`.
    DirFd,
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
    /// Named bits.
    Flags(Set),
    /// One of a set of named values.
    Enum(Set),
    /// A pointer to a file name that ends in zero.
    Path,
    /// A pointer to another string, passed in, that ends in zero.
    Str,
    /// Any other pointer or address.
    Ptr,
    /// A pointer to data: it may hold secrets, so it is captured only when asked for.
    Data(When, Extent),
    /// A pointer to a name that the kernel writes, with or without a zero at its end.
    PathOut(Extent),
    /// A pointer to one or more structures.
    Struct(Struct, When, Extent),
    /// A pointer to a socket address.
    Sockaddr(When, Extent),
    /// A pointer to `struct iovec`: captured are the first elements, and their data when asked for.
    Iovec(When, Extent),
    /// A pointer to `struct msghdr`, with its address, its elements and its control messages.
    Msghdr(When),
    /// A pointer to `struct mmsghdr`.
    Mmsghdr(When, Extent),
    /// A pointer to the arguments of a program.
    Argv,
    /// A pointer to the environment of a program: counted, never captured.
    Envp,
    /// The argument of `ioctl`: a number or a pointer, by the command.
    IoctlArg,
    /// The argument of `fcntl`: a number or a pointer, by the command.
    FcntlArg,
    /// The second argument of `prctl`: a number or a pointer, by the option.
    PrctlArg,
}

impl ArgKind {
    /// Whether the argument is all in its register: no memory is captured for it.
    pub const fn is_register(self) -> bool {
        matches!(
            self,
            Self::Int
                | Self::Uint
                | Self::Long
                | Self::Ulong
                | Self::Size
                | Self::Offset
                | Self::Hex
                | Self::Mode
                | Self::FileMode
                | Self::Fd
                | Self::DirFd
                | Self::Pid
                | Self::Uid
                | Self::Gid
                | Self::Signal
                | Self::Dev
                | Self::Flags(_)
                | Self::Enum(_)
        )
    }

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
