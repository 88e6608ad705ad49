//! Where programs run in two copies, each thing is done once.

use crate::{
    maps::{ATOMIC_COUNTERS, TOLD, Told},
    stats::swap,
    task::Task,
};

/// Whether this copy is the first to write this value at this place; `None` without memory to note
/// it.
#[inline(always)]
pub(crate) fn is_first(task: Task, place: impl Fn(&mut Told) -> (*mut u32, u32)) -> Option<bool> {
    if ATOMIC_COUNTERS.load() == 0 {
        return Some(true);
    }
    // SAFETY: a non-null storage value is valid while this program runs.
    let (word, value) = place(unsafe { TOLD.get_or_create(task.0).as_mut() }?);
    // SAFETY: aligned and valid.
    Some(unsafe { swap(word, value) } != value)
}
