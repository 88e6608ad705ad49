//! Folders and files, made and moved as root for somebody else: no symbolic link is followed,
//! nothing is read by others, nothing is overwritten.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{MetadataExt, fchown},
    },
    path::Path,
};

use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{
        AT_FDCWD, AtFlags, Flock, FlockArg, OFlag, OpenHow, RenameFlags, ResolveFlag, openat2,
        renameat, renameat2,
    },
    sys::stat::{Mode, mkdirat},
    unistd::{Uid, UnlinkatFlags, fsync, linkat, unlinkat},
};

/// User and group that files are given to.
pub(super) type Owner = Option<(u32, u32)>;

/// The end of the name of a small file that is not in its place yet.
pub(super) const NEXT: &str = ".next";
/// Folders: all for the owner, nothing for others.
const PRIVATE_FOLDER: Mode = Mode::S_IRWXU;
/// Files: reading and writing for the owner.
const PRIVATE_FILE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);

/// An open folder. Names are of its own entries and hold no slash.
#[derive(Debug)]
pub(super) struct Folder {
    file: File,
    owner: Owner,
}

impl Folder {
    /// Opens the folder at `path`; makes it, but not its parents, where it is missing.
    pub(super) fn create(path: &Path, owner: Owner) -> io::Result<Self> {
        let Some(name) = path.file_name() else { return Self::open(path, owner) };
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let parent = open_folder(AT_FDCWD, parent, anywhere())?;
        match mkdirat(&parent, name, PRIVATE_FOLDER) {
            Ok(()) => {
                let made = Self::open(path, owner)?;
                made.give_away()?;
                Ok(made)
            }
            Err(Errno::EEXIST) => Self::open(path, owner),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens the folder at `path`, which must be the owner's or root's: in another's, files can be
    /// exchanged for others.
    pub(super) fn open(path: &Path, owner: Owner) -> io::Result<Self> {
        let file = open_folder(AT_FDCWD, path, anywhere())?;
        let folder = Self { file, owner };
        folder.check_owner()?;
        Ok(folder)
    }

    /// Opens a folder in this one; makes it where it is missing.
    pub(super) fn subfolder(&self, name: &str) -> io::Result<Self> {
        match mkdirat(&self.file, name, PRIVATE_FOLDER) {
            Ok(()) => {
                let made = self.open_subfolder(name)?;
                made.give_away()?;
                self.sync()?;
                Ok(made)
            }
            Err(Errno::EEXIST) => self.open_subfolder(name),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a folder in this one.
    pub(super) fn open_subfolder(&self, name: &str) -> io::Result<Self> {
        let folder = Self { file: open_folder(&self.file, name, beneath())?, owner: self.owner };
        folder.check_owner()?;
        Ok(folder)
    }

    /// A descriptor of its own for the same folder.
    pub(super) fn reopen(&self) -> io::Result<Self> {
        Ok(Self { file: self.file.try_clone()?, owner: self.owner })
    }

    /// Makes a file for reading and writing; fails where there is one.
    pub(super) fn create_file(&self, name: &str) -> io::Result<File> {
        let file = self.open_at(name, OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL)?;
        if let Some((uid, gid)) = self.owner {
            fchown(&file, Some(uid), Some(gid))?;
        }
        Ok(file)
    }

    /// Opens a regular file for reading and writing.
    pub(super) fn open_file(&self, name: &str) -> io::Result<File> {
        // A pipe must not make us wait.
        let file = self.open_at(name, OFlag::O_RDWR | OFlag::O_NONBLOCK)?;
        let found = file.metadata()?;
        if !found.is_file() || found.nlink() > 1 {
            return Err(io::Error::other("not a file of its own"));
        }
        Ok(file)
    }

    /// Writes a small file in one step: whoever looks sees the content before or this one.
    pub(super) fn replace_file(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let aside = format!("{name}{NEXT}");
        self.remove_file(&aside)?;
        let file = self.create_file(&aside)?;
        io::Write::write_all(&mut &file, content)?;
        file.sync_data()?;
        renameat(&self.file, aside.as_str(), &self.file, name)?;
        Ok(())
    }

    /// Moves a file into `target` under a name that nothing there has.
    pub(super) fn move_file(&self, name: &str, target: &Self, new_name: &str) -> io::Result<()> {
        let (from, to) = (&self.file, &target.file);
        match renameat2(from, name, to, new_name, RenameFlags::RENAME_NOREPLACE) {
            // Not every file system has that flag; a second link fails where there is a file too.
            Err(Errno::EINVAL) => {
                linkat(from, name, to, new_name, AtFlags::empty())?;
                self.remove_file(name)?;
            }
            other => other?,
        }
        target.sync()
    }

    /// Removes a file, if there is one.
    pub(super) fn remove_file(&self, name: &str) -> io::Result<()> {
        match unlinkat(&self.file, name, UnlinkatFlags::NoRemoveDir) {
            Err(Errno::ENOENT) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Removes an empty folder.
    pub(super) fn remove_subfolder(&self, name: &str) -> io::Result<()> {
        Ok(unlinkat(&self.file, name, UnlinkatFlags::RemoveDir)?)
    }

    /// The names in it that are text; others are none of ours.
    pub(super) fn names(&self) -> io::Result<Vec<String>> {
        // A descriptor of its own, for it has a position.
        let descriptor: OwnedFd = open_folder(&self.file, ".", beneath())?.into();
        let mut names = Vec::new();
        for entry in Dir::from_fd(descriptor)? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().to_str()
                && !matches!(name, "." | "..")
            {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Makes what was created, moved and removed here survive a loss of power.
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(fsync(&self.file)?)
    }

    /// Takes the lock file in this folder, making it where it is missing; `None` when another
    /// process has it, or has just removed the folder. The lock ends with the process.
    pub(super) fn lock(&self, name: &str) -> io::Result<Option<Flock<File>>> {
        let file = self.open_at(name, OFlag::O_RDWR | OFlag::O_CREAT)?;
        let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
            Err((_, error)) => return Err(error.into()),
        };
        Ok((lock.metadata()?.nlink() > 0).then_some(lock))
    }

    fn open_at(&self, name: &str, flags: OFlag) -> io::Result<File> {
        let mode = if flags.contains(OFlag::O_CREAT) { PRIVATE_FILE } else { Mode::empty() };
        let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).mode(mode).resolve(beneath());
        Ok(openat2(&self.file, name, how)?.into())
    }

    fn give_away(&self) -> io::Result<()> {
        self.owner.map_or(Ok(()), |(uid, gid)| fchown(&self.file, Some(uid), Some(gid)))
    }

    fn check_owner(&self) -> io::Result<()> {
        let ours = self.owner.map_or_else(|| Uid::effective().as_raw(), |(uid, _)| uid);
        let found = self.file.metadata()?.uid();
        if found == ours || found == 0 {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("the folder belongs to user {found}; give one of your own"),
        ))
    }
}

const fn anywhere() -> ResolveFlag {
    ResolveFlag::RESOLVE_NO_SYMLINKS.union(ResolveFlag::RESOLVE_NO_MAGICLINKS)
}

const fn beneath() -> ResolveFlag {
    ResolveFlag::RESOLVE_BENEATH.union(anywhere())
}

fn open_folder<F: AsFd, P: ?Sized + nix::NixPath>(
    parent: F,
    path: &P,
    resolve: ResolveFlag,
) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(openat2(parent, path, OpenHow::new().flags(flags).resolve(resolve))?.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_is_made_is_its_owners_alone() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::create(&root.path().join("out"), None).unwrap();
        let inner = folder.subfolder("date=1").unwrap();
        inner.create_file("a").unwrap();
        let mode = |path: &str| root.path().join(path).metadata().unwrap().mode() & 0o777;
        assert_eq!((mode("out"), mode("out/date=1"), mode("out/date=1/a")), (0o700, 0o700, 0o600));
        assert!(inner.create_file("a").is_err());
    }

    #[test]
    fn links_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let real = root.path().join("real");
        std::fs::create_dir(&real).unwrap();
        symlink(&real, root.path().join("link")).unwrap();
        let failed = |it: io::Result<Folder>| it.unwrap_err().raw_os_error();
        let error = failed(Folder::create(&root.path().join("link"), None));
        assert!(matches!(error, Some(libc::ELOOP)), "{error:?}");
        let error = failed(Folder::create(&root.path().join("link/x"), None));
        assert!(matches!(error, Some(libc::ELOOP)), "{error:?}");
        assert!(std::fs::read_dir(&real).unwrap().next().is_none());
        let folder = Folder::open(root.path(), None).unwrap();
        assert_eq!(failed(folder.subfolder("link")), Some(libc::ELOOP));
        assert!(folder.open_file("link").is_err());
    }

    #[test]
    fn nothing_is_overwritten() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path(), None).unwrap();
        std::fs::write(root.path().join("a"), "a").unwrap();
        std::fs::write(root.path().join("b"), "b").unwrap();
        let error = folder.move_file("a", &folder, "b").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EEXIST));
        folder.move_file("a", &folder, "c").unwrap();
        assert_eq!(folder.names().unwrap(), ["b", "c"]);
        folder.replace_file("b", b"new").unwrap();
        assert_eq!(std::fs::read(root.path().join("b")).unwrap(), b"new");
    }

    #[test]
    fn a_lock_is_one_processs() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path(), None).unwrap();
        let held = folder.lock("lock").unwrap().unwrap();
        assert!(folder.lock("lock").unwrap().is_none());
        drop(held);
        assert!(folder.lock("lock").unwrap().is_some());
    }
}
