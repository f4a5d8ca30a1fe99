//! Weir under a `GitOps` tool: no drift, no fight over fields, and a status that such tools understand.

use std::time::Duration;

use serde_json::json;
use weir_e2e::agent;
use weir_e2e::cluster::checkout;
use weir_e2e::profile::kstatus;
use weir_e2e::scenario::{self, TestResult};
use weir_e2e::wait::{Probe, holds, until};

const READY_LIMIT: Duration = Duration::from_secs(30);

/// Scenario: the manifests are applied a second time, and compared with the cluster.
/// Guarantees: server-side apply meets no conflict, and `kubectl diff` shows no drift, neither of the manifests nor of
/// the profile and sink that the operator has written a status to.
#[tokio::test]
async fn second_apply_finds_no_drift() -> TestResult {
    scenario::run("drift", async |world| {
        world.baseline().await?;
        for folder in ["default", "quickstart"] {
            let path = checkout().join("manifests").join(folder).display().to_string();
            world
                .cluster
                .kubectl(["apply", "--server-side", "--kustomize", &path])
                .await?;
            // It exits with 1 when there is a difference.
            world
                .cluster
                .kubectl(["diff", "--server-side", "--kustomize", &path])
                .await?;
        }
        Ok(())
    })
    .await
}

/// Scenario: somebody labels and annotates the agents' `DaemonSet` and a profile with a field manager of their own; then
/// the profile is edited.
/// Guarantees: the labels are there after the operator's visits, and the operator does not fight for them.
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
        holds("the other manager's label", Duration::from_secs(3), || async {
            let mut arguments = vec![
                "get",
                "--output=jsonpath={.metadata.labels.e2e\\.weir\\.dev/team}",
            ];
            arguments.extend(daemonset);
            let value = world.cluster.kubectl(arguments).await;
            value.map(|value| Probe::when(value == "sre", (), value))
        })
        .await?;
        let object = profile.get().await?;
        assert_eq!(
            object["metadata"]["labels"]["e2e.weir.dev/team"], "sre",
            "{}",
            object["metadata"]
        );
        let remove: Vec<&str> = ["label"]
            .into_iter()
            .chain(daemonset)
            .chain(["e2e.weir.dev/team-", "--field-manager=somebody"])
            .collect();
        world.cluster.kubectl(remove).await?;
        Ok(())
    })
    .await
}

/// Scenario: a profile is created, edited, broken and mended; kstatus' rules are applied to each state seen.
/// Guarantees: a fresh object is never `Current`; it becomes so only when ready; a sink that does not exist is
/// `Failed`; the mended one is `Current` again.
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

        let profile = world.profile("p", spec("default")).await?;
        for (sink, expected) in [
            ("default", "Current"),
            ("no-such-sink", "Failed"),
            ("default", "Current"),
        ] {
            profile.edit(spec(sink)).await?;
            let mut seen = Vec::new();
            let object = until(&format!("{expected} with sink {sink}"), READY_LIMIT, || {
                let profile = profile.clone();
                async move {
                    let object = profile.get().await;
                    object.map(|object| {
                        let state = kstatus(&object);
                        Probe::when(
                            state == expected && weir_e2e::profile::is_current(&object),
                            object.clone(),
                            object["status"].to_string(),
                        )
                    })
                }
            })
            .await?;
            seen.push(kstatus(&object));
            assert_eq!(seen.last(), Some(&expected));
        }
        Ok(())
    })
    .await
}
