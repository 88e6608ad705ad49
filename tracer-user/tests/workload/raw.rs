//! Makes the system calls that it is told, of either ABI, with memory at a known address.
//!
//! Standard input has a line for each: `ABI NUMBER A0 A1 A2 A3 A4 A5 HEX`, the last the memory at
//! [`ARENA`]; then `go`. When it has said `ready`, it waits for one more line, and then makes no
//! system call but those.

use std::{
    arch::asm,
    io::{self, BufRead, Write},
    ptr, slice,
};

/// Where the memory is: below 4 GiB, for 32-bit calls.
const ARENA: usize = 0x2000_0000;
const ARENA_LEN: usize = 0x1_0000;

struct Call {
    is_i386: bool,
    nr: u64,
    args: [u64; 6],
    memory: Vec<u8>,
}

pub(crate) fn run() {
    // SAFETY: asks for memory of our own, at an address where nothing is.
    let arena = unsafe {
        libc::mmap(
            ptr::without_provenance_mut(ARENA),
            ARENA_LEN,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE,
            -1,
            0,
        )
    };
    assert_eq!(arena.addr(), ARENA, "mmap: {}", io::Error::last_os_error());
    let mut calls = Vec::new();
    let mut input = io::stdin().lock();
    let mut line = String::new();
    loop {
        line.clear();
        input.read_line(&mut line).expect("a line");
        if line.trim() == "go" {
            break;
        }
        calls.push(parse(&line));
    }
    // Where only parents may trace, anyone may trace this; elsewhere the call fails.
    // SAFETY: takes numbers only.
    unsafe { libc::prctl(libc::PR_SET_PTRACER, libc::PR_SET_PTRACER_ANY) };
    println!("ready");
    io::stdout().flush().expect("standard output");
    line.clear();
    input.read_line(&mut line).expect("a line to start");
    for call in &calls {
        // SAFETY: the memory is ours, as long as this, and nothing else points to it.
        let arena = unsafe { slice::from_raw_parts_mut(arena.cast::<u8>(), ARENA_LEN) };
        arena.fill(0);
        arena[..call.memory.len()].copy_from_slice(&call.memory);
        if call.is_i386 { compat(call) } else { native(call) }
    }
    // SAFETY: ends the process without anything else.
    unsafe { libc::_exit(0) }
}

fn parse(line: &str) -> Call {
    let mut words = line.split_whitespace();
    let mut number = || super::number(words.next().expect("a number"));
    let is_i386 = number() == 1;
    let nr = number();
    let args = [number(), number(), number(), number(), number(), number()];
    let memory = words.next().unwrap_or_default();
    let byte = |at: usize| u8::from_str_radix(&memory[at..at + 2], 16).expect("hexadecimal");
    Call { is_i386, nr, args, memory: (0..memory.len()).step_by(2).map(byte).collect() }
}

fn native(call: &Call) {
    let [first, second, third, fourth, fifth, sixth] = call.args;
    let nr = call.nr.cast_signed();
    // SAFETY: the test has made sure that the call does nothing.
    unsafe { libc::syscall(nr, first, second, third, fourth, fifth, sixth) };
}

/// The old gate to the kernel, which takes 32-bit calls from 64-bit programs too.
fn compat(call: &Call) {
    let [first, second, third, fourth, fifth, sixth] = call.args;
    // SAFETY: as above; the registers that the compiler keeps for itself are saved.
    unsafe {
        asm!(
            "push rbx",
            "push rbp",
            "mov rbx, r8",
            "mov rbp, r9",
            "int 0x80",
            "pop rbp",
            "pop rbx",
            inout("rax") call.nr => _,
            in("r8") first,
            in("rcx") second,
            in("rdx") third,
            in("rsi") fourth,
            in("rdi") fifth,
            in("r9") sixth,
            lateout("r10") _,
            lateout("r11") _,
        );
    }
}
