//! Memory of the kernel at addresses that the verifier does not know. Where there is none, a read
//! gives 0. (Of Linux 6.2 to 6.8 without its fixes of 2024 that is not true of the page of the
//! vsyscalls, <https://github.com/torvalds/linux/commit/b599d7d26d6a>, which no pointer of the kernel
//! leads to.)
//!
//! A kernel that has `bpf_rdonly_cast` (6.2) lets a program load 8 bytes from any address with one
//! instruction ([`word`]). Elsewhere each such load is a call of a helper. What is generic over `CAST`
//! loads words either way; [`HAS_CAST`](crate::maps::HAS_CAST) says which, and the verifier drops the
//! other.

use core::mem::MaybeUninit;

use aya_ebpf::{Global, helpers::generated::bpf_probe_read_kernel};

/// Bytes of a word.
pub(crate) const WORD: u64 = 8;

/// Takes a number for a pointer to `struct rusage`, which is 18 words. Reading through it cannot
/// fault: where there is no memory the value is 0.
///
/// The second instruction calls `bpf_rdonly_cast`; the loader writes the ids of struct and function to
/// where the markers of [`tracer_common::abi`] stand. The verifier makes a move of the call.
#[inline(always)]
fn cast(pointer: u64) -> *mut u8 {
    let typed: *mut u8;
    // SAFETY: changes the registers that a call changes.
    unsafe {
        core::arch::asm!(
            "r2 = {words}",
            ".byte 0x85, 0x20, 0, 0",
            ".long {function}",
            words = const tracer_common::abi::WORDS_MARKER,
            function = const tracer_common::abi::CAST_MARKER,
            in("r1") pointer,
            lateout("r0") typed,
            lateout("r1") _,
            out("r2") _,
            lateout("r3") _,
            lateout("r4") _,
            lateout("r5") _,
            options(nostack),
        );
    }
    typed
}

/// Words at an address of the kernel's memory that a kernel with `bpf_rdonly_cast` loads.
#[derive(Clone, Copy)]
pub(crate) struct Words(*mut u8);

impl Words {
    #[inline(always)]
    pub(crate) fn at(address: u64) -> Self {
        Self(cast(address))
    }

    /// Word number `NUMBER`; 0 where there is no memory.
    #[inline(always)]
    pub(crate) fn get<const NUMBER: u32>(self) -> u64 {
        const { assert!(NUMBER < 18, "`struct rusage` has so many words") };
        // SAFETY: the struct has a word there.
        unsafe { field(self.0, NUMBER * WORD as u32) }
    }
}

/// The 8 bytes at an address of the kernel's memory; 0 where there is none. A field that is shorter
/// is in the lower ones.
#[inline(always)]
pub(crate) fn word<const CAST: bool>(address: u64) -> u64 {
    if CAST { Words::at(address).get::<0>() } else { read_kernel(address) }
}

/// Two words that follow each other.
#[inline(always)]
pub(crate) fn words<const CAST: bool>(address: u64) -> [u64; 2] {
    if CAST {
        let both = Words::at(address);
        [both.get::<0>(), both.get::<1>()]
    } else {
        read_kernel(address)
    }
}

/// [`word`] of a field.
#[inline(always)]
pub(crate) fn at<const CAST: bool>(base: u64, offset: &Global<u32>) -> u64 {
    word::<CAST>(base + u64::from(offset.load()))
}

/// Reads memory of the kernel at an address that the verifier does not know; 0 where there is none.
/// The helper itself writes zeroes where it cannot read, so nothing is asked here: the verifier goes
/// both ways at each question, and there are chains of these.
#[inline(always)]
pub(crate) fn read_kernel<T: Copy + Default>(address: u64) -> T {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: there is room for a `T`.
    read_kernel_to(address, unsafe { &mut *value.as_mut_ptr() });
    // SAFETY: all of it is written, and numbers have no bytes that are not valid.
    unsafe { value.assume_init() }
}

/// The same, to where the value shall be.
#[inline(always)]
pub(crate) fn read_kernel_to<T: Copy + Default>(address: u64, to: &mut T) {
    // SAFETY: there is room for a `T`; the helper checks the address.
    let _ = unsafe {
        bpf_probe_read_kernel((&raw mut *to).cast(), size_of::<T>() as u32, address as *const _)
    };
}

/// Clears words one by one: the compiler would call a function that clears bytes.
///
/// # Safety
/// There must be room for `WORDS` words, aligned.
#[inline(always)]
pub(crate) unsafe fn clear_words<const WORDS: usize>(to: *mut u64) {
    for at in 0..WORDS {
        // SAFETY: by the caller's word.
        unsafe { to.add(at).write_volatile(0) };
    }
}

/// Loads a field of a kernel struct.
///
/// # Safety
/// `base` must be a pointer that the verifier knows, `offset` that of a field of type `T`.
#[inline(always)]
pub(crate) unsafe fn field<T: Copy>(base: *mut u8, offset: u32) -> T {
    // SAFETY: by the caller's word; volatile, so that loads are neither merged nor widened.
    unsafe { core::ptr::read_volatile(base.add(offset as usize).cast::<T>()) }
}
