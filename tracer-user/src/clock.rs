//! From the kernel's boot clock to wall time.

use std::sync::atomic::{AtomicI64, Ordering};

use libc::{CLOCK_BOOTTIME, CLOCK_REALTIME, clockid_t};

/// The difference between wall time and the boot clock, measured anew from time to time. A span
/// uses one value for both its ends, so its duration stays exact when the wall clock is set.
#[derive(Debug)]
pub struct WallClock {
    offset_nanos: AtomicI64,
}

impl WallClock {
    /// Measures the difference.
    pub fn new() -> Self {
        Self { offset_nanos: AtomicI64::new(measure()) }
    }

    /// Measures again.
    pub fn refresh(&self) {
        self.offset_nanos.store(measure(), Ordering::Relaxed);
    }

    /// Wall time of a reading of the boot clock, in nanoseconds since the Unix epoch.
    #[inline]
    pub fn wall(&self, boot_nanos: u64) -> u64 {
        boot_nanos.saturating_add_signed(self.offset_nanos.load(Ordering::Relaxed))
    }
}

impl Default for WallClock {
    fn default() -> Self {
        Self::new()
    }
}

/// Reads the boot clock between two readings of wall time, several times; the closest pair wins.
fn measure() -> i64 {
    const TRIES: u32 = 5;
    let best = (0..TRIES)
        .map(|_| {
            let before = now(CLOCK_REALTIME);
            let boot = now(CLOCK_BOOTTIME);
            let after = now(CLOCK_REALTIME);
            (after.saturating_sub(before), before.midpoint(after) - boot)
        })
        .filter(|(width, _)| *width >= 0)
        .min();
    best.map_or(0, |(_, offset)| offset)
}

/// Nanoseconds of a clock; `i64` holds them until the year 2262.
fn now(clock: clockid_t) -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid; both clocks exist on every kernel since 2.6.39.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_time_becomes_wall_time() {
        let clock = WallClock::new();
        let before = now(CLOCK_REALTIME);
        let wall = clock.wall(now(CLOCK_BOOTTIME).cast_unsigned()).cast_signed();
        let after = now(CLOCK_REALTIME);
        const SLACK: i64 = 1_000_000;
        assert!(before - SLACK <= wall && wall <= after + SLACK, "{before} {wall} {after}");
    }

    #[test]
    fn a_time_before_the_epoch_is_zero() {
        let clock = WallClock { offset_nanos: AtomicI64::new(-100) };
        assert_eq!(clock.wall(5), 0);
    }
}
