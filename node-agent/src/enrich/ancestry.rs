//! The agent's own cgroup and those above it, by id and by path from the hierarchy's root. Pure.

use weir_node_agent_common::cgroup::Ancestor;

/// A cgroup's way up to the hierarchy's root, as the kernel sees it. What the agent itself reads in `/proc` begins where
/// its cgroup namespace does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ancestry {
    path: Vec<u8>,
    /// Id and length of its path; the root first.
    levels: Vec<(u64, usize)>,
}

impl Ancestry {
    /// Of a cgroup and those above it, in this order. `None` if they do not reach the root, which alone has no name.
    #[must_use]
    pub fn new(own_first: &[Ancestor]) -> Option<Self> {
        let name = |ancestor: &Ancestor| {
            let name = ancestor.name.split(|byte| *byte == 0).next();
            name.unwrap_or_default().to_vec()
        };
        let (root, below) = own_first.split_last()?;
        if !name(root).is_empty() {
            return None;
        }
        let mut path = Vec::new();
        let mut levels = vec![(root.id, 0)];
        for ancestor in below.iter().rev() {
            path.push(b'/');
            path.extend(name(ancestor));
            levels.push((ancestor.id, path.len()));
        }
        Some(Self { path, levels })
    }

    /// The path of the agent's own cgroup; empty for the root.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// The path of the one with this id.
    #[must_use]
    pub fn path_of(&self, id: u64) -> Option<&[u8]> {
        let (_, len) = self.levels.iter().find(|(level, _)| *level == id)?;
        self.path.get(..*len)
    }

    /// The id of the one whose path is so long.
    #[must_use]
    pub fn id_at(&self, len: usize) -> Option<u64> {
        let level = self.levels.iter().find(|(_, end)| *end == len);
        level.map(|(id, _)| *id)
    }
}

#[cfg(test)]
pub(super) fn ancestor(id: u64, name: &str) -> Ancestor {
    let mut ancestor = Ancestor { id, name: [0; 256] };
    ancestor.name[..name.len()].copy_from_slice(name.as_bytes());
    ancestor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ancestry_has_every_level_by_id_and_by_path() {
        let own = [ancestor(40, "scope"), ancestor(7, "docker"), ancestor(1, "")];
        let own = Ancestry::new(&own).unwrap();
        assert_eq!(own.path(), b"/docker/scope");
        for (id, path) in [(1, ""), (7, "/docker"), (40, "/docker/scope")] {
            assert_eq!(own.path_of(id), Some(path.as_bytes()));
            assert_eq!(own.id_at(path.len()), Some(id));
        }
        assert_eq!((own.path_of(8), own.id_at(3)), (None, None));
        let root = Ancestry::new(&[ancestor(1, "")]).unwrap();
        assert_eq!((root.path(), root.id_at(0)), (&b""[..], Some(1)));
    }

    #[test]
    fn ancestry_that_does_not_reach_the_root_is_none() {
        assert_eq!(
            Ancestry::new(&[ancestor(40, "scope"), ancestor(7, "docker")]),
            None
        );
        assert_eq!(Ancestry::new(&[]), None);
    }
}
