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
};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tracer_common::event::{CaptureState, SyscallEvent};
use tracer_user::{
    clock::WallClock,
    decode::{Decoder, encode},
    export::{
        Exporter, JsonExporter, Output, TextExporter, TextStyle,
        otlp::{Encoding, ErrorStatus},
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
    let batch = (0..BATCH).map(|n| decoder.decode(&records[n % 2]));
    batch.collect::<Result<_, _>>().unwrap_or_default()
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
        stop.store(true, Ordering::Relaxed);
        for thread in others {
            drop(thread.join());
        }
    }
    group.finish();
}

/// Protobuf for OTLP, by what spans carry.
fn otlp(c: &mut Criterion) {
    let mut group = c.benchmark_group("otlp");
    group.throughput(Throughput::Elements(BATCH as u64));
    let mut decoder = decoder();
    let calls = [("getppid", record(110, b"")), ("openat", record(257, b"/etc/hostname"))];
    for (name, bytes) in calls {
        let batch = (0..BATCH).map(|_| decoder.decode(&bytes));
        let batch: Vec<_> = batch.collect::<Result<_, _>>().unwrap_or_default();
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

criterion_group!(benches, decode, push, export, otlp);
criterion_main!(benches);
