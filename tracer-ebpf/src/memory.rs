//! Memory that arguments point to, as the operations of a call say: structures, arrays, messages,
//! data, the arguments of a program. Read at entry what the program passes (and at exit when the
//! page was not resident at entry), at exit what the kernel returns.

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use tracer_common::{
    counter::Counter,
    event::{LARGE_PAYLOAD, Phase},
    memory::{
        Count, MAX_ARGV, MAX_CONTROL, MAX_ELEMENTS, MAX_ENVP, MAX_IOCTL, MAX_IOVECS, MAX_MESSAGES,
        MAX_OPS, MAX_SOCKADDR, OP_WORDS, Op, OpKind, OpWords, SPECIAL, TERMINAL_IN,
        condition_holds, part,
    },
};

use crate::{
    capture::{IN_LARGE, NOWHERE, last_offset, move_to_large},
    maps::{DATA_LIMIT, InFlight, LARGE, OPERATIONS, STRING_LIMIT},
    place::{LARGE_READ, put, read_text, read_user, write, write_number},
    stats::Stats,
    task::Task,
};

/// Runs the operations of a call that is being entered. A function of its own in the kernel too,
/// like `place`: all in one piece would not fit the stack.
#[inline(never)]
pub(crate) fn at_enter(task: Task, state: &mut InFlight, index: u32) {
    let Some(ops) = OPERATIONS.get(index) else { return };
    state.item.phase = Phase::Enter as u8;
    for number in 0..MAX_OPS {
        let Some((op, mask, _)) = operation(ops, number) else { continue };
        if op.at_exit() || op.when_interrupted() {
            state.exit_memory = 1;
        }
        if op.at_enter() && applies(op, mask, &state.event.args) {
            let faulted = if number < SPECIAL {
                plain(task, state, op)
            } else if op.kind() == OpKind::Exec as u64 {
                exec(task, state, op);
                false
            } else {
                special(task, state, op)
            };
            state.faulted_memory |= u8::from(faulted) << number;
        }
    }
}

/// Runs the operations of a call that is returning.
#[inline(never)]
pub(crate) fn at_exit(task: Task, state: &mut InFlight, index: u32) {
    let Some(ops) = OPERATIONS.get(index) else { return };
    for number in 0..SPECIAL {
        let Some((op, mask, exit_mask)) = operation(ops, number) else { break };
        if is_late(state, number, op, mask) {
            state.item.phase = Phase::Late as u8;
            plain(task, state, op);
        }
        if is_due(state, op, exit_mask) {
            state.item.phase = Phase::Exit as u8;
            plain(task, state, op);
        }
    }
    if let Some((op, mask, exit_mask)) = operation(ops, SPECIAL) {
        if is_late(state, SPECIAL, op, mask) {
            state.item.phase = Phase::Late as u8;
        } else if is_due(state, op, exit_mask) {
            state.item.phase = Phase::Exit as u8;
        } else {
            return;
        }
        special(task, state, op);
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

/// Reads bytes; says whether they could not be read.
#[inline(always)]
fn plain(task: Task, state: &mut InFlight, op: Op) -> bool {
    let pointer = argument(&state.event.args, op.arg());
    if pointer == 0 {
        return false;
    }
    state.item.arg = op.arg() as u8;
    let len = count(state, op) * op.size();
    put(task, state, pointer, len, op.limit(), part::WHOLE)
}

/// Runs the one operation of a call that is more than bytes, `execve`'s apart.
#[inline(always)]
fn special(task: Task, state: &mut InFlight, op: Op) -> bool {
    const IOVEC: u64 = OpKind::Iovec as u64;
    const MESSAGES: u64 = OpKind::Messages as u64;
    const IOCTL: u64 = OpKind::Ioctl as u64;
    let pointer = argument(&state.event.args, op.arg());
    if pointer == 0 {
        return false;
    }
    state.item.arg = op.arg() as u8;
    match op.kind() {
        IOVEC => iovec(task, state, op, pointer),
        MESSAGES => messages(task, state, op, pointer),
        IOCTL => ioctl(task, state, pointer),
        _ => false,
    }
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
    if state.item.phase == Phase::Exit as u8 { state.event.ret as u64 } else { u64::MAX }
}

#[inline(always)]
fn iovec(task: Task, state: &mut InFlight, op: Op, pointer: u64) -> bool {
    let elements = count(state, op);
    let left = used(state);
    elements_of(task, state, op.is_compat(), pointer, elements, left, part::WHOLE)
}

/// An `iovec` array; data of its first elements, of which the call has used `left` bytes, when data
/// is captured.
#[inline(always)]
fn elements_of(
    task: Task,
    state: &mut InFlight,
    compat: bool,
    array: u64,
    elements: u64,
    mut left: u64,
    first: u8,
) -> bool {
    let size = if compat { 8 } else { 16 };
    let mut faulted = put(task, state, array, elements * size, MAX_ELEMENTS as u64 * size, first);
    let limit = u64::from(DATA_LIMIT.load());
    if limit == 0 {
        return faulted;
    }
    for number in 0..MAX_IOVECS {
        if number as u64 >= elements || left == 0 {
            break;
        }
        let Some((base, len)) = iovec_at(array, number, compat) else { break };
        let len = len.min(left);
        left -= len;
        if base != 0 {
            let part = first + part::IOVEC_DATA + number as u8;
            faulted |= put(task, state, base, len, limit, part);
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

#[inline(always)]
fn messages(task: Task, state: &mut InFlight, op: Op, pointer: u64) -> bool {
    let many = count(state, op);
    let compat = op.is_compat();
    // What a single call has received is the result; of several messages each says it itself.
    let left = if op.count() == Count::One as u64 { used(state) } else { u64::MAX };
    for number in 0..MAX_MESSAGES {
        if number as u64 >= many {
            break;
        }
        let pointer = pointer + number as u64 * op.size();
        let first = number as u8 * part::MESSAGE;
        if put(task, state, pointer, op.size(), op.size(), first) {
            return true;
        }
        let fields = message_at(pointer, compat);
        let Some([name, name_len, array, elements, control, control_len]) = fields else {
            return true;
        };
        if name != 0 {
            let len = name_len & 0xffff_ffff;
            put(task, state, name, len, MAX_SOCKADDR as u64, first + part::NAME);
        }
        if control != 0 && control_len != 0 {
            put(task, state, control, control_len, MAX_CONTROL as u64, first + part::CONTROL);
        }
        if array != 0 {
            let elements = elements.min(1 << 20);
            elements_of(task, state, compat, array, elements, left, first + part::IOVEC);
        }
    }
    false
}

/// The strings of `argv`, and how many there are in `envp`, which is the next argument. Read at
/// entry alone: when the call has succeeded, the memory is gone. All of it goes into the storage
/// for long captures.
#[inline(always)]
fn exec(task: Task, state: &mut InFlight, op: Op) {
    let Some(stats) = Stats::get() else { return };
    if state.captured == NOWHERE {
        state.event.payload_len = 0;
        state.event.captures = 0;
    }
    if state.captured != IN_LARGE && !move_to_large(task, state) {
        stats.bump(Counter::MemoryNotRead);
        return;
    }
    let large = LARGE.get(task.0);
    if large.is_null() {
        return;
    }
    // SAFETY: a non-null storage value is valid while its task runs this program.
    let payload = unsafe { (*large).payload.as_mut_ptr() };
    state.item.arg = op.arg() as u8;
    argv(stats, state, payload, op);
    state.item.arg = op.arg() as u8 + 1;
    envp(stats, state, payload, op);
}

#[inline(always)]
fn argv(stats: Stats, state: &mut InFlight, payload: *mut u8, op: Op) {
    let array = argument(&state.event.args, op.arg());
    let limit = u64::from(STRING_LIMIT.load()) + 1;
    state.item.limit = limit;
    for number in 0..=MAX_ARGV {
        let pointer = pointer_at(array, number, op.is_compat());
        if pointer == 0 {
            return;
        }
        state.item.pointer = pointer;
        state.item.part = number as u8;
        if number == MAX_ARGV {
            state.item.part = part::MORE;
            state.item.limit = 1;
        }
        if state.event.payload_len as usize > last_offset(LARGE_PAYLOAD, LARGE_READ) {
            stats.bump(Counter::MemoryNotRead);
            return;
        }
        write::<LARGE_PAYLOAD, LARGE_READ>(stats, state, payload, read_text::<LARGE_READ>);
    }
}

/// The count stands in the capture as 32 bits.
#[inline(always)]
fn envp(stats: Stats, state: &mut InFlight, payload: *mut u8, op: Op) {
    let array = argument(&state.event.args, op.arg() + 1);
    if array == 0 {
        return;
    }
    let mut number = 0;
    while number < MAX_ENVP && pointer_at(array, number, op.is_compat()) != 0 {
        number += 1;
    }
    state.item.pointer = number as u64;
    state.item.limit = MAX_ENVP as u64;
    state.item.part = part::WHOLE;
    if state.event.payload_len as usize > last_offset(LARGE_PAYLOAD, LARGE_READ) {
        stats.bump(Counter::MemoryNotRead);
        return;
    }
    write::<LARGE_PAYLOAD, LARGE_READ>(stats, state, payload, write_number);
}

/// An element of an array of pointers; 0 when it cannot be read.
#[inline(always)]
fn pointer_at(array: u64, number: usize, compat: bool) -> u64 {
    let size: u64 = if compat { 4 } else { 8 };
    let mut value = 0u64;
    let from = array.wrapping_add(number as u64 * size);
    // SAFETY: `value` has room for both sizes; the helper checks the user's pointer.
    let failed =
        unsafe { bpf_probe_read_user((&raw mut value).cast(), size as u32, from as *const _) };
    if array == 0 || failed != 0 { 0 } else { value }
}

/// The command says how much memory there is and who writes it, ioctl(2); older ones of terminals
/// and sockets do not, and their argument can be a number.
#[inline(always)]
fn ioctl(task: Task, state: &mut InFlight, pointer: u64) -> bool {
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
    let at_exit = state.item.phase == Phase::Exit as u8;
    let (len, wanted) = match (direction, command >> 8 & 0xff) {
        (0, TERMINALS) => (TERMIOS, at_exit != condition_holds(command & 0xff, TERMINAL_IN)),
        (0, SOCKETS) => (IFREQ, true),
        (0, _) => return false,
        _ if at_exit => (size, direction & READS != 0),
        _ => (size, direction & WRITES != 0),
    };
    if !wanted || !is_readable(pointer) {
        return false;
    }
    put(task, state, pointer, len, MAX_IOCTL as u64, part::WHOLE)
}

#[inline(always)]
fn is_readable(pointer: u64) -> bool {
    read_user::<u8>(pointer).is_some()
}
