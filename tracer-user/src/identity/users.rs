//! Names of users, from the host's own list.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The list of users, passwd(5).
const PASSWD: &str = "/etc/passwd";
/// Most bytes read of it.
const LONGEST: u64 = 16 << 20;
/// How often it is looked whether the list has changed.
const REFRESH: Duration = Duration::from_secs(1);

/// Names by user id. Only the file is read: a directory service, which a name service switch would
/// ask, can take any time to answer.
#[derive(Debug)]
pub(super) struct Users {
    path: PathBuf,
    list: Mutex<List>,
}

#[derive(Debug, Default)]
struct List {
    names: HashMap<u32, Arc<str>>,
    /// Device, inode, length and time of change of the file that the names are from.
    version: Option<[i64; 5]>,
    looked: Option<Instant>,
}

impl Default for Users {
    fn default() -> Self {
        Self::of(PASSWD)
    }
}

impl Users {
    fn of(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), list: Mutex::default() }
    }

    /// The name of a user on this host; `None` where the list has none.
    pub(super) fn name(&self, uid: u32) -> Option<Arc<str>> {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if list.looked.is_none_or(|at| at.elapsed() >= REFRESH) {
            list.refresh(&self.path);
        }
        list.names.get(&uid).cloned()
    }
}

impl List {
    fn refresh(&mut self, path: &Path) {
        self.looked = Some(Instant::now());
        let version = fs::metadata(path).ok().map(|it| {
            let numbers = [it.dev(), it.ino(), it.len()].map(u64::cast_signed);
            [numbers[0], numbers[1], numbers[2], it.mtime(), it.mtime_nsec()]
        });
        if version == self.version {
            return;
        }
        match read(path) {
            Ok(names) => (self.names, self.version) = (names, version),
            // What was read before is still the best that is known.
            Err(error) => log::debug!("{}: {error}", path.display()),
        }
    }
}

fn read(path: &Path) -> io::Result<HashMap<u32, Arc<str>>> {
    let mut text = Vec::new();
    File::open(path)?.take(LONGEST).read_to_end(&mut text)?;
    Ok(parse(&String::from_utf8_lossy(&text)))
}

/// Lines of `name:password:uid:…`; of several with one id the first, as getpwuid(3) has it.
fn parse(text: &str) -> HashMap<u32, Arc<str>> {
    let mut names = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        let (Some(name), _, Some(uid)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        if let Ok(uid) = uid.parse()
            && !name.is_empty()
        {
            names.entry(uid).or_insert_with(|| Arc::from(name));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::{Uid, User};

    #[test]
    fn names_are_those_of_the_host() {
        let users = Users::default();
        let known = User::from_uid(Uid::from_raw(0)).unwrap().map(|user| user.name);
        assert_eq!(users.name(0).as_deref(), known.as_deref());
        assert_eq!(users.name(u32::MAX - 7), None);
    }

    #[test]
    fn lines_that_are_none_are_left_out() {
        let names = parse("web:x:33:33::/:/bin/sh\n#a\n:x:34:\nother:x:33:1\nbad:x:-1:1\nend:x:35");
        let mut found: Vec<_> = names.iter().map(|(uid, name)| (*uid, &**name)).collect();
        found.sort_unstable();
        assert_eq!(found, [(33, "web"), (35, "end")]);
    }

    #[test]
    fn a_list_that_changes_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passwd");
        fs::write(&path, "one:x:7:7::/:\n").unwrap();
        let users = Users::of(&path);
        assert_eq!(users.name(7).as_deref(), Some("one"));
        fs::write(&path, "another:x:7:7::/:\n").unwrap();
        users.list.lock().unwrap().looked = None;
        assert_eq!(users.name(7).as_deref(), Some("another"));
        fs::remove_file(&path).unwrap();
        users.list.lock().unwrap().looked = None;
        assert_eq!(users.name(7).as_deref(), Some("another"));
    }
}
