//! Status of a `CollectorProfile`: bounded, and quiet when nothing changes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Condition, ConditionReason};

/// What all nodes together do for the profile, as the kernels were read back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CollectorProfileStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// `Ready`, `Accepted`, `Programmed`, `Delivering`, `Complete`, `Degraded`, `Reconciling` and `Stalled`, all there
    /// from the first visit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub conditions: Vec<Condition>,
    /// How many nodes are in which state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<NodeCounts>,
    /// What is wrong, most nodes first; at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), extend("x-kubernetes-list-type" = "atomic"))]
    pub problems: Vec<Problem>,
    /// Rates of the last 60 s, summed over the live and degraded nodes that told theirs, on a ladder of 1, 2, 5, 10,
    /// 20, 50 and so on; exact numbers are in the nodes' ledgers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// Digest of the planned profile; a live node shows the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub digest: Option<String>,
}

/// How many nodes are in which state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct NodeCounts {
    /// `live/expected`, as the printer column shows it.
    #[schemars(length(max = 32))]
    pub summary: String,
    /// Nodes that the selector matches.
    #[schemars(range(min = 0))]
    pub matched: i32,
    /// Nodes whose kernel was read back at this generation.
    #[schemars(range(min = 0))]
    pub live: i32,
    /// Nodes that have not followed yet.
    #[schemars(range(min = 0))]
    pub pending: i32,
    /// Nodes that do a part of it.
    #[schemars(range(min = 0))]
    pub degraded: i32,
    /// Nodes that tried and could not.
    #[schemars(range(min = 0))]
    pub failed: i32,
    /// Nodes whose kernel has no hook for it.
    #[schemars(range(min = 0))]
    pub unsupported: i32,
    /// Matched nodes on which no agent may run.
    #[schemars(range(min = 0))]
    pub excluded: i32,
    /// Nodes whose agent does not answer.
    #[schemars(range(min = 0))]
    pub stale: i32,
}

/// One thing that is wrong, with a few of the nodes that have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct Problem {
    /// What is wrong, from a closed set; each is documented with its remedy.
    pub reason: ConditionReason,
    /// How many nodes have it.
    #[schemars(range(min = 0))]
    pub nodes: i32,
    /// Names of at most 3 of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3), inner(length(max = 253)), extend("x-kubernetes-list-type" = "atomic"))]
    pub examples: Vec<String>,
    /// The same for a human; at most 256 characters.
    #[schemars(length(max = 256))]
    pub message: String,
}

/// Rates of the last 60 s, on a 1-2-5 ladder, told once they last; what was 0 stays 0 below 1.5 per second, and from 1 to 9
/// per second the rate that was told stays told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct Window {
    /// Acknowledged events per second.
    #[schemars(range(min = 0))]
    pub events_per_second: i64,
    /// Events per second held back by a limit.
    #[schemars(range(min = 0))]
    pub limited_per_second: i64,
    /// Events per second lost, by any cause that is not a limit or a sample.
    #[schemars(range(min = 0))]
    pub lost_per_second: i64,
}
