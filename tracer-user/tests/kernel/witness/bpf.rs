//! `bpf(2)`, as far as the witness needs it.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

const MAP_CREATE: u32 = 0;
const MAP_LOOKUP: u32 = 1;
const MAP_DELETE: u32 = 3;
const MAP_NEXT_KEY: u32 = 4;
const PROG_LOAD: u32 = 5;
const INFO_BY_FD: u32 = 15;
const RAW_TRACEPOINT_OPEN: u32 = 17;

const TYPE_HASH: u32 = 1;
const TYPE_ARRAY: u32 = 2;
const TYPE_RAW_TRACEPOINT: u32 = 17;

/// `union bpf_attr`, <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/bpf.h#L1450>.
#[repr(C, align(8))]
struct Attr([u8; 128]);

impl Attr {
    const fn new() -> Self {
        Self([0; 128])
    }

    fn word(mut self, offset: usize, value: u32) -> Self {
        self.0[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
        self
    }

    fn pointer<T: ?Sized>(mut self, offset: usize, value: *const T) -> Self {
        let address = value.cast::<u8>() as u64;
        self.0[offset..offset + 8].copy_from_slice(&address.to_ne_bytes());
        self
    }

    fn fd(self, offset: usize, fd: &OwnedFd) -> Self {
        self.word(offset, fd.as_raw_fd().cast_unsigned())
    }

    fn call(&mut self, command: u32) -> io::Result<i32> {
        // SAFETY: the callers' pointers lead to as much as the command takes.
        let done =
            unsafe { libc::syscall(libc::SYS_bpf, command, self.0.as_mut_ptr(), self.0.len()) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(i32::try_from(done).unwrap()) }
    }

    fn open(&mut self, command: u32) -> io::Result<OwnedFd> {
        // SAFETY: the kernel has just given this descriptor to us.
        self.call(command).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

/// A map with all its memory.
pub(super) struct Map<const KEY: usize, const VALUE: usize>(pub(super) OwnedFd);

impl<const KEY: usize, const VALUE: usize> Map<KEY, VALUE> {
    pub(super) fn hash(entries: u32) -> Self {
        Self::new(TYPE_HASH, entries)
    }

    pub(super) fn array(entries: u32) -> Self {
        Self::new(TYPE_ARRAY, entries)
    }

    fn new(kind: u32, entries: u32) -> Self {
        let (key, value) = (u32::try_from(KEY).unwrap(), u32::try_from(VALUE).unwrap());
        let attr = Attr::new().word(0, kind).word(4, key).word(8, value).word(12, entries);
        Self({ attr }.open(MAP_CREATE).expect("a map of the witness"))
    }

    pub(super) fn get(&self, key: &[u8; KEY]) -> Option<[u8; VALUE]> {
        let mut value = [0; VALUE];
        let attr = Attr::new().fd(0, &self.0).pointer(8, key).pointer(16, &raw mut value);
        { attr }.call(MAP_LOOKUP).is_ok().then_some(value)
    }

    pub(super) fn delete(&self, key: &[u8; KEY]) {
        let done = Attr::new().fd(0, &self.0).pointer(8, key).call(MAP_DELETE);
        done.expect("a key that is there");
    }

    /// All entries. Entries may be added meanwhile, but none may be deleted.
    pub(super) fn entries(&self) -> Vec<([u8; KEY], [u8; VALUE])> {
        let mut found = Vec::new();
        let mut last: Option<[u8; KEY]> = None;
        let mut next = [0; KEY];
        loop {
            let attr = Attr::new().fd(0, &self.0).pointer(16, &raw mut next);
            let attr = match &last {
                Some(last) => attr.pointer(8, last),
                None => attr,
            };
            if { attr }.call(MAP_NEXT_KEY).is_err() {
                return found;
            }
            found.push((next, self.get(&next).expect("a key that is there")));
            last = Some(next);
        }
    }
}

/// A program at a raw tracepoint, for as long as this lives.
pub(super) struct Program {
    program: OwnedFd,
    _link: OwnedFd,
}

impl Program {
    pub(super) fn attach(tracepoint: &std::ffi::CStr, code: &[u64]) -> Self {
        let mut log = vec![0u8; 1 << 16];
        let length = u32::try_from(log.len()).unwrap();
        let attr = Attr::new()
            .word(0, TYPE_RAW_TRACEPOINT)
            .word(4, u32::try_from(code.len()).unwrap())
            .pointer(8, code.as_ptr())
            .pointer(16, c"GPL".as_ptr())
            .word(24, 1)
            .word(28, length)
            .pointer(32, log.as_mut_ptr());
        let program = { attr }.open(PROG_LOAD).unwrap_or_else(|error| {
            panic!("{error}: {}", String::from_utf8_lossy(&log).trim_end_matches('\0'))
        });
        let attr = Attr::new().pointer(0, tracepoint.as_ptr()).fd(8, &program);
        let link = { attr }.open(RAW_TRACEPOINT_OPEN).expect("the witness attaches");
        Self { program, _link: link }
    }

    /// Runs that the kernel has skipped, for the program was already running on that CPU; 0 where
    /// the kernel counts none.
    pub(super) fn misses(&self) -> u64 {
        /// Of `bpf_prog_info`, <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/bpf.h#L6547>.
        const RECURSION_MISSES: usize = 208;
        let mut info = [0u8; RECURSION_MISSES + 8];
        let length = u32::try_from(info.len()).unwrap();
        let attr = Attr::new().fd(0, &self.program).word(4, length).pointer(8, &raw mut info);
        { attr }.call(INFO_BY_FD).expect("what the kernel knows of the witness");
        u64::from_ne_bytes(info[RECURSION_MISSES..].try_into().unwrap())
    }
}
