//! `cargo xtask run`: tracer, built quickly and with what its arguments need, run as root in the user's
//! environment.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

use crate::{built, command, privilege};

/// Builds tracer and becomes it; returns only if that fails.
pub(crate) fn run(args: &[OsString]) -> Result<ExitCode> {
    let mut cargo = command::cargo()?;
    cargo.args(["build", "--locked", "--profile", "quick", "-p", "tracer-user"]);
    cargo.args(["--bin", "tracer", "--no-default-features", "--features", &features(args)]);
    let built = built::build(&mut cargo)?;
    let mut program = privilege::as_root(&built.program("tracer")?.path)?;
    program.args(args);
    leave_to_the_user(&mut program)?;
    // Its exit status is ours then, and so are the signals.
    Err(program.exec()).with_context(|| format!("starting `{}`", command::describe(&program)))
}

/// The features of tracer-user without which these arguments could not be obeyed. What all exporters
/// are made of takes longer to build than everything else.
fn features(args: &[OsString]) -> String {
    let has = |word: &str| args.iter().any(|arg| arg.to_string_lossy().contains(word));
    let own: Vec<_> = args.iter().take_while(|arg| *arg != "--").collect();
    let is = |word: &str| own.iter().any(|arg| *arg == word);
    let is_recording = has("parquet") || is("recover");
    // Who asks what there is gets all of it.
    let is_complete = own.is_empty()
        || ["man", "completions", "help", "--help", "-h", "--version"].into_iter().any(is);
    let wanted = [
        ("cli", true),
        ("otlp", has("otlp") || is_complete),
        ("parquet", is_recording || is_complete),
        ("object-store", (is_recording && has("://")) || is_complete),
    ];
    let wanted: Vec<_> = wanted.iter().filter(|it| it.1).map(|it| it.0).collect();
    wanted.join(",")
}

/// The folders of libraries, ld.so(8).
const LIBRARIES: &str = "LD_LIBRARY_PATH";

/// Takes out what cargo has put into the environment for this program alone: a traced command must
/// find the user's. With cargo's folders of libraries, a trace of `ls` begins with a search through
/// all of them.
fn leave_to_the_user(program: &mut Command) -> Result<()> {
    for (name, _) in env::vars_os().filter(|(name, _)| is_cargos(name)) {
        program.env_remove(name);
    }
    let Some(libraries) = env::var_os(LIBRARIES) else { return Ok(()) };
    let ours = folders_of_cargo()?;
    match users_folders(&libraries, &ours)? {
        Some(libraries) => program.env(LIBRARIES, libraries),
        None => program.env_remove(LIBRARIES),
    };
    Ok(())
}

/// Whether cargo, or the rustup before it, sets this variable for the program that it runs,
/// <https://doc.rust-lang.org/cargo/reference/environment-variables.html>.
fn is_cargos(name: &OsStr) -> bool {
    const ALL: [&str; 8] = [
        "CARGO",
        "CARGO_BIN_NAME",
        "CARGO_CRATE_NAME",
        "CARGO_MANIFEST_DIR",
        "CARGO_MANIFEST_PATH",
        "CARGO_PRIMARY_PACKAGE",
        "RUSTUP_TOOLCHAIN",
        "RUST_RECURSION_COUNT",
    ];
    name.to_str().is_some_and(|name| ALL.contains(&name) || name.starts_with("CARGO_PKG_"))
}

/// Below which folders cargo's libraries are: its target folder, where this program is, and rustc's.
fn folders_of_cargo() -> Result<[PathBuf; 2]> {
    let program = env::current_exe().context("where this program is")?;
    let target = program.ancestors().nth(2).context("this program is in no target folder")?;
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).args(["--print", "sysroot"]).output().context("rustc")?;
    let root = String::from_utf8(output.stdout).context("the folder of rustc")?;
    Ok([target.to_owned(), PathBuf::from(root.trim_end())])
}

/// The folders of a list that are below none of cargo's; `None` when there are no others.
fn users_folders(list: &OsStr, cargos: &[impl AsRef<Path>]) -> Result<Option<OsString>> {
    let is_users = |folder: &PathBuf| {
        !folder.as_os_str().is_empty() && !cargos.iter().any(|it| folder.starts_with(it))
    };
    let folders: Vec<PathBuf> = env::split_paths(list).filter(is_users).collect();
    if folders.is_empty() {
        return Ok(None);
    }
    env::join_paths(folders).map(Some).context(LIBRARIES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_arguments_need_is_built() {
        let of = |line: &str| features(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert_eq!(of("trace -- ls -l"), "cli");
        assert_eq!(of("trace --export=otlp=http://localhost:4317"), "cli,otlp");
        assert_eq!(of("trace --export parquet=out --export otlp"), "cli,otlp,parquet");
        assert_eq!(of("recover s3://bucket/x"), "cli,parquet,object-store");
        for line in ["man trace", "help recover", "--help"] {
            assert_eq!(of(line), "cli,otlp,parquet,object-store");
        }
        assert_eq!(of("trace -- man ls"), "cli");
    }

    #[test]
    fn variables_for_one_program_are_told_from_the_user_s() {
        for name in ["CARGO", "CARGO_PKG_VERSION_MAJOR", "CARGO_MANIFEST_DIR", "RUSTUP_TOOLCHAIN"] {
            assert!(is_cargos(OsStr::new(name)), "{name}");
        }
        for name in ["CARGO_HOME", "CARGO_TARGET_DIR", "RUSTUP_HOME", "RUSTFLAGS", "PATH"] {
            assert!(!is_cargos(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn the_user_s_folders_of_libraries_stay() {
        let users = |list: &str| users_folders(OsStr::new(list), &["/t/target", "/rust"]).unwrap();
        assert_eq!(users("/t/target/debug/deps:/t/target/debug:/rust/lib/rustlib/x/lib"), None);
        assert_eq!(users("/t/target/debug:/opt/lib:/rustic:"), Some("/opt/lib:/rustic".into()));
    }
}
