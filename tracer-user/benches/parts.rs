//! The parts between the kernel ring and a file, one at a time. The number each protects stands
//! in `docs/benchmarks.md`.

use std::{
    fs::OpenOptions,
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tracer_common::event::{CaptureState, SyscallEvent};
use tracer_user::{
    clock::WallClock,
    decode::{Decoder, encode},
    export::{
        Delivery, Exporter, JsonExporter, Output, ParquetExporter, TextExporter, TextStyle,
        otlp::{Encoding, ErrorStatus},
        parquet::{Compression, ParquetOptions},
    },
    ids::IdSource,
    ring_buffer::SpanRingBuffer,
    span_record::SpanRecord,
};

const BATCH: usize = 1024;

fn record(nr: u32, path: &[u8]) -> Vec<u8> {
    let strings = [(1, CaptureState::Whole, path)];
    let event =
        SyscallEvent { nr, comm: *b"cat\0\0\0\0\0\0\0\0\0\0\0\0\0", ..SyscallEvent::default() };
    encode(event, if path.is_empty() { &[] } else { &strings })
}

fn decoder() -> Decoder {
    Decoder::new(Arc::new(WallClock::new()), IdSource::this_boot())
}

fn spans() -> Vec<SpanRecord> {
    let (mut decoder, records) = (decoder(), [record(0, b""), record(257, b"/etc/hostname")]);
    let batch = (0..BATCH).filter_map(|n| decoder.decode(&records[n % 2]).ok()?);
    batch.collect()
}

/// Calls as a busy host makes them: three kinds, some with a path, by several threads, each with
/// its own time, duration, result and arguments.
fn varied_spans(count: u64) -> Vec<SpanRecord> {
    let mut decoder = decoder();
    let mut state = 1_u64;
    let spans = (0..count).zip(0_u32..).filter_map(|(n, small)| {
        // A linear congruential generator: the same spans in each run.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let random = state >> 33;
        let event = SyscallEvent {
            nr: [39, 0, 257][small as usize % 3],
            start_ns: 1_000_000 * n,
            duration_ns: 200 + random % 5000,
            ret: if random.is_multiple_of(7) { -2 } else { (random % 4096).cast_signed() },
            args: [random % 64, 0x7ffd_0000_0000 + random % 65_536, random % 8192, 0, 0, 0],
            tgid: 1000 + small / 256 % 8,
            tid: 1000 + small / 64 % 32,
            process_start_ns: n / 256 % 8,
            comm: *b"worker\0\0\0\0\0\0\0\0\0\0",
            ..SyscallEvent::default()
        };
        let path = format!("/proc/{}/task/{}/stat", random % 300, random % 40);
        let strings = [(1, CaptureState::Whole, path.as_bytes())];
        let record = encode(event, if event.nr == 257 { &strings } else { &[] });
        decoder.decode(&record).ok()?
    });
    spans.collect()
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid, and every kernel since 2.6.12 has this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Rows through the whole exporter into files of a temporary folder, flushes included; per second
/// of CPU time, for a disk has a pace of its own.
fn parquet(c: &mut Criterion) {
    let mut group = c.benchmark_group("parquet");
    let spans = varied_spans(65_536);
    group.throughput(Throughput::Elements(spans.len() as u64)).sample_size(20);
    let batches: Vec<_> = spans.chunks(BATCH).map(|batch| Arc::new(batch.to_vec())).collect();
    for (name, compression) in [("zstd", Compression::Zstd), ("none", Compression::None)] {
        let Ok(folder) = tempfile::tempdir() else { continue };
        let options = ParquetOptions { compression, ..ParquetOptions::new(folder.path().into()) };
        let account = Arc::new(Delivery::new("parquet"));
        let Ok(mut exporter) = ParquetExporter::open(options, Arc::clone(&account)) else {
            continue;
        };
        group.bench_function(name, |b| {
            b.iter_custom(|rounds| {
                let before = cpu_time();
                for batch in (0..rounds).flat_map(|_| &batches) {
                    account.hold(batch.len() as u64);
                    drop(exporter.export_shared(black_box(batch)));
                }
                cpu_time().saturating_sub(before)
            });
        });
        assert_eq!(account.dropped_total(), 0, "{:?}", account.first_error());
    }
    group.finish();
}

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Elements(1));
    let mut decoder = decoder();
    for (name, bytes) in [("getppid", record(110, b"")), ("openat", record(257, b"/etc/hostname"))]
    {
        group.bench_function(name, |b| b.iter(|| decoder.decode(black_box(&bytes))));
    }
    group.finish();
}

/// One push while the sidecar exports to null; other producers push at the same time.
fn push(c: &mut Criterion) {
    let mut group = c.benchmark_group("push");
    group.throughput(Throughput::Elements(1));
    let span = spans().remove(0);
    for producers in [1, 4] {
        let buffer = Arc::new(SpanRingBuffer::new(1 << 16));
        let stop = Arc::new(AtomicBool::new(false));
        let others: Vec<_> = (1..producers)
            .filter_map(|_| {
                let (buffer, stop, span) = (Arc::clone(&buffer), Arc::clone(&stop), span.clone());
                let work = move || {
                    while !stop.load(Ordering::Relaxed) {
                        buffer.push(span.clone());
                    }
                };
                thread::Builder::new().name("producer".into()).spawn(work).ok()
            })
            .collect();
        group.bench_function(format!("{producers} producers"), |b| {
            b.iter_batched(|| span.clone(), |span| buffer.push(span), BatchSize::SmallInput);
        });
        push_quartiles(&buffer, &span, producers);
        stop.store(true, Ordering::Relaxed);
        for thread in others {
            drop(thread.join());
        }
    }
    group.finish();
}

/// What criterion tells is the mean, in which a thread that waits for a processor counts too. Here
/// quartiles of short batches, in its format, and how many pushes found the queue full.
#[expect(clippy::print_stdout, reason = "the result")]
fn push_quartiles(buffer: &SpanRingBuffer, span: &SpanRecord, producers: usize) {
    const BATCHES: usize = 40_000;
    const PUSHES: u32 = 32;
    let before = buffer.stats();
    let mut times: Vec<f64> = (0..BATCHES)
        .map(|_| {
            let spans: Vec<_> = (0..PUSHES).map(|_| span.clone()).collect();
            let start = Instant::now();
            for span in spans {
                buffer.push(span);
            }
            1e9 * start.elapsed().as_secs_f64() / f64::from(PUSHES)
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let quartile = |n: usize| times[n * BATCHES / 4];
    let (low, middle, high) = (quartile(1), quartile(2), quartile(3));
    println!(
        "push median/{producers} producers  time:   [{low:.1} ns {middle:.1} ns {high:.1} ns]"
    );
    let after = buffer.stats();
    let pushed = after.total_pushed - before.total_pushed;
    let full = after.total_dropped - before.total_dropped;
    println!("push full/{producers} producers  {}%", 100 * full / pushed.max(1));
}

/// Protobuf for OTLP, by what spans carry.
fn otlp(c: &mut Criterion) {
    let mut group = c.benchmark_group("otlp");
    group.throughput(Throughput::Elements(BATCH as u64));
    let mut decoder = decoder();
    let calls = [("getppid", record(110, b"")), ("openat", record(257, b"/etc/hostname"))];
    for (name, bytes) in calls {
        let batch: Vec<_> = (0..BATCH).filter_map(|_| decoder.decode(&bytes).ok()?).collect();
        let mut encoding = Encoding::new(Vec::new(), ErrorStatus::default());
        group.bench_function(name, |b| b.iter(|| encoding.encode(black_box(&batch)).len()));
    }
    group.finish();
}

fn export(c: &mut Criterion) {
    let mut group = c.benchmark_group("export");
    group.throughput(Throughput::Elements(BATCH as u64));
    let batch = spans();
    let null = || {
        let file = OpenOptions::new().write(true).open("/dev/null");
        file.map(Output::from)
    };
    if let (Ok(text), Ok(json)) = (null(), null()) {
        let mut text = TextExporter::new(text, TextStyle::default());
        group.bench_function("text", |b| b.iter(|| text.export(black_box(&batch))));
        let mut json = JsonExporter::new(json);
        group.bench_function("json", |b| b.iter(|| json.export(black_box(&batch))));
    }
    group.finish();
}

criterion_group!(benches, decode, push, export, otlp, parquet);
criterion_main!(benches);
