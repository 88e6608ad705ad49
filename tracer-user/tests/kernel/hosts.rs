//! What the host does: stops and kills the tracer, runs many threads, sets clocks, lacks mounts.

use std::{collections::BTreeSet, fs, process::Command};

use tracer_user::{
    kernel::btf::{KernelTypes, VMLINUX},
    pipeline::TraceOptions,
    span_record::SpanRecord,
};

use crate::{
    support::{
        Running, Session, Workload, all_json_lines, children, json, json_lines, rounds, skipped,
        stderr, syscalls, trace_speaking_workload, tracer, tracer_path, workload_path,
    },
    witness,
};

#[test]
fn tracefs_is_not_needed() {
    let script = format!(
        "umount /sys/kernel/tracing /sys/kernel/debug/tracing 2>/dev/null; \
         {} trace --export null -- true",
        tracer_path()
    );
    let output = Command::new("unshare").args(["-m", "sh", "-c", &script]).output().unwrap();
    // Kernels that preempt tracepoint programs lose calls then, and that is said.
    let told = stderr(&output);
    let warned = told.starts_with("tracer: tracefs is not mounted: ") && told.lines().count() == 1;
    assert!(output.status.success() && (told.is_empty() || warned), "{told}");
}

/// Ids of all programs in the kernel.
fn loaded_programs() -> BTreeSet<u32> {
    let programs = aya::programs::loaded_programs().filter_map(Result::ok);
    programs.map(|program| program.id()).collect()
}

#[test]
fn a_killed_tracer_leaves_nothing_in_the_kernel() {
    // The programs of the witness stay, and are there from now on.
    witness::begin();
    for _ in 0..rounds(5, 2) {
        let before = loaded_programs();
        let running = Running::start(&["--export", "null"]);
        let its_own: BTreeSet<_> = loaded_programs().difference(&before).copied().collect();
        assert!(its_own.len() >= 6, "{its_own:?}");
        running.signal(libc::SIGKILL);
        assert_eq!(running.finish().0, None);
        // The kernel frees programs after a grace period.
        while !loaded_programs().is_disjoint(&its_own) {
            std::thread::yield_now();
        }
    }
}

/// Nobody waits for a tracer that does not run, and its books balance when it runs again.
#[test]
fn a_stopped_tracer_blocks_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (out, books) = (folder.path().join("out"), folder.path().join("ledger"));
    let calls = rounds(500_000, 50_000);
    let workload = Workload::new(&["calls", &calls.to_string()]);
    let (pid, export) = (workload.pid().to_string(), format!("json={}", out.display()));
    let ledger = books.to_str().unwrap();
    // Room for some thousand calls.
    let ring = ["--ring-size", "1MiB"];
    let args = ["-p", &pid, "-e", "getppid", "--export", &export, "--ledger", ledger];
    let running = Running::start(&[&args[..], &ring].concat());
    running.signal(libc::SIGSTOP);
    // Ends though the ring overflows and nobody reads it.
    workload.run();
    running.signal(libc::SIGCONT);
    let (status, said) = running.finish();
    assert_eq!(status, Some(0), "{said}");
    let ledger = json(&books);
    assert_eq!(ledger["balanced"], true);
    let lost = ledger["kernel"]["reserve_failed"].as_u64().unwrap();
    let dropped: u64 = ledger["destinations"]["json"]["dropped"]
        .as_object()
        .unwrap()
        .values()
        .map(|count| count.as_u64().unwrap())
        .sum();
    assert!(lost > 0, "{ledger}");
    assert_eq!(json_lines(&out).len() as u64 + lost + dropped, calls as u64);
}

/// Each call lies between the readings of wall time around it.
#[test]
fn wall_time_is_that_of_the_program() {
    // The offset of the two clocks is measured with about this error.
    const ERROR: u64 = 50_000;
    let options = TraceOptions { syscalls: syscalls("getppid"), ..TraceOptions::default() };
    let (spans, text, _) = trace_speaking_workload(&["clock", "1000"], options);
    let brackets: Vec<(u64, u64)> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(before, after)| (before.parse().unwrap(), after.parse().unwrap()))
        .collect();
    assert_eq!((spans.len(), brackets.len()), (1000, 1000));
    for (span, (before, after)) in spans.iter().zip(brackets) {
        let (start, end) = (span.start_time_nanos(), span.end_time_nanos());
        assert!(before <= start + ERROR && start <= end && end <= after + ERROR);
    }
}

#[test]
fn kernel_threads_make_no_calls() {
    const PF_KTHREAD: u64 = 0x0020_0000;
    let session = Session::start(&TraceOptions::default());
    Workload::new(&["family", "100"]).run();
    let (spans, _) = session.stop();
    let pids: BTreeSet<_> = spans.iter().map(SpanRecord::process_id).collect();
    for pid in pids {
        // One that has ended by now was no kernel thread.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let flags = stat.rsplit(')').next().unwrap().split(' ').nth(7).unwrap();
        assert_eq!(flags.parse::<u64>().unwrap() & PF_KTHREAD, 0, "{stat}");
    }
}

/// Operations that are submitted to an `io_uring` have a number, and somebody is told.
#[test]
fn operations_without_syscalls_are_counted() {
    let bytes = fs::read(VMLINUX).unwrap();
    let types = KernelTypes::parse(&bytes).unwrap();
    let output = tracer(&["-e", "io_uring_enter", "--", &workload_path(), "now", "uring", "25"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let made = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if made.is_empty() || !types.has_tracepoint("io_uring_submit_req") {
        skipped("operations_without_syscalls_are_counted: no io_uring here, or no tracepoint");
        return;
    }
    assert_eq!(made, "200");
    let told = stderr(&output);
    let note = "tracer: 200 io_uring operations are not shown: they are no syscalls";
    assert!(told.lines().any(|line| line == note), "{told}");
    assert_eq!(told.matches("io_uring_enter(").count(), 25);
}

/// Neither tracer itself nor the process that reads command lines for it is seen, though all are.
#[test]
fn tracer_does_not_see_itself() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.json");
    let running = Running::start(&["--export", &format!("json={}", out.display())]);
    let own = running.pid();
    let others = children(own);
    assert_eq!(others.len(), 1, "the one that reads command lines");
    Workload::new(&["calls", "10"]).run();
    running.signal(libc::SIGINT);
    let (status, said) = running.finish();
    assert_eq!(status, Some(0), "{said}");
    let spans = all_json_lines(&out);
    assert!(spans.iter().filter(|span| span["name"] == "getppid").count() >= 10);
    for span in spans {
        let is_own = others.iter().chain([&own]).any(|id| span["pid"] == *id);
        assert!(!is_own && span["comm"] != "command-lines", "{span}");
    }
}
