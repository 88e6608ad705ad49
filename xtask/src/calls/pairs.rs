//! Numbers that are others in every run, and must correspond one to one.

use std::collections::HashMap;

/// What a number is a number of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// A process, a thread, a group of them.
    Pid,
    Inode,
    Port,
}

/// Pairs of numbers of two runs.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    forward: HashMap<(Kind, String), String>,
    backward: HashMap<(Kind, String), String>,
}

impl Pairs {
    /// Whether these are a pair. They become one if neither has another partner.
    pub(super) fn agree(&mut self, kind: Kind, theirs: &str, ours: &str) -> bool {
        let there = self.forward.get(&(kind, theirs.to_owned()));
        let back = self.backward.get(&(kind, ours.to_owned()));
        match (there, back) {
            (None, None) => {
                self.forward.insert((kind, theirs.to_owned()), ours.to_owned());
                self.backward.insert((kind, ours.to_owned()), theirs.to_owned());
                true
            }
            (there, _) => there.is_some_and(|it| it == ours),
        }
    }

    /// Whether the number has a partner.
    pub(super) fn knows(&self, kind: Kind, theirs: &str) -> bool {
        self.forward.contains_key(&(kind, theirs.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_one_partner() {
        let mut pairs = Pairs::default();
        assert!(pairs.agree(Kind::Pid, "7", "9"));
        assert!(pairs.agree(Kind::Pid, "7", "9"));
        assert!(!pairs.agree(Kind::Pid, "7", "8"), "another partner");
        assert!(!pairs.agree(Kind::Pid, "6", "9"), "taken");
        assert!(pairs.agree(Kind::Pid, "6", "8"), "a refusal teaches nothing");
        assert!(pairs.agree(Kind::Port, "7", "1"), "kinds are apart");
        assert!(pairs.knows(Kind::Pid, "6") && !pairs.knows(Kind::Inode, "6"));
    }
}
