//! What tracer can do on this host: what it needs and does not find, and where it falls back.

use std::{error::Error, time::Instant};

use super::{
    KernelError, Loaded, Settings, btf::KernelTypes, cgroup, files, preflight, programs,
    vmlinux::Vmlinux,
};

/// What a check has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Tracer runs, and something costs more or cannot be shown.
    Fallback,
    /// Tracer does not run.
    Missing,
}

/// One check of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// What it has come to.
    pub verdict: Verdict,
    /// What was found; of what is not as it should be also what to change.
    pub found: String,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, found: found.into() }
    }

    fn fallback(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Fallback, found: found.into() }
    }

    fn missing(check: &'static str, error: &dyn Error) -> Self {
        Self { check, verdict: Verdict::Missing, found: error.to_string() }
    }
}

/// Checks the host. Where nothing is missing, this loads the kernel programs with these settings, and
/// attaches none.
pub fn findings(settings: &Settings) -> Vec<Finding> {
    let mut all: Vec<_> = preflight::needs()
        .into_iter()
        .map(|(check, found)| match found {
            Ok(found) => Finding::ok(check, found),
            Err(error) => Finding::missing(check, &error),
        })
        .collect();
    if all.iter().any(|it| it.verdict == Verdict::Missing) {
        return all;
    }
    all.extend([load(settings), names(), calls(), cgroups()]);
    all
}

fn load(settings: &Settings) -> Finding {
    const CHECK: &str = "kernel programs";
    let start = Instant::now();
    match Loaded::load(settings) {
        Ok(_) => Finding::ok(CHECK, format!("accepted in {} ms", start.elapsed().as_millis())),
        Err(error) => Finding::missing(CHECK, &error),
    }
}

fn names() -> Finding {
    const CHECK: &str = "names of descriptors (-y)";
    let look = || -> Result<Finding, KernelError> {
        let vmlinux = Vmlinux::open()?;
        let types = KernelTypes::parse(vmlinux.bytes())?;
        files::globals(&types, None)?;
        Ok(if files::reads_by_loads(&types) {
            Finding::ok(CHECK, "read by loads")
        } else {
            Finding::fallback(
                CHECK,
                "each field is read by a call of a helper, at two to three times the cost; Linux \
                 6.2 and newer have loads",
            )
        })
    };
    look().unwrap_or_else(|error| {
        Finding::fallback(CHECK, format!("descriptors are shown without their files: {error}"))
    })
}

fn calls() -> Finding {
    const CHECK: &str = "calls";
    if !programs::is_preemptible() {
        Finding::ok(CHECK, "at tracepoints")
    } else if programs::has_perf_events() {
        Finding::ok(CHECK, "at perf events, where this kernel preempts no program")
    } else {
        Finding::fallback(
            CHECK,
            "tracefs is not mounted: calls may be missed while another task is preempted, and are \
             counted; mount -t tracefs tracefs /sys/kernel/tracing",
        )
    }
}

fn cgroups() -> Finding {
    const CHECK: &str = "cgroups";
    match cgroup::first_mount() {
        Some(mount) => Finding::ok(CHECK, format!("v2 at {}", mount.at.display())),
        None => Finding::fallback(
            CHECK,
            "no cgroup v2 is mounted: --cgroup and --container find nothing, and records have no \
             containers; mount -t cgroup2 none /sys/fs/cgroup",
        ),
    }
}
