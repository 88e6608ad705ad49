//! From the kernel's boot clock to wall time.

use std::{
    fs,
    sync::atomic::{AtomicI64, Ordering},
};

use libc::{CLOCK_BOOTTIME, CLOCK_REALTIME, clockid_t};

/// The difference between wall time and the boot clock, measured anew from time to time. A span
/// uses one value for both its ends, so its duration stays exact when the wall clock is set.
#[derive(Debug)]
pub struct WallClock {
    offset_nanos: AtomicI64,
    /// How far the boot clock that we see is ahead of the host's, by which the kernel side goes.
    namespace_nanos: i64,
}

impl WallClock {
    /// Measures the difference.
    pub fn new() -> Self {
        let namespace_nanos = namespace();
        Self { offset_nanos: AtomicI64::new(measure(namespace_nanos)), namespace_nanos }
    }

    /// Measures again.
    pub fn refresh(&self) {
        self.offset_nanos.store(measure(self.namespace_nanos), Ordering::Relaxed);
    }

    /// The boot clock as the kernel side reads it, in nanoseconds.
    pub fn boot_now(&self) -> u64 {
        u64::try_from(now(CLOCK_BOOTTIME) - self.namespace_nanos).unwrap_or(0)
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
fn measure(namespace_nanos: i64) -> i64 {
    const TRIES: u32 = 5;
    let best = (0..TRIES)
        .map(|_| {
            let before = now(CLOCK_REALTIME);
            let boot = now(CLOCK_BOOTTIME) - namespace_nanos;
            let after = now(CLOCK_REALTIME);
            (after.saturating_sub(before), before.midpoint(after) - boot)
        })
        .filter(|(width, _)| *width >= 0)
        .min();
    best.map_or(0, |(_, offset)| offset)
}

/// What our time namespace adds to the host's boot clock, in nanoseconds: `time_namespaces(7)`. The
/// file is about the namespace of our children, which is ours unless somebody has just left it.
fn namespace() -> i64 {
    let of = |name| fs::read_link(format!("/proc/self/ns/{name}")).ok();
    let offsets = fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
    if of("time") == of("time_for_children") { boot_offset(&offsets) } else { 0 }
}

/// From lines of a clock's name, seconds and nanoseconds.
fn boot_offset(offsets: &str) -> i64 {
    let line = offsets.lines().find_map(|line| line.strip_prefix("boottime"));
    let mut words = line.unwrap_or_default().split_whitespace().map(str::parse::<i64>);
    match (words.next(), words.next()) {
        (Some(Ok(seconds)), Some(Ok(nanos))) => seconds.saturating_mul(1_000_000_000) + nanos,
        _ => 0,
    }
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
    fn offsets_of_a_namespace_are_read() {
        let text = "monotonic           5         0\nboottime        86400       7\n";
        assert_eq!(boot_offset(text), 86_400_000_000_007);
        assert_eq!(boot_offset("boottime  -1  0"), -1_000_000_000);
        for text in ["", "boottime", "boottime x y", "monotonic 1 1"] {
            assert_eq!(boot_offset(text), 0);
        }
    }

    /// A clock that is set between two calls: each keeps its duration, and has the wall time of
    /// the last measurement.
    #[test]
    fn durations_survive_a_step() {
        let clock = WallClock { offset_nanos: AtomicI64::new(1_000), namespace_nanos: 0 };
        let before = [clock.wall(10), clock.wall(30)];
        clock.offset_nanos.store(3_600_000_001_000, Ordering::Relaxed);
        assert_eq!(before, [1_010, 1_030]);
        assert_eq!([clock.wall(10), clock.wall(30)], [3_600_000_001_010, 3_600_000_001_030]);
    }

    #[test]
    fn a_time_before_the_epoch_is_zero() {
        let clock = WallClock { offset_nanos: AtomicI64::new(-100), namespace_nanos: 0 };
        assert_eq!(clock.wall(5), 0);
    }
}
