//! Pods that tests start: a shell on a node of the test's choice, in a namespace that goes with the test.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, DeleteParams};
use serde_json::{Value, json};

use crate::cluster::{Cluster, ClusterError};
use crate::wait::{Probe, WaitError, until};

/// The image with a shell that `cargo xtask images testbox` builds.
///
/// Its busybox cannot `wget -T`: the C library it is linked with crashes there. `timeout 3 wget` does the same.
pub const TESTBOX: &str = "ghcr.io/weir-dev/weir-testbox:1";
/// A pod starts in about 2 s; the rest is patience with a busy machine.
const START_LIMIT: Duration = Duration::from_mins(1);

/// What goes wrong with a test's pods.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// Talking to the cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The pod did not come up.
    #[error(transparent)]
    Wait(#[from] WaitError),
}

/// A pod to start.
#[derive(Debug, Clone)]
pub struct Workload {
    namespace: String,
    name: String,
    node: Option<String>,
    labels: Value,
    owners: Value,
    script: String,
}

impl Workload {
    /// A pod that does nothing until a test runs something in it.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        let script = "trap exit TERM; while true; do sleep 3600 & wait $!; done".to_owned();
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            node: None,
            labels: json!({}),
            owners: json!([]),
            script,
        }
    }

    /// Puts the pod on this node.
    #[must_use]
    pub fn on(mut self, node: &str) -> Self {
        self.node = Some(node.to_owned());
        self
    }

    /// Adds a label.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels[key] = json!(value);
        self
    }

    /// Gives the pod a controlling owner, which must be cluster-scoped or in the pod's namespace.
    #[must_use]
    pub fn owner(mut self, version: &str, kind: &str, name: &str, uid: &str) -> Self {
        self.owners =
            json!([{"apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": true}]);
        self
    }

    /// Runs this instead of waiting.
    #[must_use]
    pub fn script(mut self, script: &str) -> Self {
        script.clone_into(&mut self.script);
        self
    }

    /// Creates the pod and waits until it runs.
    pub async fn start(&self, cluster: &Cluster) -> Result<Pod, WorkloadError> {
        cluster.apply(&self.manifest().to_string()).await?;
        let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &self.namespace);
        let what = format!("pod {}/{} to run", self.namespace, self.name);
        let pod = until(&what, START_LIMIT, || async {
            pods.get(&self.name).await.map(|pod| judge(&pod))
        })
        .await?;
        Ok(pod)
    }

    fn manifest(&self) -> Value {
        // A toleration for everything: the test chose the node, whatever state the node is in.
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": self.name, "namespace": self.namespace, "labels": self.labels, "ownerReferences": self.owners},
            "spec": {
                "affinity": self.node.as_ref().map(|node| on_node(node)),
                "tolerations": [{"operator": "Exists"}],
                "terminationGracePeriodSeconds": 1,
                "containers": [{
                    "name": "main",
                    "image": TESTBOX,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["/bin/sh", "-c", self.script],
                }],
            },
        })
    }
}

/// By the node's name: the hostname that its label has may be another.
#[must_use]
pub fn on_node(node: &str) -> Value {
    let field = json!({"key": "metadata.name", "operator": "In", "values": [node]});
    json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchFields": [field]}],
    }}})
}

fn judge(pod: &Pod) -> Probe<Pod> {
    let status = pod.status.clone().unwrap_or_default();
    let phase = status.phase.unwrap_or_else(|| "no phase".to_owned());
    let containers = status.container_statuses.unwrap_or_default();
    let waiting: Vec<String> = containers
        .iter()
        .filter_map(|container| container.state.as_ref()?.waiting.as_ref())
        .map(|waiting| {
            let part = |text: &Option<String>| text.clone().unwrap_or_default();
            format!("{}: {}", part(&waiting.reason), part(&waiting.message))
        })
        .collect();
    match phase.as_str() {
        "Running" | "Succeeded" if waiting.is_empty() => Probe::Done(pod.clone()),
        "Failed" => Probe::Never(format!("{phase} {}", status.message.unwrap_or_default())),
        _ => Probe::Pending(format!("{phase} {}", waiting.join(", "))),
    }
}

/// A namespace of one test. [`TestNamespace::delete`] removes it; after a failure it stays for whoever looks.
pub struct TestNamespace {
    /// Its name.
    pub name: String,
    cluster: Cluster,
}

impl TestNamespace {
    /// Creates a namespace and waits until pods can be created in it.
    pub async fn create(cluster: &Cluster, name: &str, labels: &Value) -> Result<Self, WorkloadError> {
        let manifest = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels},
        });
        cluster.apply(&manifest.to_string()).await?;
        let what = format!("the default service account of {name}");
        until(&what, START_LIMIT, || async {
            let account = cluster
                .kubectl(["get", "serviceaccount", "default", "--namespace", name])
                .await;
            account.map(|_| Probe::Done(()))
        })
        .await?;
        Ok(Self {
            name: name.to_owned(),
            cluster: cluster.clone(),
        })
    }

    /// Deletes the namespace without waiting for its pods to end.
    pub async fn delete(self) -> Result<(), ClusterError> {
        let namespaces: Api<Namespace> = Api::all(self.cluster.client.clone());
        let what = format!("deletion of namespace {}", self.name);
        let deleted = namespaces.delete(&self.name, &DeleteParams::background()).await;
        deleted.map(drop).map_err(|source| ClusterError::Api {
            what,
            source: Box::new(source),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(status: &Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "status": status})).unwrap()
    }

    #[test]
    fn judge_pod_that_waits_for_its_image_is_pending_with_the_reason() {
        let waiting = json!({"reason": "ErrImagePull", "message": "not found"});
        let status = json!({"phase": "Pending", "containerStatuses": [{
            "name": "main", "image": "x", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": waiting},
        }]});
        let Probe::Pending(state) = judge(&pod(&status)) else {
            panic!("must be pending")
        };
        assert!(state.contains("ErrImagePull: not found"), "{state}");
    }

    #[test]
    fn judge_failed_pod_never_runs() {
        assert!(matches!(
            judge(&pod(&json!({"phase": "Failed"}))),
            Probe::Never(_)
        ));
        assert!(matches!(
            judge(&pod(&json!({"phase": "Running"}))),
            Probe::Done(_)
        ));
    }

    #[test]
    fn manifest_node_and_labels_are_where_the_scheduler_looks() {
        let manifest = Workload::new("ns", "p")
            .on("node2")
            .label("app", "web")
            .manifest();
        assert_eq!(manifest["spec"]["affinity"], on_node("node2"));
        assert_eq!(manifest["metadata"]["labels"]["app"], "web");
        assert_eq!(
            Workload::new("ns", "p").manifest()["spec"]["affinity"],
            Value::Null
        );
    }
}
