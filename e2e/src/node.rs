//! The cluster's nodes as tests see them: where agents must be, and where ordinary pods may be.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::cluster::{Cluster, ClusterError};

/// Names of a cluster's nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nodes {
    /// All that run Linux: agents tolerate every taint.
    pub agents: Vec<String>,
    /// Those of them without a taint that keeps ordinary pods away.
    pub workloads: Vec<String>,
    /// The label that selectors know each node by, which need not be its name.
    pub hostnames: BTreeMap<String, String>,
}

/// The nodes that there are now.
pub async fn list(cluster: &Cluster) -> Result<Nodes, ClusterError> {
    cluster.get_json("/api/v1/nodes").await.map(|list| sort(&list))
}

fn sort(list: &Value) -> Nodes {
    let mut nodes = Nodes::default();
    for node in list["items"].as_array().into_iter().flatten() {
        let label = |name: &str| node["metadata"]["labels"][name].as_str();
        let Some(name) = node["metadata"]["name"].as_str() else {
            continue;
        };
        if label("kubernetes.io/os") != Some("linux") {
            continue;
        }
        nodes.agents.push(name.to_owned());
        let hostname = label("kubernetes.io/hostname").unwrap_or(name);
        nodes.hostnames.insert(name.to_owned(), hostname.to_owned());
        let mut taints = node["spec"]["taints"].as_array().into_iter().flatten();
        // `PreferNoSchedule` keeps nothing away.
        let tainted = taints.any(|taint| taint["effect"] == "NoSchedule" || taint["effect"] == "NoExecute");
        if !tainted {
            nodes.workloads.push(name.to_owned());
        }
    }
    nodes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sort_control_plane_has_an_agent_and_no_ordinary_pods() {
        let node = |name: &str, os: &str, taints: Value| {
            json!({
                "metadata": {"name": name, "labels": {"kubernetes.io/os": os, "kubernetes.io/hostname": format!("host-{name}")}},
                "spec": {"taints": taints},
            })
        };
        let list = json!({"items": [
            node("control", "linux", json!([{"effect": "NoSchedule"}])),
            node("worker", "linux", json!([{"effect": "PreferNoSchedule"}])),
            node("windows", "windows", Value::Null),
        ]});
        let nodes = sort(&list);
        assert_eq!(nodes.agents, ["control", "worker"]);
        assert_eq!(nodes.workloads, ["worker"]);
        assert_eq!(nodes.hostnames["worker"], "host-worker");
    }
}
