//! What a kill leaves, and what `recover` makes of it.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;

use super::{
    super::recover::{Finding, recover},
    Recording, count, eager, files, numbers, rows, spans,
};
use crate::export::Exporter;

/// As a kill does: nothing more is written, and the lock is gone.
fn kill(recording: Recording) -> (TempDir, PathBuf) {
    let root = recording.root();
    let Recording { folder, exporter, .. } = recording;
    drop(exporter);
    (folder, root)
}

fn recovered(root: &Path) -> u64 {
    let rows = |finding: Finding| match finding {
        Finding::Recovered { rows, .. } => rows,
        other => panic!("{other:?}"),
    };
    recover(root).unwrap().into_iter().map(rows).sum()
}

#[test]
fn what_was_flushed_is_recovered_after_a_kill() {
    // In the journal; in a row group; in both; in two row groups and a journal.
    for counts in [&[10_u64, 20][..], &[20_000], &[100, 20_000, 7], &[70_000, 5]] {
        let mut recording = Recording::new(eager);
        for n in counts {
            recording.export(&spans(*n, b"/a"));
        }
        let (_folder, root) = kill(recording);
        assert_eq!(count(&root), 0);
        let total = counts.iter().sum::<u64>();
        assert_eq!(recovered(&root), total, "{counts:?}");
        assert_eq!(count(&root), total, "{counts:?}");
        assert!(rows(&root).iter().all(|it| numbers(it, "start_time_nanos").values().is_sorted()));
        // Nothing is left, and nothing is there to do a second time.
        assert_eq!(files(&root, "").len(), files(&root, ".parquet").len());
        assert!(recover(&root).unwrap().is_empty());
    }
}

#[test]
fn rows_past_the_last_flush_are_lost_and_no_others() {
    let mut recording = Recording::new(eager);
    recording.export(&spans(20_000, b"/a"));
    recording.export(&spans(50, b"/a"));
    recording.exporter.options.flush_interval = Duration::from_hours(1);
    recording.export(&spans(70_000, b"/b"));
    let (_folder, root) = kill(recording);
    assert_eq!(recovered(&root), 20_050);
}

#[test]
fn files_torn_at_any_byte_are_recovered_up_to_the_last_flush() {
    let mut recording = Recording::new(eager);
    recording.export(&spans(20_000, b"/a"));
    recording.export(&spans(50, b"/a"));
    recording.export(&spans(50, b"/a"));
    let (_folder, root) = kill(recording);
    let (data, journal) = (files(&root, ".data").remove(0), files(&root, ".journal-1").remove(0));
    let whole = fs::read(&journal).unwrap();
    let (data_bytes, footer) = (fs::read(&data).unwrap(), files(&root, ".footer").remove(0));
    let footer_bytes = fs::read(&footer).unwrap();
    for cut in [0, 100, whole.len() / 2, whole.len() - 9, whole.len()] {
        // A row group that was being written, and a journal cut short.
        fs::create_dir_all(data.parent().unwrap()).unwrap();
        fs::write(&data, [&data_bytes[..], &b"half a row group"[..]].concat()).unwrap();
        fs::write(&footer, &footer_bytes).unwrap();
        fs::write(footer.with_extension("footer.next"), b"half a footer").unwrap();
        fs::write(&journal, &whole[..cut]).unwrap();
        let found = recovered(&root);
        assert!((20_000..=20_100).contains(&found), "{cut}: {found}");
        assert_eq!(cut == whole.len(), found == 20_100, "{cut}");
        assert_eq!(count(&root), found);
        for path in files(&root, ".parquet") {
            fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn a_recovery_that_was_killed_is_finished_by_the_next() {
    let mut recording = Recording::new(eager);
    recording.export(&spans(20_000, b"/a"));
    recording.export(&spans(50, b"/a"));
    let (_folder, root) = kill(recording);
    let aside = files(&root, ".data").remove(0).parent().unwrap().to_owned();
    let saved: Vec<_> =
        files(&aside, "").into_iter().map(|it| (it.clone(), fs::read(it).unwrap())).collect();
    assert_eq!(recovered(&root), 20_050);
    // Its journal was published, and all else was still to do.
    let data = files(&root, "-00000.parquet").remove(0);
    fs::remove_file(data).unwrap();
    fs::create_dir(&aside).unwrap();
    for (path, bytes) in &saved {
        fs::write(path, bytes).unwrap();
    }
    let half = files(&aside, ".data").remove(0).to_str().unwrap().replace(".data", "-journal.data");
    fs::write(half, b"half").unwrap();
    recovered(&root);
    assert_eq!(count(&root), 20_050);
    assert!(recover(&root).unwrap().is_empty());
}

#[test]
fn a_living_tracers_files_are_left_alone() {
    let mut recording = Recording::new(eager);
    recording.export(&spans(20_000, b"/a"));
    let found = recover(&recording.root()).unwrap();
    assert!(matches!(found[..], [Finding::InUse { .. }]), "{found:?}");
    recording.exporter.shutdown().unwrap();
    assert_eq!(count(&recording.root()), 20_000);
}

#[test]
fn garbage_is_an_error_and_stays() {
    let mut recording = Recording::new(eager);
    recording.export(&spans(20_000, b"/a"));
    let (_folder, root) = kill(recording);
    let (data, footer) = (files(&root, ".data").remove(0), files(&root, ".footer").remove(0));
    let whole = fs::read(&data).unwrap();
    // Damage that the footer aside cannot know of.
    let mut damaged = whole.clone();
    damaged[4..whole.len() - 4].fill(0xa5);
    fs::write(&data, &damaged).unwrap();
    let found = recover(&root).unwrap();
    assert!(matches!(found[..], [Finding::Damaged { .. }]), "{found:?}");
    fs::write(&data, &whole[..100]).unwrap();
    let found = recover(&root).unwrap();
    assert!(matches!(found[..], [Finding::Damaged { .. }]), "{found:?}");
    fs::write(&footer, b"TRFOOT01").unwrap();
    let found = recover(&root).unwrap();
    assert!(matches!(found[..], [Finding::Damaged { .. }]), "{found:?}");
    assert!(data.exists() && footer.exists());
}

#[test]
fn two_recoveries_at_once_do_it_once() {
    let mut recording = Recording::new(eager);
    recording.export(&spans(20_000, b"/a"));
    recording.export(&spans(50, b"/a"));
    let (_folder, root) = kill(recording);
    let both = std::thread::scope(|scope| {
        let threads = [(); 2].map(|()| scope.spawn(|| recover(&root).unwrap()));
        threads.map(|thread| thread.join().unwrap())
    });
    let damaged = both.iter().flatten().find(|it| matches!(it, Finding::Damaged { .. }));
    assert!(damaged.is_none(), "{damaged:?}");
    assert_eq!(count(&root), 20_050);
}

#[test]
fn a_foreign_file_aside_stays() {
    let recording = Recording::new(eager);
    let (_folder, root) = kill(recording);
    let aside = files(&root, "lock").remove(0).parent().unwrap().to_owned();
    fs::write(aside.join("notes.txt"), "mine").unwrap();
    assert!(recover(&root).unwrap().is_empty());
    assert!(aside.join("notes.txt").exists());
}
