//! Joins cgroups, pods, namespaces and scope rules, so that an event's workload and scope are one lookup away.
//!
//! One owner, the drain thread; no clock and no I/O: boot time is passed in. What the kernel must be told is
//! collected, and taken with [`Index::take_scope_changes`].

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::fast::RandomState;
use weir_events::{Attribution, Workload as WorkloadFacts, WorkloadRef};

use super::cgroup_path::{Identity, parse};
use super::cgroups::{CgroupCounts, CgroupEntry, Cgroups, Room};
use super::dense::{DenseIndices, HOST_INDEX, SHARED_INDEX};
use super::reference;
use super::root::CgroupRoot;
use super::scope::{Candidate, Decision, PodFacts, ProfileScope, decide};
use super::workloads::{Pod, Workload, WorkloadCounts, Workloads};

/// Most namespaces whose labels are kept.
pub const NAMESPACES_MAX: usize = 16_384;

/// What the kernel's scope map must hold for a cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScopeUpdate {
    /// The cgroup.
    pub cgroup_id: u64,
    /// Profiles to admit, per side: all that are not known to be out.
    pub profiles: [u64; 2],
    /// Dense index of its pod.
    pub pod_index: u32,
    /// Dense index of its container.
    pub container_index: u32,
    /// Another node's: nothing of it is admitted, and that is counted apart.
    pub foreign: bool,
}

/// A change for the kernel's scope map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScopeChange {
    /// Write this entry.
    Set(ScopeUpdate),
    /// The cgroup was removed: delete its entry, after `grace()` and the drain of its records.
    Remove(u64),
}

/// How full the tables are, and what did not fit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IndexCounts {
    /// Of the cgroup table.
    pub cgroups: CgroupCounts,
    /// Of the pod table.
    pub workloads: WorkloadCounts,
    /// Times that no dense pod index was free.
    pub pod_index_overflows: u64,
    /// Times that no dense container index was free.
    pub container_index_overflows: u64,
    /// Namespaces not kept because [`NAMESPACES_MAX`] were.
    pub namespaces_refused: u64,
    /// Pods that have no dense index of their own now: they share one bucket of every limit per pod.
    pub pods_sharing: u64,
    /// Containers, likewise.
    pub containers_sharing: u64,
}

/// The index's counts for other threads, as of at most a second ago. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct SharedCounts(Arc<Mutex<IndexCounts>>);

impl SharedCounts {
    /// What they are.
    #[must_use]
    pub fn get(&self) -> IndexCounts {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, counts: IndexCounts) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = counts;
    }
}

#[derive(Debug)]
struct ContainerIndex {
    index: u32,
    /// Its own cgroup and those below it.
    cgroups: u32,
}

/// Everything that attribution knows of cgroups and pods.
#[derive(Debug)]
pub struct Index {
    root: CgroupRoot,
    cgroups: Cgroups,
    workloads: Workloads,
    containers: HashMap<Box<str>, ContainerIndex, RandomState>,
    container_indices: DenseIndices,
    namespaces: HashMap<Box<str>, BTreeMap<String, String>, RandomState>,
    namespaces_refused: u64,
    rules: [Vec<ProfileScope>; 2],
    dirty: Vec<u64>,
    shared_counts: SharedCounts,
    /// Stands for the next workload content in the batches' tables; never used twice.
    next_identity: u32,
}

impl Index {
    /// Knows nothing yet. What is not under `root` is foreign.
    #[must_use]
    pub fn new(root: CgroupRoot) -> Self {
        Self {
            root,
            cgroups: Cgroups::default(),
            workloads: Workloads::default(),
            containers: HashMap::default(),
            container_indices: DenseIndices::default(),
            namespaces: HashMap::default(),
            namespaces_refused: 0,
            rules: [Vec::new(), Vec::new()],
            dirty: Vec::new(),
            shared_counts: SharedCounts::default(),
            next_identity: 1,
        }
    }

    /// What is known of a cgroup; `None` for one that nobody told of yet: hold the event, then call it
    /// [`Attribution::Late`] or unknown. Costs one hash lookup and allocates nothing.
    #[must_use]
    pub fn cgroup(&self, id: u64) -> Option<&CgroupEntry> {
        self.cgroups.get(id)
    }

    /// Cgroups held, those just removed included.
    #[must_use]
    pub fn cgroups_len(&self) -> usize {
        self.cgroups.len()
    }

    /// Pods held, those gone included.
    #[must_use]
    pub fn pods_len(&self) -> usize {
        self.workloads.len()
    }

    /// What did not fit.
    #[must_use]
    pub fn counts(&self) -> IndexCounts {
        IndexCounts {
            cgroups: self.cgroups.counts,
            workloads: self.workloads.counts,
            pod_index_overflows: self.workloads.indices.overflowed(),
            container_index_overflows: self.container_indices.overflowed(),
            namespaces_refused: self.namespaces_refused,
            pods_sharing: self.workloads.indices.sharing(),
            containers_sharing: self.container_indices.sharing(),
        }
    }

    /// The same for other threads, brought up to date by [`Self::expire`].
    #[must_use]
    pub fn shared_counts(&self) -> SharedCounts {
        self.shared_counts.clone()
    }

    /// A cgroup exists: from a mkdir record or the first walk. `path` is from the hierarchy's root. A removed cgroup
    /// is not revived (ids are not reused): the walk may see it before, and be applied after, its removal.
    pub fn cgroup_made(&mut self, id: u64, path: &[u8], now_boot_ns: u64) {
        if self.cgroups.get(id).is_some() {
            return;
        }
        match self.cgroups.make_room() {
            Room::Free => {}
            Room::Evict(oldest) => self.forget(oldest, now_boot_ns),
            Room::Full => return,
        }
        let (foreign, identity) = match self.root.relative(path) {
            Some(relative) => (false, parse(relative)),
            None => (true, Identity::Host),
        };
        let workload_id = identity.pod().and_then(|pod| self.workloads.attach(&pod.uid, id));
        let container_index = match (&identity, foreign) {
            (_, true) | (Identity::Pod(_), false) => SHARED_INDEX,
            (Identity::Host, false) => HOST_INDEX,
            (Identity::Container(_, container), false) => self.acquire_container(&container.id),
        };
        let entry = CgroupEntry {
            identity,
            foreign,
            removed: false,
            attribution: Attribution::Unknown,
            workload: None,
            decisions: [Decision::default(); 2],
            pod_index: SHARED_INDEX,
            container_index,
            workload_id,
            dirty: false,
        };
        self.cgroups.insert(id, entry);
        self.resolve(id);
        self.mark_dirty(id);
    }

    /// A cgroup was removed: from an rmdir record. It is kept for a while, also if it was never told of.
    pub fn cgroup_removed(&mut self, id: u64, path: &[u8], now_boot_ns: u64) {
        self.cgroup_made(id, path, now_boot_ns);
        if self.cgroups.mark_removed(id, now_boot_ns) {
            self.mark_dirty(id);
        }
    }

    /// The API server has this pod, so: from the first list, an addition or a change.
    pub fn pod_put(&mut self, pod: Pod) {
        if let Some(id) = self.workloads.put(pod) {
            let cgroups = self
                .workloads
                .get(id)
                .map(|workload| workload.cgroups.clone())
                .unwrap_or_default();
            for cgroup in cgroups {
                self.resolve(cgroup);
            }
        }
    }

    /// The API server no longer has the pod with this UID and this [`Pod::cgroup_uid`]. What is known of it stays for a
    /// while.
    pub fn pod_deleted(&mut self, uid: &str, cgroup_uid: &str, now_boot_ns: u64) {
        self.workloads.delete(uid, cgroup_uid, now_boot_ns);
    }

    /// A complete list of this node's pods: those not in it are gone.
    pub fn pods_listed(&mut self, pods: Vec<Pod>, now_boot_ns: u64) {
        let identity = |pod: &Pod| (pod.uid.clone(), pod.cgroup_uid.clone());
        let listed: HashSet<(String, String)> = pods.iter().map(identity).collect();
        let gone: Vec<Arc<Pod>> = self
            .workloads
            .iter()
            .filter_map(|workload| workload.pod.clone())
            .filter(|pod| !listed.contains(&identity(pod)))
            .collect();
        for pod in gone {
            self.workloads.delete(&pod.uid, &pod.cgroup_uid, now_boot_ns);
        }
        for pod in pods {
            self.pod_put(pod);
        }
    }

    /// A namespace exists with these labels. A deleted one need not be told: its pods are gone before it.
    pub fn namespace_put(&mut self, name: &str, labels: BTreeMap<String, String>) {
        if self.namespaces.get(name) == Some(&labels) {
            return;
        }
        if self.namespaces.len() >= NAMESPACES_MAX && !self.namespaces.contains_key(name) {
            self.namespaces_refused += 1;
            return;
        }
        self.namespaces.insert(name.into(), labels);
        let concerned: Vec<u64> = self
            .workloads
            .iter()
            .filter(|workload| workload.pod.as_ref().is_some_and(|pod| pod.namespace == name))
            .flat_map(|workload| workload.cgroups.iter().copied())
            .collect();
        for cgroup in concerned {
            self.decide(cgroup);
        }
    }

    /// A complete list of namespaces: those not in it are gone.
    pub fn namespaces_listed(&mut self, namespaces: BTreeMap<String, BTreeMap<String, String>>) {
        self.namespaces.retain(|name, _| namespaces.contains_key(&**name));
        for (name, labels) in namespaces {
            self.namespace_put(&name, labels);
        }
    }

    /// A namespace is gone from the API server.
    pub fn namespace_deleted(&mut self, name: &str) {
        self.namespaces.remove(name);
    }

    /// The scope rules of one side (0 or 1) of the configuration. The other side's stay: events that it admitted are
    /// judged by it until they are drained.
    pub fn set_rules(&mut self, side: usize, rules: Vec<ProfileScope>) {
        let Some(place) = self.rules.get_mut(side & 1) else {
            return;
        };
        *place = rules;
        let all: Vec<u64> = self.cgroups.ids().collect();
        for cgroup in all {
            self.decide(cgroup);
        }
    }

    /// Forgets what has been gone for long enough. Call about every second.
    pub fn expire(&mut self, now_boot_ns: u64) {
        while let Some(id) = self.cgroups.next_expired(now_boot_ns) {
            self.forget(id, now_boot_ns);
        }
        self.workloads.expire(now_boot_ns);
        self.shared_counts.set(self.counts());
    }

    /// There is something for [`Self::take_scope_changes`].
    #[must_use]
    pub fn has_scope_changes(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Hands over what the kernel's scope map must learn, each cgroup at most once, by its latest state.
    pub fn take_scope_changes(&mut self, mut take: impl FnMut(ScopeChange)) {
        for id in self.dirty.drain(..) {
            let Some(entry) = self.cgroups.get_mut(id) else {
                take(ScopeChange::Remove(id));
                continue;
            };
            entry.dirty = false;
            take(if entry.removed {
                ScopeChange::Remove(id)
            } else {
                ScopeChange::Set(entry.update(id))
            });
        }
    }

    /// Resolves a cgroup anew from all that is known of its workload.
    fn resolve(&mut self, id: u64) {
        let Some(entry) = self.cgroups.get_mut(id) else {
            return;
        };
        let workload = entry
            .workload_id
            .and_then(|workload| self.workloads.get(workload));
        let facts = Facts::of(entry, workload);
        let (
            before,
            Facts {
                attribution,
                workload,
                pod_index,
            },
        ) = (entry.pod_index, facts);
        entry.attribution = attribution;
        entry.pod_index = pod_index;
        // The same content keeps its encoding and its identity.
        if entry.workload.as_deref().map(WorkloadRef::workload) != workload.as_ref() {
            entry.workload = workload.map(|facts| {
                self.next_identity = self.next_identity.wrapping_add(1);
                Arc::new(WorkloadRef::new(self.next_identity, facts))
            });
        }
        if before != pod_index {
            self.mark_dirty(id);
        }
        self.decide(id);
    }

    /// Decides anew which profiles take a cgroup's events; tells the kernel if what it must know changed.
    fn decide(&mut self, id: u64) {
        let Some(entry) = self.cgroups.get_mut(id) else {
            return;
        };
        let pod = entry
            .workload_id
            .and_then(|workload| self.workloads.get(workload)?.pod.as_deref());
        let candidate = if entry.identity.pod().is_none() {
            Candidate::Host
        } else {
            Candidate::Pod(pod.map(|pod| PodFacts {
                namespace: &pod.namespace,
                labels: &pod.labels,
                namespace_labels: self.namespaces.get(pod.namespace.as_str()),
            }))
        };
        let decisions = if entry.foreign {
            [Decision::default(); 2]
        } else {
            self.rules.each_ref().map(|rules| decide(rules, candidate))
        };
        let before = std::mem::replace(&mut entry.decisions, decisions);
        if before.map(Decision::admitted) != decisions.map(Decision::admitted) {
            self.mark_dirty(id);
        }
    }

    fn mark_dirty(&mut self, id: u64) {
        if let Some(entry) = self.cgroups.get_mut(id)
            && !entry.dirty
        {
            entry.dirty = true;
            self.dirty.push(id);
        }
    }

    fn acquire_container(&mut self, id: &str) -> u32 {
        if let Some(known) = self.containers.get_mut(id) {
            known.cgroups += 1;
            return known.index;
        }
        let index = self.container_indices.acquire();
        self.containers
            .insert(id.into(), ContainerIndex { index, cgroups: 1 });
        index
    }

    fn forget(&mut self, id: u64, now_boot_ns: u64) {
        let Some(entry) = self.cgroups.forget(id) else {
            return;
        };
        if let Some(workload) = entry.workload_id {
            self.workloads.detach(workload, id, now_boot_ns);
        }
        if let Some(container) = entry.identity.container().filter(|_| !entry.foreign)
            && let Some(known) = self.containers.get_mut(&container.id)
        {
            known.cgroups -= 1;
            if known.cgroups == 0 {
                self.container_indices.release(known.index);
                self.containers.remove(&container.id);
            }
        }
    }
}

impl CgroupEntry {
    fn update(&self, cgroup_id: u64) -> ScopeUpdate {
        ScopeUpdate {
            cgroup_id,
            profiles: self.decisions.map(Decision::admitted),
            pod_index: self.pod_index,
            container_index: self.container_index,
            foreign: self.foreign,
        }
    }
}

/// The part of a cgroup's entry that follows from its pod.
struct Facts {
    attribution: Attribution,
    workload: Option<WorkloadFacts>,
    pod_index: u32,
}

impl Facts {
    fn of(entry: &CgroupEntry, workload: Option<&Workload>) -> Self {
        if entry.foreign {
            return Self {
                attribution: Attribution::Unknown,
                workload: None,
                pod_index: SHARED_INDEX,
            };
        }
        let Some(pod_cgroup) = entry.identity.pod() else {
            return Self {
                attribution: Attribution::Host,
                workload: None,
                pod_index: HOST_INDEX,
            };
        };
        let pod = workload.and_then(|workload| workload.pod.as_deref());
        let id = entry.identity.container().map(|container| &*container.id);
        let container = pod.zip(id).and_then(|(pod, id)| pod.container(id));
        Self {
            attribution: if container.is_some() {
                Attribution::Exact
            } else {
                Attribution::Pod
            },
            workload: Some(reference::workload(&pod_cgroup.uid, pod, id, container)),
            pod_index: workload.map_or(SHARED_INDEX, |workload| workload.index),
        }
    }
}

#[cfg(test)]
mod tests;
