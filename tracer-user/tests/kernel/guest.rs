//! What is done to virtual machines only: CPUs that come and go.

use std::{fs, path::Path};

use tracer_common::counter::Counter;
use tracer_user::pipeline::TraceOptions;

use crate::support::{Session, Workload, count, syscalls};

/// Panics where this is no virtual machine of `cargo xtask vm`.
pub(crate) fn must_be_here() {
    let is_here = std::env::var_os("TRACER_TEST_REDUCED").is_some();
    assert!(is_here, "only for the virtual machines of `cargo xtask vm`");
}

/// A CPU that can be taken away, and is given back at the end.
struct Cpu(&'static Path);

impl Cpu {
    fn second() -> Self {
        must_be_here();
        Self(Path::new("/sys/devices/system/cpu/cpu1/online"))
    }

    fn set(&self, online: bool) {
        fs::write(self.0, if online { "1" } else { "0" }).expect("the CPU obeys");
    }
}

impl Drop for Cpu {
    fn drop(&mut self) {
        // There already in a test that has passed.
        let _ = fs::write(self.0, "1");
    }
}

const PROCESSES: usize = 4;
const CALLS: usize = 20_000;

/// A trace of processes on all CPUs, while `change` is done in the middle of it.
fn trace_while(change: impl FnOnce()) {
    let (processes, calls) = (PROCESSES.to_string(), CALLS.to_string());
    let mut workload = Workload::new(&["processes", &processes, &calls]);
    let options = TraceOptions {
        pids: vec![workload.pid()],
        syscalls: syscalls("getppid"),
        ..TraceOptions::default()
    };
    let mut session = Session::start(&options);
    workload.begin();
    let matched = || session.trace.ledger().unwrap().kernel.get(Counter::Matched);
    while matched() < 100 {
        std::thread::yield_now();
    }
    change();
    session.wait_for_end();
    let (spans, ledger) = session.stop();
    assert_eq!(ledger.kernel.get(Counter::Matched), (PROCESSES * CALLS) as u64, "{ledger:?}");
    assert_eq!(ledger.kernel.get(Counter::ReserveFailed), 0, "{ledger:?}");
    assert_eq!(count(&spans, "getppid"), PROCESSES * CALLS);
    workload.wait();
}

#[test]
fn a_cpu_goes_and_comes_back_while_tracing() {
    let cpu = Cpu::second();
    trace_while(|| {
        cpu.set(false);
        cpu.set(true);
    });
}

#[test]
fn a_cpu_goes_while_tracing() {
    let cpu = Cpu::second();
    trace_while(|| cpu.set(false));
}

#[test]
fn a_cpu_comes_while_tracing() {
    let cpu = Cpu::second();
    cpu.set(false);
    trace_while(|| cpu.set(true));
}
