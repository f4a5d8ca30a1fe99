//! A profile is applied: agents follow on the nodes that it selects, and what they collect has the right names.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir_e2e::profile::Profile;
use weir_e2e::scenario::{self, TestResult, World, manifests};
use weir_e2e::stream::{Event, Events, is_exec_of};
use weir_e2e::workload::{TESTBOX, on_node};
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
        let count = world.agent_nodes.len();
        assert_eq!(
            object["status"]["nodes"]["summary"],
            format!("{count}/{count}"),
            "{}",
            object["status"]
        );
        assert_eq!(profile::kstatus(&object), "Current", "{}", object["status"]);

        let agents = agent::until_on(&world.cluster, &world.agent_nodes, READY_LIMIT).await?;
        assert_eq!(agents.len(), count, "{agents:?}");
        for node in &world.agent_nodes {
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

/// The containers of a pod of [`deployment`].
const CONTAINERS: [&str; 2] = ["main", "side"];

/// One pod of two containers on a node, which a `ReplicaSet` owns, as most pods of most clusters are.
fn deployment(namespace: &str, node: &str) -> Value {
    let labels = json!({"app": format!("web-{node}")});
    let containers = CONTAINERS.map(|name| {
        let script = "trap exit TERM; while true; do sleep 3600 & wait $!; done";
        json!({"name": name, "image": TESTBOX, "imagePullPolicy": "IfNotPresent", "command": ["/bin/sh", "-c", script]})
    });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": format!("web-{node}"), "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {
                "affinity": on_node(node), "terminationGracePeriodSeconds": 1, "containers": containers,
            }},
        },
    })
}

/// What the API server says of the one pod of a node's `Deployment`.
struct Expected {
    pod: String,
    uid: String,
    owner: String,
}

async fn expected(world: &World, namespace: &str, node: &str) -> TestResult<Expected> {
    let selector = format!("labelSelector=app%3Dweb-{node}");
    let list = world
        .cluster
        .get_json(&format!("/api/v1/namespaces/{namespace}/pods?{selector}"))
        .await?;
    let items = list["items"].as_array().cloned().unwrap_or_default();
    let [pod] = &items[..] else {
        return Err(format!("one pod was asked for, {} are there", items.len()).into());
    };
    let meta = &pod["metadata"];
    assert_eq!(meta["ownerReferences"][0]["kind"], "ReplicaSet", "{meta}");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(Expected {
        pod: text(&meta["name"]),
        uid: text(&meta["uid"]),
        owner: text(&meta["ownerReferences"][0]["name"]),
    })
}

/// Scenario: a profile for one namespace; a `Deployment` for each node, of a pod with two containers; then a program is
/// started in each container, and a last one on each node.
/// Guarantees: `Ready` within 30 s; each program's start arrives once, attributed exactly, with its own namespace, pod, UID,
/// container, image, owner and node; nothing of it arrives under another node's name.
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
            world
                .cluster
                .apply(&deployment(&namespace, node).to_string())
                .await?;
        }
        let mut markers = Vec::new();
        for node in &world.nodes {
            let name = format!("deployment/web-{node}");
            let status = [
                "rollout",
                "status",
                &name,
                "--namespace",
                &namespace,
                "--timeout=60s",
            ];
            world.cluster.kubectl(status).await?;
            for container in CONTAINERS {
                let marker = format!("marker-of-{container}-on-{node}");
                echo(world, &namespace, node, container, &marker).await?;
                markers.push((node, container, marker));
            }
        }
        for (node, container, marker) in &markers {
            let what = format!("the start of a program in {container} on {node}");
            let event = events
                .until(&what, EVENT_LIMIT, |event| is_exec_of(event, marker))
                .await?;
            let expected = expected(world, &namespace, node).await?;
            let workload = &event.data["workload"];
            for (field, expected) in [
                ("namespace", namespace.as_str()),
                ("pod", &expected.pod),
                ("podUid", &expected.uid),
                ("container", container),
                ("image", TESTBOX),
                ("ownerKind", "ReplicaSet"),
                ("ownerName", &expected.owner),
                ("node", node),
            ] {
                assert_eq!(workload[field], expected, "{field} of {}", event.data);
            }
            assert_eq!(event.data["attribution"], "ATTRIBUTION_EXACT", "{}", event.data);
            assert_eq!(event.data["node"], node.as_str(), "{}", event.data);
            assert_eq!(
                event.data["processExec"]["args"][0], "/bin/echo",
                "{}",
                event.data
            );
        }
        // An agent delivers in order: with each node's last program, all that it would say of the others is there.
        for node in &world.nodes {
            echo(world, &namespace, node, CONTAINERS[0], &format!("last-of-{node}")).await?;
        }
        for node in &world.nodes {
            let last = format!("last-of-{node}");
            events
                .until("the last program of each node", EVENT_LIMIT, |event| {
                    is_exec_of(event, &last)
                })
                .await?;
        }
        for (_, _, marker) in &markers {
            let of_marker = |event: &&Event| is_exec_of(event, marker);
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

async fn echo(world: &World, namespace: &str, node: &str, container: &str, marker: &str) -> TestResult {
    let pod = format!("deployment/web-{node}");
    world
        .cluster
        .exec_in(namespace, &pod, container, &["/bin/echo", marker])
        .await?;
    Ok(())
}

/// The end that the sample for debugging has, until whoever applies it sets another.
const SAMPLES_END: &str = "2099-12-31T23:59:59Z";

/// Scenario: every sample is applied as its comments say, with the end of the debugging one set ten minutes ahead.
/// Guarantees: each is accepted and ready on every node within 30 s; each can be deleted.
#[tokio::test]
async fn every_sample_is_accepted_and_ready() -> TestResult {
    scenario::run("samples", async |world| {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(manifests("samples"))? {
            let text = std::fs::read_to_string(entry?.path())?;
            let name = serde_saphyr::from_str::<Value>(&text)?["metadata"]["name"]
                .as_str()
                .ok_or("a sample has no name")?
                .to_owned();
            let text = text.replace(
                &format!("\"{SAMPLES_END}\""),
                &format!("\"{}\"", in_ten_minutes()),
            );
            let forever = format!("expirationTime: \"{SAMPLES_END}\"");
            assert!(!text.contains(&forever), "{name} still ends at {SAMPLES_END}");
            world.cluster.apply(&text).await?;
            world.adopt(&format!("collectorprofile/{name}")).await?;
            names.push(name);
        }
        assert!(names.len() >= 4, "the samples were not found: {names:?}");
        for name in &names {
            let sample = Profile::existing(&world.cluster, name);
            let object = sample.until_ready(READY_LIMIT).await?;
            assert_eq!(
                profile::condition(&object, "Accepted")["status"],
                "True",
                "{name}: {}",
                object["status"]
            );
            let all = world.agent_nodes.len();
            assert_eq!(
                object["status"]["nodes"]["live"], all,
                "{name}: {}",
                object["status"]
            );
        }
        for name in &names {
            world.cluster.kubectl(["delete", "cprof", name]).await?;
        }
        Ok(())
    })
    .await
}

/// As `date -u -d '+10 minutes' +%FT%TZ` prints it.
fn in_ten_minutes() -> String {
    let now = k8s_openapi::jiff::Timestamp::now().as_second();
    k8s_openapi::jiff::Timestamp::from_second(now + 600)
        .map(|time| time.to_string())
        .unwrap_or_default()
}
