//! Cgroups by id: what is known of each, also after it is gone.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use super::Workload;

/// Cgroups that are remembered; of more, those are forgotten that came first. One that still exists
/// is found again.
const REMEMBERED: usize = 32768;

/// What is known of a cgroup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CgroupFacts {
    /// Its id: the inode number of its folder.
    pub id: u64,
    /// Its path below the root of the hierarchy, with a slash in front; any bytes. Empty when it is
    /// not known.
    pub path: Box<[u8]>,
    /// What the path tells.
    pub workload: Workload,
}

impl CgroupFacts {
    /// The facts of a path.
    pub fn new(id: u64, path: &[u8]) -> Self {
        Self { id, path: path.into(), workload: Workload::of_path(&String::from_utf8_lossy(path)) }
    }
}

/// Where paths come from: the kernel's word on cgroups as they are made, and the file system.
pub trait CgroupSource: Send {
    /// Hands over what has come since the last time: ids and paths.
    fn take_new(&mut self, each: &mut dyn FnMut(u64, &[u8]));
    /// The path of a cgroup that exists.
    fn find(&mut self, id: u64) -> Option<Vec<u8>>;
}

/// Called with each cgroup that is found at the start, or that is made later.
pub type OnCgroup = Box<dyn FnMut(&CgroupFacts) + Send>;

/// All cgroups that are known, to be asked by any thread but the reader.
#[derive(Default)]
pub struct Cgroups {
    known: RwLock<Known>,
    feed: Mutex<Feed>,
    told: AtomicU64,
    unknown: AtomicU64,
}

#[derive(Default)]
struct Feed {
    source: Option<Box<dyn CgroupSource>>,
    listener: Option<OnCgroup>,
}

#[derive(Default)]
struct Known {
    by_id: HashMap<u64, Arc<CgroupFacts>>,
    order: VecDeque<u64>,
}

impl fmt::Debug for Cgroups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cgroups").field("told", &self.told).finish_non_exhaustive()
    }
}

impl Cgroups {
    /// Sets where paths come from, and who hears of them.
    pub fn feed(&self, source: Box<dyn CgroupSource>, listener: Option<OnCgroup>) {
        *self.lock() = Feed { source: Some(source), listener };
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Feed> {
        self.feed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of the cgroup with this id: at worst nothing but the id, which is counted once.
    pub fn get(&self, id: u64) -> Arc<CgroupFacts> {
        if let Some(known) = self.known(id) {
            return known;
        }
        // It may have been made a moment ago, and its record be on its way.
        let mut feed = self.lock();
        self.take_new(&mut feed);
        if let Some(known) = self.known(id) {
            return known;
        }
        let path = feed.source.as_mut().and_then(|source| source.find(id));
        if path.is_none() {
            self.unknown.fetch_add(1, Ordering::Relaxed);
        }
        self.insert(CgroupFacts::new(id, &path.unwrap_or_default()))
    }

    /// Takes in what the kernel has told since the last time.
    pub fn refresh(&self) {
        self.take_new(&mut self.lock());
    }

    fn take_new(&self, feed: &mut Feed) {
        let Feed { source: Some(source), listener } = feed else { return };
        source.take_new(&mut |id, path| {
            self.told.fetch_add(1, Ordering::Relaxed);
            let facts = self.insert(CgroupFacts::new(id, path));
            if let Some(listener) = listener {
                listener(&facts);
            }
        });
    }

    /// Takes in a cgroup that was found.
    pub fn found(&self, id: u64, path: &[u8]) {
        let mut feed = self.lock();
        let facts = self.insert(CgroupFacts::new(id, path));
        if let Some(listener) = &mut feed.listener {
            listener(&facts);
        }
    }

    fn insert(&self, facts: CgroupFacts) -> Arc<CgroupFacts> {
        let id = facts.id;
        let facts = Arc::new(facts);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.by_id.insert(id, Arc::clone(&facts)).is_none() {
            known.order.push_back(id);
        }
        if known.order.len() > REMEMBERED
            && let Some(oldest) = known.order.pop_front()
        {
            known.by_id.remove(&oldest);
        }
        facts
    }

    fn known(&self, id: u64) -> Option<Arc<CgroupFacts>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.by_id.get(&id).map(Arc::clone)
    }

    /// Cgroups of which the kernel has told as they were made.
    pub fn told(&self) -> u64 {
        self.told.load(Ordering::Relaxed)
    }

    /// Cgroups whose path was asked for and not found.
    pub fn unknown(&self) -> u64 {
        self.unknown.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Told(Vec<(u64, &'static [u8])>);

    impl CgroupSource for Told {
        fn take_new(&mut self, each: &mut dyn FnMut(u64, &[u8])) {
            self.0.drain(..).for_each(|(id, path)| each(id, path));
        }
        fn find(&mut self, id: u64) -> Option<Vec<u8>> {
            (id == 1).then(|| b"/".to_vec())
        }
    }

    #[test]
    fn an_id_is_found_wherever_its_path_is() {
        let cgroups = Cgroups::default();
        let (send, heard) = std::sync::mpsc::sync_channel(3);
        let listener = move |facts: &CgroupFacts| send.send(facts.id).unwrap();
        let told = Told(vec![(7, b"/a"), (8, b"/b/\xff")]);
        cgroups.feed(Box::new(told), Some(Box::new(listener)));
        cgroups.found(5, b"/c");
        assert_eq!(&*cgroups.get(8).path, b"/b/\xff");
        assert_eq!(&*cgroups.get(7).path, b"/a");
        assert_eq!(&*cgroups.get(1).path, b"/");
        assert_eq!((cgroups.told(), cgroups.unknown()), (2, 0));
        assert_eq!(*cgroups.get(9), CgroupFacts { id: 9, ..CgroupFacts::default() });
        cgroups.get(9);
        assert_eq!(cgroups.unknown(), 1);
        drop(cgroups);
        assert_eq!(heard.into_iter().collect::<Vec<_>>(), [5, 7, 8]);
    }

    #[test]
    fn the_first_are_forgotten() {
        let cgroups = Cgroups::default();
        for id in 0..=REMEMBERED as u64 {
            cgroups.insert(CgroupFacts::new(id, b"/x"));
        }
        assert!(cgroups.known(0).is_none() && cgroups.known(1).is_some());
        assert_eq!(cgroups.known.read().unwrap().order.len(), REMEMBERED);
    }
}
