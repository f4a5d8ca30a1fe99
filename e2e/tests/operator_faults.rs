//! What keeps the operator from its work: settings, definitions, roles, a second one. Each changes the operator, which
//! everything else needs, and so they run one after the other.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Mutex;
use weir_e2e::profile::{Profile, condition};
use weir_e2e::scenario::{self, BASELINE, TestResult, World};
use weir_e2e::told::{until_event, until_logged, until_told};
use weir_e2e::{agent, operator};

const READY_LIMIT: Duration = Duration::from_secs(45);
const TOLD_LIMIT: Duration = Duration::from_secs(30);
/// The operator starts anew, and looks at definitions every 30 s; the kubelet tries to pull.
const SETTINGS_LIMIT: Duration = Duration::from_secs(90);
/// An operator that is gone is not told of any longer than this.
const SECOND_GONE_LIMIT: Duration = Duration::from_secs(30);
/// What Events about the operator itself are about.
const OPERATOR: &str = "weir-operator";

static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

async fn bad_settings(world: &World, baseline: &Profile) -> TestResult {
    for (settings, reason, words) in [
        (
            json!({"agent": {"image": "registry.invalid/weir-agent:1"}}),
            "ImagePullFailed",
            "registry.invalid/weir-agent:1 cannot be pulled",
        ),
        (
            json!({"agent": {"resources": {"requests": {"memory": "4Ti"}, "limits": {"memory": "4Ti"}}}}),
            "AgentsUnschedulable",
            "Insufficient memory",
        ),
    ] {
        world.operator_settings(&settings).await?;
        let object = baseline
            .until_condition("Degraded", "True", Some(reason), SETTINGS_LIMIT)
            .await?;
        let status = &object["status"];
        let all_but_one = status["nodes"]["live"] == world.agent_nodes.len() - 1;
        if condition(&object, "Ready")["reason"] != reason || !all_but_one {
            return Err(format!("all but one are to be live, and Ready to say {reason}: {status}").into());
        }
        // Something else may be told of as many nodes.
        let mut problems = status["problems"].as_array().into_iter().flatten();
        let problem = problems.find(|problem| problem["reason"] == reason);
        let problem = problem.ok_or_else(|| format!("no problem is {reason}: {status}"))?;
        let example = problem["examples"][0].as_str().unwrap_or_default().to_owned();
        let said = problem["message"].as_str().unwrap_or_default();
        if problem["nodes"] != 1 || !world.agent_nodes.contains(&example) || !said.contains(words) {
            return Err(format!("{reason} is to be told of one node, with {words:?}: {problem}").into());
        }
        until_told(&world.cluster, BASELINE, reason, words, TOLD_LIMIT).await?;
    }
    Ok(())
}

/// Scenario: the operator is told an image for agents that cannot be pulled, and then a request that no node can meet.
/// Guarantees: each is told as the profile's reason, with the node and what is wrong, in conditions, Events and the log;
/// only one node is without an agent meanwhile; with right settings all recover.
#[tokio::test]
async fn agents_that_cannot_start_are_told_and_only_one_node_waits_for_them() -> TestResult {
    let _alone = ONE_AT_A_TIME.lock().await;
    scenario::run("settings", async |world| {
        let baseline = world.baseline().await?;
        // An agent that was not available yet would be replaced at once, whatever else is unavailable.
        agent::until_available(&world.cluster, world.agent_nodes.len(), SETTINGS_LIMIT).await?;
        let told = bad_settings(world, &baseline).await;
        // In any case: every other scenario needs agents.
        world.install().await?;
        agent::until_available(&world.cluster, world.agent_nodes.len(), SETTINGS_LIMIT).await?;
        baseline.until_ready(SETTINGS_LIMIT).await?;
        told
    })
    .await
}

/// Scenario: the definition of profiles is one of another version; then the right one is applied.
/// Guarantees: every profile says so, and which command helps, as do an Event and the log; agents go on; it is over soon
/// after the right one is there.
#[tokio::test]
async fn definition_of_another_version_is_told_by_every_profile() -> TestResult {
    let _alone = ONE_AT_A_TIME.lock().await;
    scenario::run("definitions", async |world| {
        let baseline = world.baseline().await?;
        let agents = agent::pods(&world.cluster).await?;
        let name = "collectorprofiles.weir.dev";
        let definition = format!("customresourcedefinition/{name}");
        let other = [
            "annotate",
            &definition,
            "weir.dev/schema-digest=0000000000000000",
            "--overwrite",
        ];
        world.cluster.kubectl(other).await?;
        let object = baseline
            .until_condition("Degraded", "True", Some("CrdTooOld"), SETTINGS_LIMIT)
            .await?;
        let message = condition(&object, "Degraded")["message"].to_string();
        assert!(
            message.contains(name) && message.contains("apply the crds"),
            "{message}"
        );
        assert_eq!(
            condition(&object, "Ready")["status"],
            "True",
            "{}",
            object["status"]
        );
        until_told(&world.cluster, name, "CrdTooOld", "apply the crds", TOLD_LIMIT).await?;
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

/// The pod of a second operator, which takes no part in the election: the `Deployment`'s template with another argument.
async fn second_operator(world: &World) -> TestResult<(String, Value)> {
    let deployment = world.cluster.get_json(operator::DEPLOYMENT).await?;
    let mut spec = deployment["spec"]["template"]["spec"].clone();
    let arguments = spec["containers"][0]["args"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let arguments: Vec<Value> = arguments
        .into_iter()
        .map(|argument| {
            if argument == "--leader-elect=true" {
                json!("--leader-elect=false")
            } else {
                argument
            }
        })
        .collect();
    if !arguments.contains(&json!("--leader-elect=false")) {
        return Err(format!("the operator's arguments are {arguments:?}").into());
    }
    spec["containers"][0]["args"] = json!(arguments);
    let name = world.named("second");
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": operator::NAMESPACE,
            "labels": deployment["spec"]["template"]["metadata"]["labels"],
        },
        "spec": spec,
    });
    Ok((name, pod))
}

/// Scenario: a second operator is started beside the first, without election; then it is deleted.
/// Guarantees: every profile says so, as do an Event about the operator's role and the log, with what to do; it is over
/// within 30 s of the second one's end.
#[tokio::test]
async fn second_operator_without_election_is_told() -> TestResult {
    let _alone = ONE_AT_A_TIME.lock().await;
    scenario::run("second", async |world| {
        let baseline = world.baseline().await?;
        let (name, pod) = second_operator(world).await?;
        world.cluster.apply(&pod.to_string()).await?;
        world
            .adopt_in(operator::NAMESPACE, &format!("pod/{name}"))
            .await?;
        let reason = "SecondOperator";
        let object = baseline
            .until_condition("Degraded", "True", Some(reason), SETTINGS_LIMIT)
            .await?;
        let message = condition(&object, "Degraded")["message"].to_string();
        let words = "leave leader election on";
        assert!(message.contains(words), "{message}");
        until_told(&world.cluster, OPERATOR, reason, words, TOLD_LIMIT).await?;
        let delete = ["delete", "pod", &name, "--namespace", operator::NAMESPACE];
        world.cluster.kubectl(delete).await?;
        baseline
            .until("no word of a second operator", SECOND_GONE_LIMIT, |object| {
                condition(object, "Degraded")["reason"] != reason
            })
            .await?;
        baseline.until_ready(READY_LIMIT).await?;
        Ok(())
    })
    .await
}

/// Scenario: the operator's role loses a right; its pods are replaced, so that it is asked for; then the role is applied again.
/// Guarantees: an Event about the role and the log name what is refused and the remedy; the operator does not crash; it and
/// the profiles recover by themselves.
#[tokio::test]
async fn right_that_was_taken_away_is_told_with_the_remedy() -> TestResult {
    let _alone = ONE_AT_A_TIME.lock().await;
    scenario::run("denied", async |world| {
        let baseline = world.baseline().await?;
        let role = format!("/apis/rbac.authorization.k8s.io/v1/clusterroles/{OPERATOR}");
        let mut rules = world.cluster.get_json(&role).await?["rules"].clone();
        let lists = rules.as_array_mut().into_iter().flatten();
        for resources in lists.filter_map(|rule| rule["resources"].as_array_mut()) {
            resources.retain(|resource| resource != "collectornodes");
        }
        let patch = json!({"rules": rules}).to_string();
        let patch = [
            "patch",
            "clusterrole",
            OPERATOR,
            "--type=merge",
            "--patch",
            &patch,
        ];
        world.cluster.kubectl(patch).await?;
        let selector = "--selector=app.kubernetes.io/name=weir-operator";
        let delete = ["delete", "pods", selector, "--namespace", operator::NAMESPACE];
        world.cluster.kubectl(delete).await?;
        let told = async {
            let remedy = "apply the manifests' RBAC again";
            let limit = SETTINGS_LIMIT;
            until_event(&world.cluster, OPERATOR, "PermissionDenied", remedy, limit).await?;
            until_logged(&world.cluster, &["collectornodes", remedy], limit).await
        };
        let told = told.await;
        // In any case: every other scenario needs the operator.
        world.install().await?;
        told?;
        baseline.until_ready(SETTINGS_LIMIT).await?;
        let object = baseline
            .until("no word of it", SETTINGS_LIMIT, |object| {
                condition(object, "Degraded")["status"] == "False"
            })
            .await?;
        assert_eq!(
            condition(&object, "Ready")["status"],
            "True",
            "{}",
            object["status"]
        );
        Ok(())
    })
    .await
}
