//! `--container`: from an id or a name to cgroups.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    thread,
};

use nix::{
    sched::{CloneFlags, setns},
    unistd::gethostname,
};

use crate::{
    identity::{ContainerName, Workload},
    kernel::cgroup::{self, Cgroup, Mount},
    watch,
};

/// Cgroups that are looked at, at most.
const LIMIT: usize = 65536;

/// Why a container cannot be traced.
#[derive(Debug, thiserror::Error)]
pub(super) enum ContainerError {
    #[error("--container: an empty name")]
    Empty,
    #[error(
        "--container: cgroup v2 is not mounted here, and containers are found by it \
         (mount -t cgroup2 none /sys/fs/cgroup)"
    )]
    NoMount,
    #[error(
        "--container: no container `{name}`: looked for an id that begins so (4 digits or more), a \
         name (LXC, Incus, systemd-nspawn) and a host name, in {looked_at} cgroups below {mount}; \
         --wait-for-container waits for one"
    )]
    NotFound { name: String, looked_at: usize, mount: PathBuf },
    #[error("--container: `{name}` fits {}; give more of the id", .ids.join(", "))]
    Ambiguous { name: String, ids: Vec<String> },
}

/// What `--container` leads to.
#[derive(Debug, Default)]
pub(super) struct Containers {
    /// The cgroups of those that are there.
    pub(super) found: Vec<Cgroup>,
    /// All of them by name, for cgroups that are made later: a container that is started again has
    /// new ones.
    pub(super) later: Vec<ContainerName>,
    /// The names of those that are not there.
    pub(super) awaited: Vec<String>,
}

/// Finds the containers with these names. One that is not there is an error, unless `wait`.
pub(super) fn find(names: &[String], wait: bool) -> Result<Containers, ContainerError> {
    if names.is_empty() {
        return Ok(Containers::default());
    }
    let mount = cgroup::first_mount().ok_or(ContainerError::NoMount)?;
    let existing: Vec<Existing> = watch::existing(&mount, LIMIT)
        .into_iter()
        .map(|(id, path)| Existing {
            id,
            workload: Workload::of_path(&String::from_utf8_lossy(&path)),
            path: PathBuf::from(std::ffi::OsStr::from_bytes(&path)),
        })
        .collect();
    let mut containers = Containers::default();
    for text in names {
        let name = ContainerName::new(text).ok_or(ContainerError::Empty)?;
        let mut fitting = Existing::topmost(&existing, |it| name.fits(&it.workload));
        if fitting.is_empty() {
            fitting = Existing::topmost(&existing, |it| {
                it.workload.has_container() && host_name(&mount, &it.path).as_ref() == Some(text)
            });
        }
        let ids: BTreeSet<_> =
            fitting.iter().filter_map(|it| it.workload.container_id.as_deref()).collect();
        if ids.len() > 1 {
            let ids = ids.iter().map(|id| (*id).to_owned()).collect();
            return Err(ContainerError::Ambiguous { name: text.clone(), ids });
        }
        if fitting.is_empty() && !wait {
            let (name, looked_at) = (text.clone(), existing.len());
            return Err(ContainerError::NotFound { name, looked_at, mount: mount.at });
        }
        if fitting.is_empty() {
            containers.awaited.push(text.clone());
        }
        containers.found.extend(fitting.iter().map(|it| mount.cgroup(it.id, &it.path)));
        containers.later.push(name);
    }
    Ok(containers)
}

/// A cgroup that is there.
struct Existing {
    id: u64,
    path: PathBuf,
    workload: Workload,
}

impl Existing {
    /// Those that fit, without those below another one that does. Parents come first.
    fn topmost(all: &[Self], fits: impl Fn(&Self) -> bool) -> Vec<&Self> {
        let mut found: Vec<&Self> = Vec::new();
        for it in all {
            if !found.iter().any(|above| it.path.starts_with(&above.path)) && fits(it) {
                found.push(it);
            }
        }
        found
    }
}

/// The host name that a process of this cgroup sees: Docker's is the id's beginning or what was
/// asked for, Kubernetes' the pod's name. Asked from inside its namespace, for no file in a
/// container can be trusted to be what it seems.
fn host_name(mount: &Mount, path: &Path) -> Option<String> {
    let folder = mount.cgroup(0, path).path;
    let processes = fs::read_to_string(folder.join("cgroup.procs")).ok()?;
    let pid: u32 = processes.lines().next()?.parse().ok()?;
    let namespace = File::open(format!("/proc/{pid}/ns/uts")).ok()?;
    // A thread of its own, which does not come back from there.
    let ask = move || {
        setns(namespace, CloneFlags::CLONE_NEWUTS).ok()?;
        gethostname().ok()?.into_string().ok()
    };
    thread::Builder::new().name("tracer-hostname".into()).spawn(ask).ok()?.join().ok()?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn existing(paths: &[&str]) -> Vec<Existing> {
        let one =
            |path: &&str| Existing { id: 0, path: path.into(), workload: Workload::of_path(path) };
        paths.iter().map(one).collect()
    }

    #[test]
    fn what_is_below_one_that_fits_is_left_out() {
        let all = existing(&["/", "/lxc/web", "/lxc/web/ns", "/lxc/web2", "/lxc/web/ns/x"]);
        let name = ContainerName::new("web").unwrap();
        let found = Existing::topmost(&all, |it| name.fits(&it.workload));
        assert_eq!(found.iter().map(|it| it.path.to_str()).collect::<Vec<_>>(), [Some("/lxc/web")]);
    }

    #[test]
    fn nothing_asked_for_is_nothing_found() {
        let containers = find(&[], false).unwrap();
        assert!(containers.found.is_empty() && containers.later.is_empty());
        assert!(matches!(
            find(&[String::new()], false),
            Err(ContainerError::Empty | ContainerError::NoMount)
        ));
    }
}
