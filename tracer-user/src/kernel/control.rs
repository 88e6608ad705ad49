//! Words of the kernel side's `CONTROL` map.

use std::sync::atomic::Ordering;

use crate::shared_memory::Mapping;

/// Words that both sides read and write while programs run.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) words: Mapping,
}

impl Control {
    pub(super) fn get(&self, word: u32) -> u64 {
        self.words.word64(word as usize).map_or(0, |word| word.load(Ordering::Acquire))
    }

    pub(super) fn set(&self, word: u32, value: u64) {
        if let Some(word) = self.words.word64(word as usize) {
            word.store(value, Ordering::Release);
        }
    }
}
