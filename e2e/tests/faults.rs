//! Parts fail: the operator, the API server, an agent. They disturb everything else, and so run one after the other.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::Mutex;
use weir_e2e::agent::{self, Counts};
use weir_e2e::harness::Harness;
use weir_e2e::profile::{Profile, condition};
use weir_e2e::scenario::{self, TestResult, World};
use weir_e2e::stream::{Events, is_exec_of};
use weir_e2e::wait::{Probe, holds, until};
use weir_e2e::workload::Workload;

const READY_LIMIT: Duration = Duration::from_secs(45);
const EVENT_LIMIT: Duration = Duration::from_secs(20);
/// The operator starts anew, and looks at definitions every 30 s; the kubelet tries to pull.
const SETTINGS_LIMIT: Duration = Duration::from_secs(90);
const FAILOVER_LIMIT: Duration = Duration::from_secs(20);
const OUTAGE: Duration = Duration::from_mins(1);
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/weir-system/leases/weir-operator";

static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

fn spec(namespace: &str) -> Value {
    json!({
        "workloads": {"namespaces": [namespace], "host": "Exclude"},
        "events": [{"name": "execs", "kind": "process.exec"}],
    })
}

/// A shell that starts a program five times a second.
const TICKING: &str =
    "trap exit TERM; i=0; while true; do /bin/echo tick-$i >/dev/null; i=$((i+1)); usleep 200000; done";

async fn holder(world: &World) -> Result<String, weir_e2e::cluster::ClusterError> {
    let lease = world.cluster.get_json(LEASE).await?;
    Ok(lease["spec"]["holderIdentity"]
        .as_str()
        .unwrap_or_default()
        .to_owned())
}

/// Scenario: the leading operator is killed with SIGKILL, so that it cannot let go of its Lease.
/// Guarantees: the other one leads within 20 s and takes up an edit; no agent is restarted or becomes unready.
#[tokio::test]
async fn killed_operator_is_replaced_within_twenty_seconds() -> TestResult {
    let _alone = ONE_AT_A_TIME.lock().await;
    scenario::run("operator-killed", async |world| {
        let Some(harness) = Harness::of(&world.cluster) else {
            eprintln!("SKIPPED: only the local provider can kill a pod's processes");
            return Ok(());
        };
        world.baseline().await?;
        let profile = world.profile("p", spec("nowhere")).await?;
        profile.until_ready(READY_LIMIT).await?;
        let agents = agent::pods(&world.cluster).await?;
        let leader = holder(world).await?;
        let pod = leader.rsplit_once('_').map_or(leader.as_str(), |(pod, _)| pod);
        let path = format!("/api/v1/namespaces/weir-system/pods/{pod}");
        let uid = world.cluster.get_json(&path).await?["metadata"]["uid"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let killed = Instant::now();
        harness.kill_pod(&uid)?;
        until("another holder of the Lease", FAILOVER_LIMIT, || async {
            let now = holder(world).await;
            now.map(|now| Probe::when(now != leader && !now.is_empty(), (), now))
        })
        .await?;
        println!(
            "another operator leads {:.1} s after the kill",
            killed.elapsed().as_secs_f64()
        );
        let mut edited = spec("nowhere");
        edited["priority"] = json!(1);
        profile.edit(edited).await?;
        profile.until_ready(READY_LIMIT).await?;
        assert_eq!(agent::pods(&world.cluster).await?, agents, "an agent noticed");
        Ok(())
    })
    .await
}

/// Scenario: the API server is stopped for 60 s while pods start programs; a profile is edited as soon as it is back.
/// Guarantees: events are stored by the broker throughout the outage; no agent is restarted; the edit's status
/// converges; every tick of the outage arrived.
#[tokio::test]
async fn agents_deliver_without_the_api_server_and_status_converges_after_it() -> TestResult {
    let _alone = ONE_AT_A_TIME.lock().await;
    scenario::run("api-outage", async |world| {
        let Some(harness) = Harness::of(&world.cluster) else {
            eprintln!("SKIPPED: only the local provider can stop an API server");
            return Ok(());
        };
        let namespace = world.namespace("ns", &json!({})).await?.name;
        let profile = world.profile("ticks", spec(&namespace)).await?;
        profile.until_ready(READY_LIMIT).await?;
        for node in &world.nodes {
            Workload::new(&namespace, node)
                .on(node)
                .script(TICKING)
                .start(&world.cluster)
                .await?;
        }
        let before = agent::pods(&world.cluster).await?;
        harness.stop("apiserver").await?;
        let from = k8s_openapi::jiff::Timestamp::now().as_second();
        let outage = holds("the API server's absence", OUTAGE, || async {
            let answer = world.cluster.get_raw("/readyz").await;
            std::convert::identity::<Result<_, std::convert::Infallible>>(Ok(Probe::when(
                answer.is_err(),
                (),
                "an answer",
            )))
        })
        .await;
        let to = k8s_openapi::jiff::Timestamp::now().as_second();
        harness.start("apiserver").await?;
        outage?;
        until("the API server to be back", READY_LIMIT, || async {
            world.cluster.get_raw("/readyz").await.map(Probe::Done)
        })
        .await?;

        let mut edited = spec(&namespace);
        edited["priority"] = json!(1);
        profile.edit(edited).await?;
        profile.until_ready(Duration::from_secs(90)).await?;
        let uids = |pods: &std::collections::BTreeMap<String, agent::AgentPod>| {
            pods.values()
                .map(|pod| (pod.uid.clone(), pod.restarts))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            uids(&agent::pods(&world.cluster).await?),
            uids(&before),
            "an agent was restarted"
        );

        let mut events = Events::of(&world.cluster, &profile.name).await?;
        events.read().await?;
        for node in &world.nodes {
            let during: Vec<_> = events
                .all
                .iter()
                .filter(|event| {
                    event.data["node"] == node.as_str() && (from + 5..to - 5).contains(&event.stored)
                })
                .collect();
            println!("{} events of {node} were stored during the outage", during.len());
            let seconds: std::collections::BTreeSet<i64> = during.iter().map(|event| event.stored).collect();
            assert!(
                i64::try_from(seconds.len())? > (to - from - 10) / 2,
                "{node} delivered in {} seconds only",
                seconds.len()
            );
            let numbers: std::collections::BTreeSet<u64> = events
                .all
                .iter()
                .filter(|event| event.data["node"] == node.as_str())
                .filter_map(|event| {
                    event.data["processExec"]["args"][1]
                        .as_str()?
                        .strip_prefix("tick-")?
                        .parse()
                        .ok()
                })
                .collect();
            let (first, last) = (
                numbers.first().copied().unwrap_or(0),
                numbers.last().copied().unwrap_or(0),
            );
            assert_eq!(
                numbers.len() as u64,
                last - first + 1,
                "{node} lost a tick between {first} and {last}"
            );
        }
        Ok(())
    })
    .await
}

/// Scenario: an agent is killed with SIGKILL while pods start programs.
/// Guarantees: its container is started again with a new epoch; the status says so and recovers; what its ledger
/// had counted as acknowledged before is in the stream; sequence numbers of the new life start anew, without a second
/// copy of an id.
#[tokio::test]
async fn killed_agent_comes_back_and_has_claimed_nothing_that_is_not_there() -> TestResult {
    let _alone = ONE_AT_A_TIME.lock().await;
    scenario::run("agent-killed", async |world| {
        let Some(harness) = Harness::of(&world.cluster) else {
            eprintln!("SKIPPED: only the local provider can kill a pod's processes");
            return Ok(());
        };
        let node = world.nodes.last().ok_or("the cluster has no node")?;
        let namespace = world.namespace("ns", &json!({})).await?.name;
        let profile = world.profile("ticks", spec(&namespace)).await?;
        profile.until_ready(READY_LIMIT).await?;
        Workload::new(&namespace, "pod")
            .on(node)
            .script(TICKING)
            .start(&world.cluster)
            .await?;
        let mut events = Events::of(&world.cluster, &profile.name).await?;
        events
            .until("a tick", EVENT_LIMIT, |event| is_exec_of(event, "tick-3"))
            .await?;

        let pod = agent::pods(&world.cluster).await?[node].clone();
        let epoch = agent::report(&world.cluster, node).await?["status"]["epoch"].clone();
        let claimed = Counts::of(&agent::cut(&world.cluster, &pod.name).await?, &profile.name).get("acked");
        assert!(claimed > 0);
        harness.kill_pod(&pod.uid)?;
        until("the agent's new life", READY_LIMIT, || async {
            let report = agent::report(&world.cluster, node).await;
            report.map(|report| {
                let now = &report["status"]["epoch"];
                Probe::when(now.is_i64() && *now != epoch, (), now.to_string())
            })
        })
        .await?;
        let after =
            agent::until_on(&world.cluster, std::slice::from_ref(node), READY_LIMIT).await?[node].clone();
        assert_eq!((after.uid, after.restarts), (pod.uid, pod.restarts + 1));
        profile.until_ready(READY_LIMIT).await?;

        let epoch_of =
            |event: &weir_e2e::stream::Event| event.id.split('/').next().unwrap_or_default().to_owned();
        let old = epoch.to_string();
        events
            .until("an event of the new life", EVENT_LIMIT, |event| {
                epoch_of(event) != old
            })
            .await?;
        let of_old = events.all.iter().filter(|event| epoch_of(event) == old).count() as u64;
        assert!(
            of_old >= claimed,
            "{claimed} were claimed delivered, {of_old} are there"
        );
        assert_eq!(events.distinct(), events.all.len() as u64, "an id came twice");
        Ok(())
    })
    .await
}

async fn bad_settings(world: &World, baseline: &Profile) -> TestResult {
    for (settings, reason) in [
        (
            json!({"agent": {"image": "registry.invalid/weir-agent:1"}}),
            "ImagePullFailed",
        ),
        (
            json!({"agent": {"resources": {"requests": {"memory": "4Ti"}, "limits": {"memory": "4Ti"}}}}),
            "AgentsUnschedulable",
        ),
    ] {
        world.operator_settings(&settings).await?;
        let object = baseline
            .until_condition("Degraded", "True", Some(reason), SETTINGS_LIMIT)
            .await?;
        let status = &object["status"];
        let all_but_one = status["nodes"]["live"] == world.nodes.len() - 1;
        if condition(&object, "Ready")["reason"] != reason || !all_but_one {
            return Err(format!("all but one are to be live, and Ready to say {reason}: {status}").into());
        }
    }
    Ok(())
}

/// Scenario: the operator is told an image for agents that cannot be pulled, and then a request that no node can meet.
/// Guarantees: each is told as the profile's reason, with the node; only one node is without an agent meanwhile; with
/// right settings all recover.
#[tokio::test]
async fn agents_that_cannot_start_are_told_and_only_one_node_waits_for_them() -> TestResult {
    let _alone = ONE_AT_A_TIME.lock().await;
    scenario::run("settings", async |world| {
        let baseline = world.baseline().await?;
        // An agent that was not available yet would be replaced at once, whatever else is unavailable.
        agent::until_available(&world.cluster, world.nodes.len(), SETTINGS_LIMIT).await?;
        let told = bad_settings(world, &baseline).await;
        // In any case: every other scenario needs agents.
        world.operator_settings(&json!({"agent": {}})).await?;
        agent::until_available(&world.cluster, world.nodes.len(), SETTINGS_LIMIT).await?;
        baseline.until_ready(SETTINGS_LIMIT).await?;
        told
    })
    .await
}

/// Scenario: the definition of profiles is one of another version; then the right one is applied.
/// Guarantees: every profile says so, and which command helps; agents go on; it is over soon after the right one is there.
#[tokio::test]
async fn definition_of_another_version_is_told_by_every_profile() -> TestResult {
    let _alone = ONE_AT_A_TIME.lock().await;
    scenario::run("definitions", async |world| {
        let baseline = world.baseline().await?;
        let agents = agent::pods(&world.cluster).await?;
        let other = [
            "annotate",
            "customresourcedefinition/collectorprofiles.weir.dev",
            "weir.dev/schema-digest=0000000000000000",
            "--overwrite",
        ];
        world.cluster.kubectl(other).await?;
        let object = baseline
            .until_condition("Degraded", "True", Some("CrdTooOld"), SETTINGS_LIMIT)
            .await?;
        let message = condition(&object, "Degraded")["message"].to_string();
        assert!(message.contains("collectorprofiles.weir.dev"), "{message}");
        assert_eq!(
            condition(&object, "Ready")["status"],
            "True",
            "{}",
            object["status"]
        );
        world.install().await?;
        baseline
            .until("the definition to fit", SETTINGS_LIMIT, |object| {
                condition(object, "Degraded")["reason"] != "CrdTooOld"
            })
            .await?;
        assert_eq!(agent::pods(&world.cluster).await?, agents);
        Ok(())
    })
    .await
}
