//! Filters on how a call ended. What is off costs nothing.

use tracer_common::plan::{Plan, result};

use crate::maps::{ERRNOS, MIN_DURATION_NS, RESULT_FILTER};

/// Whether there is a filter at all.
#[inline(always)]
pub(crate) fn is_on() -> bool {
    RESULT_FILTER.load() != 0
}

/// Whether a call with a result passes `-z`, `-Z`, `--errno` and `--min-duration`. One that the
/// kernel will run again has neither succeeded nor failed.
#[inline(always)]
pub(crate) fn passes(plan: Plan, ret: i64, duration_ns: u64) -> bool {
    let filter = RESULT_FILTER.load();
    let ret = plan.result(ret);
    let is_error = (-4095..0).contains(&ret);
    let undecided = plan.has_no_result() || (-516..=-512).contains(&ret);
    let failed = is_error && !undecided;
    let successful = !is_error && !undecided;
    (filter & result::SUCCESSFUL == 0 || successful)
        && (filter & result::FAILED == 0 || failed)
        && (filter & result::ERRNO == 0 || (is_error && has_errno(ret)))
        && passes_duration(filter, duration_ns)
}

/// Whether a call without a result passes: it has neither succeeded nor failed.
#[inline(always)]
pub(crate) fn passes_without_result(duration_ns: u64) -> bool {
    let filter = RESULT_FILTER.load();
    filter & !result::MIN_DURATION == 0 && passes_duration(filter, duration_ns)
}

#[inline(always)]
fn passes_duration(filter: u32, duration_ns: u64) -> bool {
    filter & result::MIN_DURATION == 0 || duration_ns >= MIN_DURATION_NS.load()
}

#[inline(always)]
fn has_errno(ret: i64) -> bool {
    ERRNOS.get(ret.unsigned_abs() as u32).is_some_and(|set| *set != 0)
}
