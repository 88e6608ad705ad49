//! One virtual machine, from its boot to its end.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::arch::Arch;
use super::console::Record;
use crate::command;

/// The status with which `timeout` says that it ended its program.
const TIMED_OUT: i32 = 124;

/// A guest that prints nothing for so long hangs, for its script ends tests that do long before.
const SILENCE: Duration = Duration::from_secs(90);

/// How often we look.
const LOOK: Duration = Duration::from_millis(200);

/// What to boot.
pub(super) struct Guest<'a> {
    pub(super) arch: Arch,
    pub(super) kernel: &'a Path,
    pub(super) initramfs: &'a Path,
    /// Where its output goes.
    pub(super) folder: PathBuf,
    pub(super) accel: &'a str,
    /// The script in `/payload` that it runs.
    pub(super) payload: &'a str,
    pub(super) limit: Duration,
}

impl Guest<'_> {
    /// Runs it to its end; what it printed is left in files too.
    pub(super) fn boot(&self) -> Result<Record> {
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder).context("removing the last output")?;
        }
        fs::create_dir_all(&self.folder).with_context(|| self.folder.display().to_string())?;
        let errors = self.folder.join("qemu.log");
        let log = File::create(&errors).with_context(|| errors.display().to_string())?;
        let child = self
            .command()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("starting QEMU")?;
        let qemu = match watch(child, SILENCE, || self.printed())? {
            None => format!("printed nothing for {} s", SILENCE.as_secs()),
            Some(status) => match status.code() {
                Some(0) => String::new(),
                Some(TIMED_OUT) => format!("timed out after {} s", self.limit.as_secs()),
                _ => format!("QEMU: {status}: {}", read(&errors)?.trim()),
            },
        };
        Ok(Record { console: self.text("console.log")?, output: self.text("tests.log")?, qemu })
    }

    /// Bytes printed so far.
    fn printed(&self) -> u64 {
        let size = |name| fs::metadata(self.folder.join(name)).map_or(0, |file| file.len());
        size("console.log") + size("tests.log")
    }

    fn command(&self) -> Command {
        // Ends QEMU even if we are killed.
        let mut qemu = Command::new("timeout");
        qemu.args(["--foreground", "--kill-after=5", &self.limit.as_secs().to_string()]);
        qemu.args([self.arch.qemu(), "-nodefaults", "-no-user-config", "-no-reboot"]);
        // By name: where /dev/kvm exists, KVM need not work.
        qemu.args(["-accel", self.accel, "-smp", "2", "-m", "768M", "-display", "none"]);
        let log = |name| self.folder.join(name).display().to_string();
        qemu.arg("-serial").arg(format!("file:{}", log("console.log")));
        qemu.arg("-chardev").arg(format!("file,id=tests,path={}", log("tests.log")));
        qemu.args(self.arch.machine());
        qemu.arg("-kernel").arg(self.kernel).arg("-initrd").arg(self.initramfs);
        let (payload, [console, tests]) = (self.payload, self.arch.serial_ports());
        // `tsc=reliable`: older kernels would choose a slow clock. A variable is one of init.
        qemu.arg("-append").arg(format!(
            "console={console} panic=-1 oops=panic tsc=reliable lsm=lockdown,bpf \
             PAYLOAD={payload} TESTS={tests}"
        ));
        qemu
    }

    /// What came through a serial port, with the line ends of a file.
    fn text(&self, name: &str) -> Result<String> {
        let path = self.folder.join(name);
        let text = if path.exists() { read(&path)?.replace('\r', "") } else { String::new() };
        fs::write(&path, &text).with_context(|| path.display().to_string())?;
        Ok(text)
    }
}

/// Waits for the end of QEMU; when it has printed nothing for so long, ends it and returns nothing.
fn watch(
    mut qemu: Child,
    silence: Duration,
    printed: impl Fn() -> u64,
) -> Result<Option<ExitStatus>> {
    let (mut last, mut since) = (0, Instant::now());
    loop {
        if let Some(status) = qemu.try_wait().context("waiting for QEMU")? {
            return Ok(Some(status));
        }
        thread::sleep(LOOK);
        let now = printed();
        if now != last {
            (last, since) = (now, Instant::now());
        } else if since.elapsed() > silence {
            // SIGTERM, which `timeout` passes on.
            command::output(Command::new("kill").arg(qemu.id().to_string()))?;
            qemu.wait().context("waiting for QEMU")?;
            return Ok(None);
        }
    }
}

fn read(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(script: &str) -> Child {
        let mut command = Command::new("timeout");
        command.args(["--foreground", "60", "sh", "-c", script]).stdin(Stdio::null());
        command.spawn().unwrap()
    }

    #[test]
    fn who_is_silent_is_ended() {
        let ended = watch(start("exec sleep 50"), Duration::from_millis(300), || 7).unwrap();
        assert_eq!(ended, None);
    }

    #[test]
    fn who_prints_is_waited_for() {
        // Something each time that we look.
        let printed = std::cell::Cell::new(0);
        let print = || {
            printed.set(printed.get() + 1);
            printed.get()
        };
        let ended = watch(start("sleep 1; exit 3"), LOOK, print).unwrap().unwrap();
        assert_eq!(ended.code(), Some(3));
    }
}
