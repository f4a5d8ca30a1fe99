//! Weir under a `GitOps` tool: no drift, no fight over fields, and a status that such tools understand.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use kube::api::WatchEvent;
use serde_json::{Value, json};
use weir_e2e::agent;
use weir_e2e::profile::{condition, is_current, kstatus};
use weir_e2e::scenario::{self, TestResult, World, manifests};
use weir_e2e::wait::{Probe, holds, until};

const READY_LIMIT: Duration = Duration::from_secs(30);

/// Scenario: the manifests are compared with the cluster, applied a second time, and compared again.
/// Guarantees: `kubectl diff` shows no drift, neither of the manifests nor of the profile and sink that the operator has
/// written a status to, before and after; server-side apply meets no conflict.
#[tokio::test]
async fn second_apply_finds_no_drift() -> TestResult {
    scenario::run("drift", async |world| {
        world.baseline().await?;
        for folder in ["default", "quickstart"] {
            let path = manifests(folder);
            for verb in ["diff", "apply", "diff"] {
                // `diff` exits with 1 when there is a difference.
                world
                    .cluster
                    .kubectl([verb, "--server-side", "--kustomize", &path])
                    .await?;
            }
        }
        Ok(())
    })
    .await
}

/// Scenario: somebody labels and annotates the agents' `DaemonSet` and a profile with a field manager of their own; then
/// the profile is edited and a second one is made, for which the operator writes to the `DaemonSet`.
/// Guarantees: labels and annotations are there after the operator's write and visits, and it does not fight for them.
#[tokio::test]
async fn labels_of_another_manager_survive() -> TestResult {
    scenario::run("labels", async |world| {
        let events = |rate: u32| {
            json!({
                "workloads": {"namespaces": ["nowhere"], "host": "Exclude"},
                "events": [{"name": "execs", "kind": "process.exec", "limit": {"eventsPerSecond": rate}}],
            })
        };
        let profile = world.profile("p", events(1)).await?;
        profile.until_ready(READY_LIMIT).await?;
        let label = "e2e.weir.dev/team=sre";
        let daemonset = ["daemonset/weir-agent", "--namespace", agent::NAMESPACE];
        for verb in ["label", "annotate"] {
            let manager = "--field-manager=somebody";
            let mut arguments = vec![verb, manager, "--overwrite"];
            arguments.extend(daemonset);
            arguments.push(label);
            world.cluster.kubectl(arguments).await?;
            let object = format!("cprof/{}", profile.name);
            world
                .cluster
                .kubectl([verb, manager, "--overwrite", &object, label])
                .await?;
        }
        profile.edit(events(2)).await?;
        profile.until_ready(READY_LIMIT).await?;
        let second = world.profile("second", events(1)).await?;
        second.until_ready(READY_LIMIT).await?;
        let second = second.get().await?["metadata"]["uid"].clone();
        let path = format!(
            "/apis/apps/v1/namespaces/{}/daemonsets/weir-agent",
            agent::NAMESPACE
        );
        until("the operator to write the second owner", READY_LIMIT, || async {
            let set = world.cluster.get_json(&path).await;
            set.map(|set| {
                let owners = set["metadata"]["ownerReferences"].as_array();
                let owns = owners.into_iter().flatten().any(|owner| owner["uid"] == second);
                Probe::when(owns, (), set["metadata"]["ownerReferences"].to_string())
            })
        })
        .await?;
        holds(
            "the other manager's label and annotation",
            Duration::from_secs(3),
            || async {
                let set = world.cluster.get_json(&path).await;
                set.map(|set| {
                    let of = |field: &str| set["metadata"][field]["e2e.weir.dev/team"] == "sre";
                    Probe::when(of("labels") && of("annotations"), (), set["metadata"].to_string())
                })
            },
        )
        .await?;
        let object = profile.get().await?;
        for field in ["labels", "annotations"] {
            let value = &object["metadata"][field]["e2e.weir.dev/team"];
            assert_eq!(value, "sre", "{}", object["metadata"]);
        }
        for verb in ["label", "annotate"] {
            let mut arguments = vec![verb];
            arguments.extend(daemonset);
            arguments.extend(["e2e.weir.dev/team-", "--field-manager=somebody"]);
            world.cluster.kubectl(arguments).await?;
        }
        Ok(())
    })
    .await
}

/// Scenario: a profile is created, broken and mended, and every state of it that the API server sends is looked at.
/// Guarantees: a fresh object is never `Current`; none is while its generation is ahead of its status, or it is not ready;
/// each change is `InProgress` first; a sink that does not exist is `Failed`; the mended one is `Current` again.
#[tokio::test]
async fn kstatus_is_in_progress_then_current_then_failed() -> TestResult {
    scenario::run("kstatus", async |world| {
        let spec = |sink: &str| {
            json!({
                "workloads": {"namespaces": ["nowhere"], "host": "Exclude"},
                "events": [{"name": "execs", "kind": "process.exec"}],
                "sinkRef": {"name": sink},
            })
        };
        // What the API server itself makes of a new object, before any operator sees it.
        let fresh = json!({
            "apiVersion": "weir.dev/v1alpha1", "kind": "CollectorProfile",
            "metadata": {"name": world.named("fresh")}, "spec": spec("default"),
        });
        let path = "/apis/weir.dev/v1alpha1/collectorprofiles?dryRun=All";
        let (code, text) = world
            .cluster
            .attempt("POST", path, "application/json", &fresh)
            .await?;
        assert_eq!(code, 200, "{text}");
        assert_eq!(kstatus(&serde_json::from_str(&text)?), "InProgress", "{text}");

        let watch = Watch::begin(world, &world.named("p")).await?;
        let profile = world.profile("p", spec("default")).await?;
        for (sink, expected) in [
            ("default", "Current"),
            ("no-such-sink", "Failed"),
            ("default", "Current"),
        ] {
            profile.edit(spec(sink)).await?;
            let what = format!("{expected} with sink {sink}");
            profile
                .until(&what, READY_LIMIT, |object| {
                    kstatus(object) == expected && is_current(object)
                })
                .await?;
        }
        let seen = watch.end(3).await?;
        let mut told: Vec<(i64, &str)> = Vec::new();
        for object in &seen {
            let state = kstatus(object);
            if state == "Current" {
                assert!(
                    is_current(object),
                    "Current, though its status is of before: {object}"
                );
                assert_eq!(condition(object, "Ready")["status"], "True", "{object}");
            }
            let generation = object["metadata"]["generation"].as_i64().unwrap_or_default();
            if told.last() != Some(&(generation, state)) {
                told.push((generation, state));
            }
        }
        println!("{told:?}");
        for generation in 1..=3 {
            let first = told.iter().find(|(of, _)| *of == generation);
            assert_eq!(first, Some(&(generation, "InProgress")), "{told:?}");
        }
        assert_eq!(told.last(), Some(&(3, "Current")), "{told:?}");
        Ok(())
    })
    .await
}

/// Every state of one profile from the watch's begin on, as the API server sends it.
struct Watch {
    seen: Arc<Mutex<Vec<Value>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Watch {
    async fn begin(world: &World, name: &str) -> TestResult<Self> {
        let path = format!(
            "/apis/weir.dev/v1alpha1/collectorprofiles?watch=true&timeoutSeconds=280&fieldSelector=metadata.name%3D{name}"
        );
        let request = http::Request::get(path).body(Vec::new())?;
        let stream = world.cluster.client.request_events::<Value>(request).await?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let mut stream = std::pin::pin!(stream);
            while let Some(Ok(event)) = stream.next().await {
                if let WatchEvent::Added(object) | WatchEvent::Modified(object) = event
                    && let Ok(mut seen) = sink.lock()
                {
                    seen.push(object);
                }
            }
        });
        Ok(Self { seen, task })
    }

    /// Waits until the watch has shown `generation` as `Current`, and returns all that it has.
    async fn end(self, generation: i64) -> TestResult<Vec<Value>> {
        let whole = until("the watch to show what a get did", READY_LIMIT, || {
            let seen = self.seen.lock().map(|seen| seen.clone()).unwrap_or_default();
            let there = seen.last().is_some_and(|last| {
                last["metadata"]["generation"] == generation && kstatus(last) == "Current"
            });
            std::future::ready(Probe::when(there, seen.clone(), format!("{:?}", seen.last())))
        })
        .await;
        self.task.abort();
        Ok(whole?)
    }
}
