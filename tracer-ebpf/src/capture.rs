//! Strings of a call: read into the task's storage at entry, again at exit where the page was not
//! resident, and never after a successful exec, when the old memory is gone.

use aya_ebpf::helpers::generated::{
    bpf_probe_read_kernel, bpf_probe_read_user, bpf_probe_read_user_str,
};
use tracer_common::{
    counter::Counter,
    event::{
        CaptureHeader, CaptureState, LARGE_PAYLOAD, MAX_STRING, Phase, SMALL_PAYLOAD, SMALL_STRING,
    },
    plan::{MAX_STRINGS, Plan, captures},
};

use crate::{
    maps::{CAPTURES, FILES, InFlight, LARGE, LAUNCH_SLACK},
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

/// Whether calls may have captures of these kinds, [`captures`]. A kind that no call has is no code: the
/// verifier does not come by it.
#[inline(always)]
pub(crate) fn can(kinds: u32) -> bool {
    CAPTURES.load() & kinds != 0
}

/// Whether calls may have captures, of memory or of files.
#[inline(always)]
pub(crate) fn can_anything() -> bool {
    can(captures::ALL) || FILES.load() != 0
}

/// The largest offset from which header and `len` bytes still fit. Offsets are multiples of 8 and
/// this is one less than such a multiple: the verifier of 6.18 finds its own bounds violated, and
/// warns in the kernel log, where a comparison splits at a multiple.
pub(crate) const fn last_offset(payload: usize, len: usize) -> usize {
    let last = payload - HEADER - len - 1;
    assert!(last % 8 == 7);
    last
}

/// Reads the strings of a call that is being entered, or with [`Phase::Late`], at exit, those whose
/// pages were not resident at entry; they stand behind the others then. `pad` of the event carries
/// these, as a bit set of slots, from entry to exit; [`crate::emit`] clears it.
///
/// A global function for the kernel, as those of `place`.
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) extern "C" fn strings(state: *mut InFlight, plan: u64, phase: u32) -> u32 {
    // SAFETY: by the caller's word it is null or the call of this task.
    let Some(state) = (unsafe { state.as_mut() }) else { return 0 };
    let Some(stats) = Stats::get() else { return 0 };
    state.phase = phase as u8;
    let late = phase == Phase::Late as u32;
    let due = if late { state.event.pad } else { u16::MAX };
    for slot in 0..MAX_STRINGS as u32 {
        let Some(arg) = Plan(plan).string_arg(slot) else { break };
        if due & 1 << slot == 0 {
            continue;
        }
        state.arg = arg as u8;
        if state.captured == IN_SMALL && string_in_small(state, slot) != 0 {
            continue;
        }
        // The strings read so far are kept when there is no memory for the long ones.
        if state.captured == IN_SMALL && !move_to_large(state) {
            stats.bump(Counter::StringNotRead);
            return 0;
        }
        string_in_large(state, slot);
    }
    if late && state.event.pad != 0 {
        stats.bump(Counter::StringFault);
    }
    0
}

/// Reads one string to the task's storage; returns 0 when it does not fit.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn string_in_small(state: *mut InFlight, slot: u32) -> u32 {
    // SAFETY: by the caller's word it is null or the call of this task.
    let Some(state) = (unsafe { state.as_mut() }) else { return 0 };
    let payload = state.payload.as_mut_ptr();
    if state.event.payload_len as usize > last_offset(SMALL_PAYLOAD, SMALL_STRING) {
        return 0;
    }
    let whole = read::<SMALL_PAYLOAD, SMALL_STRING>(state, payload, slot, true);
    u32::from(whole)
}

/// Reads one string to the storage for long ones, which the task must have: the longest that still
/// fits; a second long string may be cut to what is left.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn string_in_large(state: *mut InFlight, slot: u32) -> u32 {
    const MEDIUM: usize = 3072;
    // SAFETY: by the caller's word it is null or the call of this task.
    let Some(state) = (unsafe { state.as_mut() }) else { return 0 };
    let large = LARGE.get(Task::current().0);
    if large.is_null() {
        return 0;
    }
    // SAFETY: a non-null storage value is valid while its task runs this program.
    let payload = unsafe { (*large).payload.as_mut_ptr() };
    let offset = state.event.payload_len as usize;
    if offset <= last_offset(LARGE_PAYLOAD, MAX_STRING) {
        read::<LARGE_PAYLOAD, MAX_STRING>(state, payload, slot, false);
    } else if offset <= last_offset(LARGE_PAYLOAD, MEDIUM) {
        read::<LARGE_PAYLOAD, MEDIUM>(state, payload, slot, false);
    } else if offset <= last_offset(LARGE_PAYLOAD, SMALL_STRING) {
        read::<LARGE_PAYLOAD, SMALL_STRING>(state, payload, slot, false);
    }
    0
}

/// Copies the captures to the storage for long ones; says whether there is memory for that.
#[inline(always)]
pub(crate) fn move_to_large(state: &mut InFlight) -> bool {
    let large = LARGE.get_or_create(Task::current().0);
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

/// Reads the string of argument `state.arg`, of at most `MAX - 1` bytes, where there is room for it.
/// Says whether it is done: with `only_whole`, a longer string is not kept.
#[inline(always)]
fn read<const PAYLOAD: usize, const MAX: usize>(
    state: &mut InFlight,
    payload: *mut u8,
    slot: u32,
    only_whole: bool,
) -> bool {
    // A null pointer is a value of its own, not a string that could not be read.
    let arg = state.arg;
    let Some(pointer) = state.event.args.get(arg as usize).copied().filter(|it| *it != 0) else {
        return true;
    };
    let offset = bounded(state.event.payload_len as usize, last_offset(PAYLOAD, MAX));
    // SAFETY: header and string fit behind the offset.
    let header = unsafe { payload.add(offset) };
    // SAFETY: as above.
    let text = unsafe { header.add(HEADER) };
    // SAFETY: `text` has room for MAX bytes; the helper checks the user's pointer.
    let got = unsafe { bpf_probe_read_user_str(text.cast(), MAX as u32, pointer as *const _) };
    // An empty string gives 1; on older kernels (seen on 6.12) 0.
    let (result, len) = if got < 0 || got > MAX as i64 {
        state.event.pad |= 1 << slot;
        (CaptureState::Fault, 0)
    } else {
        let full = got == MAX as i64 && !ends_at(pointer + MAX as u64 - 1);
        if full && only_whole {
            return false;
        }
        state.event.pad &= !(1 << slot);
        (if full { CaptureState::Truncated } else { CaptureState::Whole }, got.max(1) as u32 - 1)
    };
    let value = CaptureHeader { arg, state: result as u8, phase: state.phase, part: 0, len };
    // SAFETY: the offset is a multiple of 8, so the header is aligned; it fits as checked.
    unsafe { header.cast::<CaptureHeader>().write(value) };
    state.event.payload_len = (offset + HEADER + ((len as usize + 7) & !7)) as u32;
    state.event.captures += 1;
    true
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

/// The same value, of which the compiler knows nothing. It would count a loop that can end early
/// down from the smaller of two bounds, and verifiers before 6.6 do not see that such a loop ends.
#[inline(always)]
pub(crate) fn opaque(value: usize) -> usize {
    let mut opaque = value;
    // SAFETY: changes the one register it is given. An instruction, for an empty text could leave
    // two positions in the source at the next one, which the kernel refuses.
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) opaque, options(pure, nomem, nostack)) };
    opaque
}

/// Whether the byte there is the end of a string: tells a string that just fits from a cut one.
#[inline(always)]
fn ends_at(pointer: u64) -> bool {
    let mut byte = 1u8;
    // SAFETY: reads one byte to the stack; the helper checks the user's pointer.
    let failed = unsafe { bpf_probe_read_user((&raw mut byte).cast(), 1, pointer as *const _) };
    failed == 0 && byte == 0
}

/// `value`, which is at most `max`, both multiples of 8. The verifier of 6.18 finds its own bounds
/// violated, and warns in the kernel log, where a comparison splits such values at one of them; so
/// it is shown a little more, for which there is [`LAUNCH_SLACK`], and a multiple of 8 again, for the
/// next comparison of a sum.
#[inline(always)]
pub(crate) fn bounded_part(value: usize, max: usize) -> usize {
    bounded(value, max + LAUNCH_SLACK - 1) & !7
}
