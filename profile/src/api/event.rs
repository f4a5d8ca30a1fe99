//! One entry of a profile's `events`: kind, match, sample and limit.

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

use super::rule;
use super::{DNS_LABEL, Match};
use crate::kind::{self, EventKind};

closed_enum! {
    /// What one bucket of the limit covers.
    pub enum Per {
        /// The whole node, all CPUs together.
        Node = "Node",
        /// Each pod of the node has a bucket of its own; the host's processes share one.
        Pod = "Pod",
        /// Each container of the node has a bucket of its own; the host's processes share one.
        Container = "Container",
    }
}

closed_enum! {
    /// What is drawn when an event is sampled.
    pub enum SampleBy {
        /// Each event by itself, at random.
        Event = "Event",
        /// Each process: all of its events or none, for its whole life.
        Process = "Process",
    }
}

/// A kind of kernel event to collect.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline, transform = attach_rules)]
pub struct Event {
    /// Name within the profile, a DNS label of at most 63 characters. It stands in every event and ledger row; its
    /// counters follow it across edits.
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL))]
    pub name: String,
    /// What is collected.
    pub kind: EventKind,
    /// Only events for which all of this holds; absent or `{}` means all of the kind.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub match_: Option<Match>,
    /// Keep only a part; absent means keep all. What is left out is counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<Sample>,
    /// At most this many, enforced in the kernel; absent means only the profile's limits hold. What is held back is
    /// counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<EventLimit>,
}

/// Keeps one of every N.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct Sample {
    /// Keep one in this many, 1 (all) to 1 000 000. Events carry the weight.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub one_in: i32,
    /// What is drawn; absent means Event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<SampleBy>,
}

/// A rate limit of one event: in any window of W seconds at most `eventsPerSecond` x W + `burst` pass each bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct EventLimit {
    /// Events per second on each node, of each bucket of `per`: 1 to 1 000 000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub events_per_second: i32,
    /// Events that one bucket may let pass at once, 1 to 1 000 000; absent means a tenth of `eventsPerSecond`, at least
    /// 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: Option<i32>,
    /// What one bucket covers; absent means Node. At most 16 limits of a node may be per Pod or Container, each
    /// profile's `perWorkload` among them; what is above is refused as `TooManyKeyedLimits`. Each has 4096 buckets:
    /// pods or containers above that share one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per: Option<Per>,
}

fn attach_rules(schema: &mut Schema) {
    rule::attach(schema, &kind::rules());
}
