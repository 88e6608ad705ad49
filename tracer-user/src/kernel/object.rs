//! The kernel programs as compiled: embedded, and checked to be of this build's agreement.

use object::{Object, ObjectSection, ObjectSymbol};
use tracer_common::abi::{ABI_VERSION, ABI_VERSION_SYMBOL};

/// The object for the architecture this program was built for. Made by `cargo xtask build-ebpf`.
#[cfg(target_arch = "x86_64")]
pub static BYTES: &[u8] =
    aya::include_bytes_aligned!("../../../tracer-ebpf/prebuilt/tracer.x86_64.bpf.o");
/// The object for the architecture this program was built for. Made by `cargo xtask build-ebpf`.
#[cfg(target_arch = "aarch64")]
pub static BYTES: &[u8] =
    aya::include_bytes_aligned!("../../../tracer-ebpf/prebuilt/tracer.aarch64.bpf.o");

/// Why an object is not loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// Not an ELF object, or without the version symbol.
    #[error("the kernel object is not one of tracer's: {0}")]
    NotOurs(String),
    /// Made for another version of this program.
    #[error("the kernel object has ABI version {found}, this program needs {ABI_VERSION}")]
    WrongVersion {
        /// The version the object carries.
        found: u32,
    },
}

/// Refuses an object whose records this program would misread.
pub fn check(bytes: &[u8]) -> Result<(), ObjectError> {
    let found = version(bytes)?;
    if found == ABI_VERSION { Ok(()) } else { Err(ObjectError::WrongVersion { found }) }
}

fn version(bytes: &[u8]) -> Result<u32, ObjectError> {
    let file =
        object::File::parse(bytes).map_err(|error| ObjectError::NotOurs(error.to_string()))?;
    let missing = || ObjectError::NotOurs(format!("no symbol `{ABI_VERSION_SYMBOL}`"));
    let symbol = file.symbol_by_name(ABI_VERSION_SYMBOL).ok_or_else(missing)?;
    let section = symbol
        .section_index()
        .and_then(|index| file.section_by_index(index).ok())
        .ok_or_else(missing)?;
    let data = section.data_range(symbol.address(), 4).ok().flatten().ok_or_else(missing)?;
    data.try_into().map(u32::from_le_bytes).map_err(|_| missing())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_object_is_of_this_build() {
        assert_eq!(check(BYTES), Ok(()));
    }

    #[test]
    fn another_version_is_refused() {
        let file = object::File::parse(BYTES).unwrap();
        let symbol = file.symbol_by_name(ABI_VERSION_SYMBOL).unwrap();
        let section = file.section_by_index(symbol.section_index().unwrap()).unwrap();
        let (start, _) = section.file_range().unwrap();
        let at = usize::try_from(start + symbol.address() - section.address()).unwrap();
        let mut bytes = BYTES.to_vec();
        bytes[at..at + 4].copy_from_slice(&77u32.to_le_bytes());
        assert_eq!(check(&bytes), Err(ObjectError::WrongVersion { found: 77 }));
        assert!(matches!(check(b"no object"), Err(ObjectError::NotOurs(_))));
    }
}
