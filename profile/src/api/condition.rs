//! Conditions of every status: bounded, with a closed set of types and reasons.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ConditionReason, Timestamp};

closed_enum! {
    /// What a condition speaks of.
    pub enum ConditionType {
        /// The object does on every expected node (or `readyPercent` of them) what this generation asks for.
        Ready = "Ready",
        /// The spec is valid and everything it names exists.
        Accepted = "Accepted",
        /// The kernel of every expected node was read back at this generation.
        Programmed = "Programmed",
        /// Events reach the sink and are acknowledged.
        Delivering = "Delivering",
        /// Nothing was missed in the last 60 s: no ring was full, and nothing escaped the ledger.
        Complete = "Complete",
        /// Something works worse than asked for; the reason says what.
        Degraded = "Degraded",
        /// The spec changed and the nodes have not all followed yet.
        Reconciling = "Reconciling",
        /// No progress without a change of the spec, the sink or the nodes.
        Stalled = "Stalled",
    }
}

closed_enum! {
    /// Whether the condition holds.
    pub enum ConditionStatus {
        /// It holds.
        True = "True",
        /// It does not hold.
        False = "False",
        /// Nobody can tell yet.
        Unknown = "Unknown",
    }
}

/// One observation about the object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct Condition {
    /// What the condition speaks of.
    #[serde(rename = "type")]
    pub type_: ConditionType,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why, from a closed set; each is documented with its remedy.
    pub reason: ConditionReason,
    /// The same for a human, with names and numbers; at most 1024 characters.
    #[schemars(length(max = 1024))]
    pub message: String,
    /// When `status` last changed.
    pub last_transition_time: Timestamp,
    /// The generation of the spec that this was said of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
}
