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
    const ALL_STRINGS: u64 = 0xfff << Self::STRINGS_SHIFT;
    const FILES_SHIFT: u32 = 20;
    const FILE_BITS: u32 = 6;
    const FILE_SET: u64 = 8;
    const FILE_OF_PATH: u64 = 16;
    const FILE_ENDS: u64 = 32;
    const FOLDERS_SHIFT: u32 = 32;
    const FOLDER_BITS: u32 = 4;
    const FOLDER_SET: u64 = 8;
    const INSIDE_SHIFT: u32 = 40;
    const RETURNS: u64 = 1 << 48;
    const RETURNS_COPY: u64 = 1 << 49;
    const FILE_NEEDED_SHIFT: u32 = 50;
    const UNLESS_SHIFT: u32 = 52;
    const UNLESS_SET: u64 = 256;
    const MOVES_FOLDER: u64 = 1 << 61;
    const FILES: u64 = !0 << Self::FILES_SHIFT;

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

    /// The descriptor in `slot` (below [`MAX_FILES`]) is argument `arg` (0..=5).
    #[must_use]
    pub const fn file(self, slot: u32, file: FileArg) -> Self {
        let shift = Self::FILES_SHIFT + slot * Self::FILE_BITS;
        let of_path = if file.of_path { Self::FILE_OF_PATH } else { 0 };
        let ends = if file.ends { Self::FILE_ENDS } else { 0 };
        let needed = (file.is_needed as u64) << (Self::FILE_NEEDED_SHIFT + slot);
        Self(self.0 | needed | (Self::FILE_SET | of_path | ends | file.arg as u64) << shift)
    }
    /// Where bit `bit` (0..=31) of argument `arg` (0..=5) is set, what stands where descriptors do is
    /// none.
    #[must_use]
    pub const fn no_files_if(self, arg: u32, bit: u32) -> Self {
        Self(self.0 | (Self::UNLESS_SET | (bit << 3 | arg) as u64) << Self::UNLESS_SHIFT)
    }
    /// The call can itself move the current folder.
    #[must_use]
    pub const fn moves_folder(self) -> Self {
        Self(self.0 | Self::MOVES_FOLDER)
    }
    /// The path in `slot` (below [`MAX_FOLDERS`]), which starts from the current folder unless it
    /// is absolute, is argument `arg` (0..=5).
    #[must_use]
    pub const fn folder(self, slot: u32, arg: u32) -> Self {
        let shift = Self::FOLDERS_SHIFT + slot * Self::FOLDER_BITS;
        Self(self.0 | (Self::FOLDER_SET | arg as u64) << shift)
    }
    /// The memory of argument `arg` (0..=5) has descriptors.
    #[must_use]
    pub const fn inside(self, inside: Inside, arg: u32) -> Self {
        Self(self.0 | (inside as u64 | (arg as u64) << 4) << Self::INSIDE_SHIFT)
    }
    /// The result is a descriptor.
    #[must_use]
    pub const fn returns_file(self) -> Self {
        Self(self.0 | Self::RETURNS)
    }
    /// The result is a descriptor if the second argument is `F_DUPFD` or `F_DUPFD_CLOEXEC`.
    #[must_use]
    pub const fn returns_copy(self) -> Self {
        Self(self.0 | Self::RETURNS_COPY)
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
    /// Which [`captures`] the call needs; none unless it is traced.
    #[must_use]
    pub const fn captures(self) -> u32 {
        if !self.is_traced() {
            return 0;
        }
        let strings = if self.has_strings() { captures::STRINGS } else { 0 };
        let memory = if self.has_memory() { captures::MEMORY } else { 0 };
        strings | memory
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
        self.0 & Self::ALL_STRINGS != 0
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
    /// Whether any file is to be named.
    #[inline(always)]
    pub const fn has_files(self) -> bool {
        self.0 & Self::FILES != 0
    }
    /// The descriptor in `slot`.
    #[inline(always)]
    pub const fn file_arg(self, slot: u32) -> Option<FileArg> {
        let packed = self.0 >> (Self::FILES_SHIFT + slot * Self::FILE_BITS);
        if packed & Self::FILE_SET == 0 {
            return None;
        }
        Some(FileArg {
            arg: (packed & 7) as u32,
            of_path: packed & Self::FILE_OF_PATH != 0,
            ends: packed & Self::FILE_ENDS != 0,
            is_needed: self.0 >> (Self::FILE_NEEDED_SHIFT + slot) & 1 != 0,
        })
    }
    /// The argument and its bit that say that no register has a descriptor.
    #[inline(always)]
    pub const fn no_files_by(self) -> Option<(u32, u32)> {
        let packed = self.0 >> Self::UNLESS_SHIFT;
        if packed & Self::UNLESS_SET == 0 {
            return None;
        }
        Some(((packed & 7) as u32, (packed >> 3 & 31) as u32))
    }
    /// Whether the call can itself move the current folder.
    #[inline(always)]
    pub const fn can_move_folder(self) -> bool {
        self.0 & Self::MOVES_FOLDER != 0
    }
    /// The argument of the path in `slot`, of those that start from the current folder.
    #[inline(always)]
    pub const fn folder_arg(self, slot: u32) -> Option<u32> {
        let packed = self.0 >> (Self::FOLDERS_SHIFT + slot * Self::FOLDER_BITS);
        if packed & Self::FOLDER_SET == 0 { None } else { Some((packed & 7) as u32) }
    }
    /// A number of [`Inside`], 0 for none, and the argument whose memory has the descriptors.
    #[inline(always)]
    pub const fn inside_arg(self) -> (u64, u32) {
        let packed = self.0 >> Self::INSIDE_SHIFT;
        (packed & 15, (packed >> 4 & 7) as u32)
    }
    /// Whether the kernel returns descriptors in memory.
    #[inline(always)]
    pub const fn returns_inside(self) -> bool {
        let inside = self.inside_arg().0;
        inside == Inside::Received as u64 || inside == Inside::Pair as u64
    }
    /// Whether the result can be a descriptor.
    #[inline(always)]
    pub const fn can_return_file(self) -> bool {
        self.0 & (Self::RETURNS | Self::RETURNS_COPY) != 0
    }
    /// Whether it is one only if the second argument says so, as with `fcntl`.
    #[inline(always)]
    pub const fn is_returned_by_command(self) -> bool {
        self.0 & Self::RETURNS_COPY != 0
    }
}

/// Most descriptors that a call has in its registers.
pub const MAX_FILES: usize = 2;
/// Most paths of a call that start from the current folder without naming it.
pub const MAX_FOLDERS: usize = 2;

/// A descriptor in a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileArg {
    /// Its argument, 0..=5.
    pub arg: u32,
    /// Whether it is the folder of the path in the argument that follows: an absolute path does
    /// not use it.
    pub of_path: bool,
    /// Whether the call itself makes it lead elsewhere, as `close` does.
    pub ends: bool,
    /// Whether the call fails if it is not open.
    pub is_needed: bool,
}

/// Descriptors in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Inside {
    /// An array of `struct pollfd`, of as many elements as the next argument says, at entry.
    Poll = 1,
    /// Three sets of bits, one an argument, of as many bits as the first argument says, at entry.
    Sets = 2,
    /// Control messages of a `struct msghdr` that is sent, at entry.
    Sent = 3,
    /// The same of one that was received, at exit.
    Received = 4,
    /// Two numbers that the call has written, at exit.
    Pair = 5,
}

/// Bits of what the plans of traced calls can ask for. The kernel side is loaded without the code
/// for the others, which the verifier then does not look at.
pub mod captures {
    /// Strings, in at least one plan.
    pub const STRINGS: u32 = 1;
    /// Operations of [`crate::memory`], in at least one plan.
    pub const MEMORY: u32 = 1 << 1;
    /// Whatever a plan can ask for.
    pub const ALL: u32 = STRINGS | MEMORY;
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
