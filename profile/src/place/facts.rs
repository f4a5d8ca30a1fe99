//! What a node says of itself before anything is placed on it.

use std::collections::{BTreeMap, BTreeSet};

use crate::kind::EventKind;

/// Facts of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// The node's labels; `None` while they are not known, and standalone, where no profile asks for any.
    pub labels: Option<BTreeMap<String, String>>,
    /// Kinds that have a working hook here.
    pub supported: BTreeSet<EventKind>,
    /// The node's clock, seconds since 1970: decides what has expired, and is part of no digest.
    pub now: i64,
    /// Generations that expired here before, by the profile's UID. A clock that is set back must not start them again:
    /// only an edit of the spec does, which is another generation.
    pub ended: BTreeMap<String, i64>,
}

impl NodeFacts {
    /// A node that is known to have no labels and supports every kind.
    #[must_use]
    pub fn supporting_all(now: i64) -> Self {
        Self {
            labels: Some(BTreeMap::new()),
            supported: EventKind::ALL.iter().copied().collect(),
            now,
            ended: BTreeMap::new(),
        }
    }
}
