//! What the kernel side is asked to do.

use tracer_common::{
    memory::{DataLimit, OpWords},
    plan::{Plan, captures, result},
};

use super::{cgroup::Cgroup, files::FileDetail};

/// What the kernel side shall do; all of it is evaluated there.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Settings {
    /// Processes in scope are marked in a map (see [`super::ProcessScope`]); without this, all are.
    pub by_process: bool,
    /// New processes take their parent's mark.
    pub follow: bool,
    /// Tasks that run already may be in scope, from the beginning or later. Without this no program is
    /// loaded that looks at them.
    pub looks_at_tasks: bool,
    /// A command is going to be launched, see [`super::ProcessScope::launch`].
    pub launches: bool,
    /// Cgroups in scope, with their descendants. Empty: all.
    pub cgroups: Vec<Cgroup>,
    /// The scope is by cgroup, be there one yet or not, and others may come into it.
    pub cgroups_change: bool,
    /// Thread names in scope, padded with zero bytes. Empty: all.
    pub comms: Vec<[u8; 16]>,
    /// Users in scope. Empty: all.
    pub uids: Vec<u32>,
    /// One plan per ABI and number.
    pub plans: Vec<Plan>,
    /// Plans may change while tracing, so that other calls capture other things.
    pub plans_change: bool,
    /// What memory the calls capture, by the index of the plan.
    pub operations: Vec<(u32, OpWords)>,
    /// How much is captured of data, and of the arguments of programs.
    pub data: DataLimit,
    /// Which results pass.
    pub result: ResultFilter,
    /// Look up the files of descriptors, in this detail.
    pub files: Option<FileDetail>,
    /// Which signals are recorded as they are delivered, as a set of
    /// [`tracer_common::signal::signal_bit`].
    pub signals: u64,
    /// Bytes of the ring: a power of two and at least one page.
    pub ring_size: u32,
    /// Let the kernel side write its diagnostic log.
    pub kernel_log: bool,
}

impl Settings {
    /// Which [`captures`] calls may have.
    pub(super) fn captures(&self) -> u32 {
        if self.plans_change { captures::ALL } else { all_captures(&self.plans) }
    }
}

/// Which [`captures`] the plans ask for.
pub(super) fn all_captures(plans: &[Plan]) -> u32 {
    plans.iter().fold(0, |all, plan| all | plan.captures())
}

/// Which calls pass by how they ended; all conditions that are set must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResultFilter {
    /// Only calls that succeeded.
    pub successful: bool,
    /// Only calls that failed.
    pub failed: bool,
    /// Only calls that failed with one of these. Empty: any.
    pub errnos: Vec<u32>,
    /// Only calls that took at least so long, in nanoseconds.
    pub min_duration_ns: u64,
}

impl ResultFilter {
    pub(super) fn bits(&self) -> u32 {
        let bit = |on: bool, bit: u32| if on { bit } else { 0 };
        bit(self.successful, result::SUCCESSFUL)
            | bit(self.failed, result::FAILED)
            | bit(!self.errnos.is_empty(), result::ERRNO)
            | bit(self.min_duration_ns > 0, result::MIN_DURATION)
    }
}
