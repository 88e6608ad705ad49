//! The bytes of the kernel's description of its types: some 6 MB.

use std::{fs::File, io::Read as _, os::fd::AsFd, path::Path, slice, thread};

use aya::{Btf, EbpfLoader, Endianness};
use nix::{sched::CloneFlags, unistd::chroot};

use super::{
    KernelError,
    btf::VMLINUX,
    preflight::{self, PreflightError},
};
use crate::shared_memory::Mapping;

/// The bytes.
pub(super) enum Vmlinux {
    /// The kernel's own memory: Linux 6.16 and newer let it be mapped.
    Mapped(Mapping),
    /// A copy.
    Read(Vec<u8>),
}

impl Vmlinux {
    /// Maps or reads them.
    pub(super) fn open() -> Result<Self, PreflightError> {
        let path = Path::new(VMLINUX);
        let mut file = preflight::open_btf(path)?;
        if let Some(mapping) = map(&file) {
            return Ok(Self::Mapped(mapping));
        }
        let mut bytes = Vec::new();
        let read = file.read_to_end(&mut bytes);
        read.map_err(|error| PreflightError::NoBtf { path: path.display().to_string(), error })?;
        Ok(Self::Read(bytes))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            // SAFETY: all of it is mapped for as long as it is borrowed, and nobody writes it.
            Self::Mapped(mapping) => unsafe {
                slice::from_raw_parts(mapping.start().as_ptr(), mapping.size())
            },
            Self::Read(bytes) => bytes,
        }
    }
}

fn map(file: &File) -> Option<Mapping> {
    let len = usize::try_from(file.metadata().ok()?.len()).ok()?;
    Mapping::private(file.as_fd(), len).ok()
}

/// The types as aya reads them.
pub(super) fn parse(bytes: &[u8]) -> Result<Btf, KernelError> {
    Ok(Btf::parse(bytes, Endianness::default()).map_err(aya::EbpfError::from)?)
}

/// A loader, which does not know the types. One that is made reads and parses all of them for itself,
/// which takes 30 ms and 25 MB; so a thread makes it whose root is a folder in which it finds none.
pub(super) fn loader() -> EbpfLoader<'static> {
    let elsewhere = || {
        let apart = nix::sched::unshare(CloneFlags::CLONE_FS);
        if let Err(error) = apart.and_then(|()| chroot("/sys/kernel/btf")) {
            log::debug!("the loader reads the kernel's types, too: {error}");
        }
        EbpfLoader::new()
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().spawn_scoped(scope, elsewhere).ok();
        thread.and_then(|thread| thread.join().ok()).unwrap_or_default()
    })
}
