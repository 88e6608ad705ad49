//! What tracing costs: processor time added to each call of a pinned thread, as a ratio to two
//! empty raw tracepoints, compared within rounds because the machine's speed drifts; and how fast
//! the reader's side is. Run by `cargo xtask bench`, as root.
#![expect(clippy::print_stdout, reason = "it prints its results")]

mod floor;
mod worker;

use std::{
    error::Error,
    os::fd::AsFd,
    process::{Child, Command},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use floor::Floor;
use tracer_common::counter::Counter;
use tracer_user::{
    clock::WallClock,
    decode::Decoder,
    export::NullExporter,
    ids::IdSource,
    kernel::Loaded,
    pipeline::{DEFAULT_RING_SIZE, Trace, TraceOptions},
    reader::{Reader, ring::Ring},
    ring_buffer::{DEFAULT_CAPACITY, Destination, SpanRingBuffer},
};
use worker::{Call, Worker};

type Outcome<T> = Result<T, Box<dyn Error>>;

const TRACER_CPU: usize = 0;
const WORKER_CPU: usize = 1;
const ROUNDS: usize = 9;
const CALLS: u64 = 1_000_000;

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().collect();
    if let [_, flag, cpu] = args.as_slice()
        && flag == "--worker"
    {
        return Ok(worker::run(cpu.parse()?)?);
    }
    worker::pin(TRACER_CPU)?;
    describe();
    added_cost()?;
    drain_rate()?;
    sustained()
}

fn describe() {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    println!("machine{model}; kernel {}", kernel.trim());
    println!(
        "worker on CPU {WORKER_CPU}, tracer on CPU {TRACER_CPU}; {ROUNDS} rounds of {CALLS} calls\n"
    );
}

/// One thing to attach while the worker works.
#[derive(Clone, Copy)]
enum Setting {
    Bare,
    Floor,
    Bystander,
    Traced,
}

impl Setting {
    const ALL: [Self; 4] = [Self::Bare, Self::Floor, Self::Bystander, Self::Traced];

    const fn name(self) -> &'static str {
        match self {
            Self::Bare => "nothing attached",
            Self::Floor => "two empty raw tracepoints",
            Self::Bystander => "tracer, another process in scope",
            Self::Traced => "tracer, this process to null",
        }
    }
}

fn added_cost() -> Outcome<()> {
    let mut worker = Worker::start(WORKER_CPU)?;
    let other = Sleeper::start()?;
    for call in Call::ALL {
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let mut round = [0.0; Setting::ALL.len()];
            for (nanos, setting) in round.iter_mut().zip(Setting::ALL) {
                *nanos = measure(&mut worker, &other, setting, call)?;
            }
            rounds.push(round);
        }
        println!("{}: CPU time of one call", call.name());
        for (index, setting) in Setting::ALL.into_iter().enumerate() {
            let nanos = median(rounds.iter().map(|round| round[index]));
            let added = median(rounds.iter().map(|round| round[index] - round[0]));
            let ratios: Vec<_> = rounds
                .iter()
                .map(|round| (round[index] - round[0]) / (round[1] - round[0]))
                .collect();
            let (low, high) = spread(&ratios);
            println!(
                "  {:34} {nanos:7.1} ns  added {added:7.1} ns  ratio to the floor {:5.2} ({low:.2} to {high:.2})",
                setting.name(),
                median(ratios.into_iter()),
            );
        }
        println!();
    }
    Ok(())
}

fn measure(worker: &mut Worker, other: &Sleeper, setting: Setting, call: Call) -> Outcome<f64> {
    let null = || vec![Destination::new("null", NullExporter)];
    let options = |pid| TraceOptions { pids: vec![pid], ..TraceOptions::default() };
    Ok(match setting {
        Setting::Bare => worker.measure(call, CALLS)?,
        Setting::Floor => {
            let _floor = Floor::attach()?;
            worker.measure(call, CALLS)?
        }
        Setting::Bystander | Setting::Traced => {
            let traced = matches!(setting, Setting::Traced);
            let pid = if traced { worker.pid() } else { other.0.id() };
            let trace = Trace::start(&options(pid), null())?;
            let nanos = worker.measure(call, CALLS)?;
            let ledger = trace.stop(None)?;
            assert!(ledger.balanced(), "{:?}", ledger.imbalances());
            let matched = ledger.kernel.get(Counter::Matched);
            assert_eq!(matched >= CALLS, traced, "{matched} calls were traced");
            nanos
        }
    })
}

/// The ring filled with the reader stopped, then emptied to a null exporter.
#[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 52 bits")]
fn drain_rate() -> Outcome<()> {
    let mut rates = Vec::new();
    let mut worker = Worker::start(WORKER_CPU)?;
    for _ in 0..ROUNDS {
        let options = TraceOptions { pids: vec![worker.pid()], ..TraceOptions::default() };
        let mut loaded = Loaded::load(&options.settings())?;
        let map = loaded.take_ring()?;
        let ring = Ring::map(map.fd().as_fd(), DEFAULT_RING_SIZE as usize)?;
        let mut processes = loaded.take_processes()?.ok_or("no process scope")?;
        let mut attached = loaded.attach()?;
        processes.attach(&[worker.pid()], true)?;
        worker.measure(Call::Getppid, 150_000)?;
        attached.stop()?;
        let records = attached.counts()?.get(Counter::Submitted);

        let destinations = vec![Destination::new("null", NullExporter)];
        let buffer = SpanRingBuffer::with_destinations(DEFAULT_CAPACITY, destinations)?;
        let delivery = Arc::clone(&buffer.deliveries()[0]);
        let clock = Arc::new(WallClock::new());
        let decoder = Decoder::new(Arc::clone(&clock), IdSource::this_boot());
        let started = Instant::now();
        let reader = Reader::start(ring, decoder, clock, Arc::new(buffer))?;
        while delivery.delivered() + delivery.dropped_total() < records {
            std::thread::yield_now();
        }
        rates.push(delivery.delivered() as f64 / started.elapsed().as_secs_f64() / 1e6);
        assert_eq!(reader.counts().read.load(Ordering::Relaxed), records);
        assert_eq!(reader.finish(), Some(0));
        assert_eq!(delivery.dropped_total(), 0);
    }
    let (low, high) = spread(&rates);
    println!(
        "ring to null exporter, reader, sidecar and worker on one CPU: {:.2} M records/s ({low:.2} to {high:.2})\n",
        median(rates.into_iter())
    );
    Ok(())
}

/// The highest rate of one thread, while the tracer has a CPU of its own.
#[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 52 bits")]
fn sustained() -> Outcome<()> {
    const AT_LEAST: Duration = Duration::from_secs(5);
    let mut worker = Worker::start(WORKER_CPU)?;
    let options = TraceOptions { pids: vec![worker.pid()], ..TraceOptions::default() };
    let trace = Trace::start(&options, vec![Destination::new("null", NullExporter)])?;
    let started = Instant::now();
    while started.elapsed() < AT_LEAST {
        worker.measure(Call::Getppid, CALLS)?;
    }
    let elapsed = started.elapsed().as_secs_f64();
    let ledger = trace.stop(None)?;
    let calls = ledger.kernel.get(Counter::Stored);
    let lost: u64 = ledger.losses().iter().map(|(_, count)| count).sum();
    println!(
        "one thread at full speed for {elapsed:.1} s: {:.2} M calls/s, {lost} of {calls} lost, balanced {}",
        calls as f64 / elapsed / 1e6,
        ledger.balanced(),
    );
    Ok(())
}

/// A process that does nothing, to be in scope.
struct Sleeper(Child);

impl Sleeper {
    fn start() -> Outcome<Self> {
        Ok(Self(Command::new("sleep").arg("3600").spawn()?))
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        // Our own child; at worst it has ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<_> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn spread(values: &[f64]) -> (f64, f64) {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (low, high)
}
