//! Recordings in Parquet: what other readers find in them, and what a kill or a full disk leaves.
//! Tests whose name contains `other_readers` need the Python that `cargo xtask setup` installs.

use std::{
    collections::HashSet,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;
use tracer_user::export::parquet::recover::{Finding, recover};

use crate::support::{Running, Workload, json, stderr, tracer, tracer_path, workload_path};

/// The Python of `cargo xtask setup`.
pub(crate) fn python() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/python/bin/python");
    assert!(path.exists(), "no {}: run `cargo xtask setup`", path.display());
    path
}

/// What the other readers find, see `tests/parquet/readers.py`.
pub(crate) fn readers(command: &str, folder: &Path) -> Value {
    let output = Command::new(python())
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parquet/readers.py"))
        .arg(command)
        .arg(folder)
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The option, and the folder that is written to.
fn target(folder: &TempDir, options: &str) -> (String, PathBuf) {
    let root = folder.path().join("recording");
    (format!("parquet={}{options}", root.display()), root)
}

/// Rows of each finished file, which two readers must agree on.
fn finished(root: &Path) -> Vec<u64> {
    let files = readers("files", root);
    let rows = |(path, file): (&String, &Value)| {
        assert_eq!(file["pyarrow"], file["duckdb"], "{path}");
        file["pyarrow"].as_u64().expect("a number")
    };
    files.as_object().expect("an object").iter().map(rows).collect()
}

#[test]
fn other_readers_count_what_the_ledger_says() {
    for compression in ["zstd", "none"] {
        let folder = tempfile::tempdir().unwrap();
        let options = format!(",rotate-interval=200ms,compression={compression}");
        let (export, root) = target(&folder, &options);
        let books = folder.path().join("ledger.json");
        let ledger = books.to_str().unwrap();
        let workload = [&workload_path(), "now", "processes", "3", "5000"];
        let output =
            tracer(&[&["--export", &export, "--ledger", ledger, "--"], &workload[..]].concat());
        assert_eq!(stderr(&output), "");
        let ledger = json(&books);
        assert_eq!(ledger["balanced"], true, "{ledger}");
        let delivered = &ledger["destinations"]["parquet"]["delivered"];
        assert_eq!(delivered, &ledger["spans"]["spans"]);
        let found = readers("counts", &root);
        for reader in ["duckdb", "pyarrow", "polars"] {
            assert_eq!(&found[reader]["rows"], delivered, "{reader}");
            assert_eq!(found[reader]["names"]["getppid"], 15_000, "{reader}");
        }
        assert_eq!(&Value::from(finished(&root).iter().sum::<u64>()), delivered);
    }
}

/// The path of the workload `open-every-byte` in hexadecimal.
fn every_byte() -> String {
    let digits = |byte| format!("{byte:02x}");
    (1..=u8::MAX).map(digits).collect::<Vec<_>>().concat()
}

#[test]
fn other_readers_get_every_byte_of_a_path() {
    let folder = tempfile::tempdir().unwrap();
    let (export, root) = target(&folder, "");
    let args = ["--export", &export, "-e", "openat,open", "--"];
    let output = tracer(&[&args[..], &[&workload_path(), "now", "open-every-byte"]].concat());
    assert_eq!(stderr(&output), "");
    let path = every_byte();
    let found = readers("paths", &root);
    for reader in ["duckdb", "pyarrow", "polars"] {
        let paths = found[reader].as_array().unwrap();
        assert!(paths.contains(&Value::from(path.as_str())), "{reader}: {paths:?}");
    }
}

#[test]
fn other_readers_get_every_byte_of_a_path_in_json() {
    let folder = tempfile::tempdir().unwrap();
    let lines = folder.path().join("calls.jsonl");
    let export = format!("json={}", lines.display());
    let args = ["--export", &export, "-e", "openat", "--"];
    let output = tracer(&[&args[..], &[&workload_path(), "now", "open-every-byte"]].concat());
    assert_eq!(stderr(&output), "");
    let path = every_byte();
    let found = readers("lines", &lines);
    for reader in ["python", "duckdb", "pyarrow", "polars"] {
        let paths = found[reader].as_array().unwrap();
        assert!(paths.contains(&Value::from(path.as_str())), "{reader}: {paths:?}");
    }
}

#[test]
fn files_and_folders_are_the_invoking_users_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (export, root) = target(&folder, "");
    let output = Command::new(tracer_path())
        .args(["trace", "--export", &export, "--", "true"])
        .env("SUDO_UID", "65534")
        .env("SUDO_GID", "65534")
        .output()
        .unwrap();
    assert_eq!(stderr(&output), "");
    let mut path = root;
    loop {
        let found = fs::metadata(&path).unwrap();
        let mode = if found.is_dir() { 0o700 } else { 0o600 };
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), (65534, 65534, mode));
        if !found.is_dir() {
            break;
        }
        let entries: Vec<_> = fs::read_dir(&path).unwrap().map(Result::unwrap).collect();
        assert_eq!(entries.len(), 1, "{entries:?}");
        path = entries[0].path();
    }
}

/// A file system of this size, gone with the value.
pub(crate) struct SmallDisk(pub(crate) TempDir);

impl SmallDisk {
    pub(crate) fn new(size: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("size={size}");
        let mount = ["-t", "tmpfs", "-o", &options, "tmpfs"];
        let status = Command::new("mount").args(mount).arg(folder.path()).status().unwrap();
        assert!(status.success(), "mount");
        Self(folder)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// The disk fills while it traces, and has room again: what was written whole is there, all else is
/// counted, and another destination notices nothing.
#[test]
fn a_full_disk_costs_what_does_not_fit() {
    // More than is recorded meanwhile, however slow the machine is.
    let disk = SmallDisk::new("256m");
    let folder = tempfile::tempdir().unwrap();
    let ballast = disk.0.path().join("ballast");
    let (other, books) = (folder.path().join("out.jsonl"), folder.path().join("ledger.json"));
    let root = disk.0.path().join("recording");
    let options = "rotate-interval=100ms,flush-interval=20ms,compression=none";
    let parquet = format!("parquet={},{options}", root.display());
    let json_export = format!("json={}", other.display());
    let mut workload = Workload::new(&["pace"]);
    let pid = workload.pid().to_string();
    let exports = ["--export", &parquet, "--export", &json_export];
    let running = Running::start(
        &[&["-p", &pid, "--ledger", books.to_str().unwrap()], &exports[..]].concat(),
    );
    workload.begin();
    let ledger = || {
        let before = fs::metadata(&books).unwrap().len();
        running.signal(libc::SIGUSR1);
        while fs::metadata(&books).unwrap().len() == before && before == 0 {
            thread::yield_now();
        }
        serde_json::from_slice::<Value>(&fs::read(&books).unwrap()).unwrap_or_default()
    };
    let parquet_account = |name: &str| ledger()["destinations"]["parquet"][name].clone();
    while parquet_account("delivered").as_u64().unwrap_or(0) == 0 {
        thread::yield_now();
    }
    // Takes all the room there is.
    let fill = || {
        let source = fs::File::open("/dev/zero").unwrap();
        let mut file = fs::File::create(&ballast).unwrap();
        let _ = std::io::copy(&mut { source }, &mut file);
    };
    fill();
    let refused = || parquet_account("dropped")["disk_full"].as_u64().unwrap_or(0);
    while refused() == 0 {
        thread::yield_now();
    }
    // The ledger may be read while it is written.
    let before = loop {
        if let Some(delivered) = parquet_account("delivered").as_u64() {
            break delivered;
        }
    };
    fs::remove_file(&ballast).unwrap();
    while parquet_account("delivered").as_u64().unwrap_or(0) <= before {
        thread::yield_now();
    }
    running.signal(libc::SIGINT);
    let (status, said) = running.finish();
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("No space left on device") && said.contains("writes again"), "{said}");
    let ledger = json(&books);
    assert_eq!(ledger["balanced"], true, "{ledger}");
    let spans = &ledger["spans"]["spans"];
    assert_eq!(&ledger["destinations"]["json"]["delivered"], spans);
    let lines = fs::read(&other).unwrap().into_iter().filter(|byte| *byte == b'\n').count();
    assert_eq!(&Value::from(lines), spans);
    let written: u64 = rows(&root);
    assert_eq!(ledger["destinations"]["parquet"]["delivered"], written, "{ledger}");
}

/// Rows of all finished files by their footers.
pub(crate) fn rows(folder: &Path) -> u64 {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    let count = |entry: fs::DirEntry| {
        let path = entry.path();
        if path.is_dir() {
            return rows(&path);
        }
        if path.extension().is_none_or(|it| it != "parquet") {
            return 0;
        }
        let reader = SerializedFileReader::new(fs::File::open(path).unwrap()).unwrap();
        u64::try_from(reader.metadata().file_metadata().num_rows()).unwrap()
    };
    fs::read_dir(folder).unwrap().map(|entry| count(entry.unwrap())).sum()
}

/// Ids of the kernel programs and maps that a process holds.
fn kernel_objects(pid: u32) -> (HashSet<u32>, HashSet<u32>) {
    let (mut programs, mut maps) = (HashSet::new(), HashSet::new());
    let descriptors = fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap();
    for path in descriptors.filter_map(|entry| Some(entry.ok()?.path())) {
        for line in fs::read_to_string(path).unwrap_or_default().lines() {
            let Some((key, value)) = line.split_once(':') else { continue };
            let ids = match key {
                "prog_id" => &mut programs,
                "map_id" => &mut maps,
                _ => continue,
            };
            ids.insert(value.trim().parse().expect("a number"));
        }
    }
    (programs, maps)
}

/// Waits until the kernel has freed them all; it does so a moment after the process is gone.
fn wait_until_freed((programs, maps): &(HashSet<u32>, HashSet<u32>)) {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let alive = aya::programs::loaded_programs().filter_map(Result::ok);
        let program = alive.into_iter().find(|it| programs.contains(&it.id()));
        let alive = aya::maps::loaded_maps().filter_map(Result::ok);
        let map = alive.into_iter().find(|it| maps.contains(&it.id()));
        if program.is_none() && map.is_none() {
            return;
        }
        assert!(Instant::now() < deadline, "left behind: {program:?} {map:?}");
        thread::yield_now();
    }
}

/// What a kill has left.
struct Kill {
    /// Rows of files that were finished.
    finished: u64,
    /// Rows of files that were recovered.
    recovered: u64,
    /// Spans of the second destination that were found in the recording.
    compared: u64,
}

/// One kill at a random moment.
fn kill_once(round: u64, random: u64) -> Kill {
    let folder = tempfile::tempdir().unwrap();
    let (export, root) =
        target(&folder, ",flush-interval=100ms,rotate-interval=400ms,rotate-size=1MiB");
    // Every other round floods, so that files are large and row groups many; in the others all is
    // slow enough for a second destination to tell what must have arrived.
    let floods = round % 2 == 1;
    let mut workload = Workload::new(if floods { &["calls", "500000000"] } else { &["pace"] });
    let lines = folder.path().join("out.jsonl");
    let second = format!("json={}", lines.display());
    let pid = workload.pid().to_string();
    let mut args = vec!["-p", &pid, "--export", &export];
    if !floods {
        args.extend(["--export", &second]);
    }
    let mut running = Running::start(&args);
    workload.begin();
    thread::sleep(Duration::from_millis(random % 1500));
    let objects = kernel_objects(running.pid());
    assert!(!objects.0.is_empty() && !objects.1.is_empty());
    running.kill();
    drop(workload);
    wait_until_freed(&objects);
    let finished_rows: u64 = finished(&root).iter().sum();
    let mut recovered = 0;
    for finding in recover(&root).unwrap() {
        match finding {
            Finding::Recovered { rows, .. } => recovered += rows,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(finished(&root).iter().sum::<u64>(), finished_rows + recovered);
    assert!(recover(&root).unwrap().is_empty());
    let compared = if floods { 0 } else { check_tail(&root, &lines) };
    Kill { finished: finished_rows, recovered, compared }
}

/// Few kills may all come at moments when nothing is open, or nothing is finished.
const MORE_KILLS: u64 = 40;

/// All that the second destination has, but for the last moments, is in the recording: up to some
/// span, and nothing behind that. Returns how many spans were found.
fn check_tail(root: &Path, lines: &Path) -> u64 {
    /// The flush interval is 100 ms; the rest is for a thread to be scheduled on a busy machine.
    const BOUND: u64 = 2_000_000_000;
    let text = fs::read_to_string(lines).unwrap();
    // The last line may be cut.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let spans: Vec<Value> = whole.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    let end = |span: &Value| {
        span["start_time_unix_nano"].as_u64().unwrap() + span["duration_nano"].as_u64().unwrap()
    };
    let Some(last) = spans.iter().map(end).max() else { return 0 };
    let ids = readers("ids", root);
    let ids: HashSet<&str> =
        ids.as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    let is_there: Vec<bool> =
        spans.iter().map(|span| ids.contains(span["span_id"].as_str().unwrap())).collect();
    let flushed = is_there.iter().take_while(|it| **it).count();
    let behind = is_there.iter().skip(flushed).filter(|it| **it).count();
    assert_eq!(behind, 0, "after {flushed} of {} spans one is missing", spans.len());
    let missing = spans.iter().skip(flushed).map(|span| last - end(span)).max().unwrap_or(0);
    assert!(missing <= BOUND, "a span {missing} ns older than the last one is missing");
    flushed.try_into().unwrap()
}

/// `TRACER_TEST_KILLS` says how often; the full number is 200. More often, until kills have met
/// finished files, open ones, and a second destination to compare with.
#[test]
fn other_readers_read_what_a_kill_leaves() {
    let kills = std::env::var("TRACER_TEST_KILLS").map_or(6, |text| text.parse().unwrap());
    let mut sum = Kill { finished: 0, recovered: 0, compared: 0 };
    let mut random = u64::from(std::process::id());
    let mut round = 0;
    let is_enough = |sum: &Kill| sum.finished > 0 && sum.recovered > 0 && sum.compared > 0;
    while round < kills || (round < kills + MORE_KILLS && !is_enough(&sum)) {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let kill = kill_once(round, random >> 33);
        sum.finished += kill.finished;
        sum.recovered += kill.recovered;
        sum.compared += kill.compared;
        round += 1;
    }
    let Kill { finished, recovered, compared } = sum;
    let said = format!("{finished} rows finished, {recovered} recovered, {compared} compared");
    println!("{round} kills: {said}");
    assert!(finished > 0 && recovered > 0 && compared > 0, "{said}");
}
