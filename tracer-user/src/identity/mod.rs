//! Who a process is, beyond its number and program: cgroup, container, pod and unit, and the names
//! of users.

mod cgroups;
mod name;
mod process;
mod program;
mod users;
mod workload;

pub use cgroups::{CgroupFacts, CgroupSource, Cgroups, OnCgroup};
pub use name::ContainerName;
pub use process::{Description, Identity, Namespaces, Owner, Resolver};
pub use program::{Executable, Filename, Program};
pub use workload::{Qos, Runtime, Workload};
