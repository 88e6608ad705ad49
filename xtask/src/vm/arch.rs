//! The processors of guests, and how QEMU emulates them.

use clap::ValueEnum;

/// The processor of a guest, by Debian's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Arch {
    Amd64,
    Arm64,
}

impl Arch {
    /// As on the command line, and in Debian.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// Debian packages without which there is no guest.
    pub(super) fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Amd64 => &["cpio", "qemu-system-x86"],
            Self::Arm64 => &[
                "cpio",
                "gcc-aarch64-linux-gnu",
                "libc6-dev-arm64-cross",
                "qemu-system-arm",
                "qemu-user",
                "rustc-web",
            ],
        }
    }

    pub(super) fn qemu(self) -> &'static str {
        match self {
            Self::Amd64 => "qemu-system-x86_64",
            Self::Arm64 => "qemu-system-aarch64",
        }
    }

    /// Options of QEMU: a machine, and its second serial port, for which the chardev `tests` is
    /// there.
    pub(super) fn machine(self) -> &'static [&'static str] {
        match self {
            // Without fast string instructions, which the kernel would then clear and copy memory
            // with: their emulation goes byte by byte.
            Self::Amd64 => {
                &["-machine", "q35", "-cpu", "max,erms=off,fsrm=off", "-serial", "chardev:tests"]
            }
            // This machine has a single port of its own.
            Self::Arm64 => {
                &["-machine", "virt", "-cpu", "neoverse-n1", "-device", "pci-serial,chardev=tests"]
            }
        }
    }

    /// What the kernel calls the first and the second serial port.
    pub(super) fn serial_ports(self) -> [&'static str; 2] {
        match self {
            Self::Amd64 => ["ttyS0", "ttyS1"],
            Self::Arm64 => ["ttyAMA0", "ttyS0"],
        }
    }
}
