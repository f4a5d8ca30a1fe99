//! The operator as the cluster shows it: its pods, what they logged, and whether they crashed.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::cluster::{Cluster, ClusterError};

/// Where it runs.
pub const NAMESPACE: &str = "weir-system";
/// Its `Deployment`.
pub const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/weir-system/deployments/weir-operator";
const PODS: &str =
    "/api/v1/namespaces/weir-system/pods?labelSelector=app.kubernetes.io%2Fname%3Dweir-operator";

/// A pod of the operator's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorPod {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The node it runs on; empty while it has none.
    pub node: String,
    /// How often its container was started again.
    pub restarts: i64,
}

/// The operator's pods that are not on their way out.
pub async fn pods(cluster: &Cluster) -> Result<Vec<OperatorPod>, ClusterError> {
    let list = cluster.get_json(PODS).await?;
    let items = list["items"].as_array().into_iter().flatten();
    Ok(items
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
        .map(of)
        .collect())
}

fn of(pod: &Value) -> OperatorPod {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let statuses = pod["status"]["containerStatuses"].as_array();
    OperatorPod {
        name: text(&pod["metadata"]["name"]),
        uid: text(&pod["metadata"]["uid"]),
        node: text(&pod["spec"]["nodeName"]),
        restarts: statuses
            .into_iter()
            .flatten()
            .filter_map(|status| status["restartCount"].as_i64())
            .sum(),
    }
}

/// Those that were started again since `before`; a pod that is new since then must not have been started again at all.
#[must_use]
pub fn crashed(before: &[OperatorPod], after: &[OperatorPod]) -> Vec<String> {
    let known: BTreeMap<&str, i64> = before
        .iter()
        .map(|pod| (pod.uid.as_str(), pod.restarts))
        .collect();
    let grown = after.iter().filter_map(|pod| {
        let more = pod.restarts - known.get(pod.uid.as_str()).copied().unwrap_or_default();
        (more > 0).then(|| format!("{} was started again {more} times", pod.name))
    });
    grown.collect()
}

/// What all of its pods logged in the last minutes.
pub async fn log(cluster: &Cluster) -> Result<String, ClusterError> {
    let arguments = [
        "logs",
        "--namespace=weir-system",
        "--selector=app.kubernetes.io/name=weir-operator",
        "--since=5m",
        "--tail=-1",
        "--max-log-requests=20",
    ];
    cluster.kubectl(arguments).await
}

/// The `ConfigMap` with the settings of the `Deployment` that is there; null when none is.
pub async fn settings_map(cluster: &Cluster) -> Result<Value, ClusterError> {
    let deployment = cluster.find_json(DEPLOYMENT).await?;
    let volumes = deployment["spec"]["template"]["spec"]["volumes"].as_array();
    let name = volumes
        .into_iter()
        .flatten()
        .find_map(|volume| volume["configMap"]["name"].as_str());
    match name {
        Some(name) => {
            let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps/{name}");
            cluster.find_json(&path).await
        }
        None => Ok(Value::Null),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crashed_counts_what_grew_and_every_restart_of_a_new_pod() {
        let pod = |name: &str, restarts| OperatorPod {
            name: name.to_owned(),
            uid: format!("uid-of-{name}"),
            node: "node1".to_owned(),
            restarts,
        };
        let before = [pod("a", 2), pod("b", 0)];
        assert_eq!(
            crashed(&before, &[pod("a", 2), pod("c", 0)]),
            Vec::<String>::new()
        );
        let crashed = crashed(&before, &[pod("a", 3), pod("b", 0), pod("c", 1)]);
        assert_eq!(
            crashed,
            ["a was started again 1 times", "c was started again 1 times"]
        );
    }
}
