//! Registers: which hold the number and the arguments of a call.

#[cfg(bpf_target_arch = "x86_64")]
mod registers {
    use aya_ebpf::bindings::pt_regs;
    use tracer_common::event::{Abi, MAX_ARGS, X32_SYSCALL_BIT};

    use crate::task::Task;

    /// How the task makes this call. An `int 0x80` or a 32-bit program's call sets `TS_COMPAT`,
    /// <https://github.com/torvalds/linux/blob/v6.12/arch/x86/include/asm/thread_info.h#L215>.
    #[inline(always)]
    pub(crate) fn abi(task: Task, nr: u32) -> Abi {
        if task.is_compat() {
            Abi::I386
        } else if nr != u32::MAX && nr & X32_SYSCALL_BIT != 0 {
            Abi::X32
        } else {
            Abi::X86_64
        }
    }

    /// Whether `abi` uses the 32-bit table.
    #[inline(always)]
    pub(crate) fn is_32_bit(abi: Abi) -> bool {
        matches!(abi, Abi::I386)
    }

    /// Writes the arguments in the order of the calling convention of `abi`, syscall(2). Where
    /// they belong, at once: a copy would be one on the stack.
    #[inline(always)]
    pub(crate) fn write_args(regs: *const pt_regs, abi: Abi, args: &mut [u64; MAX_ARGS]) {
        // SAFETY: the tracepoint passes the registers of the current task.
        let regs = unsafe { &*regs };
        if is_32_bit(abi) {
            const LOW: u64 = u32::MAX as u64;
            args[0] = regs.rbx & LOW;
            args[1] = regs.rcx & LOW;
            args[2] = regs.rdx & LOW;
            args[3] = regs.rsi & LOW;
            args[4] = regs.rdi & LOW;
            args[5] = regs.rbp & LOW;
        } else {
            args[0] = regs.rdi;
            args[1] = regs.rsi;
            args[2] = regs.rdx;
            args[3] = regs.r10;
            args[4] = regs.r8;
            args[5] = regs.r9;
        }
    }

    /// The number of the call that is returning.
    #[inline(always)]
    pub(crate) fn exit_nr(regs: *const pt_regs) -> u32 {
        // SAFETY: the tracepoint passes the registers of the current task.
        unsafe { (*regs).orig_rax as u32 }
    }

    /// Writes the arguments as far as the registers still hold them at exit: all, on this
    /// architecture.
    #[inline(always)]
    pub(crate) fn write_args_at_exit(regs: *const pt_regs, abi: Abi, args: &mut [u64; MAX_ARGS]) {
        write_args(regs, abi, args);
    }
}

#[cfg(bpf_target_arch = "aarch64")]
mod registers {
    use aya_ebpf::bindings::{pt_regs, user_pt_regs};
    use tracer_common::event::{Abi, MAX_ARGS};

    use crate::task::Task;

    /// The kernel's `struct pt_regs` goes on after what user space may see,
    /// <https://github.com/torvalds/linux/blob/v6.12/arch/arm64/include/asm/ptrace.h#L148>.
    #[repr(C)]
    struct KernelRegs {
        user: user_pt_regs,
        orig_x0: u64,
        syscallno: i32,
    }

    /// How the task makes this call; a 32-bit program has `TIF_32BIT`.
    #[inline(always)]
    pub(crate) fn abi(task: Task, _nr: u32) -> Abi {
        if task.is_compat() { Abi::Arm } else { Abi::Aarch64 }
    }

    /// Whether `abi` uses the 32-bit table.
    #[inline(always)]
    pub(crate) fn is_32_bit(abi: Abi) -> bool {
        matches!(abi, Abi::Arm)
    }

    /// Writes the arguments in the order of the calling convention, syscall(2).
    #[inline(always)]
    pub(crate) fn write_args(regs: *const pt_regs, _abi: Abi, args: &mut [u64; MAX_ARGS]) {
        // SAFETY: the tracepoint passes the registers of the current task.
        let x = unsafe { &(*regs.cast::<KernelRegs>()).user.regs };
        args[0] = x[0];
        args[1] = x[1];
        args[2] = x[2];
        args[3] = x[3];
        args[4] = x[4];
        args[5] = x[5];
    }

    /// The number of the call that is returning.
    #[inline(always)]
    pub(crate) fn exit_nr(regs: *const pt_regs) -> u32 {
        // SAFETY: the tracepoint passes the registers of the current task.
        unsafe { (*regs.cast::<KernelRegs>()).syscallno as u32 }
    }

    /// At exit the result is in x0; the first argument was kept aside.
    #[inline(always)]
    pub(crate) fn write_args_at_exit(regs: *const pt_regs, abi: Abi, args: &mut [u64; MAX_ARGS]) {
        write_args(regs, abi, args);
        // SAFETY: the tracepoint passes the registers of the current task.
        args[0] = unsafe { (*regs.cast::<KernelRegs>()).orig_x0 };
    }
}

pub(crate) use registers::{abi, exit_nr, is_32_bit, write_args, write_args_at_exit};
