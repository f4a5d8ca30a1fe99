//! A profile is applied: agents follow on the nodes that it selects, and what they collect has the right names.

use std::time::{Duration, Instant};

use serde_json::json;
use weir_e2e::scenario::{self, TestResult};
use weir_e2e::stream::{Event, Events, is_exec_of};
use weir_e2e::workload::{TESTBOX, Workload};
use weir_e2e::{agent, profile};

/// What a user is promised from `kubectl apply` to `Ready`.
const READY_LIMIT: Duration = Duration::from_secs(30);
const EVENT_LIMIT: Duration = Duration::from_secs(10);

/// Scenario: the quick start is applied.
/// Guarantees: every node has a ready agent and a report of its own; the report names the agent's pod and shows the
/// kernel's hooks attached; the profile is `Ready` and counts every node, the sink is `Ready`.
#[tokio::test]
async fn quick_start_is_ready_on_every_node_with_a_report_each() -> TestResult {
    scenario::run("quickstart", async |world| {
        let start = Instant::now();
        let object = world.baseline().await?.get().await?;
        println!(
            "the quick start was ready after {:.1} s",
            start.elapsed().as_secs_f64()
        );
        let count = world.nodes.len();
        assert_eq!(
            object["status"]["nodes"]["summary"],
            format!("{count}/{count}"),
            "{}",
            object["status"]
        );
        assert_eq!(profile::kstatus(&object), "Current", "{}", object["status"]);

        let agents = agent::until_on(&world.cluster, &world.nodes, READY_LIMIT).await?;
        assert_eq!(agents.len(), count, "{agents:?}");
        for node in &world.nodes {
            let report = agent::report(&world.cluster, node).await?;
            assert_eq!(report["status"]["podUID"], agents[node].uid, "{report}");
            assert_eq!(
                report["metadata"]["ownerReferences"][0]["kind"], "Node",
                "{report}"
            );
            let attached = agent::attached(&world.cluster, node).await?;
            for hook in ["sched_process_exec", "sched_process_exit"] {
                assert!(
                    attached.iter().any(|name| name == hook),
                    "{hook} is not attached on {node}: {report}"
                );
            }
        }
        let sink = world
            .cluster
            .get_json("/apis/weir.dev/v1alpha1/collectorsinks/default")
            .await?;
        assert_eq!(
            profile::condition(&sink, "Ready")["status"],
            "True",
            "{}",
            sink["status"]
        );
        Ok(())
    })
    .await
}

/// Scenario: a profile for one namespace; then a program is started in a pod on each node that has an owner.
/// Guarantees: `Ready` within 30 s; each program's start arrives once, with its own namespace, pod, container, image,
/// owner and node, and never under another node's name.
#[tokio::test]
async fn program_of_each_node_arrives_with_its_own_names() -> TestResult {
    scenario::run("names", async |world| {
        let namespace = world.namespace("shop", &json!({})).await?.name;
        let profile = world
            .profile(
                "execs",
                json!({
                    "workloads": {"namespaces": [namespace], "host": "Exclude"},
                    "events": [{"name": "execs", "kind": "process.exec"}],
                }),
            )
            .await?;
        let start = Instant::now();
        profile.until_ready(READY_LIMIT).await?;
        println!(
            "ready {:.1} s after it was applied",
            start.elapsed().as_secs_f64()
        );

        let mut events = Events::of(&world.cluster, &profile.name).await?;
        for node in &world.nodes {
            Workload::new(&namespace, &format!("web-{node}"))
                .on(node)
                .owner(
                    "weir.dev/v1alpha1",
                    "CollectorProfile",
                    &profile.name,
                    &uid(&profile.get().await?),
                )
                .start(&world.cluster)
                .await?;
        }
        for node in &world.nodes {
            let pod = format!("web-{node}");
            let marker = format!("marker-of-{node}");
            world
                .cluster
                .exec(&namespace, &pod, &["/bin/echo", &marker])
                .await?;
            let what = format!("the start of a program on {node}");
            let event = events
                .until(&what, EVENT_LIMIT, |event| is_exec_of(event, &marker))
                .await?;
            let workload = &event.data["workload"];
            for (field, expected) in [
                ("namespace", namespace.as_str()),
                ("pod", &pod),
                ("container", "main"),
                ("image", TESTBOX),
                ("ownerKind", "CollectorProfile"),
                ("ownerName", &profile.name),
                ("node", node),
            ] {
                assert_eq!(workload[field], expected, "{field} of {}", event.data);
            }
            assert_eq!(event.data["node"], node.as_str(), "{}", event.data);
            assert_eq!(
                event.data["processExec"]["args"][0], "/bin/echo",
                "{}",
                event.data
            );
        }
        // All that is there, once more: nothing came twice, under a second name or from the other node.
        events.read().await?;
        for node in &world.nodes {
            let marker = format!("marker-of-{node}");
            let of_marker = |event: &&Event| is_exec_of(event, &marker);
            let seen: Vec<_> = events
                .all
                .iter()
                .filter(of_marker)
                .map(|event| &event.data)
                .collect();
            assert_eq!(seen.len(), 1, "{seen:?}");
        }
        let foreign = events
            .all
            .iter()
            .find(|event| event.data["workload"]["namespace"] != namespace.as_str());
        assert!(foreign.is_none(), "{foreign:?}");
        Ok(())
    })
    .await
}

fn uid(object: &serde_json::Value) -> String {
    object["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
}
