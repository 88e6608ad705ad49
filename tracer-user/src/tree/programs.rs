//! What a process runs, and the trace that its environment names.

use std::sync::Arc;

use tracer_common::{
    lifecycle::{ARGS_ROOM, Birth, LifecycleEvent, PATH_ROOM},
    parse::LaunchParts,
};

use super::{LaunchPlace, Tree};
use crate::{
    escape,
    identity::Told,
    process::Process,
    span_record::{ProcessEnd, ProgramStart},
    traceparent::{TraceParent, is_trace_state, variable},
};

/// The name of a thread as that of a program.
pub(super) fn of_comm(comm: &[u8; 16]) -> Arc<[u8]> {
    comm.split(|byte| *byte == 0).next().unwrap_or_default().into()
}

/// The name of the span of a process.
pub(super) fn name(process: &Process) -> Box<str> {
    let program = &process.program;
    if let Ok(text) = std::str::from_utf8(program) {
        return text.into();
    }
    let mut escaped = Vec::new();
    escape::push_utf8(&mut escaped, program);
    String::from_utf8_lossy(&escaped).into()
}

/// The last part of a path; the thread's name for a program without one.
fn program_name(path: &[u8], comm: &[u8; 16]) -> Arc<[u8]> {
    match path.rsplit(|byte| *byte == b'/').next() {
        Some(name) if !name.is_empty() => name.into(),
        _ => of_comm(comm),
    }
}

/// The path, where it is that of what runs, whatever the process's folder is.
fn own_path<'a>(event: &LifecycleEvent, path: &'a [u8]) -> Option<&'a [u8]> {
    // The zero that ends it takes a byte.
    let is_whole = path.len() < PATH_ROOM - 1;
    (path.starts_with(b"/") && is_whole && event.is_interpreted == 0).then_some(path)
}

impl Tree {
    /// A process runs another program.
    pub(super) fn executed(&mut self, event: &LifecycleEvent, launch: LaunchParts<'_>) {
        let key = (event.tgid, event.process_start_ns);
        let was_known = self.find(key).is_some();
        let Some(slot) = self.slot(key, event) else { return };
        let place = self.place(slot, event, launch.env, was_known);
        let start = self.program_start(event, launch);
        let wall = |ns| self.clock.wall(ns);
        // The call that runs the program belongs to what comes of it.
        let begin_ns = if event.call_start_ns == 0 { event.time_ns } else { event.call_start_ns };
        let begin_wall = wall(begin_ns);
        let is_launched = event.how != 0;
        let goes_on_elsewhere = was_known && place.is_some();
        if goes_on_elsewhere && let Some(entry) = self.entry(slot) {
            let old = name(&entry.process);
            let span = entry.span(old, begin_ns, ProcessEnd::Continued);
            self.spans.push_back(span);
        }
        let program = program_name(launch.path, &event.comm);
        let Some(entry) = self.slots.get_mut(slot).and_then(Option::as_mut) else { return };
        if is_launched || goes_on_elsewhere {
            (entry.begin_ns, entry.begin_wall, entry.end_wall) = (begin_ns, begin_wall, begin_wall);
        }
        let clock = entry.tick(event.time_ns);
        if goes_on_elsewhere {
            entry.born_clock = clock;
        } else if is_launched {
            entry.born_clock = begin_ns;
        }
        entry.comm = event.comm;
        entry.cgroup_id = event.cgroup_id;
        entry.threads = event.threads.into();
        entry.is_counted = true;
        entry.add_program(start);
        let (trace_state, place) = match place {
            Some((place, state)) => (state, place),
            None => (
                entry.process.trace_state.clone(),
                LaunchPlace {
                    trace_id: entry.process.trace_id,
                    span_id: entry.process.span_id,
                    parent_span_id: entry.process.parent_span_id,
                },
            ),
        };
        let told = Told {
            owner: Some((event.uid, event.gid)),
            executable: own_path(event, launch.path).map(Into::into),
        };
        let old = &entry.process;
        entry.process = Arc::new(Process {
            tgid: old.tgid,
            start_ns: old.start_ns,
            trace_id: place.trace_id,
            span_id: place.span_id,
            parent_span_id: place.parent_span_id,
            parent_tgid: old.parent_tgid,
            inner_pid: old.inner_pid,
            depth: old.depth,
            trace_state,
            program,
            told,
            ..Process::default()
        });
        // A parent that has lent its memory goes on from here.
        if entry.birth == Some(Birth::Shared) {
            let reaper = entry.reaper;
            self.tell_ancestors(reaper, clock);
        }
    }

    /// The place in a trace that is this program's, where it is not that of its process.
    fn place(
        &mut self,
        slot: usize,
        event: &LifecycleEvent,
        env: &[u8],
        was_known: bool,
    ) -> Option<(LaunchPlace, Option<Arc<str>>)> {
        let named = self.named_trace(event, env);
        let launch = self.options.launch.filter(|_| event.how != 0);
        let own = self.ids.process(event.tgid, event.process_start_ns).span_id;
        let other = self.ids.program(event.tgid, event.time_ns);
        let entry = self.entry(slot)?;
        // What a process has from its parent says nothing new.
        let is_new = named.is_some() && entry.told != named;
        entry.told = named.or(entry.told);
        let state = variable(env, b"TRACESTATE").filter(|it| is_trace_state(it));
        let state = state.and_then(|it| std::str::from_utf8(it).ok()).filter(|it| !it.is_empty());
        if let Some(launch) = launch {
            // It goes with the trace that stands beside it.
            let state = state.filter(|_| named.is_some_and(|it| it.trace_id == launch.trace_id));
            return Some((launch, state.map(Into::into)));
        }
        let named = named.filter(|_| is_new)?;
        // Its own span, as somebody above has told it.
        if named.span_id == entry.process.span_id {
            return None;
        }
        let place = LaunchPlace {
            trace_id: named.trace_id,
            span_id: if was_known { other } else { own },
            parent_span_id: Some(named.span_id),
        };
        Some((place, state.map(Into::into)))
    }

    fn named_trace(&mut self, event: &LifecycleEvent, env: &[u8]) -> Option<TraceParent> {
        if event.env_total > event.env_len {
            self.counts.environment_cut += 1;
        }
        let value = variable(env, b"TRACEPARENT")?;
        let parsed = TraceParent::parse(value);
        if parsed.is_err() {
            self.counts.traceparent_invalid += 1;
        }
        parsed.ok()
    }

    fn program_start(&self, event: &LifecycleEvent, launch: LaunchParts<'_>) -> ProgramStart {
        let limit = self.options.argument_limit;
        let mut args_cut = event.args_total as usize > ARGS_ROOM;
        let all = launch.args.strip_suffix(b"\0").unwrap_or(launch.args);
        let args = if launch.args.is_empty() {
            Vec::new()
        } else {
            let shown = all.split(|byte| *byte == 0).map(|arg| {
                args_cut |= arg.len() > limit;
                arg.get(..limit).unwrap_or(arg).into()
            });
            shown.collect()
        };
        let time_nanos = self.clock.wall(event.time_ns);
        ProgramStart { time_nanos, path: launch.path.into(), args, args_cut }
    }
}
