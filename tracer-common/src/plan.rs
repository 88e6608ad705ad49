//! What the kernel side does with a syscall: one word per ABI and number, looked up at each call.

/// Plans per ABI. Numbers at or past [`OTHER`] share the plan at [`OTHER`].
pub const PER_ABI: u32 = 512;

/// The place of the plan for all numbers that have none of their own.
pub const OTHER: u32 = PER_ABI - 1;

/// Number of plans in the map: the native ABI, then the 32-bit one.
pub const PLANS: u32 = PER_ABI * 2;

/// Most strings that one call has captured.
pub const MAX_STRINGS: usize = 3;

/// A syscall's plan, packed into a word so that a map update is atomic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Plan(pub u64);

impl Plan {
    const TRACED: u64 = 1;
    const NO_RETURN: u64 = 1 << 1;
    const FORKS: u64 = 1 << 2;
    const EXECS: u64 = 1 << 3;
    const NO_RESULT: u64 = 1 << 4;
    const MEMORY: u64 = 1 << 5;
    const NARROW: u64 = 1 << 6;
    const STRINGS_SHIFT: u32 = 8;
    const STRING_BITS: u32 = 4;
    const STRING_SET: u64 = 8;

    /// The call passes the syscall filter.
    #[must_use]
    pub const fn traced(self, yes: bool) -> Self {
        Self(if yes { self.0 | Self::TRACED } else { self.0 & !Self::TRACED })
    }
    /// The call never returns.
    #[must_use]
    pub const fn no_return(self) -> Self {
        Self(self.0 | Self::NO_RETURN)
    }
    /// The call returns a second time, in a new task.
    #[must_use]
    pub const fn forks(self) -> Self {
        Self(self.0 | Self::FORKS)
    }
    /// The call replaces the program.
    #[must_use]
    pub const fn execs(self) -> Self {
        Self(self.0 | Self::EXECS)
    }
    /// What the call seems to return is no result of it.
    #[must_use]
    pub const fn no_result(self) -> Self {
        Self(self.0 | Self::NO_RESULT)
    }
    /// The call returns 32 bits, and zeroes above those of an error.
    #[must_use]
    pub const fn narrow(self) -> Self {
        Self(self.0 | Self::NARROW)
    }
    /// The call has operations of [`crate::memory`].
    #[must_use]
    pub const fn memory(self) -> Self {
        Self(self.0 | Self::MEMORY)
    }
    /// The string in `slot` (below [`MAX_STRINGS`]) is argument `arg` (0..=5).
    #[must_use]
    pub const fn string(self, slot: u32, arg: u32) -> Self {
        let shift = Self::STRINGS_SHIFT + slot * Self::STRING_BITS;
        Self(self.0 | ((Self::STRING_SET | arg as u64) << shift))
    }

    /// Whether the call passes the syscall filter.
    #[inline(always)]
    pub const fn is_traced(self) -> bool {
        self.0 & Self::TRACED != 0
    }
    /// Whether the call never returns.
    #[inline(always)]
    pub const fn is_no_return(self) -> bool {
        self.0 & Self::NO_RETURN != 0
    }
    /// Whether the call returns a second time, in a new task.
    #[inline(always)]
    pub const fn is_fork(self) -> bool {
        self.0 & Self::FORKS != 0
    }
    /// Whether the call replaces the program.
    #[inline(always)]
    pub const fn is_exec(self) -> bool {
        self.0 & Self::EXECS != 0
    }
    /// Whether what the call seems to return is no result of it.
    #[inline(always)]
    pub const fn has_no_result(self) -> bool {
        self.0 & Self::NO_RESULT != 0
    }
    /// The result with the sign that it has for the program.
    #[inline(always)]
    pub const fn result(self, ret: i64) -> i64 {
        // Errors, from `MAX_ERRNO` to 1, as negative numbers of 32 bits.
        let is_error = matches!(ret, 0xffff_f001..=0xffff_ffff);
        if is_error && self.0 & Self::NARROW != 0 { ret - (1 << 32) } else { ret }
    }
    /// Whether any argument is a string.
    #[inline(always)]
    pub const fn has_strings(self) -> bool {
        self.0 >> Self::STRINGS_SHIFT != 0
    }
    /// Whether the call has operations of [`crate::memory`].
    #[inline(always)]
    pub const fn has_memory(self) -> bool {
        self.0 & Self::MEMORY != 0
    }
    /// The argument of the string in `slot`.
    #[inline(always)]
    pub const fn string_arg(self, slot: u32) -> Option<u32> {
        let shift = Self::STRINGS_SHIFT + slot * Self::STRING_BITS;
        // A bit of its own says that there is one: the verifier cannot follow arithmetic between
        // the test of a value and its use as an index.
        let packed = self.0 >> shift;
        if packed & Self::STRING_SET == 0 { None } else { Some((packed & 7) as u32) }
    }
}

/// Bits of the filters on how a call ended; a call must pass all that are set.
pub mod result {
    /// Only calls that succeeded (`-z`).
    pub const SUCCESSFUL: u32 = 1;
    /// Only calls that failed (`-Z`).
    pub const FAILED: u32 = 1 << 1;
    /// Only calls that failed with one of a set of errors (`--errno`).
    pub const ERRNO: u32 = 1 << 2;
    /// Only calls that took at least a given time (`--min-duration`).
    pub const MIN_DURATION: u32 = 1 << 3;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_32_bits_get_their_sign() {
        let narrow = Plan::default().narrow();
        assert!(!narrow.has_strings());
        for (ret, expected) in
            [(0xffff_ffda, -38), (-38, -38), (0xffff_f000, 0xffff_f000), (16, 16), (0, 0)]
        {
            assert_eq!(narrow.result(ret), expected);
            assert_eq!(Plan::default().result(ret), ret);
        }
    }

    #[test]
    fn strings_keep_their_slots() {
        let plan = Plan::default().traced(true).string(0, 1).string(1, 3).string(2, 5);
        assert!(plan.is_traced() && plan.has_strings());
        assert_eq!(plan.string_arg(0), Some(1));
        assert_eq!(plan.string_arg(1), Some(3));
        assert_eq!(plan.string_arg(2), Some(5));
        assert_eq!(Plan::default().traced(true).string_arg(0), None);
        assert!(!plan.traced(false).is_traced());
    }
}
