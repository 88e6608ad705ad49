//! What a span knows of its syscall.

use std::borrow::Cow;

use tracer_common::{
    errno,
    event::{Abi, CaptureHeader, CaptureState, MAX_ARGS, Phase, Reason, Record, X32_SYSCALL_BIT},
    memory::part,
    parse::Captures,
    syscalls::{self, ArgKind, Ret, Syscall},
};

use super::{DescriptorFile, Payload, StatusCode};

/// A call as the kernel delivered it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyscallSpan {
    /// Raw argument registers.
    pub args: [u64; MAX_ARGS],
    /// The result; meaningless unless [`Self::has_result`].
    pub ret: i64,
    /// Id of the thread's cgroup (v2).
    pub cgroup_id: u64,
    /// Effective user id of the thread as it entered the call, in the initial user namespace.
    pub uid: u32,
    /// Effective group id, likewise.
    pub gid: u32,
    /// Name of the thread, ended by a zero byte unless it fills the array.
    pub comm: [u8; 16],
    /// What was captured of the memory that arguments point to.
    pub payload: Payload,
    /// The number, in the numbering of `abi`.
    pub nr: u32,
    /// The calling convention.
    pub abi: Abi,
    /// Which ends of the call were seen.
    pub record: Record,
    /// Why it is not complete.
    pub reason: Reason,
}

/// Memory that an argument points to, as captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captured<'a> {
    /// How the reading went.
    pub state: CaptureState,
    /// The bytes: any, and not necessarily UTF-8; those of a string are without its zero.
    pub bytes: &'a [u8],
}

impl Captured<'_> {
    /// Whether there are bytes, all of them or the first.
    pub const fn is_read(&self) -> bool {
        matches!(self.state, CaptureState::Whole | CaptureState::Truncated)
    }
}

/// Errors lie in this range, syscall(2).
const ERRORS: std::ops::RangeInclusive<i64> = -4095..=-1;

/// `ERESTARTSYS`, `ERESTARTNOINTR`, `ERESTARTNOHAND` and `ERESTART_RESTARTBLOCK`: the kernel will
/// run the call again or turn it into `EINTR`; user space never sees them.
const RESTARTS: [u32; 4] = [512, 513, 514, 516];

impl SyscallSpan {
    /// The table's entry; `None` for a number this build does not know.
    pub fn info(&self) -> Option<&'static Syscall> {
        syscalls::lookup(self.abi, self.nr)
    }

    /// The name, or `syscall_` and the number. A call of the x32 ABI has its bit taken off.
    pub fn name(&self) -> Cow<'static, str> {
        if let Some(info) = self.info() {
            return Cow::Borrowed(info.name);
        }
        let nr = if self.abi == Abi::X32 { self.nr & !X32_SYSCALL_BIT } else { self.nr };
        // Past any table: a negative number reads better as the register it came in.
        Cow::Owned(if nr > i32::MAX.cast_unsigned() {
            format!("syscall_{nr:#x}")
        } else {
            format!("syscall_{nr}")
        })
    }

    /// How many arguments to show: all six for an unknown call.
    pub fn arg_count(&self) -> usize {
        self.info().map_or(MAX_ARGS, |info| info.args.len())
    }

    /// Whether there is a result. `rt_sigreturn` returns to where a signal came, with what was in
    /// the register then. A call that seccomp answers with a signal has its number for a result:
    /// `syscall_rollback`, <https://github.com/torvalds/linux/blob/v6.12/kernel/seccomp.c#L1260>.
    pub fn has_result(&self) -> bool {
        let rolled_back = self.record == Record::ExitOnly && self.ret == i64::from(self.nr);
        let meaningless = self.info().is_some_and(|info| info.ret == Ret::None);
        self.record != Record::EnterOnly && !rolled_back && !meaningless
    }

    /// The error number, when the call failed.
    pub fn errno(&self) -> Option<u32> {
        self.code().filter(|code| !RESTARTS.contains(code))
    }

    /// The name of the code by which the kernel says that a signal has interrupted the call: it
    /// will run it again, or turn the code into `EINTR`. Neither result nor error.
    pub fn restart(&self) -> Option<&'static str> {
        self.code().filter(|code| RESTARTS.contains(code)).and_then(errno::name)
    }

    /// A result that is not a value, as a positive number.
    fn code(&self) -> Option<u32> {
        let is_code = self.has_result() && ERRORS.contains(&self.ret) && !self.gives_owner();
        is_code.then(|| u32::try_from(self.ret.unsigned_abs()).unwrap_or_default())
    }

    /// `F_GETOWN` gives a process group as a negative number, fcntl(2).
    fn gives_owner(&self) -> bool {
        const F_GETOWN: u64 = 9;
        const EINVAL: i64 = -22;
        let is_fcntl = self.info().is_some_and(|it| matches!(it.name, "fcntl" | "fcntl64"));
        is_fcntl && self.args[1] & 0xffff_ffff == F_GETOWN && self.ret < EINVAL
    }

    /// The error's name, when the call failed; `errno_` and the number for one without a name.
    pub fn error(&self) -> Option<Cow<'static, str>> {
        let errno = self.errno()?;
        Some(errno::name(errno).map_or_else(|| Cow::Owned(format!("errno_{errno}")), Cow::Borrowed))
    }

    /// `Error` for an error, but not for a call that the kernel is about to run again.
    pub fn status(&self) -> StatusCode {
        match self.errno() {
            Some(_) => StatusCode::Error,
            None if self.has_result() && self.restart().is_none() => StatusCode::Ok,
            None => StatusCode::Unset,
        }
    }

    /// The string that argument `arg` (0..=5) points to; `None` when it is no string, or a null
    /// pointer.
    pub fn string(&self, arg: usize) -> Option<Captured<'_>> {
        let kind = self.info().and_then(|info| info.args.get(arg)).map(|arg| arg.kind);
        if !kind.is_some_and(ArgKind::is_string) || self.args.get(arg) == Some(&0) {
            return None;
        }
        // The kernel side had no memory for it, or did not see the entry.
        let unread = Captured { state: CaptureState::NotRead, bytes: &[] };
        Some(self.passed(arg, part::WHOLE).unwrap_or(unread))
    }

    /// What the program passed by argument `arg` (0..=5): a part of it, see
    /// [`tracer_common::memory::part`]. `None` when it was not to be captured.
    pub fn passed(&self, arg: usize, part: u8) -> Option<Captured<'_>> {
        self.captured(arg, part, |phase| phase != Phase::Exit as u8)
    }

    /// What the kernel returned by argument `arg`.
    pub fn returned(&self, arg: usize, part: u8) -> Option<Captured<'_>> {
        self.captured(arg, part, |phase| phase == Phase::Exit as u8)
    }

    /// One that was read again at exit stands behind the first try, and counts only where that has
    /// failed: what was read at entry is what the program has passed.
    fn captured(
        &self,
        arg: usize,
        part: u8,
        is_wanted: impl Fn(u8) -> bool,
    ) -> Option<Captured<'_>> {
        let mut found: Option<Captured<'_>> = None;
        for (header, bytes) in Captures::new(self.payload.as_slice()) {
            let is_it = usize::from(header.arg) == arg && header.part == part;
            if !is_it || !is_wanted(header.phase) || found.as_ref().is_some_and(Captured::is_read) {
                continue;
            }
            found = Some(Captured { state: state_of(header), bytes });
        }
        found
    }

    /// The arguments of which what the program has passed, or a part of it, could be read at exit
    /// alone, as bits: it may have been another at entry.
    pub fn read_late(&self) -> u8 {
        let captures = || Captures::new(self.payload.as_slice());
        let read_at = |phase: Phase| {
            captures().filter(move |(header, _)| {
                let state = Captured { state: state_of(*header), bytes: &[] };
                header.phase == phase as u8 && state.is_read()
            })
        };
        let mut late = 0;
        for (it, _) in read_at(Phase::Late) {
            let is_it =
                |(other, _): (CaptureHeader, &[u8])| (other.arg, other.part) == (it.arg, it.part);
            if !read_at(Phase::Enter).any(is_it) {
                late |= 1_u8.checked_shl(it.arg.into()).unwrap_or_default();
            }
        }
        late
    }

    /// The captures, if there are files of descriptors among them; else none.
    pub fn files(&self) -> &[u8] {
        let captures = self.payload.as_slice();
        if DescriptorFile::all(captures).next().is_some() { captures } else { &[] }
    }

    /// The thread's name.
    pub fn comm(&self) -> &[u8] {
        let end = self.comm.iter().position(|byte| *byte == 0).unwrap_or(self.comm.len());
        &self.comm[..end]
    }
}

fn state_of(header: CaptureHeader) -> CaptureState {
    CaptureState::from_wire(header.state).unwrap_or(CaptureState::Fault)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn call(nr: u32, ret: i64) -> SyscallSpan {
        SyscallSpan {
            args: [0; MAX_ARGS],
            ret,
            cgroup_id: 1,
            uid: 1000,
            gid: 100,
            comm: *b"cat\0\0\0\0\0\0\0\0\0\0\0\0\0",
            payload: Payload::new(&[]),
            nr,
            abi: Abi::X86_64,
            record: Record::Complete,
            reason: Reason::None,
        }
    }

    #[test]
    fn unknown_numbers_keep_their_number() {
        assert_eq!(call(257, 0).name(), "openat");
        assert_eq!(call(999, 0).name(), "syscall_999");
        assert_eq!(call(999, 0).arg_count(), 6);
        assert_eq!(call(u32::MAX, 0).name(), "syscall_0xffffffff");
        let x32 = SyscallSpan { abi: Abi::X32, ..call(X32_SYSCALL_BIT + 39, 0) };
        assert_eq!(x32.name(), "getpid");
    }

    #[test]
    fn results_are_told_apart() {
        assert_eq!(call(0, 5).status(), StatusCode::Ok);
        assert_eq!(call(0, -2).status(), StatusCode::Error);
        assert_eq!(call(0, -2).error().as_deref(), Some("ENOENT"));
        assert_eq!(call(0, -4096).errno(), None);
        assert_eq!(call(0, -1000).error().as_deref(), Some("errno_1000"));
        let restarted = call(0, -512);
        assert_eq!((restarted.status(), restarted.errno()), (StatusCode::Unset, None));
        assert_eq!(restarted.restart(), Some("ERESTARTSYS"));
        assert_eq!(call(0, -4).restart(), None);
        let open_end = SyscallSpan { record: Record::EnterOnly, ..call(231, -1) };
        assert_eq!((open_end.status(), open_end.errno()), (StatusCode::Unset, None));
    }

    #[test]
    fn what_was_read_at_entry_is_not_replaced() {
        let capture = |phase: Phase, part: u8, text: &[u8; 8]| {
            let state = if text[0] == 0 { CaptureState::Fault } else { CaptureState::Whole };
            let len = if text[0] == 0 { 0 } else { 8 };
            let mut bytes = vec![1, state as u8, phase as u8, part, len, 0, 0, 0];
            bytes.extend(&text[..len.into()]);
            bytes
        };
        let of = |parts: &[Vec<u8>]| SyscallSpan {
            payload: Payload::new(&parts.concat()),
            args: [0, 4096, 0, 0, 0, 0],
            ..call(20, 8)
        };
        let [none, before, after] = [&[0; 8], b"at entry", b"at exit!"];
        // Of an `iovec` array the first data could be read, the second not: both were read again.
        let both = of(&[
            capture(Phase::Enter, 1, before),
            capture(Phase::Enter, 2, none),
            capture(Phase::Late, 1, after),
            capture(Phase::Late, 2, after),
        ]);
        assert_eq!(both.passed(1, 1).unwrap().bytes, before);
        assert_eq!(both.passed(1, 2).unwrap().bytes, after);
        assert_eq!(both.read_late(), 0b10);
        let first = of(&[capture(Phase::Enter, 1, before), capture(Phase::Late, 1, after)]);
        assert_eq!(first.read_late(), 0);
        assert_eq!(of(&[capture(Phase::Exit, 1, after)]).read_late(), 0);
        let failed = of(&[capture(Phase::Enter, 1, none), capture(Phase::Late, 1, none)]);
        assert_eq!(failed.read_late(), 0);
    }

    #[test]
    fn a_string_read_again_replaces_the_first_try() {
        let mut bytes = vec![1, CaptureState::Fault as u8, 0, 0, 0, 0, 0, 0];
        bytes.extend([1, CaptureState::Whole as u8, 1, 0, 4, 0, 0, 0]);
        bytes.extend(b"/etc\0\0\0\0");
        let args = [0, 4096, 0, 0, 0, 0];
        let call = SyscallSpan { payload: Payload::new(&bytes), args, ..call(257, 3) };
        let string = call.string(1).unwrap();
        assert_eq!((string.state, string.bytes), (CaptureState::Whole, &b"/etc"[..]));
        assert_eq!(call.string(0), None);
        let unread = SyscallSpan { args, ..super::tests::call(257, 3) };
        assert_eq!(unread.string(1).unwrap().state, CaptureState::NotRead);
        assert_eq!(super::tests::call(257, 3).string(1), None);
    }
}
