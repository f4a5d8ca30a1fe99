//! Knows the own Node's labels, by which profiles select it, and its UID, which owns the node's report.

use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::{Api, PartialObjectMeta};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use weir_runtime::backoff::Backoff;
use weir_runtime::error::chain;

use super::cache::Cache;
use super::fleet::Fleet;
use super::node_meta::NodeMeta;

const GET_TIMEOUT: Duration = Duration::from_secs(30);
const RETRY_FIRST: Duration = Duration::from_millis(500);

/// The task: reads the Node again from time to time, since an agent may get its Node but not watch Nodes.
pub struct OwnNode {
    client: Client,
    name: String,
    /// Where the fleet's size is mounted.
    credentials: PathBuf,
    /// What the start waits, so that a fleet does not start at once.
    delay: Duration,
    meta: watch::Sender<Option<NodeMeta>>,
    cache: Option<Cache>,
    /// What the cache holds.
    kept: Option<NodeMeta>,
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
                delay: Duration::ZERO,
                meta,
                cache: None,
                kept: None,
            },
            receiver,
        )
    }

    /// Starts from the Node as it was last known, and keeps it: without an API server, profiles with a node selector
    /// are then taken up again, too. Blocks on reading the cache's file.
    #[must_use]
    pub fn with_cache(mut self, cache: Cache) -> Self {
        match cache.load_node() {
            Ok(kept) => {
                if kept.is_some() {
                    self.meta.send_replace(kept.clone());
                }
                self.kept = kept;
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "starting without the Node's labels"
                );
            }
        }
        self.cache = Some(cache);
        self
    }

    /// Asks the API server for nothing before this long.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Runs until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        stop.run_until_cancelled(self.follow()).await;
    }

    async fn follow(&mut self) {
        let api: Api<PartialObjectMeta<Node>> = Api::all(self.client.clone());
        let mut retry = Backoff::new(RETRY_FIRST, Fleet::read(&self.credentials).retry_cap());
        let mut complaint = None;
        sleep(self.delay).await;
        loop {
            let trouble = match timeout(GET_TIMEOUT, api.get(&self.name)).await {
                Ok(Ok(node)) => {
                    self.tell(node).await;
                    None
                }
                Ok(Err(error)) => Some(chain(&error)),
                Err(_elapsed) => Some("the API server does not answer".to_owned()),
            };
            let wait = if let Some(trouble) = trouble {
                if complaint.as_ref() != Some(&trouble) {
                    tracing::warn!(
                        error = trouble,
                        node = self.name,
                        "cannot read the own Node; its labels are taken to be as they were"
                    );
                    complaint = Some(trouble);
                }
                retry.next(rand::random())
            } else {
                complaint = None;
                retry.reset();
                Fleet::read(&self.credentials).node_interval(rand::random())
            };
            sleep(wait).await;
        }
    }

    async fn tell(&mut self, node: PartialObjectMeta<Node>) {
        let metadata = node.metadata;
        let new = NodeMeta {
            uid: metadata.uid.unwrap_or_default(),
            labels: metadata.labels.unwrap_or_default(),
        };
        self.meta.send_if_modified(|known| {
            let changed = known.as_ref() != Some(&new);
            if changed {
                *known = Some(new.clone());
            }
            changed
        });
        let Some(cache) = self.cache.clone().filter(|_| self.kept.as_ref() != Some(&new)) else {
            return;
        };
        let node = new.clone();
        match tokio::task::spawn_blocking(move || cache.store_node(&node)).await {
            Ok(Ok(())) => self.kept = Some(new),
            Ok(Err(error)) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the Node's labels are not kept"
                );
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the Node's labels are not kept"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::super::script::{DEADLINE, Script, failure};
    use super::*;

    const NODE: &str = "/api/v1/nodes/node1";

    fn node(pool: &str) -> Value {
        json!({
            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
            "metadata": {"name": "node1", "uid": "node-uid", "labels": {"pool": pool}},
        })
    }

    async fn pool(meta: &mut watch::Receiver<Option<NodeMeta>>, expected: &str) {
        let is = |meta: &Option<NodeMeta>| meta.as_ref().is_some_and(|meta| meta.labels["pool"] == expected);
        let found = tokio::time::timeout(DEADLINE * 10, meta.wait_for(is)).await;
        assert!(found.is_ok(), "expected {expected}");
    }

    /// Scenario: the Node's label changes while the agent runs; then it restarts without an API server.
    /// Guarantees: the change is seen; the last known labels are there at once after the restart.
    #[tokio::test(start_paused = true)]
    async fn labels_are_followed_and_outlive_a_restart() {
        let state = tempfile::tempdir().unwrap();
        let cache = Cache::new(state.path());
        let (client, script) = Script::start();
        script.answer("GET", NODE, 500, failure(500));
        script.answer("GET", NODE, 200, node("web"));
        script.answer("GET", NODE, 200, node("db"));
        let (task, mut meta) = OwnNode::new(client, "node1".into(), "/nonexistent".into());
        let stop = CancellationToken::new();
        let running = tokio::spawn(task.with_cache(cache.clone()).run(stop.clone()));
        pool(&mut meta, "web").await;
        pool(&mut meta, "db").await;
        let kept = async {
            while cache
                .load_node()
                .unwrap()
                .is_none_or(|node| node.labels["pool"] != "db")
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(DEADLINE, kept).await.unwrap();
        stop.cancel();
        running.await.unwrap();
        let (client, _script) = Script::start();
        let (task, meta) = OwnNode::new(client, "node1".into(), "/nonexistent".into());
        let _task = task.with_cache(cache);
        assert_eq!(meta.borrow().as_ref().unwrap().uid, "node-uid");
    }
}
