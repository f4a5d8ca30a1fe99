//! A cluster in which nothing changes is left alone, and what Weir costs meanwhile; then, how fast a change gets through.

use std::time::{Duration, Instant};

use serde_json::json;
use weir_e2e::audit::Mark;
use weir_e2e::harness::Harness;
use weir_e2e::process::{Cost, cost_of};
use weir_e2e::scenario::{self, TestResult, World};
use weir_e2e::wait::{Probe, until};
use weir_e2e::{agent, operator};

/// Without a write for so long, the last consequences of what other tests did are told: a moved rate is after 75 s.
const SILENCE: Duration = Duration::from_secs(90);
/// What a user is promised, counted whole from then on.
const WINDOW: Duration = Duration::from_mins(1);
/// Pods of other tests take up to 30 s to end, that leaves the 60 s over which rates are told, and a moved rate is told
/// after 75 s more. A cluster that is not silent by then is not going to be.
const LIMIT: Duration = Duration::from_mins(7);

/// Of an operator of two nodes.
const OPERATOR_BYTES: u64 = 40_000_000;
/// Of one processor. The promise is 0.1 %; the rest is for a machine that does other things meanwhile.
const OPERATOR_CPU: f64 = 0.003;
/// As on a host without Kubernetes, with room for what the cluster's metadata takes.
const AGENT_BYTES: u64 = 40_000_000;

/// Each on its own: an agent that has written its report a few times in a row waits for 5 s before the next.
const EDITS: u32 = 7;
const EDIT_PAUSE: Duration = Duration::from_secs(5);
const EDIT_MEDIAN: Duration = Duration::from_secs(1);
const EDIT_LIMIT: Duration = Duration::from_secs(20);

/// What to watch: a pod's UID and what to call it.
type Watched = (String, String);

async fn watched(world: &World) -> TestResult<(Vec<Watched>, Vec<Watched>)> {
    let operators = operator::pods(&world.cluster).await?;
    let agents = agent::pods(&world.cluster).await?;
    Ok((
        operators.into_iter().map(|pod| (pod.uid, pod.name)).collect(),
        agents.into_values().map(|pod| (pod.uid, pod.name)).collect(),
    ))
}

fn costs(pods: &[Watched]) -> std::io::Result<Vec<Cost>> {
    pods.iter().map(|(uid, _)| cost_of(uid)).collect()
}

/// Prints what each pod cost since `before`; returns the highest memory and the highest share of a processor.
fn tell(pods: &[Watched], before: &[Cost], took: Duration) -> std::io::Result<(u64, f64)> {
    let after = costs(pods)?;
    let mut highest = (0, 0.0_f64);
    for ((_, name), (before, after)) in pods.iter().zip(before.iter().zip(&after)) {
        let share = after.cpu.saturating_sub(before.cpu).as_secs_f64() / took.as_secs_f64();
        println!(
            "{name}: {:.1} MB resident, {:.3} % CPU over {:.0} s",
            f64::from(u32::try_from(after.resident / 1000).unwrap_or(u32::MAX)) / 1000.0,
            share * 100.0,
            took.as_secs_f64()
        );
        highest = (highest.0.max(after.resident), highest.1.max(share));
    }
    Ok(highest)
}

/// Scenario: the quick start is ready, and nobody changes anything.
/// Guarantees: the last consequences of what was before once told, the API server's own audit log has no write of any of
/// Weir's service accounts in a whole minute, but for Leases; meanwhile the operator holds at most 40 MB and loops over
/// nothing, and agents hold what they do on a host. Then an edit is applied by every agent in at most 1 s (median).
#[tokio::test]
async fn steady_state_writes_nothing_for_a_minute() -> TestResult {
    scenario::run("steady", async |world| {
        let why = "only the local provider shows the audit log and the pods' processes";
        let Some(harness) = Harness::require(&world.cluster, why)? else {
            return Ok(());
        };
        world.baseline().await?;
        let mark = until_silent(&harness).await?;

        let (operators, agents) = watched(world).await?;
        let before = (costs(&operators)?, costs(&agents)?);
        let start = Instant::now();
        // Every 20 s, so that a failure comes early; what is counted is the whole time.
        while start.elapsed() < WINDOW {
            tokio::time::sleep(WINDOW / 3).await;
            assert_eq!(
                mark.weir_writes()?,
                [],
                "after {:.0} s of the minute",
                start.elapsed().as_secs_f64()
            );
        }
        let took = start.elapsed();
        let (bytes, share) = tell(&operators, &before.0, took)?;
        let (agent_bytes, _) = tell(&agents, &before.1, took)?;
        assert!(bytes <= OPERATOR_BYTES, "an operator holds {bytes} bytes");
        assert!(
            share <= OPERATOR_CPU,
            "an idle operator takes {:.3} % of a processor",
            share * 100.0
        );
        assert!(agent_bytes <= AGENT_BYTES, "an agent holds {agent_bytes} bytes");

        edits(world).await
    })
    .await
}

/// Waits for [`SILENCE`]; returns a mark at its end.
async fn until_silent(harness: &Harness) -> TestResult<Mark> {
    let mut mark = Mark::now(&harness.audit_log())?;
    let mut since = Instant::now();
    let mut last = String::from("none");
    let mark = until("silence", LIMIT, || {
        let probe = mark.weir_writes_and_on().map(|(writes, behind)| {
            if !writes.is_empty() {
                last = format!("{writes:?}");
                since = Instant::now();
            }
            mark = behind;
            let seen = format!("{} s after {last}", since.elapsed().as_secs());
            Probe::when(since.elapsed() >= SILENCE, mark.clone(), seen)
        });
        std::future::ready(probe)
    })
    .await?;
    Ok(mark)
}

/// Edits a profile again and again, and measures from each `PATCH` to the reports of all nodes that speak of it.
async fn edits(world: &World) -> TestResult {
    let spec = |rate: u32| {
        json!({
            "workloads": {"namespaces": ["nowhere"], "host": "Exclude"},
            "events": [{"name": "execs", "kind": "process.exec", "limit": {"eventsPerSecond": rate}}],
        })
    };
    let profile = world.profile("edited", spec(1)).await?;
    profile.until_ready(EDIT_LIMIT).await?;
    let mut times = Vec::new();
    for rate in 2..=EDITS + 1 {
        tokio::time::sleep(EDIT_PAUSE).await;
        let start = Instant::now();
        profile.edit(spec(rate)).await?;
        loop {
            let list = world
                .cluster
                .get_json("/apis/weir.dev/v1alpha1/collectornodes")
                .await?;
            let reports = list["items"].as_array().map_or(&[][..], Vec::as_slice);
            let follow = |node: &String| {
                let report = reports
                    .iter()
                    .find(|report| report["metadata"]["name"] == node.as_str());
                report.is_some_and(|report| agent::row(report, &profile.name)["generation"] == rate)
            };
            if world.agent_nodes.iter().all(follow) {
                break;
            }
            if start.elapsed() > EDIT_LIMIT {
                return Err(
                    format!("generation {rate} is not on every node after {EDIT_LIMIT:?}: {list}").into(),
                );
            }
            // A look costs some milliseconds; this is what the measure is off by at most, besides.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        times.push(start.elapsed());
    }
    times.sort_unstable();
    let (median, max) = (times[times.len() / 2], times[times.len() - 1]);
    println!(
        "from an edit to every agent's report of it: median {} ms, max {} ms of {EDITS}",
        median.as_millis(),
        max.as_millis()
    );
    assert!(median <= EDIT_MEDIAN, "the median of {times:?}");
    Ok(())
}
