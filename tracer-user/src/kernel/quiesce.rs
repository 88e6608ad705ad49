//! When programs that were taken off run no more.

use std::{io, thread, time::Duration};

use tracer_common::counter::Counter;

use super::{
    KernelError,
    counts::KernelCounts,
    preflight::{FAULTABLE_SINCE, KernelVersion},
};

/// Waits until no program that was taken off runs any more on another CPU. Before Linux 6.13 a grace
/// period ends all that could still come to one. Since then a task may be preempted on its way there,
/// and where there is one CPU the kernel does not wait at all: there the counters tell.
pub(super) fn wait(
    counts: impl Fn() -> Result<KernelCounts, KernelError>,
) -> Result<(), KernelError> {
    let is_bounded = KernelVersion::running().is_some_and(|now| now < FAULTABLE_SINCE);
    let has_waited = grace_period() && thread::available_parallelism().is_ok_and(|it| it.get() > 1);
    if is_bounded && has_waited {
        return Ok(());
    }
    let mut before = counts()?;
    loop {
        grace_period();
        let after = counts()?;
        // Others may still run programs of ours, but not those that were taken off.
        if quiet(&before) == quiet(&after) {
            return Ok(());
        }
        before = after;
    }
}

/// Counters of the programs at enter and exit of a call, and at signals.
fn quiet(counts: &KernelCounts) -> [u64; 5] {
    [
        Counter::EnterSeen,
        Counter::Stored,
        Counter::Matched,
        Counter::Submitted,
        Counter::SignalSubmitted,
    ]
    .map(|counter| counts.get(counter))
}

/// `MEMBARRIER_CMD_GLOBAL` waits for an RCU grace period, membarrier(2); tracepoint programs run
/// inside such a section. Kernels with `nohz_full` CPUs refuse it; there a pause must do, and the answer
/// is false.
fn grace_period() -> bool {
    // SAFETY: no pointers are passed.
    let failed = unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if failed != 0 {
        log::debug!("membarrier: {}", io::Error::last_os_error());
        thread::sleep(PAUSE_FOR_PROGRAMS);
    }
    failed == 0
}

/// Far longer than a program runs that is not preempted.
const PAUSE_FOR_PROGRAMS: Duration = Duration::from_millis(10);
