//! strace's source, and the test programs that are built of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context as _, Result};

use super::Abi;
use super::programs::{self, Program};
use crate::apt::{self, Apt};
use crate::command;

/// Where the installed strace is from: programs and strace are of one version.
const SUITE: &str = "debian bookworm main";
const PACKAGE: &str = "strace";

/// Programs that were built.
pub(super) struct Built {
    /// The folder of the programs.
    pub(super) tests: PathBuf,
    /// A folder for what is printed of them.
    pub(super) logs: PathBuf,
    /// Those that were to be built.
    pub(super) programs: Vec<Program>,
}

/// The folder of all that belongs to the programs.
pub(super) fn folder() -> Result<PathBuf> {
    Ok(command::root()?.join("target/oracle"))
}

/// Builds the programs of an ABI, unless they are there.
pub(super) fn build(abi: Abi, mirror: Option<&str>) -> Result<Built> {
    let folder = folder()?;
    let source = source(&folder, mirror)?;
    let build = folder.join(abi.name());
    let tests = build.join("tests");
    let log = build.join("build.log");
    if !build.join("src/config.h").exists() {
        eprintln!("oracle: configuring strace for {}", abi.name());
        fs::create_dir_all(&build).with_context(|| build.display().to_string())?;
        let mut configure = Command::new("../src/configure");
        configure.args([
            "--disable-mpers",
            "--disable-gcc-Werror",
            "--disable-dependency-tracking",
        ]);
        configure.args(["--without-libdw", "--without-libunwind", "--without-libselinux"]);
        configure.arg("CFLAGS=-g -O2");
        match abi {
            Abi::X86_64 => configure.arg("CC=gcc-12"),
            // The kernel's headers, which gcc-multilib would link to where -m32 finds them.
            Abi::I386 => configure.args([
                "--build=x86_64-pc-linux-gnu",
                "--host=i686-pc-linux-gnu",
                "CC=gcc-12 -m32 -idirafter /usr/include/x86_64-linux-gnu",
            ]),
        };
        logged(configure.current_dir(&build), &log)?;
    }
    let variable = "print-programs: ; @echo $(check_PROGRAMS)";
    let mut make = Command::new("make");
    make.args(["-s", "--eval", variable, "print-programs"]).current_dir(&tests);
    let names = command::output(&mut make)?;
    let options = source.join("tests/gen_tests.in");
    let options = fs::read_to_string(&options).with_context(|| options.display().to_string())?;
    let programs = programs::choose(&names, &options)?;
    let missing = |program: &&Program| !tests.join(&program.name).exists();
    let unbuilt: Vec<&str> =
        programs.iter().filter(missing).map(|program| program.name.as_str()).collect();
    if !unbuilt.is_empty() {
        eprintln!("oracle: building {} programs for {}", unbuilt.len(), abi.name());
        let jobs = thread::available_parallelism().map_or(1, usize::from);
        let mut make = Command::new("make");
        make.arg("-k").arg(format!("-j{jobs}")).args(["check", "TESTS="]);
        make.arg(format!("check_PROGRAMS={}", unbuilt.join(" "))).current_dir(&tests);
        // Those that cannot be built are counted.
        if let Err(error) = logged(&mut make, &log) {
            eprintln!("oracle: {error:#}");
        }
    }
    Ok(Built { tests, logs: build.join("logs"), programs })
}

/// The folder of strace's source, downloaded unless it is there.
fn source(folder: &Path, mirror: Option<&str>) -> Result<PathBuf> {
    let source = folder.join("src");
    if !source.exists() {
        eprintln!("oracle: getting strace's source from `{SUITE}`");
        let mirror = mirror.map_or_else(apt::mirror, |mirror| Ok(mirror.to_owned()))?;
        let state = folder.join("apt");
        apt::remove(&state)?;
        let unpacked = Apt::new(&state, &mirror, SUITE, None)?.source(PACKAGE)?;
        fs::rename(&unpacked, &source).with_context(|| source.display().to_string())?;
        apt::remove(&state)?;
    }
    Ok(source)
}

/// Runs it with its output in a file, which an error names.
fn logged(command: &mut Command, log: &Path) -> Result<()> {
    let mut options = fs::OpenOptions::new();
    let file = options.create(true).append(true).open(log);
    let file = file.with_context(|| log.display().to_string())?;
    let errors = file.try_clone().context("the log's descriptor")?;
    let shown = command.get_program().to_string_lossy().into_owned();
    let status = command.stdin(Stdio::null()).stdout(file).stderr(errors).status();
    let status = status.with_context(|| format!("starting `{shown}`"))?;
    command::succeeded(&shown, status).with_context(|| format!("see {}", log.display()))
}
