//! From what was typed to what shall be done: values are parsed, names looked up, mistakes told.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::PathBuf,
    time::Duration,
};

use nix::unistd::User;
use tracer_common::{
    errno,
    event::COMM_LEN,
    memory::{DataLimit, MAX_DATA},
};

use super::{
    args::TraceArgs,
    containers,
    exports::{self, ExportConfig, Look, Share},
    filters::{Filters, is_of_calls, others},
    place,
    units::{parse_size, parse_time},
    usage::UsageError,
};
use crate::{
    export::{Lines, TextStyle, Times},
    filter::nearest,
    kernel::{FileDetail, ResultFilter, cgroup},
    launch::Variable,
    pipeline::TraceOptions,
    shared_memory::page_size,
};

/// All that `tracer trace` was asked to do.
#[derive(Debug)]
pub(super) struct TraceConfig {
    pub(super) options: TraceOptions,
    pub(super) exports: Vec<ExportConfig>,
    /// How much each of them gets, in the same order.
    pub(super) shares: Vec<Share>,
    /// Names of containers that are waited for.
    pub(super) awaited: Vec<String>,
    /// The expressions of `-e` that are about calls.
    pub(super) expressions: Vec<String>,
    pub(super) command: Vec<OsString>,
    pub(super) ledger: Option<PathBuf>,
    pub(super) control: Option<PathBuf>,
    pub(super) duration: Option<Duration>,
    pub(super) shutdown_timeout: Duration,
    pub(super) fail_on_loss: bool,
    pub(super) look: Look,
    /// What the command's environment has, beside ours.
    pub(super) variables: Vec<Variable>,
    pub(super) verbose: u8,
}

impl TraceConfig {
    pub(super) fn new(args: TraceArgs) -> Result<Self, UsageError> {
        let expressions = args.trace.iter().filter(|text| is_of_calls(text)).cloned().collect();
        if args.forks > 1 {
            return Err(UsageError::FilePerProcess);
        }
        let filters = Filters::of(&args)?;
        let others = others(&args, &filters);
        let Filters { syscalls, signals, quiet, successful, failed, names: named } = filters;
        let mut cgroups: Vec<_> =
            args.cgroup.iter().map(|path| cgroup::resolve(path)).collect::<Result<_, _>>()?;
        let containers = containers::find(&args.container, args.wait_for_container)?;
        cgroups.extend(containers.found);
        let awaited = containers.awaited;
        let options = TraceOptions {
            pids: args.pid.iter().map(|pid| parse_pid(pid)).collect::<Result<_, _>>()?,
            launched: None,
            follow: !args.no_follow,
            cgroups,
            containers: containers.later,
            comms: args.comm.iter().map(|name| parse_comm(name)).collect::<Result<_, _>>()?,
            uids: args.uid.iter().map(|user| parse_user(user)).collect::<Result<_, _>>()?,
            syscalls,
            can_change: args.control.is_some(),
            signals: signals.unwrap_or(u64::MAX),
            data: data_limit(&args)?,
            result: ResultFilter {
                successful,
                failed,
                errnos: args
                    .errno
                    .iter()
                    .map(|name| parse_errno(name))
                    .collect::<Result<_, _>>()?,
                min_duration_ns: parse_time("min-duration", args.min_duration.as_deref())?
                    .map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)),
            },
            launch: place::of_command(&args)?,
            names: names(named),
            ring_size: parse_ring_size(&args.ring_size)?,
            kernel_log: args.kernel_log,
            ..TraceOptions::default()
        };
        let shutdown_timeout =
            parse_time("shutdown-timeout", Some(&args.shutdown_timeout))?.unwrap_or_default();
        let exports = exports::parse(&args, shutdown_timeout)?;
        let style = TextStyle {
            color: false,
            tree: args.tree,
            exits: if quiet { Lines::None } else { others },
            // Who names signals wants to see them.
            signals: if signals.is_some() { Lines::All } else { others },
            times: times(&args),
            numbers: args.syscall_number,
        };
        let place = options.launch.filter(|_| args.export_traceparent);
        let traceparent = place.map(|place| Variable {
            name: "TRACEPARENT".into(),
            value: Some(place.traceparent().header().into()),
        });
        let no_name = |text: &OsStr| UsageError::Variable(text.to_string_lossy().into_owned());
        let parse = |text: &OsString| Variable::parse(text).ok_or_else(|| no_name(text));
        let mut variables = args.env.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        variables.extend(traceparent);
        Ok(Self {
            options,
            shares: exports::shares(&exports, &args.sample, &args.max_rate)?,
            exports,
            awaited,
            expressions,
            shutdown_timeout,
            duration: parse_time("duration", args.duration.as_deref())?,
            command: args.command,
            control: args.control,
            ledger: args.ledger,
            fail_on_loss: args.fail_on_loss,
            look: Look { color: args.color, style },
            variables,
            verbose: args.verbose,
        })
    }
}

/// As strace counts; without `-t` there are microseconds, for records need a time.
const fn times(args: &TraceArgs) -> Times {
    match args.times {
        _ if args.relative => Times::Relative,
        1 => Times::Seconds,
        0 | 2 => Times::Micros,
        _ => Times::Epoch,
    }
}

fn names(count: u8) -> Option<FileDetail> {
    match count {
        0 => None,
        1 => Some(FileDetail::Paths),
        _ => Some(FileDetail::Protocols),
    }
}

fn data_limit(args: &TraceArgs) -> Result<DataLimit, UsageError> {
    let default = DataLimit::default();
    let Some(value) = &args.string_limit else {
        return Ok(DataLimit { data: args.data, ..default });
    };
    let bytes = value.trim().parse().ok().filter(|bytes| usize::from(*bytes) <= MAX_DATA);
    let illegal = || UsageError::StringLimit { value: value.clone() };
    Ok(DataLimit { bytes: bytes.ok_or_else(illegal)?, data: true })
}

fn parse_pid(text: &str) -> Result<u32, UsageError> {
    text.trim().parse().ok().filter(|pid| *pid > 0).ok_or_else(|| UsageError::Pid(text.into()))
}

fn parse_comm(name: &OsStr) -> Result<[u8; COMM_LEN], UsageError> {
    let bytes = name.as_bytes();
    let mut comm = [0; COMM_LEN];
    match comm.get_mut(..bytes.len()) {
        Some(place) if !bytes.is_empty() && bytes.len() < COMM_LEN => place.copy_from_slice(bytes),
        _ => {
            let name = name.to_string_lossy().into_owned();
            return Err(UsageError::Comm { name, len: bytes.len() });
        }
    }
    Ok(comm)
}

fn parse_user(text: &str) -> Result<u32, UsageError> {
    if let Ok(Some(user)) = User::from_name(text) {
        return Ok(user.uid.as_raw());
    }
    text.parse().map_err(|_| UsageError::User(text.into()))
}

fn parse_errno(text: &str) -> Result<u32, UsageError> {
    if let Some(number) = errno::number(text) {
        return Ok(number);
    }
    if let Some(number) = text.parse().ok().filter(|number| (1..4096).contains(number)) {
        return Ok(number);
    }
    let names = (1..4096).filter_map(errno::name);
    let hint = nearest(&text.to_uppercase(), names)
        .map(|name| format!("; did you mean `{name}`?"))
        .unwrap_or_default();
    Err(UsageError::Errno { name: text.into(), hint })
}

fn parse_ring_size(text: &str) -> Result<u32, UsageError> {
    let value = parse_size("ring-size", text)?;
    let page = page_size() as u64;
    let largest = 1u64 << 30;
    if value < page {
        return Err(UsageError::RingTooSmall { value, least: size_text(page) });
    }
    if value > largest {
        return Err(UsageError::RingTooLarge { value, most: size_text(largest) });
    }
    if value.is_power_of_two() {
        return Ok(u32::try_from(value).unwrap_or(u32::MAX));
    }
    let (below, above) = (1 << value.ilog2(), value.next_power_of_two());
    Err(UsageError::RingSize { value, below: size_text(below), above: size_text(above) })
}

fn size_text(bytes: u64) -> String {
    match bytes {
        _ if bytes >= 1 << 30 => format!("{}GiB", bytes >> 30),
        _ if bytes >= 1 << 20 => format!("{}MiB", bytes >> 20),
        _ => format!("{}KiB", bytes >> 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_checked() {
        assert_eq!(parse_ring_size("64KiB").unwrap(), 65536);
        assert_eq!(parse_ring_size("64K").unwrap(), 65536);
        assert_eq!(parse_ring_size("65536").unwrap(), 65536);
        let error = parse_ring_size("100KiB").unwrap_err().to_string();
        assert!(error.contains("64KiB and 128KiB"), "{error}");
        let said = |text| parse_ring_size(text).unwrap_err().to_string();
        assert!(said("4GiB").ends_with("the most is 1GiB"), "{}", said("4GiB"));
        assert!(said("1KiB").ends_with(&format!("the least is {}", size_text(page_size() as u64))));
        assert!(said("0").contains("less than a page"));
        assert!(said("700MiB").contains("512MiB and 1GiB"));
        assert!(matches!(parse_ring_size("big"), Err(UsageError::Size { .. })));
    }

    #[test]
    fn names_are_looked_up() {
        assert_eq!(parse_user("root").unwrap(), 0);
        assert_eq!(parse_user("1234").unwrap(), 1234);
        assert!(parse_user("no-such-user").is_err());
        assert_eq!(parse_errno("ENOENT").unwrap(), 2);
        let error = parse_errno("ENOEMT").unwrap_err().to_string();
        assert!(error.contains("did you mean `ENOENT`"), "{error}");
        assert!(parse_pid("0").is_err() && parse_pid("x").is_err());
        assert_eq!(&parse_comm(OsStr::new("cat")).unwrap()[..4], b"cat\0");
        assert!(parse_comm(OsStr::new("a-name-of-16-byt")).is_err());
    }
}
