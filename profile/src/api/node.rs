//! `CollectorNode`: what one node's agent does, read back from its kernel. Only that agent writes it.
#![expect(
    clippy::duplicated_attributes,
    reason = "each printcolumn is a list of its own"
)]

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ConditionReason, Window};
use crate::kind::EventKind;

closed_enum! {
    /// What a node does for one profile.
    pub enum NodeProfileState {
        /// Everything that the generation asks for, read back from the kernel.
        Live = "Live",
        /// Not yet.
        Pending = "Pending",
        /// A part of it; the reason says why.
        Degraded = "Degraded",
        /// Nothing of it, after trying; the reason says why.
        Failed = "Failed",
        /// Nothing of it: this kernel has no hook for any of its kinds.
        Unsupported = "Unsupported",
        /// Suspended by the spec, and confirmed.
        Suspended = "Suspended",
        /// Expired by the node's clock, and confirmed.
        Expired = "Expired",
    }
}

closed_enum! {
    /// What a node does for one kind of a profile.
    pub enum KindState {
        /// Collected.
        Live = "Live",
        /// Not yet.
        Pending = "Pending",
        /// Its hook did not attach.
        Failed = "Failed",
        /// This kernel has no hook for it.
        Unsupported = "Unsupported",
        /// No slot was left for it.
        Refused = "Refused",
    }
}

closed_enum! {
    /// State of a kernel hook.
    pub enum HookState {
        /// Attached and, where that can be told, firing.
        Attached = "Attached",
        /// Works, but nothing needs it now.
        Idle = "Idle",
        /// Did not load or attach.
        Failed = "Failed",
        /// This kernel does not have it.
        Unavailable = "Unavailable",
    }
}

closed_enum! {
    /// State of a node's connection to a sink.
    pub enum NodeSinkState {
        /// Connected, and batches are acknowledged.
        Delivering = "Delivering",
        /// Not connected or not acknowledged; events wait.
        Waiting = "Waiting",
        /// Events are shed.
        Shedding = "Shedding",
        /// The server refuses what is sent.
        Refused = "Refused",
    }
}

closed_enum! {
    /// What the node's kernel can do.
    pub enum Capability {
        /// BPF ring buffer (5.8).
        RingBuffer = "RingBuffer",
        /// The kernel's own type information.
        Btf = "Btf",
        /// Programs on raw tracepoints with types.
        TpBtf = "TpBtf",
        /// Raw tracepoints.
        RawTracepoint = "RawTracepoint",
        /// Tracepoints through tracefs.
        Tracepoint = "Tracepoint",
        /// Programs on function entry and exit.
        Fentry = "Fentry",
        /// Kernel probes.
        Kprobe = "Kprobe",
        /// Programs on security hooks.
        Lsm = "Lsm",
        /// Hooks on cgroup sockets (need `NET_ADMIN`).
        CgroupSock = "CgroupSock",
        /// Iterator programs.
        Iter = "Iter",
        /// Compare-and-swap in programs (5.12).
        Cmpxchg = "Cmpxchg",
        /// A unified (v2) cgroup hierarchy.
        CgroupV2 = "CgroupV2",
    }
}

/// A node report has no spec: what a node should do follows from the profiles.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "weir.dev",
    version = "v1alpha1",
    kind = "CollectorNode",
    plural = "collectornodes",
    shortname = "cnode",
    category = "weir",
    status = "CollectorNodeStatus",
    derive = "PartialEq",
    doc = "What the agent of the node of the same name does, read back from its kernel. Only that agent writes it.",
    printcolumn(
        name = "Live",
        type_ = "string",
        json_path = ".status.summary",
        description = "Live profiles of the selected ones"
    ),
    printcolumn(
        name = "Events/s",
        type_ = "integer",
        json_path = ".status.window.eventsPerSecond",
        description = "Delivered events per second, coarsely rounded"
    ),
    printcolumn(
        name = "Lost",
        type_ = "integer",
        json_path = ".status.window.lostPerSecond",
        description = "Events per second lost, by any cause"
    ),
    printcolumn(name = "Kernel", type_ = "string", json_path = ".status.kernel"),
    printcolumn(name = "Agent", type_ = "string", json_path = ".status.agentVersion"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct CollectorNodeSpec {}

/// What one node's agent does. It is written when its state changes, not as a heartbeat.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CollectorNodeStatus {
    /// `live/selected` profiles, as the printer column shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub summary: Option<String>,
    /// Version of the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub agent_version: Option<String>,
    /// Kernel release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub kernel: Option<String>,
    /// The kernel's boot id.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "bootID")]
    #[schemars(length(max = 64))]
    pub boot_id: Option<String>,
    /// UID of the agent's pod: the report is trusted only while that pod is ready.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "podUID")]
    #[schemars(length(max = 64))]
    pub pod_uid: Option<String>,
    /// The agent's life, in milliseconds since 1970; counters start anew with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub epoch: Option<i64>,
    /// What the kernel can do; at most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "set"))]
    pub capabilities: Vec<Capability>,
    /// The kernel hooks; at most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub hooks: Vec<HookStatus>,
    /// The profiles that select this node; at most 128.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 128),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub profiles: Vec<NodeProfile>,
    /// The sinks that those profiles use; at most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub sinks: Vec<NodeSink>,
    /// Rates of all profiles together, coarsely rounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// Node clock minus API server clock in seconds, there only when above 5 either way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_skew_seconds: Option<i64>,
}

/// One kernel hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct HookStatus {
    /// Name of the hook.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Its state.
    pub state: HookState,
    /// Where it is attached, such as `tp_btf/sched_process_exec`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub via: Option<String>,
    /// Why it is not attached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<ConditionReason>,
    /// The same for a human, with the kernel's answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub message: Option<String>,
}

/// What the node does for one profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct NodeProfile {
    /// The profile's name.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The profile's UID: a profile of the same name and another UID is another profile.
    #[schemars(length(max = 64))]
    pub uid: String,
    /// The generation that the kernel holds.
    #[schemars(range(min = 0))]
    pub generation: i64,
    /// Digest of the plan that the kernel holds, read back from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub digest: Option<String>,
    /// What the node does for it.
    pub state: NodeProfileState,
    /// Why it is not live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<ConditionReason>,
    /// The same for a human.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub message: Option<String>,
    /// Its kinds, only those that are not live; at most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["kind"])
    )]
    pub kinds: Vec<NodeProfileKind>,
    /// Why `Complete` is false here; absent while nothing is missed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incomplete: Option<ConditionReason>,
    /// Its rates, coarsely rounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
}

/// One kind of a profile that is not live on the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct NodeProfileKind {
    /// The kind.
    pub kind: EventKind,
    /// What the node does for it.
    pub state: KindState,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<ConditionReason>,
    /// The same for a human.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub message: Option<String>,
}

/// The node's connection to a sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct NodeSink {
    /// The sink's name.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Its state.
    pub state: NodeSinkState,
    /// Why it is not delivering.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<ConditionReason>,
    /// The same for a human.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub message: Option<String>,
}
