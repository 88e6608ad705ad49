//! What exporters write of a process: made once for all of its spans.

use std::{collections::HashMap, fmt, sync::Arc};

use crate::{
    identity::{Description, Resolver},
    process::Process,
    span_record::SpanRecord,
};

/// Processes that are remembered.
const REMEMBERED: usize = 1024;

/// Makes a `T` of each process, of each of its programs, users and cgroups.
pub(super) struct Who<T> {
    resolver: Option<Arc<Resolver>>,
    make: fn(&Description<'_>) -> T,
    /// By the address of the process as it ran one program, which stays where it is while it is kept
    /// here, its user and group, and its cgroup.
    known: HashMap<Key, Entry<T>>,
    /// The one that was asked for last: neighbours are mostly of one process.
    last: Option<(Key, Arc<T>, u64)>,
    made: u64,
}

type Key = (usize, Option<(u32, u32)>, u64);

struct Entry<T> {
    _process: Arc<Process>,
    value: Arc<T>,
    number: u64,
}

impl<T> fmt::Debug for Who<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Who").field("made", &self.made).finish_non_exhaustive()
    }
}

impl<T> Who<T> {
    /// Without a resolver nothing is known.
    pub(super) fn new(resolver: Option<Arc<Resolver>>, make: fn(&Description<'_>) -> T) -> Self {
        Self { resolver, make, known: HashMap::new(), last: None, made: 0 }
    }

    /// What is written of the span's process, and a number that no other process has; `None` for a
    /// span that a program made itself.
    pub(super) fn of(&mut self, span: &SpanRecord) -> Option<(&Arc<T>, u64)> {
        let resolver = self.resolver.as_ref()?;
        let (process, cgroup_id) = (span.process()?, span.cgroup_id()?);
        let key = (Arc::as_ptr(process).addr(), span.owner(), cgroup_id);
        if self.last.as_ref().is_none_or(|(last, ..)| *last != key) {
            let resolver = Arc::clone(resolver);
            self.last = Some(self.find(key, process, &resolver));
        }
        self.last.as_ref().map(|(_, value, number)| (value, *number))
    }

    #[cold]
    fn find(
        &mut self,
        key: Key,
        process: &Arc<Process>,
        resolver: &Resolver,
    ) -> (Key, Arc<T>, u64) {
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        let entry = self.known.entry(key).or_insert_with(|| {
            let find = || Box::new(resolver.identify(process.tgid, process.start_ns));
            let identity = process.identity.get_or_init(find);
            let owner = key.1.map(|ids| resolver.owner(ids));
            let cgroup = resolver.cgroups.get(key.2);
            self.made += 1;
            let value = (self.make)(&Description {
                program: &process.program,
                namespaces: process.namespaces,
                owner: owner.as_ref(),
                identity,
                cgroup: &cgroup,
            });
            Entry { _process: Arc::clone(process), value: Arc::new(value), number: self.made }
        });
        (key, Arc::clone(&entry.value), entry.number)
    }
}

/// The value of an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fact<'a> {
    /// Any bytes.
    Text(&'a [u8]),
    Int(u64),
    /// Stands only where it is so.
    True,
}

/// What is known of a process, by the names of OpenTelemetry's conventions where there are any.
pub(super) fn facts<'a>(description: &'a Description<'_>) -> Vec<(&'static str, Fact<'a>)> {
    let workload = description.workload();
    let owner = description.owner;
    let executable = description.program.executable.as_ref();
    let path = executable.and_then(|it| it.path.as_deref());
    let text = |text: &'a Option<Box<str>>| text.as_deref().map(|it| Fact::Text(it.as_bytes()));
    let name = |name: Option<&'static str>| name.map(|it| Fact::Text(it.as_bytes()));
    let cgroup = Some(&*description.cgroup.path).filter(|path| !path.is_empty());
    let mut all = vec![
        ("container.id", text(&workload.container_id)),
        ("container.name", text(&workload.container_name)),
        ("container.runtime.name", name(workload.runtime.map(crate::identity::Runtime::name))),
        ("k8s.pod.uid", text(&workload.pod_uid)),
        ("tracer.pod.qos", name(workload.qos.map(crate::identity::Qos::name))),
        ("tracer.systemd.unit", text(&workload.unit)),
        ("process.linux.cgroup", cgroup.map(Fact::Text)),
        ("process.executable.path", path.map(Fact::Text)),
        ("tracer.executable.deleted", executable.filter(|it| it.is_deleted).map(|_| Fact::True)),
        ("tracer.executable.device", executable.map(|it| Fact::Int(it.device))),
        ("tracer.executable.inode", executable.map(|it| Fact::Int(it.inode))),
        ("process.owner", owner.and_then(|it| Some(Fact::Text(it.user.as_deref()?.as_bytes())))),
        ("process.user.id", owner.map(|it| Fact::Int(it.uid.into()))),
        ("tracer.group.id", owner.map(|it| Fact::Int(it.gid.into()))),
    ];
    if let Some(namespaces) = description.namespaces {
        let numbers = NAMESPACES.into_iter().zip(namespaces.numbers());
        all.extend(
            numbers.map(|(key, number)| (key, (number != 0).then_some(Fact::Int(number.into())))),
        );
    }
    all.into_iter().filter_map(|(key, fact)| Some((key, fact?))).collect()
}

/// In the order of [`crate::identity::Namespaces::NAMES`].
const NAMESPACES: [&str; 7] = [
    "tracer.namespace.pid",
    "tracer.namespace.mnt",
    "tracer.namespace.net",
    "tracer.namespace.user",
    "tracer.namespace.uts",
    "tracer.namespace.ipc",
    "tracer.namespace.cgroup",
];

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        identity::{CgroupFacts, Identity, Namespaces},
        process::{Executable, Program},
        span_record::{SpanContext, SyscallSpan, test_call},
    };

    /// An id of a container.
    pub(in super::super) const ID: &str =
        "5f2d3b1c8e9a47760fb1a2c3d4e5f60718293a4b5c6d7e8f9012345678abcdef";

    /// A span of a process of which all is known, in cgroup 7, and who knows it.
    pub(in super::super) fn known() -> (SpanRecord, Arc<Resolver>) {
        struct Seven;
        impl crate::identity::CgroupSource for Seven {
            fn take_new(&mut self, _: &mut dyn FnMut(u64, &[u8])) {}
            fn find(&mut self, id: u64) -> Option<Vec<u8>> {
                let path =
                    format!("/kubepods/burstable/pod8f1c4d2e-6a7b-4c3d-9e0f-112233445566/{ID}");
                (id == 7).then(|| path.into_bytes())
            }
        }
        let path = Some((*b"/bin/\xff").into());
        let executable = Some(Executable { path, is_deleted: true, device: 1, inode: 2 });
        let process = Process {
            tgid: 5,
            trace_id: [1; 16],
            span_id: [3; 8],
            namespaces: Some(Namespaces::default()),
            program: Arc::new(Program { executable, ..Program::default() }),
            ..Process::default()
        };
        process.identity.set(Box::new(Identity::default())).unwrap();
        let context = SpanContext {
            process: Arc::new(process),
            span_id: [2; 8],
            start_time_nanos: 1,
            duration_nanos: 1,
            logical_clock: 1,
            thread_id: 5,
        };
        let call = SyscallSpan { cgroup_id: 7, uid: 0, gid: 44, ..test_call(39, 1) };
        let resolver = Arc::new(Resolver::default());
        resolver.cgroups.feed(Box::new(Seven), None);
        (SpanRecord::from_syscall(context, call), resolver)
    }

    #[test]
    fn facts_are_made_once_for_a_process() {
        let (span, resolver) = known();
        let mut who = Who::new(Some(resolver), |it| facts(it).len());
        let (first, number) = who.of(&span).map(|(it, number)| (Arc::clone(it), number)).unwrap();
        let (again, same) = who.of(&span.clone()).unwrap();
        assert!(Arc::ptr_eq(&first, again) && number == same);
        assert_eq!(*first, 11);
        assert!(Who::new(None, |_| ()).of(&span).is_none());
    }

    /// A process that changes its user is two, whichever was asked for first.
    #[test]
    fn each_user_of_a_process_has_its_own() {
        let (span, resolver) = known();
        let context = |span: &SpanRecord| SpanContext {
            process: Arc::clone(span.process().unwrap()),
            span_id: [2; 8],
            start_time_nanos: 1,
            duration_nanos: 1,
            logical_clock: 1,
            thread_id: 5,
        };
        let mut who = Who::new(Some(resolver), |it| it.owner.map(|it| (it.uid, it.gid)));
        let mut ask = |uid| {
            let call = SyscallSpan { uid, gid: uid + 1, ..test_call(39, 1) };
            let span = SpanRecord::from_syscall(context(&span), call);
            who.of(&span).map(|(it, number)| (**it, number)).unwrap()
        };
        let (root, first) = ask(0);
        let (web, second) = ask(33);
        assert_eq!((root, web), (Some((0, 1)), Some((33, 34))));
        assert!(first != second && ask(0) == (root, first));
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let cgroup = CgroupFacts::default();
        let (program, identity) = (Program::default(), Identity::default());
        let description = Description {
            program: &program,
            namespaces: None,
            owner: None,
            identity: &identity,
            cgroup: &cgroup,
        };
        assert_eq!(facts(&description), []);
    }
}
