//! What a source of pods and namespaces tells the index, as messages, so that it can live on another thread.

use std::collections::BTreeMap;

use super::index::Index;
use super::workloads::Pod;

/// One change, to be applied in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A complete list of this node's pods.
    Pods(Vec<Pod>),
    /// A pod is so.
    Pod(Box<Pod>),
    /// A pod is gone.
    PodGone {
        /// Its [`Pod::uid`].
        uid: String,
        /// Its [`Pod::cgroup_uid`].
        cgroup_uid: String,
    },
    /// A complete list of namespaces with their labels.
    Namespaces(BTreeMap<String, BTreeMap<String, String>>),
    /// A namespace has these labels.
    Namespace(String, BTreeMap<String, String>),
    /// A namespace is gone.
    NamespaceGone(String),
}

impl Index {
    /// Applies a change at boot time `now_boot_ns`.
    pub fn apply(&mut self, change: Change, now_boot_ns: u64) {
        match change {
            Change::Pods(pods) => self.pods_listed(pods, now_boot_ns),
            Change::Pod(pod) => self.pod_put(*pod),
            Change::PodGone { uid, cgroup_uid } => self.pod_deleted(&uid, &cgroup_uid, now_boot_ns),
            Change::Namespaces(namespaces) => self.namespaces_listed(namespaces),
            Change::Namespace(name, labels) => self.namespace_put(&name, labels),
            Change::NamespaceGone(name) => self.namespace_deleted(&name),
        }
    }
}
