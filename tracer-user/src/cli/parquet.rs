//! `--export parquet=TARGET`: the folder and its options, and `tracer recover`.

use std::{
    ffi::OsStr,
    io::{self, Write},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::Duration,
};

use parse_size::Config as SizeParser;

use super::{Failure, RUN_TIME, say};
use crate::export::parquet::{
    Compression, ParquetOptions,
    recover::{Finding, recover},
};

/// A mistake in the target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum TargetError {
    #[error("parquet needs a folder: parquet=DIR")]
    NoFolder,
    #[error(
        "`{0}` is no option of parquet; known are rotate-size, rotate-interval, flush-interval and \
         compression (a folder with a comma in its name is written with a slash at its end)"
    )]
    Unknown(String),
    #[error("{option}: `{value}` is not a {kind}; write it like {example}")]
    Value { option: &'static str, value: String, kind: &'static str, example: &'static str },
}

/// Takes apart `DIR[,OPTION=VALUE]...`. Options begin at the first comma after the last slash, so
/// that any folder can be named.
pub(super) fn parse_target(target: &OsStr) -> Result<ParquetOptions, TargetError> {
    let bytes = target.as_bytes();
    let name = bytes.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let (_, last) = bytes.split_at(name);
    let (folder, options) = match last.iter().position(|byte| *byte == b',') {
        Some(comma) => (&bytes[..name + comma], &last[comma + 1..]),
        None => (bytes, &[][..]),
    };
    if folder.is_empty() {
        return Err(TargetError::NoFolder);
    }
    let mut parsed = ParquetOptions::new(PathBuf::from(OsStr::from_bytes(folder)));
    for option in options.split(|byte| *byte == b',').filter(|option| !option.is_empty()) {
        set(&mut parsed, &String::from_utf8_lossy(option))?;
    }
    Ok(parsed)
}

fn set(options: &mut ParquetOptions, text: &str) -> Result<(), TargetError> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    match name {
        "rotate-size" => options.rotate_size = size(value)?,
        "rotate-interval" => options.rotate_interval = time("rotate-interval", value)?,
        "flush-interval" => options.flush_interval = time("flush-interval", value)?,
        "compression" => {
            options.compression = match value {
                "zstd" => Compression::Zstd,
                "none" => Compression::None,
                _ => return Err(wrong("compression", value, "codec", "zstd or none")),
            };
        }
        _ => return Err(TargetError::Unknown(text.to_owned())),
    }
    Ok(())
}

fn size(text: &str) -> Result<u64, TargetError> {
    let parsed = SizeParser::new().with_binary().parse_size(text);
    parsed.ok().filter(|size| *size > 0).ok_or_else(|| wrong("rotate-size", text, "size", "64MiB"))
}

fn time(option: &'static str, text: &str) -> Result<Duration, TargetError> {
    let parsed = humantime::parse_duration(text).ok().filter(|time| !time.is_zero());
    parsed.ok_or_else(|| wrong(option, text, "time", "500ms, 10s or 5m"))
}

fn wrong(
    option: &'static str,
    value: &str,
    kind: &'static str,
    example: &'static str,
) -> TargetError {
    TargetError::Value { option, value: value.to_owned(), kind, example }
}

/// Runs `tracer recover`.
pub(super) fn run_recover(folder: &Path) -> Result<u8, Failure> {
    let findings = recover(folder).map_err(Failure::run_time)?;
    let mut lines = Vec::new();
    let (mut files, mut spans, mut damaged) = (0_u64, 0, false);
    for finding in &findings {
        match finding {
            Finding::Recovered { path, rows } => {
                files += 1;
                spans += rows;
                lines.push(format!("{}: {rows} spans", folder.join(path).display()));
            }
            Finding::InUse { run } => {
                lines.push(format!("{}: in use, left alone", folder.join(run).display()));
            }
            Finding::Damaged { path, reason } => {
                damaged = true;
                say(&format!("{}: not recovered: {reason}", folder.join(path).display()));
            }
        }
    }
    lines.push(format!("recovered {spans} spans in {files} files"));
    let mut out = io::stdout().lock();
    for line in lines {
        writeln!(out, "{line}")
            .map_err(|error| Failure::run_time(format!("cannot write: {error}")))?;
    }
    Ok(if damaged { RUN_TIME } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ParquetOptions, TargetError> {
        parse_target(OsStr::new(text))
    }

    #[test]
    fn options_follow_the_folder() {
        let usual = ParquetOptions::new("out".into());
        assert_eq!(parse("out").unwrap(), usual);
        assert_eq!(
            parse("out,rotate-size=1MiB,rotate-interval=10s,flush-interval=100ms,compression=none"),
            Ok(ParquetOptions {
                rotate_size: 1 << 20,
                rotate_interval: Duration::from_secs(10),
                flush_interval: Duration::from_millis(100),
                compression: Compression::None,
                ..usual
            })
        );
    }

    #[test]
    fn any_folder_can_be_named() {
        assert_eq!(parse("/var/a,b/c").unwrap().folder, Path::new("/var/a,b/c"));
        assert_eq!(parse("a,b/").unwrap().folder, Path::new("a,b"));
        let options = parse("a,b/,compression=none").unwrap();
        assert_eq!(
            (options.folder.as_path(), options.compression),
            (Path::new("a,b"), Compression::None)
        );
        assert_eq!(parse("date=1/x=2").unwrap().folder, Path::new("date=1/x=2"));
    }

    #[test]
    fn mistakes_are_told() {
        assert_eq!(parse(""), Err(TargetError::NoFolder));
        assert_eq!(parse(",compression=none"), Err(TargetError::NoFolder));
        assert_eq!(parse("a,b"), Err(TargetError::Unknown("b".into())));
        let error = parse("a,compresion=none").unwrap_err().to_string();
        assert!(error.contains("known are rotate-size"), "{error}");
        for wrong in
            ["a,rotate-size=big", "a,rotate-size=0", "a,flush-interval=0s", "a,compression=gz"]
        {
            assert!(matches!(parse(wrong), Err(TargetError::Value { .. })), "{wrong}");
        }
    }
}
