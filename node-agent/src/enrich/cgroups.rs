//! The table of cgroups by id: what each one is, also for a while after it was removed.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use foldhash::fast::RandomState;
use weir_events::{Attribution, WorkloadRef};

use super::cgroup_path::Identity;
use super::scope::Decision;
use super::workloads::WorkloadId;

/// Most cgroups kept, removed ones included.
pub const CGROUPS_MAX: usize = 32_768;
/// How long a removed cgroup is kept: its last records may still be in a ring or held.
pub const TOMBSTONE_NS: u64 = 60_000_000_000;

/// What is known of a cgroup, resolved once so that an event costs one lookup.
#[derive(Debug)]
pub struct CgroupEntry {
    /// From its path. Of a foreign cgroup, meaningless.
    pub identity: Identity,
    /// It is not under this node's cgroup root: another node's, or nobody's.
    pub foreign: bool,
    /// It was removed.
    pub removed: bool,
    /// How sure `workload` is.
    pub attribution: Attribution,
    /// Its pod and container, as events carry them.
    pub workload: Option<Arc<WorkloadRef>>,
    /// Which profiles take its events, per side of the configuration.
    pub decisions: [Decision; 2],
    /// Dense index of its pod.
    pub pod_index: u32,
    /// Dense index of its container.
    pub container_index: u32,
    pub(super) workload_id: Option<WorkloadId>,
    /// The kernel has not been told of its present state.
    pub(super) dirty: bool,
}

/// What the table did, monotonic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CgroupCounts {
    /// Removed cgroups given up before their time because the table was full.
    pub evicted: u64,
    /// Cgroups not taken in because the table was full of existing ones: their events stay `unknown`.
    pub refused: u64,
}

/// Cgroups by id. Bounded by [`CGROUPS_MAX`].
#[derive(Debug, Default)]
pub(super) struct Cgroups {
    entries: HashMap<u64, CgroupEntry, RandomState>,
    tombstones: VecDeque<(u64, u64)>,
    pub(super) counts: CgroupCounts,
}

impl Cgroups {
    pub(super) fn get(&self, id: u64) -> Option<&CgroupEntry> {
        self.entries.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut CgroupEntry> {
        self.entries.get_mut(&id)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = u64> {
        self.entries.keys().copied()
    }

    /// The oldest removed cgroup, if the table is full and something must go first.
    pub(super) fn make_room(&mut self) -> Room {
        if self.entries.len() < CGROUPS_MAX {
            return Room::Free;
        }
        if let Some((_, id)) = self.tombstones.pop_front() {
            self.counts.evicted += 1;
            Room::Evict(id)
        } else {
            self.counts.refused += 1;
            Room::Full
        }
    }

    pub(super) fn insert(&mut self, id: u64, entry: CgroupEntry) {
        self.entries.insert(id, entry);
    }

    /// Marks it removed; true the first time.
    pub(super) fn mark_removed(&mut self, id: u64, now_ns: u64) -> bool {
        let Some(entry) = self.entries.get_mut(&id).filter(|entry| !entry.removed) else {
            return false;
        };
        entry.removed = true;
        self.tombstones
            .push_back((now_ns.saturating_add(TOMBSTONE_NS), id));
        true
    }

    /// The next removed cgroup whose time is over.
    pub(super) fn next_expired(&mut self, now_ns: u64) -> Option<u64> {
        self.tombstones
            .pop_front_if(|&mut (expires, _)| expires <= now_ns)
            .map(|(_, id)| id)
    }

    pub(super) fn forget(&mut self, id: u64) -> Option<CgroupEntry> {
        self.entries.remove(&id)
    }
}

/// Whether there is room for one more cgroup.
pub(super) enum Room {
    Free,
    /// Once this one is forgotten.
    Evict(u64),
    Full,
}
