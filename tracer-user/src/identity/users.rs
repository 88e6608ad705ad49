//! Names of users, from the host's own list.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

/// The list of users, passwd(5).
const PASSWD: &str = "/etc/passwd";
/// Most bytes read of it.
const LONGEST: u64 = 16 << 20;
/// How often it is looked whether the list has changed.
const REFRESH: Duration = Duration::from_secs(1);
/// How long one look is waited for: spans are on their way meanwhile.
const PATIENCE: Duration = Duration::from_millis(50);

type Names = HashMap<u32, Arc<str>>;

/// Names by user id. Only the file is read: a directory service, which a name service switch would
/// ask, can take any time to answer. So can the file itself, on a server say: a thread of its own
/// reads.
#[derive(Debug)]
pub(super) struct Users {
    path: PathBuf,
    list: Mutex<List>,
}

#[derive(Debug, Default)]
struct List {
    names: Names,
    looked: Option<Instant>,
    reader: Option<Reader>,
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

    /// Begins to read the list, so that it is there when the first name is asked for.
    pub(super) fn prepare(&self) {
        self.lock().look(&self.path);
    }

    /// The name of a user on this host; `None` where the list has none, or does not come.
    pub(super) fn name(&self, uid: u32) -> Option<Arc<str>> {
        let mut list = self.lock();
        if list.looked.is_none_or(|at| at.elapsed() >= REFRESH) {
            list.look(&self.path);
        }
        // Without news what was read before is still the best that is known.
        if let Some(names) = list.reader.as_mut().and_then(Reader::news) {
            list.names = names;
        }
        list.names.get(&uid).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl List {
    /// Has the list looked at.
    fn look(&mut self, path: &Path) {
        self.looked = Some(Instant::now());
        if self.reader.is_none() {
            let started = Reader::start(path.to_owned());
            self.reader = started.inspect_err(|error| log::warn!("names of users: {error}")).ok();
        }
        if let Some(reader) = &mut self.reader {
            reader.ask();
        }
    }
}

/// A thread that looks at the list when it is asked, and ends when nobody can ask any more.
#[derive(Debug)]
struct Reader {
    requests: SyncSender<()>,
    answers: Receiver<Option<Names>>,
    state: Look,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// The last one is over.
    Done,
    /// There is one.
    Asked,
    /// It takes long.
    Awaited,
}

impl Reader {
    fn start(path: PathBuf) -> io::Result<Self> {
        let (requests, asked) = sync_channel::<()>(1);
        let (answer, answers) = sync_channel(1);
        let work = move || {
            let mut version = None;
            while asked.recv().is_ok() {
                if answer.send(look(&path, &mut version)).is_err() {
                    return;
                }
            }
        };
        // Nobody waits for its end, which may never come.
        thread::Builder::new().name("tracer-users".into()).spawn(work)?;
        Ok(Self { requests, answers, state: Look::Done })
    }

    /// Asks for a look, unless there is one.
    fn ask(&mut self) {
        if self.state == Look::Done && self.requests.try_send(()).is_ok() {
            self.state = Look::Asked;
        }
    }

    /// The names, where a look has found others. One that takes long is waited for once.
    fn news(&mut self) -> Option<Names> {
        let patience = match self.state {
            Look::Done => return None,
            Look::Asked => PATIENCE,
            Look::Awaited => Duration::ZERO,
        };
        if let Ok(names) = self.answers.recv_timeout(patience) {
            self.state = Look::Done;
            return names;
        }
        self.state = Look::Awaited;
        None
    }
}

/// Device, inode, length and time of change of a file.
type Version = Option<[i64; 5]>;

/// Reads the list unless it is of the version that was read before.
fn look(path: &Path, known: &mut Version) -> Option<Names> {
    let version = fs::metadata(path).ok().map(|it| {
        let numbers = [it.dev(), it.ino(), it.len()].map(u64::cast_signed);
        [numbers[0], numbers[1], numbers[2], it.mtime(), it.mtime_nsec()]
    });
    if version == *known {
        return None;
    }
    let names = read(path);
    names
        .inspect(|_| *known = version)
        .inspect_err(|error| log::debug!("{}: {error}", path.display()))
        .ok()
}

fn read(path: &Path) -> io::Result<Names> {
    let mut text = Vec::new();
    File::open(path)?.take(LONGEST).read_to_end(&mut text)?;
    Ok(parse(&String::from_utf8_lossy(&text)))
}

/// Lines of `name:password:uid:…`; of several with one id the first, as getpwuid(3) has it.
fn parse(text: &str) -> Names {
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
    use nix::{
        sys::stat::Mode,
        unistd::{Uid, User, mkfifo},
    };

    /// Looks again until the user has this name: a look may take long on a busy machine.
    fn wait_for(users: &Users, uid: u32, name: Option<&str>) {
        while users.name(uid).as_deref() != name {
            users.list.lock().unwrap().looked = None;
            thread::yield_now();
        }
    }

    #[test]
    fn names_are_those_of_the_host() {
        let users = Users::default();
        let known = User::from_uid(Uid::from_raw(0)).unwrap().map(|user| user.name);
        wait_for(&users, 0, known.as_deref());
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
        wait_for(&users, 7, Some("one"));
        fs::write(&path, "another:x:7:7::/:\n").unwrap();
        wait_for(&users, 7, Some("another"));
        fs::remove_file(&path).unwrap();
        users.list.lock().unwrap().looked = None;
        assert_eq!(users.name(7).as_deref(), Some("another"));
    }

    #[test]
    fn a_list_that_does_not_come_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passwd");
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        let users = Users::of(&path);
        users.prepare();
        assert_eq!((users.name(7), users.name(8)), (None, None));
        fs::write(&path, "late:x:7:7::/:\n").unwrap();
        wait_for(&users, 7, Some("late"));
    }
}
