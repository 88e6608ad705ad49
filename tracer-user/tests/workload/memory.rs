//! Calls whose arguments lead to memory. Each prints what a tracer has to show for it, as
//! text, from the syscall's name to its result.

use std::{
    ffi::CString,
    io::{Write, stdout},
    mem::size_of,
    ptr,
};

const PAGE: usize = 4096;

pub(super) fn run(case: &str) {
    match case {
        "structures" => structures(),
        "commands" => commands(),
        "page-ends" => page_ends(),
        "bad-pointers" => bad_pointers(),
        "data" => data(),
        "messages" => messages(),
        "cold" => cold(),
        "exec" => exec(),
        "unwritten" => crate::unwritten::run(),
        _ => {
            let count = case.strip_prefix("kernel-addresses-").and_then(|it| it.parse().ok());
            kernel_addresses(count.expect("a known case"));
        }
    }
    stdout().flush().expect("output");
}

fn expect(text: &str) {
    println!("{text}");
}

/// A raw system call: what libc adds to a call of the same name would be in the way.
fn call(nr: libc::c_long, args: [usize; 6]) -> libc::c_long {
    // SAFETY: the callers pass valid memory, or addresses that the kernel refuses.
    unsafe { libc::syscall(nr, args[0], args[1], args[2], args[3], args[4], args[5]) }
}

fn address<T>(value: &T) -> usize {
    ptr::from_ref(value) as usize
}

/// Two pages of which the second cannot be read; returns where the first ends.
fn page_end() -> usize {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: new pages, of which the second is taken away.
    unsafe {
        let pages = libc::mmap(ptr::null_mut(), 2 * PAGE, protection, flags, -1, 0);
        assert_ne!(pages, libc::MAP_FAILED);
        assert_eq!(libc::munmap(pages.byte_add(PAGE), PAGE), 0);
        pages as usize + PAGE
    }
}

/// Copies a value so that its last byte is the last of a page.
fn at_page_end<T: Copy>(value: T) -> usize {
    let place = page_end() - size_of::<T>();
    // SAFETY: the page has room for it before its end.
    unsafe { ptr::write_unaligned(place as *mut T, value) };
    place
}

fn timespec(seconds: i64, nanos: i64) -> libc::timespec {
    libc::timespec { tv_sec: seconds, tv_nsec: nanos }
}

fn structures() {
    let time = timespec(0, 1);
    call(libc::SYS_nanosleep, [address(&time), 0, 0, 0, 0, 0]);
    expect("nanosleep({tv_sec=0, tv_nsec=1}, NULL) = 0");

    let odd = timespec(-1, 999_999_999_999);
    call(libc::SYS_nanosleep, [address(&odd), 0, 0, 0, 0, 0]);
    let text = "nanosleep({tv_sec=-1, tv_nsec=999999999999}, NULL) = -1 EINVAL (Invalid argument)";
    expect(text);

    let mut pair = [0i32; 2];
    call(libc::SYS_pipe2, [address(&pair), 0, 0, 0, 0, 0]);
    // SAFETY: the kernel has written it.
    pair = unsafe { ptr::read_volatile(&raw const pair) };
    expect(&format!("pipe2([{}, {}], 0) = 0", pair[0], pair[1]));

    let limit = [0u64; 2];
    call(libc::SYS_prlimit64, [0, libc::RLIMIT_CORE as usize, 0, address(&limit), 0, 0]);
    let new = [0u64, 4096];
    call(libc::SYS_prlimit64, [0, libc::RLIMIT_CORE as usize, address(&new), 0, 0, 0]);
    expect("prlimit64(0, RLIMIT_CORE, {rlim_cur=0, rlim_max=4*1024}, NULL) = 0");
}

/// What the last argument is depends on a command before it.
fn commands() {
    let id = call(libc::SYS_shmget, [0, PAGE, 0o600, 0, 0, 0]);
    assert!(id >= 0, "shmget: {}", std::io::Error::last_os_error());
    // SAFETY: plain numbers.
    let mut segment: libc::shmid_ds = unsafe { std::mem::zeroed() };
    let place = ptr::from_mut(&mut segment);
    let control = |command: libc::c_int, place: usize| {
        let command = usize::try_from(command).expect("a command");
        let id = usize::try_from(id).expect("an identifier");
        call(libc::SYS_shmctl, [id, command, place, 0, 0, 0])
    };
    control(libc::IPC_STAT, place as usize);
    // SAFETY: the kernel has written it.
    let it = unsafe { ptr::read_volatile(place) };
    let owner = &it.shm_perm;
    let who = format!("uid={}, gid={}, mode=0600", owner.uid, owner.gid);
    expect(&format!(
        "shmctl({id}, IPC_STAT, {{shm_perm={{{who}, key=0, cuid={}, cgid={}}}, shm_segsz=4096, \
         shm_cpid={}, shm_lpid=0, shm_nattch=0, shm_atime=0, shm_dtime=0, shm_ctime={}}}) = 0",
        owner.cuid, owner.cgid, it.shm_cpid, it.shm_ctime
    ));
    control(libc::IPC_SET, place as usize);
    expect(&format!("shmctl({id}, IPC_SET, {{shm_perm={{{who}}}}}) = 0"));
    control(libc::IPC_RMID, 0);
    expect(&format!("shmctl({id}, IPC_RMID, NULL) = 0"));
    control(libc::IPC_STAT, place as usize);
    let error = "-1 EINVAL (Invalid argument)";
    expect(&format!("shmctl({id}, IPC_STAT, {:#x}) = {error}", place as usize));

    let options = usize::try_from(libc::PTRACE_O_TRACESYSGOOD).expect("a bit") | 1 << 30;
    let request = libc::PTRACE_SETOPTIONS as usize;
    call(libc::SYS_ptrace, [request, 0, 0, options, 0, 0]);
    let error = "-1 ESRCH (No such process)";
    let flags = "PTRACE_O_TRACESYSGOOD|0x40000000";
    expect(&format!("ptrace(PTRACE_SETOPTIONS, 0, NULL, {flags}) = {error}"));
}

fn page_ends() {
    let time = at_page_end(timespec(0, 7));
    call(libc::SYS_nanosleep, [time, 0, 0, 0, 0, 0]);
    expect("nanosleep({tv_sec=0, tv_nsec=7}, NULL) = 0");

    // Of this one only the first half is there.
    let half = page_end() - 8;
    // SAFETY: the last eight bytes of the page.
    unsafe { ptr::write(half as *mut i64, 5) };
    call(libc::SYS_nanosleep, [half, 0, 0, 0, 0, 0]);
    let text = "nanosleep({tv_sec=5, ... /* cut after 8 bytes */}, NULL) = -1 EFAULT (Bad address)";
    expect(text);
}

fn bad_pointers() {
    for address in [1usize, PAGE - 1, 0x7fff_ffff_f000, 0x8000_0000_0000, usize::MAX - 7] {
        call(libc::SYS_nanosleep, [address, 0, 0, 0, 0, 0]);
        expect(&format!("nanosleep({address:#x}, NULL) = -1 EFAULT (Bad address)"));
        call(libc::SYS_uname, [address, 0, 0, 0, 0, 0]);
        expect(&format!("uname({address:#x}) = -1 EFAULT (Bad address)"));
    }
    call(libc::SYS_nanosleep, [0; 6]);
    expect("nanosleep(NULL, NULL) = -1 EFAULT (Bad address)");
}

/// Passes addresses all over the kernel's half, each of which must be a fault.
fn kernel_addresses(count: u64) {
    const START: u64 = 0xffff_8000_0000_0000;
    const TEXT: u64 = 0xffff_ffff_8100_0000;
    for number in 0..count {
        // Half of them spread over the direct map, half over text and data.
        let address = if number % 2 == 0 {
            START + number * 0x0000_0002_4bcd_1517
        } else {
            TEXT + number * 0x1357
        };
        let address = usize::try_from(address).expect("64 bits");
        match number % 4 {
            0 => call(libc::SYS_nanosleep, [address, 0, 0, 0, 0, 0]),
            1 => call(libc::SYS_writev, [1, address, 2, 0, 0, 0]),
            2 => call(libc::SYS_connect, [usize::MAX, address, 16, 0, 0, 0]),
            _ => call(libc::SYS_execve, [address, address, address, 0, 0, 0]),
        };
    }
}

/// Writes and reads what nobody shall see who has not asked for it.
fn data() {
    const SECRET: &[u8] = b"correct horse battery staple, and then some more of it";
    let mut pair = [0i32; 2];
    // SAFETY: two descriptors are written.
    assert_eq!(unsafe { libc::pipe(pair.as_mut_ptr()) }, 0);
    let [from, to] = pair.map(|fd| usize::try_from(fd).expect("a descriptor"));
    let mut buffer = [0u8; 100];
    let half = SECRET.len() / 2;
    let parts = [
        libc::iovec { iov_base: SECRET.as_ptr().cast_mut().cast(), iov_len: 7 },
        libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 },
        libc::iovec { iov_base: SECRET[half..].as_ptr().cast_mut().cast(), iov_len: 4 },
    ];
    call(libc::SYS_write, [to, SECRET.as_ptr() as usize, SECRET.len(), 0, 0, 0]);
    call(libc::SYS_read, [from, buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0]);
    call(libc::SYS_write, [to, SECRET.as_ptr() as usize, 0, 0, 0, 0]);
    call(libc::SYS_writev, [to, parts.as_ptr() as usize, parts.len(), 0, 0, 0]);
    call(libc::SYS_read, [from, buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0]);
}

fn messages() {
    let mut pair = [0i32; 2];
    // SAFETY: two descriptors are written.
    let made = unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_DGRAM, 0, pair.as_mut_ptr()) };
    assert_eq!(made, 0);
    let [from, to] = pair.map(|fd| usize::try_from(fd).expect("a descriptor"));
    let text = *b"one message";
    let part = libc::iovec { iov_base: text.as_ptr().cast_mut().cast(), iov_len: text.len() };
    // SAFETY: zeroes are a valid message.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = (&raw const part).cast_mut();
    message.msg_iovlen = 1;
    call(libc::SYS_sendmsg, [to, address(&message), 0, 0, 0, 0]);
    let mut room = [0u8; 64];
    let part = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
    message.msg_iov = (&raw const part).cast_mut();
    call(libc::SYS_recvmsg, [from, address(&message), 0, 0, 0, 0]);
    expect(&format!(
        "sendmsg({to}, {{msg_name=NULL, msg_namelen=0, \
             msg_iov=[{{iov_base=\"one message\", iov_len=11}}], msg_iovlen=1, \
             msg_controllen=0, msg_flags=0}}, 0) = 11"
    ));
    expect(&format!(
        "recvmsg({from}, {{msg_name=NULL, msg_namelen=0, \
             msg_iov=[{{iov_base=\"one message\", iov_len=64}}], msg_iovlen=1, \
             msg_controllen=0, msg_flags=0}}, 0) = 11"
    ));
}

/// A structure on a page of a file that was never touched.
fn cold() {
    let mut file = tempfile();
    let time = timespec(0, 9);
    // SAFETY: any bytes of a plain structure.
    let bytes = unsafe {
        std::slice::from_raw_parts(ptr::from_ref(&time).cast::<u8>(), size_of_val(&time))
    };
    file.write_all(bytes).expect("a file");
    use std::os::fd::AsRawFd;
    // SAFETY: a new mapping of a file.
    let page = unsafe {
        let fd = file.as_raw_fd();
        let page = libc::mmap(ptr::null_mut(), PAGE, libc::PROT_READ, libc::MAP_PRIVATE, fd, 0);
        assert_ne!(page, libc::MAP_FAILED);
        libc::madvise(page, PAGE, libc::MADV_DONTNEED);
        page
    };
    call(libc::SYS_nanosleep, [page as usize, 0, 0, 0, 0, 0]);
    expect("nanosleep({tv_sec=0, tv_nsec=9}@exit, NULL) = 0");
}

fn tempfile() -> std::fs::File {
    // SAFETY: a name that ends in zero.
    let fd = unsafe { libc::memfd_create(c"cold".as_ptr(), 0) };
    assert!(fd >= 0);
    use std::os::fd::FromRawFd;
    // SAFETY: a descriptor of our own.
    unsafe { std::fs::File::from_raw_fd(fd) }
}

/// Programs that do not exist, with arguments of all lengths.
fn exec() {
    // Written by this program, so that its page is resident: a literal's need not be.
    let path = c"/no/such/program".to_owned();
    let failed = "-1 ENOENT (No such file or directory)";
    let words: Vec<CString> =
        (0..40).map(|n| CString::new("x".repeat(n)).expect("no zero byte")).collect();
    let mut pointers: Vec<usize> = words.iter().map(|it| it.as_ptr() as usize).collect();
    pointers.push(0);
    let environment = [path.as_ptr() as usize, path.as_ptr() as usize, 0];
    let (argv, envp) = (pointers.as_ptr() as usize, environment.as_ptr() as usize);
    let first = &pointers[38..];
    let last = first.as_ptr() as usize;
    call(libc::SYS_execve, [path.as_ptr() as usize, last, envp, 0, 0, 0]);
    let cut = "x".repeat(32);
    expect(&format!(
        "execve(\"/no/such/program\", [\"{cut}\"..., \"{cut}\"...], {envp:#x} /* 2 vars */) \
             = {failed}"
    ));
    call(libc::SYS_execve, [path.as_ptr() as usize, argv, 0, 0, 0, 0]);
    let all: Vec<String> = (0..32).map(|n| format!("\"{}\"", "x".repeat(n))).collect();
    let all = all.join(", ");
    expect(&format!("execve(\"/no/such/program\", [{all}, ...], NULL) = {failed}"));
}
