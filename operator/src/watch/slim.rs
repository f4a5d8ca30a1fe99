//! The few fields of Nodes, agents' pods and `CollectorNode`s that the rollup needs: nothing else is kept in memory.
//!
//! They are read as they come, without a guard that holds a whole object first, since there may be 15 000 of each: every
//! field has a default, and its type is what the API server itself has checked.

use k8s_openapi::api::core::v1::{Affinity, Node, Pod, Taint};
use kube::api::ApiResource;
use kube::core::Object;
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_profile::CollectorNode;
use weir_profile::api::{ConditionReason, NodeProfile, NodeSink};

use crate::eligibility::eligible;
use crate::rollup::{AgentPod, NodeFacts, Report};
use crate::settings::AgentSettings;

/// A Node without what the kubelet says every minute.
pub type SlimNode = Object<NodeSpec, Nothing>;
/// A Pod's place and state.
pub type SlimPod = Object<PodSpec, PodStatus>;
/// A `CollectorNode`, whether or not it has a spec.
pub type SlimReport = Object<Option<Nothing>, ReportStatus>;

/// How [`SlimNode`] is asked for.
#[must_use]
pub fn node_resource() -> ApiResource {
    ApiResource::erase::<Node>(&())
}

/// How [`SlimPod`] is asked for.
#[must_use]
pub fn pod_resource() -> ApiResource {
    ApiResource::erase::<Pod>(&())
}

/// How [`SlimReport`] is asked for.
#[must_use]
pub fn report_resource() -> ApiResource {
    ApiResource::erase::<CollectorNode>(&())
}

/// Whatever is there is not read.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Nothing {}

/// The part of a Node's spec that decides whether an agent may run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeSpec {
    taints: Vec<Taint>,
}

/// What the rollup needs of a node's report. Agents may be newer than the operator: a word that it does not know costs that
/// word, and neither the row nor the report.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReportStatus {
    #[serde(rename = "podUID")]
    pod_uid: Option<String>,
    profiles: Vec<Value>,
    sinks: Vec<Value>,
    clock_skew_seconds: Option<i64>,
}

/// What of a row may be missing without making it another row.
const DETAILS: [&str; 4] = ["reason", "kinds", "incomplete", "window"];

fn row<T: DeserializeOwned>(row: &Value) -> Option<T> {
    serde_json::from_value(row.clone()).ok().or_else(|| {
        let mut row = row.clone();
        for detail in DETAILS {
            row.as_object_mut()?.remove(detail);
        }
        serde_json::from_value(row).ok()
    })
}

/// Where a pod is or is meant to be.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    node_name: Option<String>,
    affinity: Option<Affinity>,
}

/// How a pod does.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    conditions: Vec<PodCondition>,
    container_statuses: Vec<ContainerStatus>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct PodCondition {
    #[serde(rename = "type")]
    type_: String,
    status: String,
    reason: Option<String>,
    message: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct ContainerStatus {
    image: String,
    state: ContainerState,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct ContainerState {
    waiting: Option<Waiting>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Waiting {
    reason: Option<String>,
    message: Option<String>,
}

/// What matters of a Node.
#[must_use]
pub fn node_facts(node: &SlimNode, settings: &AgentSettings) -> NodeFacts {
    let labels = node.labels().clone();
    let taints = &node.spec.taints;
    NodeFacts {
        created: node.creation_timestamp().map_or(0, |time| time.0.as_second()),
        eligible: eligible(settings, &node.name_any(), &labels, taints),
        labels,
    }
}

/// What matters of an agent's pod; `None` for one that is bound to no node.
#[must_use]
pub fn agent_pod(pod: &SlimPod) -> Option<AgentPod> {
    let node = pod
        .spec
        .node_name
        .clone()
        .or_else(|| meant_for(pod.spec.affinity.as_ref()?))?;
    let status = pod.status.as_ref();
    let condition = |type_: &str| {
        status
            .into_iter()
            .flat_map(|status| &status.conditions)
            .find(|found| found.type_ == type_)
    };
    let ready = condition("Ready").is_some_and(|ready| ready.status == "True");
    let unschedulable =
        condition("PodScheduled").filter(|scheduled| scheduled.reason.as_deref() == Some("Unschedulable"));
    let waiting = status
        .into_iter()
        .flat_map(|status| &status.container_statuses)
        .find_map(|container| Some((container.state.waiting.as_ref()?, container.image.as_str())));
    let trouble = if ready {
        None
    } else if let Some(condition) = unschedulable {
        let message = condition
            .message
            .clone()
            .unwrap_or_else(|| "the pod cannot be scheduled".to_owned());
        Some((ConditionReason::AgentsUnschedulable, message))
    } else {
        waiting.and_then(|(waiting, image)| waiting_trouble(waiting, image))
    };
    Some(AgentPod {
        node,
        uid: pod.meta().uid.clone().unwrap_or_default(),
        ready,
        trouble,
    })
}

/// The kubelet alternates between its words for a failed pull and for waiting: what is said here stays the same.
fn waiting_trouble(waiting: &Waiting, image: &str) -> Option<(ConditionReason, String)> {
    let word = waiting.reason.as_deref()?;
    let message = waiting.message.as_deref().unwrap_or_default();
    match word {
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull"
        | "ImageInspectError" => Some((
            ConditionReason::ImagePullFailed,
            format!("image {image} cannot be pulled; the pod's events say why"),
        )),
        "ContainerCreating" | "PodInitializing" => None,
        "CrashLoopBackOff" => {
            let message =
                "its agent ends again and again; its log says why: kubectl logs --previous".to_owned();
            Some((ConditionReason::AgentStale, message))
        }
        _ => Some((
            ConditionReason::AgentStale,
            format!("its agent does not start: {word}: {message}"),
        )),
    }
}

/// The `DaemonSet` controller binds a pod to its node by name through affinity.
fn meant_for(affinity: &Affinity) -> Option<String> {
    let required = affinity
        .node_affinity
        .as_ref()?
        .required_during_scheduling_ignored_during_execution
        .as_ref()?;
    required.node_selector_terms.iter().find_map(|term| {
        let field = term
            .match_fields
            .as_ref()?
            .iter()
            .find(|field| field.key == "metadata.name")?;
        field.values.as_ref()?.first().cloned()
    })
}

/// What matters of a report; `None` when the agent has not written one yet.
#[must_use]
pub fn report(report: SlimReport) -> Option<Report> {
    let status = report.status?;
    let profiles = status.profiles.iter().filter_map(row::<NodeProfile>);
    let sinks = status.sinks.iter().filter_map(row::<NodeSink>);
    Some(Report {
        pod_uid: status.pod_uid,
        profiles: profiles.map(|profile| (profile.name.clone(), profile)).collect(),
        sinks: sinks.map(|sink| (sink.name.clone(), sink)).collect(),
        clock_skew: status.clock_skew_seconds,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(status: &serde_json::Value) -> Option<AgentPod> {
        let pod: SlimPod = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "weir-agent-x", "uid": "u1"},
            "spec": {"containers": [], "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node7"]}]}]}}}},
            "status": status,
        }))
        .unwrap();
        agent_pod(&pod)
    }

    #[test]
    fn pod_not_scheduled_is_told_by_the_node_it_is_meant_for() {
        let found = pod(&json!({"conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "Insufficient memory"}]}))
        .unwrap();
        assert_eq!((found.node.as_str(), found.ready), ("node7", false));
        assert_eq!(
            found.trouble,
            Some((
                ConditionReason::AgentsUnschedulable,
                "Insufficient memory".to_owned()
            ))
        );
    }

    #[test]
    fn pod_whose_image_is_missing_says_so_and_a_creating_one_says_nothing() {
        let waiting = |reason: &str| {
            pod(&json!({"containerStatuses": [{"state": {"waiting": {"reason": reason, "message": "m"}}}]}))
                .unwrap()
                .trouble
        };
        assert_eq!(
            waiting("ImagePullBackOff").unwrap().0,
            ConditionReason::ImagePullFailed
        );
        assert_eq!(
            waiting("CrashLoopBackOff").unwrap().0,
            ConditionReason::AgentStale
        );
        assert_eq!(waiting("ContainerCreating"), None);
        assert!(
            pod(&json!({"conditions": [{"type": "Ready", "status": "True"}]}))
                .unwrap()
                .ready
        );
    }

    #[test]
    fn report_without_spec_or_with_an_unknown_word_is_still_a_report() {
        let read = |status: serde_json::Value| {
            let object = json!({"apiVersion": "weir.dev/v1alpha1", "kind": "CollectorNode", "metadata": {"name": "n"}, "status": status});
            report(serde_json::from_value(object).unwrap())
        };
        assert_eq!(
            read(json!({"podUID": "u"})).unwrap().pod_uid.as_deref(),
            Some("u")
        );
        let newer = read(json!({
            "podUID": "u", "capabilities": ["FromTheFuture"], "hooks": "of another shape",
            "profiles": [
                {"name": "a", "uid": "1", "generation": 2, "state": "Failed", "reason": "FromTheFuture"},
                {"name": "b", "uid": "2", "generation": 1, "state": "FromTheFuture"},
                {"name": "c", "uid": "3", "generation": 1, "state": "Live"},
            ],
        }))
        .unwrap();
        assert_eq!(newer.pod_uid.as_deref(), Some("u"));
        let states: Vec<_> = newer
            .profiles
            .values()
            .map(|row| (row.name.as_str(), row.state.as_str(), row.reason))
            .collect();
        assert_eq!(states, [("a", "Failed", None), ("c", "Live", None)]);
        assert_eq!(read(json!(null)), None);
    }

    #[test]
    fn node_facts_keep_labels_age_and_eligibility() {
        let node: SlimNode = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": "n", "labels": {"kubernetes.io/os": "linux"}, "creationTimestamp": "1970-01-01T00:01:00Z"},
            "spec": {"podCIDR": "10.0.0.0/24"}, "status": {"images": []},
        }))
        .unwrap();
        let facts = node_facts(&node, &crate::settings::Settings::default().agent);
        assert_eq!((facts.created, facts.eligible), (60, true));
    }
}
