//! `--export`: destinations as they are typed, and how each is opened.

mod files;
pub(super) mod limits;
#[cfg(feature = "otlp")]
mod otlp;
#[cfg(feature = "parquet")]
pub(super) mod parquet;

use std::{
    env,
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

pub(super) use limits::{Share, shares};

use super::{
    Failure,
    args::{ColorChoice, TraceArgs},
    usage::UsageError,
};
#[cfg(feature = "otlp")]
use crate::export::otlp::OtlpOptions;
#[cfg(feature = "parquet")]
use crate::export::parquet::ParquetOptions;
use crate::{
    export::{JsonExporter, Limits, NullExporter, Output, TextExporter, TextStyle},
    identity::Resolver,
    launch::Invoker,
    ring_buffer::Destination,
};

/// Kinds that this build lacks. Each is made by the feature of its name.
const MISSING: &[&str] = &[
    #[cfg(not(feature = "otlp"))]
    "otlp",
    #[cfg(not(feature = "parquet"))]
    "parquet",
];

/// A format with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ExportConfig {
    Text(Target),
    Json(Target),
    #[cfg(feature = "otlp")]
    Otlp(Box<OtlpOptions>),
    #[cfg(feature = "parquet")]
    Parquet(ParquetOptions),
    Null,
}

impl ExportConfig {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Json(_) => "json",
            #[cfg(feature = "otlp")]
            Self::Otlp(_) => "otlp",
            #[cfg(feature = "parquet")]
            Self::Parquet(_) => "parquet",
            Self::Null => "null",
        }
    }
}

/// How text looks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub(super) color: ColorChoice,
    pub(super) style: TextStyle,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    Stdout,
    Stderr,
    /// One that this process was started with, by its number.
    Descriptor(i32),
    File(PathBuf),
}

/// What `--export` and `--output` name; text on standard error where they name nothing.
pub(super) fn parse(
    args: &TraceArgs,
    shutdown_timeout: Duration,
) -> Result<Vec<ExportConfig>, UsageError> {
    let parse = |text| parse_one(text, args, shutdown_timeout);
    let mut all: Vec<_> = args.export.iter().map(|it| parse(it)).collect::<Result<_, _>>()?;
    let texts = args.output.iter().map(|path| target(Some(path.as_os_str()), Target::Stderr));
    all.extend(texts.map(ExportConfig::Text));
    if all.is_empty() {
        all.push(ExportConfig::Text(Target::Stderr));
    }
    files::check(&all, args.ledger.as_deref())?;
    let has = |kind: &str| all.iter().any(|export| export.name() == kind);
    for (option, is_given, kind) in
        [("otlp-spill", args.otlp_spill.is_some(), "otlp"), ("tree", args.tree, "text")]
    {
        if is_given && !has(kind) {
            return Err(UsageError::Without { option, kind });
        }
    }
    Ok(all)
}

#[cfg_attr(
    not(feature = "otlp"),
    expect(unused_variables, reason = "no other kind needs to know how long it may take")
)]
fn parse_one(
    text: &OsStr,
    args: &TraceArgs,
    shutdown_timeout: Duration,
) -> Result<ExportConfig, UsageError> {
    let (kind, file) = split(text);
    match kind {
        b"text" => Ok(ExportConfig::Text(target(file, Target::Stderr))),
        b"json" => Ok(ExportConfig::Json(target(file, Target::Stdout))),
        #[cfg(feature = "parquet")]
        b"parquet" => {
            let target = file.unwrap_or_default();
            Ok(ExportConfig::Parquet(parquet::parse_target(target, &args.spool)?))
        }
        #[cfg(feature = "otlp")]
        b"otlp" => Ok(ExportConfig::Otlp(Box::new(otlp::parse(file, args, shutdown_timeout)?))),
        b"null" if file.is_some() => Err(UsageError::NullTarget),
        b"null" => Ok(ExportConfig::Null),
        _ => Err(unknown(kind, MISSING)),
    }
}

/// Why there is no such kind.
fn unknown(kind: &[u8], missing: &[&'static str]) -> UsageError {
    match missing.iter().find(|it| it.as_bytes() == kind) {
        Some(kind) => UsageError::NotBuilt(kind),
        None => UsageError::Export(String::from_utf8_lossy(kind).into_owned()),
    }
}

/// The kind, and what follows a `=`.
fn split(text: &OsStr) -> (&[u8], Option<&OsStr>) {
    let bytes = text.as_bytes();
    match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) => (&bytes[..at], Some(OsStr::from_bytes(&bytes[at + 1..]))),
        None => (bytes, None),
    }
}

/// The standard streams by their usual names; `/dev/stdout` is a symbolic link.
fn target(file: Option<&OsStr>, default: Target) -> Target {
    match file.map(OsStr::as_bytes) {
        None | Some(b"") => default,
        Some(b"-" | b"/dev/stdout") => Target::Stdout,
        Some(b"/dev/stderr") => Target::Stderr,
        Some(path) => match files::descriptor(path) {
            Some(fd) => Target::Descriptor(fd),
            None => Target::File(PathBuf::from(OsStr::from_bytes(path))),
        },
    }
}

/// Opens all destinations, so that what is wrong with one shows before anything is traced.
pub(super) fn open(
    exports: &[ExportConfig],
    shares: &[Share],
    look: Look,
    invoker: Option<Invoker>,
    resolver: &Arc<Resolver>,
) -> Result<Vec<Destination>, Failure> {
    let all = exports.iter().zip(shares);
    all.map(|(export, Share { name, limits })| {
        let destination = open_one(name.clone(), export, look, invoker, resolver)?;
        let destination = destination.telling_losses();
        let is_limited = *limits != Limits::default();
        Ok(if is_limited { destination.limited(*limits) } else { destination })
    })
    .collect()
}

fn open_one(
    name: String,
    export: &ExportConfig,
    look: Look,
    invoker: Option<Invoker>,
    resolver: &Arc<Resolver>,
) -> Result<Destination, Failure> {
    let identity = Arc::clone(resolver);
    Ok(match export {
        ExportConfig::Null => Destination::new(name, NullExporter),
        ExportConfig::Json(target) => {
            let exporter = JsonExporter::new(open_target(target, invoker)?);
            Destination::new(name, exporter.with_identity(identity))
        }
        ExportConfig::Text(target) => {
            let output = open_target(target, invoker)?;
            let style =
                TextStyle { color: wants_color(look.color, output.is_terminal()), ..look.style };
            Destination::new(name, TextExporter::new(output, style))
        }
        #[cfg(feature = "otlp")]
        ExportConfig::Otlp(options) => otlp::open(name, options, identity)?,
        #[cfg(feature = "parquet")]
        ExportConfig::Parquet(options) => parquet::open(name, options, owner(invoker), identity)?,
    })
}

fn open_target(target: &Target, invoker: Option<Invoker>) -> Result<Output, Failure> {
    match target {
        Target::Stdout => Output::stdout().map_err(Failure::run_time),
        Target::Stderr => Output::stderr().map_err(Failure::run_time),
        Target::Descriptor(fd) => Output::inherited(*fd).map_err(Failure::run_time),
        Target::File(path) => open_file(path, invoker),
    }
}

/// User and group that files are given to.
pub(super) fn owner(invoker: Option<Invoker>) -> Option<(u32, u32)> {
    invoker.map(|invoker| (invoker.uid, invoker.gid))
}

pub(super) fn open_file(path: &Path, invoker: Option<Invoker>) -> Result<Output, Failure> {
    Output::create(path, owner(invoker)).map_err(Failure::run_time)
}

/// <https://no-color.org> and <https://bixense.com/clicolors>.
fn wants_color(choice: ColorChoice, is_terminal: bool) -> bool {
    let set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto if set("NO_COLOR") => false,
        ColorChoice::Auto => {
            is_terminal
                || (set("CLICOLOR_FORCE")
                    && env::var_os("CLICOLOR_FORCE").is_some_and(|value| value != "0"))
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::{
        super::args::{Cli, Verb},
        *,
    };

    fn parse_text(text: &str) -> Result<ExportConfig, UsageError> {
        let cli = Cli::parse_from(["tracer", "trace", "--spool", "/spool"]);
        let Verb::Trace(args) = cli.verb else { panic!() };
        parse_one(OsStr::new(text), &args, Duration::from_secs(5))
    }

    #[test]
    fn exports_name_kind_and_place() {
        let parse = parse_text;
        assert_eq!(parse("json=a=b").unwrap(), ExportConfig::Json(Target::File("a=b".into())));
        assert_eq!(parse("json").unwrap(), ExportConfig::Json(Target::Stdout));
        assert_eq!(parse("text").unwrap(), ExportConfig::Text(Target::Stderr));
        assert_eq!(parse("text=-").unwrap(), ExportConfig::Text(Target::Stdout));
        assert!(parse("xml=f").unwrap_err().to_string().contains("text[=FILE]"));
        assert!(parse("null=f").is_err());
    }

    #[test]
    #[cfg(all(feature = "otlp", feature = "parquet"))]
    fn exports_have_options() {
        let parse = parse_text;
        let ExportConfig::Otlp(otlp) = parse("otlp=http://h:4317").unwrap() else { panic!() };
        assert_eq!(otlp.endpoint.host(), Some("h"));
        assert!(parse("otlp=h/x").unwrap_err().to_string().contains("http://"));
        let expected = ExportConfig::Parquet(ParquetOptions::new("out".into()));
        assert_eq!(parse("parquet=out").unwrap(), expected);
        assert!(parse("parquet").unwrap_err().to_string().contains("parquet=DIR"));
    }

    #[test]
    fn a_kind_that_a_build_lacks_is_reported_with_its_feature() {
        let error = unknown(b"parquet", &["otlp", "parquet"]).to_string();
        assert!(error.contains("feature `parquet`"), "{error}");
        assert!(matches!(unknown(b"xml", &["otlp"]), UsageError::Export(_)));
        for kind in MISSING {
            assert!(matches!(parse_text(kind), Err(UsageError::NotBuilt(_))));
        }
    }

    #[test]
    fn inherited_descriptors_are_told_by_their_number() {
        let parse = |text: &str| target(Some(OsStr::new(text)), Target::Stderr);
        assert_eq!(parse("/dev/fd/63"), Target::Descriptor(63));
        assert_eq!(parse("/proc/self/fd/1"), Target::Descriptor(1));
        assert_eq!(parse("/dev/fd/x"), Target::File("/dev/fd/x".into()));
    }
}
