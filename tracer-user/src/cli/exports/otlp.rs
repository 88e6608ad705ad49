//! `--export otlp`: what the options and OpenTelemetry's variables say.

use std::{env, ffi::OsStr, sync::Arc, time::Duration};

use super::super::{
    Failure,
    args::{ErrorStatusChoice, TraceArgs},
    units::parse_size,
    usage::UsageError,
};
use crate::{
    export::otlp::{ErrorStatus, OtlpError, OtlpExporter, OtlpOptions, SpillOptions},
    identity::Resolver,
    ring_buffer::Destination,
};

/// Of the time that destinations have at the end, what this one takes: the rest is left to count what
/// it could not send.
const SHARE_OF_SHUTDOWN: f64 = 0.9;

pub(super) fn parse(
    url: Option<&OsStr>,
    args: &TraceArgs,
    shutdown_timeout: Duration,
) -> Result<OtlpOptions, UsageError> {
    let url = url.map(|url| url.to_str().ok_or(UsageError::UrlNotText)).transpose()?;
    let mut options =
        OtlpOptions::new(url.filter(|url| !url.is_empty()), |name| env::var_os(name))?;
    options.error_status = match args.otlp_error_status {
        ErrorStatusChoice::All => ErrorStatus::All,
        ErrorStatusChoice::Unexpected => ErrorStatus::Unexpected,
        ErrorStatusChoice::Never => ErrorStatus::Never,
    };
    if let Some(folder) = args.otlp_spill.clone() {
        let bytes = parse_size("otlp-spill-size", &args.otlp_spill_size)?;
        options.spill = Some(SpillOptions { folder, bytes });
    }
    options.drain = shutdown_timeout.mul_f64(SHARE_OF_SHUTDOWN);
    Ok(options)
}

pub(super) fn open(
    name: String,
    options: &OtlpOptions,
    identity: Arc<Resolver>,
) -> Result<Destination, Failure> {
    let open = |account| Ok(OtlpExporter::open(options, account)?.with_identity(identity));
    Destination::with_account(name, open).map_err(|error: OtlpError| Failure::run_time(error))
}
