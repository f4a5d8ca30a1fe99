//! In a cluster: where profiles, sinks, pods and namespaces come from, and where the node's report goes.
//!
//! Each part is a task over a `kube` client that runs until its token is cancelled and survives every error of the
//! API server; what it decides is in a pure core beside it.
//!
//! * [`configuration`] (core [`objects`], disk [`cache`]): profiles and sinks -> [`Desired`](crate::config::Desired).
//! * [`metadata`] (decoding [`pods`]): this node's pods, all namespaces -> [`Change`](crate::enrich::Change).
//! * [`node`]: the own Node's labels and UID.
//! * [`keep`]: what must outlive a restart -> disk.
//! * [`skew`]: the node's clock beside the API server's.
//! * [`writer`] (cores [`report`], [`ladder`]): the node's report -> `CollectorNode`.
//!
//! Credentials are files of a mounted Secret and are not read here; neither are Secrets through the API, ever.

pub mod cache;
pub mod configuration;
pub mod fleet;
pub mod identity;
pub mod keep;
pub mod ladder;
pub mod metadata;
pub mod node;
pub mod node_meta;
pub mod objects;
pub mod pods;
pub mod report;
pub mod skew;
pub mod status;
mod watching;
pub mod writer;

#[cfg(test)]
mod script;

use std::time::Duration;

use k8s_openapi::api::apps::v1::DaemonSet;
use kube::api::{Api, PartialObjectMeta};
use kube::client::ClientBuilder;
use kube::{Client, Config};
use thiserror::Error;

pub use configuration::Configuration;
pub use fleet::Fleet;
pub use identity::{Identity, IdentityError};
pub use metadata::Metadata;
pub use node::OwnNode;
pub use node_meta::NodeMeta;
pub use skew::SkewLayer;
pub use writer::Writer;

/// Field manager of everything that the agent writes.
pub const FIELD_MANAGER: &str = "weir-agent";

/// Why the API server cannot be used at all.
#[derive(Debug, Error)]
pub enum ClusterError {
    /// There is no service account.
    #[error(
        "no service account is mounted; run the agent by its DaemonSet, or standalone with --profile FILE"
    )]
    NotInCluster(#[source] kube::config::InClusterError),
    /// The client cannot be made of the mounted service account.
    #[error("cannot make a client of the mounted service account")]
    Client(#[source] kube::Error),
    /// The own `DaemonSet` cannot be read.
    #[error("cannot read DaemonSet {namespace}/{name}")]
    DaemonSet {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// What the API server said.
        #[source]
        source: kube::Error,
    },
    /// The API server is silent.
    #[error("the API server did not answer within {ANSWER_TIME:?}")]
    Silent,
}

/// How long the answer to the last question is waited for: the end has its own deadline.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// A client from the pod's service account, whose answers `skew` looks at.
pub fn client(skew: &SkewLayer) -> Result<Client, ClusterError> {
    let config = Config::incluster().map_err(ClusterError::NotInCluster)?;
    let builder = ClientBuilder::try_from(config).map_err(ClusterError::Client)?;
    Ok(builder.with_layer(skew).build())
}

/// Whether the own `DaemonSet` is being deleted or is gone, which at SIGTERM means that this node's state must go, too.
/// Here, unlike for the configuration, a 404 is an answer.
pub async fn is_uninstalled(client: &Client, identity: &Identity) -> Result<bool, ClusterError> {
    let Identity {
        namespace, daemonset, ..
    } = identity;
    let api: Api<PartialObjectMeta<DaemonSet>> = Api::namespaced(client.clone(), namespace);
    let answer = tokio::time::timeout(ANSWER_TIME, api.get_opt(daemonset)).await;
    match answer.map_err(|_elapsed| ClusterError::Silent)? {
        Ok(found) => Ok(found.is_none_or(|found| found.metadata.deletion_timestamp.is_some())),
        Err(source) => Err(ClusterError::DaemonSet {
            namespace: namespace.clone(),
            name: daemonset.clone(),
            source,
        }),
    }
}
