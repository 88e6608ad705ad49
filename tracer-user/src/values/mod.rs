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
//! | a kind that is all in the register, or a pointer's own value | [`push_register`] |
//!
//! What every function here keeps to:
//! - `bytes` are a traced program's: any values, any length. A structure that was cut short (page
//!   end, limit) has fewer bytes than [`Struct::size`]; one whose length is an argument has as many
//!   as the program said, at most [`Struct::size`].
//! - Text that is not ours goes through `crate::escape`.
//! - A function that returns `bool` appends nothing when it returns `false`; the caller then writes
//!   the pointer.
//! - Where [`Context::is_cut`] says that the bytes are only the first, that is said of the value, for
//!   every structure in one place (`cut.rs`).
//! - An array is written by the caller, element by element. `fd_set`, `cpu_set` and `sigset` are
//!   one value of as many bytes as there are.
//!
//! Data first: constants are tables ([`tables`](self), generated), structures are lists of fields
//! (`layout.rs`), and only what neither can say has a function. Everything becomes a tree of
//! `node.rs`, from which both text and JSON are written. `docs/adding-a-decoder.md` shows the way.

mod call;
mod clone;
mod combined;
mod commands;
mod cut;
mod descriptor;
mod dirents;
mod files;
mod interface;
mod ipc;
mod layout;
mod multiplexed;
mod node;
mod number;
mod operands;
mod pages;
mod process;
mod reader;
mod register;
mod requests;
mod set;
mod signal;
mod socket;
mod structs;
mod table;
mod tables;
#[cfg(test)]
mod tests;
mod time;

use tracer_common::{
    event::{Abi, MAX_ARGS},
    file::CURRENT_FOLDER,
    syscalls::{ArgKind, Set, Struct},
};

use self::node::Node;
pub use self::register::push_register;
use crate::span_record::DescriptorFile;

/// The call that a value belongs to: what some values mean depends on other arguments.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The calling convention: sizes and layouts.
    pub abi: Abi,
    /// The syscall's name.
    pub name: &'static str,
    /// The arguments as the kernel takes them ([`Syscall::taken`]): bits above those are zero.
    ///
    /// [`Syscall::taken`]: tracer_common::syscalls::Syscall::taken
    pub args: [u64; MAX_ARGS],
    /// The result, 0 where there is none.
    pub ret: i64,
    /// Whether the bytes were read at exit, and so may hold what the kernel has written.
    pub at_exit: bool,
    /// Whether the memory goes on behind the bytes, of which there are the first alone.
    pub is_cut: bool,
    /// The captures of the call, among which are the files of its descriptors.
    pub fds: &'a [u8],
}

/// Appends named bits and the rest in hexadecimal: `O_RDONLY|O_CLOEXEC|0x800000`.
pub fn push_flags(out: &mut Vec<u8>, set: Set, context: &Context<'_>, value: u64) {
    out.extend_from_slice(combined::flags(set, context, value).as_bytes());
}

/// Appends one of a set of values, or the number in hexadecimal: `0x63 /* SEEK_??? */`.
pub fn push_enum(out: &mut Vec<u8>, set: Set, context: &Context<'_>, value: u64) {
    out.extend_from_slice(combined::value(set, context, value).as_bytes());
}

/// Appends a structure: `{tv_sec=1, tv_nsec=0}`; plain numbers, such as `Struct::Int`, without
/// braces. For `ioctl_arg`, `fcntl_arg` and `prctl_arg` the type follows from `context.args`.
pub fn push_struct(out: &mut Vec<u8>, kind: Struct, context: &Context<'_>, bytes: &[u8]) -> bool {
    push_text(out, structs::decode(kind, context, bytes).map(|node| node.with_names(context)))
}

/// Appends a structure as a JSON value: an object with the kernel's names of the fields; numbers as
/// numbers, flags and enums as strings, bytes of programs by `crate::escape::push_json`.
pub fn push_detail(out: &mut Vec<u8>, kind: Struct, context: &Context<'_>, bytes: &[u8]) -> bool {
    push_json(out, structs::decode(kind, context, bytes))
}

/// Appends a socket address: `{sa_family=AF_INET, sin_port=htons(80), …}`.
pub fn push_sockaddr(out: &mut Vec<u8>, context: &Context<'_>, bytes: &[u8]) -> bool {
    push_text(out, socket_address(context, bytes))
}

/// Appends a socket address as a JSON object.
pub fn push_sockaddr_detail(out: &mut Vec<u8>, context: &Context<'_>, bytes: &[u8]) -> bool {
    push_json(out, socket_address(context, bytes))
}

fn socket_address(context: &Context<'_>, bytes: &[u8]) -> Option<Node> {
    let node = Node::Fields(socket::address(bytes, context.abi)?);
    Some(if context.is_cut { node.cut(bytes.len()) } else { node })
}

/// Appends control messages: `[{cmsg_len=20, cmsg_level=SOL_SOCKET, …}]`.
pub fn push_control(out: &mut Vec<u8>, context: &Context<'_>, bytes: &[u8]) -> bool {
    push_text(out, Some(control(context, bytes).with_names(context)))
}

/// Appends control messages as a JSON array.
pub fn push_control_detail(out: &mut Vec<u8>, context: &Context<'_>, bytes: &[u8]) -> bool {
    push_json(out, Some(control(context, bytes)))
}

fn control(context: &Context<'_>, bytes: &[u8]) -> Node {
    let node = socket::control(bytes, context.abi);
    if context.is_cut { node.cut(bytes.len()) } else { node }
}

/// Appends argument `index` of `ioctl`, `fcntl`, `prctl`, `keyctl`, `ipc` or `signal` where the command,
/// or the value, says what is in its register: `FD_CLOEXEC`, `SIG_DFL`. `false` where it leads to
/// memory, or the command is not known.
pub fn push_command_number(
    out: &mut Vec<u8>,
    kind: ArgKind,
    context: &Context<'_>,
    index: usize,
) -> bool {
    let value = context.args.get(index).copied().unwrap_or_default();
    if context.name == "ipc" {
        return multiplexed::push_operand(out, context, index);
    }
    let text = match kind {
        ArgKind::Ptr if context.name == "signal" => signal::handler_name(value).map(str::to_owned),
        ArgKind::IoctlArg => commands::ioctl_number(context, value),
        ArgKind::FcntlArg => commands::fcntl_number(context, value),
        ArgKind::PrctlArg => {
            commands::prctl_number(context, value).or_else(|| operands::text(context, index))
        }
        ArgKind::Hex | ArgKind::Enum(Set::KeySpecs) => operands::text(context, index),
        _ => None,
    };
    text.map(|text| out.extend(text.bytes())).is_some()
}

/// Appends a result that is not read in decimal: flags of `fcntl`, the mode of `umask`.
pub fn push_result(out: &mut Vec<u8>, context: &Context<'_>) -> bool {
    push_text(out, call::result(context))
}

/// Appends what strace writes behind a result, with a space and brackets: ` (flags O_RDWR)`,
/// ` ([{fd=3, revents=POLLIN}])`. `returned` has the memory of an argument after the call.
pub fn push_result_note<'a>(
    out: &mut Vec<u8>,
    context: &Context<'_>,
    returned: impl Fn(usize) -> Option<Returned<'a>>,
) -> bool {
    let note = call::result_note(context).or_else(|| call::ready(context, returned));
    note.map(|note| out.extend(format!(" ({note})").bytes())).is_some()
}

/// Memory of an argument after the call.
#[derive(Debug, Clone, Copy)]
pub struct Returned<'a> {
    /// What was captured.
    pub bytes: &'a [u8],
    /// Whether the memory goes on behind it.
    pub is_cut: bool,
}

/// Whether what a call returns takes the place of what it was passed, which then says no more: not
/// `{…} => {…}` but the second alone.
pub fn is_returned_whole(kind: Struct, context: &Context<'_>) -> bool {
    kind == Struct::IoctlArg && commands::ioctl_returns(context)
}

/// The names and values of a set, in the order in which they are tried.
pub fn constants(set: Set, abi: Abi) -> impl Iterator<Item = (&'static str, u64)> {
    set::table(set, abi).entries.iter().copied()
}

/// How many of the table's arguments the call has: `open` without `O_CREAT` has no mode.
pub fn argument_count(context: &Context<'_>, in_table: usize) -> usize {
    call::argument_count(context).unwrap_or(in_table).min(in_table)
}

/// The arguments of a call in the order of text, and with the names of text, where strace has both
/// otherwise than the kernel: those of `clone`; and those of `ipc` that its operation has.
pub fn text_order(context: &Context<'_>) -> Option<Vec<TextArgument>> {
    match context.name {
        "clone" => Some(clone::text_order(context)),
        "ipc" => multiplexed::text_order(context),
        _ => None,
    }
}

/// An argument of [`text_order`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextArgument {
    /// Its place among the call's arguments, 0..=5.
    pub index: usize,
    /// What is written before it, with an equals sign; empty for nothing.
    pub name: &'static str,
    /// The number that it points to, where that is known from the call as a whole.
    pub pointee: Option<i64>,
}

fn push_text(out: &mut Vec<u8>, node: Option<Node>) -> bool {
    node.map(|node| node.push_text(out)).is_some()
}

fn push_json(out: &mut Vec<u8>, node: Option<Node>) -> bool {
    node.map(|node| node.push_json(out)).is_some()
}

/// Appends `S_IFREG|0644`.
pub fn push_file_mode(out: &mut Vec<u8>, mode: u32) {
    out.extend(files::file_mode_text(mode).bytes());
}

/// Appends `0644`; at least three digits.
pub fn push_mode(out: &mut Vec<u8>, mode: u32) {
    out.extend(number::octal(mode).bytes());
}

/// Appends `SIGINT`, or the number.
pub fn push_signal(out: &mut Vec<u8>, signal: i32) {
    out.extend(signal::name(signal).bytes());
}

/// Appends what came with a signal, a native `siginfo_t`: `{si_signo=SIGINT, si_code=SI_USER, …}`.
pub fn push_siginfo(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    push_text(out, Some(Node::Fields(signal::native(bytes))))
}

/// The same as a JSON object.
pub fn push_siginfo_detail(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    push_json(out, Some(Node::Fields(signal::native(bytes))))
}

/// Appends `makedev(0x8, 0x1)`, of a number as the kernel's `huge_encode_dev` makes it.
pub fn push_device(out: &mut Vec<u8>, device: u64) {
    files::device(device).push_text(out);
}

/// Appends a file descriptor, and what it leads to where that was looked up: `3</etc/hostname>`;
/// [`CURRENT_FOLDER`] as `AT_FDCWD`.
pub fn push_fd(out: &mut Vec<u8>, context: &Context<'_>, fd: i32) {
    if fd == CURRENT_FOLDER {
        out.extend(b"AT_FDCWD");
    } else {
        out.extend(itoa::Buffer::new().format(fd).bytes());
    }
    if let Some(file) = DescriptorFile::find(context.fds, fd, context.at_exit) {
        descriptor::push(out, &file);
    }
}

/// Appends a result that is a file descriptor, for `fcntl` by its command; `false` where it is none,
/// or nothing is known of it.
pub fn push_result_fd(out: &mut Vec<u8>, context: &Context<'_>) -> bool {
    let Ok(fd) = i32::try_from(context.ret) else { return false };
    let is_named = DescriptorFile::all(context.fds).any(|it| it.returned && it.fd == fd);
    if is_named {
        push_fd(out, &Context { at_exit: true, ..*context }, fd);
    }
    is_named
}

/// Appends, behind a path that is not absolute, the folder that it starts from, where no other
/// argument names that: `</home/me>`; `false` where there is none. `index` is the path's place among the arguments.
pub fn push_folder(out: &mut Vec<u8>, context: &Context<'_>, index: usize) -> bool {
    let folder = folder(context, index);
    folder.map(|folder| descriptor::push(out, &folder)).is_some()
}

/// The folder that a path starts from, where no other argument names it.
fn folder<'a>(context: &Context<'a>, index: usize) -> Option<DescriptorFile<'a>> {
    DescriptorFile::all(context.fds)
        .find(|it| it.fd == CURRENT_FOLDER && usize::from(it.arg) == index)
}

/// Appends members of the JSON object of argument `index`: what the descriptors in it led to.
pub fn push_files_detail(out: &mut Vec<u8>, context: &Context<'_>, kind: ArgKind, index: usize) {
    let mut files =
        DescriptorFile::all(context.fds).filter(|it| usize::from(it.arg) == index).peekable();
    if files.peek().is_none() {
        return;
    }
    match kind {
        ArgKind::Path => out.extend(b",\"folder\":"),
        ArgKind::Fd | ArgKind::DirFd => out.extend(b",\"file\":"),
        _ => {
            out.extend(b",\"files\":[");
            for (number, file) in files.enumerate() {
                if number > 0 {
                    out.push(b',');
                }
                descriptor::push_json(out, &file);
            }
            return out.push(b']');
        }
    }
    if let Some(file) = files.next() {
        descriptor::push_json(out, &file);
    }
}

/// Appends what the descriptor that the call has returned leads to, as a JSON object; `false` where
/// the result is none, or was not looked up.
pub fn push_result_file(out: &mut Vec<u8>, context: &Context<'_>) -> bool {
    let result = |it: &DescriptorFile<'_>| it.returned && usize::from(it.arg) >= MAX_ARGS;
    let Some(file) = DescriptorFile::all(context.fds).find(result) else { return false };
    descriptor::push_json(out, &file);
    true
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
    out.extend_from_slice(b"0x");
    out.extend(hex_digits(raw));
}

/// The digits of a number in hexadecimal, without zeros in front; none of 0.
fn hex_digits(number: u64) -> impl Iterator<Item = u8> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let count = (u64::BITS - number.leading_zeros()).div_ceil(4);
    (0..count).rev().map(move |place| {
        let [low, ..] = (number >> (place * 4)).to_le_bytes();
        DIGITS[usize::from(low & 0xf)]
    })
}
