//! Knows the own Node's labels, by which profiles select it, and its UID, which owns the node's report.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::{Api, PartialObjectMeta};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use weir_runtime::backoff::Backoff;

use super::fleet::Fleet;

const GET_TIMEOUT: Duration = Duration::from_secs(30);
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_CAP: Duration = Duration::from_secs(30);

/// What is needed of the own Node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeMeta {
    /// Its UID.
    pub uid: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// The task: reads the Node again from time to time, since an agent may get its Node but not watch Nodes.
pub struct OwnNode {
    client: Client,
    name: String,
    /// Where the fleet's size is mounted.
    credentials: PathBuf,
    meta: watch::Sender<Option<NodeMeta>>,
}

impl OwnNode {
    /// The receiver has `None` until the Node was read once.
    #[must_use]
    pub fn new(
        client: Client,
        name: String,
        credentials: PathBuf,
    ) -> (Self, watch::Receiver<Option<NodeMeta>>) {
        let (meta, receiver) = watch::channel(None);
        (
            Self {
                client,
                name,
                credentials,
                meta,
            },
            receiver,
        )
    }

    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.follow()).await;
    }

    async fn follow(&self) {
        let api: Api<PartialObjectMeta<Node>> = Api::all(self.client.clone());
        let mut retry = Backoff::new(RETRY_FIRST, RETRY_CAP);
        loop {
            let wait = match timeout(GET_TIMEOUT, api.get(&self.name)).await {
                Ok(Ok(node)) => {
                    retry.reset();
                    self.tell(node);
                    Fleet::read(&self.credentials).node_interval(rand::random())
                }
                Ok(Err(error)) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        node = self.name,
                        "cannot read the own Node; its labels are taken to be as they were"
                    );
                    retry.next(rand::random())
                }
                Err(_elapsed) => {
                    tracing::warn!(
                        node = self.name,
                        "the API server does not answer for the own Node"
                    );
                    retry.next(rand::random())
                }
            };
            sleep(wait).await;
        }
    }

    fn tell(&self, node: PartialObjectMeta<Node>) {
        let metadata = node.metadata;
        let new = NodeMeta {
            uid: metadata.uid.unwrap_or_default(),
            labels: metadata.labels.unwrap_or_default(),
        };
        self.meta.send_if_modified(|known| {
            let changed = known.as_ref() != Some(&new);
            if changed {
                *known = Some(new);
            }
            changed
        });
    }
}
