//! Maps that this side fills and the kernel side reads.

use aya::{
    Ebpf,
    maps::{Array, HashMap, Map},
};
use tracer_common::{abi::map, memory::OpWords};

use super::KernelError;

/// Sets the first values of an array.
pub(super) fn fill_array<T: aya::Pod>(
    ebpf: &mut Ebpf,
    name: &'static str,
    values: &[T],
) -> Result<(), KernelError> {
    let at = |source| KernelError::Map { map: name, source };
    let mut array: Array<_, T> = map_mut(ebpf, name)?.try_into().map_err(at)?;
    for (index, value) in (0..).zip(values) {
        array.set(index, *value, 0).map_err(at)?;
    }
    Ok(())
}

/// Says what to capture, by the place of the call's plan.
pub(super) fn fill_operations(
    ebpf: &mut Ebpf,
    operations: &[(u32, OpWords)],
) -> Result<(), KernelError> {
    let at = |source| KernelError::Map { map: map::OPERATIONS, source };
    let mut array: Array<_, OpWords> = map_mut(ebpf, map::OPERATIONS)?.try_into().map_err(at)?;
    for (index, words) in operations {
        array.set(*index, *words, 0).map_err(at)?;
    }
    Ok(())
}

/// Puts keys into a set.
pub(super) fn fill_set<K: aya::Pod>(
    ebpf: &mut Ebpf,
    name: &'static str,
    keys: impl Iterator<Item = K>,
) -> Result<(), KernelError> {
    let at = |source| KernelError::Map { map: name, source };
    let mut set: HashMap<_, K, u8> = map_mut(ebpf, name)?.try_into().map_err(at)?;
    for key in keys {
        set.insert(key, 1, 0).map_err(at)?;
    }
    Ok(())
}

fn map_mut<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Map, KernelError> {
    ebpf.map_mut(name).ok_or(KernelError::Missing(name))
}
