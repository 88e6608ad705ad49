//! The developer's commands: `cargo xtask --help` is their manual.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool prints")]

mod built;
mod command;
mod node;
mod privilege;
mod python;
mod text;

mod apt;
mod bench;
mod calls;
mod codegen;
mod ebpf;
mod edge_cases;
mod oracle;
mod parity;
mod run;
mod setup;
mod test;
mod verifier;
mod vm;

mod lint;
mod tidy;

mod ci;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// The developer's commands of tracer.
///
/// Plain `cargo build` and `cargo test` work with stable Rust alone: the eBPF object is committed.
/// What needs more than that, or needs root, is here.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", after_long_help = WORKFLOWS)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

/// What to do when.
const WORKFLOWS: &str = "\
Workflows:
  changed user code      cargo xtask lint && cargo xtask test
  changed kernel code    cargo xtask setup        (once)
                         cargo xtask build-ebpf   (and commit tracer-ebpf/prebuilt)
                         cargo xtask test
  changed syscalls.txt   cargo xtask codegen      (and commit tracer-common/src/syscalls)
  before a push          cargo xtask ci

No cargo runs as root: what needs root is the built program, started through sudo.";

/// The subcommands.
#[derive(Subcommand)]
enum Verb {
    /// Install what building the eBPF object needs, and the programs that tests use
    ///
    /// Debian only: the packages rustc-web, libstd-rust-web-dev-bpf, llvm-22-dev, strace, sudo and
    /// python3-venv, bpf-linker with `cargo install`, and a Python environment in target/python with
    /// the receivers and readers that tests use. Does nothing when all of it is there.
    Setup,
    /// Build the eBPF objects into `tracer-ebpf/prebuilt`, one for each architecture
    ///
    /// The result is the same, byte for byte, in whatever folder it is built, as long as the
    /// toolchain is the one that `tracer-ebpf/prebuilt/toolchain.txt` names.
    BuildEbpf {
        /// Write nothing: fail if the committed object differs from a rebuild
        #[arg(long)]
        check: bool,
    },
    /// Build tracer with optimizations and run it, as root
    ///
    /// Everything after the first `--` goes to tracer: `cargo xtask run -- trace -- ls -l`.
    Run {
        /// Arguments of tracer
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Run every test, those that load programs into the kernel included
    ///
    /// The kernel tests run as root, directly or through sudo if it asks for no password; where
    /// that is impossible they are counted as skipped, with the reason. The last line is the
    /// summary: `N passed, N failed, N skipped`.
    Test {
        /// Run the tests whose name contains this
        filter: Option<String>,
    },
    /// Run the kernel tests on other kernels, each in a virtual machine
    ///
    /// Debian's kernels, from the mirror that apt uses here, under QEMU, which is installed if it
    /// is missing. The guests are emulated and need neither KVM nor root. What they print is left
    /// in target/vm/ARCH/KERNEL. The last line is the summary: `N passed, N failed`.
    Vm(vm::Options),
    /// Write what the kernel tests have shown into docs/edge-cases.md
    ///
    /// From the last whole run of `cargo xtask test` here and of `cargo xtask vm`.
    EdgeCases,
    /// Generate the syscall table of `tracer-common` and the tables of named constants
    ///
    /// From `xtask/src/codegen/syscalls.txt` and `xtask/src/codegen/sets.txt`.
    Codegen {
        /// Write nothing: fail if a generated file is stale
        #[arg(long)]
        check: bool,
        /// Only look up, in the installed headers, the constants that `linux-raw-sys` lacks
        ///
        /// They become part of xtask: run `cargo xtask codegen` next.
        #[arg(long, conflicts_with = "check")]
        harvest: bool,
    },
    /// Check formatting, clippy, documentation and the rules of this repository
    ///
    /// The last are "tidy": every file has a `//!` header and at most 500 lines, unsafe code says
    /// why it is sound, and the modules of `tracer-user` use only what docs/ARCHITECTURE.md allows.
    Lint,
    /// Measure the parts, what tracing costs the traced, and other tracers beside
    ///
    /// All but `parts` needs root and two CPUs. Without names, `parts` and `calls` are run, which
    /// takes about three minutes; every other sub-suite takes less than eight. What is compared with
    /// is installed if it is missing: Debian's packages, and with `cargo install` into target/peers
    /// what Debian does not have.
    Bench(bench::Options),
    /// Count what the kernel's verifier goes through for each kernel program
    ///
    /// Writes docs/verifier-budget.txt. Needs root.
    VerifierBudget {
        /// Write nothing: fail if a program has grown by more than 20 % over the committed count
        ///
        /// Counts of another kernel's verifier are not compared; that is said.
        #[arg(long)]
        check: bool,
    },
    /// Run ten programs under strace and under tracer, and compare what both say
    ///
    /// Debian's packages of the programs are installed where they are missing. Needs root. The
    /// table is the last of the output; it says how many calls are equal in name and result, how
    /// many in all arguments too, and names what the rest differ in.
    Parity(parity::Options),
    /// Run strace's own test programs under strace and under tracer, and compare what both print
    ///
    /// strace's source is downloaded and built in target/oracle, for x86_64 and for i386, with
    /// Debian's packages that are installed where they are missing. Needs root. Every difference has
    /// a class, by the rules in xtask/src/oracle/rules.txt, and is in target/oracle/differences.txt.
    /// The last line is the summary.
    Oracle(oracle::Options),
    /// Run all that CI runs
    ///
    /// setup, lint, codegen --check, build-ebpf --check and verifier-budget --check, up to the first
    /// that fails; then test, and the core of the kernel tests in virtual machines, where 5.10 and
    /// latest do not count.
    /// The last line is the summary: `N passed, N failed, N skipped`.
    Ci {
        /// All tests in the virtual machines, and a check that docs/edge-cases.md claims no more
        /// than all have shown
        #[arg(long)]
        guests: bool,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().verb {
        Verb::Setup => succeed(setup::run()),
        Verb::BuildEbpf { check } => succeed(ebpf::run(check)),
        Verb::Run { args } => run::run(&args),
        Verb::Test { filter } => Ok(test::run(filter.as_deref())),
        Verb::Vm(options) => vm::run(&options),
        Verb::EdgeCases => succeed(edge_cases::run()),
        Verb::Codegen { check, harvest } => {
            succeed(if harvest { codegen::harvest() } else { codegen::run(check) })
        }
        Verb::Lint => succeed(lint::run()),
        Verb::Bench(options) => succeed(bench::run(&options)),
        Verb::VerifierBudget { check } => succeed(verifier::run(check)),
        Verb::Parity(options) => succeed(parity::run(&options)),
        Verb::Oracle(options) => succeed(oracle::run(&options)),
        Verb::Ci { guests } => ci::run(guests),
    };
    result.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}

/// The exit status of a command that either works or says why not.
fn succeed(result: Result<()>) -> Result<ExitCode> {
    result.map(|()| ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn run_args(args: &[&str]) -> Vec<OsString> {
        match Cli::try_parse_from(args).unwrap().verb {
            Verb::Run { args } => args,
            _ => panic!("not `run`"),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn arguments_of_run_are_verbatim() {
        let wanted = ["trace", "-e", "%file", "--", "ls", "-l"];
        assert_eq!(
            run_args(&["xtask", "run", "--", "trace", "-e", "%file", "--", "ls", "-l"]),
            wanted
        );
        assert_eq!(run_args(&["xtask", "run", "trace", "-e", "%file", "--", "ls", "-l"]), wanted);
        assert_eq!(run_args(&["xtask", "run", "--", "--version"]), ["--version"]);
        assert!(run_args(&["xtask", "run"]).is_empty());
    }
}
