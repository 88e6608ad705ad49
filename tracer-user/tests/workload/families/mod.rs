//! Calls that describe themselves: for each family of decoders, calls with odd values, at the ends of
//! pages, with bad pointers and every bit of their flags. Each prints what a tracer has to show for
//! it, made of the values that it passes and of what the kernel has returned.

#[cfg(target_arch = "x86_64")]
mod compat;
mod descriptors;
mod features;
mod files;
mod processes;
mod signals;
mod sockets;
mod widths;

use std::{
    ffi::{CStr, CString},
    io::{self, Write, stdout},
    mem, ptr, slice,
};

use nix::errno::Errno;

const PAGE: u64 = 4096;

/// Where nothing is that a program may read: its first and last pages, the kernel's half.
const NOWHERE: [u64; 5] =
    [1, PAGE - 1, 0x7fff_ffff_f000, 0xffff_8000_0000_1000, 0xffff_ffff_ffff_fff8];

pub(super) fn run(family: &str) {
    let families: &[(&str, fn())] = &[
        ("sockaddr", sockets::addresses),
        ("socket-options", sockets::options),
        ("msghdr", sockets::messages),
        ("stat", files::stat),
        ("statfs", files::statfs),
        ("open", files::open),
        ("mount", files::mount),
        ("mappings", files::mappings),
        ("epoll", descriptors::epoll),
        ("poll", descriptors::poll),
        ("fcntl", descriptors::fcntl),
        ("ioctl", descriptors::ioctl),
        ("iovec", descriptors::iovec),
        ("limits", processes::limits),
        ("system", processes::system),
        ("clone", processes::clone),
        ("wait", processes::wait),
        ("scheduling", processes::scheduling),
        ("prctl", processes::prctl),
        ("ptrace", processes::ptrace),
        ("capabilities", processes::capabilities),
        ("time", signals::time),
        ("signals", signals::signals),
        ("futex", signals::futex),
        ("bpf", features::bpf),
        ("io-uring", features::io_uring),
        ("keyctl", features::keyctl),
        ("seccomp", features::seccomp),
        ("landlock", features::landlock),
        ("ipc", features::ipc),
        ("nodes", features::nodes),
        ("widths", widths::registers),
        #[cfg(target_arch = "x86_64")]
        ("i386", compat::calls),
    ];
    let (_, make) = families.iter().find(|it| it.0 == family).expect("a known family");
    make();
    stdout().flush().expect("output");
}

/// An argument, and how it reads.
#[derive(Clone)]
struct Arg(u64, String);

/// A number in decimal.
fn num(value: impl Into<i64>) -> Arg {
    let value = value.into();
    Arg(value.cast_unsigned(), value.to_string())
}

/// A number in hexadecimal.
fn hex(value: u64) -> Arg {
    Arg(value, if value == 0 { "0".to_owned() } else { format!("{value:#x}") })
}

/// An address.
fn address(value: u64) -> Arg {
    if value == 0 { Arg(0, "NULL".to_owned()) } else { hex(value) }
}

/// A constant by its name.
fn named(value: impl Into<i64>, name: &str) -> Arg {
    Arg(value.into().cast_unsigned(), name.to_owned())
}

/// A string; it is kept until the program ends.
fn string(text: &str) -> Arg {
    let place = CString::new(text).expect("no zero byte").into_raw();
    Arg(place.expose_provenance() as u64, format!("{text:?}"))
}

/// Memory; it is kept until the program ends.
fn memory(bytes: &[u8], text: impl Into<String>) -> Arg {
    // What is behind it is not zero, and belongs to nothing.
    let room: &'static mut [u8] = vec![0xa5; bytes.len() + 64].leak();
    let start = &mut room[16..][..bytes.len()];
    start.copy_from_slice(bytes);
    Arg(start.as_mut_ptr().expose_provenance() as u64, text.into())
}

/// Memory of which the last byte is the last of a page, and behind which nothing is.
fn at_page_end(bytes: &[u8], text: impl Into<String>) -> Arg {
    let pages = bytes.len().div_ceil(4096) * 4096;
    let (protection, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: new pages, of which the last is taken away; the others have room for the bytes.
    unsafe {
        let start = libc::mmap(ptr::null_mut(), pages + 4096, protection, flags, -1, 0);
        assert_ne!(start, libc::MAP_FAILED, "{}", io::Error::last_os_error());
        assert_eq!(libc::munmap(start.byte_add(pages), 4096), 0);
        let place = start.byte_add(pages - bytes.len()).cast::<u8>();
        ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len());
        Arg(place.expose_provenance() as u64, text.into())
    }
}

/// The bytes of a plain structure.
fn bytes<T: Copy>(value: &T) -> Vec<u8> {
    // SAFETY: of plain structures that were zeroed, padding too has a value.
    unsafe { slice::from_raw_parts(ptr::from_ref(value).cast(), size_of::<T>()) }.to_vec()
}

/// A plain structure of zeroes.
fn zeroed<T>() -> T {
    // SAFETY: the structures of libc that are used here may be zero.
    unsafe { mem::zeroed() }
}

/// Words as the bytes they are.
fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// Words of 64 bits as the bytes they are.
fn wide(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// What is at an argument's address now.
fn read<T: Copy>(at: &Arg) -> T {
    // SAFETY: memory of `memory` or `at_page_end`, of at least this size.
    unsafe {
        ptr::read_unaligned(ptr::with_exposed_provenance(usize::try_from(at.0).expect("64 bits")))
    }
}

/// Makes a call, without a word about it.
fn quietly(nr: libc::c_long, args: &[Arg]) -> i64 {
    let mut raw = [0; 6];
    args.iter().zip(&mut raw).for_each(|(arg, raw)| *raw = arg.0);
    // SAFETY: memory of `memory` and the like, or addresses that the kernel refuses.
    unsafe { libc::syscall(nr, raw[0], raw[1], raw[2], raw[3], raw[4], raw[5]) }
}

/// Says how a call reads whose arguments are known only now.
fn say(name: &str, args: &[Arg], ret: i64) {
    let args: Vec<&str> = args.iter().map(|arg| arg.1.as_str()).collect();
    println!("{name}({}) = {}", args.join(", "), result(ret));
}

/// Makes a call and says how it reads.
fn call(name: &str, nr: libc::c_long, args: &[Arg]) -> i64 {
    let ret = quietly(nr, args);
    say(name, args, ret);
    ret
}

/// The result as text, for a call that was just made.
fn result(ret: i64) -> String {
    if ret != -1 {
        return ret.to_string();
    }
    let errno = Errno::last();
    // SAFETY: a string of the C library's, of which a copy is made at once.
    let text = unsafe { CStr::from_ptr(libc::strerror(errno as i32)) };
    format!("-1 {errno:?} ({})", text.to_str().expect("text"))
}

/// Makes a call with a structure in the middle of memory and at the end of a page, with what is
/// nowhere, and with none; for calls that fail, or do no harm, in all cases.
fn everywhere(name: &str, nr: libc::c_long, args: &[Arg], at: usize, content: &[u8], text: &str) {
    let mut args = args.to_vec();
    let mut with = |arg: Arg| {
        args[at] = arg;
        call(name, nr, &args);
    };
    with(memory(content, text));
    with(at_page_end(content, text));
    for place in NOWHERE {
        with(address(place));
    }
    with(address(0));
}

/// Makes a call with each of the lower 32 bits alone, and with all that have names.
fn every_bit(
    name: &str,
    nr: libc::c_long,
    args: &[Arg],
    at: usize,
    names: &[(&str, u64)],
    unknown: &str,
) {
    let mut args = args.to_vec();
    let all = names.iter().fold(0, |all, (_, bit)| all | bit);
    for value in (0..32).map(|bit| 1 << bit).chain([all]) {
        args[at] = Arg(value, flags(value, names, unknown));
        call(name, nr, &args);
    }
}

/// Bits by their names, and the rest in hexadecimal; without a name, what `unknown` begins, or with a
/// question mark is.
fn flags(value: u64, names: &[(&str, u64)], unknown: &str) -> String {
    let mut rest = value;
    let mut parts = Vec::new();
    for (name, bits) in names {
        if *bits != 0 && rest & bits == *bits {
            parts.push((*name).to_owned());
            rest &= !bits;
        }
    }
    match (parts.is_empty(), rest) {
        (true, 0) => return "0".to_owned(),
        (true, rest) if unknown.ends_with('?') => return format!("{rest:#x} /* {unknown} */"),
        (true, rest) => return format!("{rest:#x} /* {unknown}_??? */"),
        (false, 0) => {}
        (false, rest) => parts.push(format!("{rest:#x}")),
    }
    parts.join("|")
}

/// Names of the C library's with their values.
macro_rules! names {
    ($($name:ident)*) => { [$((stringify!($name), libc::$name as u64)),*] };
}
use names;
