//! Lockdown, which can be raised and never lowered: these tests are the last of a virtual machine.

use std::fs;

use tracer_user::pipeline::TraceOptions;

use crate::{
    arch::OPEN,
    guest::must_be_here,
    support::{stderr, syscalls, trace_workload, tracer},
};

const LEVEL: &str = "/sys/kernel/security/lockdown";

fn raise(level: &str) {
    must_be_here();
    fs::write(LEVEL, level).unwrap();
    assert!(fs::read_to_string(LEVEL).unwrap().contains(&format!("[{level}]")));
}

/// One test, for the order of the two counts.
#[test]
fn integrity_is_no_obstacle_and_confidentiality_is_named() {
    raise("integrity");
    let options = TraceOptions { syscalls: syscalls(OPEN), ..TraceOptions::default() };
    let (spans, _) = trace_workload(&["open", "/etc/hostname"], options);
    let string = spans.last().unwrap().syscall().unwrap().string(1).unwrap();
    assert_eq!(string.bytes, b"/etc/hostname");

    raise("confidentiality");
    let output = tracer(&["--", "true"]);
    let line = "tracer: this kernel is locked down (/sys/kernel/security/lockdown: \
                confidentiality), so that kernel programs may not read memory; boot with \
                lockdown=integrity or without lockdown\n";
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(1), line));
}
