//! Traces a process from a program: counts its calls for some seconds. Needs root:
//!
//! ```sh
//! cargo build --example trace_pid && sudo target/debug/examples/trace_pid 1234 5
//! ```

use std::{
    collections::BTreeMap,
    error::Error,
    io::{self, Write},
    thread,
    time::Duration,
};

use tracer_user::{
    export::MemoryExporter,
    pipeline::{Trace, TraceOptions},
    ring_buffer::Destination,
};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, pid, seconds] = args.as_slice() else {
        return Err("usage: trace_pid PID SECONDS".into());
    };

    let spans = MemoryExporter::new();
    let options = TraceOptions { pids: vec![pid.parse()?], ..TraceOptions::default() };
    let trace = Trace::start(&options, vec![Destination::new("memory", spans.clone())])?;
    thread::sleep(Duration::from_secs(seconds.parse()?));
    let ledger = trace.stop(None)?;

    let mut calls = BTreeMap::new();
    for span in spans.take() {
        *calls.entry(span.span_name().into_owned()).or_insert(0_u64) += 1;
    }
    for (name, count) in calls {
        writeln!(io::stdout(), "{count:>8} {name}")?;
    }
    for (name, count) in ledger.losses() {
        writeln!(io::stderr(), "lost: {name} {count}")?;
    }
    Ok(())
}
