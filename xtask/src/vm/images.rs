//! Kernels and busybox, downloaded once.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use super::apt::{self, Apt};
use super::kernel::Kernel;
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
}

impl Cache {
    pub(super) fn new(folder: &Path, mirror: Option<&str>) -> Result<Self> {
        let mirror = mirror.map_or_else(apt::mirror, |mirror| Ok(mirror.to_owned()))?;
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        // apt is run elsewhere.
        let folder = fs::canonicalize(folder).with_context(|| folder.display().to_string())?;
        Ok(Self { folder, mirror })
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
                .choose_package(&names)
                .with_context(|| format!("no kernel {} in `{}`", kernel.name(), kernel.suite()))?;
            // From 7.x on the image is in a package of its own.
            let binary = apt.dependency(image, "linux-binary-")?;
            Ok(binary.unwrap_or_else(|| image.to_owned()))
        };
        self.image(kernel.name(), kernel.suite(), "*/vmlinuz*", package)
    }

    /// The file of a package, from the cache if it is there.
    fn image(
        &self,
        name: &str,
        suite: &str,
        member: &str,
        package: impl FnOnce(&Apt) -> Result<String>,
    ) -> Result<Image> {
        let folder = self.folder.join(name);
        if !folder.exists() {
            eprintln!("vm: downloading {name} from `{suite}`");
            let unfinished = self.folder.join(format!("{name}.part"));
            remove(&unfinished)?;
            let state = unfinished.join("apt");
            let apt = Apt::new(&state, &self.mirror, suite)?;
            let deb = apt.download(&package(&apt)?)?;
            extract(&deb, member, &unfinished.join("image"))?;
            fs::write(unfinished.join("version"), version(&deb)?).context("writing its version")?;
            remove(&state)?;
            fs::rename(&unfinished, &folder).with_context(|| folder.display().to_string())?;
        }
        let version = folder.join("version");
        let version = fs::read_to_string(&version)
            .with_context(|| format!("{}: delete its folder", version.display()))?;
        Ok(Image { file: folder.join("image"), version })
    }
}

/// Removes a folder if it is there.
fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    Ok(())
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
