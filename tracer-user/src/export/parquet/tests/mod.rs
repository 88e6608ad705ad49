//! The exporter and `recover` together, in folders of the test's own.

mod recovery;
mod rows;

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ::parquet::{
    arrow::arrow_reader::ParquetRecordBatchReaderBuilder,
    basic::{Encoding, Type},
};
use arrow_array::{Array, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow_select::concat::concat_batches;
use proptest::prelude::*;
use tempfile::TempDir;
use tracer_common::event::{Abi, CaptureState, Phase, Reason, Record, SyscallEvent};

use super::{
    Compression, GROUP_ROWS, MOST_GROUPS, ParquetExporter, ParquetOptions, WORTH_A_GROUP,
    columns::{Columns, Facts},
    recover::recover,
    schema::SCHEMA,
};
use crate::{
    escape::tests::unescape,
    export::{
        Delivery, DropReason, Exporter,
        who::{
            Who,
            tests::{ID, known},
        },
    },
    process::Process,
    span_record::{Payload, SpanContext, SpanKind, SpanRecord, StatusCode, SyscallSpan},
};

/// The span of a call whose second argument is this string, if it has one.
fn span(event: &SyscallEvent, string: Option<(CaptureState, &[u8])>) -> SpanRecord {
    let mut payload = Vec::new();
    if let Some((state, text)) = string {
        payload.extend([1, state as u8, 0, 0]);
        payload.extend(u32::try_from(text.len()).unwrap().to_ne_bytes());
        payload.extend_from_slice(text);
        payload.resize(payload.len().next_multiple_of(8), 0);
    }
    span_of(event, &payload)
}

fn span_of(event: &SyscallEvent, payload: &[u8]) -> SpanRecord {
    let mut trace_id = [7; 16];
    trace_id[..8].copy_from_slice(&event.process_start_ns.to_be_bytes());
    let context = SpanContext {
        process: Arc::new(Process {
            trace_id,
            span_id: event.process_start_ns.to_be_bytes(),
            tgid: event.tgid,
            ..Process::default()
        }),
        span_id: event.start_ns.to_be_bytes(),
        start_time_nanos: 1_700_000_000_000_000_000 + event.start_ns,
        duration_nanos: event.duration_ns,
        logical_clock: event.start_ns,
        thread_id: event.tid,
    };
    let call = SyscallSpan {
        args: event.args,
        ret: event.ret,
        cgroup_id: event.cgroup_id,
        uid: event.uid,
        gid: event.gid,
        comm: event.comm,
        payload: Payload::new(payload),
        nr: event.nr,
        abi: Abi::X86_64,
        record: Record::Complete,
        reason: Reason::None,
    };
    SpanRecord::from_syscall(context, call)
}

/// Calls of `openat`; each starts before the one in front of it.
fn spans(count: u64, path: &[u8]) -> Vec<SpanRecord> {
    let make = |n: u64| {
        let event = SyscallEvent {
            nr: 257,
            start_ns: 1_000_000 - n,
            duration_ns: n,
            ret: if n.is_multiple_of(2) { 3 } else { -2 },
            args: [0xffff_ff9c, 0x1000, 0o100, 0o644, 0, 0],
            tgid: 10,
            tid: 11,
            cgroup_id: 77,
            comm: *b"cat\0\0\0\0\0\0\0\0\0\0\0\0\0",
            ..SyscallEvent::default()
        };
        span(&event, Some((CaptureState::Whole, path)))
    };
    (0..count).map(make).collect()
}

struct Recording {
    folder: TempDir,
    delivery: Arc<Delivery>,
    exporter: ParquetExporter,
}

impl Recording {
    fn new(change: impl FnOnce(&mut ParquetOptions)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = ParquetOptions::new(folder.path().join("out"));
        options.rotate_interval = Duration::from_hours(1);
        options.flush_interval = Duration::from_hours(1);
        change(&mut options);
        let delivery = Arc::new(Delivery::new("parquet"));
        let exporter = ParquetExporter::open(options, Arc::clone(&delivery)).unwrap();
        Self { folder, delivery, exporter }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    fn export(&mut self, spans: &[SpanRecord]) {
        self.delivery.hold(spans.len() as u64);
        self.exporter.export(spans).unwrap();
    }

    fn dropped(&self) -> u64 {
        self.delivery.dropped_total()
    }
}

/// Files below a folder whose names end so.
fn files(root: &Path, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path(), end));
        } else if entry.path().to_str().unwrap().ends_with(end) {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

fn rows(root: &Path) -> Vec<RecordBatch> {
    let read = |path: PathBuf| {
        let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap());
        reader.unwrap().build().unwrap().map(Result::unwrap).collect::<Vec<_>>()
    };
    files(root, ".parquet").into_iter().flat_map(read).collect()
}

fn count(root: &Path) -> u64 {
    rows(root).iter().map(|batch| batch.num_rows() as u64).sum()
}

fn numbers<'a>(batch: &'a RecordBatch, name: &str) -> &'a Int64Array {
    batch.column_by_name(name).unwrap().as_any().downcast_ref().unwrap()
}

fn texts<'a>(batch: &'a RecordBatch, name: &str) -> &'a StringArray {
    batch.column_by_name(name).unwrap().as_any().downcast_ref().unwrap()
}

#[test]
fn spans_come_back_sorted_and_typed() {
    let mut recording = Recording::new(|_| ());
    recording.export(&spans(1000, b"/etc/hostname"));
    assert_eq!((recording.delivery.delivered(), recording.delivery.queued()), (0, 1000));
    recording.exporter.shutdown().unwrap();
    assert_eq!((recording.delivery.delivered(), recording.delivery.queued()), (1000, 0));
    let root = recording.root();
    // Only the finished file: nothing is left aside.
    assert_eq!(files(&root, "").len(), 1);
    let path = files(&root, ".parquet").remove(0);
    let below: Vec<_> = path.strip_prefix(&root).unwrap().iter().collect();
    let starts: Vec<_> = below.iter().map(|it| it.to_str().unwrap().split('=').next()).collect();
    assert_eq!(starts[..3], [Some("date"), Some("hour"), Some("host")]);
    let batch = rows(&root).remove(0);
    let starts = numbers(&batch, "start_time_nanos").values();
    assert!(starts.is_sorted() && starts[0] > 1_600_000_000_000_000_000);
    assert_eq!(texts(&batch, "span_name").value(0), "openat");
    assert_eq!(texts(&batch, "arg0_text").value(0), "AT_FDCWD");
    assert_eq!(texts(&batch, "arg1_text").value(0), "/etc/hostname");
    assert_eq!(texts(&batch, "arg3_text").value(0), "0644");
    assert_eq!(numbers(&batch, "arg1").value(0), 0x1000);
    assert!(numbers(&batch, "arg4").is_null(0) && texts(&batch, "arg4_text").is_null(0));
    // The last made is the first by time.
    assert_eq!(numbers(&batch, "result").value(0), -2);
    assert_eq!(texts(&batch, "status_message").value(0), "ENOENT");
    assert_eq!(numbers(&batch, "duration_nanos").value(0), 999);
    let (process, thread) = (batch.column_by_name("process_id").unwrap(), "thread_id");
    assert_eq!(process.as_any().downcast_ref::<Int32Array>().unwrap().value(0), 10);
    assert_eq!(numbers(&batch, thread).value(0), 11);
}

#[test]
fn the_footer_has_the_schema_statistics_and_the_account() {
    let mut recording = Recording::new(|options| options.compression = Compression::None);
    recording.export(&spans(70_000, b"/etc/hostname"));
    recording.exporter.shutdown().unwrap();
    let path = files(&recording.root(), ".parquet").remove(0);
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap();
    let metadata = reader.metadata();
    let columns = metadata.file_metadata().schema_descr().columns();
    let first: Vec<_> = columns[..3].iter().map(|it| (it.name(), it.physical_type())).collect();
    let id = Type::FIXED_LEN_BYTE_ARRAY;
    assert_eq!(first, [("trace_id", id), ("span_id", id), ("parent_span_id", id)]);
    assert_eq!((columns[14].name(), columns[14].physical_type()), ("thread_id", Type::INT64));
    assert_eq!(metadata.num_row_groups(), 2);
    let group = metadata.row_group(0);
    assert_eq!(group.num_rows().unsigned_abs(), GROUP_ROWS as u64);
    assert_eq!(group.sorting_columns().unwrap()[0].column_idx, 5);
    assert!(group.column(5).statistics().unwrap().min_bytes_opt().is_some());
    let facts = metadata.file_metadata().key_value_metadata().unwrap();
    let fact = |key: &str| facts.iter().find(|it| it.key == key).unwrap().value.clone().unwrap();
    assert_eq!(fact("tracer.schema_version"), "1");
    let ledger: serde_json::Value = serde_json::from_str(&fact("tracer.ledger")).unwrap();
    assert_eq!((&ledger["rows"], &ledger["queued"]), (&70_000.into(), &70_000.into()));
}

#[test]
fn files_are_finished_by_size_and_by_time() {
    let mut recording = Recording::new(|options| options.rotate_size = 1);
    for _ in 0..3 {
        recording.export(&spans(GROUP_ROWS as u64, b"/a"));
    }
    assert_eq!(recording.delivery.delivered(), 3 * GROUP_ROWS as u64);
    assert_eq!(files(&recording.root(), ".parquet").len(), 3);
    let mut recording = Recording::new(|options| options.rotate_interval = Duration::from_nanos(1));
    recording.export(&spans(5, b"/a"));
    assert_eq!((recording.delivery.delivered(), count(&recording.root())), (5, 5));
}

/// The memory that row groups cost until their file is finished is bounded.
#[test]
fn files_are_finished_by_their_row_groups() {
    let mut recording = Recording::new(eager);
    let batch = spans(WORTH_A_GROUP as u64, b"/a");
    for _ in 0..MOST_GROUPS {
        assert_eq!(recording.delivery.delivered(), 0);
        recording.export(&batch);
    }
    recording.exporter.idle().unwrap();
    assert_eq!(recording.delivery.delivered(), (MOST_GROUPS * WORTH_A_GROUP) as u64);
}

/// Flushes at each chance.
fn eager(options: &mut ParquetOptions) {
    options.flush_interval = Duration::from_nanos(1);
}

#[test]
fn a_removed_folder_costs_its_spans_and_no_more() {
    let mut recording = Recording::new(|options| {
        eager(options);
        options.rotate_interval = Duration::from_nanos(1);
    });
    recording.export(&spans(5, b"/a"));
    recording.exporter.options.rotate_interval = Duration::from_hours(1);
    recording.export(&spans(20_000, b"/a"));
    fs::remove_dir_all(recording.root()).unwrap();
    // As at a rotation.
    recording.exporter.options.rotate_interval = Duration::from_nanos(1);
    recording.export(&spans(7, b"/a"));
    assert!(recording.delivery.dropped(DropReason::FolderGone) >= 7, "{:?}", recording.delivery);
    let error = recording.delivery.first_error().unwrap();
    assert!(error.contains("No such file"), "{error}");
    // The next try makes the folder anew.
    while recording.delivery.delivered() < 5 + 11 {
        recording.export(&spans(11, b"/a"));
    }
    let total = recording.delivery.delivered() + recording.dropped() + recording.delivery.queued();
    assert_eq!(total % 11, (5 + 20_000 + 7) % 11, "{:?}", recording.delivery);
    recording.exporter.shutdown().unwrap();
    assert_eq!(count(&recording.root()), recording.delivery.delivered() - 5);
}

#[test]
fn what_is_wrong_with_the_folder_is_said_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let open = |path: PathBuf| {
        let delivery = Arc::new(Delivery::new("parquet"));
        ParquetExporter::open(ParquetOptions::new(path), delivery).unwrap_err().to_string()
    };
    let error = open(folder.path().join("no/such"));
    assert!(error.contains("make its parent folder first"), "{error}");
    std::os::unix::fs::symlink(folder.path(), folder.path().join("link")).unwrap();
    let error = open(folder.path().join("link"));
    assert!(error.contains("follows no symbolic links"), "{error}");
    fs::write(folder.path().join("file"), "").unwrap();
    let error = open(folder.path().join("file"));
    assert!(error.contains("Not a directory"), "{error}");
    assert!(recover(&folder.path().join("missing")).is_err());
}

/// Runs of values, changes at each row, nulls, and more values than any cache has.
fn varied(seed: u64, count: u64) -> Vec<SpanRecord> {
    let mut state = seed;
    let mut next = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % below
    };
    let mut make = |n: u64| {
        let kind = next(20);
        if kind == 0 {
            let attributes = HashMap::from([("key".to_owned(), format!("{}", next(5)))]);
            return SpanRecord::new(
                [1; 16],
                [2; 8],
                None,
                format!("named-{}", next(600)),
                SpanKind::Client,
                n,
                n + 1,
                n,
                StatusCode::Ok,
                String::new(),
                attributes,
                HashMap::new(),
                u32::MAX,
                u64::MAX,
            );
        }
        let process = u32::try_from(if kind < 10 { 7 } else { next(5000) }).unwrap();
        let event = SyscallEvent {
            nr: if kind < 15 { 257 } else { u32::try_from(next(500)).unwrap() },
            start_ns: 1_000_000 + n,
            ret: if kind < 12 { 3 } else { -i64::try_from(next(100)).unwrap() },
            args: [next(1 << 31), next(9), u64::MAX, 0, 1, 2],
            tgid: process,
            tid: process,
            process_start_ns: u64::from(process),
            comm: if kind < 18 { *b"worker-of-16-byt" } else { [0xff; 16] },
            ..SyscallEvent::default()
        };
        let path = format!("/path/{}", next(300));
        let string = (CaptureState::Truncated, path.as_bytes());
        span(&event, (event.nr == 257).then_some(string))
    };
    let mut spans: Vec<_> = (0..count).map(&mut make).collect();
    spans.sort_by_key(SpanRecord::start_time_nanos);
    spans
}

fn nobody() -> Who<Facts> {
    Who::new(None, Facts::of)
}

#[test]
fn what_is_known_of_a_process_is_in_columns() {
    let (span, resolver) = known();
    let mut who = Who::new(Some(resolver), Facts::of);
    let batch = Columns::batch(&[span], &mut who).unwrap();
    assert_eq!(texts(&batch, "container_id").value(0), ID);
    let path = texts(&batch, "cgroup_path").value(0).to_owned();
    assert!(path.starts_with("/kubepods/burstable/pod") && path.ends_with(ID), "{path}");
    let resource: serde_json::Value =
        serde_json::from_str(texts(&batch, "resource_json").value(0)).unwrap();
    assert_eq!(resource["container.id"], ID);
    assert_eq!(resource["k8s.pod.uid"], "8f1c4d2e-6a7b-4c3d-9e0f-112233445566");
    assert_eq!(resource["process.executable.path"], "/bin/\\xff");
    assert_eq!(resource["escaped.process.executable.path"], true);
    assert_eq!(resource["process.user.id"], 0);
}

#[test]
fn files_hold_what_was_put_into_columns() {
    for (seed, count) in [(1, 1), (2, 7), (3, 8), (4, 100), (5, 5000), (6, 20_000)] {
        let spans = varied(seed, count);
        let mut recording = Recording::new(|_| ());
        recording.export(&spans);
        recording.exporter.shutdown().unwrap();
        let found = concat_batches(&SCHEMA, &rows(&recording.root())).unwrap();
        let expected = Columns::batch(&spans, &mut nobody()).unwrap();
        for (index, field) in SCHEMA.fields().iter().enumerate() {
            assert_eq!(found.column(index), expected.column(index), "{} of {count}", field.name());
        }
    }
}

/// More text than a dictionary takes, and then a text that was in it.
#[test]
fn values_past_a_full_dictionary_come_back() {
    let name = |n: usize| match n % 4 {
        0 => b"/again".to_vec(),
        1 => Vec::new(),
        _ => format!("/{n}/").into_bytes().repeat(200),
    };
    let named = |n: usize| {
        SpanRecord::new(
            [1; 16],
            [2; 8],
            None,
            format!("{n}-").repeat(300),
            SpanKind::Internal,
            1,
            2,
            3,
            StatusCode::Ok,
            String::new(),
            HashMap::new(),
            HashMap::new(),
            4,
            5,
        )
    };
    let calls = (0..8000).flat_map(|n| spans(1, &name(n)));
    let all: Vec<_> = calls.chain((0..3000).map(named)).chain(spans(1000, b"/again")).collect();
    let mut recording = Recording::new(|_| ());
    recording.export(&all);
    recording.exporter.shutdown().unwrap();
    let path = files(&recording.root(), ".parquet").remove(0);
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap();
    let group = reader.metadata().row_group(0);
    for name in ["span_name", "arg1_text"] {
        let column = group.columns().iter().find(|it| it.column_path().string() == name).unwrap();
        let encodings: Vec<_> = column.encodings().collect();
        assert!(encodings.contains(&Encoding::RLE_DICTIONARY), "{name}: {encodings:?}");
        let statistics = column.statistics().unwrap();
        assert!(statistics.max_bytes_opt().unwrap().len() <= 64, "{name}");
    }
    let mut sorted = all;
    sorted.sort_by_key(SpanRecord::start_time_nanos);
    let expected = Columns::batch(&sorted, &mut nobody()).unwrap();
    let found = concat_batches(&SCHEMA, &rows(&recording.root())).unwrap();
    assert_eq!(found, expected);
    let texts = texts(&found, "arg1_text");
    assert_eq!(texts.iter().filter(|text| *text == Some("/again")).count(), 3000);
    assert_eq!(texts.iter().flatten().filter(|text| text.len() > 400).count(), 4000);
}

#[test]
fn what_was_read_at_exit_is_marked() {
    let marks = |phase: Phase| {
        let [span] = spans(1, b"/etc/hostname").try_into().unwrap();
        let call = span.syscall().unwrap().clone();
        let mut bytes = call.payload.as_slice().to_vec();
        bytes[2] = phase as u8;
        let event = SyscallEvent { nr: 257, args: call.args, ..SyscallEvent::default() };
        let span = span_of(&event, &bytes);
        let batch = Columns::batch(&[span], &mut nobody()).unwrap();
        let marks = batch.column_by_name("args_read_at_exit").unwrap();
        let marks: &Int32Array = marks.as_any().downcast_ref().unwrap();
        marks.is_valid(0).then(|| marks.value(0))
    };
    assert_eq!(marks(Phase::Late), Some(1 << 1));
    assert_eq!(marks(Phase::Enter), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_numbers_come_back(
        values in proptest::collection::vec((any::<u64>(), 0u32..64), 1..300),
    ) {
        let make = |(value, shift): &(u64, u32)| {
            let args = [*value >> shift, *value << shift, *value, 0, 1, !value];
            span(&SyscallEvent { nr: 9, start_ns: 1, args, ..SyscallEvent::default() }, None)
        };
        let spans: Vec<_> = values.iter().map(make).collect();
        let mut recording = Recording::new(|_| ());
        recording.export(&spans);
        recording.exporter.shutdown().unwrap();
        let found = rows(&recording.root()).remove(0);
        for (row, (value, shift)) in values.iter().enumerate() {
            let number = |name| numbers(&found, name).value(row).cast_unsigned();
            prop_assert_eq!(number("arg0"), *value >> shift);
            prop_assert_eq!(number("arg1"), *value << shift);
            prop_assert_eq!(number("arg5"), !value);
        }
    }

    #[test]
    fn any_path_comes_back(path in proptest::collection::vec(1u8.., 0..200)) {
        let batch = Columns::batch(&spans(1, &path), &mut nobody()).unwrap();
        let text = texts(&batch, "arg1_text").value(0);
        let marks = batch.column_by_name("args_escaped").unwrap();
        let marks: &Int32Array = marks.as_any().downcast_ref().unwrap();
        let escaped = marks.is_valid(0);
        prop_assert!(!escaped || marks.value(0) == 1 << 1);
        let back = if escaped { unescape(text) } else { text.as_bytes().to_vec() };
        prop_assert_eq!(back, path);
    }
}
