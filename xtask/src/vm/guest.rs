//! One virtual machine, from its boot to its end.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::console::Record;

/// The status with which `timeout` says that it ended its program.
const TIMED_OUT: i32 = 124;

/// What to boot.
pub(super) struct Guest<'a> {
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
        let status = self
            .command()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .status()
            .context("starting QEMU")?;
        let qemu = match status.code() {
            Some(0) => String::new(),
            Some(TIMED_OUT) => format!("timed out after {} s", self.limit.as_secs()),
            _ => format!("QEMU: {status}: {}", read(&errors)?.trim()),
        };
        Ok(Record { console: self.text("console.log")?, output: self.text("tests.log")?, qemu })
    }

    fn command(&self) -> Command {
        // Ends QEMU even if we are killed.
        let mut qemu = Command::new("timeout");
        qemu.args(["--foreground", "--kill-after=5", &self.limit.as_secs().to_string()]);
        qemu.args(["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot"]);
        // By name: where /dev/kvm exists, KVM need not work.
        qemu.args(["-accel", self.accel, "-machine", "q35", "-cpu", "max"]);
        qemu.args(["-smp", "2", "-m", "768M", "-display", "none"]);
        for log in ["console.log", "tests.log"] {
            qemu.arg("-serial").arg(format!("file:{}", self.folder.join(log).display()));
        }
        qemu.arg("-kernel").arg(self.kernel).arg("-initrd").arg(self.initramfs);
        // `tsc=reliable`: older kernels would choose a slow clock. A variable is one of init.
        let payload = self.payload;
        qemu.arg("-append").arg(format!(
            "console=ttyS0 panic=-1 oops=panic tsc=reliable lsm=bpf PAYLOAD={payload}"
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

fn read(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
