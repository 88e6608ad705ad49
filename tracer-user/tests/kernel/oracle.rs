//! Exact counts: against the arithmetic of programs that make many lives, and against perf, which
//! counts the same run by other means.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read, Write},
    os::fd::AsFd,
    path::Path,
    process::{Child, Command, Stdio},
};

use tracer_common::counter::Counter;
use tracer_user::{pipeline::TraceOptions, span_record::SpanRecord};

use crate::{
    arch::CHILDREN_RETURN,
    expected::{compare, describe},
    recording::{Recording, record_workload, ring_for},
    support::{Workload, amount, count, fewer_in_guests, skipped, syscalls, workload_path},
};

/// What no counter of trouble may show.
#[track_caller]
fn nothing_odd(ledger: &tracer_user::ledger::Ledger) {
    assert_eq!(ledger.losses(), Vec::new());
    for counter in [Counter::InFlight, Counter::Superseded, Counter::TaskDied] {
        assert_eq!(ledger.kernel.get(counter), 0, "{}", counter.name());
    }
}

/// A thread that is not the first executes a program, over and over.
#[test]
fn a_thousand_processes_taken_over_by_a_thread() {
    let rounds = fewer_in_guests(1000);
    let mut command = Command::new(workload_path());
    command.args(["wait", "taken-over", &rounds.to_string()]).stdout(Stdio::piped());
    let mut workload = Workload::with(&mut command);
    let mut output = workload.stdout();
    let options = TraceOptions {
        pids: vec![workload.pid()],
        syscalls: syscalls("execve,pselect6,getgid"),
        ..TraceOptions::default()
    };
    let recording = Recording::start(&options);
    workload.begin();
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    recording.wait_for_end();
    let (spans, ledger) = recording.stop();
    compare("taken-over", &text, &spans);
    nothing_odd(&ledger);
    // In each round two calls of `pselect6` and one of `execve`; in the end one of `getgid`.
    let calls = 3 * rounds + 1;
    assert_eq!(spans.len() as u64, calls);
    assert_eq!(ledger.kernel.get(Counter::Stored), calls);
    assert_eq!(ledger.kernel.get(Counter::ExitOnly), 0);
    workload.wait();
}

/// Each process that is born, executed and ended has its calls, and none has another's, though
/// their ids are used again and again.
#[test]
fn every_call_of_processes_born_and_executed() {
    let lives = amount("TRACER_TEST_LIVES", fewer_in_guests(5_000));
    let ring_size = ring_for(lives * 6);
    let options = TraceOptions { ring_size, ..TraceOptions::default() };
    let (spans, ledger) = record_workload(&["born-and-executed", &lives.to_string()], options);
    nothing_odd(&ledger);
    let parent = spans[0].process_id();
    let mut births = Vec::new();
    let mut processes: BTreeMap<_, Vec<&SpanRecord>> = BTreeMap::new();
    for span in &spans {
        if span.process_id() == parent {
            births.extend(["clone", "wait4"].contains(&&*span.span_name()).then_some(span));
        } else {
            processes.entry(span.parent_span_id()).or_default().push(span);
        }
    }
    assert_eq!((processes.len() as u64, births.len() as u64), (lives, 2 * lives));
    for pair in births.chunks(2) {
        let pid = pair[0].syscall().unwrap().ret;
        let expected = [format!("clone={pid}/complete"), format!("wait4={pid}/complete")];
        assert_eq!([describe(pair[0]), describe(pair[1])], expected);
    }
    let life =
        ["execve=0/complete", &format!("getppid={parent}/complete"), "exit_group=?/enter_only"];
    for calls in processes.values() {
        assert_eq!(calls.iter().map(|span| describe(span)).collect::<Vec<_>>(), life);
    }
    let returns = if CHILDREN_RETURN { lives } else { 0 };
    assert_eq!(ledger.kernel.get(Counter::ChildReturn), returns);
    // Those of the children and the parent's own.
    assert_eq!(ledger.kernel.get(Counter::NoReturn), lives + 1);
    assert_eq!(count(&spans, "exit_group") as u64, lives + 1);
    assert_eq!(ledger.kernel.get(Counter::ExitOnly), 1);
}

/// What perf counts by name, in the kernel's names: those that the programs below make most. What
/// else they make is compared in sum. Each costs perf a moment at its end.
const EVENTS: &str = "access arch_prctl brk chdir clone clone3 close connect dup dup2 dup3 \
    execve exit exit_group faccessat2 fadvise64 fchdir fcntl fstatfs futex getcwd getdents64 getegid \
    geteuid getgid getpgrp getpid getppid getrandom gettid getuid getxattr ioctl kill lgetxattr \
    llistxattr lseek madvise memfd_create mmap mprotect munmap newfstat newfstatat newlstat newstat newuname open \
    openat openat2 pipe pipe2 poll prctl pread64 prlimit64 read readlink readlinkat rseq rt_sigaction \
    rt_sigprocmask rt_sigreturn sched_getaffinity sched_yield set_robust_list set_tid_address \
    sigaltstack socket statfs statx sysinfo tgkill umask unlinkat utimensat vfork wait4 write";

/// perf, counting the entries of calls of a process and its descendants.
struct Perf {
    child: Child,
    folder: tempfile::TempDir,
}

impl Perf {
    /// Starts counting; `None`, with the reason told, where perf cannot.
    fn attach(pid: u32) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let [control, answer, out] =
            ["control", "answer", "out"].map(|name| folder.path().join(name));
        for fifo in [&control, &answer] {
            nix::unistd::mkfifo(fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        }
        let all = "raw_syscalls:sys_enter,raw_syscalls:sys_exit";
        let trial = Command::new("perf").args(["stat", "-e", all, "--", "true"]).output();
        match trial {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                skipped(&format!("perf: {}", String::from_utf8_lossy(&output.stderr)));
                return None;
            }
            Err(error) => {
                skipped(&format!("perf: {error}"));
                return None;
            }
        }
        let named = EVENTS.split_whitespace().collect::<Vec<_>>().join(",syscalls:sys_enter_");
        let events = format!("{all},syscalls:sys_enter_{named}");
        let child = Command::new("perf")
            .args(["stat", "-x,", "-D", "-1", "-e", &events, "-p", &pid.to_string()])
            .arg(format!("--control=fifo:{},{}", control.display(), answer.display()))
            .arg("-o")
            .arg(&out)
            .stdout(Stdio::null())
            .stderr(File::create(folder.path().join("said")).unwrap())
            .spawn()
            .unwrap();
        let both_ends = |path| File::options().read(true).write(true).open(path).unwrap();
        // Kept open: a queue that nobody has open forgets what is in it.
        let mut control = both_ends(&control);
        control.write_all(b"enable\n").unwrap();
        let mut perf = Self { child, folder };
        let mut answer = both_ends(&answer);
        while !readable(&answer) {
            let said = fs::read_to_string(perf.folder.path().join("said")).unwrap();
            assert_eq!(perf.child.try_wait().unwrap(), None, "perf has given up: {said}");
        }
        let mut said = [0; 4];
        answer.read_exact(&mut said).unwrap();
        assert_eq!(&said, b"ack\n");
        Some(perf)
    }

    /// What has been counted, by event.
    fn finish(mut self) -> BTreeMap<String, u64> {
        // SAFETY: our own child, not yet waited for.
        unsafe { libc::kill(i32::try_from(self.child.id()).unwrap(), libc::SIGINT) };
        self.child.wait().unwrap();
        let text = fs::read_to_string(self.folder.path().join("out")).unwrap();
        let counts: BTreeMap<_, _> = text.lines().filter_map(reading).collect();
        assert!(counts.len() == EVENTS.split_whitespace().count() + 2, "{text}");
        counts
    }
}

/// Waits a moment for something to read.
fn readable(file: &File) -> bool {
    let fd = nix::poll::PollFd::new(file.as_fd(), nix::poll::PollFlags::POLLIN);
    nix::poll::poll(&mut [fd], 50u16).unwrap() == 1
}

/// `VALUE,,EVENT,TIME,PERCENT,,`, perf-stat(1).
fn reading(line: &str) -> Option<(String, u64)> {
    let mut fields = line.split(',');
    let value = fields.next()?.parse().ok()?;
    Some((fields.nth(1)?.to_owned(), value))
}

/// The kernel names some of its functions otherwise than the calls they are,
/// <https://github.com/torvalds/linux/blob/v6.12/arch/x86/entry/syscalls/syscall_64.tbl>.
fn call_name(event: &str) -> Option<&str> {
    let function = event.strip_prefix("syscalls:sys_enter_")?;
    Some(match function {
        "newstat" => "stat",
        "newfstat" => "fstat",
        "newlstat" => "lstat",
        "newuname" => "uname",
        "sendfile64" => "sendfile",
        "umount" => "umount2",
        other => other,
    })
}

/// Runs a workload under both; each entry that perf has counted must have one span.
#[track_caller]
fn agree_with_perf(mut command: Command) {
    let mut workload = Workload::with(command.stdout(Stdio::null()).stderr(Stdio::null()));
    wait_until_reading(workload.pid());
    let options =
        TraceOptions { pids: vec![workload.pid()], ring_size: 64 << 20, ..TraceOptions::default() };
    let recording = Recording::start(&options);
    let Some(perf) = Perf::attach(workload.pid()) else { return };
    workload.begin();
    workload.wait();
    recording.wait_for_end();
    let counted = perf.finish();
    let (spans, ledger) = recording.stop();
    nothing_odd(&ledger);
    let kernel = |counter| ledger.kernel.get(counter);
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    for span in spans.iter().filter(|span| span.syscall().unwrap().record.name() != "exit_only") {
        *seen.entry(span.span_name().into_owned()).or_default() += 1;
    }
    let named: BTreeMap<_, _> = counted
        .iter()
        .filter_map(|(event, count)| Some((call_name(event)?.to_owned(), *count)))
        .collect();
    let of_those = |name: &String| (name.clone(), seen.get(name).copied().unwrap_or(0));
    assert_eq!(named.keys().map(of_those).collect::<BTreeMap<_, _>>(), named);
    let total: u64 = seen.values().sum();
    assert_eq!(total, counted["raw_syscalls:sys_enter"], "{seen:?}");
    assert!(named.values().filter(|count| **count > 0).count() >= 5, "{named:?}");
    assert_eq!(
        kernel(Counter::Stored) + kernel(Counter::NoReturn),
        counted["raw_syscalls:sys_enter"]
    );
    // The one that was running when perf began; a child's return is an exit too.
    let exits = kernel(Counter::Matched) + kernel(Counter::ExitOnly) + kernel(Counter::ChildReturn);
    assert_eq!((kernel(Counter::ExitOnly), exits), (1, counted["raw_syscalls:sys_exit"]));
}

/// Waits until the process waits for its line.
fn wait_until_reading(pid: u32) {
    let start = format!("{} 0x0 ", libc::SYS_read);
    let path = format!("/proc/{pid}/syscall");
    while !fs::read_to_string(Path::new(&path)).is_ok_and(|text| text.starts_with(&start)) {
        std::thread::yield_now();
    }
}

fn workload(args: &[&str]) -> Command {
    let mut command = Command::new(workload_path());
    command.arg("wait").args(args);
    command
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("read go; {script}")]);
    command
}

#[test]
fn perf_counts_the_same_of_threads_and_descendants() {
    agree_with_perf(workload(&["family", "20000"]));
}

#[test]
fn perf_counts_the_same_of_many_short_lives() {
    agree_with_perf(workload(&["born-and-executed", "200"]));
}

#[test]
fn perf_counts_the_same_of_a_shell_with_pipes() {
    agree_with_perf(shell(
        "ls -lR /etc | sort -r | head -n 5; for file in /etc/*; do test -r $file && : < $file; done; \
         find /usr/bin -name '*a*' | xargs -n 50 echo | wc -l",
    ));
}

#[test]
fn perf_counts_the_same_of_an_archive_packed_and_unpacked() {
    agree_with_perf(shell("tar cf - /etc | gzip -1 | gzip -d | tar tvf - | cksum"));
}

#[test]
fn perf_counts_the_same_of_calls_without_a_pause() {
    agree_with_perf(shell("dd if=/dev/zero of=/dev/null bs=1 count=50000"));
}

#[test]
fn perf_counts_the_same_of_signals() {
    agree_with_perf(workload(&["signals", "2000"]));
}
