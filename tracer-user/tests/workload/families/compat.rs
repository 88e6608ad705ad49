//! Calls of i386 from a program of 64 bits: what stands for other calls, and structures and results of
//! 32 bits.

use std::{arch::asm, io, ptr};

use nix::errno::Errno;

use super::{Arg, address, hex, named, num, result, say, wide, words};

/// Memory for what a call points to.
const ROOM: usize = 4096;

/// Memory at the end of a page below 4 GiB, behind which nothing is. It is kept until the program ends.
fn low(bytes: &[u8], text: impl Into<String>) -> Arg {
    // SAFETY: new pages, of which the last is taken away; the first has room for the bytes.
    unsafe {
        let start = libc::mmap(
            ptr::null_mut(),
            ROOM * 2,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT,
            -1,
            0,
        );
        assert_ne!(start, libc::MAP_FAILED, "{}", io::Error::last_os_error());
        assert_eq!(libc::munmap(start.byte_add(ROOM), ROOM), 0);
        let place = start.byte_add(ROOM - bytes.len()).cast::<u8>();
        ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len());
        Arg(place.expose_provenance() as u64, text.into())
    }
}

/// A 32-bit number that is there now.
fn read(at: &Arg) -> u32 {
    let place = usize::try_from(at.0).expect("64 bits");
    // SAFETY: memory of `low`, of at least this size.
    unsafe { ptr::read_unaligned(ptr::with_exposed_provenance(place)) }
}

/// Makes a call by the gate for 32 bits: its result, or -1 and an error in `errno`.
fn quietly(nr: u64, args: &[Arg]) -> i64 {
    let mut raw = [0; 6];
    args.iter().zip(&mut raw).for_each(|(arg, raw)| *raw = arg.0);
    let [first, second, third, fourth, fifth, sixth] = raw;
    let ret: u64;
    // SAFETY: memory of `low`, or addresses that the kernel refuses; the registers that the compiler
    // keeps for itself are saved.
    unsafe {
        asm!(
            "push rbx",
            "push rbp",
            "mov rbx, r8",
            "mov rbp, r9",
            "int 0x80",
            "pop rbp",
            "pop rbx",
            inout("rax") nr => ret,
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
    let low = u32::try_from(ret & 0xffff_ffff).expect("32 bits");
    match low.cast_signed() {
        error @ -4095..0 => {
            Errno::from_raw(-error).set();
            -1
        }
        _ => low.into(),
    }
}

fn call(name: &str, nr: u64, args: &[Arg]) -> i64 {
    let ret = quietly(nr, args);
    say(name, args, ret);
    ret
}

pub(super) fn calls() {
    sockets();
    memory_and_messages();
    blocks();
    handlers();
    ids();
    errors();
    // `__aligned_u64` behind a number of 32 bits.
    let content = [&words(&[7, 0])[..], &wide(&[0x1000, 0x2000, 4])].concat();
    let text = "{map_fd=7, key=0x1000, value=0x2000, flags=BPF_F_LOCK}";
    call("bpf", 357, &[named(2, "BPF_MAP_UPDATE_ELEM"), low(&content, text), num(32)]);
}

/// Calls of sockets: their words, and no more, stand at the end of a page.
fn sockets() {
    let socketcall = |call: i64, name: &str, args: &[u32], text: &str| {
        self::call("socketcall", 102, &[named(call, name), low(&words(args), text)])
    };
    let text = "[AF_INET, SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_TCP]";
    let socket = socketcall(1, "SYS_SOCKET", &[2, 0x8_0001, 6], text);
    let fd = u32::try_from(socket).expect("a socket");
    socketcall(4, "SYS_LISTEN", &[u32::MAX, 5], "[-1, 5]");
    socketcall(13, "SYS_SHUTDOWN", &[fd, 2], &format!("[{fd}, SHUT_RDWR]"));
    let text = format!("[{fd}, SOL_SOCKET, SO_REUSEADDR, 0x1, 4]");
    socketcall(14, "SYS_SETSOCKOPT", &[fd, 1, 2, 1, 4], &text);
    let text = format!("[{fd}, 0x1, 3, MSG_DONTWAIT|MSG_NOSIGNAL, NULL, 0]");
    socketcall(11, "SYS_SENDTO", &[fd, 1, 3, 0x4040, 0, 0], &text);
    let text = format!("[{fd}, 0x1, 3, MSG_NOSIGNAL]");
    socketcall(9, "SYS_SEND", &[fd, 1, 3, 0x4000], &text);
    let nowhere = [named(99, "0x63 /* SYS_??? */"), address(0x1)];
    call("socketcall", 102, &nowhere);
    call("socketcall", 102, &[named(1, "SYS_SOCKET"), address(0x1)]);
}

/// Operations of System V IPC by their one call: the arguments in the order of `ipc`, and in that of the
/// calls that the operations stand for.
fn memory_and_messages() {
    let ipc = |number: u64, name: &str, registers: [u64; 5], text: &str| {
        let [first, second, third, pointer, fifth] = registers;
        let raw = [number, first, second, third, pointer, fifth];
        let args = raw.map(|value| Arg(value, String::new()));
        let ret = quietly(117, &args);
        let text = if text.is_empty() { name.to_owned() } else { format!("{name}, {text}") };
        println!("ipc({text}) = {}", result(ret));
        ret
    };
    let text = "key=IPC_PRIVATE, size=4096, shmflg=IPC_CREAT|0600";
    let id = ipc(23, "SHMGET", [0, 4096, 0o1600, 0, 0], text).cast_unsigned();
    let place = low(&[0; 4], "");
    let args = [21, id, 0o10000, place.0, 0].map(|value| Arg(value, String::new()));
    let ret = quietly(117, &args);
    let attached = read(&place);
    println!(
        "ipc(SHMAT, shmid={id}, shmaddr=NULL, shmflg=SHM_RDONLY, raddr=[{attached:#x}]) = {}",
        result(ret)
    );
    let text = format!("shmaddr={attached:#x}");
    ipc(22, "SHMDT", [0, 0, 0, attached.into(), 0], &text);
    ipc(22, "SHMDT", [0, 0, 0, 1, 0], "shmaddr=0x1");
    ipc(24, "SHMCTL", [id, 0x100, 0, 0, 0], &format!("shmid={id}, cmd=IPC_64|IPC_RMID, buf=NULL"));
    let text = format!("shmid={id}, shmaddr=NULL, shmflg=0, raddr=0x1");
    ipc(21, "SHMAT", [id, 0, 1, 0, 0], &text);
    let text = "msqid=-1, kludge=0x1, msgsz=8, msgflg=IPC_NOWAIT";
    ipc(12, "MSGRCV", [0xffff_ffff, 8, 0o4000, 1, 0], text);
    let text = "semid=-1, tsops=0x1, nsops=1";
    ipc(1, "SEMOP", [0xffff_ffff, 1, 0, 1, 0], text);
}

/// Arguments in memory.
fn blocks() {
    let block = words(&[0, 4096, 1, 0x20, u32::MAX, 0]);
    let text =
        "{addr=NULL, len=4096, prot=PROT_READ, flags=MAP_FILE|MAP_ANONYMOUS, fd=-1, offset=0}";
    call("mmap", 90, &[low(&block, text)]);
    let time = low(&[0; 8], "");
    let pointer = u32::try_from(time.0).expect("below 4 GiB");
    let text = format!("{{n=0, inp=NULL, outp=NULL, exp=NULL, tvp={pointer:#x}}}");
    let args = [low(&words(&[0, 0, 0, 0, pointer]), text)];
    let ret = quietly(82, &args);
    assert_eq!(ret, 0, "select: {}", io::Error::last_os_error());
    println!("select({}) = 0 (Timeout)", args[0].1);
}

/// Handlers that are no functions.
fn handlers() {
    let signal = |handler: Arg, old: &str| {
        let args = [named(libc::SIGUSR1, "SIGUSR1"), handler];
        quietly(48, &args);
        println!("signal(SIGUSR1, {}) = {old}", args[1].1);
    };
    signal(named(1, "SIG_IGN"), "0 (SIG_DFL)");
    signal(hex(0x1000), "0x1 (SIG_IGN)");
    signal(named(0, "SIG_DFL"), "0x1000");
}

/// Ids and modes of 16 bits.
fn ids() {
    let path = low(b"/does/not/exist\0", r#""/does/not/exist""#);
    let (user, group) = (Arg(0x1_2345, "9029".to_owned()), Arg(0xffff, "-1".to_owned()));
    call("chown", 182, &[path.clone(), user, group]);
    call("chown32", 212, &[path.clone(), num(0x1_2345), num(0xffff)]);
    call("chmod", 15, &[path, Arg(0xffff_8014, "0100024".to_owned())]);
}

/// An error whose upper half is zero.
fn errors() {
    call("modify_ldt", 123, &[num(99), address(0), num(0)]);
    let args = [num(99), address(0), num(0)];
    let ret = super::quietly(libc::SYS_modify_ldt, &args);
    let low = u32::try_from(ret & 0xffff_ffff).expect("32 bits").cast_signed();
    let ret = if low < 0 { -1 } else { low };
    Errno::ENOSYS.set();
    say("modify_ldt", &args, ret.into());
}
