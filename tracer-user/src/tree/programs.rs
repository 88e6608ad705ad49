//! What a process runs, and the trace that its environment names.

use std::sync::Arc;

use tracer_common::{
    event::CaptureState,
    lifecycle::{Birth, LifecycleEvent, exe},
    parse::LaunchParts,
};

use super::{LaunchPlace, Tree, late::Begun};
use crate::{
    escape,
    process::{Executable, Filename, Namespaces, Process, Program},
    span_record::{ProcessEnd, ProgramStart},
    traceparent::{TraceParent, is_trace_state, variable},
};

/// The name of a thread as that of a program.
fn of_comm(comm: &[u8; 16]) -> Box<[u8]> {
    comm.split(|byte| *byte == 0).next().unwrap_or_default().into()
}

/// The name of the span of a process.
pub(super) fn name(process: &Process) -> Box<str> {
    let program = &process.program.name;
    if let Ok(text) = std::str::from_utf8(program) {
        return text.into();
    }
    let mut escaped = Vec::new();
    escape::push_utf8(&mut escaped, program);
    String::from_utf8_lossy(&escaped).into()
}

/// The last part of a path that has one.
fn last_part(path: &[u8]) -> Option<&[u8]> {
    path.rsplit(|byte| *byte == b'/').next().filter(|name| !name.is_empty())
}

/// Whether a path names what some process has open or runs, and not a file by its own name.
fn is_indirect(path: &[u8]) -> bool {
    path.starts_with(b"/proc/") || path.starts_with(b"/dev/fd/")
}

impl Program {
    /// A program of which no record tells, but the name of a thread.
    pub(super) fn unseen(exec_id: u32, comm: &[u8; 16]) -> Self {
        Self { exec_id, name: of_comm(comm), ..Self::default() }
    }

    /// What the record of a process tells of its program.
    pub(super) fn told(event: &LifecycleEvent, launch: LaunchParts<'_>) -> Self {
        let executable = executable(event, launch.exe);
        let filename = (!launch.path.is_empty()).then(|| Filename {
            path: launch.path.into(),
            is_cut: event.path_state == CaptureState::Truncated as u8,
        });
        let given = filename.as_ref().map(|it| &*it.path);
        let mapped = executable.as_ref().and_then(|it| it.path.as_deref());
        let is_interpreted = event.is_interpreted != 0;
        let named = match (given, mapped) {
            (Some(given), Some(mapped)) if is_indirect(given) && !is_interpreted => mapped,
            (Some(path), _) | (None, Some(path)) => path,
            (None, None) => &[],
        };
        Self {
            exec_id: event.exec_id,
            name: last_part(named).map_or_else(|| of_comm(&event.comm), Into::into),
            filename,
            is_interpreted,
            executable,
            args: args(launch.args),
            args_cut: event.args_total as usize > launch.args.len(),
        }
    }
}

/// Each has a zero behind it; the last one has none where it is cut.
fn args(bytes: &[u8]) -> Box<[Box<[u8]>]> {
    if bytes.is_empty() {
        return Box::default();
    }
    let all = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    all.split(|byte| *byte == 0).map(Into::into).collect()
}

/// How many variables there are; each has a zero behind it.
fn variables(env: &[u8]) -> u32 {
    let count = env.split(|byte| *byte == 0).count().saturating_sub(1);
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The mapped file, where there is one.
fn executable(event: &LifecycleEvent, components: &[u8]) -> Option<Executable> {
    /// Bits of the minor number in the kernel's own form of a device,
    /// <https://github.com/torvalds/linux/blob/v6.12/include/linux/kdev_t.h#L7>.
    const MINOR_BITS: u32 = 20;
    let (major, minor) = (event.exe_dev >> MINOR_BITS, event.exe_dev & ((1 << MINOR_BITS) - 1));
    (event.exe_ino != 0).then(|| Executable {
        path: file_path(event.exe_flags, components),
        is_deleted: event.exe_flags & (exe::DELETED | exe::ALONE) != 0,
        device: libc::makedev(major, minor),
        inode: event.exe_ino,
    })
}

/// The path of a file, of which the kernel side has written the components from the last to the
/// first.
fn file_path(flags: u8, components: &[u8]) -> Option<Box<[u8]>> {
    let components = components.strip_suffix(b"\0").filter(|_| flags & exe::FAULT == 0)?;
    let mut path = if flags & exe::CUT == 0 { Vec::new() } else { b"...".to_vec() };
    for component in components.rsplit(|byte| *byte == 0) {
        path.push(b'/');
        path.extend_from_slice(component);
    }
    Some(path.into())
}

impl Tree {
    /// A process was there when tracing began.
    pub(super) fn alive(&mut self, event: &LifecycleEvent, launch: LaunchParts<'_>) {
        let key = (event.tgid, event.process_start_ns);
        let program = Program::told(event, launch);
        // One that was born since is known already, and so is one that has ended; of one that was
        // seen first by a call, neither program nor parent is known.
        if let Some(slot) = self.find(key) {
            let Some(entry) = self.entry(slot) else { return };
            if entry.process.program.exec_id == event.exec_id
                && entry.process.program.executable.is_none()
            {
                let mut process = entry.process.running(program.into());
                process.parent_tgid = event.parent_tgid;
                process.namespaces = Namespaces::told(event.namespaces);
                process.inner_pid = (event.inner_pid != event.tgid).then_some(event.inner_pid);
                entry.process = Arc::new(process);
                entry.comm = event.comm;
                entry.is_named_by_thread = false;
            }
            return;
        }
        if !self.make_room(key) {
            return;
        }
        let slot = self.insert_root(key, event.parent_tgid, program);
        self.note(slot, event);
    }

    /// The command line of a process that was there when tracing began.
    pub(super) fn command_line(&mut self, event: &LifecycleEvent, launch: LaunchParts<'_>) {
        let Some(slot) = self.find((event.tgid, event.process_start_ns)) else { return };
        let Some(entry) = self.entry(slot) else { return };
        let known = &entry.process.program;
        // That of a program it has begun since is known.
        if known.exec_id == event.exec_id && known.args.is_empty() {
            let program = Program {
                args: args(launch.args),
                args_cut: event.args_total as usize > launch.args.len(),
                ..Program::clone(known)
            };
            entry.process = Arc::new(entry.process.running(program.into()));
        }
    }

    /// Names a process, of which only a thread was known, by a record of its own.
    pub(super) fn name_after_first_thread(&mut self, slot: usize, event: &LifecycleEvent) {
        let Some(entry) = self.entry(slot) else { return };
        if std::mem::take(&mut entry.is_named_by_thread) {
            entry.comm = event.comm;
            let name = of_comm(&event.comm);
            let program = Program { name, ..Program::clone(&entry.process.program) };
            entry.process = Arc::new(entry.process.running(program.into()));
        }
    }

    /// A process runs another program.
    pub(super) fn executed(&mut self, event: &LifecycleEvent, launch: LaunchParts<'_>) {
        let key = (event.tgid, event.process_start_ns);
        let was_known = self.find(key).is_some();
        let Some(slot) = self.slot(key, event) else { return };
        let place = self.place(slot, event, launch.env, was_known);
        let program = Arc::new(Program::told(event, launch));
        let time_nanos = self.clock.wall(event.time_ns);
        let begun = Begun {
            program: Arc::clone(&program),
            variables: (event.env_len == event.env_total).then(|| variables(launch.env)),
            argument_limit: self.options.argument_limit,
        };
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
        entry.owner = Some((event.uid, event.gid));
        entry.threads = event.threads.into();
        entry.is_counted = true;
        entry.begin(event.call_start_ns, begun);
        entry.add_program(ProgramStart { time_nanos, program: Arc::clone(&program) });
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
        let old = &entry.process;
        entry.run(Process {
            trace_id: place.trace_id,
            span_id: place.span_id,
            parent_span_id: place.parent_span_id,
            trace_state,
            namespaces: Namespaces::told(event.namespaces),
            ..old.running(program)
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(path: &[u8], flags: u8, exe: &[u8], is_interpreted: u32) -> Program {
        let event = LifecycleEvent {
            exe_flags: flags,
            exe_dev: 0x0080_0001,
            exe_ino: 5,
            is_interpreted,
            comm: *b"comm\0\0\0\0\0\0\0\0\0\0\0\0",
            ..LifecycleEvent::default()
        };
        Program::told(&event, LaunchParts { path, exe, ..LaunchParts::default() })
    }

    #[test]
    fn a_path_is_turned_round() {
        assert_eq!(file_path(0, b"sleep\0bin\0usr\0").as_deref(), Some(&b"/usr/bin/sleep"[..]));
        assert_eq!(file_path(exe::CUT, b"y\0x\0").as_deref(), Some(&b".../x/y"[..]));
        assert_eq!(file_path(exe::FAULT, b"y\0x\0"), None);
        assert_eq!(file_path(0, b""), None);
    }

    #[test]
    fn a_program_is_called_by_what_was_executed() {
        let name = |path: &[u8], flags, exe: &[u8], interpreted| {
            String::from_utf8(program(path, flags, exe, interpreted).name.into_vec()).unwrap()
        };
        assert_eq!(name(b"/bin/ls", 0, b"busybox\0bin\0", 0), "ls");
        assert_eq!(name(b"./script", 0, b"dash\0bin\0", 1), "script");
        assert_eq!(name(b"/proc/self/exe", 0, b"busybox\0bin\0", 0), "busybox");
        assert_eq!(name(b"/dev/fd/3", exe::ALONE, b"memfd:evil\0", 0), "memfd:evil");
        // A script by its descriptor: what it is called is not known.
        assert_eq!(name(b"/dev/fd/3", 0, b"dash\0bin\0", 1), "3");
        assert_eq!(name(b"", 0, b"init\0sbin\0", 0), "init");
        assert_eq!(name(b"", exe::FAULT, b"init\0sbin\0", 0), "comm");
        assert_eq!(name(b"/", 0, b"", 0), "comm");
    }

    #[test]
    fn a_file_is_told_as_stat_tells_it() {
        let found = program(b"/x", exe::ALONE, b"memfd:x\0", 0).executable.unwrap();
        assert_eq!(found.path.as_deref(), Some(&b"/memfd:x"[..]));
        assert_eq!((found.device, found.inode), (libc::makedev(8, 1), 5));
        assert!(found.is_deleted);
    }

    #[test]
    fn arguments_are_whole_but_for_a_cut_last_one() {
        let of = |args, args_total| {
            let event = LifecycleEvent { args_total, ..LifecycleEvent::default() };
            let program = Program::told(&event, LaunchParts { args, ..LaunchParts::default() });
            let args = program.args.iter().map(|it| it.escape_ascii().to_string());
            (args.collect::<Vec<_>>().join(","), program.args_cut)
        };
        assert_eq!(of(b"a\0\0bc\0", 6), ("a,,bc".to_owned(), false));
        assert_eq!(of(b"a\0\0", 3), ("a,".to_owned(), false));
        assert_eq!(of(b"a\0bc", 70), ("a,bc".to_owned(), true));
        assert_eq!(of(b"", 70), (String::new(), true));
    }
}
