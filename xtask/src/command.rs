//! Starting other programs: what was started is shown, and is the context of every error.

use std::env;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// Chunks of output that wait to be passed on.
const CHUNKS: usize = 64;

/// The root of the workspace.
pub(crate) fn root() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent directory")
}

/// The cargo that runs us, in the root of the workspace.
pub(crate) fn cargo() -> Result<Command> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root()?);
    Ok(cargo)
}

/// Where cargo keeps downloads and installed programs.
pub(crate) fn cargo_home() -> Result<PathBuf> {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cargo")))
        .context("neither CARGO_HOME nor HOME is set")
}

/// The search path, with the programs of `cargo install` in front.
pub(crate) fn search_path() -> Result<OsString> {
    let mut folders = vec![cargo_home()?.join("bin")];
    folders.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    env::join_paths(folders).context("PATH")
}

/// Runs it to its end, with our terminal.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    let status = command.status().with_context(|| format!("starting `{shown}`"))?;
    succeeded(&shown, status)
}

/// What it writes to its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = describe(command);
    let output =
        command.stderr(Stdio::inherit()).output().with_context(|| format!("starting `{shown}`"))?;
    succeeded(&shown, output.status)?;
    String::from_utf8(output.stdout).with_context(|| format!("output of `{shown}`"))
}

/// Runs it, passing its standard output on as it comes, and returns all of that too. When nothing
/// comes for as long as `silence`, it hangs: it is killed, and its exit status tells.
pub(crate) fn tee(command: &mut Command, silence: Duration) -> Result<(ExitStatus, String)> {
    let shown = show(command);
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("starting `{shown}`"))?;
    let stdout = child.stdout.take().context("the child has no stdout")?;
    let (sender, chunks) = mpsc::sync_channel(CHUNKS);
    // Its children may hold the pipe open for longer than itself: nobody waits for this thread.
    thread::Builder::new().name("tee".into()).spawn(move || read_chunks(stdout, &sender))?;
    let all = pass_on(&chunks, silence, io::stdout().lock(), || {
        eprintln!("`{shown}` has printed nothing for {silence:?} and is ended");
        child.kill()
    })
    .with_context(|| format!("passing on the output of `{shown}`"))?;
    let status = child.wait().with_context(|| format!("waiting for `{shown}`"))?;
    Ok((status, String::from_utf8_lossy(&all).into_owned()))
}

/// Sends what it reads, as it comes; an error too, which is the last.
fn read_chunks(mut from: impl Read, to: &mpsc::SyncSender<io::Result<Vec<u8>>>) {
    loop {
        let mut chunk = vec![0; 8192];
        let read = match from.read(&mut chunk) {
            Ok(0) => return,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Ok(len) => {
                chunk.truncate(len);
                Ok(chunk)
            }
            Err(error) => Err(error),
        };
        if to.send(read).is_err() {
            return;
        }
    }
}

/// Copies everything at once, as it comes, and returns it. After a silence that is too long,
/// calls `end` and returns what there is.
fn pass_on(
    chunks: &mpsc::Receiver<io::Result<Vec<u8>>>,
    silence: Duration,
    mut to: impl Write,
    end: impl FnOnce() -> io::Result<()>,
) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        match chunks.recv_timeout(silence) {
            Ok(chunk) => {
                let chunk = chunk?;
                to.write_all(&chunk)?;
                to.flush()?;
                all.extend_from_slice(&chunk);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                end()?;
                break;
            }
        }
    }
    // A crash leaves an unfinished line.
    if !matches!(all.last(), None | Some(b'\n')) {
        to.write_all(b"\n")?;
    }
    Ok(all)
}

/// Prints the command line and returns it.
pub(crate) fn show(command: &Command) -> String {
    let shown = describe(command);
    eprintln!("$ {shown}");
    shown
}

/// The command line, for people: programs by their name.
pub(crate) fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut line = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().to_string();
    for arg in command.get_args() {
        line.push(' ');
        line.push_str(&arg.to_string_lossy());
    }
    line
}

/// An error that names the command unless it succeeded.
pub(crate) fn succeeded(shown: &str, status: ExitStatus) -> Result<()> {
    if !status.success() {
        bail!("`{shown}`: {status}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_is_named() {
        let error = run(Command::new("/bin/sh").args(["-c", "exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "`sh -c exit 3`: exit status: 3");
        let error = run(&mut Command::new("/nowhere/at-all")).unwrap_err();
        assert_eq!(error.to_string(), "starting `at-all`");
    }

    /// Runs [`pass_on`] on what comes from `from`; what it returned, and what it showed.
    fn passed_on(from: &'static [u8]) -> (Vec<u8>, Vec<u8>) {
        let (sender, chunks) = mpsc::sync_channel(CHUNKS);
        read_chunks(from, &sender);
        drop(sender);
        let mut shown = Vec::new();
        let all = pass_on(&chunks, Duration::from_mins(1), &mut shown, || Ok(())).unwrap();
        (all, shown)
    }

    #[test]
    fn output_is_passed_on_and_returned() {
        let all = b"test a ... ok\n";
        assert_eq!(passed_on(all), (all.to_vec(), all.to_vec()));
        assert_eq!(passed_on(b""), (vec![], vec![]));
    }

    #[test]
    fn what_follows_starts_a_line() {
        assert_eq!(passed_on(b"test a ... "), (b"test a ... ".to_vec(), b"test a ... \n".to_vec()));
    }

    #[test]
    fn who_is_silent_is_ended() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo begun; read never"]).stdin(Stdio::piped());
        let (status, output) = tee(&mut command, Duration::from_millis(300)).unwrap();
        assert_eq!((status.code(), output.as_str()), (None, "begun\n"));
    }
}
