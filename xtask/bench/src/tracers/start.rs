//! The command lines of tracers, and what shows that each is ready.

use std::{
    fs::File,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{NO_CALL, Target, Tool};
use crate::{
    bench::Bench,
    process::{self, Background, descriptors, is_polling, ptraced_by},
};

/// What a tracer writes to its standard error is in this file of its folder.
pub(super) const ERRORS: &str = "errors";
/// What it writes about events, or to its standard output.
pub(super) const OUTPUT: &str = "output";
/// tracer's accounting.
pub(super) const LEDGER: &str = "ledger";
/// Where tracer's Parquet files are.
const RECORDING: &str = "recording";

/// The kind of descriptor by which perf and bpftrace are attached.
const PERF_EVENT: &str = "perf_event";

/// What every bpftrace script counts from.
const ENTER: &str = "tracepoint:raw_syscalls:sys_enter";
const EXIT: &str = "tracepoint:raw_syscalls:sys_exit";

/// Starts tracer with these options of scope, to null; returns when it is ready.
pub(super) fn tracer_of(bench: &Bench, scope: &[String], folder: &Path) -> Result<Background> {
    let mut command = tracer(bench, folder);
    command.args(["--export", "null"]).args(scope);
    ready(&mut command, Tool::Null, 0, folder)
}

/// Starts it; returns when it is ready.
pub(super) fn start(
    tool: Tool,
    bench: &Bench,
    target: Target,
    folder: &Path,
) -> Result<Background> {
    ready(&mut command(tool, bench, target, folder)?, tool, target.pid, folder)
}

/// Starts a command line, and waits for evidence. `traced` is for tracers that use ptrace.
fn ready(command: &mut Command, tool: Tool, traced: u32, folder: &Path) -> Result<Background> {
    let errors = File::create(folder.join(ERRORS)).context(ERRORS)?;
    let output = File::create(folder.join("stdout")).context("stdout")?;
    command.stdin(Stdio::null()).stdout(output).stderr(errors);
    let mut process = Background::start(command)?;
    let pid = process.pid();
    process.until("attached", || match tool {
        Tool::Strace => ptraced_by(traced) == pid,
        Tool::PerfTrace | Tool::PerfRecord => descriptors(pid, PERF_EVENT) > 0 && is_polling(pid),
        // One for each of the two probes.
        Tool::BpftraceHistogram | Tool::BpftracePrintf => {
            descriptors(pid, PERF_EVENT) >= 2 && is_polling(pid)
        }
        _ => process::text(&folder.join(ERRORS)).lines().any(|line| line.ends_with("attached")),
    })?;
    Ok(process)
}

fn command(tool: Tool, bench: &Bench, target: Target, folder: &Path) -> Result<Command> {
    let pid = target.pid.to_string();
    let output = folder.join(OUTPUT);
    Ok(match tool {
        Tool::Bystander => {
            let mut command = tracer(bench, folder);
            command.args(["--export", "null", "-p", &bench.other().to_string()]);
            command
        }
        Tool::Lives => {
            let mut command = tracer(bench, folder);
            command.args(["--export", "null", "-e", NO_CALL, "-p", &pid]);
            command
        }
        Tool::Null => {
            let mut command = tracer(bench, folder);
            command.args(["--export", "null", "-p", &pid]);
            command
        }
        Tool::Parquet => {
            let mut command = tracer(bench, folder);
            let folder = folder.join(RECORDING);
            command.args(["-p", &pid, "--export", &format!("parquet={}", folder.display())]);
            command
        }
        Tool::Otlp => {
            let mut command = tracer(bench, folder);
            let url = format!("otlp=http://{}", bench.receiver()?);
            command.args(["-p", &pid, "--export", &url]);
            command
        }
        Tool::Strace => {
            let mut command = Command::new("strace");
            command.args(["-f", "-o", "/dev/null", "-p", &pid]);
            command
        }
        Tool::PerfTrace => {
            let mut command = Command::new("perf");
            // It follows neither children nor threads: for those it takes all but itself.
            let scope: &[&str] = if target.tree { &["-a"] } else { &["-p", &pid] };
            command.arg("trace").args(scope).arg("-o").arg(output);
            command
        }
        Tool::PerfRecord => {
            let mut command = Command::new("perf");
            command.args(["record", "-e", "raw_syscalls:sys_enter"]);
            command.args(["-e", "raw_syscalls:sys_exit", "-p", &pid, "-o"]).arg(output);
            command
        }
        Tool::BpftraceHistogram => bpftrace(target, &output, "@ns = hist(nsecs - @start[tid]);")?,
        Tool::BpftracePrintf => {
            let print =
                r#"printf("%d %d %d %d\n", tid, args->id, args->ret, nsecs - @start[tid]);"#;
            bpftrace(target, &output, print)?
        }
        Tool::Bare | Tool::Floor | Tool::StraceBystander | Tool::AprenderProfile => {
            bail!("{} has no process", tool.name())
        }
    })
}

fn tracer(bench: &Bench, folder: &Path) -> Command {
    let mut command = Command::new(bench.tracer());
    // -v says when it is attached.
    command.args(["trace", "-v", "--ledger"]).arg(folder.join(LEDGER));
    command
}

/// bpftrace needs tracefs, and does not mount it.
fn mount_tracefs() -> Result<()> {
    const PLACE: &str = "/sys/kernel/tracing";
    if Path::new(PLACE).join("events").exists() {
        return Ok(());
    }
    let mut mount = Command::new("mount");
    let status = mount.args(["-t", "tracefs", "tracefs", PLACE]).status().context("mount")?;
    ensure!(status.success(), "mount could not mount tracefs at {PLACE}");
    Ok(())
}

/// Latencies as everybody computes them there; `each` is done at the end of each call.
fn bpftrace(target: Target, output: &Path, each: &str) -> Result<Command> {
    mount_tracefs()?;
    // It cannot follow children: for work of many processes it takes all but itself.
    let scope = if target.tree {
        r#"comm != "bpftrace""#.to_owned()
    } else {
        format!("pid == {}", target.pid)
    };
    let script = format!(
        "{ENTER} /{scope}/ {{ @start[tid] = nsecs; }} \
         {EXIT} /@start[tid]/ {{ {each} delete(@start[tid]); }} END {{ clear(@start); }}"
    );
    let mut command = Command::new("bpftrace");
    command.arg("-o").arg(output).args(["-e", &script]);
    Ok(command)
}
