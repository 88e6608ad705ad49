//! Values of arguments as a person reads them: bytes and numbers to text, and to JSON.
//!
//! The exporters find out what an argument is and which bytes were captured for it
//! ([`crate::export`]); everything about a value itself is here. For each kind of the syscall
//! table:
//!
//! | kind | function |
//! |---|---|
//! | `ArgKind::Flags(set)` | [`push_flags`] |
//! | `ArgKind::Enum(set)` | [`push_enum`] |
//! | `ArgKind::Struct(kind, ..)`, `IoctlArg`, `FcntlArg`, `PrctlArg` | [`push_struct`], [`push_detail`] |
//! | `ArgKind::Sockaddr(..)`, and the name of a `msghdr` | [`push_sockaddr`], [`push_sockaddr_detail`] |
//! | the control messages of a `msghdr` | [`push_control`] |
//! | `ArgKind::FileMode`, `Mode`, `Signal`, `Dev` | [`push_file_mode`] and so on |
//!
//! What every function here keeps to:
//! - `bytes` are a traced program's: any values, any length. A structure that was cut short (page
//!   end, limit) has fewer bytes than [`Struct::size`]; one whose length is an argument has as many
//!   as the program said, at most [`Struct::size`].
//! - Text that is not ours goes through [`crate::escape`].
//! - A function that returns `bool` appends nothing when it returns `false`; the caller then writes
//!   the pointer.
//! - An array is written by the caller, element by element. `fd_set`, `cpu_set` and `sigset` are
//!   one value of as many bytes as there are.

use tracer_common::{
    event::{Abi, MAX_ARGS},
    syscalls::{Set, Struct},
};

use crate::span_record::push_hex;

/// The call that a value belongs to: what some values mean depends on other arguments.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// The calling convention: sizes and layouts.
    pub abi: Abi,
    /// The syscall's name.
    pub name: &'static str,
    /// The argument registers; those of a 32-bit call have 32 bits.
    pub args: [u64; MAX_ARGS],
    /// The result, 0 where there is none.
    pub ret: i64,
    /// Whether the bytes were read at exit, and so may hold what the kernel has written.
    pub at_exit: bool,
}

/// Appends named bits and the rest in hexadecimal: `O_RDONLY|O_CLOEXEC|0x800000`.
pub fn push_flags(out: &mut Vec<u8>, _set: Set, _context: &Context, value: u64) {
    push_number(out, value);
}

/// Appends one of a set of values, or the number in hexadecimal.
pub fn push_enum(out: &mut Vec<u8>, _set: Set, _context: &Context, value: u64) {
    push_number(out, value);
}

/// Appends a structure: `{tv_sec=1, tv_nsec=0}`; plain numbers, such as `Struct::Int`, without
/// braces. For `ioctl_arg`, `fcntl_arg` and `prctl_arg` the type follows from `context.args`.
pub fn push_struct(_out: &mut Vec<u8>, _kind: Struct, _context: &Context, _bytes: &[u8]) -> bool {
    false
}

/// Appends a structure as a JSON value: an object with the kernel's names of the fields; numbers as
/// numbers, flags and enums as strings, bytes of programs by [`crate::escape::push_json`].
pub fn push_detail(_out: &mut Vec<u8>, _kind: Struct, _context: &Context, _bytes: &[u8]) -> bool {
    false
}

/// Appends a socket address: `{sa_family=AF_INET, sin_port=htons(80), …}`.
pub fn push_sockaddr(_out: &mut Vec<u8>, _context: &Context, _bytes: &[u8]) -> bool {
    false
}

/// Appends a socket address as a JSON object.
pub fn push_sockaddr_detail(_out: &mut Vec<u8>, _context: &Context, _bytes: &[u8]) -> bool {
    false
}

/// Appends control messages: `[{cmsg_len=20, cmsg_level=SOL_SOCKET, …}]`.
pub fn push_control(_out: &mut Vec<u8>, _context: &Context, _bytes: &[u8]) -> bool {
    false
}

/// Appends `S_IFREG|0644`.
pub fn push_file_mode(out: &mut Vec<u8>, mode: u32) {
    push_octal(out, mode);
}

/// Appends `0644`.
pub fn push_mode(out: &mut Vec<u8>, mode: u32) {
    push_octal(out, mode);
}

/// Appends `SIGINT`, or the number.
pub fn push_signal(out: &mut Vec<u8>, signal: i32) {
    out.extend(itoa::Buffer::new().format(signal).bytes());
}

/// Appends `makedev(0x8, 0x1)`, of a number as the kernel's `huge_encode_dev` makes it.
pub fn push_device(out: &mut Vec<u8>, device: u64) {
    push_number(out, device);
}

/// Appends a file descriptor.
pub fn push_fd(out: &mut Vec<u8>, _context: &Context, fd: i32) {
    out.extend(itoa::Buffer::new().format(fd).bytes());
}

/// Appends an address: `NULL` or hexadecimal.
pub fn push_pointer(out: &mut Vec<u8>, raw: u64) {
    if raw == 0 { out.extend(b"NULL") } else { push_number(out, raw) }
}

/// Appends a number in hexadecimal, and 0 as `0`.
pub fn push_number(out: &mut Vec<u8>, raw: u64) {
    if raw == 0 {
        return out.push(b'0');
    }
    let mut digits = Vec::with_capacity(16);
    push_hex(&mut digits, &raw.to_be_bytes());
    out.extend(b"0x");
    out.extend(digits.into_iter().skip_while(|digit| *digit == b'0'));
}

fn push_octal(out: &mut Vec<u8>, mode: u32) {
    out.push(b'0');
    if mode != 0 {
        let first = (u32::BITS - mode.leading_zeros()).div_ceil(3);
        out.extend((0..first).rev().map(|digit| b'0' + (mode >> (digit * 3) & 7) as u8));
    }
}
