//! What the path of a cgroup tells: container, runtime, pod and unit. Pure: nothing is looked up.
//!
//! Runtimes name cgroups after what they run; each form is in the table of the tests. An id is 64
//! lower-case hexadecimal digits, which is what all of these runtimes make, and nothing else is
//! taken for one.

#[cfg(test)]
mod tests;

/// Digits of a container's id.
const ID_LEN: usize = 64;

/// What a cgroup's path tells of the processes in it. All of it is the innermost there is: of a
/// container in a container, the inner one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Workload {
    /// The container's id: 64 hexadecimal digits.
    pub container_id: Option<Box<str>>,
    /// The name of a container that has no id: one of LXC, LXD, Incus or systemd-nspawn.
    pub container_name: Option<Box<str>>,
    /// What runs the container, where the path tells.
    pub runtime: Option<Runtime>,
    /// The pod's uid, with dashes; that of a static pod is 32 digits without.
    pub pod_uid: Option<Box<str>>,
    /// The pod's class.
    pub qos: Option<Qos>,
    /// The systemd unit: a service or scope, or else a slice.
    pub unit: Option<Box<str>>,
}

/// What runs a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// Docker.
    Docker,
    /// containerd, by Kubernetes or by nerdctl.
    Containerd,
    /// CRI-O.
    CriO,
    /// Podman.
    Podman,
    /// systemd-nspawn.
    Nspawn,
    /// LXC, and what is built on it: LXD, Incus, Proxmox.
    Lxc,
}

impl Runtime {
    /// The name in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Containerd => "containerd",
            Self::CriO => "cri-o",
            Self::Podman => "podman",
            Self::Nspawn => "systemd-nspawn",
            Self::Lxc => "lxc",
        }
    }
}

/// The quality-of-service class of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qos {
    /// Requests are limits.
    Guaranteed,
    /// Some requests or limits.
    Burstable,
    /// None.
    BestEffort,
}

impl Qos {
    /// Kubernetes' own name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }
}

/// Scopes and folders that runtimes name after a container: what stands before its id. Podman's and
/// CRI-O's monitors, `libpod-conmon-…`, are outside of the container and have no id for us.
const PREFIXES: [(&str, Option<Runtime>); 8] = [
    ("docker-", Some(Runtime::Docker)),
    ("cri-containerd-", Some(Runtime::Containerd)),
    ("containerd-", Some(Runtime::Containerd)),
    ("nerdctl-", Some(Runtime::Containerd)),
    ("crio-", Some(Runtime::CriO)),
    ("libpod-", Some(Runtime::Podman)),
    ("runc-", None),
    ("crun-", None),
];

/// Folders below which a plain id is a container's of this runtime: for containerd its namespaces,
/// and what its plugin for Kubernetes calls itself.
const PARENTS: [(&str, Runtime); 7] = [
    ("docker", Runtime::Docker),
    ("moby", Runtime::Docker),
    ("default", Runtime::Containerd),
    ("k8s.io", Runtime::Containerd),
    ("cri-containerd", Runtime::Containerd),
    ("crio", Runtime::CriO),
    ("libpod_parent", Runtime::Podman),
];

impl Workload {
    /// Reads the path of a cgroup, as `/proc/PID/cgroup` has it or relative to a mount.
    pub fn of_path(path: &str) -> Self {
        let mut found = Self::default();
        let mut parent = "";
        // The suffix is the kernel's, for a cgroup that has been removed: cgroups(7).
        for name in path.strip_suffix(" (deleted)").unwrap_or(path).split('/') {
            if let Some([slice, prefix, id]) = spec(name) {
                found.enter(parent, slice);
                found.enter(prefix, id);
            } else {
                found.enter(parent, name);
            }
            parent = name;
        }
        found
    }

    /// Reads `/proc/PID/cgroup`, cgroups(7): lines `ID:CONTROLLERS:PATH`, the one of version 2
    /// without controllers. The path that tells of a container is the one to believe: a runtime
    /// that manages version 1 leaves its processes where they were in version 2.
    pub fn of_proc(text: &str) -> Self {
        let lines: Vec<(&str, &str)> =
            text.lines().filter_map(|line| line.split_once(':')?.1.split_once(':')).collect();
        // Version 2, then where systemd keeps its units, then the others as they come.
        let rank = |controllers: &str| match controllers {
            "" => 0,
            "name=systemd" => 1,
            _ => 2,
        };
        let mut found: Vec<(u8, Self)> = lines
            .iter()
            .map(|(controllers, path)| (rank(controllers), Self::of_path(path)))
            .collect();
        found.sort_by_key(|(rank, it)| {
            (!it.has_container(), it.pod_uid.is_none(), it.unit.is_none(), *rank)
        });
        found.into_iter().next().map(|(_, it)| it).unwrap_or_default()
    }

    /// Whether the processes are in a container.
    pub const fn has_container(&self) -> bool {
        self.container_id.is_some() || self.container_name.is_some()
    }

    /// Goes one folder down.
    fn enter(&mut self, parent: &str, name: &str) {
        if let Some((uid, qos)) = pod(parent, name) {
            self.pod_uid = Some(uid.into());
            self.qos = Some(qos);
        }
        if let Some((id, runtime)) = container(parent, name) {
            self.container_id = Some(id.into());
            self.container_name = None;
            self.runtime = runtime;
        } else if let Some((machine, runtime)) = machine(parent, name) {
            self.container_id = None;
            self.container_name = Some(machine.into());
            self.runtime = Some(runtime);
        } else if name == "supervisor" && machine("machine.slice", parent).is_some() {
            // nspawn itself, beside what it runs.
            self.container_name = None;
            self.runtime = None;
        }
        self.enter_unit(name);
    }

    /// A slice is said only where there is no unit of its own kind above it.
    fn enter_unit(&mut self, name: &str) {
        let is_slice = has_suffix(name, ".slice");
        let is_unit = has_suffix(name, ".service") || has_suffix(name, ".scope");
        let has_unit = self.unit.as_deref().is_some_and(|unit| !has_suffix(unit, ".slice"));
        if is_unit || (is_slice && !has_unit) {
            self.unit = Some(name.into());
        }
    }
}

/// The parts of `SLICE:PREFIX:ID`, which is meant for systemd and becomes a folder's name where a
/// runtime is set to manage cgroups itself.
fn spec(name: &str) -> Option<[&str; 3]> {
    let (rest, id) = name.rsplit_once(':')?;
    let (slice, prefix) = rest.split_once(':')?;
    (is_id(id) && !prefix.contains(':')).then_some([slice, prefix, id])
}

fn container<'a>(parent: &str, name: &'a str) -> Option<(&'a str, Option<Runtime>)> {
    if is_id(name) {
        let known = PARENTS.iter().find(|(folder, _)| *folder == parent);
        return Some((name, known.map(|(_, runtime)| *runtime)));
    }
    let name = name.strip_suffix(".scope").unwrap_or(name);
    PREFIXES.iter().find_map(|(prefix, runtime)| {
        let id = name.strip_prefix(prefix)?;
        is_id(id).then_some((id, *runtime))
    })
}

/// A container that has a name instead of an id.
fn machine(parent: &str, name: &str) -> Option<(String, Runtime)> {
    let named = |name: &str, runtime| (!name.is_empty()).then(|| (unescape(name), runtime));
    if let Some(name) = name.strip_prefix("lxc.payload.") {
        return named(name, Runtime::Lxc);
    }
    if matches!(parent, "lxc" | "lxc.payload") {
        return named(name, Runtime::Lxc);
    }
    if let Some(service) = name.strip_prefix("systemd-nspawn@") {
        return named(service.strip_suffix(".service")?, Runtime::Nspawn);
    }
    let name = name.strip_prefix("machine-").filter(|_| parent == "machine.slice")?;
    let name = name.strip_suffix(".scope")?;
    // libvirt registers its machines too: virtual ones are no containers.
    if let Some(rest) = name.strip_prefix("lxc\\x2d") {
        return named(rest.split_once("\\x2d").map_or(rest, |(_, name)| name), Runtime::Lxc);
    }
    let is_virtual = ["qemu\\x2d", "xen\\x2d", "bhyve\\x2d"].iter().any(|it| name.starts_with(it));
    if is_virtual { None } else { named(name, Runtime::Nspawn) }
}

/// The uid and class of a pod: `podUID` below a folder of its class, or
/// `kubepods-CLASS-podUID.slice` with the uid's dashes turned into underscores.
fn pod(parent: &str, name: &str) -> Option<(String, Qos)> {
    let (class, uid) = match name.strip_suffix(".slice") {
        Some(slice) => {
            let (class, uid) = slice.rsplit_once("-pod")?;
            (class, uid.replace('_', "-"))
        }
        None => (parent, name.strip_prefix("pod")?.to_owned()),
    };
    let last = class.rsplit('-').next().unwrap_or(class);
    let qos = match last {
        "burstable" => Qos::Burstable,
        "besteffort" => Qos::BestEffort,
        "kubepods" => Qos::Guaranteed,
        _ => return None,
    };
    is_uid(&uid).then_some((uid, qos))
}

fn is_id(text: &str) -> bool {
    text.len() == ID_LEN && text.bytes().all(is_hex)
}

/// A UUID, or the hash that a static pod has instead.
fn is_uid(text: &str) -> bool {
    const DASHES: [usize; 4] = [8, 13, 18, 23];
    match text.len() {
        32 => text.bytes().all(is_hex),
        36 => text
            .bytes()
            .enumerate()
            .all(|(at, byte)| if DASHES.contains(&at) { byte == b'-' } else { is_hex(byte) }),
        _ => false,
    }
}

const fn is_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// Something stands before the suffix.
fn has_suffix(name: &str, suffix: &str) -> bool {
    name.len() > suffix.len() && name.ends_with(suffix)
}

/// Undoes `\xNN` of systemd's names, systemd-escape(1), where that gives a printable character.
fn unescape(name: &str) -> String {
    let mut out = String::new();
    let mut rest = name;
    while let Some((before, after)) = rest.split_once("\\x") {
        out.push_str(before);
        let code = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if let Some(code) = code.filter(|code| matches!(code, b' '..=b'~')) {
            out.push(char::from(code));
            rest = &after[2..];
        } else {
            out.push_str("\\x");
            rest = after;
        }
    }
    out + rest
}
