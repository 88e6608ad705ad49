//! `tracer recover`.

use std::{
    io::{self, Write},
    os::unix::ffi::OsStrExt,
    path::Path,
};

use super::{
    Failure, RUN_TIME, args::RecoverArgs, exports::parquet::address, say, usage::UsageError,
};
use crate::export::parquet::{
    recover::{Finding, recover},
    upload::{spool_folder, upload_all},
};

/// Runs `tracer recover`.
pub(super) fn run(args: &RecoverArgs) -> Result<u8, Failure> {
    let target = args.target.as_os_str().as_bytes();
    let url = address(target).map_err(UsageError::from)?;
    let folder = url.map_or_else(|| args.target.clone(), |url| spool_folder(&args.spool, url));
    let mut report = Report::default();
    report.local(&folder)?;
    if let Some(url) = url {
        report.upload(&folder, url)?;
    }
    let mut out = io::stdout().lock();
    for line in report.lines {
        let failed = |error| Failure::run_time(format!("cannot write: {error}"));
        writeln!(out, "{line}").map_err(failed)?;
    }
    Ok(if report.failed { RUN_TIME } else { 0 })
}

/// What was done, for standard output; what could not be is said at once.
#[derive(Default)]
struct Report {
    lines: Vec<String>,
    failed: bool,
}

impl Report {
    fn local(&mut self, folder: &Path) -> Result<(), Failure> {
        let (mut files, mut spans) = (0_u64, 0);
        for finding in recover(folder).map_err(Failure::run_time)? {
            match finding {
                Finding::Recovered { path, rows } => {
                    files += 1;
                    spans += rows;
                    self.lines.push(format!("{}: {rows} spans", folder.join(path).display()));
                }
                Finding::InUse { run } => {
                    let run = folder.join(run);
                    self.lines.push(format!("{}: in use, left alone", run.display()));
                }
                Finding::Damaged { path, reason } => {
                    self.failed = true;
                    let path = folder.join(path);
                    say(&format!("{}: not recovered: {reason}", path.display()));
                }
            }
        }
        self.lines.push(format!("recovered {spans} spans in {files} files"));
        Ok(())
    }

    fn upload(&mut self, folder: &Path, url: &str) -> Result<(), Failure> {
        let url = url.trim_end_matches('/');
        for (path, sent) in upload_all(folder, url).map_err(Failure::run_time)? {
            match sent {
                Ok(()) => self.lines.push(format!("{url}/{path}: uploaded")),
                Err(error) => {
                    self.failed = true;
                    say(&format!("{}: not uploaded: {error}", folder.join(path).display()));
                }
            }
        }
        Ok(())
    }
}
