//! Memory that arguments point to, as the operations of a call say: structures, arrays, messages,
//! data, the arguments of a program. Read at entry what the program passes (and at exit when the
//! page was not resident at entry), at exit what the kernel returns.

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use tracer_common::{
    counter::Counter,
    event::Phase,
    memory::{
        Count, MAX_ARGV, MAX_CONTROL, MAX_ELEMENTS, MAX_ENVP, MAX_IOCTL, MAX_IOVECS, MAX_MESSAGES,
        MAX_OPS, MAX_SOCKADDR, OP_WORDS, Op, OpKind, OpWords, SPECIAL, TERMINAL_IN,
        condition_holds, part,
    },
};

use crate::{
    capture::{IN_LARGE, NOWHERE, move_to_large, opaque},
    maps::{DATA_LIMIT, InFlight, OPERATIONS, STRING_LIMIT},
    place::{FAULTED, NO_ROOM, place_bytes, place_text, read_user},
    stats::Stats,
};

/// Runs the operations of a call that is being entered. A global function for the kernel, as those
/// of `place`.
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) extern "C" fn memory_at_enter(state: *mut InFlight, index: u32) -> u32 {
    // SAFETY: by the caller's word it is null or the call of this task.
    let Some(state) = (unsafe { state.as_mut() }) else { return 0 };
    let Some(ops) = OPERATIONS.get(index) else { return 0 };
    state.phase = Phase::Enter as u8;
    for number in 0..MAX_OPS {
        let Some((op, mask, _)) = operation(ops, number) else { continue };
        if op.at_exit() || op.when_interrupted() {
            state.exit_memory = 1;
        }
        if op.at_enter() && applies(op, mask, &state.event.args) {
            let faulted = if number < SPECIAL { plain(state, op.0) } else { special(state, op.0) };
            state.faulted_memory |= (faulted as u8 & 1) << number;
        }
    }
    0
}

/// Runs the operations of a call that is returning.
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) extern "C" fn memory_at_exit(state: *mut InFlight, index: u32) -> u32 {
    // SAFETY: by the caller's word it is null or the call of this task.
    let Some(state) = (unsafe { state.as_mut() }) else { return 0 };
    let Some(ops) = OPERATIONS.get(index) else { return 0 };
    for number in 0..SPECIAL {
        let Some((op, mask, exit_mask)) = operation(ops, number) else { break };
        if is_late(state, number, op, mask) {
            state.phase = Phase::Late as u8;
            plain(state, op.0);
        }
        if is_due(state, op, exit_mask) {
            state.phase = Phase::Exit as u8;
            plain(state, op.0);
        }
    }
    if let Some((op, mask, exit_mask)) = operation(ops, SPECIAL) {
        if is_late(state, SPECIAL, op, mask) {
            state.phase = Phase::Late as u8;
        } else if is_due(state, op, exit_mask) {
            state.phase = Phase::Exit as u8;
        } else {
            return 0;
        }
        special(state, op.0);
    }
    0
}

/// Whether what the program passed could not be read at entry.
#[inline(always)]
fn is_late(state: &InFlight, number: usize, op: Op, mask: u64) -> bool {
    op.at_enter() && state.faulted_memory >> number & 1 != 0 && applies(op, mask, &state.event.args)
}

/// Whether the kernel has returned something.
#[inline(always)]
fn is_due(state: &InFlight, op: Op, mask: u64) -> bool {
    const EINTR: i64 = -4;
    const ERESTART_RESTARTBLOCK: i64 = -516;
    let ret = state.event.ret;
    let failed = (-4095..0).contains(&ret);
    let interrupted = ret == EINTR || ret == ERESTART_RESTARTBLOCK;
    ((op.at_exit() && !failed) || (op.when_interrupted() && interrupted))
        && applies(op, mask, &state.event.args)
}

#[inline(always)]
fn operation(ops: &OpWords, number: usize) -> Option<(Op, u64, u64)> {
    let at = number * OP_WORDS;
    let op = Op(*ops.get(at)?);
    if !op.is_some() {
        return None;
    }
    Some((op, *ops.get(at + 1)?, *ops.get(at + 2)?))
}

#[inline(always)]
fn applies(op: Op, mask: u64, args: &[u64; 6]) -> bool {
    match op.condition() {
        Some(arg) => condition_holds(argument(args, arg), mask),
        None => true,
    }
}

#[inline(always)]
fn argument(args: &[u64; 6], index: usize) -> u64 {
    args.get(index).copied().unwrap_or(0)
}

/// Reads bytes; 1 when they could not be read.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn plain(state: *mut InFlight, op: u64) -> u32 {
    // SAFETY: by the caller's word it is null or the call of this task.
    let Some(state) = (unsafe { state.as_mut() }) else { return 0 };
    let op = Op(op);
    let pointer = argument(&state.event.args, op.arg());
    if pointer == 0 {
        return 0;
    }
    state.arg = op.arg() as u8;
    let len = count(state, op) * op.size();
    place_bytes(state, pointer, len, op.limit(), WHOLE)
}

/// Runs the one operation of a call that is more than bytes; 1 when something could not be read
/// that may be readable at exit.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn special(state: *mut InFlight, op: u64) -> u32 {
    const IOVEC: u64 = OpKind::Iovec as u64;
    const MESSAGES: u64 = OpKind::Messages as u64;
    const EXEC: u64 = OpKind::Exec as u64;
    const IOCTL: u64 = OpKind::Ioctl as u64;
    // SAFETY: by the caller's word it is null or the call of this task.
    let Some(state) = (unsafe { state.as_mut() }) else { return 0 };
    let op = Op(op);
    let pointer = argument(&state.event.args, op.arg());
    state.arg = op.arg() as u8;
    match op.kind() {
        EXEC => return exec(state, op.0),
        _ if pointer == 0 => {}
        IOVEC => {
            let (many, left) = (count(state, op), used(state));
            return iovec(state, pointer, many, left, flags(op.is_compat(), part::WHOLE));
        }
        MESSAGES => return messages(state, op.0, pointer),
        IOCTL => return ioctl(state, pointer),
        _ => {}
    }
    0
}

/// How many elements there are; few enough that their size in bytes fits a word.
#[inline(always)]
fn count(state: &InFlight, op: Op) -> u64 {
    const ARG: u64 = Count::Arg as u64;
    const WIDE: u64 = Count::Wide as u64;
    const RET: u64 = Count::Ret as u64;
    const AT: u64 = Count::At as u64;
    const BITS: u64 = Count::Bits as u64;
    let value = argument(&state.event.args, op.count_arg());
    match op.count() {
        ARG => value & 0xffff_ffff,
        WIDE => value.min(1 << 40),
        RET => state.event.ret.clamp(0, 1 << 40) as u64,
        AT => u64::from(read_user::<u32>(value).unwrap_or(0)),
        BITS => {
            let bits = (value & 0xffff_ffff).min(1 << 20);
            if op.is_compat() { bits.div_ceil(32) * 4 } else { bits.div_ceil(64) * 8 }
        }
        _ => 1,
    }
}

/// Bytes of data that a call has used: its result when it reads, no bound before.
#[inline(always)]
fn used(state: &InFlight) -> u64 {
    if state.phase == Phase::Exit as u8 { state.event.ret as u64 } else { u64::MAX }
}

/// [`part::WHOLE`], as `place_bytes` takes it.
const WHOLE: u32 = part::WHOLE as u32;
/// In [`flags`]: pointers and lengths in memory have 32 bits.
const COMPAT: u32 = 1 << 8;

/// A part and whether memory is that of a 32-bit program, as one argument of a function.
#[inline(always)]
fn flags(compat: bool, part: u8) -> u32 {
    u32::from(part) | if compat { COMPAT } else { 0 }
}

/// An `iovec` array; data of its first elements, of which the call has used `left` bytes, when data
/// is captured.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn iovec(
    state: *mut InFlight,
    array: u64,
    elements: u64,
    mut left: u64,
    flags: u32,
) -> u32 {
    // SAFETY: by the caller's word it is null or the call of this task.
    let Some(state) = (unsafe { state.as_mut() }) else { return 0 };
    let compat = flags & COMPAT != 0;
    let first = flags & 0xff;
    let size = if compat { 8 } else { 16 };
    let mut faulted = place_bytes(state, array, elements * size, MAX_ELEMENTS as u64 * size, first);
    let limit = u64::from(DATA_LIMIT.load());
    if limit == 0 {
        return faulted;
    }
    for number in (0..MAX_IOVECS).map(opaque) {
        if number as u64 >= elements || left == 0 {
            break;
        }
        let Some((base, len)) = iovec_at(array, number, compat) else { break };
        let len = len.min(left);
        left -= len;
        if base != 0 {
            let part = first + u32::from(part::IOVEC_DATA) + number as u32;
            faulted |= place_bytes(state, base, len, limit, part);
        }
    }
    faulted
}

#[inline(always)]
fn iovec_at(array: u64, number: usize, compat: bool) -> Option<(u64, u64)> {
    if compat {
        let [base, len] = read_user::<[u32; 2]>(array + number as u64 * 8)?;
        Some((u64::from(base), u64::from(len)))
    } else {
        let [base, len] = read_user::<[u64; 2]>(array + number as u64 * 16)?;
        Some((base, len))
    }
}

/// Fields of `struct user_msghdr` and of `struct compat_msghdr`: name and its length, elements and
/// their number, control messages and their length.
#[inline(always)]
fn message_at(pointer: u64, compat: bool) -> Option<[u64; 6]> {
    if compat {
        Some(read_user::<[u32; 6]>(pointer)?.map(u64::from))
    } else {
        read_user::<[u64; 6]>(pointer)
    }
}

/// Messages of `sendmsg` and the like: name, control messages, and the array with its data.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn messages(state: *mut InFlight, op: u64, pointer: u64) -> u32 {
    // SAFETY: by the caller's word it is null or the call of this task.
    let Some(state) = (unsafe { state.as_mut() }) else { return 0 };
    let op = Op(op);
    let many = count(state, op);
    // What a single call has received is the result; of several messages each says it itself.
    let left = if op.count() == Count::One as u64 { used(state) } else { u64::MAX };
    for number in (0..MAX_MESSAGES).map(opaque) {
        if number as u64 >= many {
            break;
        }
        let pointer = pointer + number as u64 * op.size();
        if message(
            state,
            pointer,
            left,
            op.size(),
            flags(op.is_compat(), number as u8 * part::MESSAGE),
        ) != 0
        {
            return 1;
        }
    }
    0
}

/// One message of `size` bytes, of whose data the call has used `left` bytes.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn message(state: *mut InFlight, pointer: u64, left: u64, size: u64, of: u32) -> u32 {
    // SAFETY: by the caller's word it is null or the call of this task.
    let Some(state) = (unsafe { state.as_mut() }) else { return 0 };
    let first = of & 0xff;
    if place_bytes(state, pointer, size, size, first) != 0 {
        return 1;
    }
    let Some([name, name_len, array, elements, control, control_len]) =
        message_at(pointer, of & COMPAT != 0)
    else {
        return 1;
    };
    if name != 0 {
        let part = first + u32::from(part::NAME);
        place_bytes(state, name, name_len & 0xffff_ffff, MAX_SOCKADDR as u64, part);
    }
    if control != 0 && control_len != 0 {
        let part = first + u32::from(part::CONTROL);
        place_bytes(state, control, control_len, MAX_CONTROL as u64, part);
    }
    if array != 0 {
        iovec(state, array, elements.min(1 << 20), left, of + u32::from(part::IOVEC));
    }
    0
}

/// The strings of `argv`, and how many there are in `envp`, which is the next argument; 1 when a
/// string could not be read: when the call has failed, they are read again. All of it goes into the
/// storage for long captures.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn exec(state: *mut InFlight, op: u64) -> u32 {
    // SAFETY: by the caller's word it is null or the call of this task.
    let Some(state) = (unsafe { state.as_mut() }) else { return 0 };
    let Some(stats) = Stats::get() else { return 0 };
    let op = Op(op);
    if state.captured == NOWHERE {
        state.event.payload_len = 0;
        state.event.captures = 0;
    }
    if state.captured != IN_LARGE && !move_to_large(state) {
        stats.bump(Counter::MemoryNotRead);
        return 0;
    }
    state.arg = op.arg() as u8;
    let faulted = argv(state, op);
    state.arg = op.arg() as u8 + 1;
    faulted | envp(state, op)
}

/// 1 when a string, or the array, could not be read.
#[inline(always)]
fn argv(state: &mut InFlight, op: Op) -> u32 {
    let array = argument(&state.event.args, op.arg());
    let limit = u64::from(STRING_LIMIT.load()) + 1;
    let mut faulted = 0;
    for number in 0..MAX_ARGV {
        let pointer = match pointer_at(array, number, op.is_compat()) {
            Some(0) => return faulted,
            Some(pointer) => pointer,
            None => {
                place_text(state, NOWHERE_MAPPED, 1, number as u32);
                return 1;
            }
        };
        match place_text(state, pointer, limit, number as u32) {
            NO_ROOM => return faulted,
            FAULTED => faulted = 1,
            _ => {}
        }
    }
    if let Some(pointer) = pointer_at(array, MAX_ARGV, op.is_compat())
        && pointer != 0
    {
        place_text(state, pointer, 1, u32::from(part::MORE));
    }
    faulted
}

/// An address at which nothing can be read: what is placed from there says that memory could not be
/// read.
const NOWHERE_MAPPED: u64 = 0;

/// The count stands in the capture as 32 bits. 1 when the array could not be read.
#[inline(always)]
fn envp(state: &mut InFlight, op: Op) -> u32 {
    let array = argument(&state.event.args, op.arg() + 1);
    if array == 0 {
        return 0;
    }
    let mut number = 0;
    while number < MAX_ENVP {
        match pointer_at(array, number, op.is_compat()) {
            Some(0) => break,
            Some(_) => number += 1,
            None => {
                place_text(state, NOWHERE_MAPPED, 1, WHOLE);
                return 1;
            }
        }
    }
    place_text(state, number as u64, 0, WHOLE);
    0
}

/// An element of an array of pointers, 0 of a null one; `None` when it cannot be read.
#[inline(always)]
fn pointer_at(array: u64, number: usize, compat: bool) -> Option<u64> {
    let size: u64 = if compat { 4 } else { 8 };
    let mut value = 0u64;
    let from = array.wrapping_add(number as u64 * size);
    // SAFETY: `value` has room for both sizes; the helper checks the user's pointer.
    let failed =
        unsafe { bpf_probe_read_user((&raw mut value).cast(), size as u32, from as *const _) };
    if array == 0 {
        Some(0)
    } else if failed == 0 {
        Some(value)
    } else {
        None
    }
}

/// The command says how much memory there is and who writes it, ioctl(2); older ones of terminals
/// and sockets do not, and their argument can be a number.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn ioctl(state: *mut InFlight, pointer: u64) -> u32 {
    // SAFETY: by the caller's word it is null or the call of this task.
    let Some(state) = (unsafe { state.as_mut() }) else { return 0 };
    const WRITES: u64 = 1;
    const READS: u64 = 2;
    const TERMINALS: u64 = b'T' as u64;
    const SOCKETS: u64 = 0x89;
    /// `sizeof(struct termios)` of the kernel, and of `struct ifreq`.
    const TERMIOS: u64 = 36;
    const IFREQ: u64 = 40;
    let command = argument(&state.event.args, 1) & 0xffff_ffff;
    let direction = command >> 30;
    let size = command >> 16 & 0x3fff;
    let at_exit = state.phase == Phase::Exit as u8;
    let (len, wanted) = match (direction, command >> 8 & 0xff) {
        (0, TERMINALS) => (TERMIOS, at_exit != condition_holds(command & 0xff, TERMINAL_IN)),
        (0, SOCKETS) => (IFREQ, true),
        (0, _) => return 0,
        _ if at_exit => (size, direction & READS != 0),
        _ => (size, direction & WRITES != 0),
    };
    if !wanted || !is_readable(pointer) {
        return 0;
    }
    place_bytes(state, pointer, len, MAX_IOCTL as u64, WHOLE)
}

#[inline(always)]
fn is_readable(pointer: u64) -> bool {
    read_user::<u8>(pointer).is_some()
}
