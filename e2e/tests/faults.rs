//! Parts fail: the operator, the API server, an agent, a node's network. They disturb everything else, and so run one after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use weir_e2e::agent::{self, Counts};
use weir_e2e::harness::Harness;
use weir_e2e::operator;
use weir_e2e::profile::{condition, is_current};
use weir_e2e::scenario::{self, TestResult, World};
use weir_e2e::stream::{Event, Events, is_exec_of};
use weir_e2e::wait::{Probe, holds, until};
use weir_e2e::workload::Workload;

const READY_LIMIT: Duration = Duration::from_secs(45);
const EVENT_LIMIT: Duration = Duration::from_secs(20);
const FAILOVER_LIMIT: Duration = Duration::from_secs(20);
const OUTAGE: Duration = Duration::from_mins(1);
/// After an outage the node controller calls the pods of a node unready that has not answered, and a kubelet whose watch
/// waits to be tried again says otherwise only then: up to a minute and a half later, seen. Weir believes the kubelet.
const CONVERGED_LIMIT: Duration = Duration::from_mins(3);
/// Into the outage, by when agents have noticed it.
const KILL_AFTER: Duration = Duration::from_secs(15);
/// Between two events that the broker stored of a node whose pods tick five times a second.
const LARGEST_GAP: i64 = 3_000;
/// What the kubelet's silence takes to be noticed, and what the operator makes of it.
const SILENCE_LIMIT: Duration = Duration::from_secs(90);
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

/// Scenario: the leading operator is killed with SIGKILL, so that it cannot let go of its Lease; a profile is edited at once.
/// Guarantees: another one leads, and the status speaks of the edit, within 20 s of the kill; no agent is restarted or
/// becomes unready.
#[tokio::test]
async fn killed_operator_is_replaced_within_twenty_seconds() -> TestResult {
    let _alone = ONE_AT_A_TIME.lock().await;
    scenario::run("operator-killed", async |world| {
        let Some(harness) = Harness::require(
            &world.cluster,
            "only the local provider can kill a pod's processes",
        )?
        else {
            return Ok(());
        };
        world.operator_may_restart();
        world.baseline().await?;
        let profile = world.profile("p", spec("nowhere")).await?;
        profile.until_ready(READY_LIMIT).await?;
        let agents = agent::pods(&world.cluster).await?;
        let leader = holder(world).await?;
        let pod = leader.rsplit_once('_').map_or(leader.as_str(), |(pod, _)| pod);
        let operators = operator::pods(&world.cluster).await?;
        let pod = operators.iter().find(|other| other.name == pod);
        let killed = Instant::now();
        harness.kill_pod(&pod.ok_or("the Lease's holder is no pod")?.uid)?;
        let mut edited = spec("nowhere");
        edited["priority"] = json!(1);
        profile.edit(edited).await?;
        let left = || FAILOVER_LIMIT.saturating_sub(killed.elapsed());
        until("another holder of the Lease", left(), || async {
            let now = holder(world).await;
            now.map(|now| Probe::when(now != leader && !now.is_empty(), (), now))
        })
        .await?;
        println!(
            "another operator leads {:.1} s after the kill",
            killed.elapsed().as_secs_f64()
        );
        profile
            .until("a status that speaks of the edit", left(), is_current)
            .await?;
        println!(
            "the edit's status is there {:.1} s after the kill",
            killed.elapsed().as_secs_f64()
        );
        profile.until_ready(READY_LIMIT).await?;
        assert_eq!(agent::pods(&world.cluster).await?, agents, "an agent noticed");
        Ok(())
    })
    .await
}

/// Scenario: the API server is stopped for 60 s while pods start programs in a namespace that a profile selects and in one
/// that it does not; in the midst of it the last node's agent is killed; the profile is edited as soon as the server is back.
/// Guarantees: of the other nodes, events are stored by the broker throughout, at most 3 s apart, and no tick is missing;
/// the killed agent comes back from its cache and delivers while the server is still away, in scope only; no other agent is
/// restarted; the edit's status converges.
#[tokio::test]
async fn agents_deliver_without_the_api_server_and_status_converges_after_it() -> TestResult {
    let _alone = ONE_AT_A_TIME.lock().await;
    scenario::run("api-outage", async |world| {
        let Some(harness) = Harness::require(&world.cluster, "only the local provider can stop an API server")? else {
            return Ok(());
        };
        // A leader that cannot renew its Lease ends.
        world.operator_may_restart();
        let namespace = world.namespace("ns", &json!({})).await?.name;
        let outside = world.namespace("outside", &json!({})).await?.name;
        let profile = world.profile("ticks", spec(&namespace)).await?;
        profile.until_ready(READY_LIMIT).await?;
        for node in &world.nodes {
            for namespace in [&namespace, &outside] {
                Workload::new(namespace, node).on(node).script(TICKING).start(&world.cluster).await?;
            }
        }
        let mut events = Events::of(&world.cluster, &profile.name).await?;
        for node in &world.nodes {
            events.until("a tick of each node", EVENT_LIMIT, |event| event.node() == node).await?;
        }
        let (killed, others) = world.nodes.split_last().ok_or("the cluster has no node")?;
        let before = agent::pods(&world.cluster).await?;
        let epoch = agent::report(&world.cluster, killed).await?["status"]["epoch"].to_string();
        harness.stop("apiserver").await?;
        let from = now_millis();
        let absent = |what, period| {
            holds(what, period, || async {
                let answer = world.cluster.get_raw("/readyz").await;
                Probe::when(answer.is_err(), (), "an answer")
            })
        };
        // Whatever comes of it, the server is started again.
        let outage = async {
            absent("the API server's absence", KILL_AFTER).await?;
            harness.kill_pod(&before[killed].uid)?;
            absent("the API server's further absence", OUTAGE.saturating_sub(KILL_AFTER)).await?;
            Ok(())
        };
        let outage: TestResult = outage.await;
        let to = now_millis();
        harness.start("apiserver").await?;
        outage?;
        until("the API server to be back", READY_LIMIT, || async {
            world.cluster.get_raw("/readyz").await.map(Probe::Done)
        })
        .await?;

        let mut edited = spec(&namespace);
        edited["priority"] = json!(1);
        profile.edit(edited).await?;
        profile.until_ready(CONVERGED_LIMIT).await?;
        let mut expected: BTreeMap<_, _> =
            before.iter().map(|(node, pod)| (node, (pod.uid.as_str(), pod.restarts))).collect();
        if let Some((_, restarts)) = expected.get_mut(killed) {
            *restarts += 1;
        }
        let after = agent::pods(&world.cluster).await?;
        let after: BTreeMap<_, _> = after.iter().map(|(node, pod)| (node, (pod.uid.as_str(), pod.restarts))).collect();
        assert_eq!(after, expected, "an agent was restarted that was not killed");

        // The way to the broker was by way of the API server.
        let mut events = Events::of(&world.cluster, &profile.name).await?;
        events.read().await?;
        for node in others {
            check_outage(&events, node, from, to)?;
        }
        let of_new_life = |event: &&Event| event.node() == killed && event.epoch() != epoch && event.stored < to;
        let during: Vec<&Event> = events.all.iter().filter(of_new_life).collect();
        let first = during.first().ok_or("the killed agent delivered nothing before the API server was back")?;
        println!(
            "the killed agent delivered {} events before the API server was back, from {:.1} s after the outage's begin on",
            during.len(),
            f64::from(i32::try_from(first.stored - from)?) / 1000.0
        );
        let foreign = events.all.iter().find(|event| event.data["workload"]["namespace"] != namespace.as_str());
        assert!(foreign.is_none(), "out of scope: {foreign:?}");
        Ok(())
    })
    .await
}

fn now_millis() -> i64 {
    k8s_openapi::jiff::Timestamp::now().as_millisecond()
}

/// Of a node whose agent was left alone: events were stored throughout, and no tick is missing.
fn check_outage(events: &Events, node: &str, from: i64, to: i64) -> TestResult {
    let of_node = || events.all.iter().filter(|event| event.node() == node);
    let mut times: Vec<i64> = of_node()
        .map(|event| event.stored)
        .filter(|stored| (from..to).contains(stored))
        .collect();
    times.extend([from, to]);
    times.sort_unstable();
    let gap = times
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .max()
        .unwrap_or(i64::MAX);
    println!(
        "{} events of {node} were stored during the outage, at most {gap} ms apart",
        times.len() - 2
    );
    assert!(gap <= LARGEST_GAP, "{node} delivered nothing for {gap} ms");
    let numbers: BTreeSet<u64> = of_node().filter_map(tick).collect();
    let (first, last) = (
        numbers.first().copied().ok_or("no tick is there")?,
        numbers.last().copied().unwrap_or(0),
    );
    assert_eq!(
        numbers.len() as u64,
        last - first + 1,
        "{node} lost a tick between {first} and {last}"
    );
    Ok(())
}

fn tick(event: &Event) -> Option<u64> {
    event.data["processExec"]["args"][1]
        .as_str()?
        .strip_prefix("tick-")?
        .parse()
        .ok()
}

/// Scenario: an agent is killed with SIGKILL while pods start programs.
/// Guarantees: its container is started again with a new epoch; the status says so and recovers; what its ledger
/// had counted as acknowledged before is in the stream; sequence numbers of the new life start anew, without a second
/// copy of an id.
#[tokio::test]
async fn killed_agent_comes_back_and_has_claimed_nothing_that_is_not_there() -> TestResult {
    let _alone = ONE_AT_A_TIME.lock().await;
    scenario::run("agent-killed", async |world| {
        let Some(harness) = Harness::require(
            &world.cluster,
            "only the local provider can kill a pod's processes",
        )?
        else {
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
        let killed = Timestamp::now();
        harness.kill_pod(&pod.uid)?;
        // In seconds, as conditions are. It need not be seen while it is False: when it came back is told, too.
        let said = profile.until("a status that says so", READY_LIMIT, |object| {
            let ready = condition(object, "Ready");
            let since = ready["lastTransitionTime"]
                .as_str()
                .and_then(|time| time.parse::<Timestamp>().ok());
            ready["status"] == "False" || since.is_some_and(|since| since.as_second() >= killed.as_second())
        });
        let said = said.await?;
        println!("the status after the kill: {}", condition(&said, "Ready"));
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

        let old = epoch.to_string();
        events
            .until("an event of the new life", EVENT_LIMIT, |event| {
                event.epoch() != old
            })
            .await?;
        let of_old = events.all.iter().filter(|event| event.epoch() == old).count() as u64;
        assert!(
            of_old >= claimed,
            "{claimed} were claimed delivered, {of_old} are there"
        );
        assert_eq!(events.distinct(), events.all.len() as u64, "an id came twice");
        Ok(())
    })
    .await
}

/// The node to cut off: one without the broker where there is such, and never the only one with an operator.
async fn to_cut_off(world: &World) -> TestResult<String> {
    let operators = operator::pods(&world.cluster).await?;
    let broker = world
        .cluster
        .get_json("/api/v1/namespaces/weir-nats/pods/nats-0")
        .await?;
    let mut nodes: Vec<&String> = world
        .nodes
        .iter()
        .filter(|node| operators.iter().any(|operator| operator.node != **node))
        .collect();
    nodes.sort_by_key(|node| broker["spec"]["nodeName"] == node.as_str());
    Ok((*nodes.first().ok_or("no node has an operator beside it")?).clone())
}

/// Scenario: a node is cut off from everything else, and joined again.
/// Guarantees: within 90 s it is counted as stale, with `AgentStale` and its name, and the profile is not ready; after it
/// is back, it is.
#[tokio::test]
async fn silent_node_is_stale_within_ninety_seconds() -> TestResult {
    let _alone = ONE_AT_A_TIME.lock().await;
    scenario::run("partition", async |world| {
        let Some(harness) = Harness::require(&world.cluster, "only the local provider can cut a node off")?
        else {
            return Ok(());
        };
        // An operator on that node cannot renew its Lease.
        world.operator_may_restart();
        let baseline = world.baseline().await?;
        let node = to_cut_off(world).await?;
        let cut = Instant::now();
        harness.partition(&node).await?;
        let stale = baseline
            .until("the silent node to be stale", SILENCE_LIMIT, |object| {
                object["status"]["nodes"]["stale"] == 1 && condition(object, "Ready")["status"] == "False"
            })
            .await;
        println!(
            "told {:.1} s after {node} was cut off",
            cut.elapsed().as_secs_f64()
        );
        // Before anything is judged: every other scenario needs the node.
        harness.heal(&node).await?;
        let object = stale?;
        let problems = object["status"]["problems"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let problem = problems.iter().find(|problem| problem["reason"] == "AgentStale");
        let problem = problem.ok_or_else(|| format!("AgentStale is not told: {problems:?}"))?;
        assert_eq!(problem["examples"], json!([node]), "{problem}");
        baseline.until_ready(SILENCE_LIMIT).await?;
        agent::until_on(&world.cluster, &world.agent_nodes, READY_LIMIT).await?;
        Ok(())
    })
    .await
}
