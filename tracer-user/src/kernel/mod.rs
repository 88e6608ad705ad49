//! The kernel side as seen from here: may this host run it, the object, loading and attaching,
//! scope and filters as maps, counters. The only module that needs privilege.

mod attached;
pub mod btf;
pub mod cgroup;
mod cgroup_scope;
mod command_lines;
mod control;
mod counts;
mod files;
mod globals;
pub mod host;
mod loader;
pub mod object;
pub mod preflight;
mod processes;
mod programs;
mod quiesce;
mod settings;
mod tables;
mod verified;
mod vmlinux;

pub use self::files::FileDetail;
pub use attached::Attached;
pub use cgroup_scope::CgroupScope;
pub use counts::KernelCounts;
pub use loader::Loaded;
pub use processes::ProcessScope;
pub(crate) use processes::check_process;
pub use settings::{ResultFilter, Settings};
pub use verified::Verified;

use std::io;

/// Why the kernel side does not run.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The host lacks something.
    #[error(transparent)]
    Preflight(#[from] preflight::PreflightError),
    /// The object is not of this build.
    #[error(transparent)]
    Object(#[from] object::ObjectError),
    /// The kernel's types are not as expected.
    #[error("{0}; report this kernel's version")]
    Types(#[from] btf::BtfError),
    /// The kernel refused maps or object.
    #[error("cannot load the kernel object: {}", chain(.0))]
    Load(#[from] aya::EbpfError),
    /// The kernel refused a program, or to attach it.
    #[error("cannot {action} kernel program `{program}`: {}", chain(.source))]
    Program {
        /// `load`, `attach`, `detach` or `run`.
        action: &'static str,
        /// The program's name.
        program: &'static str,
        /// What aya and the kernel said.
        source: aya::programs::ProgramError,
    },
    /// The kernel does not tell about a program that it has loaded.
    #[error("cannot ask the kernel about its program `{program}`: {}", chain(.source))]
    Unknown {
        /// The program's name.
        program: String,
        /// What aya and the kernel said.
        source: aya::programs::ProgramError,
    },
    /// Other calls were to be traced, which capture memory of a kind that no call did at the start; or
    /// a process that runs already, where none was in scope.
    #[error(
        "this needs kernel programs that were not loaded at the start; start the trace with \
         `can_change`"
    )]
    NotLoaded,
    /// A map could not be read or written.
    #[error("kernel map `{map}`: {}", chain(.source))]
    Map {
        /// The map's name.
        map: &'static str,
        /// What aya and the kernel said.
        source: aya::maps::MapError,
    },
    /// The object lacks something this build needs.
    #[error("the kernel object has no `{0}`")]
    Missing(&'static str),
    /// A system call of the tracer failed.
    #[error("{action}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// More cgroups than the kernel side has room for.
    #[error("no room for another cgroup in the scope: {0} is the limit")]
    TooManyCgroups(u32),
    /// A process to trace does not exist.
    #[error("no process with id {0}; `ps -e` lists the running ones")]
    NoSuchProcess(u32),
    /// A process to trace has ended, and its parent has not asked how.
    #[error(
        "no process with id {0}: it has ended, and is listed (`Z` in ps) until its parent asks for \
         its status"
    )]
    HasEnded(u32),
    /// A thread of the kernel was to be traced.
    #[error("process {0} is a thread of the kernel, and makes no system calls")]
    IsKernelThread(u32),
    /// A thread's id was given where a process's is needed.
    #[error("{tid} is a thread of process {tgid}; use -p {tgid}")]
    IsThread {
        /// The id that was given.
        tid: u32,
        /// Its process.
        tgid: u32,
    },
    /// The tracer cannot trace itself.
    #[error("{0} is tracer itself, which is never traced")]
    IsSelf(u32),
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    // The verifier's log has one line per instruction; the last before its statistics tells what
    // it disliked.
    log::debug!("{text}");
    let is_statistics = |line: &str| {
        ["processed ", "verification time ", "stack depth "].iter().any(|it| line.starts_with(it))
    };
    let mut lines = text.lines().filter(|line| !line.trim().is_empty() && !is_statistics(line));
    match (lines.next(), lines.next_back()) {
        (Some(first), Some(last)) => format!("{first} … {last}"),
        (Some(only), None) => only.to_owned(),
        _ => text,
    }
}
