//! Descriptors in the memory of a call: those to be polled, those in sets, those that are sent and
//! received in control messages, and pairs that the kernel has made. The numbers are read here, a
//! moment after or before the captures that show them; each file carries its number, so that one is
//! never shown with the file of another.

use tracer_common::plan::{Inside, Plan};

use crate::{
    capture::opaque,
    files::{argument, keep_file},
    maps::{FILES, InFlight},
    place::read_user,
};

/// Descriptors that are named, at most.
const MOST: usize = 8;
/// Control messages that are looked at, at most.
const MESSAGES: usize = 3;
const SOL_SOCKET: u32 = 1;
const SCM_RIGHTS: u32 = 1;

/// Names descriptors in the memory that the program has passed.
#[inline(always)]
pub(crate) fn at_enter(state: &mut InFlight, plan: Plan) {
    const POLL: u64 = Inside::Poll as u64;
    const SETS: u64 = Inside::Sets as u64;
    const SENT: u64 = Inside::Sent as u64;
    let (what, arg) = plan.inside_arg();
    let pointer = argument(state, arg);
    state.arg = arg as u8;
    match what {
        POLL => {
            let count = argument(state, arg + 1) & 0xffff_ffff;
            numbers(state, pointer, count, 8);
        }
        SETS => {
            let bits = argument(state, 0) & 0xffff_ffff;
            set_bits(state, pointer, bits);
            state.arg = arg as u8 + 1;
            set_bits(state, argument(state, arg + 1), bits);
            state.arg = arg as u8 + 2;
            set_bits(state, argument(state, arg + 2), bits);
        }
        SENT => {
            rights(state, pointer);
        }
        _ => {}
    }
}

/// Names descriptors in the memory that the kernel has returned.
#[inline(always)]
pub(crate) fn at_exit(state: &mut InFlight, plan: Plan) {
    const RECEIVED: u64 = Inside::Received as u64;
    const PAIR: u64 = Inside::Pair as u64;
    let (what, arg) = plan.inside_arg();
    let pointer = argument(state, arg);
    state.arg = arg as u8;
    match what {
        PAIR => {
            numbers(state, pointer, 2, 4);
        }
        RECEIVED => {
            rights(state, pointer);
        }
        _ => {}
    }
}

/// Names `count` descriptors that stand `step` bytes apart.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn numbers(state: *mut InFlight, pointer: u64, count: u64, step: u64) -> u32 {
    // Kernels before 6.8 look at a global function that nobody calls, too.
    if FILES.load() == 0 {
        return 0;
    }
    if pointer == 0 {
        return 0;
    }
    for number in (0..MOST).map(opaque) {
        if number as u64 >= count {
            break;
        }
        let Some(fd) = read_user::<u32>(pointer + number as u64 * step) else { break };
        if fd as i32 >= 0 {
            keep_file(state, fd);
        }
    }
    0
}

/// Names the descriptors whose bits are set, of `bits` bits. Where the search stands is kept in memory:
/// as numbers that the verifier knows it would make another state of each round.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn set_bits(state: *mut InFlight, pointer: u64, bits: u64) -> u32 {
    // Kernels before 6.8 look at a global function that nobody calls, too.
    if FILES.load() == 0 {
        return 0;
    }
    /// `FD_SETSIZE`, select(2).
    const LARGEST: u64 = 1024;
    const WORDS: usize = LARGEST as usize / 64;
    // SAFETY: by the caller's word it is null or the call of this task.
    let Some(it) = (unsafe { state.as_mut() }) else { return 0 };
    (it.scanned, it.found) = (0, 0);
    if pointer == 0 {
        return 0;
    }
    for _ in (0..MOST + WORDS).map(opaque) {
        let at = u64::from(it.scanned);
        if at >= bits || at >= LARGEST || it.found >= MOST as u8 {
            break;
        }
        let word = read_user::<u64>(pointer + (at >> 6) * 8).unwrap_or(0) >> (at & 63);
        if word == 0 {
            it.scanned = ((at | 63) + 1) as u16;
            continue;
        }
        let fd = at as u32 + lowest_bit(word);
        it.scanned = fd as u16 + 1;
        if u64::from(fd) < bits {
            keep_file(state, fd);
            it.found += 1;
        }
    }
    0
}

/// The place of the lowest bit that is set, of a number that is not 0. A function of its own for the
/// kernel, which would else follow each of its branches through each round of a loop.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn lowest_bit(word: u64) -> u32 {
    let mut word = word;
    let mut place = 0;
    if word & 0xffff_ffff == 0 {
        word >>= 32;
        place += 32;
    }
    if word & 0xffff == 0 {
        word >>= 16;
        place += 16;
    }
    if word & 0xff == 0 {
        word >>= 8;
        place += 8;
    }
    if word & 0xf == 0 {
        word >>= 4;
        place += 4;
    }
    if word & 3 == 0 {
        word >>= 2;
        place += 2;
    }
    place + (!word & 1) as u32
}

/// Names the descriptors in the control messages of a `struct user_msghdr`.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn rights(state: *mut InFlight, message: u64) -> u32 {
    // Kernels before 6.8 look at a global function that nobody calls, too.
    if FILES.load() == 0 {
        return 0;
    }
    if message == 0 {
        return 0;
    }
    // SAFETY: by the caller's word it is null or the call of this task.
    let Some(it) = (unsafe { state.as_ref() }) else { return 0 };
    let is_compat = crate::arch::is_32_bit(
        tracer_common::event::Abi::from_wire(it.event.abi)
            .unwrap_or(tracer_common::event::Abi::X86_64),
    );
    let word = if is_compat { 4 } else { 8 };
    // One after the other: of both at once older verifiers do not see that each was read.
    let Some(mut at) = read_word(message + 4 * word, is_compat) else { return 0 };
    let Some(len) = read_word(message + 5 * word, is_compat) else { return 0 };
    let end = at + (len & 0xffff_ffff);
    for _ in (0..MESSAGES).map(opaque) {
        let head = word + 8;
        let Some(size) = read_word(at, is_compat) else { return 0 };
        let Some([level, kind]) = read_user::<[u32; 2]>(at + word) else { return 0 };
        if size < head || size > end.wrapping_sub(at) {
            return 0;
        }
        if level == SOL_SOCKET && kind == SCM_RIGHTS {
            numbers(state, at + head, (size - head) / 4, 4);
        }
        at += (size + word - 1) & !(word - 1);
        if at >= end {
            return 0;
        }
    }
    0
}

#[inline(always)]
fn read_word(pointer: u64, is_compat: bool) -> Option<u64> {
    if is_compat { read_user::<u32>(pointer).map(u64::from) } else { read_user::<u64>(pointer) }
}
