//! The records of the ring of cgroups, one for each that is made while programs run.

/// Longest path in bytes, the terminating zero included: `TRACE_CGROUP_PATH_LEN`,
/// <https://github.com/torvalds/linux/blob/v6.12/kernel/cgroup/cgroup-internal.h#L11>. Of a longer
/// one the kernel tells the beginning.
pub const CGROUP_PATH_LEN: usize = 1024;

/// Bytes of the ring of cgroups: some hundred records.
pub const CGROUP_RING_SIZE: u32 = 256 << 10;

/// Bytes of [`CgroupEvent`] before the path.
pub const CGROUP_HEADER_LEN: usize = 16;

wire_struct! {
    /// A cgroup of version 2 that is made. On the ring it ends with the bytes of the path.
    #[derive(Clone, Copy, Debug)]
    pub struct CgroupEvent {
        /// Its id: the inode number of its folder.
        pub id: u64,
        /// Bytes of the path.
        pub len: u32,
        /// Zero.
        pub pad: u32,
        /// The path below the root of the hierarchy, with a slash in front.
        pub path: [u8; CGROUP_PATH_LEN],
    }
}

const _: () = assert!(size_of::<CgroupEvent>() == CGROUP_HEADER_LEN + CGROUP_PATH_LEN);

/// Id and path of a record; `None` when the bytes are none.
pub fn parse(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (id, rest) = bytes.split_first_chunk()?;
    let (len, rest) = rest.split_first_chunk()?;
    let len = usize::try_from(u32::from_ne_bytes(*len)).ok()?;
    let path = rest.get(size_of::<u32>()..)?;
    (path.len() == len && len < CGROUP_PATH_LEN).then_some((u64::from_ne_bytes(*id), path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_checked() {
        let mut bytes = 77_u64.to_ne_bytes().to_vec();
        bytes.extend(2_u32.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(b"/a");
        assert_eq!(parse(&bytes), Some((77, &b"/a"[..])));
        assert_eq!(parse(&bytes[..17]), None);
        assert_eq!(parse(&bytes[..9]), None);
        bytes.push(b'x');
        assert_eq!(parse(&bytes), None);
    }
}
