//! Traced programs do not notice: what they see of signals, stops, restarts, timers and statuses is
//! the same with and without a tracer.

use std::process::{Command, Stdio};

use tracer_user::pipeline::TraceOptions;

#[cfg(target_arch = "x86_64")]
use crate::support::workload_path;
use crate::support::{Session, skipped};

/// Runs something twice, without and with a tracer of the whole system.
fn with_and_without<T>(mut run: impl FnMut() -> T) -> [T; 2] {
    let alone = run();
    let session = Session::start(&TraceOptions::default());
    let traced = run();
    let (spans, _) = session.stop();
    assert!(spans.len() > 100, "it was not traced");
    [alone, traced]
}

#[test]
#[cfg(target_arch = "x86_64")]
fn programs_observe_the_same() {
    let [alone, traced] = with_and_without(|| {
        let output = Command::new(workload_path())
            .args(["wait", "observe"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    });
    assert_eq!(alone, traced);
    let expected = [
        "handlers ran 100",
        "20 alarms came: true",
        "vfork: the child had run 1 times, true 0x300",
        "stopped true 0x137f, continued true 0xffff",
        "exit 42: true 0x2a00",
        "signal 9: true 0x9",
    ];
    for line in expected {
        assert!(alone.lines().any(|it| it == line), "no `{line}` in\n{alone}");
    }
}

/// Those of stress-ng's stressors that make system calls, check their results with `--verify`, and
/// do the same each time for a given number of rounds.
const STRESSORS: [(&str, &str); 28] = [
    ("access", "20"),
    ("dup", "5"),
    ("enosys", "20"),
    ("eventfd", "200"),
    ("exec", "5"),
    ("fcntl", "50"),
    ("flock", "50"),
    ("fork", "20"),
    ("fstat", "50"),
    ("futex", "50"),
    ("get", "2"),
    ("getrandom", "50"),
    ("kill", "100"),
    ("mq", "50"),
    ("nanosleep", "2"),
    ("open", "50"),
    ("pipe", "200"),
    ("poll", "5"),
    ("pthread", "5"),
    ("sem-sysv", "50"),
    ("sigq", "50"),
    ("sigsegv", "50"),
    ("signal", "100"),
    ("sigsuspend", "50"),
    ("sockpair", "50"),
    ("switch", "100"),
    ("timer", "20"),
    ("vfork", "20"),
];

/// Left out of those above: what measures time or load, what needs devices or modules, what
/// changes the host, what runs for long, and what never does the same twice.
const NOT_COMPARED: &str = "chdir, clone, mmap, yield, cpu-online, cgroup, sysinval, sysbadaddr, syscall, x86syscall, ptrace, \
    seccomp, io-uring and all others";

#[test]
fn stress_ng_passes_and_fails_the_same() {
    let version = Command::new("stress-ng").arg("--version").output();
    if !version.is_ok_and(|output| output.status.success()) {
        return skipped("stress-ng is not installed: its stressors are not compared");
    }
    skipped(&format!("stress-ng's stressors that are slow or not deterministic: {NOT_COMPARED}"));
    let folder = tempfile::tempdir().unwrap();
    let [alone, traced] = with_and_without(|| {
        STRESSORS.map(|(name, rounds)| {
            let output = Command::new("stress-ng")
                .args([&format!("--{name}"), "1", &format!("--{name}-ops"), rounds])
                .args(["--verify", "--seed", "1", "--timeout", "60", "--temp-path"])
                .arg(folder.path())
                .stdin(Stdio::null())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr);
            // Anything but what varies: times and process ids.
            let failures = said.lines().filter(|line| line.contains("fail:")).count();
            let done = said.contains("successful run completed");
            (name, output.status.code(), failures, done)
        })
    });
    assert_eq!(alone, traced);
    let passed = alone.iter().filter(|(_, code, _, _)| *code == Some(0)).count();
    assert_eq!(passed, STRESSORS.len(), "{alone:?}");
}
