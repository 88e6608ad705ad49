//! Who a process is, beyond its number: cgroup, container, pod and unit.

mod cgroups;
mod name;
mod workload;

pub use cgroups::{CgroupFacts, CgroupSource, Cgroups, OnCgroup};
pub use name::ContainerName;
pub use workload::{Qos, Runtime, Workload};
