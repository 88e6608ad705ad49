//! Filters on how a call ended. What is off costs nothing.

use tracer_common::plan::{Plan, result};

use crate::{
    capture::opaque,
    maps::{ERRNOS, MIN_DURATION_NS, RESULT_FILTER},
};

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
    let errno = errno(ret);
    let is_error = errno != 0;
    let undecided = plan.has_no_result() || (512..=516).contains(&errno);
    let failed = is_error && !undecided;
    let successful = !is_error && !undecided;
    (filter & result::SUCCESSFUL == 0 || successful)
        && (filter & result::FAILED == 0 || failed)
        && (filter & result::ERRNO == 0 || (is_error && has_errno(errno)))
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

/// The error number of a result, 0 of one that is no error. Of 32 bits and unknown to the compiler:
/// the verifier of 6.18 ties results to sums with them, and finds its own bounds violated there.
#[inline(always)]
fn errno(ret: i64) -> u32 {
    let errno = if (-4095..0).contains(&ret) { ret.unsigned_abs() as u32 } else { 0 };
    opaque(errno as usize) as u32
}

#[inline(always)]
fn has_errno(errno: u32) -> bool {
    ERRNOS.get(errno).is_some_and(|set| *set != 0)
}
