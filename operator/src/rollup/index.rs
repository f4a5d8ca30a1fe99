//! What is known of every node: the node itself, its agent's pods, and what its agent last reported.

use std::collections::{BTreeMap, BTreeSet};

use weir_profile::CollectorNodeStatus;
use weir_profile::api::{ConditionReason, NodeProfile, NodeSink};

/// A node that has not reported is expected to only when it is older than this: images are pulled, pods start.
pub const SILENT_SECONDS: i64 = 120;

/// What matters of a Node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its labels, for selectors.
    pub labels: BTreeMap<String, String>,
    /// When it was created, seconds since 1970.
    pub created: i64,
    /// Whether the operator's settings let an agent run there.
    pub eligible: bool,
}

/// What matters of an agent's pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentPod {
    /// The node it runs on or is meant for.
    pub node: String,
    /// Its UID: a report says which pod wrote it.
    pub uid: String,
    /// Its Ready condition: the kubelet's word on whether the agent is alive.
    pub ready: bool,
    /// Why it does not start, where the reason is one that a user can mend.
    pub trouble: Option<(ConditionReason, String)>,
}

/// What an agent last reported, without what no profile's status needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The pod that wrote it.
    pub pod_uid: Option<String>,
    /// What the node does for each profile, by name.
    pub profiles: BTreeMap<String, NodeProfile>,
    /// The node's connection to each sink, by name.
    pub sinks: BTreeMap<String, NodeSink>,
    /// Node clock minus API server clock, when it is off.
    pub clock_skew: Option<i64>,
}

impl Report {
    /// Keeps what the rollup needs of a status; `None` when the agent has not written one yet.
    #[must_use]
    pub fn of(status: Option<CollectorNodeStatus>) -> Option<Self> {
        let CollectorNodeStatus {
            summary: _,
            agent_version: _,
            kernel: _,
            boot_id: _,
            pod_uid,
            epoch: _,
            capabilities: _,
            hooks: _,
            profiles,
            sinks,
            window: _,
            clock_skew_seconds,
        } = status?;
        Some(Self {
            pod_uid,
            profiles: profiles
                .into_iter()
                .map(|profile| (profile.name.clone(), profile))
                .collect(),
            sinks: sinks.into_iter().map(|sink| (sink.name.clone(), sink)).collect(),
            clock_skew: clock_skew_seconds,
        })
    }
}

/// Which profiles' status may have changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Touched {
    /// None.
    #[default]
    None,
    /// These, by name.
    Some(BTreeSet<String>),
    /// Perhaps all.
    All,
}

/// The last word of every node. Each key is set by one kind of object alone, so that the order in which they arrive
/// does not matter.
#[derive(Clone, Debug, Default)]
pub struct Index {
    pub(super) nodes: BTreeMap<String, NodeFacts>,
    pub(super) pods: BTreeMap<String, AgentPod>,
    pub(super) reports: BTreeMap<String, Report>,
    /// Names of the pods of each node; follows `pods`.
    pub(super) pods_of: BTreeMap<String, BTreeSet<String>>,
}

impl Index {
    /// Sets or forgets a node.
    pub fn set_node(&mut self, name: &str, facts: Option<NodeFacts>) -> Touched {
        if replace(&mut self.nodes, name, facts) {
            Touched::All
        } else {
            Touched::None
        }
    }

    /// Sets or forgets an agent's pod.
    pub fn set_pod(&mut self, name: &str, pod: Option<AgentPod>) -> Touched {
        let old = self.pods.get(name).map(|pod| pod.node.clone());
        let new = pod.as_ref().map(|pod| pod.node.clone());
        if !replace(&mut self.pods, name, pod) {
            return Touched::None;
        }
        if let Some(node) = old.as_ref().filter(|old| Some(*old) != new.as_ref())
            && let Some(pods) = self.pods_of.get_mut(node)
        {
            pods.remove(name);
            if pods.is_empty() {
                self.pods_of.remove(node);
            }
        }
        if let Some(node) = new {
            self.pods_of.entry(node).or_default().insert(name.to_owned());
        }
        Touched::All
    }

    /// Sets or forgets what a node's agent reports.
    pub fn set_report(&mut self, node: &str, report: Option<Report>) -> Touched {
        let old = self.reports.get(node);
        if old == report.as_ref() {
            return Touched::None;
        }
        let touched = match (old, &report) {
            // Sinks and clocks concern every profile of the node; a first report concerns profiles it does not name.
            (Some(old), Some(new)) if old.pod_uid == new.pod_uid => {
                Touched::Some(old.profiles.keys().chain(new.profiles.keys()).cloned().collect())
            }
            _ => Touched::All,
        };
        replace(&mut self.reports, node, report);
        touched
    }

    /// Forgets the nodes, pods or reports that a complete list did not hold.
    pub fn retain_nodes(&mut self, listed: &BTreeSet<String>) -> Touched {
        let gone: Vec<String> = self
            .nodes
            .keys()
            .filter(|name| !listed.contains(*name))
            .cloned()
            .collect();
        gone.iter()
            .map(|name| self.set_node(name, None))
            .fold(Touched::None, Touched::or)
    }

    /// See [`Self::retain_nodes`].
    pub fn retain_pods(&mut self, listed: &BTreeSet<String>) -> Touched {
        let gone: Vec<String> = self
            .pods
            .keys()
            .filter(|name| !listed.contains(*name))
            .cloned()
            .collect();
        gone.iter()
            .map(|name| self.set_pod(name, None))
            .fold(Touched::None, Touched::or)
    }

    /// See [`Self::retain_nodes`].
    pub fn retain_reports(&mut self, listed: &BTreeSet<String>) -> Touched {
        let gone: Vec<String> = self
            .reports
            .keys()
            .filter(|name| !listed.contains(*name))
            .cloned()
            .collect();
        gone.iter()
            .map(|name| self.set_report(name, None))
            .fold(Touched::None, Touched::or)
    }

    /// How many nodes there are.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// The report of a node whose writer is alive: its pod is on that node and ready.
    pub(super) fn trusted(&self, node: &str) -> Option<&Report> {
        let report = self.reports.get(node)?;
        let writer = report.pod_uid.as_deref()?;
        self.pods_on(node)
            .any(|pod| pod.ready && pod.uid == writer)
            .then_some(report)
    }

    pub(super) fn pods_on(&self, node: &str) -> impl Iterator<Item = &AgentPod> {
        self.pods_of
            .get(node)
            .into_iter()
            .flatten()
            .filter_map(|name| self.pods.get(name))
    }
}

impl Touched {
    /// Both.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::None, touched) | (touched, Self::None) => touched,
            (Self::Some(mut names), Self::Some(more)) => {
                names.extend(more);
                Self::Some(names)
            }
            (Self::All, _) | (_, Self::All) => Self::All,
        }
    }
}

/// Whether anything changed.
fn replace<V: PartialEq>(map: &mut BTreeMap<String, V>, key: &str, value: Option<V>) -> bool {
    if map.get(key) == value.as_ref() {
        return false;
    }
    match value {
        Some(value) => map.insert(key.to_owned(), value),
        None => map.remove(key),
    };
    true
}
