//! Calls that succeed and write less than there is room for, or nothing: what is in the rest of the
//! room are bytes of this program that it has passed to nobody. Each prints how it has to read.

use std::{
    ffi::CStr,
    io,
    mem::{size_of, size_of_val},
    os::fd::FromRawFd as _,
    ptr,
};

/// What is in every room before a call.
const STALE: u8 = b'Z';

pub(super) fn run() {
    children();
    datagrams();
    stream();
    names();
    filter();
    groups_and_attributes();
    sets();
    threads();
    cold();
}

fn call(nr: libc::c_long, args: &[u64]) -> i64 {
    let mut raw = [0; 6];
    raw.iter_mut().zip(args).for_each(|(raw, arg)| *raw = *arg);
    // SAFETY: the callers pass memory that is as large as they say.
    unsafe { libc::syscall(nr, raw[0], raw[1], raw[2], raw[3], raw[4], raw[5]) }
}

fn at<T: ?Sized>(value: &T) -> u64 {
    ptr::from_ref(value).cast::<u8>().expose_provenance() as u64
}

/// A number of a descriptor or process, which is not below zero.
fn number(ret: i64) -> u64 {
    assert!(ret >= 0, "{}", io::Error::last_os_error());
    ret.cast_unsigned()
}

fn constant(value: libc::c_int) -> u64 {
    i64::from(value).cast_unsigned()
}

fn child(end: impl FnOnce()) -> i64 {
    // SAFETY: the child makes a few calls and ends.
    match unsafe { libc::fork() } {
        0 => {
            end();
            // SAFETY: ends the process.
            unsafe { libc::_exit(3) }
        }
        pid => i64::from(pid),
    }
}

fn children() {
    let mut pipe = [0; 2];
    // SAFETY: two descriptors are written.
    assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
    let pid = child(|| {
        let mut byte = [0; 1];
        // SAFETY: the pipe is the child's own; it ends when the other side is closed.
        unsafe {
            libc::close(pipe[1]);
            libc::read(pipe[0], byte.as_mut_ptr().cast(), 1);
        }
    });
    let (status, usage) = ([STALE; 4], [STALE; 144]);
    let (found, any) = ([STALE; 128], constant(-1));
    let (nohang, exited) = (constant(libc::WNOHANG), constant(libc::WEXITED));
    let none = call(libc::SYS_wait4, &[any, at(&status), nohang, at(&usage)]);
    println!("wait4(-1, {:#x}, WNOHANG, {:#x}) = {none}", at(&status), at(&usage));
    let args = [u64::from(libc::P_ALL), 0, at(&found), nohang | exited, at(&usage)];
    let none = call(libc::SYS_waitid, &args);
    println!("waitid(P_ALL, 0, {{}}, WNOHANG|WEXITED, {:#x}) = {none}", at(&usage));
    // SAFETY: the child waits for this.
    unsafe { libc::close(pipe[1]) };
    // SAFETY: it returns a number.
    let uid = unsafe { libc::getuid() };
    let args = [u64::from(libc::P_PID), number(pid), at(&found), exited, 0];
    let ret = call(libc::SYS_waitid, &args);
    println!(
        "waitid(P_PID, {pid}, {{si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid={pid}, \
         si_uid={uid}, si_status=3}}, WEXITED, NULL) = {ret}"
    );
    let pid = child(|| {});
    let ret = call(libc::SYS_wait4, &[number(pid), at(&status), 0, 0]);
    println!("wait4({pid}, [{{WIFEXITED(s) && WEXITSTATUS(s) == 3}}], 0, NULL) = {ret}");
}

fn pair() -> [u64; 2] {
    let mut pair = [0i32; 2];
    // SAFETY: two descriptors are written.
    let made = unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_DGRAM, 0, pair.as_mut_ptr()) };
    assert_eq!(made, 0);
    pair.map(|fd| number(fd.into()))
}

fn send(to: u64, bytes: &[u8]) {
    number(call(libc::SYS_sendto, &[to, at(bytes), bytes.len() as u64]));
}

/// Datagrams that are longer than the room, with how long they were for a result.
fn datagrams() {
    let [to, from] = pair();
    let trunc = constant(libc::MSG_TRUNC);
    let room = [STALE; 64];
    send(to, b"0123456789");
    let ret = call(libc::SYS_recvfrom, &[from, at(&room), 4, trunc]);
    println!("recvfrom({from}, \"0123\", 4, MSG_TRUNC, NULL, NULL) = {ret}");
    // A stream socket would have written nothing.
    send(to, b"0123456789");
    let ret = call(libc::SYS_recvfrom, &[from, at(&room), 64, trunc]);
    println!("recvfrom({from}, {:#x}, 64, MSG_TRUNC, NULL, NULL) = {ret}", at(&room));
    let rooms = [[STALE; 32]; 3];
    let parts = [0, 1, 2].map(|it: usize| [at(&rooms[it]), 32]);
    // `struct mmsghdr`: name and length, elements and their number, control messages, flags, length.
    let mut messages = [[0u64; 8]; 3];
    for (message, part) in messages.iter_mut().zip(&parts) {
        (message[2], message[3], message[7]) = (at(part), 1, 77);
    }
    send(to, b"hello");
    send(to, b"hi");
    let wait = constant(libc::MSG_DONTWAIT);
    let ret = call(libc::SYS_recvmmsg, &[from, at(&messages), 3, wait, 0]);
    let received = ["hello", "hi"].map(|text| {
        format!(
            "{{msg_hdr={{msg_name=NULL, msg_namelen=0, msg_iov=[{{iov_base=\"{text}\", \
             iov_len=32}}], msg_iovlen=1, msg_controllen=0, msg_flags=0}}, msg_len={}}}",
            text.len()
        )
    });
    println!("recvmmsg({from}, [{}], 3, MSG_DONTWAIT, NULL) = {ret}", received.join(", "));
}

/// Data of a stream that is thrown away.
fn stream() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    let to = std::net::TcpStream::connect(listener.local_addr().expect("an address"));
    let (from, to) = (listener.accept().expect("a connection").0, to.expect("a connection"));
    let [from, to] = [&from, &to].map(|it| number(std::os::fd::AsRawFd::as_raw_fd(it).into()));
    send(to, b"hello");
    let room = [STALE; 64];
    let ret = call(libc::SYS_recvfrom, &[from, at(&room), 64, constant(libc::MSG_TRUNC)]);
    // SAFETY: the room is this program's.
    let now = unsafe { ptr::read_volatile(&raw const room) };
    assert_eq!((ret, now), (5, [STALE; 64]), "the kernel has written what it throws away");
    println!("recvfrom({from}, {:#x}, 64, MSG_TRUNC, NULL, NULL) = {ret}", at(&room));
}

/// Addresses that are longer than the room.
fn names() {
    const NAME: &[u8] = b"\x01\0\0unwritten";
    let [to, from] = [0; 2].map(|_| {
        let dgram = constant(libc::SOCK_DGRAM);
        number(call(libc::SYS_socket, &[constant(libc::AF_UNIX), dgram, 0]))
    });
    // Names of this process alone.
    let with_pid = |end: u8| [NAME, std::process::id().to_string().as_bytes(), &[end]].concat();
    let (sender, receiver) = (with_pid(b's'), with_pid(b'r'));
    let text = String::from_utf8_lossy(&sender[3..]).into_owned();
    for (fd, name) in [(to, &sender), (from, &receiver)] {
        assert_eq!(call(libc::SYS_bind, &[fd, at(&name[..]), name.len() as u64]), 0);
    }
    let send = || {
        let args = [to, at(b"hello"), 5, 0, at(&receiver[..]), receiver.len() as u64];
        assert_eq!(call(libc::SYS_sendto, &args), 5);
    };
    let (room, name, full) = ([STALE; 64], [STALE; 128], sender.len());
    let length = [6u32];
    send();
    let ret = call(libc::SYS_recvfrom, &[from, at(&room), 64, 0, at(&name), at(&length)]);
    println!(
        "recvfrom({from}, \"hello\", 64, 0, {{sa_family=AF_UNIX, sun_path=@\"unw\"}}, \
         [6 => {full}]) = {ret}"
    );
    let part = [at(&room), 64];
    let mut message = [at(&name), 6, at(&part), 1, 0, 0, 0];
    for (len, shown) in [(6, "unw"), (128, text.as_str())] {
        message[1] = len;
        send();
        let ret = call(libc::SYS_recvmsg, &[from, at(&message), 0]);
        println!(
            "recvmsg({from}, {{msg_name={{sa_family=AF_UNIX, sun_path=@\"{shown}\"}}, \
             msg_namelen={len} => {full}, msg_iov=[{{iov_base=\"hello\", iov_len=64}}], \
             msg_iovlen=1, msg_controllen=0, msg_flags=0}}, 0) = {ret}"
        );
    }
    message[1] = 77;
    call(libc::SYS_recvmsg, &[from, at(&message), constant(libc::MSG_DONTWAIT)]);
    let error = "-1 EAGAIN (Resource temporarily unavailable)";
    println!("recvmsg({from}, {{msg_namelen=77}}, MSG_DONTWAIT) = {error}");
}

/// A filter's length is returned where there is no room for the filter.
fn filter() {
    let [fd, _] = pair();
    let (level, get) = (constant(libc::SOL_SOCKET), constant(libc::SO_ATTACH_FILTER));
    // Takes every packet.
    let code = [0x6u64 | 0xffff << 32];
    let program = [1, at(&code)];
    let ret = call(libc::SYS_setsockopt, &[fd, level, get, at(&program), 16]);
    let filter = program[1];
    let program = format!("{{len=1, filter={filter:#x}}}");
    println!("setsockopt({fd}, SOL_SOCKET, SO_ATTACH_FILTER, {program}, 16) = {ret}");
    let (room, length) = ([STALE; 64], [0u32]);
    let ret = call(libc::SYS_getsockopt, &[fd, level, get, at(&room), at(&length)]);
    println!("getsockopt({fd}, SOL_SOCKET, SO_GET_FILTER, {:#x}, [0 => 1]) = {ret}", at(&room));
    let (kind, length) = ([STALE; 64], [2u32]);
    let option = constant(libc::SO_REUSEADDR);
    let ret = call(libc::SYS_getsockopt, &[fd, level, option, at(&kind), at(&length)]);
    println!("getsockopt({fd}, SOL_SOCKET, SO_REUSEADDR, \"\\x00\\x00\", [2]) = {ret}");
}

/// Calls that are asked how much there would be.
fn groups_and_attributes() {
    let room = [STALE; 64];
    let count = call(libc::SYS_getgroups, &[0, at(&room)]);
    println!("getgroups(0, {:#x}) = {count}", at(&room));
    let file = number(call(libc::SYS_memfd_create, &[at(c"unwritten".to_bytes_with_nul()), 0]));
    let name = at(c"user.a".to_bytes_with_nul());
    let args = [file, name, at(b"value"), 5, 0];
    let set = call(libc::SYS_fsetxattr, &args);
    println!("fsetxattr({file}, \"user.a\", \"value\", 5, 0) = {}", result(set));
    let ret = call(libc::SYS_fgetxattr, &[file, name, at(&room), 0]);
    println!("fgetxattr({file}, \"user.a\", {:#x}, 0) = {}", at(&room), result(ret));
    let ret = call(libc::SYS_flistxattr, &[file, at(&room), 0]);
    println!("flistxattr({file}, {:#x}, 0) = {}", at(&room), result(ret));
}

/// The result as text, for a call that was just made.
fn result(ret: i64) -> String {
    if ret != -1 {
        return ret.to_string();
    }
    let errno = nix::errno::Errno::last();
    // SAFETY: a string of the C library's, of which a copy is made at once.
    let text = unsafe { CStr::from_ptr(libc::strerror(errno as i32)) };
    format!("-1 {errno:?} ({})", text.to_str().expect("text"))
}

/// Descriptors behind the number that the call has been told.
fn sets() {
    let [fd, _] = pair();
    let set = [1u64 << fd | 1 << 60];
    let time = [0u64; 2];
    let ret = call(libc::SYS_pselect6, &[fd + 1, at(&set), 0, 0, at(&time), 0]);
    let time = "{tv_sec=0, tv_nsec=0}";
    println!("pselect6({}, [{fd}], NULL, NULL, {time}, NULL) = {ret} (Timeout)", fd + 1);
}

/// A process whose id goes nowhere.
fn threads() {
    const CLONE_PARENT_SETTID: u64 = 0x0010_0000;
    let id = [0u32];
    for place in [0, at(&id)] {
        let mut args = [0u64; 11];
        (args[0], args[3], args[4]) = (CLONE_PARENT_SETTID, place, constant(libc::SIGCHLD));
        let ret = call(libc::SYS_clone3, &[at(&args), size_of_val(&args) as u64]);
        if ret == 0 {
            // SAFETY: ends the process.
            unsafe { libc::_exit(0) }
        }
        let (place, returned) = match place {
            0 => ("NULL".to_owned(), String::new()),
            place => (format!("{place:#x}"), format!(" => {{parent_tid=[{ret}]}}")),
        };
        println!(
            "clone3({{flags=CLONE_PARENT_SETTID, parent_tid={place}, exit_signal=SIGCHLD, \
             stack=NULL, stack_size=0}}{returned}, 88) = {ret}"
        );
        assert_eq!(call(libc::SYS_wait4, &[number(ret), 0, 0, 0]), ret);
    }
}

/// A length on a page that the kernel touches first: what the program has passed there is
/// overwritten before it can be read, so that it is not known how much of the address is the kernel's.
fn cold() {
    let fd = number(call(libc::SYS_memfd_create, &[at(c"cold".to_bytes_with_nul()), 0]));
    let descriptor = i32::try_from(fd).expect("a descriptor");
    // SAFETY: a descriptor of our own.
    let mut file = unsafe { std::fs::File::from_raw_fd(descriptor) };
    io::Write::write_all(&mut file, &128u32.to_ne_bytes()).expect("a file");
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping of a file, which nothing touches.
    let page = unsafe {
        let page = libc::mmap(ptr::null_mut(), 4096, protection, libc::MAP_PRIVATE, descriptor, 0);
        assert_ne!(page, libc::MAP_FAILED);
        libc::madvise(page, 4096, libc::MADV_DONTNEED);
        page
    };
    let [socket, _] = pair();
    let (name, length) = ([STALE; 128], page.expose_provenance() as u64);
    let ret = call(libc::SYS_getsockname, &[socket, at(&name), length]);
    println!("getsockname({socket}, {:#x}, [{}]) = {ret}", at(&name), size_of::<u16>());
}
