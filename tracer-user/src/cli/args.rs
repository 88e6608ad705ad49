//! The command line as typed. Nothing is looked up or opened here.

use std::{ffi::OsString, path::PathBuf};

use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// A system-wide syscall tracer: what the system, a process, a cgroup or a command is doing.
#[derive(Debug, Parser)]
#[command(name = "tracer", version, about, max_term_width = 100)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Show syscalls as they happen, or write them to files
    Trace(Box<TraceArgs>),
    #[cfg(feature = "parquet")]
    /// Make complete Parquet files of what a killed tracer has left in a recording
    Recover(RecoverArgs),
    /// Check what tracer can do on this host, and what to change
    Doctor(DoctorArgs),
    /// Print the completions of a shell
    Completions(CompletionsArgs),
    /// Print the manual page of tracer or of one of its verbs
    Man(ManArgs),
}

const DOCTOR_EXAMPLES: &str = "\
Examples:
  sudo tracer doctor
  sudo tracer doctor --json | jq -r '.[] | select(.verdict != \"ok\") | .found'

Exit status: 0 when tracer runs here, also where it falls back; 1 when something is missing.";

#[derive(Debug, clap::Args)]
#[command(after_help = DOCTOR_EXAMPLES)]
pub(super) struct DoctorArgs {
    /// Print one JSON array
    #[arg(long)]
    pub(super) json: bool,
}

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  tracer completions bash | sudo tee /etc/bash_completion.d/tracer > /dev/null
  tracer completions zsh > ~/.zfunc/_tracer
  tracer completions fish > ~/.config/fish/completions/tracer.fish";

#[derive(Debug, clap::Args)]
#[command(after_help = COMPLETIONS_EXAMPLES)]
pub(super) struct CompletionsArgs {
    /// For which shell
    #[arg(value_name = "SHELL")]
    pub(super) shell: Shell,
}

const MAN_EXAMPLES: &str = "\
Examples:
  tracer man | man -l -
  tracer man trace | sudo tee /usr/local/share/man/man1/tracer-trace.1 > /dev/null";

#[derive(Debug, clap::Args)]
#[command(after_help = MAN_EXAMPLES)]
pub(super) struct ManArgs {
    /// Of which verb; without it, of tracer
    #[arg(value_name = "VERB")]
    pub(super) verb: Option<String>,
}

/// The folder for what is on its way to an object store.
const SPOOL: &str = "/var/lib/tracer";

#[cfg(feature = "parquet")]
const RECOVER_EXAMPLES: &str = "\
Examples:
  tracer recover recording         a recording of your own
  sudo tracer recover /var/log/tracer
  sudo -E tracer recover s3://bucket/prefix     what stands in the spool: recovers and uploads it

Prints each file that was recovered, with its spans, and what a running tracer still writes, which
is left alone. May be run again, and twice at once. What is older than one flush-interval (1s unless
given) when tracer was killed is recovered.

Exit status: 0 also when nothing was left behind; 1 when something cannot be recovered, which stays
where it is.";

#[cfg(feature = "parquet")]
#[derive(Debug, clap::Args)]
#[command(after_help = RECOVER_EXAMPLES)]
pub(super) struct RecoverArgs {
    /// The folder or address that was given as --export parquet=DIR
    #[arg(value_name = "DIR")]
    pub(super) target: PathBuf,

    /// Where Parquet files stand until an object store has them
    #[arg(long, value_name = "DIR", default_value = SPOOL)]
    pub(super) spool: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  sudo tracer trace -- ls -l                        trace a command and its children
  sudo tracer trace -p 1234                         a running process, threads and children
  sudo tracer trace -e %file -Z                     failed calls on files, system-wide
  sudo tracer trace --cgroup system.slice/nginx.service --min-duration 10ms
  sudo tracer trace -u www-data --export json=calls.jsonl --duration 10s
  sudo tracer trace --container 3f2a9c --export json=calls.jsonl
  sudo tracer trace -p 1234 --control /run/tracer.sock
  sudo tracer trace --cgroup app.slice --export otlp=http://localhost:4317
  sudo tracer trace --comm redis-server -e '!epoll_wait,!read' --export null --ledger books.json
  sudo tracer trace --export parquet=recording,rotate-interval=1m --duration 10m

Parquet files go to DIR/date=YYYY-MM-DD/hour=HH/host=NAME. Options follow the folder after
commas: rotate-size=256MiB and rotate-interval=5m say when a file is finished, flush-interval=1s
what a kill may lose (`tracer recover DIR` brings back the rest), compression=zstd or none. A
folder with a comma in its name is written with a slash at its end: parquet=a,b/,compression=none.
DIR can be an object store: s3://BUCKET/PREFIX, gs:// or az://, with who you are in AWS_…,
GOOGLE_… or AZURE_… variables.

By --control: `add pid N`, `remove pid N`, `add cgroup PATH`, `remove cgroup PATH`, `trace SET`
(in place of -e) and `status`, each on a line and answered by one, `ok …` or `error …`. A kind of
scope can change if the command line has it. With --control, and no COMMAND, tracing goes on when
the last traced process has ended.
  echo 'add pid 99' | socat - UNIX:/run/tracer.sock

Kinds of scope combine: a call must be in each kind that is given. Within a kind any value does.

Without a URL, otlp goes where the OTEL_EXPORTER_OTLP_* variables say (sudo -E keeps them), or to
http://localhost:4318. Port 4317 means gRPC, any other HTTP, unless OTEL_EXPORTER_OTLP_PROTOCOL
says so.

Exit status: that of COMMAND (128+n if signal n ended it); 1 for an error at run time, 2 for a
mistake on the command line, 3 with --fail-on-loss when anything was lost, 126 or 127 when COMMAND
cannot be run or is not found.";

#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
#[command(after_help = EXAMPLES)]
pub(super) struct TraceArgs {
    /// Trace running processes with their threads and descendants: the tree of processes below each
    #[arg(short, long = "pid", value_name = "PID", value_delimiter = ',', help_heading = "Scope")]
    pub(super) pid: Vec<String>,

    /// Do not trace descendants of the processes given with -p or of COMMAND
    #[arg(long, help_heading = "Scope")]
    pub(super) no_follow: bool,

    /// Trace descendants too, as tracer does anyway: for strace's command lines
    #[arg(short = 'f', action = ArgAction::Count, help_heading = "Scope")]
    pub(super) forks: u8,

    /// Trace a cgroup (v2) and all below it: a full path, or one below the mount
    #[arg(long, value_name = "PATH", help_heading = "Scope")]
    pub(super) cgroup: Vec<PathBuf>,

    /// Trace a container: the beginning of its id, its name (LXC, Incus, systemd-nspawn) or the
    /// host name that its processes see
    #[arg(long, value_name = "ID_OR_NAME", help_heading = "Scope")]
    pub(super) container: Vec<String>,

    /// Wait for containers that are not there yet, by id or name
    #[arg(long, requires = "container", help_heading = "Scope")]
    pub(super) wait_for_container: bool,

    /// Trace threads with this name (at most 15 bytes)
    #[arg(long, value_name = "NAME", help_heading = "Scope")]
    pub(super) comm: Vec<OsString>,

    /// Trace processes of a user, by name or id: of their real uid, which setuid programs keep
    #[arg(short, long = "uid", value_name = "USER", value_delimiter = ',', help_heading = "Scope")]
    pub(super) uid: Vec<String>,

    /// Trace these syscalls: names, numbers, %classes (%file, %network, …), /regex/; ! takes out.
    /// As strace: also trace=SET, signal=SET, status=successful or failed, quiet=SET, decode-fds=SET
    #[arg(short = 'e', long = "trace", value_name = "SET", help_heading = "Filter")]
    pub(super) trace: Vec<String>,

    /// Show these signals as they are delivered: names or numbers, all, none; ! takes out. The same
    /// as -e signal=SET
    #[arg(long, value_name = "SET", allow_hyphen_values = true, help_heading = "Filter")]
    pub(super) signal: Vec<String>,

    /// Show only calls that succeeded
    #[arg(short = 'z', long, conflicts_with = "failed", help_heading = "Filter")]
    pub(super) successful: bool,

    /// Show only calls that failed
    #[arg(short = 'Z', long, help_heading = "Filter")]
    pub(super) failed: bool,

    /// Show only calls that failed with one of these errors
    #[arg(long, value_name = "NAME", value_delimiter = ',', help_heading = "Filter")]
    pub(super) errno: Vec<String>,

    /// Show only calls that took at least so long: 500us, 10ms, 1s
    #[arg(long, value_name = "TIME", help_heading = "Filter")]
    pub(super) min_duration: Option<String>,

    /// Show data that is read and written: up to N bytes of each buffer, and of each argument of a
    /// program (at most 4096)
    #[arg(short, long, value_name = "N", allow_hyphen_values = true, help_heading = "Output")]
    pub(super) string_limit: Option<String>,

    /// Show data that is read and written, 32 bytes of it; it may hold secrets
    #[arg(long, help_heading = "Output")]
    pub(super) data: bool,

    /// Indent text by the depth of the process in its tree (which processes are traced is said by
    /// -p: all below PID)
    #[arg(long, help_heading = "Output")]
    pub(super) tree: bool,

    /// The span that COMMAND is part of, as W3C Trace Context writes it; without it, TRACEPARENT in
    /// the environment says it, or COMMAND gets a trace of its own
    #[arg(long, value_name = "VALUE", requires = "command", help_heading = "Output")]
    pub(super) traceparent: Option<OsString>,

    /// Set TRACEPARENT for COMMAND, so that its own spans become part of ours
    #[arg(long, requires = "command", help_heading = "Output")]
    pub(super) export_traceparent: bool,

    /// Show the time of day without microseconds; -tt: with them, as without -t; -ttt: seconds since
    /// the Unix epoch
    #[arg(short = 't', action = ArgAction::Count, help_heading = "Output")]
    pub(super) times: u8,

    /// Show the time since what the line before is about began
    #[arg(short, long = "relative-timestamps", conflicts_with = "times", help_heading = "Output")]
    pub(super) relative: bool,

    /// Show the number of each call: [ 257] openat(
    #[arg(short = 'n', long, help_heading = "Output")]
    pub(super) syscall_number: bool,

    /// Set a variable for COMMAND, or take it away where there is no `=`; may be repeated
    #[arg(
        short = 'E',
        long,
        value_name = "NAME[=VALUE]",
        requires = "command",
        help_heading = "Scope"
    )]
    pub(super) env: Vec<OsString>,

    /// Show how long each call took, as tracer does anyway: for strace's command lines
    #[arg(short = 'T', long, help_heading = "Output")]
    pub(super) syscall_times: bool,

    /// Show what descriptors lead to, and the folder of relative paths: 3</etc/hostname>; -yy: also
    /// addresses of sockets, numbers of devices and processes. As the kernel held it at the call;
    /// which calls are traced does not depend on it
    #[arg(short = 'y', action = ArgAction::Count, help_heading = "Output")]
    pub(super) names: u8,

    /// Where spans go: text[=FILE], json[=FILE], otlp[=URL], parquet=DIR[,OPTION=VALUE]..., null;
    /// FILE - is standard output
    #[arg(long, value_name = "KIND[=TARGET]", help_heading = "Output")]
    pub(super) export: Vec<OsString>,

    /// Where Parquet files stand until an object store has them
    #[arg(long, value_name = "DIR", default_value = SPOOL, help_heading = "Output")]
    pub(super) spool: PathBuf,

    /// The same as --export text=FILE
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    pub(super) output: Vec<PathBuf>,

    /// Failed calls whose OTLP span has the status ERROR; `unexpected` leaves out ENOENT, EAGAIN
    /// and the like
    #[arg(long, value_name = "WHICH", default_value = "unexpected", help_heading = "Output")]
    pub(super) otlp_error_status: ErrorStatusChoice,

    /// Keep OTLP requests in a file without a name in this folder while the receiver is away
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub(super) otlp_spill: Option<PathBuf>,

    /// Size of that file, at most
    #[arg(long, value_name = "SIZE", default_value = "1GiB", help_heading = "Output")]
    pub(super) otlp_spill_size: String,

    /// Export this share of all traces, whole: 0.1 or 10%; otlp=10% for one destination alone
    #[arg(long, value_name = "[NAME=]SHARE", help_heading = "Output")]
    pub(super) sample: Vec<String>,

    /// Export at most so many spans a second, by whole traces; otlp=5000 for one destination alone
    #[arg(long, value_name = "[NAME=]SPANS", help_heading = "Output")]
    pub(super) max_rate: Vec<String>,

    /// How long destinations may take at the end
    #[arg(long, value_name = "TIME", default_value = "5s", help_heading = "Output")]
    pub(super) shutdown_timeout: String,

    /// Write the accounting of all calls, seen and lost, as JSON at the end and on SIGUSR1
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(super) ledger: Option<PathBuf>,

    /// Exit with status 3 when anything was lost
    #[arg(long, help_heading = "Output")]
    pub(super) fail_on_loss: bool,

    /// Colours in text
    #[arg(long, value_name = "WHEN", default_value = "auto", help_heading = "Output")]
    pub(super) color: ColorChoice,

    /// Say less: -qq, or --quiet=exit, shows no ends of processes. -q alone is about messages that
    /// tracer does not print
    #[arg(short, action = ArgAction::Count, help_heading = "Output")]
    pub(super) quiet: u8,

    /// The same by strace's names: attach, exit, path-resolution, personality, thread-execve, all,
    /// none; ! takes out
    #[arg(
        long = "quiet",
        value_name = "SET",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "attach,personality",
        help_heading = "Output"
    )]
    pub(super) quiet_set: Vec<String>,

    /// Print more: -v how many calls were seen, recorded and lost, -vv details of the start
    #[arg(short, long, action = ArgAction::Count, help_heading = "Output")]
    pub(super) verbose: u8,

    /// Change pids, cgroups and syscalls while tracing: a Unix socket that takes requests
    #[arg(long, value_name = "SOCKET")]
    pub(super) control: Option<PathBuf>,

    /// Stop tracing after this time: 10s, 5m (COMMAND goes on)
    #[arg(long, value_name = "TIME")]
    pub(super) duration: Option<String>,

    /// Size of the kernel ring: a power of two, at least one page
    #[arg(long, value_name = "SIZE", default_value = "16MiB")]
    pub(super) ring_size: String,

    /// Show the diagnostic log of the kernel programs
    #[arg(long)]
    pub(super) kernel_log: bool,

    /// The command to run and trace, with its arguments; what follows it is its own
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    pub(super) command: Vec<OsString>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ErrorStatusChoice {
    /// All that failed
    All,
    /// All but those with an error of a program's normal course
    Unexpected,
    /// None
    Never,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
