//! What ends a profile: suspension, its own end, deletion. This file deletes the quick start's profile, and puts it back.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use weir_e2e::agent::{self, Counts};
use weir_e2e::harness::Harness;
use weir_e2e::profile::condition;
use weir_e2e::programs;
use weir_e2e::scenario::{self, BASELINE, TestResult, World};
use weir_e2e::stream::{Events, is_exec_of};
use weir_e2e::wait::{Probe, holds, until};
use weir_e2e::workload::Workload;

const READY_LIMIT: Duration = Duration::from_secs(30);
const HOOK_LIMIT: Duration = Duration::from_secs(15);
const EVENT_LIMIT: Duration = Duration::from_secs(10);
/// The `DaemonSet`'s pods drain before they end.
const GONE_LIMIT: Duration = Duration::from_mins(1);

const EXEC_HOOK: &str = "sched_process_exec";
const OPEN_HOOK: &str = "sys_exit_openat";

fn spec(namespace: &str, kind: &str) -> Value {
    json!({
        "workloads": {"namespaces": [namespace], "host": "Exclude"},
        "events": [{"name": "e", "kind": kind}],
    })
}

/// Waits until `hook` is attached on each of `nodes`, or on none.
async fn until_hook(world: &World, nodes: &[String], hook: &str, attached: bool) -> TestResult {
    for node in nodes {
        let what = format!(
            "{hook} on {node} to be {}",
            if attached { "attached" } else { "gone" }
        );
        until(&what, HOOK_LIMIT, || async {
            let hooks = agent::attached(&world.cluster, node).await;
            hooks.map(|hooks| {
                let is = hooks.iter().any(|name| name == hook);
                Probe::when(is == attached, (), hooks.join(", "))
            })
        })
        .await?;
    }
    Ok(())
}

/// Scenario: two profiles of different kinds, one of them for one node; that one is deleted; the other is suspended, made a dry run, and expires; then
/// it, the last one, is deleted.
/// Guarantees: a kind's hook is attached on the matching node only; a deleted, suspended or expired profile's hooks go, others' stay and go on delivering; a dry run counts
/// and delivers nothing; each state is told in the status; after the last profile neither `DaemonSet` nor pods, nor a
/// BPF program that agents held, nor anything in the nodes' state folders is left.
#[tokio::test]
#[expect(
    clippy::too_many_lines,
    reason = "one story, told in the order in which it happens"
)]
async fn hooks_go_with_what_needs_them_and_agents_with_the_last_profile() -> TestResult {
    scenario::run("deletion", async |world| {
        world
            .cluster
            .kubectl(["delete", "cprof", BASELINE, "--wait=false"])
            .await?;
        let namespace = world.namespace("ns", &json!({})).await?.name;
        let node = world.nodes.first().ok_or("the cluster has no node")?;
        Workload::new(&namespace, "pod")
            .on(node)
            .start(&world.cluster)
            .await?;
        let execs = world.profile("execs", spec(&namespace, "process.exec")).await?;
        let (chosen, others) = world.agent_nodes.split_at(world.agent_nodes.len().min(1));
        let mut of_one = spec(&namespace, "file.open");
        let hostname = world.hostname(&chosen[0]);
        of_one["nodes"] = json!({"selector": {"matchLabels": {"kubernetes.io/hostname": hostname}}});
        let opens = world.profile("opens", of_one).await?;
        execs.until_ready(READY_LIMIT).await?;
        opens.until_ready(READY_LIMIT).await?;
        let all = &world.agent_nodes[..];
        until_hook(world, all, EXEC_HOOK, true).await?;
        until_hook(world, chosen, OPEN_HOOK, true).await?;
        // The quick start asked for it everywhere, and is gone.
        until_hook(world, others, OPEN_HOOK, false).await?;
        holds("the hook on one node only", Duration::from_secs(2), || async {
            for node in others {
                match agent::attached(&world.cluster, node).await {
                    Ok(hooks) if hooks.iter().any(|name| name == OPEN_HOOK) => {
                        return Probe::Never(format!("{OPEN_HOOK} is attached on {node}"));
                    }
                    Ok(_) => {}
                    Err(error) => return Probe::Never(error.to_string()),
                }
            }
            Probe::Done(())
        })
        .await?;

        opens.delete().await?;
        until_hook(world, chosen, OPEN_HOOK, false).await?;
        until_hook(world, all, EXEC_HOOK, true).await?;
        let mut events = Events::of(&world.cluster, &execs.name).await?;
        let run = async |marker: &str| {
            let program = ["/bin/echo", marker];
            world.cluster.exec(&namespace, "pod", &program).await.map(drop)
        };
        run("other-gone").await?;
        events
            .until("an event of the other profile", EVENT_LIMIT, |event| {
                is_exec_of(event, "other-gone")
            })
            .await?;

        let with = |name: &str, value: &str| {
            let mut spec = spec(&namespace, "process.exec");
            spec[name] = json!(value);
            spec
        };
        execs.edit(with("mode", "Suspended")).await?;
        execs
            .until_condition("Ready", "True", Some("Suspended"), READY_LIMIT)
            .await?;
        until_hook(world, all, EXEC_HOOK, false).await?;
        run("suspended").await?;

        execs.edit(with("mode", "DryRun")).await?;
        let object = execs
            .until_condition("Ready", "True", Some("DryRun"), READY_LIMIT)
            .await?;
        assert_eq!(
            condition(&object, "Delivering")["reason"],
            "DryRun",
            "{}",
            object["status"]
        );
        run("dry").await?;
        let pod = agent::pods(&world.cluster).await?[node].name.clone();
        until("the dry run to be counted", EVENT_LIMIT, || async {
            let ledger = agent::cut(&world.cluster, &pod).await;
            ledger.map(|ledger| {
                let counts = Counts::of(&ledger, &execs.name);
                Probe::when(counts.get("dry_run") > 0, (), format!("{counts:?}"))
            })
        })
        .await?;

        execs.edit(spec(&namespace, "process.exec")).await?;
        execs
            .until_condition("Ready", "True", Some("Live"), READY_LIMIT)
            .await?;
        run("active-again").await?;
        events
            .until("an event after the dry run", EVENT_LIMIT, |event| {
                is_exec_of(event, "active-again")
            })
            .await?;
        for silent in ["suspended", "dry"] {
            assert!(
                !events.all.iter().any(|event| is_exec_of(event, silent)),
                "{silent} was delivered"
            );
        }

        execs.edit(with("expirationTime", &in_seconds(6))).await?;
        execs
            .until_condition("Ready", "True", Some("Expired"), READY_LIMIT)
            .await?;
        until_hook(world, all, EXEC_HOOK, false).await?;

        let mut programs = BTreeSet::new();
        let harness = Harness::of(&world.cluster);
        if harness.is_some() {
            for agent in agent::pods(&world.cluster).await?.values() {
                programs.extend(programs::held_by(&agent.uid)?);
            }
            assert!(!programs.is_empty(), "no agent holds a BPF program");
        }
        execs.delete().await?;
        until("the agents to go with the last profile", GONE_LIMIT, || async {
            let left = [
                "get",
                "daemonsets,pods,secrets",
                "--namespace",
                agent::NAMESPACE,
                "--output=name",
            ];
            let left = world.cluster.kubectl(left).await;
            left.map(|left| Probe::when(left.trim().is_empty(), (), left))
        })
        .await?;
        if let Some(harness) = harness {
            until(
                "the kernel to have let go of the programs",
                GONE_LIMIT,
                || async {
                    programs::loaded().map(|loaded| {
                        let left: Vec<_> = loaded.intersection(&programs).collect();
                        Probe::when(left.is_empty(), (), format!("loaded: {left:?}"))
                    })
                },
            )
            .await?;
            for node in &world.agent_nodes {
                let folder = harness.weir_folder(node);
                let left: Vec<_> = std::fs::read_dir(&folder)?.collect::<Result<_, _>>()?;
                assert!(left.is_empty(), "{} holds {left:?}", folder.display());
            }
        }
        Ok(())
    })
    .await
}

/// RFC 3339, so many seconds from now.
fn in_seconds(seconds: i64) -> String {
    let now = k8s_openapi::jiff::Timestamp::now();
    let then = now.as_second() + seconds;
    k8s_openapi::jiff::Timestamp::from_second(then)
        .map(|time| time.to_string())
        .unwrap_or_default()
}
