//! The objects of a fleet as an API server has them: Nodes with what kubelets say, agents' pods, reports, profiles.

use serde_json::{Value, json};
use weir_profile::crds::{CrdKind, crd};
use weir_profile::{CollectorProfile, CollectorSink};

pub(crate) const PROFILES: &str = "/apis/weir.dev/v1alpha1/collectorprofiles";
pub(crate) const REPORTS: &str = "/apis/weir.dev/v1alpha1/collectornodes";
pub(crate) const NODES: &str = "/api/v1/nodes";
const SINKS: &str = "/apis/weir.dev/v1alpha1/collectorsinks";
const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const LONG_AGO: &str = "2026-01-01T00:00:00Z";

/// How large a fleet is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) nodes: usize,
    pub(crate) profiles: usize,
}

/// Every resource that an operator may list, by its path.
pub(crate) fn all(size: Size) -> Vec<(&'static str, Vec<Value>)> {
    let Size { nodes, profiles } = size;
    let plans: Vec<Planned> = (0..profiles).map(Planned::new).collect();
    let of_nodes = |make: &dyn Fn(usize) -> Value| (0..nodes).map(make).collect();
    vec![
        (CRDS, CrdKind::ALL.into_iter().map(crd).cloned().collect()),
        (PROFILES, plans.iter().map(|plan| plan.object.clone()).collect()),
        (SINKS, vec![sink()]),
        ("/api/v1/namespaces/weir-system/secrets", Vec::new()),
        ("/api/v1/namespaces/weir-agents/secrets", Vec::new()),
        ("/apis/apps/v1/namespaces/weir-agents/daemonsets", Vec::new()),
        (NODES, of_nodes(&node)),
        ("/api/v1/namespaces/weir-agents/pods", of_nodes(&pod)),
        (REPORTS, of_nodes(&|index| report(index, &plans, "Live"))),
    ]
}

/// A profile and what every node says of it.
pub(crate) struct Planned {
    object: Value,
    digest: String,
}

impl Planned {
    pub(crate) fn new(index: usize) -> Self {
        let object = json!({
            "apiVersion": "weir.dev/v1alpha1", "kind": "CollectorProfile",
            "metadata": {"name": profile_name(index), "uid": format!("uid-of-profile-{index}"), "generation": 1,
                "resourceVersion": "1", "creationTimestamp": LONG_AGO},
            "spec": {"sinkRef": {"name": "default"}, "events": [{"name": "execs", "kind": "process.exec",
                "limit": {"eventsPerSecond": 100}}]},
        });
        let plan = || {
            let profile: CollectorProfile = serde_json::from_value(object.clone()).ok()?;
            let sink: CollectorSink = serde_json::from_value(sink()).ok()?;
            weir_profile::plan(&profile, Some(&sink)).ok()
        };
        let digest = plan().map(|plan| plan.digest).unwrap_or_default();
        Self { object, digest }
    }
}

pub(crate) fn profile_name(index: usize) -> String {
    format!("profile-{index:02}")
}

pub(crate) fn node_name(index: usize) -> String {
    format!(
        "ip-10-{}-{}-{}.eu-central-1.compute.internal",
        index >> 16,
        (index >> 8) & 255,
        index & 255
    )
}

/// As the kubelet and a cloud write it, with 20 labels and 30 images.
pub(crate) fn node(index: usize) -> Value {
    let name = node_name(index);
    let mut labels = json!({
        "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", "kubernetes.io/hostname": name,
        "node.kubernetes.io/instance-type": "m6i.4xlarge", "topology.kubernetes.io/region": "eu-central-1",
        "topology.kubernetes.io/zone": format!("eu-central-1{}", ["a", "b", "c"][index % 3]),
    });
    for label in 0..14 {
        labels[format!("example.org/label-{label}")] = json!(format!("value-{}", index % 7));
    }
    let images: Vec<Value> = (0..30)
        .map(|image| json!({"names": [format!("registry.example.org/team/image-{image}@sha256:{image:064x}"), format!("registry.example.org/team/image-{image}:1.{image}")], "sizeBytes": 100_000_000}))
        .collect();
    let conditions: Vec<Value> = ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"]
        .iter()
        .map(|kind| json!({"type": kind, "status": if *kind == "Ready" { "True" } else { "False" }, "reason": "KubeletIsFine", "message": "kubelet is posting what it should", "lastHeartbeatTime": LONG_AGO, "lastTransitionTime": LONG_AGO}))
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "uid": format!("uid-of-node-{index}"), "resourceVersion": "1", "creationTimestamp": LONG_AGO, "labels": labels},
        "spec": {"podCIDR": "10.0.0.0/24", "providerID": format!("aws:///eu-central-1a/i-{index:017x}")},
        "status": {"conditions": conditions, "images": images, "capacity": {"cpu": "16", "memory": "64Gi", "pods": "110"},
            "nodeInfo": {"kernelVersion": "6.12.0", "kubeletVersion": "v1.34.4", "osImage": "Some Linux", "containerRuntimeVersion": "containerd://2.1.0"}},
    })
}

fn pod(index: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("weir-agent-{index:05}"), "namespace": "weir-agents", "uid": pod_uid(index), "resourceVersion": "1",
            "creationTimestamp": LONG_AGO, "labels": {"app.kubernetes.io/name": "weir-agent"}},
        "spec": {"nodeName": node_name(index), "containers": [{"name": "weir-agent", "image": "r.example/weir-agent:1"}]},
        "status": {"phase": "Running", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": LONG_AGO},
            {"type": "ContainersReady", "status": "True", "lastTransitionTime": LONG_AGO},
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": LONG_AGO}],
            "containerStatuses": [{"name": "weir-agent", "image": "r.example/weir-agent:1", "ready": true, "state": {"running": {"startedAt": LONG_AGO}}}]},
    })
}

fn pod_uid(index: usize) -> String {
    format!("{index:08x}-0000-4000-8000-000000000000")
}

/// What an agent reports: ten hooks, and every profile in `state`.
pub(crate) fn report(index: usize, plans: &[Planned], state: &str) -> Value {
    let hooks: Vec<Value> = (0..10)
        .map(|hook| json!({"name": format!("sys_exit_hook_{hook}"), "state": "Attached", "via": format!("tracepoint/sys_exit_hook_{hook}")}))
        .collect();
    let profiles: Vec<Value> = plans
        .iter()
        .enumerate()
        .map(|(number, plan)| {
            let mut row = json!({
                "name": profile_name(number), "uid": format!("uid-of-profile-{number}"), "generation": 1, "digest": plan.digest,
                "state": state, "window": {"eventsPerSecond": 20, "limitedPerSecond": 0, "lostPerSecond": 0},
            });
            if state != "Live" {
                row["reason"] = json!("ProgrammingFailed");
                row["message"] = json!("the kernel said no");
            }
            row
        })
        .collect();
    json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "CollectorNode",
        "metadata": {"name": node_name(index), "uid": format!("uid-of-report-{index}"), "resourceVersion": "1", "creationTimestamp": LONG_AGO},
        "spec": {},
        "status": {"summary": "10/10", "agentVersion": "0.1.0", "kernel": "6.12.0", "bootID": pod_uid(index), "podUID": pod_uid(index),
            "epoch": 1_700_000_000_000_u64, "capabilities": ["RingBuffer", "Btf", "TpBtf", "Tracepoint", "Iter", "Cmpxchg", "CgroupV2"],
            "hooks": hooks, "profiles": profiles, "sinks": [{"name": "default", "state": "Delivering"}]},
    })
}

fn sink() -> Value {
    // Nobody listens there, so that nothing but the fleet is measured.
    json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "CollectorSink",
        "metadata": {"name": "default", "uid": "uid-of-sink", "generation": 1, "resourceVersion": "1", "creationTimestamp": LONG_AGO},
        "spec": {"nats": {"servers": ["nats://127.0.0.1:1"], "stream": {"name": "WEIR", "manage": "External"}}},
    })
}
