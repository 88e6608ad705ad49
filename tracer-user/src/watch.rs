//! Finds out whose processes are, on a thread of its own: takes in what the kernel tells of cgroups,
//! and looks at processes while they live, so that both are known when somebody asks.

use std::{
    fs::{self, File},
    io::{self, PipeReader, PipeWriter, Write as _},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    sync::Arc,
    thread::{self, JoinHandle},
};

use aya::maps::MapData;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracer_common::cgroup::{self as record, CGROUP_RING_SIZE};

use crate::{
    health::Health,
    identity::{CgroupSource, OnCgroup, Resolver},
    kernel::cgroup::{self, Mount},
    process::Process,
    reader::{Asked, ring::Ring},
};

/// Longest wait for the kernel, in milliseconds: bounds how late a cgroup is known where the kernel
/// does not report new ones.
const LONGEST_WAIT: u16 = 50;
/// The same, when processes may be asked about: bounds how late they are looked at.
const SHORT_WAIT: u16 = 5;
/// Cgroups that are looked for at the start, at most.
const MOST_FOUND: usize = 32768;

/// The running thread.
#[derive(Debug)]
pub struct Watch {
    /// A byte in it stops the thread.
    stop: PipeWriter,
    health: Arc<Health>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts to fill `resolver`: with the cgroups that are there, and those that the kernel tells
    /// of by `ring`; and to identify the processes that come by `asked`. To be called when the
    /// programs are attached, so that no cgroup is missed in between.
    pub fn start(
        resolver: Arc<Resolver>,
        ring: Option<MapData>,
        asked: Option<Arc<Asked>>,
        listener: Option<OnCgroup>,
    ) -> io::Result<Self> {
        let mount = cgroup::first_mount();
        let told = ring.as_ref().map(|map| map.fd().as_fd().try_clone_to_owned()).transpose()?;
        let size = CGROUP_RING_SIZE as usize;
        let ring = ring.map(|map| Ring::map(map.fd().as_fd(), size)).transpose()?;
        let folder = mount.as_ref().and_then(|mount| File::open(&mount.at).ok());
        resolver.cgroups.feed(Box::new(Source { ring, mount: mount.clone(), folder }), listener);
        let (stopped, stop) = io::pipe()?;
        let run = move || {
            for (id, path) in mount.iter().flat_map(|mount| existing(mount, MOST_FOUND)) {
                resolver.cgroups.found(id, &path);
            }
            let patience = if asked.is_some() { SHORT_WAIT } else { LONGEST_WAIT };
            while !wait(&stopped, told.as_ref(), patience) {
                resolver.cgroups.refresh();
                while let Some(process) = asked.as_ref().and_then(|asked| asked.pop()) {
                    let Process { tgid, start_ns, identity, .. } = &*process;
                    identity.get_or_init(|| Box::new(resolver.identify(*tgid, *start_ns)));
                }
            }
        };
        let health = Arc::new(Health::default());
        let guard = Arc::clone(&health);
        let run = move || {
            guard.guard("the identity thread", run);
        };
        let thread = thread::Builder::new().name("tracer-identity".into()).spawn(run)?;
        Ok(Self { stop, health, thread: Some(thread) })
    }

    /// Whether the thread runs.
    pub fn health(&self) -> &Health {
        &self.health
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // There is room for a byte, and the thread has the other end for as long as it runs.
        if let Err(error) = self.stop.write_all(&[1]) {
            log::debug!("stopping the identity thread: {error}");
        }
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// Waits until there is something in the ring, or a moment; true when the thread must stop.
fn wait(stopped: &PipeReader, ring: Option<&OwnedFd>, millis: u16) -> bool {
    let stop = PollFd::new(stopped.as_fd(), PollFlags::POLLIN);
    let mut polled =
        [stop, PollFd::new(ring.map_or(stopped.as_fd(), AsFd::as_fd), PollFlags::POLLIN)];
    // Interrupted or not, the ring is looked at.
    if let Err(error) = poll(&mut polled, PollTimeout::from(millis)) {
        log::debug!("waiting for cgroups: {error}");
    }
    polled[0].any().unwrap_or(false)
}

/// All cgroups that are there, with their paths, parents first.
pub fn existing(mount: &Mount, limit: usize) -> Vec<(u64, Vec<u8>)> {
    let mut found = Vec::new();
    let mut open = std::collections::VecDeque::from([mount.at.clone()]);
    while let Some(folder) = open.pop_front() {
        // One that is gone by now has no folders below it.
        let Ok(metadata) = fs::symlink_metadata(&folder) else { continue };
        found.extend(mount.path_of(&folder).map(|path| (metadata.ino(), path)));
        if found.len() >= limit {
            log::warn!("more than {limit} cgroups: the others are known when they are asked for");
            break;
        }
        let below = fs::read_dir(&folder).into_iter().flatten().filter_map(Result::ok);
        let folders = below.filter(|it| it.file_type().is_ok_and(|kind| kind.is_dir()));
        open.extend(folders.map(|it| it.path()));
    }
    found
}

/// The ring, and the mounted hierarchy.
struct Source {
    ring: Option<Ring>,
    mount: Option<Mount>,
    folder: Option<File>,
}

impl CgroupSource for Source {
    fn take_new(&mut self, each: &mut dyn FnMut(u64, &[u8])) {
        if let Some(ring) = &mut self.ring {
            ring.read(usize::MAX, |bytes| match record::parse(bytes) {
                Some((id, path)) => each(id, path),
                // Counted as told, so that the books show what is missing: a path.
                None => log::error!("a damaged record of a cgroup, {} bytes", bytes.len()),
            });
        }
    }

    fn find(&mut self, id: u64) -> Option<Vec<u8>> {
        self.mount.as_ref()?.find(self.folder.as_ref()?, id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        ffi::OsStr,
        os::unix::ffi::OsStrExt,
        path::{Path, PathBuf},
    };

    #[test]
    fn folders_are_found_below_their_mount() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::create_dir(folder.path().join(OsStr::from_bytes(b"c\xff"))).unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let mount = Mount { at: folder.path().to_owned(), root: PathBuf::from("/top") };
        let found = existing(&mount, 100);
        let mut paths: Vec<_> = found.iter().map(|(_, path)| path.as_slice()).collect();
        paths.sort_unstable();
        let expected: [&[u8]; 4] = [b"/top", b"/top/a", b"/top/a/b", b"/top/c\xff"];
        assert_eq!(paths, expected);
        let id = fs::metadata(folder.path().join("a/b")).unwrap().ino();
        assert!(found.iter().any(|(found, path)| *found == id && path == b"/top/a/b"));
        assert_eq!(existing(&mount, 2).len(), 2);
        assert_eq!(mount.path_of(Path::new("/elsewhere")), None);
    }
}
