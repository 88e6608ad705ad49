//! Calls with results that are known beforehand. The traced program makes them and the test
//! expects them; both get them from here, by a seed.

/// Top 16 bits of the sixth argument register of each such call; no call used here has a sixth
/// argument.
pub(crate) const MARK: u64 = 0xe57a;

/// The sixth argument: which lane's call, and which one.
pub(crate) const fn tag(lane: u64, index: u64) -> u64 {
    MARK << 48 | lane << 32 | index
}

/// A call to be made.
#[derive(Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) number: i64,
    /// Where there is a path, its address takes the place of the second one.
    pub(crate) args: [u64; 5],
    pub(crate) path: Option<String>,
    pub(crate) result: i64,
}

/// The calls of one thread, without end.
pub(crate) struct Lane(u64);

/// Calls that look for a descriptor first.
const ON_DESCRIPTORS: [i64; 14] = [
    libc::SYS_close,
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_lseek,
    libc::SYS_dup,
    libc::SYS_fstat,
    libc::SYS_ioctl,
    libc::SYS_fcntl,
    libc::SYS_fsync,
    libc::SYS_getdents64,
    libc::SYS_fchmod,
    libc::SYS_fchdir,
    libc::SYS_fdatasync,
    libc::SYS_readv,
];

impl Lane {
    pub(crate) fn new(seed: u64, lane: u64) -> Self {
        let mut new = Self(seed ^ lane.wrapping_mul(0xd6e8_feb8_6659_fd93));
        new.random();
        new
    }

    /// splitmix64, <https://prng.di.unimi.it/splitmix64.c>.
    fn random(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number past any descriptor there can be, below any that means something; what is in the
    /// upper half of the register is none of the kernel's business.
    fn no_descriptor(&mut self) -> u64 {
        self.random() & 0xffff_ffff_0fff_ffff | 0x4000_0000
    }

    pub(crate) fn next_call(&mut self) -> Call {
        let kind = self.random() % 24;
        let mut args = [0; 5].map(|_: u64| self.random());
        let mut path = None;
        let failed = |error: i32| -i64::from(error);
        let (number, result) = match kind {
            0..=13 => {
                args[0] = self.no_descriptor();
                let which = usize::try_from(kind).unwrap_or_default();
                (ON_DESCRIPTORS[which], failed(libc::EBADF))
            }
            14 => {
                args[0] |= 1;
                (libc::SYS_munmap, failed(libc::EINVAL))
            }
            15 => {
                args[0] |= 1;
                // No protection that makes the kernel look at something else first.
                args[2] = 1;
                (libc::SYS_mprotect, failed(libc::EINVAL))
            }
            16 => {
                args[0] = self.no_descriptor();
                args[1] = 0;
                (libc::SYS_kill, failed(libc::ESRCH))
            }
            17 => {
                args[0] = 100 + args[0] % 1000;
                args[1] &= 3;
                (libc::SYS_socket, failed(libc::EAFNOSUPPORT))
            }
            18 => {
                args[1] = 0x7f;
                (libc::SYS_futex, failed(libc::ENOSYS))
            }
            19 => {
                args[0] = 0x7fff_0000;
                (libc::SYS_prctl, failed(libc::EINVAL))
            }
            20 => (i64::from(500 + (args[0] % 12) as u16), failed(libc::ENOSYS)),
            21 => (libc::SYS_sched_yield, 0),
            _ => {
                args[0] = self.no_descriptor();
                args[2] = 0;
                path = Some(self.path());
                (libc::SYS_openat, failed(libc::EBADF))
            }
        };
        Call { number, args, path, result }
    }

    /// A relative path: mostly short, now and then longer than any buffer but the last.
    fn path(&mut self) -> String {
        let random = self.random();
        let longest = if random.is_multiple_of(64) { 4000 } else { 300 };
        let len = 1 + (random >> 8) % longest;
        let text = format!("{random:016x}/").repeat(1 + usize::try_from(len / 17).unwrap_or(0));
        text.chars().take(usize::try_from(len).unwrap_or(1)).collect()
    }
}
