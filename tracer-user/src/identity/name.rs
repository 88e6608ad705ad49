//! A container as people name it.

use super::Workload;

/// Fewest digits of an id that are taken for one.
const SHORTEST_ID: usize = 4;

/// A container by the beginning of its id, at least four digits, or by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerName(String);

impl ContainerName {
    /// `None` for an empty name.
    pub fn new(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the processes of a cgroup are in this container, as far as its path tells.
    pub fn fits(&self, workload: &Workload) -> bool {
        let by_id = self.0.len() >= SHORTEST_ID
            && workload.container_id.as_deref().is_some_and(|id| id.starts_with(&self.0));
        by_id || workload.container_name.as_deref() == Some(self.0.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_names_are_found() {
        let id = "0123456789abcdef".repeat(4);
        let docker = Workload::of_path(&format!("/docker/{id}"));
        let lxc = Workload::of_path("/lxc.payload.web");
        let fits = |name: &str, it: &Workload| ContainerName::new(name).unwrap().fits(it);
        assert!(fits("0123", &docker) && fits(&id, &docker) && fits("web", &lxc));
        assert!(!fits("012", &docker) && !fits("1234", &docker) && !fits("we", &lxc));
        assert!(!fits("0123", &Workload::default()));
        assert_eq!(ContainerName::new(""), None);
    }
}
