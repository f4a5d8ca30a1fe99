//! Tells the index of this node's pods and of all namespaces, as they change.

use std::collections::BTreeMap;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{Api, PartialObjectMeta};
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt as _, watcher};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::configuration::watch_config;
use super::pods::SlimPod;
use crate::enrich::{Change, Pod};

/// Changes on their way to the drain thread. When it is full the watches wait, and nothing is lost: it holds a whole
/// node's pods changing at once.
pub const CHANGES: usize = 1_024;

/// The task.
pub struct Metadata {
    client: Client,
    node: String,
    changes: mpsc::Sender<Change>,
}

/// The receiver is gone: the agent is shutting down.
struct Closed;

impl Metadata {
    /// For this node. The receiver takes changes with `try_recv` and applies them in order.
    #[must_use]
    pub fn new(client: Client, node: String) -> (Self, mpsc::Receiver<Change>) {
        let (changes, receiver) = mpsc::channel(CHANGES);
        (
            Self {
                client,
                node,
                changes,
            },
            receiver,
        )
    }

    /// Runs until `stop`, or until nobody receives.
    pub async fn run(self, stop: CancellationToken) {
        let both = async {
            tokio::select! { Closed = self.pods() => (), Closed = self.namespaces() => () }
        };
        stop.run_until_cancelled(both).await;
    }

    async fn tell(&self, change: Change) -> Result<(), Closed> {
        self.changes.send(change).await.map_err(|_| Closed)
    }

    async fn pods(&self) -> Closed {
        let config = watch_config().fields(&format!("spec.nodeName={}", self.node));
        let mut events = watcher(Api::<SlimPod>::all(self.client.clone()), config)
            .default_backoff()
            .boxed();
        let mut listed = Vec::new();
        while let Some(event) = events.next().await {
            let told = match event {
                Ok(Event::Init) => {
                    listed.clear();
                    Ok(())
                }
                Ok(Event::InitApply(pod)) => {
                    listed.push(Pod::from(pod));
                    Ok(())
                }
                Ok(Event::InitDone) => self.tell(Change::Pods(std::mem::take(&mut listed))).await,
                Ok(Event::Apply(pod)) => self.tell(Change::Pod(Box::new(pod.into()))).await,
                Ok(Event::Delete(pod)) => self.tell(Change::PodGone(pod.cgroup_uid())).await,
                Err(error) => {
                    warn(&error, "pods");
                    Ok(())
                }
            };
            if let Err(closed) = told {
                return closed;
            }
        }
        Closed
    }

    async fn namespaces(&self) -> Closed {
        let api = Api::<PartialObjectMeta<Namespace>>::all(self.client.clone());
        let mut events = watcher(api, watch_config()).default_backoff().boxed();
        let mut listed = BTreeMap::new();
        while let Some(event) = events.next().await {
            let told = match event {
                Ok(Event::Init) => {
                    listed.clear();
                    Ok(())
                }
                Ok(Event::InitApply(namespace)) => {
                    let (name, labels) = name_and_labels(namespace);
                    listed.insert(name, labels);
                    Ok(())
                }
                Ok(Event::InitDone) => self.tell(Change::Namespaces(std::mem::take(&mut listed))).await,
                Ok(Event::Apply(namespace)) => {
                    let (name, labels) = name_and_labels(namespace);
                    self.tell(Change::Namespace(name, labels)).await
                }
                Ok(Event::Delete(namespace)) => {
                    self.tell(Change::NamespaceGone(name_and_labels(namespace).0))
                        .await
                }
                Err(error) => {
                    warn(&error, "namespaces");
                    Ok(())
                }
            };
            if let Err(closed) = told {
                return closed;
            }
        }
        Closed
    }
}

fn name_and_labels(namespace: PartialObjectMeta<Namespace>) -> (String, BTreeMap<String, String>) {
    let metadata = namespace.metadata;
    (
        metadata.name.unwrap_or_default(),
        metadata.labels.unwrap_or_default(),
    )
}

fn warn(error: &watcher::Error, what: &str) {
    let error = error as &dyn std::error::Error;
    tracing::warn!(
        error,
        what,
        "the watch failed; what is known still holds, and it is tried again"
    );
}
