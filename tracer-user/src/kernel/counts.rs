//! What the kernel side has counted.

use tracer_common::counter::{Counter, Counters};

/// A view of the kernel's counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KernelCounts {
    /// Sums over all CPUs.
    pub counters: Counters,
    /// Runs of any program that the kernel skipped because it was already running on that CPU.
    pub recursion_misses: u64,
}

impl KernelCounts {
    /// The value of one counter.
    pub fn get(&self, counter: Counter) -> u64 {
        self.counters.get(counter)
    }
}
