//! A node whose kernel offers less than the others. It needs a cluster that was made with such a node:
//! `cargo xtask cluster up --nodes 2 --masked-tracefs-node 2`.

use std::time::Duration;

use serde_json::json;
use weir_e2e::agent;
use weir_e2e::harness::Harness;
use weir_e2e::profile::Profile;
use weir_e2e::profile::condition;
use weir_e2e::scenario::{self, BASELINE, TestResult, World};
use weir_e2e::wait::{Probe, holds, until};

const STATUS_LIMIT: Duration = Duration::from_mins(1);
const DAEMON_SET: &str = "/apis/apps/v1/namespaces/weir-agents/daemonsets/weir-agent";
/// One node after the other.
const ROLL_OUT_LIMIT: Duration = Duration::from_mins(2);

/// Scenario: one node has no tracefs, which hooks on system calls need; the quick start asks for them everywhere.
/// Guarantees: `Degraded` with a reason, that node as the example and its count; `Ready=False`; the other node is live;
/// the agent of that node is ready all the same, so that it stalls no roll-out; a profile whose kinds need no tracefs
/// is ready on both; a roll-out of the agents passes that node like any other.
#[tokio::test]
async fn node_without_tracefs_is_degraded_and_the_others_live() -> TestResult {
    scenario::run("tracefs", async |world| {
        let Some(masked) = Harness::of(&world.cluster).and_then(|harness| harness.masked_tracefs_node())
        else {
            eprintln!("SKIPPED: no node of this cluster is without tracefs");
            return Ok(());
        };
        let baseline = Profile::existing(&world.cluster, BASELINE);
        let object = baseline
            .until_condition("Degraded", "True", None, STATUS_LIMIT)
            .await?;
        let object = match object["status"]["nodes"]["live"].as_i64() {
            Some(live) if usize::try_from(live).is_ok_and(|live| live + 1 == world.nodes.len()) => object,
            _ => {
                let one = world.nodes.len() - 1;
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
        assert_eq!(problem["nodes"], 1, "{status}");
        assert_eq!(problem["examples"], json!([masked]), "{status}");
        assert!(problem["message"].to_string().contains("trac"), "{status}");

        let agents = agent::until_on(&world.cluster, &world.nodes, STATUS_LIMIT).await?;
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

        roll_out(world).await?;
        let after = agent::until_on(&world.cluster, &world.nodes, STATUS_LIMIT).await?;
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
    agent::until_available(&world.cluster, world.nodes.len(), ROLL_OUT_LIMIT).await?;
    Ok(())
}
