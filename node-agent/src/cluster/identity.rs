//! Who this agent is in the cluster: what the `DaemonSet`'s downward API tells it, checked once at the start.

use thiserror::Error;

/// Name of the node: `spec.nodeName`.
pub const NODE_NAME: &str = "NODE_NAME";
/// Name of the agent's pod: `metadata.name`.
pub const POD_NAME: &str = "POD_NAME";
/// Namespace of the agent's pod: `metadata.namespace`.
pub const POD_NAMESPACE: &str = "POD_NAMESPACE";
/// UID of the agent's pod: `metadata.uid`.
pub const POD_UID: &str = "POD_UID";
/// Name of the agent's `DaemonSet`, optional.
pub const DAEMONSET_NAME: &str = "WEIR_DAEMONSET_NAME";
/// What the `DaemonSet` is called where [`DAEMONSET_NAME`] does not say.
pub const DEFAULT_DAEMONSET: &str = "weir-agent";

/// Some variables are missing.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "in-cluster mode needs {}, from the downward API of the agent's pod; outside a cluster give --profile FILE",
    missing.join(", ")
)]
pub struct IdentityError {
    /// Their names.
    pub missing: Vec<&'static str>,
}

/// The agent's place in the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its node.
    pub node: String,
    /// Its pod.
    pub pod: String,
    /// Its pod's namespace.
    pub namespace: String,
    /// Its pod's UID.
    pub pod_uid: String,
    /// Its `DaemonSet`.
    pub daemonset: String,
}

impl Identity {
    /// Reads the variables through `variable`, such as `|name| std::env::var(name).ok()`. Empty is missing.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, IdentityError> {
        let variable = |name| variable(name).filter(|value| !value.is_empty());
        let mut missing = Vec::new();
        let mut need = |name| {
            variable(name).unwrap_or_else(|| {
                missing.push(name);
                String::new()
            })
        };
        let identity = Self {
            node: need(NODE_NAME),
            pod: need(POD_NAME),
            namespace: need(POD_NAMESPACE),
            pod_uid: need(POD_UID),
            daemonset: variable(DAEMONSET_NAME).unwrap_or_else(|| DEFAULT_DAEMONSET.to_owned()),
        };
        if missing.is_empty() {
            Ok(identity)
        } else {
            Err(IdentityError { missing })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_variables_names_all_that_are_missing() {
        let error = Identity::from_variables(|name| (name == NODE_NAME).then(|| "n".to_owned())).unwrap_err();
        assert_eq!(error.missing, [POD_NAME, POD_NAMESPACE, POD_UID]);
        let error = Identity::from_variables(|_| Some(String::new())).unwrap_err();
        assert_eq!(error.missing.len(), 4);
    }

    #[test]
    fn from_variables_takes_the_default_daemonset() {
        let identity =
            Identity::from_variables(|name| (name != DAEMONSET_NAME).then(|| name.to_lowercase())).unwrap();
        assert_eq!(
            (identity.node.as_str(), identity.daemonset.as_str()),
            ("node_name", "weir-agent")
        );
    }
}
