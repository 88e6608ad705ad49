//! The place of a command in a trace.

use std::os::unix::ffi::OsStrExt;

use super::{args::TraceArgs, usage::UsageError};
use crate::{traceparent::TraceParent, tree::LaunchPlace};

/// The place, where the command's environment is not to say it.
pub(super) fn of_command(args: &TraceArgs) -> Result<Option<LaunchPlace>, UsageError> {
    let Some(value) = &args.traceparent else {
        let inherited = || TraceParent::parse(std::env::var_os("TRACEPARENT")?.as_bytes()).ok();
        return Ok(args.export_traceparent.then(|| LaunchPlace::new(inherited())));
    };
    let parsed = TraceParent::parse(value.as_bytes());
    let parent = parsed.map_err(|source| UsageError::TraceParent {
        value: value.to_string_lossy().escape_debug().to_string(),
        source,
    })?;
    Ok(Some(LaunchPlace::new(Some(parent))))
}
