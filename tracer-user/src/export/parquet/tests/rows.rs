//! Rows that have in many columns what the rows before them have.

use std::sync::Arc;

use arrow_select::concat::concat_batches;
use tracer_common::{
    event::{CaptureState, Phase, SyscallEvent},
    file::{FileHeader, flag},
    memory::part,
};

use super::{SCHEMA, nobody, span, span_of, texts, varied};
use crate::{
    export::{
        parquet::columns::{Columns, Facts},
        who::Who,
    },
    identity::Resolver,
    process::{Executable, Process, Program},
    span_record::{ProcessEnd, ProcessSpan, SpanContext, SpanRecord, SpanTimes, file_capture},
};

/// A call like this one, of that process.
fn of(process: &Arc<Process>, span: &SpanRecord) -> SpanRecord {
    let context = SpanContext {
        process: Arc::clone(process),
        span_id: span.span_id(),
        start_time_nanos: span.start_time_nanos(),
        duration_nanos: span.duration_nanos(),
        logical_clock: span.logical_clock(),
        thread_id: u32::try_from(span.thread_id()).unwrap(),
    };
    SpanRecord::from_syscall(context, span.syscall().unwrap().clone())
}

/// Together they are what each is alone.
fn assert_independent(spans: &[SpanRecord], who: &mut Who<Facts>) {
    let together = Columns::batch(spans, who).unwrap();
    let alone: Vec<_> = spans.iter().map(|it| Columns::batch([it], who).unwrap()).collect();
    let alone = concat_batches(&SCHEMA, &alone).unwrap();
    for (index, field) in SCHEMA.fields().iter().enumerate() {
        assert_eq!(together.column(index), alone.column(index), "{}", field.name());
    }
}

/// One of some processes, each with ids and a parent of its own.
fn process(n: u32) -> Arc<Process> {
    Arc::new(Process {
        tgid: n,
        start_ns: n.into(),
        trace_id: [7; 16],
        span_id: u64::from(n).to_be_bytes(),
        parent_tgid: n.saturating_sub(1),
        ..Process::default()
    })
}

fn life(cgroup_id: u64) -> ProcessSpan {
    ProcessSpan {
        name: "life".into(),
        comm: *b"life\xff\0\0\0\0\0\0\0\0\0\0\0",
        cgroup_id,
        owner: Some((0, 0)),
        programs: Vec::new(),
        programs_left_out: 0,
        threads_started: 0,
        threads_ended: 0,
        birth: None,
        end: ProcessEnd::Exited(1),
    }
}

#[test]
fn a_row_does_not_depend_on_those_before_it() {
    let processes: Vec<_> = (0..3).map(process).collect();
    let mut spans = Vec::new();
    for (n, other) in varied(9, 1500).into_iter().enumerate() {
        let process = &processes[n / 7 % 3];
        match other.syscall() {
            // Calls of one process in a row, those of other processes and spans of no call between.
            Some(_) if n % 11 != 0 => spans.push(of(process, &other)),
            _ => spans.push(other),
        }
        if n % 13 == 0 {
            let times =
                SpanTimes { start_time_nanos: 1, end_time_nanos: 2, logical_clock: n as u64 };
            let life = life(n as u64);
            spans.push(SpanRecord::from_process(times, Arc::clone(process), life));
        }
    }
    assert_independent(&spans, &mut nobody());
}

/// What is known of processes is more than a dictionary takes.
#[test]
fn rows_past_a_full_dictionary_do_not_depend_on_others() {
    let event = SyscallEvent { nr: 257, ..SyscallEvent::default() };
    let call = span(&event, Some((CaptureState::Fault, b"")));
    let spans = (0..1500).flat_map(|n| {
        let path = Some(format!("/{n}/").repeat(200).into_bytes().into());
        let executable = Some(Executable { path, is_deleted: true, device: 1, inode: 2 });
        let program = Arc::new(Program { executable, ..Program::default() });
        let mut process = process(n % 1400);
        Arc::get_mut(&mut process).unwrap().program = program;
        vec![of(&process, &call); 1 + n as usize % 3]
    });
    let resolver = Arc::new(Resolver::default());
    let mut who = Who::new(Some(resolver), Facts::of);
    assert_independent(&spans.collect::<Vec<_>>(), &mut who);
}

#[test]
fn a_descriptor_that_others_have_changed_is_marked() {
    let closed = FileHeader { fd: 3, flags: flag::CHANGED, ..FileHeader::default() };
    let bytes = file_capture(part::FILE, Phase::Enter, closed, b"");
    let event = SyscallEvent { args: [3, 0, 0, 0, 0, 0], ..SyscallEvent::default() };
    let batch = Columns::batch(&[span_of(&event, &bytes)], &mut nobody()).unwrap();
    assert_eq!(texts(&batch, "arg0_text").value(0), "3(changed)");
}
