//! Who a process is, beyond its number: cgroup, container, pod and unit, user and program.

mod cgroups;
mod name;
mod process;
mod workload;

pub use cgroups::{CgroupFacts, CgroupSource, Cgroups, OnCgroup};
pub use name::ContainerName;
pub use process::{Description, Executable, Identity, Namespaces, Owner, Resolver, Told};
pub use workload::{Qos, Runtime, Workload};
