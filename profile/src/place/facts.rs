//! What a node says of itself before anything is placed on it.

use std::collections::{BTreeMap, BTreeSet};

use crate::kind::EventKind;

/// Facts of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// The node's labels; empty standalone.
    pub labels: BTreeMap<String, String>,
    /// Kinds that have a working hook here.
    pub supported: BTreeSet<EventKind>,
    /// The node's clock, seconds since 1970: decides what has expired, and is part of no digest.
    pub now: i64,
}

impl NodeFacts {
    /// A node without labels that supports every kind.
    #[must_use]
    pub fn supporting_all(now: i64) -> Self {
        Self {
            labels: BTreeMap::new(),
            supported: EventKind::ALL.iter().copied().collect(),
            now,
        }
    }
}
