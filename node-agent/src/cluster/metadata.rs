//! Tells the index of this node's pods and of all namespaces, as they change.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{Api, PartialObjectMeta};
use kube::runtime::watcher::Event;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::cache::{Cache, CacheError};
use super::fleet::Fleet;
use super::keep::keep;
use super::pods::SlimPod;
use super::watching;
use crate::enrich::{Change, Pod};

/// Changes on their way to the drain thread. When it is full the watches wait, and nothing is lost: it holds a whole
/// node's pods changing at once.
pub const CHANGES: usize = 1_024;
/// Most pods kept on disk. A node runs a few hundred at most.
const PODS_KEPT: usize = 4_096;

/// What is kept on disk is at most this old, and written at most this often.
const KEEP_EVERY: Duration = Duration::from_secs(5);

type Labels = BTreeMap<String, String>;

/// The task.
pub struct Metadata {
    client: Client,
    node: String,
    /// Where the fleet's size is mounted.
    credentials: PathBuf,
    /// What the start waits, so that a fleet does not start at once.
    delay: Duration,
    cache: Option<Cache>,
    teller: Teller,
}

/// Tells changes, and knows what they add up to, to keep it. Nobody needs that without a cache, and then it stays empty.
struct Teller {
    changes: mpsc::Sender<Change>,
    is_kept: bool,
    /// By UID.
    pods: watch::Sender<BTreeMap<String, Pod>>,
    namespaces: watch::Sender<BTreeMap<String, Labels>>,
}

/// The receiver is gone: the agent is shutting down.
struct Closed;

impl Metadata {
    /// For this node. The receiver takes changes with `try_recv` and applies them in order.
    #[must_use]
    pub fn new(client: Client, node: String, credentials: PathBuf) -> (Self, mpsc::Receiver<Change>) {
        let (changes, receiver) = mpsc::channel(CHANGES);
        let teller = Teller {
            changes,
            is_kept: false,
            pods: watch::Sender::new(BTreeMap::new()),
            namespaces: watch::Sender::new(BTreeMap::new()),
        };
        (
            Self {
                client,
                node,
                credentials,
                delay: Duration::ZERO,
                cache: None,
                teller,
            },
            receiver,
        )
    }

    /// Keeps what is known, and returns what was kept, as changes to apply before all others: without an API server,
    /// profiles of namespaces and of labelled pods are then judged as before. Blocks on reading the cache's files.
    #[must_use]
    pub fn with_cache(mut self, cache: Cache) -> (Self, Vec<Change>) {
        fn kept<T>(what: &'static str, loaded: Result<Option<T>, CacheError>) -> Option<T> {
            loaded.unwrap_or_else(|error| {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    what,
                    "starting without what was known"
                );
                None
            })
        }
        let mut changes = Vec::new();
        if let Some(namespaces) = kept("namespaces", cache.load_namespaces()) {
            self.teller.namespaces = watch::Sender::new(namespaces.clone());
            changes.push(Change::Namespaces(namespaces));
        }
        if let Some(pods) = kept("pods", cache.load_pods()) {
            self.teller.pods = watch::Sender::new(by_uid(&pods));
            changes.push(Change::Pods(pods));
        }
        self.teller.is_kept = true;
        self.cache = Some(cache);
        (self, changes)
    }

    /// Asks the API server for nothing before this long.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Runs until `stop`, or until nobody receives.
    pub async fn run(self, stop: CancellationToken) {
        let all = async {
            tokio::select! { Closed = self.watch() => (), () = self.keep() => () }
        };
        stop.run_until_cancelled(all).await;
    }

    async fn watch(&self) -> Closed {
        tokio::time::sleep(self.delay).await;
        tokio::select! { closed = self.pods() => closed, closed = self.namespaces() => closed }
    }

    /// Never ends, since what it follows is ours.
    async fn keep(&self) {
        let Some(cache) = &self.cache else {
            return std::future::pending().await;
        };
        let (pods, namespaces) = (cache.clone(), cache.clone());
        let store_pods = move |known: BTreeMap<String, Pod>| {
            pods.store_pods(known.into_values().take(PODS_KEPT).collect())
        };
        let store_namespaces = move |known| namespaces.store_namespaces(known);
        tokio::join!(
            keep("pods", self.teller.pods.subscribe(), KEEP_EVERY, store_pods),
            keep(
                "namespaces",
                self.teller.namespaces.subscribe(),
                KEEP_EVERY,
                store_namespaces
            ),
        );
    }

    fn fleet(&self) -> Fleet {
        Fleet::read(&self.credentials)
    }

    async fn pods(&self) -> Closed {
        let config = watching::config().fields(&format!("spec.nodeName={}", self.node));
        let api = Api::<SlimPod>::all(self.client.clone());
        let mut events = watching::events("pods", api, config, self.fleet()).boxed();
        let mut listed = Vec::new();
        while let Some(event) = events.next().await {
            let change = match event {
                Event::Init => {
                    listed.clear();
                    continue;
                }
                Event::InitApply(pod) => {
                    listed.push(Pod::from(pod));
                    continue;
                }
                Event::InitDone => Change::Pods(std::mem::take(&mut listed)),
                Event::Apply(pod) => Change::Pod(Box::new(pod.into())),
                Event::Delete(pod) => Change::PodGone {
                    uid: pod.uid(),
                    cgroup_uid: pod.cgroup_uid(),
                },
            };
            if let Err(closed) = self.teller.tell(change).await {
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
            let change = match event {
                Event::Init => {
                    listed.clear();
                    continue;
                }
                Event::InitApply(namespace) => {
                    let (name, labels) = name_and_labels(namespace);
                    listed.insert(name, labels);
                    continue;
                }
                Event::InitDone => Change::Namespaces(std::mem::take(&mut listed)),
                Event::Apply(namespace) => {
                    let (name, labels) = name_and_labels(namespace);
                    Change::Namespace(name, labels)
                }
                Event::Delete(namespace) => Change::NamespaceGone(name_and_labels(namespace).0),
            };
            if let Err(closed) = self.teller.tell(change).await {
                return closed;
            }
        }
        Closed
    }
}

impl Teller {
    async fn tell(&self, change: Change) -> Result<(), Closed> {
        if self.is_kept {
            self.note(&change);
        }
        self.changes.send(change).await.map_err(|_| Closed)
    }

    /// Adds a change up; what says nothing new is none.
    fn note(&self, change: &Change) {
        match change {
            Change::Pods(pods) => replace(&self.pods, by_uid(pods)),
            Change::Pod(pod) => put(&self.pods, &pod.uid, &**pod),
            Change::PodGone { uid, cgroup_uid: _ } => remove(&self.pods, uid),
            Change::Namespaces(namespaces) => replace(&self.namespaces, namespaces.clone()),
            Change::Namespace(name, labels) => put(&self.namespaces, name, labels),
            Change::NamespaceGone(name) => remove(&self.namespaces, name),
        }
    }
}

fn by_uid(pods: &[Pod]) -> BTreeMap<String, Pod> {
    let named = |pod: &Pod| (pod.uid.clone(), pod.clone());
    pods.iter().map(named).collect()
}

fn replace<T: PartialEq>(known: &watch::Sender<T>, next: T) {
    known.send_if_modified(|known| {
        let changed = *known != next;
        *known = next;
        changed
    });
}

fn put<T: PartialEq + Clone>(known: &watch::Sender<BTreeMap<String, T>>, name: &str, next: &T) {
    known.send_if_modified(|known| {
        let changed = known.get(name) != Some(next);
        if changed {
            known.insert(name.to_owned(), next.clone());
        }
        changed
    });
}

fn remove<T>(known: &watch::Sender<BTreeMap<String, T>>, name: &str) {
    known.send_if_modified(|known| known.remove(name).is_some());
}

fn name_and_labels(namespace: PartialObjectMeta<Namespace>) -> (String, Labels) {
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

    /// Scenario: an agent learns its pods and the namespaces, and starts again without an API server.
    /// Guarantees: nothing is asked for before the delay is over; what was known is there at once after the restart, as
    /// changes to apply first.
    #[tokio::test(start_paused = true)]
    async fn what_is_known_outlives_a_restart() {
        let state = tempfile::tempdir().unwrap();
        let cache = Cache::new(state.path());
        let (client, script) = Script::start();
        let pods = json!({"apiVersion": "v1", "kind": "PodList", "metadata": {"resourceVersion": "4"}, "items": [pod("web")]});
        script.answer("GET", "/api/v1/pods", 200, pods);
        let namespace = json!({"metadata": {"name": "shop", "labels": {"team": "a"}}});
        script.answer("GET", "/api/v1/namespaces", 200, list(&[namespace]));
        let (task, mut changes) = Metadata::new(client, "node1".into(), "/nonexistent".into());
        let (task, kept) = task.with_cache(cache.clone());
        assert_eq!(kept, [], "nothing was known");
        let stop = CancellationToken::new();
        let running = tokio::spawn(task.after(Duration::from_secs(20)).run(stop.clone()));
        tokio::time::sleep(Duration::from_secs(19)).await;
        assert_eq!(script.asked(), [], "a fleet must not start at once");
        let mut told = Vec::new();
        while told.len() < 2 {
            told.push(
                tokio::time::timeout(DEADLINE, changes.recv())
                    .await
                    .unwrap()
                    .unwrap(),
            );
        }
        told.sort_by_key(|change| matches!(change, Change::Pods(_)));
        let kept = async {
            while cache.load_pods().unwrap().is_none() || cache.load_namespaces().unwrap().is_none() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(DEADLINE, kept).await.unwrap();
        stop.cancel();
        running.await.unwrap();
        let (client, _script) = Script::start();
        let (task, _changes) = Metadata::new(client, "node1".into(), "/nonexistent".into());
        let (_task, kept) = task.with_cache(cache);
        assert_eq!(kept, told);
    }
}
