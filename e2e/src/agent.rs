//! The agents as the cluster shows them: their pods, their ledgers, and the reports of their nodes.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::Value;

use crate::cluster::{Cluster, ClusterError};
use crate::wait::{Probe, WaitError, until};

/// Where agents run.
pub const NAMESPACE: &str = "weir-agents";
/// Port of their admin server.
pub const ADMIN_PORT: u16 = 9464;

/// Outcomes of the kernel side; their sum is what matched.
const OUTCOMES: [&str; 9] = [
    "sampled_out",
    "limited_event",
    "limited_profile",
    "limited_workload",
    "ring_full",
    "dry_run",
    "throttled",
    "suppressed",
    "ringed",
];
/// What can become of a record that came through the ring.
const RINGED: [&str; 6] = [
    "in_ring",
    "malformed",
    "out_of_scope",
    "filtered",
    "held",
    "accepted",
];
/// What can become of an accepted event.
const ACCEPTED: [&str; 6] = ["acked", "shed", "rejected", "queued", "spooled", "unacked"];

/// An agent's pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentPod {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// How often its container was started again.
    pub restarts: i32,
    /// Whether it is ready, and not on its way out.
    pub ready: bool,
}

/// The agents' pods by node. Two on one node are an error: they would count everything twice.
pub async fn pods(cluster: &Cluster) -> Result<BTreeMap<String, AgentPod>, ClusterError> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    let list = pods
        .list(&ListParams::default().labels("app.kubernetes.io/name=weir-agent"))
        .await;
    let list = list.map_err(|source| ClusterError::Api {
        what: "the agents' pods".to_owned(),
        source: Box::new(source),
    })?;
    let running = list
        .into_iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none());
    by_node(running.filter_map(|pod| of(&pod)))
}

fn by_node(
    agents: impl IntoIterator<Item = (String, AgentPod)>,
) -> Result<BTreeMap<String, AgentPod>, ClusterError> {
    let mut all = BTreeMap::new();
    for (node, agent) in agents {
        let name = agent.name.clone();
        if let Some(other) = all.insert(node.clone(), agent) {
            return Err(ClusterError::Odd(format!(
                "{node} has two agents: {} and {name}",
                other.name
            )));
        }
    }
    Ok(all)
}

fn of(pod: &Pod) -> Option<(String, AgentPod)> {
    let node = pod.spec.as_ref()?.node_name.clone()?;
    let status = pod.status.clone().unwrap_or_default();
    let statuses = status.container_statuses.unwrap_or_default();
    let agent = AgentPod {
        name: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
        restarts: statuses.iter().map(|status| status.restart_count).sum(),
        ready: !statuses.is_empty() && statuses.iter().all(|status| status.ready),
    };
    Some((node, agent))
}

/// Waits until each of `nodes` has a ready agent. Returns them by node.
pub async fn until_on(
    cluster: &Cluster,
    nodes: &[String],
    limit: Duration,
) -> Result<BTreeMap<String, AgentPod>, WaitError> {
    until("a ready agent on every node", limit, || async {
        let agents = pods(cluster).await;
        agents.map(|agents| {
            let all = nodes
                .iter()
                .all(|node| agents.get(node).is_some_and(|agent| agent.ready));
            let seen = format!("{agents:?}");
            Probe::when(all, agents, seen)
        })
    })
    .await
}

/// Waits until the agents' template has reached `count` nodes, and each has had its agent for long enough to count as
/// available.
pub async fn until_available(cluster: &Cluster, count: usize, limit: Duration) -> Result<(), WaitError> {
    let path = format!("/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets/weir-agent");
    until("every node's agent to be available", limit, || async {
        let set = cluster.get_json(&path).await;
        set.map(|set| {
            let status = &set["status"];
            let observed = status["observedGeneration"] == set["metadata"]["generation"];
            let done = status["updatedNumberScheduled"] == count && status["numberAvailable"] == count;
            Probe::when(observed && done, (), status)
        })
    })
    .await
}

/// The ledger of an agent, cut now.
pub async fn cut(cluster: &Cluster, pod: &str) -> Result<Value, ClusterError> {
    let path = "ledger?cut=now";
    let text = cluster.get_from_pod(NAMESPACE, pod, ADMIN_PORT, path).await?;
    serde_json::from_str(&text).map_err(|source| ClusterError::Json {
        path: path.to_owned(),
        source,
    })
}

/// The report of a node; null when there is none.
pub async fn report(cluster: &Cluster, node: &str) -> Result<Value, ClusterError> {
    let list = cluster.get_json("/apis/weir.dev/v1alpha1/collectornodes").await?;
    let items = list["items"].as_array().cloned().unwrap_or_default();
    Ok(items
        .into_iter()
        .find(|item| item["metadata"]["name"] == node)
        .unwrap_or(Value::Null))
}

/// What a report says of a profile; null when it does not name it.
#[must_use]
pub fn row<'a>(report: &'a Value, profile: &str) -> &'a Value {
    let rows = report["status"]["profiles"].as_array();
    let found = rows.into_iter().flatten().find(|row| row["name"] == profile);
    found.unwrap_or(&Value::Null)
}

/// Names of the hooks that a node's kernel holds now, as it reports.
pub async fn attached(cluster: &Cluster, node: &str) -> Result<Vec<String>, ClusterError> {
    let report = report(cluster, node).await?;
    let hooks = report["status"]["hooks"].as_array().cloned().unwrap_or_default();
    let attached = hooks.into_iter().filter(|hook| hook["state"] == "Attached");
    Ok(attached
        .filter_map(|hook| hook["name"].as_str().map(str::to_owned))
        .collect())
}

/// The counters of one profile's slots in a ledger, added up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<String, u64>);

impl Counts {
    /// Of a profile; all zero when the ledger does not know it.
    #[must_use]
    pub fn of(ledger: &Value, profile: &str) -> Self {
        let mut counts = BTreeMap::new();
        let profiles = ledger["profiles"].as_array();
        for row in profiles
            .into_iter()
            .flatten()
            .filter(|row| row["name"] == profile)
        {
            for slot in row["slots"].as_array().into_iter().flatten() {
                for (name, value) in slot.as_object().into_iter().flatten() {
                    // Numbers here, strings in the protobuf JSON of the stream.
                    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
                    if let Some(number) = number {
                        *counts.entry(name.clone()).or_default() += number;
                    }
                }
            }
        }
        Self(counts)
    }

    /// One counter; a counter that is zero may be absent.
    #[must_use]
    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    fn sum(&self, names: &[&str]) -> u64 {
        names.iter().map(|name| self.get(name)).sum()
    }

    /// The identities of the ledger that do not hold, as text; empty when it is exact.
    #[must_use]
    pub fn broken(&self) -> Vec<String> {
        let identities = [
            ("matched", &OUTCOMES[..]),
            ("ringed", &RINGED[..]),
            ("accepted", &ACCEPTED[..]),
        ];
        let broken = identities
            .iter()
            .filter(|(whole, parts)| self.get(whole) != self.sum(parts));
        broken
            .map(|(whole, parts)| {
                format!(
                    "{whole} is {}, its parts are {}",
                    self.get(whole),
                    self.sum(parts)
                )
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn by_node_second_agent_is_not_hidden() {
        let agent = |name: &str| AgentPod {
            name: name.to_owned(),
            uid: String::new(),
            restarts: 0,
            ready: true,
        };
        let two = [("node1".to_owned(), agent("a")), ("node1".to_owned(), agent("b"))];
        let error = by_node(two).unwrap_err().to_string();
        assert!(error.contains("a and b"), "{error}");
        let apart = [("node1".to_owned(), agent("a")), ("node2".to_owned(), agent("b"))];
        assert_eq!(by_node(apart).unwrap().len(), 2);
    }

    #[test]
    fn broken_names_the_identity_that_does_not_hold() {
        let ledger = |acked: &str| {
            let slot = json!({"event": "e", "matched": "3", "ringed": "2", "limited_event": "1", "accepted": "2", "acked": acked});
            json!({"profiles": [{"name": "p", "slots": [slot]}]})
        };
        assert_eq!(Counts::of(&ledger("2"), "p").broken(), Vec::<String>::new());
        let broken = Counts::of(&ledger("1"), "p").broken();
        assert_eq!(broken, ["accepted is 2, its parts are 1"]);
        assert_eq!(Counts::of(&ledger("2"), "other"), Counts::default());
    }
}
