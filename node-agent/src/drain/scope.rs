//! Keeps the kernel's scope map as the index says.

use aya::maps::{HashMap, MapData, MapError};
use weir_node_agent_common::config::{SCOPE_EXCLUDED, Scope};

use crate::enrich::{Index, ScopeChange};

/// The map, and the removals that must wait until no record of the cgroup is left.
pub(super) struct ScopeWriter {
    map: Option<HashMap<MapData, u64, Scope>>,
    /// Cgroup and the cut that was last closed when it was removed.
    removals: Vec<(u64, u32)>,
}

impl ScopeWriter {
    pub(super) const fn new(map: Option<HashMap<MapData, u64, Scope>>) -> Self {
        Self {
            map,
            removals: Vec::new(),
        }
    }

    /// Writes what changed. `closed` is the last closed cut: two cuts after a removal, every program that saw the
    /// cgroup has ended and its records are drained.
    pub(super) fn write(&mut self, index: &mut Index, closed: u32) {
        if !index.has_scope_changes() && self.removals.is_empty() {
            return;
        }
        let Some(map) = &mut self.map else {
            index.take_scope_changes(|_| {});
            return;
        };
        let removals = &mut self.removals;
        index.take_scope_changes(|change| match change {
            ScopeChange::Set(update) => {
                let scope = Scope {
                    profiles: update.profiles,
                    pod_index: update.pod_index,
                    container_index: update.container_index,
                    flags: if update.foreign { SCOPE_EXCLUDED } else { 0 },
                };
                if let Err(error) = map.insert(update.cgroup_id, scope, 0) {
                    // Its events stay admitted for all and are settled here.
                    tracing::warn!(%error, cgroup = update.cgroup_id, "cannot write the scope of a cgroup");
                }
            }
            ScopeChange::Remove(cgroup) => removals.push((cgroup, closed)),
        });
        removals.retain(|(cgroup, since)| {
            if closed < since + 2 {
                return true;
            }
            match map.remove(cgroup) {
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(error) => tracing::debug!(%error, cgroup, "cannot remove the scope of a cgroup"),
            }
            false
        });
    }
}
