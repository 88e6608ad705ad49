//! Counting, without losing a count.

use tracer_common::counter::Counter;

use crate::maps::{ATOMIC_COUNTERS, COUNTERS};

/// The counters of this CPU.
#[derive(Clone, Copy)]
pub(crate) struct Stats {
    /// The first of them.
    counters: *mut u64,
    preemptible: bool,
}

impl Stats {
    /// `None` cannot happen (the map has one entry per CPU) but the verifier wants it asked.
    #[inline(always)]
    pub(crate) fn get() -> Option<Self> {
        Self::of_this_cpu(false)
    }

    /// The same, for a program that can be preempted by others that count.
    #[inline(always)]
    pub(crate) fn get_preemptible() -> Option<Self> {
        Self::of_this_cpu(true)
    }

    #[inline(always)]
    fn of_this_cpu(preemptible: bool) -> Option<Self> {
        let counters = COUNTERS.get_ptr_mut(0)?;
        // SAFETY: no reference is made; the map has the value.
        let counters = unsafe { &raw mut (*counters).values }.cast::<u64>();
        Some(Self { counters, preemptible })
    }

    /// Adds one. A program that cannot be preempted has this CPU's value for itself, so that a
    /// plain add is exact; else the add must be atomic.
    #[inline(always)]
    pub(crate) fn bump(self, counter: Counter) {
        // SAFETY: the counter is inside the map value, which lives as long as the program.
        let value = unsafe { self.counters.add(counter as usize) };
        if ATOMIC_COUNTERS.load() == 0 && !self.preemptible {
            // SAFETY: aligned and valid; no other program runs on this CPU meanwhile.
            unsafe { *value += 1 };
        } else {
            // SAFETY: aligned and valid; all writers use atomic adds.
            unsafe { atomic_add(value, 1) };
        }
    }
}

/// `BPF_ATOMIC | BPF_ADD`. The target has no compare-and-swap in its baseline, so `core` offers no
/// atomic arithmetic for it at all, though every BPF kernel has this instruction.
///
/// # Safety
/// `value` must be aligned and valid.
#[inline(always)]
pub(crate) unsafe fn atomic_add(value: *mut u64, change: u64) {
    // SAFETY: by the caller's word.
    unsafe {
        core::arch::asm!(
            "lock *(u64 *)({value} + 0) += {change}",
            value = in(reg) value,
            change = in(reg) change,
            options(nostack),
        );
    }
}

/// `BPF_XCHG`: stores `new` and returns what was there.
///
/// # Safety
/// `value` must be aligned and valid.
#[inline(always)]
pub(crate) unsafe fn swap(value: *mut u32, new: u32) -> u32 {
    let mut old = new;
    // SAFETY: by the caller's word.
    unsafe {
        core::arch::asm!(
            "{old} = xchg32_32({value} + 0, {old})",
            value = in(reg) value,
            old = inout(wreg) old,
            options(nostack),
        );
    }
    old
}

/// All loads before it are done before any load behind it. x86 keeps loads in their order; elsewhere
/// an atomic exchange of a word that nobody else writes orders them.
///
/// # Safety
/// `word` must be aligned and valid.
#[inline(always)]
pub(crate) unsafe fn order_loads(word: *mut u32) {
    #[cfg(not(bpf_target_arch = "x86_64"))]
    // SAFETY: by the caller's word.
    unsafe {
        swap(word, 0);
    }
    #[cfg(bpf_target_arch = "x86_64")]
    let _ = word;
}

/// `BPF_FETCH | BPF_ADD`: adds, with wrap-around, and returns what was there.
///
/// # Safety
/// `value` must be aligned and valid.
#[inline(always)]
pub(crate) unsafe fn fetch_add(value: *mut u32, change: u32) -> u32 {
    let mut old = change;
    // SAFETY: by the caller's word.
    unsafe {
        core::arch::asm!(
            "{old} = atomic_fetch_add((u32 *)({value} + 0), {old})",
            value = in(reg) value,
            old = inout(wreg) old,
            options(nostack),
        );
    }
    old
}

/// `BPF_FETCH | BPF_OR`: sets bits and returns what was there.
///
/// # Safety
/// `value` must be aligned and valid.
#[inline(always)]
pub(crate) unsafe fn set_bits(value: *mut u64, bits: u64) -> u64 {
    let mut old = bits;
    // SAFETY: by the caller's word.
    unsafe {
        core::arch::asm!(
            "{old} = atomic_fetch_or((u64 *)({value} + 0), {old})",
            value = in(reg) value,
            old = inout(reg) old,
            options(nostack),
        );
    }
    old
}

/// `BPF_FETCH | BPF_AND`: clears bits and returns what was there.
///
/// # Safety
/// `value` must be aligned and valid.
#[inline(always)]
pub(crate) unsafe fn clear_bits(value: *mut u64, bits: u64) -> u64 {
    let mut old = !bits;
    // SAFETY: by the caller's word.
    unsafe {
        core::arch::asm!(
            "{old} = atomic_fetch_and((u64 *)({value} + 0), {old})",
            value = in(reg) value,
            old = inout(reg) old,
            options(nostack),
        );
    }
    old
}
