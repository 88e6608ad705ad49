//! The command line. `cargo xtask bench` writes it.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::bench::{Bench, Placement};

/// One sub-suite of the benchmarks, or a process that it needs. Run by `cargo xtask bench`, as
/// root.
#[derive(Debug, Parser)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// The sub-suites, and the roles of processes that they start.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// What tracer adds to a call
    Calls(Options),
    /// What tracer adds to a process's life, and the memory of live ones
    Lives(Options),
    /// Other tracers on the same calls
    Peers(Options),
    /// Servers and other programs, bare and traced
    Workloads(Options),
    /// Cost and memory with many events, threads, processes and cgroups, and for a long time
    Growth {
        /// 100 million events, and 10 minutes at full rate
        #[arg(long)]
        long: bool,
        #[command(flatten)]
        options: Options,
    },
    /// How long a command waits for its tracer
    Start(Options),
    /// Prints the clock
    #[command(hide = true)]
    Now,
    /// Instructions that the verifier goes through for each program
    #[command(hide = true)]
    Verifier,
    /// Makes calls as told on standard input
    #[command(hide = true)]
    Worker {
        /// On this processor
        #[arg(long)]
        cpu: Option<usize>,
    },
    /// Threads that make a call when told, and wait
    #[command(hide = true)]
    IdleThreads {
        /// How many
        count: usize,
    },
    /// Processes that only are there
    #[command(hide = true)]
    IdleProcesses {
        /// Start them when told
        #[arg(long)]
        wait: bool,
        /// How many
        count: usize,
    },
    /// Sends back what it gets
    #[command(hide = true)]
    Echo,
    /// Takes OTLP requests
    #[command(hide = true)]
    Receiver,
}

/// What all sub-suites need to know.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// tracer's executable, with optimizations
    #[arg(long, value_name = "FILE")]
    pub(crate) tracer: PathBuf,

    /// Where cargo has installed other tracers
    #[arg(long, value_name = "DIR")]
    pub(crate) peers: PathBuf,
}

impl Options {
    /// A place to measure in.
    pub(crate) fn bench(&self, placement: Placement) -> Result<Bench> {
        Bench::new(&self.tracer, &self.peers, placement)
    }
}
