//! A node whose kernel offers less than the others. It needs a cluster that was made with such a node:
//! `cargo xtask cluster up --nodes 2 --masked-tracefs-node 2`.

use std::time::{Duration, Instant};

use serde_json::json;
use weir_e2e::agent;
use weir_e2e::harness::Harness;
use weir_e2e::profile::{Profile, condition};
use weir_e2e::scenario::{self, BASELINE, TestResult, World};
use weir_e2e::stream::{Events, is_exec_of};
use weir_e2e::wait::{Probe, holds, until};
use weir_e2e::workload::Workload;

const STATUS_LIMIT: Duration = Duration::from_mins(1);
const EVENT_LIMIT: Duration = Duration::from_secs(10);
/// What a user is promised from an agent's report to the profile's status.
const TOLD_LIMIT: Duration = Duration::from_secs(5);
const DAEMON_SET: &str = "/apis/apps/v1/namespaces/weir-agents/daemonsets/weir-agent";
/// One node after the other.
const ROLL_OUT_LIMIT: Duration = Duration::from_mins(2);

/// Scenario: one node has no tracefs, which hooks on system calls need; the quick start asks for them everywhere.
/// Guarantees: `Degraded` with a reason, that node as the example and its count; `Ready=False`; the other node is live and
/// delivers; a profile that comes to that node says so within 5 s of its agent's report; the agent of that node is ready all the same, so that it stalls no roll-out; a profile whose kinds need no tracefs
/// is ready on both; a roll-out of the agents passes that node like any other.
#[tokio::test]
async fn node_without_tracefs_is_degraded_and_the_others_live() -> TestResult {
    scenario::run("tracefs", async |world| {
        let Some(masked) = Harness::require_masked(&world.cluster)? else {
            return Ok(());
        };
        let baseline = Profile::existing(&world.cluster, BASELINE);
        let object = baseline
            .until_condition("Degraded", "True", None, STATUS_LIMIT)
            .await?;
        let object = match object["status"]["nodes"]["live"].as_i64() {
            Some(live) if usize::try_from(live).is_ok_and(|live| live + 1 == world.agent_nodes.len()) => {
                object
            }
            _ => {
                let one = world.agent_nodes.len() - 1;
                baseline
                    .until("all nodes but one to be live", STATUS_LIMIT, |object| {
                        object["status"]["nodes"]["live"] == one && object["status"]["nodes"]["degraded"] == 1
                    })
                    .await?
            }
        };
        let status = &object["status"];
        assert_eq!(condition(&object, "Ready")["status"], "False", "{status}");
        let problem = &status["problems"][0];
        assert_eq!(problem["reason"], "TracefsMissing", "{status}");
        assert_eq!(problem["nodes"], 1, "{status}");
        assert_eq!(problem["examples"], json!([masked]), "{status}");
        assert!(problem["message"].to_string().contains("trac"), "{status}");

        let agents = agent::until_on(&world.cluster, &world.agent_nodes, STATUS_LIMIT).await?;
        holds("every agent is ready", Duration::from_secs(5), || async {
            let now = agent::pods(&world.cluster).await;
            now.map(|now| {
                let seen = format!("{now:?}");
                Probe::when(now == agents, (), seen)
            })
        })
        .await?;
        let execs = world
            .profile(
                "execs",
                json!({"events": [{"name": "execs", "kind": "process.exec"}]}),
            )
            .await?;
        execs.until_ready(STATUS_LIMIT).await?;
        other_node_delivers(world, &masked).await?;
        failure_is_told_at_once(world, &masked).await?;

        roll_out(world).await?;
        let after = agent::until_on(&world.cluster, &world.agent_nodes, STATUS_LIMIT).await?;
        for (node, agent) in &after {
            assert_ne!(agents[node].uid, agent.uid, "{node} still has its old agent");
        }
        baseline
            .until("the same status after the roll-out", STATUS_LIMIT, |object| {
                object["status"]["nodes"]["degraded"] == 1
                    && condition(object, "Degraded")["status"] == "True"
                    && object["status"]["problems"][0]["examples"] == json!([masked])
            })
            .await?;
        Ok(())
    })
    .await
}

/// Starts a program on another node, and waits for it in the events of the quick start's profile.
async fn other_node_delivers(world: &World, masked: &str) -> TestResult {
    let other = world.nodes.iter().find(|node| *node != masked);
    let other = other.ok_or("every node is without tracefs")?;
    let namespace = world.namespace("ns", &json!({})).await?.name;
    Workload::new(&namespace, "pod")
        .on(other)
        .start(&world.cluster)
        .await?;
    let mut events = Events::from_now(&world.cluster, BASELINE).await?;
    world
        .cluster
        .exec(&namespace, "pod", &["/bin/echo", "of-the-other-node"])
        .await?;
    let event = events
        .until("a program of the other node", EVENT_LIMIT, |event| {
            is_exec_of(event, "of-the-other-node")
        })
        .await?;
    assert_eq!(event.node(), other, "{}", event.data);
    Ok(())
}

/// Brings a profile that needs tracefs to the node without it, and measures from that agent's report to the status.
async fn failure_is_told_at_once(world: &World, masked: &str) -> TestResult {
    let of = |operator: &str| {
        let term = json!({"key": "kubernetes.io/hostname", "operator": operator, "values": [world.hostname(masked)]});
        json!({
            "nodes": {"selector": {"matchExpressions": [term]}},
            "workloads": {"namespaces": ["nowhere"], "host": "Exclude"},
            "events": [{"name": "opens", "kind": "file.open"}],
        })
    };
    let opens = world.profile("opens", of("NotIn")).await?;
    let before = opens.until_ready(STATUS_LIMIT).await?;
    let edit = of("In");
    opens.edit(edit).await?;
    let generation = before["metadata"]["generation"].as_i64().unwrap_or_default() + 1;
    let reported = async {
        until("the agent to report the failure", STATUS_LIMIT, || async {
            let report = agent::report(&world.cluster, masked).await;
            report.map(|report| {
                let row = agent::row(&report, &opens.name);
                let there = row["reason"] == "TracefsMissing" || row.to_string().contains("TracefsMissing");
                Probe::when(there, Instant::now(), &report["status"]["profiles"])
            })
        })
        .await
    };
    let told = async {
        opens
            .until("Ready to be False for it", STATUS_LIMIT, |object| {
                object["status"]["observedGeneration"] == generation
                    && condition(object, "Ready")["status"] == "False"
                    && object["status"]["problems"][0]["reason"] == "TracefsMissing"
            })
            .await
            .map(|_| Instant::now())
    };
    let (reported, told) = tokio::join!(reported, told);
    let took = told?.saturating_duration_since(reported?);
    println!("Ready was False {} ms after the agent's report", took.as_millis());
    assert!(
        took <= TOLD_LIMIT,
        "the failure was told {took:?} after the agent's report"
    );
    opens.delete().await?;
    Ok(())
}

/// Changes the agents' template by the operator's settings, and waits until every node has the new one.
async fn roll_out(world: &World) -> TestResult {
    world
        .operator_settings(&json!({"agent": {"log": "debug"}}))
        .await?;
    until("the operator to change the template", ROLL_OUT_LIMIT, || async {
        let set = world.cluster.get_json(DAEMON_SET).await;
        set.map(|set| {
            let template = set["spec"]["template"]["spec"]["containers"].to_string();
            Probe::when(template.contains("debug"), (), template)
        })
    })
    .await?;
    agent::until_available(&world.cluster, world.agent_nodes.len(), ROLL_OUT_LIMIT).await?;
    Ok(())
}
