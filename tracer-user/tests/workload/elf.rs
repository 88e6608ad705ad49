//! Programs of a few instructions, made here: nothing runs in them but the calls they are made of.

use std::{ffi::CString, io::Write, os::fd::FromRawFd};

/// How wide the program's registers and addresses are.
#[derive(Clone, Copy)]
pub(crate) enum Width {
    /// 32 bits: `ELFCLASS32` for i386.
    #[cfg(target_arch = "x86_64")]
    Narrow,
    /// 64 bits, for the machine this was built for.
    Wide,
}

const MACHINE: u16 = if cfg!(target_arch = "aarch64") { 183 } else { 62 };
#[cfg(target_arch = "x86_64")]
const EM_386: u16 = 3;

/// A static program: one segment that holds the headers, the code and `data` behind it. Layout:
/// elf(5).
fn image(width: Width, code: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut put = |bytes: &[u8]| out.extend_from_slice(bytes);
    match width {
        Width::Wide => {
            const HEAD: u64 = 64 + 56;
            const BASE: u64 = 0x40_0000;
            let size = HEAD + code.len() as u64;
            put(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
            put(&2u16.to_le_bytes());
            put(&MACHINE.to_le_bytes());
            put(&1u32.to_le_bytes());
            for word in [BASE + HEAD, 64, 0] {
                put(&word.to_le_bytes());
            }
            put(&0u32.to_le_bytes());
            for half in [64u16, 56, 1, 0, 0, 0] {
                put(&half.to_le_bytes());
            }
            for word in [1u32, 5] {
                put(&word.to_le_bytes());
            }
            for word in [0, BASE, BASE, size, size, 0x1000] {
                put(&word.to_le_bytes());
            }
        }
        #[cfg(target_arch = "x86_64")]
        Width::Narrow => {
            const HEAD: u32 = 52 + 32;
            const BASE: u32 = 0x0804_8000;
            let size = HEAD + u32::try_from(code.len()).expect("a small program");
            put(b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0");
            put(&2u16.to_le_bytes());
            put(&EM_386.to_le_bytes());
            for word in [1, BASE + HEAD, 52, 0, 0] {
                put(&word.to_le_bytes());
            }
            for half in [52u16, 32, 1, 0, 0, 0] {
                put(&half.to_le_bytes());
            }
            for word in [1, 0, BASE, BASE, size, size, 5, 0x1000] {
                put(&word.to_le_bytes());
            }
        }
    }
    out.extend_from_slice(code);
    out
}

/// Puts a program into memory and returns a path by which this process and its children can
/// execute it.
pub(crate) fn in_memory(width: Width, code: &[u8]) -> CString {
    // SAFETY: a valid name.
    let fd = unsafe { libc::memfd_create(c"program".as_ptr(), 0) };
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the kernel has just given this descriptor to us.
    let mut file = unsafe { std::fs::File::from_raw_fd(fd) };
    file.write_all(&image(width, code)).expect("room in memory");
    std::mem::forget(file);
    CString::new(format!("/proc/self/fd/{fd}")).expect("text")
}

/// The code of a program that calls `getppid` and ends with status 0.
#[cfg(target_arch = "x86_64")]
pub(crate) const ONE_CALL: &[u8] = &[
    0xb8, 110, 0, 0, 0, 0x0f, 0x05, // mov eax, getppid; syscall
    0x31, 0xff, // xor edi, edi
    0xb8, 231, 0, 0, 0, 0x0f, 0x05, // mov eax, exit_group; syscall
];

/// The code of a program that calls `getppid` and ends with status 0.
#[cfg(target_arch = "aarch64")]
pub(crate) const ONE_CALL: &[u8] = &[
    0xa8, 0x15, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4, // mov x8, getppid; svc 0
    0x00, 0x00, 0x80, 0xd2, // mov x0, 0
    0xc8, 0x0b, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4, // mov x8, exit_group; svc 0
];
