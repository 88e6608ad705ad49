//! The kernels, and where Debian has them.

use clap::ValueEnum;

use super::arch::Arch;

/// A series of kernels, or the newest there is; in order of age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Kernel {
    /// Older than tracer supports: must be refused in words.
    #[value(name = "5.10")]
    V5_10,
    #[value(name = "6.1")]
    V6_1,
    #[value(name = "6.12")]
    V6_12,
    #[value(name = "6.18")]
    V6_18,
    /// What the backports of today have.
    Latest,
}

impl Kernel {
    /// All, in the order in which they start: the first takes longest when tests hang there.
    pub(super) const ALL: [Self; 5] =
        [Self::Latest, Self::V6_1, Self::V6_12, Self::V6_18, Self::V5_10];

    /// As on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::V5_10 => "5.10",
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
            Self::V6_18 => "6.18",
            Self::Latest => "latest",
        }
    }

    /// Whether it fails the command when it was not asked for by name: 5.10 is in a suite that
    /// may go away, and what is newest changes by itself.
    pub(super) fn is_required(self) -> bool {
        !matches!(self, Self::V5_10 | Self::Latest)
    }

    /// Whether tracer runs on it.
    pub(super) fn is_supported(self) -> bool {
        self != Self::V5_10
    }

    /// The script that the guest runs.
    pub(super) fn payload(self) -> &'static str {
        if self.is_supported() { "tests" } else { "refusal" }
    }

    /// Archive below a mirror, suite and component.
    pub(super) fn suite(self) -> &'static str {
        match self {
            Self::V5_10 => "debian bullseye main",
            Self::V6_1 | Self::V6_12 => "debian-security bookworm-security main",
            Self::V6_18 | Self::Latest => "debian trixie-backports main",
        }
    }

    /// How the names of its packages begin.
    pub(super) fn package_prefix(self) -> String {
        match self {
            Self::Latest => "linux-image-".to_owned(),
            _ => format!("linux-image-{}.", self.name()),
        }
    }

    /// The newest of its packages among names, one a line.
    pub(super) fn choose_package(self, names: &str, arch: Arch) -> Option<&str> {
        let prefix = self.package_prefix();
        let suffix = format!("-cloud-{}", arch.name());
        let version = |name: &str| {
            let version = name.strip_prefix(&prefix)?.strip_suffix(&suffix)?;
            version.starts_with(|c: char| c.is_ascii_digit()).then(|| numbers(version))
        };
        let versions = names.lines().filter_map(|name| Some((version(name)?, name)));
        versions.max().map(|(_, name)| name)
    }
}

/// The numbers in a version, in their order.
fn numbers(version: &str) -> Vec<u64> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &str = "\
linux-image-6.12.9+deb12-cloud-amd64
linux-image-6.12.117+deb12-cloud-amd64
linux-image-6.12.120+deb12-amd64
linux-image-6.12.120+deb12-cloud-amd64-unsigned
linux-image-6.1.0-9-cloud-amd64
linux-image-6.1.0-56-cloud-amd64
linux-image-6.18.15+deb13-cloud-amd64
linux-image-6.18.15+deb13-cloud-amd64-dbg
linux-image-cloud-amd64
";

    #[test]
    fn the_newest_cloud_kernel_of_a_series_is_chosen() {
        let choose = |kernel: Kernel| kernel.choose_package(NAMES, Arch::Amd64);
        assert_eq!(choose(Kernel::V6_1), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(choose(Kernel::V6_12), Some("linux-image-6.12.117+deb12-cloud-amd64"));
        assert_eq!(choose(Kernel::V6_18), Some("linux-image-6.18.15+deb13-cloud-amd64"));
        assert_eq!(choose(Kernel::Latest), Some("linux-image-6.18.15+deb13-cloud-amd64"));
        assert_eq!(choose(Kernel::V5_10), None);
        assert_eq!(Kernel::V6_1.choose_package(NAMES, Arch::Arm64), None);
        let newer = format!("{NAMES}linux-image-7.3.4+deb13-cloud-amd64\n");
        let newest = Kernel::Latest.choose_package(&newer, Arch::Amd64);
        assert_eq!(newest, Some("linux-image-7.3.4+deb13-cloud-amd64"));
    }

    #[test]
    fn names_are_those_of_the_command_line() {
        for kernel in Kernel::ALL {
            assert_eq!(Kernel::from_str(kernel.name(), false), Ok(kernel));
        }
    }
}
