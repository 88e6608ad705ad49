//! Strings of a call: read into the task's storage at entry, again at exit where the page was not
//! resident, and never after a successful exec, when the old memory is gone.

use aya_ebpf::helpers::generated::{
    bpf_probe_read_kernel, bpf_probe_read_user, bpf_probe_read_user_str,
};
use tracer_common::{
    counter::Counter,
    event::{
        CaptureHeader, CaptureState, LARGE_PAYLOAD, MAX_STRING, Phase, SMALL_PAYLOAD, SMALL_STRING,
        SyscallEvent,
    },
    plan::{MAX_STRINGS, Plan},
};

use crate::{
    maps::{InFlight, LARGE},
    stats::Stats,
    task::Task,
};

/// There are no captures.
pub(crate) const NOWHERE: u8 = 0;
/// They are in [`InFlight::payload`].
pub(crate) const IN_SMALL: u8 = 1;
/// They are in [`LARGE`].
pub(crate) const IN_LARGE: u8 = 2;

pub(crate) const HEADER: usize = size_of::<CaptureHeader>();

/// The largest offset from which header and `len` bytes still fit. Offsets are multiples of 8 and
/// this is one less than such a multiple: the verifier of 6.18 finds its own bounds violated, and
/// warns in the kernel log, where a comparison splits at a multiple.
pub(crate) const fn last_offset(payload: usize, len: usize) -> usize {
    let last = payload - HEADER - len - 1;
    assert!(last % 8 == 7);
    last
}

/// How the reading of a call's strings went.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    Faulted,
    TooLong,
}

/// Reads the strings of a call that is being entered.
#[inline(always)]
pub(crate) fn at_enter(stats: Stats, task: Task, state: &mut InFlight, plan: Plan) {
    state.captured = IN_SMALL;
    let mut cursor = Cursor::default();
    if fill_small(&mut state.payload, &state.event.args, plan, &mut cursor, false)
        != Outcome::TooLong
    {
        cursor.store(&mut state.event);
        return;
    }
    // The strings read so far are kept when there is no memory for the long ones.
    let large = LARGE.get_or_create(task.0);
    if large.is_null() {
        stats.bump(Counter::StringNotRead);
        cursor.store(&mut state.event);
        return;
    }
    // SAFETY: a non-null storage value is valid while its task runs this program.
    let large = unsafe { &mut *large };
    let mut cursor = Cursor::default();
    fill_large(&mut large.payload, &state.event.args, plan, &mut cursor, false);
    state.captured = IN_LARGE;
    cursor.store(&mut state.event);
}

/// Reads again, at exit, the strings whose pages were not resident at entry; those stand behind
/// the others then.
#[inline(always)]
pub(crate) fn at_exit(stats: Stats, task: Task, state: &mut InFlight, plan: Plan) {
    let mut cursor = Cursor::load(&state.event);
    let mut outcome = Outcome::TooLong;
    if state.captured == IN_SMALL {
        outcome = fill_small(&mut state.payload, &state.event.args, plan, &mut cursor, true);
        if outcome == Outcome::TooLong && !move_to_large(task, state) {
            stats.bump(Counter::StringNotRead);
            cursor.store(&mut state.event);
            return;
        }
    }
    if outcome == Outcome::TooLong {
        let large = LARGE.get(task.0);
        if large.is_null() {
            return;
        }
        // SAFETY: as above.
        let large = unsafe { &mut *large };
        outcome = fill_large(&mut large.payload, &state.event.args, plan, &mut cursor, true);
    }
    if outcome == Outcome::Faulted {
        stats.bump(Counter::StringFault);
    }
    cursor.store(&mut state.event);
}

/// Copies the captures to the storage for long ones; says whether there is memory for that.
#[inline(always)]
pub(crate) fn move_to_large(task: Task, state: &mut InFlight) -> bool {
    let large = LARGE.get_or_create(task.0);
    if large.is_null() {
        return false;
    }
    // SAFETY: a non-null storage value is valid while its task runs this program.
    let large = unsafe { &mut *large };
    let from = state.payload.as_ptr().cast();
    // SAFETY: both have at least SMALL_PAYLOAD bytes. Map values can always be read.
    let _ = unsafe {
        bpf_probe_read_kernel(large.payload.as_mut_ptr().cast(), SMALL_PAYLOAD as u32, from)
    };
    state.captured = IN_LARGE;
    true
}

/// Where the next string goes.
#[derive(Clone, Copy, Default)]
struct Cursor {
    offset: usize,
    captures: u8,
    /// Slots whose string could not be read, as a bit set.
    faulted: u8,
}

impl Cursor {
    /// `pad` of the event carries the faulted slots from entry to exit; [`crate::emit`] clears it.
    #[inline(always)]
    fn store(self, event: &mut SyscallEvent) {
        event.payload_len = self.offset as u32;
        event.captures = self.captures;
        event.pad = u16::from(self.faulted);
    }

    #[inline(always)]
    fn load(event: &SyscallEvent) -> Self {
        Self {
            offset: event.payload_len as usize,
            captures: event.captures,
            faulted: event.pad as u8,
        }
    }
}

#[inline(always)]
fn fill_small(
    payload: &mut [u8; SMALL_PAYLOAD],
    args: &[u64; 6],
    plan: Plan,
    cursor: &mut Cursor,
    retry: bool,
) -> Outcome {
    let again = cursor.faulted;
    for slot in 0..MAX_STRINGS as u32 {
        let Some(arg) = plan.string_arg(slot) else { break };
        if retry && again & (1 << slot) == 0 {
            continue;
        }
        if cursor.offset > last_offset(SMALL_PAYLOAD, SMALL_STRING) {
            return Outcome::TooLong;
        }
        if read::<SMALL_PAYLOAD, SMALL_STRING>(payload, args, arg, slot, cursor, retry)
            == Outcome::TooLong
        {
            return Outcome::TooLong;
        }
    }
    if cursor.faulted == 0 { Outcome::Done } else { Outcome::Faulted }
}

/// Tries the longest string that still fits; a second long string may be cut to what is left.
#[inline(always)]
fn fill_large(
    payload: &mut [u8; LARGE_PAYLOAD],
    args: &[u64; 6],
    plan: Plan,
    cursor: &mut Cursor,
    retry: bool,
) -> Outcome {
    const MEDIUM: usize = 3072;
    let again = cursor.faulted;
    for slot in 0..MAX_STRINGS as u32 {
        let Some(arg) = plan.string_arg(slot) else { break };
        if retry && again & (1 << slot) == 0 {
            continue;
        }
        let offset = cursor.offset;
        if offset <= last_offset(LARGE_PAYLOAD, MAX_STRING) {
            read::<LARGE_PAYLOAD, MAX_STRING>(payload, args, arg, slot, cursor, retry);
        } else if offset <= last_offset(LARGE_PAYLOAD, MEDIUM) {
            read::<LARGE_PAYLOAD, MEDIUM>(payload, args, arg, slot, cursor, retry);
        } else if offset <= last_offset(LARGE_PAYLOAD, SMALL_STRING) {
            read::<LARGE_PAYLOAD, SMALL_STRING>(payload, args, arg, slot, cursor, retry);
        }
    }
    if cursor.faulted == 0 { Outcome::Done } else { Outcome::Faulted }
}

/// Reads one string of at most `MAX - 1` bytes to the cursor, which must leave room for it.
#[inline(always)]
fn read<const PAYLOAD: usize, const MAX: usize>(
    payload: &mut [u8; PAYLOAD],
    args: &[u64; 6],
    arg: u32,
    slot: u32,
    cursor: &mut Cursor,
    at_exit: bool,
) -> Outcome {
    let offset = cursor.offset;
    // A null pointer is a value of its own, not a string that could not be read.
    let Some(pointer) = args.get(arg as usize).copied().filter(|pointer| *pointer != 0) else {
        return Outcome::Done;
    };
    let offset = bounded(offset, last_offset(PAYLOAD, MAX));
    // SAFETY: header and string fit behind the offset.
    let header = unsafe { payload.as_mut_ptr().add(offset) };
    // SAFETY: as above.
    let text = unsafe { header.add(HEADER) };
    // SAFETY: `text` has room for MAX bytes; the helper checks the user's pointer.
    let got = unsafe { bpf_probe_read_user_str(text.cast(), MAX as u32, pointer as *const _) };
    let (state, len) = if got <= 0 || got > MAX as i64 {
        cursor.faulted |= 1 << slot;
        (CaptureState::Fault, 0)
    } else {
        let full = got == MAX as i64 && !ends_at(pointer + MAX as u64 - 1);
        if full && MAX == SMALL_STRING && PAYLOAD == SMALL_PAYLOAD {
            return Outcome::TooLong;
        }
        cursor.faulted &= !(1 << slot);
        let state = if full { CaptureState::Truncated } else { CaptureState::Whole };
        (state, (got - 1) as u32)
    };
    let value = CaptureHeader {
        arg: arg as u8,
        state: state as u8,
        phase: if at_exit { Phase::Late } else { Phase::Enter } as u8,
        part: 0,
        len,
    };
    // SAFETY: the offset is a multiple of 8, so the header is aligned; it fits as checked.
    unsafe { header.cast::<CaptureHeader>().write(value) };
    cursor.offset = offset + HEADER + ((len as usize + 7) & !7);
    cursor.captures += 1;
    Outcome::Done
}

/// `value`, which is at most `max`. The compiler knows that from an earlier test and may keep a
/// copy from before it on the stack, where older verifiers do not see what the test has proved;
/// this they see.
#[inline(always)]
pub(crate) fn bounded(value: usize, max: usize) -> usize {
    let mut bounded = value;
    // SAFETY: changes the one register it is given.
    unsafe {
        core::arch::asm!(
            "if {bounded} <= {max} goto +1",
            "{bounded} = {max}",
            bounded = inout(reg) bounded,
            max = in(reg) max,
            options(pure, nomem, nostack),
        );
    }
    bounded
}

/// Whether the byte there is the end of a string: tells a string that just fits from a cut one.
#[inline(always)]
fn ends_at(pointer: u64) -> bool {
    let mut byte = 1u8;
    // SAFETY: reads one byte to the stack; the helper checks the user's pointer.
    let failed = unsafe { bpf_probe_read_user((&raw mut byte).cast(), 1, pointer as *const _) };
    failed == 0 && byte == 0
}
