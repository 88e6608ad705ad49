//! Keeping others off the CPU while a program runs.
//!
//! Where tracepoint programs can be preempted, the kernel skips a program that another task of the
//! same CPU has begun and not ended: it takes that for recursion,
//! <https://github.com/torvalds/linux/blob/v6.19/kernel/trace/bpf_trace.c#L2068>. A program that
//! cannot be preempted is hardly ever found begun.

use tracer_common::abi::kfunc;

/// Runs `body` without preemption, where that needs saying: the loader turns the two calls into
/// calls of `bpf_preempt_disable` and `bpf_preempt_enable`, or into nothing.
#[inline(always)]
pub(crate) fn disabled(body: impl FnOnce()) -> i32 {
    call::<{ kfunc::PREEMPT_DISABLE }>();
    body();
    call::<{ kfunc::PREEMPT_ENABLE }>();
    0
}

/// A call without arguments.
#[inline(always)]
fn call<const ID: i32>() {
    // SAFETY: the kernel's calling convention for helpers, with nothing passed or returned.
    unsafe {
        core::arch::asm!(
            "call {id}",
            id = const ID,
            out("r0") _,
            out("r1") _,
            out("r2") _,
            out("r3") _,
            out("r4") _,
            out("r5") _,
            options(nostack),
        );
    }
}
