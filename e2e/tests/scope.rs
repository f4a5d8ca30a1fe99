//! Which nodes and pods are in scope: by node, by namespace, by labels that come later.
//!
//! What must not arrive is started before something of the same node that must: an agent delivers in order, so that
//! the latter's arrival proves the former's absence.

use std::time::Duration;

use serde_json::json;
use weir_e2e::agent;
use weir_e2e::cluster::{Cluster, ClusterError};
use weir_e2e::scenario::{self, TestResult};
use weir_e2e::stream::{Events, is_exec_of};
use weir_e2e::workload::Workload;

const READY_LIMIT: Duration = Duration::from_secs(30);
const EVENT_LIMIT: Duration = Duration::from_secs(10);

/// Starts a program with an argument that nothing else has.
async fn echo(cluster: &Cluster, namespace: &str, pod: &str, marker: &str) -> Result<(), ClusterError> {
    cluster
        .exec(namespace, pod, &["/bin/echo", marker])
        .await
        .map(drop)
}

/// Scenario: a profile for one of the nodes; a program is started on each.
/// Guarantees: only that node counts and reports the profile, and only its program arrives.
#[tokio::test]
async fn node_selector_keeps_other_nodes_out() -> TestResult {
    scenario::run("node-selector", async |world| {
        let (chosen, others) = world.nodes.split_first().ok_or("the cluster has no node")?;
        let namespace = world.namespace("ns", &json!({})).await?.name;
        let profile = world
            .profile(
                "one",
                json!({
                    "nodes": {"selector": {"matchLabels": {"kubernetes.io/hostname": world.hostname(chosen)}}},
                    "workloads": {"namespaces": [namespace], "host": "Exclude"},
                    "events": [{"name": "execs", "kind": "process.exec"}],
                }),
            )
            .await?;
        let object = profile.until_ready(READY_LIMIT).await?;
        assert_eq!(
            object["status"]["nodes"]["summary"], "1/1",
            "{}",
            object["status"]
        );
        for node in others {
            let report = agent::report(&world.cluster, node).await?;
            let profiles = report["status"]["profiles"].to_string();
            assert!(!profiles.contains(&profile.name), "{node} reports {profiles}");
        }

        let mut events = Events::of(&world.cluster, &profile.name).await?;
        for node in world.nodes.iter().rev() {
            Workload::new(&namespace, &format!("pod-{node}"))
                .on(node)
                .start(&world.cluster)
                .await?;
            echo(
                &world.cluster,
                &namespace,
                &format!("pod-{node}"),
                &format!("of-{node}"),
            )
            .await?;
        }
        events
            .until("the chosen node's program", EVENT_LIMIT, |event| {
                is_exec_of(event, &format!("of-{chosen}"))
            })
            .await?;
        let foreign = events
            .all
            .iter()
            .find(|event| event.data["node"] != chosen.as_str());
        assert!(foreign.is_none(), "{foreign:?}");
        // The other agents have counted nothing of it either.
        for node in others {
            let pod = &agent::pods(&world.cluster).await?[node];
            let counts = agent::Counts::of(&agent::cut(&world.cluster, &pod.name).await?, &profile.name);
            assert_eq!(counts.get("matched"), 0, "{node}: {counts:?}");
        }
        Ok(())
    })
    .await
}

/// Scenario: a profile selects namespaces by label and excludes one by name; then the label comes to another one.
/// Guarantees: pods of labelled namespaces arrive, those of the excluded and the unlabelled one do not; what the label
/// brings into scope arrives without an edit.
#[tokio::test]
async fn namespace_selector_follows_labels_and_excludes_win() -> TestResult {
    scenario::run("namespace-selector", async |world| {
        let node = world.nodes.first().ok_or("the cluster has no node")?;
        let labels = json!({"e2e.weir.dev/collect": "yes"});
        let inside = world.namespace("inside", &labels).await?.name;
        let excluded = world.namespace("excluded", &labels).await?.name;
        let later = world.namespace("later", &json!({})).await?.name;
        for namespace in [&inside, &excluded, &later] {
            Workload::new(namespace, "pod")
                .on(node)
                .start(&world.cluster)
                .await?;
        }
        let profile = world
            .profile(
                "labelled",
                json!({
                    "workloads": {
                        "namespaceSelector": {"matchLabels": labels},
                        "excludeNamespaces": [excluded], "host": "Exclude",
                    },
                    "events": [{"name": "execs", "kind": "process.exec"}],
                }),
            )
            .await?;
        profile.until_ready(READY_LIMIT).await?;
        let mut events = Events::of(&world.cluster, &profile.name).await?;
        for namespace in [&excluded, &later, &inside] {
            echo(&world.cluster, namespace, "pod", "early").await?;
        }
        events
            .until("a program of the labelled namespace", EVENT_LIMIT, |event| {
                is_exec_of(event, "early")
            })
            .await?;
        let outside = events
            .all
            .iter()
            .find(|event| event.data["workload"]["namespace"] != inside.as_str());
        assert!(outside.is_none(), "{outside:?}");

        let label = ["label", "namespace", &later, "e2e.weir.dev/collect=yes"];
        world.cluster.kubectl(label).await?;
        until_in_scope(&world.cluster, &mut events, &later).await?;
        assert!(
            events
                .all
                .iter()
                .all(|event| event.data["workload"]["namespace"] != excluded.as_str())
        );
        Ok(())
    })
    .await
}

/// Scenario: a profile selects pods by a label; a pod gets it while it runs, and loses it again.
/// Guarantees: what the pod starts before is never delivered; after the label came, it is, without an edit or a restart;
/// after the label went, nothing is any more.
#[tokio::test]
async fn pod_label_added_later_brings_the_pod_into_scope() -> TestResult {
    scenario::run("pod-label", async |world| {
        let node = world.nodes.last().ok_or("the cluster has no node")?;
        let namespace = world.namespace("ns", &json!({})).await?.name;
        Workload::new(&namespace, "pod")
            .on(node)
            .start(&world.cluster)
            .await?;
        Workload::new(&namespace, "other")
            .on(node)
            .label("collect", "yes")
            .start(&world.cluster)
            .await?;
        let profile = world
            .profile(
                "labelled",
                json!({
                    "workloads": {
                        "namespaces": [namespace],
                        "podSelector": {"matchLabels": {"collect": "yes"}}, "host": "Exclude",
                    },
                    "events": [{"name": "execs", "kind": "process.exec"}],
                }),
            )
            .await?;
        profile.until_ready(READY_LIMIT).await?;
        let mut events = Events::of(&world.cluster, &profile.name).await?;
        echo(&world.cluster, &namespace, "pod", "too-early").await?;
        echo(&world.cluster, &namespace, "other", "in-scope").await?;
        events
            .until("a program of the labelled pod", EVENT_LIMIT, |event| {
                is_exec_of(event, "in-scope")
            })
            .await?;
        assert!(!events.all.iter().any(|event| is_exec_of(event, "too-early")));

        let label = ["label", "pod", "pod", "collect=yes", "--namespace", &namespace];
        world.cluster.kubectl(label).await?;
        until_in_scope(&world.cluster, &mut events, &namespace).await?;
        assert!(!events.all.iter().any(|event| is_exec_of(event, "too-early")));

        let unlabel = ["label", "pod", "pod", "collect-", "--namespace", &namespace];
        world.cluster.kubectl(unlabel).await?;
        until_out_of_scope(&world.cluster, &mut events, &namespace).await?;
        // Once more, so that it is not an event in between that was late.
        assert!(
            !is_delivered(&world.cluster, &mut events, &namespace, "too-late").await?,
            "the pod came back into scope"
        );
        Ok(())
    })
    .await
}

/// Starts a program in `pod` and then one in `other`, which is in scope; says whether the first has arrived when the second
/// did.
async fn is_delivered(
    cluster: &Cluster,
    events: &mut Events,
    namespace: &str,
    marker: &str,
) -> TestResult<bool> {
    let fence = format!("fence-of-{marker}");
    echo(cluster, namespace, "pod", marker).await?;
    echo(cluster, namespace, "other", &fence).await?;
    events
        .until("the program that is in scope", EVENT_LIMIT, |event| {
            is_exec_of(event, &fence)
        })
        .await?;
    Ok(events.all.iter().any(|event| is_exec_of(event, marker)))
}

/// Starts programs in `pod` until one does not arrive: that a label went reaches the agent a moment after the API server.
async fn until_out_of_scope(cluster: &Cluster, events: &mut Events, namespace: &str) -> TestResult {
    let deadline = tokio::time::Instant::now() + EVENT_LIMIT;
    let mut attempt = 0;
    while is_delivered(cluster, events, namespace, &format!("leaving-{attempt}")).await? {
        attempt += 1;
        if tokio::time::Instant::now() > deadline {
            return Err(format!("the pod is in scope {EVENT_LIMIT:?} after its label went").into());
        }
    }
    Ok(())
}

/// Starts programs in `pod` of a namespace until one arrives: a label reaches the agent a moment after the API server.
async fn until_in_scope(cluster: &Cluster, events: &mut Events, namespace: &str) -> TestResult {
    let deadline = tokio::time::Instant::now() + EVENT_LIMIT;
    let mut attempt = 0;
    loop {
        attempt += 1;
        let marker = format!("attempt-{namespace}-{attempt}");
        echo(cluster, namespace, "pod", &marker).await?;
        let wait = events.until(
            "a program of a pod now in scope",
            Duration::from_secs(1),
            |event| is_exec_of(event, &marker),
        );
        match wait.await {
            Ok(_) => return Ok(()),
            Err(error) if tokio::time::Instant::now() > deadline => return Err(error.into()),
            Err(_) => {}
        }
    }
}
