//! `calls`: what tracer adds to a call, as a ratio to two empty raw tracepoints, and how fast its
//! own side is.

use std::{
    os::fd::AsFd as _,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
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

use crate::{
    bench::{Bench, Placement, TRACER_CPU, WORK_CPU},
    job::Loop,
    options::Options,
    report::{Report, Wanted},
    rounds::{Plan, Rounds, cell, lost_cell, middle},
    statistics::{self, Summary},
    tracers::Tool,
    worker::{Work, Worker},
};

const ROUNDS: usize = 7;
const FREE_ROUNDS: usize = 3;
const CALLS: u64 = 1_000_000;
/// For one table.
const PATIENCE: Duration = Duration::from_mins(2);

const TOOLS: [Tool; 4] = [Tool::Bare, Tool::Floor, Tool::Bystander, Tool::Null];

pub(crate) fn run(options: &Options) -> Result<Report> {
    let mut report = Report::default();
    report.say(&format!(
        "One process makes {CALLS} calls in each round and setting. `added` is processor time of the \
         calling thread beyond the bare call of the same round, `ratio` the same as a multiple of \
         what two empty raw tracepoints add in that round: the least that any tracer there costs. \
         Medians of all rounds, with the lowest and the highest in brackets."
    ));
    for work in [Work::Getppid, Work::OpenMissing] {
        table(options, &mut report, work, Placement::Pinned)?;
    }
    table(options, &mut report, Work::Getppid, Placement::Free)?;
    // Rates are of the parts, without a process around them.
    let _bench = options.bench(Placement::Pinned)?;
    report.heading("Rates");
    drain_rate(&mut report)?;
    sustained(&mut report)?;
    Ok(report)
}

fn table(options: &Options, report: &mut Report, work: Work, placement: Placement) -> Result<()> {
    let bench = options.bench(placement)?;
    let (place, rounds) = match placement {
        Placement::Pinned => {
            (format!("work on CPU {WORK_CPU}, tracer on CPU {TRACER_CPU}"), ROUNDS)
        }
        Placement::Free => ("not pinned".to_owned(), FREE_ROUNDS),
    };
    let title = format!("{}, {place}", work.name());
    let plan = Plan { title: &title, tools: &TOOLS, once: &[], rounds, patience: PATIENCE };
    let make = |bench: &Bench, under: &[String]| {
        let job: Box<dyn crate::job::Job> = Box::new(Loop::new(bench, under, work, CALLS)?);
        Ok(job)
    };
    let all = Rounds::run(&bench, &plan, &make)?;
    report.heading(&title);
    let mut rows = Vec::new();
    for (tool, samples) in all.tools() {
        samples.map_err(|why| anyhow!("{}: {why}", tool.name()))?;
        rows.push(vec![
            tool.name().to_owned(),
            middle(all.summary(tool, |it| it.cpu), 1),
            middle(all.added(tool, Tool::Bare, |it| it.cpu), 1),
            cell(all.added_ratio(tool, Tool::Floor), 2),
            middle(all.summary(tool, |it| it.wall), 1),
            middle(all.summary(tool, |it| it.tracer), 1),
            middle(all.summary(tool, |it| it.resident), 1),
            lost_cell(all.lost(tool)),
        ]);
    }
    report.table(
        &[
            "",
            "CPU ns/call",
            "added ns",
            "ratio",
            "wall ns/call",
            "tracer's CPU ns/call",
            "its MiB",
            "lost",
        ],
        &rows,
    );
    if placement == Placement::Pinned && work == Work::Getppid {
        targets(report, &all);
    }
    Ok(())
}

fn targets(report: &mut Report, all: &Rounds) {
    let ratio = |tool| all.added_ratio(tool, Tool::Floor).map_or(f64::NAN, |it| it.median);
    report.target(
        "a recorded call, as a multiple of the floor",
        ratio(Tool::Null),
        Wanted::AtMost(1.8),
    );
    report.target(
        "a bystander's call, as a multiple of the floor",
        ratio(Tool::Bystander),
        Wanted::AtMost(1.1),
    );
    report.end_list();
    let added = |tool| all.added(tool, Tool::Bare, |it| it.cpu).map_or(f64::NAN, |it| it.median);
    report.figure("floor_added_ns", added(Tool::Floor));
    report.figure("recorded_added_ns", added(Tool::Null));
    report.figure("bystander_added_ns", added(Tool::Bystander));
    let tracer = all.summary(Tool::Null, |it| it.tracer).map_or(f64::NAN, |it| it.median);
    report.figure("null_tracer_ns", tracer);
}

/// The ring filled with the reader stopped, then emptied to a null exporter.
fn drain_rate(report: &mut Report) -> Result<()> {
    let mut rates = Vec::new();
    let mut worker = Worker::start(Some(WORK_CPU), &[])?;
    for _ in 0..ROUNDS {
        let options = TraceOptions { pids: vec![worker.pid()], ..TraceOptions::default() };
        let mut loaded = Loaded::load(&options.settings())?;
        let map = loaded.take_ring()?;
        let ring = Ring::map(map.fd().as_fd(), DEFAULT_RING_SIZE as usize)?;
        let mut processes = loaded.take_processes()?.context("no process scope")?;
        let mut attached = loaded.attach()?;
        processes.attach(&[worker.pid()], true)?;
        attached.attach_calls()?;
        // Less than the ring takes.
        worker.work(Work::Getppid, 100_000)?;
        attached.stop()?;
        let records = attached.counts()?.get(Counter::Submitted);

        let destinations = vec![Destination::new("null", NullExporter)];
        let buffer = SpanRingBuffer::with_destinations(DEFAULT_CAPACITY, destinations)?;
        let delivery = Arc::clone(&buffer.deliveries()[0]);
        let clock = Arc::new(WallClock::new());
        let decoder = Decoder::new(Arc::clone(&clock), IdSource::this_boot());
        let started = Instant::now();
        let reader = Reader::start(ring, decoder, clock, Arc::new(buffer), None)?;
        while delivery.delivered() + delivery.dropped_total() < records {
            std::thread::yield_now();
        }
        let nanos = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        rates.push(1e3 * statistics::per(delivery.delivered(), nanos));
        ensure!(reader.counts().read.load(Ordering::Relaxed) == records, "records were lost");
        ensure!(reader.finish() == Some(0) && delivery.dropped_total() == 0, "spans were lost");
    }
    let rate = Summary::of(rates).context("no rates")?;
    report.say(&format!(
        "From the ring to a null exporter, with reader and sidecar on one CPU: {} million records a \
         second.",
        rate.show(2)
    ));
    Ok(())
}

/// The highest rate of one thread, while the tracer has a CPU of its own.
fn sustained(report: &mut Report) -> Result<()> {
    const AT_LEAST: Duration = Duration::from_secs(5);
    let mut worker = Worker::start(Some(WORK_CPU), &[])?;
    let options = TraceOptions { pids: vec![worker.pid()], ..TraceOptions::default() };
    let trace = Trace::start(&options, vec![Destination::new("null", NullExporter)])?;
    let started = Instant::now();
    while started.elapsed() < AT_LEAST {
        worker.work(Work::Getppid, CALLS)?;
    }
    let elapsed = started.elapsed();
    let ledger = trace.stop(None)?;
    ensure!(ledger.balanced(), "the books do not balance: {:?}", ledger.imbalances());
    let calls = ledger.kernel.get(Counter::Stored);
    let lost: u64 = ledger.losses().iter().map(|(_, count)| count).sum();
    report.say(&format!(
        "One thread at full speed for {:.1} s, to null: {:.2} million calls a second, {lost} of \
         {calls} lost.",
        elapsed.as_secs_f64(),
        statistics::per(calls, u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)),
    ));
    Ok(())
}
