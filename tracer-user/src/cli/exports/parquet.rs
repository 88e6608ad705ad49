//! `--export parquet=TARGET`: the folder or object store, with its options.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parse_size::Config as SizeParser;

use super::super::Failure;
use crate::{
    export::{
        ParquetExporter,
        parquet::{
            Compression, ParquetError, ParquetOptions,
            upload::{is_url, spool_folder},
        },
    },
    identity::Resolver,
    ring_buffer::Destination,
};

/// A mistake in the target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::cli) enum TargetError {
    #[error("parquet needs a folder or an object store: parquet=DIR, parquet=s3://BUCKET/PREFIX")]
    NoFolder,
    #[error("`{0}` is no address of an object store: it is not UTF-8")]
    Address(String),
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
pub(super) fn parse_target(target: &OsStr, spool: &Path) -> Result<ParquetOptions, TargetError> {
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
    let mut parsed = match address(folder)? {
        Some(url) => ParquetOptions {
            upload: Some(url.to_owned()),
            ..ParquetOptions::new(spool_folder(spool, url))
        },
        None => ParquetOptions::new(PathBuf::from(OsStr::from_bytes(folder))),
    };
    for option in options.split(|byte| *byte == b',').filter(|option| !option.is_empty()) {
        set(&mut parsed, &String::from_utf8_lossy(option))?;
    }
    Ok(parsed)
}

/// The address, if it is one of an object store.
pub(in crate::cli) fn address(target: &[u8]) -> Result<Option<&str>, TargetError> {
    if !is_url(target) {
        return Ok(None);
    }
    let failed = |_| TargetError::Address(String::from_utf8_lossy(target).into_owned());
    std::str::from_utf8(target).map(Some).map_err(failed)
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

pub(super) fn open(
    name: String,
    options: &ParquetOptions,
    owner: Option<(u32, u32)>,
    identity: Arc<Resolver>,
) -> Result<Destination, Failure> {
    let options = ParquetOptions { owner, ..options.clone() };
    let open = |account| Ok(ParquetExporter::open(options, account)?.with_identity(identity));
    Destination::with_account(name, open).map_err(|error: ParquetError| Failure::run_time(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ParquetOptions, TargetError> {
        parse_target(OsStr::new(text), Path::new("/spool"))
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
    fn an_object_store_has_a_folder_in_the_spool() {
        let options = parse("s3://bucket/a,compression=none").unwrap();
        assert_eq!(options.upload.as_deref(), Some("s3://bucket/a"));
        assert_eq!(options.folder, Path::new("/spool/s3%3A%2F%2Fbucket%2Fa"));
        assert_eq!(options.compression, Compression::None);
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
