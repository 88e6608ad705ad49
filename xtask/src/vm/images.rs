//! Kernels, busybox and libraries, downloaded once.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result};

use super::arch::Arch;
use super::kernel::Kernel;
use crate::apt::{self, Apt};
use crate::command;

/// One file out of a package.
pub(super) struct Image {
    pub(super) file: PathBuf,
    /// The version of the package.
    pub(super) version: String,
}

/// A folder of images.
pub(super) struct Cache {
    folder: PathBuf,
    mirror: String,
    arch: Arch,
}

impl Cache {
    pub(super) fn new(folder: &Path, mirror: Option<&str>, arch: Arch) -> Result<Self> {
        let mirror = mirror.map_or_else(apt::mirror, |mirror| Ok(mirror.to_owned()))?;
        let folder = folder.join(arch.name());
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        // apt is run elsewhere.
        let folder = fs::canonicalize(&folder).with_context(|| folder.display().to_string())?;
        Ok(Self { folder, mirror, arch })
    }

    /// A shell and what belongs to it, in one file.
    pub(super) fn busybox(&self) -> Result<Image> {
        let package = |_: &Apt| Ok("busybox-static".to_owned());
        self.image("busybox", "debian bookworm main", "*/bin/busybox", package)
    }

    /// The newest kernel of its series.
    pub(super) fn kernel(&self, kernel: Kernel) -> Result<Image> {
        let package = |apt: &Apt| {
            let names = apt.names(&kernel.package_prefix())?;
            let image = kernel
                .choose_package(&names, self.arch)
                .with_context(|| format!("no kernel {} in `{}`", kernel.name(), kernel.suite()))?;
            // From 7.x on the image is in a package of its own.
            let binary = apt.dependency(image, "linux-binary-")?;
            Ok(binary.unwrap_or_else(|| image.to_owned()))
        };
        self.image(kernel.name(), kernel.suite(), "*/vmlinuz*", package)
    }

    /// Rust's library for the guests' processor, of exactly this version of Debian's rustc;
    /// returns the sysroot.
    pub(super) fn rust_library(&self, version: &str) -> Result<PathBuf> {
        let name = format!("rust-{}", version.replace('~', "-"));
        let suite = "debian-security bookworm-security main";
        let folder = self.fetch(&name, suite, |apt, unfinished| {
            let deb = apt.download(&format!("libstd-rust-web-dev={version}"))?;
            command::run(Command::new("dpkg-deb").arg("-x").args([&deb, unfinished]))
        })?;
        Ok(folder.join("usr"))
    }

    /// The file of a package.
    fn image(
        &self,
        name: &str,
        suite: &str,
        member: &str,
        package: impl FnOnce(&Apt) -> Result<String>,
    ) -> Result<Image> {
        let folder = self.fetch(name, suite, |apt, unfinished| {
            let deb = apt.download(&package(apt)?)?;
            extract(&deb, member, &unfinished.join("image"))?;
            fs::write(unfinished.join("version"), version(&deb)?).context("writing its version")
        })?;
        let version = folder.join("version");
        let version = fs::read_to_string(&version)
            .with_context(|| format!("{}: delete its folder", version.display()))?;
        Ok(Image { file: folder.join("image"), version })
    }

    /// A folder of the cache, filled from this suite unless it is there.
    fn fetch(
        &self,
        name: &str,
        suite: &str,
        fill: impl FnOnce(&Apt, &Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        if !folder.exists() {
            let start = Instant::now();
            let unfinished = self.folder.join(format!("{name}.part"));
            apt::remove(&unfinished)?;
            let state = unfinished.join("apt");
            let apt = Apt::new(&state, &self.mirror, suite, Some(self.arch.name()))?;
            fill(&apt, &unfinished)?;
            apt::remove(&state)?;
            fs::rename(&unfinished, &folder).with_context(|| folder.display().to_string())?;
            eprintln!("vm: {name} from `{suite}` in {:.1} s", start.elapsed().as_secs_f64());
        }
        Ok(folder)
    }
}

fn version(deb: &Path) -> Result<String> {
    let version = command::output(Command::new("dpkg-deb").arg("-f").arg(deb).arg("Version"))?;
    Ok(version.trim().to_owned())
}

/// Writes one file of a package.
fn extract(deb: &Path, member: &str, to: &Path) -> Result<()> {
    let image = File::create(to).with_context(|| to.display().to_string())?;
    let mut unpack = Command::new("dpkg-deb");
    unpack.arg("--fsys-tarfile").arg(deb).stdout(Stdio::piped());
    let shown = command::describe(&unpack);
    let mut unpack = unpack.spawn().with_context(|| format!("starting `{shown}`"))?;
    let packed = unpack.stdout.take().context("dpkg-deb has no stdout")?;
    let mut tar = Command::new("tar");
    tar.args(["-xO", "--wildcards", member]).stdin(packed).stdout(image);
    let tar = (command::describe(&tar), tar.status().context("starting `tar`")?);
    // tar ends first, and its pipe with it.
    let unpacked = unpack.wait().with_context(|| format!("waiting for `{shown}`"))?;
    command::succeeded(&tar.0, tar.1)?;
    command::succeeded(&shown, unpacked)
}
