//! Packages of a Debian suite, by an apt of our own: signatures are checked, and the sources and
//! packages of this machine stay as they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::command;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Scheme and host of the mirror that this machine uses.
pub(crate) fn mirror() -> Result<String> {
    let sites = command::output(Command::new("apt-get").args(["indextargets", "--format=$(SITE)"]))
        .context("looking for a Debian mirror; `--mirror` names one")?;
    let mirror = first_mirror(&sites).map(str::to_owned);
    mirror.context("apt has no source with a host; `--mirror` names one")
}

/// `scheme://host` of the first site that has a host.
fn first_mirror(sites: &str) -> Option<&str> {
    sites.lines().find_map(|site| {
        let (scheme, rest) = site.split_once("://")?;
        let host = rest.split('/').next().filter(|host| !host.is_empty())?;
        site.get(..scheme.len() + "://".len() + host.len())
    })
}

/// Removes a folder if it is there.
pub(crate) fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    Ok(())
}

/// The state of an apt that knows one suite.
pub(crate) struct Apt {
    folder: PathBuf,
    options: Vec<String>,
}

impl Apt {
    /// Gets the index of the suite: of the packages for an architecture, or of the sources.
    pub(crate) fn new(
        folder: &Path,
        mirror: &str,
        suite: &str,
        arch: Option<&str>,
    ) -> Result<Self> {
        for needed in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(needed))
                .with_context(|| folder.display().to_string())?;
        }
        let sources = folder.join("sources.list");
        let source = match arch {
            Some(arch) => format!("deb [arch={arch} signed-by={KEYRING}] {mirror}/{suite}\n"),
            None => format!("deb-src [signed-by={KEYRING}] {mirror}/{suite}\n"),
        };
        fs::write(&sources, source).with_context(|| sources.display().to_string())?;
        let inside = |key, name| format!("{key}={}", folder.join(name).display());
        let mut options = vec![
            "APT::Sandbox::User=".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::Retries=3".to_owned(),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            "Dir::State::status=/dev/null".to_owned(),
            inside("Dir::Etc::sourcelist", "sources.list"),
            inside("Dir::State::lists", "lists"),
            inside("Dir::Cache", "cache"),
        ];
        if let Some(arch) = arch {
            options.push(format!("APT::Architecture={arch}"));
            options.push(format!("APT::Architectures={arch}"));
        }
        let apt = Self { folder: folder.to_owned(), options };
        apt.run("apt-get", &["-q", "update", "--error-on=any"]).context(suite.to_owned())?;
        Ok(apt)
    }

    /// Every package whose name begins so, one a line.
    pub(crate) fn names(&self, prefix: &str) -> Result<String> {
        self.run("apt-cache", &["pkgnames", prefix])
    }

    /// The first of the packages it depends on whose name begins so.
    pub(crate) fn dependency(&self, package: &str, prefix: &str) -> Result<Option<String>> {
        let depends = self.run("apt-cache", &["depends", package])?;
        let names = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        Ok(names.map(str::to_owned).find(|name| name.starts_with(prefix)))
    }

    /// Downloads a package and returns its file.
    pub(crate) fn download(&self, package: &str) -> Result<PathBuf> {
        self.run("apt-get", &["-q", "download", package])?;
        let files = fs::read_dir(&self.folder).context("what was downloaded")?;
        let mut paths = files.filter_map(|entry| Some(entry.ok()?.path()));
        let deb = paths.find(|path| path.extension().is_some_and(|extension| extension == "deb"));
        deb.with_context(|| format!("{package} was not downloaded"))
    }

    /// Downloads the source of a package of this version, and unpacks what its authors released.
    pub(crate) fn source(&self, package: &str) -> Result<PathBuf> {
        self.run("apt-get", &["-q", "source", "--download-only", package])?;
        let files = fs::read_dir(&self.folder).context("what was downloaded")?;
        let mut paths = files.filter_map(|entry| Some(entry.ok()?.path()));
        let is_source = |path: &PathBuf| {
            path.to_string_lossy().contains(".orig.tar.")
                && path.extension().is_none_or(|extension| extension != "asc")
        };
        let archive = paths.find(is_source);
        let archive = archive.with_context(|| format!("{package} has no source archive"))?;
        let source = self.folder.join("source");
        fs::create_dir_all(&source).with_context(|| source.display().to_string())?;
        let mut tar = Command::new("tar");
        tar.arg("-xf").arg(&archive).arg("-C").arg(&source).arg("--strip-components=1");
        command::run(&mut tar)?;
        Ok(source)
    }

    fn run(&self, program: &str, args: &[&str]) -> Result<String> {
        if !Path::new(KEYRING).exists() {
            bail!("no {KEYRING}: it is in the package debian-archive-keyring");
        }
        let mut command = Command::new(program);
        command.args(self.options.iter().flat_map(|option| ["-o", option]));
        let output = command::output(command.args(args).current_dir(&self.folder));
        // The error without all our options.
        output.with_context(|| format!("{program} {}", args.join(" ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_scheme_and_host() {
        let sites = "file:///srv/debian\nhttp://mirror.example/debian\nhttp://other.example/x\n";
        assert_eq!(first_mirror(sites), Some("http://mirror.example"));
        assert_eq!(first_mirror("https://mirror.example:81\n"), Some("https://mirror.example:81"));
        assert_eq!(first_mirror(""), None);
    }
}
