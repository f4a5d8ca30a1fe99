//! Keeps what is known of this node's pods, from before their metadata comes until long after they are gone.
//!
//! A pod is found by the UID in its cgroups' path. It is kept while the API server has it or any of its cgroups
//! is there, and then for [`TOMBSTONE_NS`] more.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};

use super::dense::DenseIndices;

/// How long a pod outlives itself, nanoseconds: as long as an agent may be behind with what it did.
pub const TOMBSTONE_NS: u64 = 600_000_000_000;
/// Most pods kept, the gone ones included. A node runs a few hundred at most.
pub const WORKLOADS_MAX: usize = 16_384;

/// A pod's metadata, no more of it than attribution and scope need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// `metadata.uid`.
    pub uid: String,
    /// The UID in its cgroups' path: `metadata.uid`, except for a static pod's mirror, where it is the annotation
    /// `kubernetes.io/config.hash`.
    pub cgroup_uid: String,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// The controlling owner.
    pub owner: Option<Owner>,
    /// `spec.nodeName`.
    pub node: String,
    /// Containers of every sort that have been started, by id.
    pub containers: Vec<Container>,
}

/// What a pod belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Kind, such as `ReplicaSet`.
    pub kind: String,
    /// Name.
    pub name: String,
}

/// One started container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// The runtime's id, without its `containerd://` prefix.
    pub id: String,
    /// Name in the pod.
    pub name: String,
    /// Image, as the pod names it.
    pub image: String,
}

impl Pod {
    /// The container with this id.
    #[must_use]
    pub fn container(&self, id: &str) -> Option<&Container> {
        self.containers.iter().find(|container| container.id == id)
    }
}

/// A pod in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct WorkloadId(u32);

/// A pod, known by metadata, cgroups or both.
#[derive(Debug)]
pub(super) struct Workload {
    pub(super) cgroup_uid: Box<str>,
    pub(super) pod: Option<Arc<Pod>>,
    /// The API server has it.
    present: bool,
    /// Its cgroups, those just removed included.
    pub(super) cgroups: Vec<u64>,
    pub(super) index: u32,
    /// Since when neither the API server nor the kernel has it.
    idle_since_ns: Option<u64>,
}

impl Workload {
    /// Whether the cgroups are another pod's than `pod`, which says that they are its own. The pod whose UID is in their
    /// path is theirs, also after its end; a static pod, whose UID the API server does not have, is told by its present
    /// mirror, and only the kubelet's next one follows that.
    fn belongs_to_another(&self, pod: &Pod) -> bool {
        let owned = pod.uid == pod.cgroup_uid;
        self.pod.as_ref().is_some_and(|known| {
            known.uid != pod.uid && !owned && (self.present || known.uid == known.cgroup_uid)
        })
    }
}

/// What the table did, monotonic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WorkloadCounts {
    /// Gone pods given up before their time because the table was full.
    pub evicted: u64,
    /// Pods not taken in because the table was full of present ones.
    pub refused: u64,
    /// Pods that said they were another pod's mirror, and were not believed.
    pub impostors: u64,
}

/// The pods of this node. One owner; bounded by [`WORKLOADS_MAX`].
#[derive(Debug, Default)]
pub(super) struct Workloads {
    by_uid: HashMap<Box<str>, WorkloadId, RandomState>,
    entries: Vec<Option<Workload>>,
    free: Vec<u32>,
    /// Pods by when they became idle; entries that came back to life are stale.
    idle: VecDeque<(u64, WorkloadId)>,
    pub(super) indices: DenseIndices,
    pub(super) counts: WorkloadCounts,
}

impl Workloads {
    pub(super) fn get(&self, id: WorkloadId) -> Option<&Workload> {
        self.entries.get(id.0 as usize)?.as_ref()
    }

    pub(super) fn find(&self, cgroup_uid: &str) -> Option<WorkloadId> {
        self.by_uid.get(cgroup_uid).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.by_uid.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Workload> {
        self.entries.iter().flatten()
    }

    /// A cgroup of the pod appeared.
    pub(super) fn attach(&mut self, cgroup_uid: &str, cgroup: u64) -> Option<WorkloadId> {
        let id = self.find(cgroup_uid).or_else(|| self.insert(cgroup_uid))?;
        let workload = self.get_mut(id)?;
        workload.cgroups.push(cgroup);
        workload.idle_since_ns = None;
        Some(id)
    }

    /// A cgroup of the pod is forgotten.
    pub(super) fn detach(&mut self, id: WorkloadId, cgroup: u64, now_ns: u64) {
        if let Some(workload) = self.get_mut(id) {
            workload.cgroups.retain(|&known| known != cgroup);
        }
        self.note_idle(id, now_ns);
    }

    /// The API server has this pod, so. `None` if it is not taken: for want of room, or because the cgroups that it says
    /// are its own are another pod's.
    pub(super) fn put(&mut self, pod: Pod) -> Option<WorkloadId> {
        let known = self.find(&pod.cgroup_uid).and_then(|id| self.get(id));
        if known.is_some_and(|workload| workload.belongs_to_another(&pod)) {
            self.counts.impostors += 1;
            return None;
        }
        let id = self
            .find(&pod.cgroup_uid)
            .or_else(|| self.insert(&pod.cgroup_uid))?;
        let workload = self.get_mut(id)?;
        let mut pod = pod;
        // A restarted container's predecessor leaves the status before its last events are looked at.
        if let Some(old) = &workload.pod
            && (old.uid == pod.uid || pod.uid != pod.cgroup_uid)
        {
            keep_former_containers(&mut pod, old);
        }
        workload.pod = Some(Arc::new(pod));
        workload.present = true;
        workload.idle_since_ns = None;
        Some(id)
    }

    /// The API server no longer has the pod with this UID and cgroup UID. Its metadata stays. Another pod's deletion says
    /// nothing.
    pub(super) fn delete(&mut self, uid: &str, cgroup_uid: &str, now_ns: u64) {
        let Some(id) = self.find(cgroup_uid) else { return };
        if let Some(workload) = self.get_mut(id)
            && workload.pod.as_ref().is_some_and(|pod| pod.uid == uid)
        {
            workload.present = false;
            self.note_idle(id, now_ns);
        }
    }

    /// Forgets pods that have been gone for long enough.
    pub(super) fn expire(&mut self, now_ns: u64) {
        while self
            .idle
            .front()
            .is_some_and(|&(since, _)| since.saturating_add(TOMBSTONE_NS) <= now_ns)
        {
            self.bury_oldest();
        }
    }

    fn get_mut(&mut self, id: WorkloadId) -> Option<&mut Workload> {
        self.entries.get_mut(id.0 as usize)?.as_mut()
    }

    fn note_idle(&mut self, id: WorkloadId, now_ns: u64) {
        if let Some(workload) = self.get_mut(id)
            && !workload.present
            && workload.cgroups.is_empty()
            && workload.idle_since_ns.is_none()
        {
            workload.idle_since_ns = Some(now_ns);
            self.idle.push_back((now_ns, id));
            self.drop_stale_idle();
        }
    }

    /// A pod that goes idle and comes back again and again must not grow the queue.
    fn drop_stale_idle(&mut self) {
        if self.idle.len() > 2 * WORKLOADS_MAX {
            let entries = &self.entries;
            self.idle.retain(|&(since, id)| is_idle_since(entries, id, since));
        }
    }

    fn insert(&mut self, cgroup_uid: &str) -> Option<WorkloadId> {
        while self.by_uid.len() >= WORKLOADS_MAX {
            if self.idle.is_empty() {
                self.counts.refused += 1;
                return None;
            }
            self.counts.evicted += u64::from(self.bury_oldest());
        }
        let workload = Workload {
            cgroup_uid: cgroup_uid.into(),
            pod: None,
            present: false,
            cgroups: Vec::new(),
            index: self.indices.acquire(),
            idle_since_ns: None,
        };
        let id = if let Some(index) = self.free.pop() {
            if let Some(place) = self.entries.get_mut(index as usize) {
                *place = Some(workload);
            }
            WorkloadId(index)
        } else {
            self.entries.push(Some(workload));
            WorkloadId(u32::try_from(self.entries.len() - 1).ok()?)
        };
        self.by_uid.insert(cgroup_uid.into(), id);
        Some(id)
    }

    fn bury_oldest(&mut self) -> bool {
        let Some((since, id)) = self.idle.pop_front() else {
            return false;
        };
        if !is_idle_since(&self.entries, id, since) {
            return false;
        }
        if let Some(workload) = self.entries.get_mut(id.0 as usize).and_then(Option::take) {
            self.by_uid.remove(&workload.cgroup_uid);
            self.indices.release(workload.index);
            self.free.push(id.0);
        }
        true
    }
}

fn is_idle_since(entries: &[Option<Workload>], id: WorkloadId, since: u64) -> bool {
    entries
        .get(id.0 as usize)
        .and_then(Option::as_ref)
        .is_some_and(|workload| workload.idle_since_ns == Some(since))
}

/// Former containers kept per pod: a crash loop must not grow it.
const FORMER_CONTAINERS: usize = 16;

fn keep_former_containers(pod: &mut Pod, old: &Pod) {
    let former: Vec<Container> = old
        .containers
        .iter()
        .filter(|container| pod.container(&container.id).is_none())
        .cloned()
        .collect();
    // The current ones lead, so what was former before is last and the first to go.
    pod.containers.extend(former.into_iter().take(FORMER_CONTAINERS));
}

#[cfg(test)]
mod tests;
