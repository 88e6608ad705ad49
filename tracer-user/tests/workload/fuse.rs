//! A file system whose daemon can cease to answer: three files by the kernel's own protocol,
//! <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/fuse.h>. It caches no name and
//! no attribute, so that every look at one asks the daemon.

use std::{
    ffi::CString,
    fs::File,
    io::{self, Read, Write},
    os::{fd::AsRawFd, unix::fs::FileExt},
    ptr,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
};

use crate::primitives::handle;

/// Of a request and of an answer.
const IN_HEADER: usize = 40;
const OUT_HEADER: usize = 16;
/// Room for the longest request: there are no writes.
const LONGEST: usize = 128 << 10;

const ROOT: u64 = 1;
/// Zeroes, so many that there are always pages which nobody has read.
const DATA: u64 = 2;
const DATA_SIZE: u64 = 1 << 30;
/// This program.
const PROGRAM: u64 = 3;

/// Requests are read, and none is answered any more.
static SILENT: AtomicBool = AtomicBool::new(false);

extern "C" fn fall_silent(_signal: libc::c_int) {
    SILENT.store(true, SeqCst);
}

/// Mounts itself on `folder`, in a mount namespace of its own, and answers until it is told to fall
/// silent, by `SIGUSR1`, or is stopped.
pub(crate) fn serve(folder: &str) {
    let program = File::open("/proc/self/exe").expect("own file");
    let device = mount(folder);
    handle(libc::SIGUSR1, 0, fall_silent as extern "C" fn(libc::c_int) as usize);
    println!("mounted");
    let mut request = vec![0; LONGEST];
    loop {
        match (&device).read(&mut request) {
            Ok(length) if !SILENT.load(SeqCst) => {
                if let Some(answer) = answer(&request[..length], &program) {
                    // The caller may have been killed meanwhile.
                    drop((&device).write(&answer));
                }
            }
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return,
            // A request that is kept, a signal, or a caller that has given up.
            Ok(_) | Err(_) => {}
        }
    }
}

fn mount(folder: &str) -> File {
    let device = File::options().read(true).write(true).open("/dev/fuse").expect("the device");
    let options =
        format!("fd={},rootmode=40755,user_id=0,group_id=0,allow_other", device.as_raw_fd());
    let (folder, options) = (CString::new(folder), CString::new(options));
    let (folder, options) = (folder.expect("no zero byte"), options.expect("no zero byte"));
    // SAFETY: strings that end, and null where none is needed.
    let failed = unsafe {
        libc::unshare(libc::CLONE_NEWNS) != 0
            || libc::mount(
                c"none".as_ptr(),
                c"/".as_ptr(),
                ptr::null(),
                libc::MS_REC | libc::MS_PRIVATE,
                ptr::null(),
            ) != 0
            || libc::mount(
                c"tracer-test".as_ptr(),
                folder.as_ptr(),
                c"fuse".as_ptr(),
                libc::MS_NOSUID | libc::MS_NODEV,
                options.as_ptr().cast(),
            ) != 0
    };
    assert!(!failed, "mount: {}", io::Error::last_os_error());
    device
}

fn word32(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn word64(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// The answer to a request; `None` to one that wants none.
fn answer(request: &[u8], program: &File) -> Option<Vec<u8>> {
    const FORGET: u32 = 2;
    const INTERRUPT: u32 = 36;
    const BATCH_FORGET: u32 = 42;
    let opcode = word32(request, 4);
    if [FORGET, INTERRUPT, BATCH_FORGET].contains(&opcode) {
        return None;
    }
    let (node, body) = (word64(request, 16), &request[IN_HEADER..]);
    let (error, content) = match content(opcode, node, body, program) {
        Ok(content) => (0, content),
        Err(error) => (-error, Vec::new()),
    };
    let length = u32::try_from(OUT_HEADER + content.len()).expect("short");
    let mut answer = Vec::new();
    answer.extend(length.to_ne_bytes());
    answer.extend(error.to_ne_bytes());
    answer.extend(&request[8..16]);
    answer.extend(content);
    Some(answer)
}

fn content(opcode: u32, node: u64, body: &[u8], program: &File) -> Result<Vec<u8>, i32> {
    const LOOKUP: u32 = 1;
    const GETATTR: u32 = 3;
    const OPEN: u32 = 14;
    const READ: u32 = 15;
    const RELEASE: u32 = 18;
    const INIT: u32 = 26;
    const OPENDIR: u32 = 27;
    const RELEASEDIR: u32 = 29;
    match opcode {
        INIT => Ok(agreed()),
        LOOKUP => match body {
            b"data\0" => Ok(entry(DATA, program)),
            b"program\0" => Ok(entry(PROGRAM, program)),
            _ => Err(libc::ENOENT),
        },
        // Valid for no time: two words and padding.
        GETATTR => Ok([&[0; 16], &*attributes(node, program)].concat()),
        // A handle and flags, none of which is needed.
        OPEN | OPENDIR => Ok(vec![0; 16]),
        READ => Ok(read(node, word64(body, 8), word32(body, 16), program)),
        RELEASE | RELEASEDIR => Ok(Vec::new()),
        // The kernel does not ask for those again.
        _ => Err(libc::ENOSYS),
    }
}

/// `struct fuse_init_out` of version 7.31, of which only sizes matter.
fn agreed() -> Vec<u8> {
    const READ_AHEAD: u32 = 4096;
    let words = [7u32, 31, READ_AHEAD, 0, 0, 4096, 1, 0];
    let mut out: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    out.resize(64, 0);
    out
}

/// `struct fuse_entry_out`, valid for no time.
fn entry(node: u64, program: &File) -> Vec<u8> {
    let mut out = node.to_ne_bytes().to_vec();
    out.resize(40, 0);
    out.extend(attributes(node, program));
    out
}

/// `struct fuse_attr`.
fn attributes(node: u64, program: &File) -> Vec<u8> {
    let (mode, size) = match node {
        ROOT => (libc::S_IFDIR | 0o755, 0),
        DATA => (libc::S_IFREG | 0o644, DATA_SIZE),
        _ => (libc::S_IFREG | 0o755, program.metadata().expect("its size").len()),
    };
    let longs = [node, size, size / 512, 0, 0, 0];
    let words = [0, 0, 0, mode, 1, 0, 0, 0, 4096, 0];
    let longs = longs.iter().flat_map(|long| long.to_ne_bytes());
    longs.chain(words.iter().flat_map(|word| word.to_ne_bytes())).collect()
}

fn read(node: u64, offset: u64, size: u32, program: &File) -> Vec<u8> {
    let mut bytes = vec![0; size as usize];
    if node == PROGRAM {
        let length = program.read_at(&mut bytes, offset).expect("own file");
        bytes.truncate(length);
    }
    bytes
}
