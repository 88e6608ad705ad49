//! The kernel programs as compiled: embedded, and checked to be of this build's agreement.

use object::{Object, ObjectSection, ObjectSymbol, SectionKind};
use tracer_common::abi::{ABI_VERSION, ABI_VERSION_SYMBOL, kfunc};

use super::btf::KernelTypes;

/// The object for the architecture this program was built for. Made by `cargo xtask build-ebpf`.
#[cfg(target_arch = "x86_64")]
pub static BYTES: &[u8] =
    aya::include_bytes_aligned!("../../../tracer-ebpf/prebuilt/tracer.x86_64.bpf.o");

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

/// The kernel functions that programs call so as not to be preempted, by type id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preemption {
    disable: u32,
    enable: u32,
}

impl Preemption {
    /// Looks for them in a kernel; there are none before 6.10.
    pub fn find(types: &KernelTypes) -> Option<Self> {
        let disable = types.function("bpf_preempt_disable")?;
        Some(Self { disable, enable: types.function("bpf_preempt_enable")? })
    }
}

/// Puts the calls of kernel functions into the object, or nothing in their place.
pub fn link(bytes: &[u8], preemption: Option<Preemption>) -> Result<Vec<u8>, ObjectError> {
    let failed = |error: object::Error| ObjectError::NotOurs(error.to_string());
    let file = object::File::parse(bytes).map_err(failed)?;
    let mut linked = bytes.to_vec();
    for section in file.sections().filter(|section| section.kind() == SectionKind::Text) {
        let Some((start, len)) = section.file_range() else { continue };
        let range = usize::try_from(start).unwrap_or(usize::MAX)
            ..usize::try_from(start + len).unwrap_or(usize::MAX);
        let Some(code) = linked.get_mut(range) else { continue };
        let (instructions, _) = code.as_chunks_mut::<8>();
        for instruction in instructions {
            if *instruction == call(HELPER, kfunc::PREEMPT_DISABLE.cast_unsigned()) {
                *instruction = preemption.map_or(NOTHING, |it| call(KERNEL_FUNCTION, it.disable));
            } else if *instruction == call(HELPER, kfunc::PREEMPT_ENABLE.cast_unsigned()) {
                *instruction = preemption.map_or(NOTHING, |it| call(KERNEL_FUNCTION, it.enable));
            }
        }
    }
    Ok(linked)
}

/// What a call instruction calls: its source register, RFC 9669 section 4.3.
const HELPER: u8 = 0;
const KERNEL_FUNCTION: u8 = 2;

/// A jump to the next instruction.
const NOTHING: [u8; 8] = [0x05, 0, 0, 0, 0, 0, 0, 0];

/// The instruction that calls `id`.
const fn call(kind: u8, id: u32) -> [u8; 8] {
    let [a, b, c, d] = id.to_le_bytes();
    [0x85, kind << 4, 0, 0, a, b, c, d]
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
    fn kernel_functions_are_linked_or_left_out() {
        let count = |bytes: &[u8], wanted: [u8; 8]| {
            bytes.as_chunks::<8>().0.iter().filter(|found| **found == wanted).count()
        };
        let [disable, enable] = [kfunc::PREEMPT_DISABLE, kfunc::PREEMPT_ENABLE]
            .map(|id| call(HELPER, id.cast_unsigned()));
        let calls = count(BYTES, disable);
        assert!(calls >= 5 && count(BYTES, enable) >= calls);
        for preemption in [None, Some(Preemption { disable: 70_000, enable: 70_001 })] {
            let linked = link(BYTES, preemption).unwrap();
            assert_eq!((count(&linked, disable), count(&linked, enable)), (0, 0));
            let made = count(&linked, call(KERNEL_FUNCTION, 70_000));
            assert_eq!(made, if preemption.is_some() { calls } else { 0 });
            assert_eq!(check(&linked), Ok(()));
        }
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
