//! Tells the index of this node's pods and of all namespaces, as they change.

use std::collections::BTreeMap;
use std::path::PathBuf;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{Api, PartialObjectMeta};
use kube::runtime::watcher::Event;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::fleet::Fleet;
use super::pods::SlimPod;
use super::watching;
use crate::enrich::{Change, Pod};

/// Changes on their way to the drain thread. When it is full the watches wait, and nothing is lost: it holds a whole
/// node's pods changing at once.
pub const CHANGES: usize = 1_024;

/// The task.
pub struct Metadata {
    client: Client,
    node: String,
    /// Where the fleet's size is mounted.
    credentials: PathBuf,
    changes: mpsc::Sender<Change>,
}

/// The receiver is gone: the agent is shutting down.
struct Closed;

impl Metadata {
    /// For this node. The receiver takes changes with `try_recv` and applies them in order.
    #[must_use]
    pub fn new(client: Client, node: String, credentials: PathBuf) -> (Self, mpsc::Receiver<Change>) {
        let (changes, receiver) = mpsc::channel(CHANGES);
        (
            Self {
                client,
                node,
                credentials,
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

    fn fleet(&self) -> Fleet {
        Fleet::read(&self.credentials)
    }

    async fn tell(&self, change: Change) -> Result<(), Closed> {
        self.changes.send(change).await.map_err(|_| Closed)
    }

    async fn pods(&self) -> Closed {
        let config = watching::config().fields(&format!("spec.nodeName={}", self.node));
        let api = Api::<SlimPod>::all(self.client.clone());
        let mut events = watching::events("pods", api, config, self.fleet()).boxed();
        let mut listed = Vec::new();
        while let Some(event) = events.next().await {
            let told = match event {
                Event::Init => {
                    listed.clear();
                    Ok(())
                }
                Event::InitApply(pod) => {
                    listed.push(Pod::from(pod));
                    Ok(())
                }
                Event::InitDone => self.tell(Change::Pods(std::mem::take(&mut listed))).await,
                Event::Apply(pod) => self.tell(Change::Pod(Box::new(pod.into()))).await,
                Event::Delete(pod) => self.tell(Change::PodGone(pod.cgroup_uid())).await,
            };
            if let Err(closed) = told {
                return closed;
            }
        }
        Closed
    }

    async fn namespaces(&self) -> Closed {
        let api = Api::<PartialObjectMeta<Namespace>>::all(self.client.clone());
        let mut events = watching::events("namespaces", api, watching::config(), self.fleet()).boxed();
        let mut listed = BTreeMap::new();
        while let Some(event) = events.next().await {
            let told = match event {
                Event::Init => {
                    listed.clear();
                    Ok(())
                }
                Event::InitApply(namespace) => {
                    let (name, labels) = name_and_labels(namespace);
                    listed.insert(name, labels);
                    Ok(())
                }
                Event::InitDone => self.tell(Change::Namespaces(std::mem::take(&mut listed))).await,
                Event::Apply(namespace) => {
                    let (name, labels) = name_and_labels(namespace);
                    self.tell(Change::Namespace(name, labels)).await
                }
                Event::Delete(namespace) => {
                    self.tell(Change::NamespaceGone(name_and_labels(namespace).0))
                        .await
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::script::{DEADLINE, Script, failure, list};
    use super::*;

    fn pod(name: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}"), "resourceVersion": "3"},
            "spec": {"nodeName": "node1", "containers": [{"name": "app", "image": "img"}]},
            "status": {"containerStatuses": [{"name": "app", "containerID": "containerd://c1"}]},
        })
    }

    /// Scenario: pods cannot be listed at first.
    /// Guarantees: only this node's pods are asked for, from the API server's cache; nothing is told before a list is
    /// complete; namespaces come as metadata, whatever happens to pods.
    #[tokio::test(start_paused = true)]
    async fn pods_of_this_node_and_all_namespaces_are_told_once_listed() {
        let (client, script) = Script::start();
        script.answer("GET", "/api/v1/pods", 403, failure(403));
        let pods = json!({"apiVersion": "v1", "kind": "PodList", "metadata": {"resourceVersion": "4"}, "items": [pod("web")]});
        script.answer("GET", "/api/v1/pods", 200, pods);
        let namespace = json!({"metadata": {"name": "shop", "labels": {"team": "a"}}});
        script.answer("GET", "/api/v1/namespaces", 200, list(&[namespace]));
        let (task, mut changes) = Metadata::new(client, "node1".into(), "/nonexistent".into());
        let stop = CancellationToken::new();
        let running = tokio::spawn(task.run(stop.clone()));
        let mut told = Vec::new();
        while told.len() < 2 {
            told.push(
                tokio::time::timeout(DEADLINE, changes.recv())
                    .await
                    .unwrap()
                    .unwrap(),
            );
        }
        let namespaces = [("shop".to_owned(), [("team".to_owned(), "a".to_owned())].into())].into();
        assert_eq!(told[0], Change::Namespaces(namespaces));
        let Change::Pods(pods) = &told[1] else {
            panic!("{told:?}")
        };
        assert_eq!(
            (
                pods.len(),
                pods[0].name.as_str(),
                pods[0].containers[0].id.as_str()
            ),
            (1, "web", "c1")
        );
        let asked = script.asked();
        let asked = asked.iter().find(|asked| asked.path == "/api/v1/pods").unwrap();
        assert!(
            asked.query.contains("fieldSelector=spec.nodeName%3Dnode1"),
            "{}",
            asked.query
        );
        assert!(asked.query.contains("resourceVersion=0"), "{}", asked.query);
        stop.cancel();
        running.await.unwrap();
    }
}
