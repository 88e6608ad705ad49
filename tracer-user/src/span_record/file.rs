//! The files that the descriptors of a call led to, as the kernel held them at the call.

use tracer_common::{
    event::{CaptureHeader, Phase},
    file::{FileHeader, FileKind, SocketHeader, flag},
    memory::part,
    parse::Captures,
};
use zerocopy::FromBytes as _;

/// What one descriptor of a call led to. Borrows the call's captures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorFile<'a> {
    /// The descriptor, or [`tracer_common::file::CURRENT_FOLDER`].
    pub fd: i32,
    /// The argument that it was found by, 0..=5; another number for the result.
    pub arg: u8,
    /// Whether the kernel has returned it: then this is what it led to at the exit, else at the
    /// entry.
    pub returned: bool,
    /// Whether, while the call ran, it came to lead to another file.
    pub changed: bool,
    header: FileHeader,
    body: &'a [u8],
}

/// What the kernel held of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketFile<'a> {
    /// Numbers and addresses.
    pub header: SocketHeader,
    /// The rest of a `sockaddr_un`, its family included; empty for a socket that has no address.
    pub unix: &'a [u8],
    /// Whether that is the address of the other side.
    pub is_peer: bool,
}

impl<'a> DescriptorFile<'a> {
    /// The files among the captures of a call.
    pub fn all(captures: &'a [u8]) -> impl Iterator<Item = Self> {
        Captures::new(captures).filter_map(move |(header, bytes)| {
            let mut file = Self::parse(header, bytes)?;
            file.changed |= has_changed(captures, file.fd);
            Some(file)
        })
    }

    /// The file of a descriptor among the captures of a call: as the program passed it, or once
    /// the call has returned, which is as before where the kernel has returned no other.
    pub fn find(captures: &'a [u8], fd: i32, returned: bool) -> Option<Self> {
        let of = |after| Self::all(captures).find(|it| it.fd == fd && it.returned == after);
        if returned { of(true).or_else(|| of(false)) } else { of(false) }
    }

    /// `None` for another capture, and for damaged bytes.
    fn parse(capture: CaptureHeader, bytes: &'a [u8]) -> Option<Self> {
        if !(part::FILE..part::FILES_END).contains(&capture.part) {
            return None;
        }
        let (header, body) = FileHeader::read_from_prefix(bytes).ok()?;
        Some(Self {
            fd: header.fd,
            arg: capture.arg,
            returned: capture.phase == Phase::Exit as u8,
            changed: header.flags & flag::CHANGED != 0,
            header,
            body,
        })
    }

    /// What it is; `None` for a number that this build does not know.
    pub const fn kind(&self) -> Option<FileKind> {
        FileKind::from_wire(self.header.kind)
    }

    /// Number of the inode on its file system, as the file system keeps it.
    pub const fn inode(&self) -> u64 {
        self.header.inode
    }

    /// Major and minor number of the device that the file is on.
    pub const fn device(&self) -> (u32, u32) {
        split(self.header.device)
    }

    /// `st_mode`: type and permissions.
    pub const fn mode(&self) -> u16 {
        self.header.mode
    }

    /// Major and minor number of the device that the file is; `None` for no device, or where that
    /// was not wanted.
    pub const fn special(&self) -> Option<(u32, u32)> {
        if self.header.rdev == 0 { None } else { Some(split(self.header.rdev)) }
    }

    /// Whether its last link had been removed.
    pub const fn is_deleted(&self) -> bool {
        self.header.flags & flag::DELETED != 0
    }

    /// Whether the path does not begin at the root of the process.
    pub const fn is_outside_root(&self) -> bool {
        self.header.flags & flag::OUTSIDE_ROOT != 0
    }

    /// Whether only the end of the path was kept.
    pub const fn is_cut(&self) -> bool {
        self.header.flags & flag::CUT != 0
    }

    /// Whether something could not be read, so that there is no name.
    pub const fn is_unreadable(&self) -> bool {
        self.header.flags & flag::FAULT != 0
    }

    /// The path as the process sees it, without a mark for a deleted file; any bytes. `None` for
    /// what is in no folder.
    pub fn path(&self) -> Option<Vec<u8>> {
        if self.kind() != Some(FileKind::File) || self.is_unreadable() {
            return None;
        }
        let mut path = Vec::with_capacity(self.body.len() + 1);
        if self.is_cut() {
            path.extend(b"...");
        }
        let components = self.body.strip_suffix(b"\0").unwrap_or_default();
        if self.body.is_empty() {
            path.push(b'/');
            return Some(path);
        }
        for component in components.rsplit(|byte| *byte == 0) {
            path.push(b'/');
            path.extend(component);
        }
        Some(path)
    }

    /// The name of what is in no folder: `[eventpoll]`, `memfd:x`; of a namespace its type.
    pub fn name(&self) -> Option<&'a [u8]> {
        if self.is_unreadable() {
            return None;
        }
        self.body.split(|byte| *byte == 0).next().filter(|name| !name.is_empty())
    }

    /// The process that a pidfd is about, by its id in the initial pid namespace; `None` where that
    /// was not wanted.
    pub fn process(&self) -> Option<u32> {
        let id = (self.kind() == Some(FileKind::Process)).then(|| self.body.first_chunk())??;
        Some(u32::from_ne_bytes(*id))
    }

    /// What is known of a socket; `None` for anything else, and where that was not wanted.
    pub fn socket(&self) -> Option<SocketFile<'a>> {
        if self.kind() != Some(FileKind::Socket) {
            return None;
        }
        let (header, unix) = SocketHeader::read_from_prefix(self.body).ok()?;
        Some(SocketFile { header, unix, is_peer: self.header.flags & flag::PEER_ADDRESS != 0 })
    }
}

/// Whether the kernel side found another file behind the descriptor at the exit.
fn has_changed(captures: &[u8], fd: i32) -> bool {
    Captures::new(captures)
        .any(|(header, bytes)| header.part == part::CHANGED && bytes == fd.to_ne_bytes())
}

/// The halves of a device's number, as the kernel keeps it: `MINORBITS`,
/// <https://github.com/torvalds/linux/blob/v6.12/include/linux/kdev_t.h#L7>.
const fn split(device: u32) -> (u32, u32) {
    (device >> 20, device & 0xf_ffff)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A capture as the kernel side writes it.
    pub(crate) fn capture(part: u8, phase: Phase, header: FileHeader, body: &[u8]) -> Vec<u8> {
        let len = u32::try_from(24 + body.len()).unwrap();
        let mut bytes = vec![0, 0, phase as u8, part];
        bytes.extend(len.to_ne_bytes());
        bytes.extend([header.kind, header.flags]);
        bytes.extend(header.mode.to_ne_bytes());
        bytes.extend(header.fd.to_ne_bytes());
        bytes.extend(header.device.to_ne_bytes());
        bytes.extend(header.rdev.to_ne_bytes());
        bytes.extend(header.inode.to_ne_bytes());
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    /// A file by the components of its path, the last one first.
    pub(crate) fn file(fd: i32, flags: u8, components: &[u8]) -> Vec<u8> {
        let header =
            FileHeader { kind: FileKind::File as u8, flags, fd, inode: 7, ..FileHeader::default() };
        capture(part::FILE, Phase::Enter, header, components)
    }

    fn path(flags: u8, components: &[u8]) -> Option<Vec<u8>> {
        let bytes = file(3, flags, components);
        DescriptorFile::find(&bytes, 3, false).unwrap().path()
    }

    #[test]
    fn paths_are_turned_round() {
        assert_eq!(path(0, b"hostname\0etc\0").as_deref(), Some(&b"/etc/hostname"[..]));
        assert_eq!(path(0, b"").as_deref(), Some(&b"/"[..]));
        assert_eq!(path(flag::CUT, b"c\0b\0").as_deref(), Some(&b".../b/c"[..]));
        assert_eq!(path(flag::FAULT, b"c\0b\0"), None);
    }

    #[test]
    fn what_the_kernel_returned_comes_before_what_it_was() {
        let header = |inode| FileHeader { kind: 1, fd: 3, inode, ..FileHeader::default() };
        let bytes = [
            capture(part::FILE, Phase::Enter, header(1), b"a\0"),
            capture(part::FILE + 1, Phase::Exit, header(2), b"b\0"),
        ]
        .concat();
        let inode = |returned| DescriptorFile::find(&bytes, 3, returned).unwrap().inode();
        assert_eq!((inode(false), inode(true)), (1, 2));
        assert!(DescriptorFile::find(&bytes, 4, false).is_none());
    }

    #[test]
    fn a_change_is_marked() {
        let mut bytes = file(3, 0, b"a\0");
        assert!(!DescriptorFile::find(&bytes, 3, false).unwrap().changed);
        bytes.extend([0, 0, Phase::Exit as u8, part::CHANGED, 4, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
        assert!(DescriptorFile::find(&bytes, 3, false).unwrap().changed);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for file in DescriptorFile::all(&bytes) {
                let _ = (file.path(), file.name(), file.socket(), file.process(), file.device());
            }
        }
    }
}
