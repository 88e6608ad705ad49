//! Finished files to an object store, by `object_store`. A file stands in the spool folder until the store has it
//! whole; an object appears all at once, and none is overwritten.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use object_store::{
    ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, RetryConfig,
    aws::AmazonS3Builder, azure::MicrosoftAzureBuilder, gcp::GoogleCloudStorageBuilder,
    path::Path as Key,
};
use tokio::runtime::{Builder, Runtime};

use super::super::{
    folder::{Folder, Owner},
    recover::owner_of,
};
use crate::export::{Delivery, DropReason};

/// Bytes that are sent in one request; a larger file goes in parts of that size.
const PART: usize = 16 << 20;
/// Finished files that wait to be looked at; the exporter waits for more room.
const WAITING: usize = 1024;
/// How long a request is tried again before the file has to wait.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries of a file, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Why a file is not in the store.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The store cannot be used at all.
    #[error("`{url}`: {reason}")]
    Store {
        /// As given.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// The store refused, or did not answer.
    #[error(transparent)]
    Request(#[from] object_store::Error),
    /// The file in the spool.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Something else has the name.
    #[error("an object of that name and of another size is there already")]
    Exists,
}

/// An object store, and the place in it.
#[derive(Debug, Clone)]
pub(in super::super) struct Store {
    objects: Arc<dyn ObjectStore>,
    prefix: Key,
    part: usize,
}

impl Store {
    /// The store of an address like `s3://bucket/prefix`. Who we are comes from the environment:
    /// `AWS_…`, `GOOGLE_…`, `AZURE_…`.
    pub(in super::super) fn new(url: &str) -> Result<Self, UploadError> {
        let failed = |reason: &str| UploadError::Store { url: url.into(), reason: reason.into() };
        let (scheme, rest) = url.split_once("://").ok_or_else(|| failed("not an address"))?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(failed("it names no bucket"));
        }
        let retry = RetryConfig { retry_timeout: PATIENCE, ..RetryConfig::default() };
        let store: Result<Arc<dyn ObjectStore>, _> = match scheme {
            "s3" => AmazonS3Builder::from_env()
                .with_bucket_name(bucket)
                .with_retry(retry)
                .build()
                .map(|it| Arc::new(it) as _),
            "gs" => GoogleCloudStorageBuilder::from_env()
                .with_bucket_name(bucket)
                .with_retry(retry)
                .build()
                .map(|it| Arc::new(it) as _),
            "az" => MicrosoftAzureBuilder::from_env()
                .with_container_name(bucket)
                .with_retry(retry)
                .build()
                .map(|it| Arc::new(it) as _),
            _ => return Err(failed("known are s3://, gs:// and az://")),
        };
        let store = store.map_err(|error| failed(&error.to_string()))?;
        let prefix =
            Key::parse(prefix.trim_end_matches('/')).map_err(|error| failed(&error.to_string()))?;
        Ok(Self { objects: store, prefix, part: PART })
    }

    /// Sends a file; `Ok` when the store has it whole, also from an earlier try.
    async fn send(&self, spool: &Folder, path: &str) -> Result<(), UploadError> {
        let key = path.split('/').fold(self.prefix.clone(), Key::join);
        let file = match open(spool, path) {
            // Somebody who recovers has sent it, and removed it here.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(self.objects.head(&key).await.map(|_| ())?);
            }
            other => other?,
        };
        let size = file.metadata()?.len();
        let sent = if size <= self.part as u64 {
            self.send_whole(&key, file).await
        } else {
            self.send_parts(&key, file).await
        };
        match sent {
            // A request that was answered by nobody may have arrived.
            Err(UploadError::Request(object_store::Error::AlreadyExists { .. })) => {
                if self.objects.head(&key).await?.size != size {
                    return Err(UploadError::Exists);
                }
            }
            other => other?,
        }
        Ok(remove(spool, path)?)
    }

    /// One request, which the store refuses if the name is taken.
    async fn send_whole(&self, key: &Key, mut file: File) -> Result<(), UploadError> {
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        self.objects.put_opts(key, PutPayload::from(content), options).await?;
        Ok(())
    }

    /// Parts, which become an object when the last has arrived. The interface has no condition for
    /// that; names are of one run only, so who could have taken it is an earlier try of this file.
    async fn send_parts(&self, key: &Key, file: File) -> Result<(), UploadError> {
        match self.objects.head(key).await {
            Ok(_) => {
                let (path, source) = (key.to_string(), "it is there".into());
                return Err(object_store::Error::AlreadyExists { path, source }.into());
            }
            Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let mut upload = self.objects.put_multipart(key).await?;
        let sent = async {
            let mut file = file;
            loop {
                let mut part = Vec::with_capacity(self.part);
                file.by_ref().take(self.part as u64).read_to_end(&mut part)?;
                if part.is_empty() {
                    break;
                }
                upload.put_part(PutPayload::from(part)).await?;
            }
            upload.complete().await?;
            Ok(())
        };
        let sent: Result<(), UploadError> = sent.await;
        if sent.is_err()
            && let Err(error) = upload.abort().await
        {
            log::debug!("an upload could not be taken back: {error}");
        }
        sent
    }
}

fn walk(spool: &Folder, path: &str) -> io::Result<(Folder, String)> {
    let mut folder = spool.reopen()?;
    let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
    for part in folders.split('/').filter(|part| !part.is_empty()) {
        folder = folder.open_subfolder(part)?;
    }
    Ok((folder, name.to_owned()))
}

fn open(spool: &Folder, path: &str) -> io::Result<File> {
    let (folder, name) = walk(spool, path)?;
    folder.open_file(&name)
}

fn remove(spool: &Folder, path: &str) -> io::Result<()> {
    let (folder, name) = walk(spool, path)?;
    folder.remove_file(&name)
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// A finished file that waits to be sent.
struct Job {
    path: String,
    rows: u64,
}

/// The thread that sends.
#[derive(Debug)]
pub(in super::super) struct Uploader {
    sender: SyncSender<Job>,
    thread: JoinHandle<()>,
}

impl Uploader {
    pub(in super::super) fn start(
        store: Store,
        spool: PathBuf,
        owner: Owner,
        delivery: Arc<Delivery>,
    ) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(WAITING);
        let runtime = runtime()?;
        let (waiting, pause, away) = (VecDeque::new(), PAUSES.0, None);
        let mut queue = Queue { store, spool, owner, delivery, waiting, pause, away };
        let work = move || queue.run(&runtime, &receiver);
        let thread = thread::Builder::new().name("tracer-upload".into()).spawn(work)?;
        Ok(Self { sender, thread })
    }

    /// Hands over a finished file; its spans are settled when it has arrived.
    pub(in super::super) fn send(&self, path: String, rows: u64) -> bool {
        self.sender.send(Job { path, rows }).is_ok()
    }

    /// Sends what waits once more, up to the first request that fails, and ends.
    pub(in super::super) fn finish(self) {
        drop(self.sender);
        if self.thread.join().is_err() {
            log::error!("the thread that uploads has panicked");
        }
    }
}

struct Queue {
    store: Store,
    /// Opened for each file: it may be removed and made anew.
    spool: PathBuf,
    owner: Owner,
    delivery: Arc<Delivery>,
    waiting: VecDeque<Job>,
    /// Before the try after the next one that fails.
    pause: Duration,
    /// Set while the store does not answer.
    away: Option<Away>,
}

/// A store that does not answer.
struct Away {
    next_try: Instant,
    /// What its last request said.
    error: String,
}

impl Queue {
    fn run(&mut self, runtime: &Runtime, receiver: &Receiver<Job>) {
        loop {
            // Files wait only while the store is away.
            let next_try = self.away.as_ref().map(|away| away.next_try);
            let left = next_try.map_or(Duration::MAX, |next_try| {
                next_try.saturating_duration_since(Instant::now())
            });
            match receiver.recv_timeout(left) {
                Ok(job) => self.waiting.push_back(job),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            // More files must not put the next try off.
            if next_try.is_none_or(|next_try| next_try <= Instant::now()) {
                self.send_waiting(runtime);
            }
        }
        self.send_waiting(runtime);
        let error = self.away.take().map(|away| away.error).unwrap_or_default();
        while let Some(job) = self.waiting.pop_front() {
            self.lose(&job, &error);
        }
    }

    /// Sends files up to the first whose request fails.
    fn send_waiting(&mut self, runtime: &Runtime) {
        while let Some(job) = self.waiting.front() {
            let sent = Folder::open(&self.spool, self.owner)
                .map_err(UploadError::from)
                .and_then(|spool| runtime.block_on(self.store.send(&spool, &job.path)));
            if let Err(UploadError::Request(error)) = sent {
                return self.put_off(&error);
            }
            let Some(job) = self.waiting.pop_front() else { return };
            match sent {
                Ok(()) => {
                    self.delivery.settle_delivered(job.rows);
                    self.works();
                }
                // Another try would find the same, and so would the files behind it.
                Err(error) => self.lose(&job, &error.to_string()),
            }
        }
    }

    /// A file is left in the spool.
    fn lose(&self, job: &Job, error: &str) {
        let path = &job.path;
        self.delivery.note(&format!("`{path}` is not uploaded and stays in the spool: {error}"));
        self.delivery.settle_dropped(DropReason::NotUploaded, job.rows);
    }

    fn works(&mut self) {
        self.pause = PAUSES.0;
        if self.away.take().is_some() {
            log::warn!("{}: uploads again", self.delivery.name());
        }
    }

    /// One line when it begins.
    fn put_off(&mut self, error: &object_store::Error) {
        if self.away.is_none() {
            let name = self.delivery.name();
            log::warn!(
                "{name}: cannot upload, files wait in the spool and are tried again: {error}"
            );
        }
        self.away = Some(Away { next_try: Instant::now() + self.pause, error: error.to_string() });
        self.pause = (self.pause * 2).min(PAUSES.1);
    }
}

/// A file's path below the spool folder, and how sending it went.
pub type Sent = (String, Result<(), UploadError>);

/// Sends the finished files of a spool folder, which earlier runs left.
pub fn upload_all(folder: &Path, url: &str) -> Result<Vec<Sent>, UploadError> {
    let store = Store::new(url)?;
    let runtime = runtime()?;
    let root = Folder::open(folder, owner_of(folder)?)?;
    let mut paths = Vec::new();
    find(&root, "", &mut paths)?;
    Ok(paths
        .into_iter()
        .map(|path| {
            let sent = runtime.block_on(store.send(&root, &path));
            (path, sent)
        })
        .collect())
}

fn find(folder: &Folder, before: &str, paths: &mut Vec<String>) -> io::Result<()> {
    for name in folder.names()? {
        let path = format!("{before}{name}");
        if name.ends_with(".parquet") {
            paths.push(path);
        } else if name.contains('=') {
            find(&folder.open_subfolder(&name)?, &format!("{path}/"), paths)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::memory::InMemory;

    fn fixture(part: usize) -> (tempfile::TempDir, Folder, Store) {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("date=1")).unwrap();
        std::fs::write(root.path().join("date=1/a.parquet"), b"0123456789").unwrap();
        let folder = Folder::open(root.path(), None).unwrap();
        let store = Arc::new(InMemory::new());
        (root, folder, Store { objects: store, prefix: Key::from("p/q"), part })
    }

    fn content(store: &Store) -> Vec<u8> {
        let key = Key::from("p/q/date=1/a.parquet");
        let get = async { store.objects.get(&key).await.unwrap().bytes().await.unwrap() };
        runtime().unwrap().block_on(get).to_vec()
    }

    #[test]
    fn files_arrive_whole_in_one_piece_and_in_parts() {
        for part in [1, 3, 9, 10, 11] {
            let (root, folder, store) = fixture(part);
            let send = store.send(&folder, "date=1/a.parquet");
            runtime().unwrap().block_on(send).unwrap();
            assert_eq!(content(&store), b"0123456789");
            assert!(!root.path().join("date=1/a.parquet").exists());
            // Sent already, and removed.
            let again = store.send(&folder, "date=1/a.parquet");
            runtime().unwrap().block_on(again).unwrap();
        }
    }

    #[test]
    fn no_object_is_overwritten() {
        for part in [3, 100] {
            let (root, folder, store) = fixture(part);
            let path = root.path().join("date=1/a.parquet");
            let send = || runtime().unwrap().block_on(store.send(&folder, "date=1/a.parquet"));
            send().unwrap();
            std::fs::write(&path, b"another").unwrap();
            assert!(matches!(send(), Err(UploadError::Exists)));
            assert_eq!(content(&store), b"0123456789");
            assert!(path.exists());
            // The same file, after a request that nobody answered.
            std::fs::write(&path, b"0123456789").unwrap();
            send().unwrap();
            assert!(!path.exists());
        }
    }

    #[test]
    fn spans_are_settled_when_their_file_has_arrived() {
        let (root, _, store) = fixture(100);
        let delivery = Arc::new(Delivery::new("parquet"));
        delivery.hold(7);
        let uploader =
            Uploader::start(store.clone(), root.path().into(), None, Arc::clone(&delivery))
                .unwrap();
        assert!(uploader.send("date=1/a.parquet".into(), 4));
        assert!(uploader.send("date=1/missing.parquet".into(), 3));
        uploader.finish();
        assert_eq!((delivery.delivered(), delivery.queued()), (4, 0));
        assert_eq!(delivery.dropped(DropReason::NotUploaded), 3);
        assert_eq!(content(&store), b"0123456789");
    }

    #[test]
    fn addresses_without_a_bucket_are_refused() {
        for url in ["s3://", "ftp://bucket", "bucket"] {
            assert!(Store::new(url).is_err(), "{url}");
        }
    }
}
