//! Pods as the agent decodes them: no more fields than attribution and scope need, all of them optional.
//!
//! A decode error would fail the whole list, so nothing that the agent can do without is required.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::NamespaceResourceScope;
use kube::Resource;
use kube::api::ObjectMeta;
use serde::Deserialize;

use crate::enrich::{Container, Owner, Pod};

/// Carries the UID that the kubelet puts into a static pod's cgroup path.
const CONFIG_HASH: &str = "kubernetes.io/config.hash";
/// Says that a pod is a static pod's mirror: the kubelet gives it the same value, and the API server lets nobody change
/// it.
const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";

/// A pod without nearly all of it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct SlimPod {
    metadata: ObjectMeta,
    spec: Spec,
    status: Status,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    node_name: String,
    containers: Vec<SpecContainer>,
    init_containers: Vec<SpecContainer>,
    ephemeral_containers: Vec<SpecContainer>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct SpecContainer {
    name: String,
    image: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Status {
    #[serde(rename = "containerStatuses")]
    containers: Vec<ContainerStatus>,
    #[serde(rename = "initContainerStatuses")]
    init_containers: Vec<ContainerStatus>,
    #[serde(rename = "ephemeralContainerStatuses")]
    ephemeral_containers: Vec<ContainerStatus>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct ContainerStatus {
    name: String,
    image: String,
    #[serde(rename = "containerID")]
    container_id: String,
    #[serde(rename = "lastState")]
    last_state: LastState,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct LastState {
    terminated: Option<Terminated>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Terminated {
    #[serde(rename = "containerID")]
    container_id: String,
}

impl Resource for SlimPod {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Pod".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "pods".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl SlimPod {
    /// The pod's UID.
    #[must_use]
    pub fn uid(&self) -> String {
        self.metadata.uid.clone().unwrap_or_default()
    }

    /// The UID in the pod's cgroup paths. Whoever may make pods may annotate them: only what the kubelet writes for a
    /// mirror is believed, and the index believes even that only of cgroups that are nobody's.
    #[must_use]
    pub fn cgroup_uid(&self) -> String {
        self.mirrored().cloned().unwrap_or_else(|| self.uid())
    }

    /// The UID of the static pod that this one mirrors, if it looks as the kubelet makes a mirror.
    fn mirrored(&self) -> Option<&String> {
        let annotations = self.metadata.annotations.as_ref()?;
        let hash = annotations.get(CONFIG_HASH)?;
        let owner = self
            .metadata
            .owner_references
            .iter()
            .flatten()
            .find(|owner| owner.controller == Some(true));
        let is_mirror = annotations.get(CONFIG_MIRROR) == Some(hash)
            && owner.is_none_or(|owner| owner.kind == "Node")
            && !hash.is_empty();
        is_mirror.then_some(hash)
    }
}

impl From<SlimPod> for Pod {
    fn from(pod: SlimPod) -> Self {
        let cgroup_uid = pod.cgroup_uid();
        let SlimPod {
            metadata,
            spec,
            status,
        } = pod;
        let Spec {
            node_name,
            containers,
            init_containers,
            ephemeral_containers,
        } = spec;
        let images: BTreeMap<&str, &str> = [&containers, &init_containers, &ephemeral_containers]
            .into_iter()
            .flatten()
            .map(|container| (container.name.as_str(), container.image.as_str()))
            .collect();
        let started = [
            status.containers,
            status.init_containers,
            status.ephemeral_containers,
        ]
        .into_iter()
        .flatten()
        .flat_map(|status| {
            let ContainerStatus {
                name,
                image,
                container_id,
                last_state,
            } = status;
            let former = last_state.terminated.map(|terminated| terminated.container_id);
            // The status names an image by its resolved digest or tag; the pod's own spelling is the user's.
            let image = images
                .get(name.as_str())
                .map_or(image, |image| (*image).to_owned());
            [Some(container_id), former]
                .into_iter()
                .flatten()
                .filter_map(move |id| {
                    Some(Container {
                        id: bare_id(&id)?,
                        name: name.clone(),
                        image: image.clone(),
                    })
                })
        })
        .collect();
        let owner = metadata
            .owner_references
            .unwrap_or_default()
            .into_iter()
            .find(|owner| owner.controller == Some(true));
        Self {
            uid: metadata.uid.unwrap_or_default(),
            cgroup_uid,
            namespace: metadata.namespace.unwrap_or_default(),
            name: metadata.name.unwrap_or_default(),
            labels: metadata.labels.unwrap_or_default(),
            owner: owner.map(|owner| Owner {
                kind: owner.kind,
                name: owner.name,
            }),
            node: node_name,
            containers: started,
        }
    }
}

/// `containerd://<id>` without its runtime; nothing for a container that was never started.
fn bare_id(id: &str) -> Option<String> {
    let bare = id.split_once("://").map_or(id, |(_, bare)| bare);
    (!bare.is_empty()).then(|| bare.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pod_from_the_api_gives_owner_images_and_every_started_container() {
        let pod: SlimPod = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "web-0", "namespace": "shop", "uid": "u1", "labels": {"app": "web"},
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "Other", "name": "no", "uid": "x"},
                    {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": "y", "controller": true},
                ],
            },
            "spec": {
                "nodeName": "node1",
                "containers": [{"name": "app", "image": "shop/web:1"}, {"name": "side", "image": "side"}],
                "initContainers": [{"name": "init", "image": "init:2"}],
            },
            "status": {
                "containerStatuses": [
                    {"name": "app", "image": "docker.io/shop/web@sha256:0", "containerID": "containerd://c2",
                     "lastState": {"terminated": {"containerID": "containerd://c1"}}},
                    {"name": "side", "image": "side", "state": {"waiting": {}}},
                ],
                "initContainerStatuses": [{"name": "init", "containerID": "cri-o://c0"}],
            },
        }))
        .unwrap();
        let pod = Pod::from(pod);
        let container = |id: &str, name: &str, image: &str| Container {
            id: id.into(),
            name: name.into(),
            image: image.into(),
        };
        assert_eq!(
            pod.containers,
            [
                container("c2", "app", "shop/web:1"),
                container("c1", "app", "shop/web:1"),
                container("c0", "init", "init:2")
            ]
        );
        assert_eq!(
            pod.owner,
            Some(Owner {
                kind: "StatefulSet".into(),
                name: "web".into()
            })
        );
        assert_eq!(
            (pod.uid.as_str(), pod.cgroup_uid.as_str(), pod.node.as_str()),
            ("u1", "u1", "node1")
        );
    }

    #[test]
    fn static_pods_mirror_is_found_by_its_hash_and_no_other_pod_is() {
        const HASH: &str = "f3cc103136423a57975750907ebc1d36";
        let cgroup_uid = |annotations: serde_json::Value, owners: serde_json::Value| {
            let pod: SlimPod = serde_json::from_value(json!({
                "metadata": {"name": "etcd", "uid": "own", "annotations": annotations, "ownerReferences": owners},
            }))
            .unwrap();
            let pod = Pod::from(pod);
            assert_eq!(pod.uid, "own");
            pod.cgroup_uid
        };
        let owner = |kind: &str| json!([{"apiVersion": "v1", "kind": kind, "name": "n", "uid": "x", "controller": true}]);
        let mirror = json!({CONFIG_HASH: HASH, CONFIG_MIRROR: HASH});
        assert_eq!(cgroup_uid(mirror.clone(), owner("Node")), HASH);
        assert_eq!(cgroup_uid(mirror.clone(), json!([])), HASH, "an old kubelet's");
        assert_eq!(cgroup_uid(mirror, owner("ReplicaSet")), "own");
        assert_eq!(cgroup_uid(json!({CONFIG_HASH: HASH}), json!([])), "own");
        let other = json!({CONFIG_HASH: HASH, CONFIG_MIRROR: "0"});
        assert_eq!(cgroup_uid(other, json!([])), "own");
        assert_eq!(
            cgroup_uid(json!({CONFIG_HASH: "", CONFIG_MIRROR: ""}), json!([])),
            "own"
        );
    }

    #[test]
    fn pod_with_almost_nothing_is_no_error() {
        assert!(serde_json::from_value::<SlimPod>(json!({})).is_ok());
    }
}
