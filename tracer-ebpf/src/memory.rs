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
        if let Some(phase) = phase_at_exit(state, number, op, (mask, exit_mask)) {
            state.phase = phase as u8;
            plain(state, op.0);
        }
    }
    if let Some((op, mask, exit_mask)) = operation(ops, SPECIAL)
        && let Some(phase) = phase_at_exit(state, SPECIAL, op, (mask, exit_mask))
    {
        state.phase = phase as u8;
        special(state, op.0);
    }
    0
}

/// As what the operation's memory is read at exit, if at all. Where the kernel has written, what the
/// program passed is gone, also when it could not be read at entry.
#[inline(always)]
fn phase_at_exit(
    state: &InFlight,
    number: usize,
    op: Op,
    (mask, exit_mask): (u64, u64),
) -> Option<Phase> {
    if is_due(state, op, exit_mask) {
        Some(Phase::Exit)
    } else if is_late(state, number, op, mask) {
        Some(Phase::Late)
    } else {
        None
    }
}

/// Whether what the program passed could not be read at entry.
#[inline(always)]
fn is_late(state: &InFlight, number: usize, op: Op, mask: u64) -> bool {
    op.at_enter() && state.faulted_memory >> number & 1 != 0 && applies(op, mask, &state.event.args)
}

/// Whether the kernel has returned something.
#[inline(always)]
fn is_due(state: &InFlight, op: Op, mask: u64) -> bool {
    const ERESTART_RESTARTBLOCK: i64 = -516;
    let ret = state.event.ret;
    let failed = (-4095..0).contains(&ret);
    let has_written = op.at_exit() && !failed && (ret > 0 || !op.when_found());
    // The one code with which a sleep has said how much of it was left, `nanosleep_copyout`,
    // <https://github.com/torvalds/linux/blob/v6.12/kernel/time/hrtimer.c#L2011>.
    let was_interrupted = op.when_interrupted() && ret == ERESTART_RESTARTBLOCK;
    (has_written || was_interrupted) && applies(op, mask, &state.event.args)
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
    let many = count(state, op);
    // Without room nothing is written, whatever the result is.
    if many == 0 && op.is_bounded() {
        return 0;
    }
    state.arg = op.arg() as u8;
    place_bytes(state, pointer, many * op.size(), op.limit(), WHOLE)
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
    const RET_UP_TO: u64 = Count::RetUpTo as u64;
    const RET_UP_TO_WIDE: u64 = Count::RetUpToWide as u64;
    let value = argument(&state.event.args, op.count_arg());
    match op.count() {
        ARG => value & 0xffff_ffff,
        WIDE => value.min(1 << 40),
        RET => state.event.ret.clamp(0, 1 << 40) as u64,
        RET_UP_TO => returned_up_to(state, value & 0xffff_ffff),
        RET_UP_TO_WIDE => returned_up_to(state, value.min(1 << 40)),
        AT => u64::from(read_user::<u32>(value).unwrap_or(0)),
        BITS => {
            let bits = (value & 0xffff_ffff).min(1 << 20);
            if op.is_compat() { bits.div_ceil(32) * 4 } else { bits.div_ceil(64) * 8 }
        }
        _ => 1,
    }
}

/// The result, and not more than there is room for; before the call, the room.
#[inline(always)]
fn returned_up_to(state: &InFlight, room: u64) -> u64 {
    if state.phase == Phase::Exit as u8 { room.min(state.event.ret as u64) } else { room }
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
/// Beside it: the kernel fills the message, so that before the call only its head is read.
const FILLED: u32 = 1 << 9;

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

/// Bytes that were received by an element of an `mmsghdr` array: `msg_len` behind the message.
#[inline(always)]
fn received(pointer: u64, compat: bool) -> u64 {
    const MSGHDR: u64 = 56;
    const COMPAT_MSGHDR: u64 = 28;
    let size = if compat { COMPAT_MSGHDR } else { MSGHDR };
    u64::from(read_user::<u32>(pointer.wrapping_add(size)).unwrap_or(0))
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
    let left = if op.count() == Count::One as u64 { used(state) } else { EACH };
    let filled = if op.at_exit() { FILLED } else { 0 };
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
            flags(op.is_compat(), number as u8 * part::MESSAGE) | filled,
        ) != 0
        {
            return 1;
        }
    }
    0
}

/// How many bytes of a message were received stands behind it, `msg_len` of `struct mmsghdr`.
const EACH: u64 = u64::MAX - 1;

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
    let at_exit = state.phase == Phase::Exit as u8;
    if of & FILLED != 0 && !at_exit {
        return 0;
    }
    let left = match left {
        EACH if !at_exit => u64::MAX,
        EACH => received(pointer, of & COMPAT != 0),
        left => left,
    };
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
