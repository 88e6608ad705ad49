//! What the kernel's verifier goes through for each program, by how tracer is configured: a switch
//! that is off removes the code behind it.
#![expect(clippy::print_stdout, reason = "it prints its results")]

use anyhow::{Context as _, Result};
use tracer_common::memory::DataLimit;
use tracer_user::{
    filter::SyscallFilter,
    kernel::{FileDetail, Loaded, ResultFilter, cgroup::Cgroup},
    pipeline::TraceOptions,
};

/// One line for each configuration and program: their names, and the count.
pub(crate) fn run() -> Result<()> {
    for (name, options) in configurations()? {
        let loaded = Loaded::load(&options.settings()).context(name)?;
        for verified in loaded.verified()? {
            let count = verified.instructions.context("this kernel does not count")?;
            println!("{name} {} {count}", verified.program);
        }
    }
    Ok(())
}

fn configurations() -> Result<[(&'static str, TraceOptions); 4]> {
    let result = ResultFilter {
        failed: true,
        errnos: vec![2],
        min_duration_ns: 1,
        ..ResultFilter::default()
    };
    let all = TraceOptions {
        pids: vec![1],
        // Loaded, and never run: any values do.
        cgroups: vec![Cgroup { id: 1, levels: u32::MAX, path: "/".into() }],
        comms: vec![*b"nobody\0\0\0\0\0\0\0\0\0\0"],
        uids: vec![0],
        data: DataLimit { bytes: 4096, data: true },
        result,
        signals: u64::MAX,
        names: Some(FileDetail::Protocols),
        kernel_log: true,
        ..TraceOptions::default()
    };
    let mut syscalls = SyscallFilter::all();
    syscalls.add("getppid").context("-e getppid")?;
    Ok([
        // No call captures memory.
        ("light", TraceOptions { syscalls, ..TraceOptions::default() }),
        ("default", TraceOptions::default()),
        ("process", TraceOptions { pids: vec![1], ..TraceOptions::default() }),
        ("everything", all),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_configuration_has_every_switch_on() {
        let [.., (_, options)] = configurations().unwrap();
        let settings = options.settings();
        assert!(settings.by_process && settings.follow && settings.kernel_log);
        assert!(!settings.cgroups.is_empty() && !settings.uids.is_empty());
        assert!(settings.signals != 0 && settings.files.is_some());
        assert!(!settings.comms.is_empty() && !settings.result.errnos.is_empty());
    }
}
