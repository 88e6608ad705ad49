//! What `--control` does with requests.

use std::path::Path;

use serde_json::json;

use crate::{
    control::Request,
    filter::SyscallFilter,
    kernel::cgroup,
    pipeline::{Trace, TraceError},
};

/// Does what is asked for: what to say after `ok`, or after `error`.
pub(super) fn answer(trace: &mut Trace, request: &Request) -> Result<String, String> {
    let done = |done: Result<(), TraceError>| done.map(|()| String::new()).map_err(told);
    match request {
        Request::AddProcess(pid) => done(trace.add_process(*pid)),
        Request::RemoveProcess(pid) => {
            let was_in_scope = trace.remove_process(*pid).map_err(told)?;
            if was_in_scope { Ok(String::new()) } else { Err(format!("{pid} is not in scope")) }
        }
        Request::AddCgroup(path) => {
            // First, so that what is wrong with the trace is not told as an error of the path.
            if trace.cgroups_in_scope().is_none() {
                return Err(told(TraceError::NotByCgroup));
            }
            let cgroup = cgroup::resolve(path).map_err(|error| error.to_string())?;
            let is_new = trace.add_cgroup(&cgroup).map_err(told)?;
            Ok(if is_new { String::new() } else { "was in scope".to_owned() })
        }
        Request::RemoveCgroup(path) => remove_cgroup(trace, path),
        Request::Trace(set) => {
            let mut filter = SyscallFilter::all();
            filter.add(set).map_err(|error| error.to_string())?;
            done(trace.set_syscalls(&filter))
        }
        Request::Status => status(trace),
    }
}

fn told(error: TraceError) -> String {
    match error {
        TraceError::NotByProcess => {
            "the scope of this trace is not by process; start it with -p or a command".to_owned()
        }
        TraceError::NotByCgroup => {
            "the scope of this trace is not by cgroup; start it with --cgroup or --container"
                .to_owned()
        }
        other => other.to_string(),
    }
}

/// One that does not exist any more is found by the path that it had.
fn remove_cgroup(trace: &mut Trace, path: &Path) -> Result<String, String> {
    let id = cgroup::resolve(path).ok().map(|cgroup| cgroup.id);
    let below = path.strip_prefix("/").unwrap_or(path);
    let mount = cgroup::first_mount().map(|mount| mount.at.join(below));
    let removed = trace
        .remove_cgroup(|member| match id {
            Some(id) => member.id == id,
            None => member.path == path || Some(&member.path) == mount.as_ref(),
        })
        .map_err(told)?;
    if removed { Ok(String::new()) } else { Err(format!("`{}` is not in scope", path.display())) }
}

/// The scope and the counts so far, as JSON.
fn status(trace: &Trace) -> Result<String, String> {
    let ledger = trace.ledger().map_err(|error| error.to_string())?;
    let cgroups = trace.cgroups_in_scope().map(|all| {
        all.iter().map(|cgroup| cgroup.path.to_string_lossy().into_owned()).collect::<Vec<_>>()
    });
    let lost: u64 = ledger.losses().iter().map(|(_, count)| count).sum();
    let status = json!({
        "live_processes": trace.live_processes(),
        "cgroups": cgroups,
        "spans": ledger.spans.made,
        "lost": lost,
    });
    Ok(status.to_string())
}
