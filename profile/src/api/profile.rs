//! `CollectorProfile`: what to collect, from where, how much, and where to.
#![expect(
    clippy::duplicated_attributes,
    reason = "each printcolumn is a list of its own"
)]

use kube::CustomResource;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

use super::rule::{Rule, attach, has};
use super::status::CollectorProfileStatus;
use super::{DNS_LABEL, Event, LabelSelector, Timestamp};

closed_enum! {
    /// What the profile does.
    pub enum Mode {
        /// Collect and deliver.
        Active = "Active",
        /// Match, sample, limit and count, but emit nothing.
        DryRun = "DryRun",
        /// Do nothing; hooks that no other profile needs are detached.
        Suspended = "Suspended",
    }
}

closed_enum! {
    /// Whether processes outside any pod are in scope.
    pub enum HostScope {
        /// Pods that match, and the host's own processes.
        Include = "Include",
        /// Only pods that match.
        Exclude = "Exclude",
        /// Only the host's own processes.
        Only = "Only",
    }
}

/// What to collect from the kernels of which nodes and workloads, how much of it at most, and where to deliver it.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "weir.dev",
    version = "v1alpha1",
    kind = "CollectorProfile",
    plural = "collectorprofiles",
    shortname = "cprof",
    category = "weir",
    status = "CollectorProfileStatus",
    derive = "PartialEq",
    doc = "What to collect from the kernels of which nodes and workloads, how much of it at most, and where to.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether every expected node does what this generation asks for"
    ),
    printcolumn(
        name = "Live",
        type_ = "string",
        json_path = ".status.nodes.summary",
        description = "Live nodes of the expected ones"
    ),
    printcolumn(
        name = "Events/s",
        type_ = "integer",
        json_path = ".status.window.eventsPerSecond",
        description = "Delivered events per second, last 60 s, coarsely rounded"
    ),
    printcolumn(
        name = "Limited",
        type_ = "integer",
        json_path = ".status.window.limitedPerSecond",
        description = "Events per second held back by a limit"
    ),
    printcolumn(
        name = "Lost",
        type_ = "integer",
        json_path = ".status.window.lostPerSecond",
        description = "Events per second lost, by any cause"
    ),
    printcolumn(
        name = "Mode",
        type_ = "string",
        json_path = ".spec.mode",
        description = "Active (also when empty), DryRun or Suspended"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct CollectorProfileSpec {
    /// What the profile does; absent means Active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Who gives way first: 0 first, 1000 last; absent means 100. When memory is full, events of the lowest priority
    /// are shed, the oldest first. When a node has no place for all profiles, those of the lowest priority are refused,
    /// and of equal ones those whose names sort last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub priority: Option<i32>,
    /// The nodes; absent means every node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<NodeSelection>,
    /// The workloads on those nodes; absent means every pod and the host's own processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workloads: Option<WorkloadSelection>,
    /// What to collect; 1 to 64 entries with different names. A node takes at most 256 events of all profiles together,
    /// 64 of one kind: what is above is refused as `TooManySlots`.
    #[schemars(
        length(min = 1, max = 64),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub events: Vec<Event>,
    /// Limits of the profile as a whole; absent means only the events' own limits hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// The `CollectorSink` that takes the events; absent means the one named `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sink_ref: Option<SinkRef>,
    /// When collection stops by itself (RFC 3339), by each node's own clock; absent means never. A time in the past is
    /// accepted: nothing is collected, and the profile is `Expired`. Set a later time, or remove it, to start again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration_time: Option<Timestamp>,
}

/// Which nodes, and how many of them make the profile ready.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct NodeSelection {
    /// By label; absent or `{}` means every node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Percentage of the expected nodes that must be live for `Ready`, 1 to 100; absent means 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub ready_percent: Option<i32>,
}

/// Which workloads. Namespace terms must all hold; `excludeNamespaces` wins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct WorkloadSelection {
    /// Namespaces by name; absent or empty means all. At most 64, each a DNS label of at most 63 characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(length(min = 1, max = 63), regex(pattern = DNS_LABEL)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub namespaces: Vec<String>,
    /// Namespaces never to collect from, by name; wins over all other terms. At most 64, each a DNS label of at most 63
    /// characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(length(min = 1, max = 63), regex(pattern = DNS_LABEL)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub exclude_namespaces: Vec<String>,
    /// Namespaces by label; absent or `{}` means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// Pods by label; absent or `{}` means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<LabelSelector>,
    /// Processes outside any pod; absent means Include when pods are not narrowed by `namespaces`,
    /// `namespaceSelector` or `podSelector`, and Exclude when they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostScope>,
}

/// Limits of a profile as a whole, per node: in any window of W seconds at most rate x W + burst pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline, transform = attach_limits)]
pub struct Limits {
    /// Events per second of all `events` together, on each node, 1 to 1 000 000; absent means no such limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub events_per_second: Option<i32>,
    /// Events that may pass at once on each node, 1 to 1 000 000; absent means a tenth of `eventsPerSecond`, at least
    /// 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: Option<i32>,
    /// A limit for each pod of a node, so that one cannot use up what all share; absent means none. The host's own
    /// processes share one bucket. A node keeps 4096 buckets: pods above that share one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_workload: Option<PerWorkload>,
}

fn attach_limits(schema: &mut Schema) {
    attach(schema, &limits_rules());
}

pub(crate) fn limits_rules() -> Vec<Rule> {
    vec![Rule::new(
        ".burst",
        "!has(self.burst) || has(self.eventsPerSecond)",
        "limits.burst needs limits.eventsPerSecond; add eventsPerSecond or remove burst",
        |limits| !has(limits, "burst") || has(limits, "eventsPerSecond"),
    )]
}

/// For the root of profiles and sinks: `metadata` has no schema of its own that could hold it.
pub(crate) fn name_rules() -> Vec<Rule> {
    vec![Rule::new(
        ".metadata.name",
        format!("self.metadata.name.matches('{DNS_LABEL}')"),
        "metadata.name must be a DNS label: 1 to 63 lower case letters, digits and '-', a letter or digit first and \
         last; rename the object",
        |object| {
            object
                .pointer("/metadata/name")
                .and_then(serde_json::Value::as_str)
                .is_none_or(super::is_dns_label)
        },
    )]
}

/// A limit for each pod of a node; the host's own processes count as one pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct PerWorkload {
    /// Events per second of each pod, all `events` together, 1 to 1 000 000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max: i32,
    /// Events of a pod that may pass at once, 1 to 1 000 000; absent means a tenth of `max`, at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: Option<i32>,
}

/// Names a `CollectorSink`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct SinkRef {
    /// The sink's name, a DNS label of at most 63 characters.
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL))]
    pub name: String,
}
