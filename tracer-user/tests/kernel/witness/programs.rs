//! The two programs of the witness, as instructions: there is nothing in them of what they judge.
//!
//! <https://docs.kernel.org/bpf/standardization/instruction-set.html>

use std::os::fd::{AsRawFd, OwnedFd};

use tracer_user::kernel::btf::KernelTypes;

/// A register.
#[derive(Clone, Copy)]
struct R(u8);

const R0: R = R(0);
const R1: R = R(1);
const R2: R = R(2);
const R3: R = R(3);
const R4: R = R(4);
const R6: R = R(6);
const R7: R = R(7);
const R8: R = R(8);
const R9: R = R(9);
/// The end of the stack.
const FP: R = R(10);

const LOOKUP: i32 = 1;
const UPDATE: i32 = 2;
const CURRENT_TASK: i32 = 35;
const READ_KERNEL: i32 = 113;

const IF_EQUAL: u8 = 0x15;
const IF_NOT_EQUAL: u8 = 0x55;
const IF_REGISTERS_DIFFER: u8 = 0x5d;
const GO: u8 = 0x05;

#[derive(Clone, Copy)]
enum Label {
    Add,
    Insert,
    End,
}

#[derive(Default)]
struct Code {
    words: Vec<u64>,
    jumps: Vec<(usize, usize)>,
    labels: [Option<usize>; 3],
}

impl Code {
    fn op(&mut self, code: u8, to: R, from: R, offset: i16, value: i32) {
        let registers = u64::from(from.0 << 4 | to.0) << 8;
        let offset = u64::from(offset.cast_unsigned()) << 16;
        let value = u64::from(value.cast_unsigned()) << 32;
        self.words.push(u64::from(code) | registers | offset | value);
    }

    fn set(&mut self, to: R, value: i32) {
        self.op(0xb7, to, R0, 0, value);
    }

    fn copy(&mut self, to: R, from: R) {
        self.op(0xbf, to, from, 0, 0);
    }

    fn add(&mut self, to: R, value: i32) {
        self.op(0x07, to, R0, 0, value);
    }

    fn load64(&mut self, to: R, from: R, offset: i16) {
        self.op(0x79, to, from, offset, 0);
    }

    fn load32(&mut self, to: R, from: R, offset: i16) {
        self.op(0x61, to, from, offset, 0);
    }

    fn store64(&mut self, offset: i16, from: R) {
        self.op(0x7b, FP, from, offset, 0);
    }

    fn store32(&mut self, offset: i16, from: R) {
        self.op(0x63, FP, from, offset, 0);
    }

    fn store_value32(&mut self, offset: i16, value: i32) {
        self.op(0x62, FP, R0, offset, value);
    }

    fn map(&mut self, to: R, map: &OwnedFd) {
        const MAP_BY_FD: R = R(1);
        self.op(0x18, to, MAP_BY_FD, 0, map.as_raw_fd());
        self.words.push(0);
    }

    fn call(&mut self, helper: i32) {
        self.op(0x85, R0, R0, 0, helper);
    }

    fn jump(&mut self, code: u8, left: R, right: R, value: i32, to: Label) {
        self.jumps.push((self.words.len(), to as usize));
        self.op(code, left, right, 0, value);
    }

    fn label(&mut self, label: Label) {
        self.labels[label as usize] = Some(self.words.len());
    }

    /// Reads `size` bytes at an address to the stack.
    fn read(&mut self, from: R, offset: u32, size: i32, to: i16) {
        self.copy(R1, FP);
        self.add(R1, to.into());
        self.set(R2, size);
        self.copy(R3, from);
        self.add(R3, i32::try_from(offset).unwrap());
        self.call(READ_KERNEL);
    }

    /// Looks for the key on the stack.
    fn lookup(&mut self, map: &OwnedFd, key: i16) {
        self.map(R1, map);
        self.copy(R2, FP);
        self.add(R2, key.into());
        self.call(LOOKUP);
    }

    fn update(&mut self, map: &OwnedFd, key: i16, value: i16, flags: i32) {
        self.map(R1, map);
        self.copy(R2, FP);
        self.add(R2, key.into());
        self.copy(R3, FP);
        self.add(R3, value.into());
        self.set(R4, flags);
        self.call(UPDATE);
    }

    /// Adds one where `R0` leads, atomically.
    fn count(&mut self) {
        self.set(R1, 1);
        self.op(0xdb, R0, R1, 0, 0);
    }

    /// Adds one to a total.
    fn count_total(&mut self, totals: &OwnedFd, index: i32) {
        self.store_value32(-4, index);
        self.lookup(totals, -4);
        self.jump(IF_EQUAL, R0, R0, 0, Label::End);
        self.count();
    }

    fn end(mut self) -> Vec<u64> {
        self.label(Label::End);
        self.set(R0, 0);
        self.op(0x95, R0, R0, 0, 0);
        for (at, label) in self.jumps {
            let target = self.labels[label].expect("a place to jump to");
            let offset = i16::try_from(target - at - 1).unwrap();
            self.words[at] |= u64::from(offset.cast_unsigned()) << 16;
        }
        self.words
    }
}

/// Places in the map of totals.
pub(super) const CALLS: i32 = 0;
pub(super) const LOST: i32 = 1;

/// Where things stand in the running kernel's structs, in bytes.
pub(super) struct Offsets {
    pid: u32,
    tgid: u32,
    leader: u32,
    start: u32,
    exec_id: u32,
    /// The word that shows a 32-bit call, and the bit in it.
    compat: (u32, i32),
}

impl Offsets {
    pub(super) fn new(types: &KernelTypes) -> Self {
        let of = |owner, field| types.offset(owner, field).expect("a field of the kernel");
        let task = |field| of("task_struct", field);
        // `TS_COMPAT` and `TIF_32BIT`.
        let (field, bit) =
            if cfg!(target_arch = "x86_64") { ("status", 1 << 1) } else { ("flags", 1 << 22) };
        Self {
            pid: task("pid"),
            tgid: task("tgid"),
            leader: task("group_leader"),
            start: task("start_boottime"),
            exec_id: task("self_exec_id"),
            compat: (task("thread_info") + of("thread_info", field), bit),
        }
    }
}

/// The maps.
pub(super) struct Maps<'a> {
    pub(super) totals: &'a OwnedFd,
    pub(super) family: &'a OwnedFd,
    pub(super) counts: &'a OwnedFd,
}

/// At `sys_enter`: counts every call, and those of the family each by process, exec and number.
pub(super) fn entered(maps: &Maps<'_>, offsets: &Offsets) -> Vec<u64> {
    const LEADER: i16 = -16;
    const MEMBER: i16 = -32;
    const KEY: i16 = -64;
    const ONE: i16 = -72;
    let mut code = Code::default();
    // The number of the call, then the task and the first of its process.
    code.load64(R9, R1, 8);
    code.count_total(maps.totals, CALLS);
    code.call(CURRENT_TASK);
    code.copy(R7, R0);
    code.read(R7, offsets.leader, 8, LEADER);
    code.load64(R8, FP, LEADER);
    code.read(R7, offsets.tgid, 4, MEMBER);
    code.store_value32(MEMBER + 4, 0);
    code.read(R8, offsets.start, 8, MEMBER + 8);
    code.lookup(maps.family, MEMBER);
    code.jump(IF_EQUAL, R0, R0, 0, Label::End);
    // The key.
    code.load64(R1, FP, MEMBER);
    code.store64(KEY, R1);
    code.read(R7, offsets.exec_id, 4, KEY + 4);
    code.load64(R1, FP, MEMBER + 8);
    code.store64(KEY + 8, R1);
    code.store32(KEY + 16, R9);
    let (word, bit) = offsets.compat;
    code.read(R7, word, 4, KEY + 20);
    code.load32(R1, FP, KEY + 20);
    code.op(0x57, R1, R0, 0, bit);
    code.store32(KEY + 20, R1);
    code.lookup(maps.counts, KEY);
    code.jump(IF_NOT_EQUAL, R0, R0, 0, Label::Add);
    code.set(R1, 1);
    code.store64(ONE, R1);
    code.update(maps.counts, KEY, ONE, 1);
    code.jump(IF_EQUAL, R0, R0, 0, Label::End);
    // Another thread may have been faster; else the map is full.
    code.lookup(maps.counts, KEY);
    code.jump(IF_NOT_EQUAL, R0, R0, 0, Label::Add);
    code.count_total(maps.totals, LOST);
    code.jump(GO, R0, R0, 0, Label::End);
    code.label(Label::Add);
    code.count();
    code.end()
}

/// At `sched_process_fork`: takes a child of the test or of one of the family into the family.
pub(super) fn forked(maps: &Maps<'_>, offsets: &Offsets, own: u32) -> Vec<u64> {
    const PID: i16 = -4;
    const TGID: i16 = -8;
    const LEADER: i16 = -16;
    const PARENT: i16 = -32;
    const CHILD: i16 = -48;
    let mut code = Code::default();
    code.load64(R7, R1, 0);
    code.load64(R8, R1, 8);
    code.read(R8, offsets.pid, 4, PID);
    code.read(R8, offsets.tgid, 4, TGID);
    code.load32(R1, FP, PID);
    code.load32(R2, FP, TGID);
    code.jump(IF_REGISTERS_DIFFER, R1, R2, 0, Label::End);
    code.read(R7, offsets.tgid, 4, PARENT);
    code.store_value32(PARENT + 4, 0);
    code.read(R7, offsets.leader, 8, LEADER);
    code.load64(R6, FP, LEADER);
    code.read(R6, offsets.start, 8, PARENT + 8);
    code.load32(R1, FP, PARENT);
    code.jump(IF_EQUAL, R1, R0, own.cast_signed(), Label::Insert);
    code.lookup(maps.family, PARENT);
    code.jump(IF_EQUAL, R0, R0, 0, Label::End);
    code.label(Label::Insert);
    code.load32(R1, FP, TGID);
    code.store32(CHILD, R1);
    code.store_value32(CHILD + 4, 0);
    code.read(R8, offsets.start, 8, CHILD + 8);
    code.update(maps.family, CHILD, PARENT, 0);
    code.jump(IF_EQUAL, R0, R0, 0, Label::End);
    code.count_total(maps.totals, LOST);
    code.end()
}
