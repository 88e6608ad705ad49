//! Cgroups in scope: a set in the kernel that changes while programs run.

use aya::maps::{HashMap, Map, MapData, MapError};
use tracer_common::{
    abi::map,
    scope::{CGROUP_LIMIT, control},
};

use super::{KernelError, cgroup::Cgroup, control::Control};

/// The set. A call is in scope when its thread was, as it entered the call, in one of these or
/// below.
#[derive(Debug)]
pub struct CgroupScope {
    set: HashMap<MapData, u64, u8>,
    control: Control,
    members: Vec<Cgroup>,
}

impl CgroupScope {
    /// `first` are in the set already.
    pub(super) fn new(map: Map, control: Control, first: &[Cgroup]) -> Result<Self, KernelError> {
        let at = |source| KernelError::Map { map: map::CGROUPS, source };
        let set = HashMap::try_from(map).map_err(at)?;
        let levels = first.iter().fold(0, |all, cgroup| all | cgroup.levels);
        control.set(control::CGROUP_LEVELS, levels.into());
        Ok(Self { set, control, members: first.to_vec() })
    }

    /// Takes a cgroup into scope, with all below it; says whether it was not in it.
    pub fn add(&mut self, cgroup: &Cgroup) -> Result<bool, KernelError> {
        if self.members.iter().any(|member| member.id == cgroup.id) {
            return Ok(false);
        }
        if self.members.len() >= CGROUP_LIMIT as usize {
            return Err(KernelError::TooManyCgroups(CGROUP_LIMIT));
        }
        self.control.set(control::EDITED, 1);
        // Its level must be looked at before it is found there. Levels are never taken away: one
        // more costs a look.
        let levels = self.control.get(control::CGROUP_LEVELS) | u64::from(cgroup.levels);
        self.control.set(control::CGROUP_LEVELS, levels);
        let at = |source| KernelError::Map { map: map::CGROUPS, source };
        self.set.insert(cgroup.id, 1, 0).map_err(at)?;
        self.members.push(cgroup.clone());
        Ok(true)
    }

    /// Takes a cgroup out of scope; says whether it was in it. One that has been removed meanwhile
    /// can be taken out by its path.
    pub fn remove(&mut self, is_meant: impl Fn(&Cgroup) -> bool) -> Result<bool, KernelError> {
        let Some(at) = self.members.iter().position(is_meant) else { return Ok(false) };
        self.control.set(control::EDITED, 1);
        let cgroup = self.members.swap_remove(at);
        let at = |source| KernelError::Map { map: map::CGROUPS, source };
        match self.set.remove(&cgroup.id) {
            Ok(()) | Err(MapError::KeyNotFound) => Ok(true),
            Err(error) => Err(at(error)),
        }
    }

    /// Those in scope.
    pub fn members(&self) -> &[Cgroup] {
        &self.members
    }
}
