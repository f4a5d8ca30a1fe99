//! What an agent needs of its own Node: read by `node`, kept by `cache`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What is needed of the own Node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeMeta {
    /// Its UID.
    pub uid: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}
