//! Edits are seamless: under a steady flood, nothing restarts, nothing is lost, and each event names who admitted it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use weir_e2e::agent::{self, Counts};
use weir_e2e::scenario::{self, TestResult};
use weir_e2e::stream::Events;
use weir_e2e::wait::{Probe, until};
use weir_e2e::workload::Workload;

const READY_LIMIT: Duration = Duration::from_secs(30);
const DELIVERY_LIMIT: Duration = Duration::from_secs(30);
const EDITS: usize = 100;

/// A program that every generation admits; the flood numbers its runs.
const NUMBERED: &str = "echo";

/// Odd generations admit `true`, even ones `false`, all of them [`NUMBERED`].
fn spec(namespace: &str, generation: usize) -> Value {
    let comm = program(generation as u64);
    json!({
        "workloads": {"namespaces": [namespace], "host": "Exclude"},
        "events": [{"name": "execs", "kind": "process.exec", "match": {"comm": [comm, NUMBERED]}}],
    })
}

fn program(generation: u64) -> &'static str {
    if generation % 2 == 1 { "true" } else { "false" }
}

/// Scenario: a pod on each node starts three programs in turn, without end; the profile is edited 100 times; each
/// generation admits one of two of them and the third, whose runs are numbered.
/// Guarantees: no agent restarts; each event's generation admits its program; the ledger's identities hold on every
/// node; what it counts as acknowledged is what the stream holds, without a second copy and without a hole in the sequence;
/// of what every generation admits, no run is missing.
#[tokio::test]
async fn hundred_edits_under_a_flood_lose_nothing_and_restart_nothing() -> TestResult {
    scenario::run("edits", async |world| {
        let namespace = world.namespace("ns", &json!({})).await?.name;
        let flood = "trap exit TERM; i=0; while [ ! -e /tmp/stop ]; do /bin/true; /bin/false; /bin/echo $i; i=$((i+1)); usleep 20000; done; sleep 3600 & wait $!";
        let profile = world.profile("flood", spec(&namespace, 1)).await?;
        profile.until_ready(READY_LIMIT).await?;
        for node in &world.nodes {
            Workload::new(&namespace, node).on(node).script(flood).start(&world.cluster).await?;
        }
        let before = agent::pods(&world.cluster).await?;

        for edit in 1..=EDITS {
            profile.edit(spec(&namespace, edit + 1)).await?;
        }
        let object = profile.until_ready(READY_LIMIT).await?;
        assert_eq!(object["metadata"]["generation"], EDITS + 1, "each edit is a generation");
        for node in &world.nodes {
            world.cluster.exec(&namespace, node, &["touch", "/tmp/stop"]).await?;
        }
        assert_eq!(agent::pods(&world.cluster).await?, before, "an agent was restarted");

        let mut acked = 0;
        for (node, pod) in &before {
            let counts = until_settled(&world.cluster, &pod.name, &profile.name).await?;
            assert_eq!(counts.broken(), Vec::<String>::new(), "{node}: {counts:?}");
            assert!(counts.get("acked") > 0, "{node}: {counts:?}");
            for lost in ["ring_full", "shed", "rejected", "malformed"] {
                assert_eq!(counts.get(lost), 0, "{lost} on {node}: {counts:?}");
            }
            acked += counts.get("acked");
        }
        let mut events = Events::of(&world.cluster, &profile.name).await?;
        events.until_count(acked, DELIVERY_LIMIT).await?;
        assert_eq!(events.distinct(), acked);
        assert_eq!(events.all.len() as u64, acked, "an event came twice");
        assert_eq!(events.holes(), Vec::<String>::new());
        println!("{acked} events of {EDITS} edits");
        let mut generations = BTreeSet::new();
        let mut numbers: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
        for event in &events.all {
            let generation: u64 = event.data["generation"].as_str().unwrap_or_default().parse()?;
            generations.insert(generation);
            if event.data["process"]["comm"] == NUMBERED {
                let number = event.data["processExec"]["args"][1].as_str().unwrap_or_default();
                numbers.entry(event.node()).or_default().insert(number.parse()?);
            } else {
                assert_eq!(event.data["process"]["comm"], program(generation), "{}", event.data);
            }
        }
        for node in &world.nodes {
            let numbers = numbers.get(node.as_str()).ok_or("a node delivered no numbered run")?;
            let (first, last) = (numbers.first().copied().unwrap_or(0), numbers.last().copied().unwrap_or(0));
            println!("{node}: runs {first} to {last}");
            assert_eq!(numbers.len() as u64, last - first + 1, "{node} lacks a run between {first} and {last}");
        }
        assert!(generations.len() > 10, "the flood met only the generations {generations:?}");
        Ok(())
    })
    .await
}

/// Cuts ledgers until nothing of the profile is on its way any more. Returns the last one's counts.
async fn until_settled(
    cluster: &weir_e2e::cluster::Cluster,
    pod: &str,
    profile: &str,
) -> Result<Counts, weir_e2e::wait::WaitError> {
    until(
        &format!("{pod} to deliver everything"),
        DELIVERY_LIMIT,
        || async {
            let ledger = agent::cut(cluster, pod).await;
            ledger.map(|ledger| {
                let counts = Counts::of(&ledger, profile);
                let on_the_way: u64 = ["in_ring", "held", "queued", "spooled", "unacked"]
                    .map(|place| counts.get(place))
                    .iter()
                    .sum();
                let settled = on_the_way == 0 && ledger["cut"]["closed"] == true;
                let seen = format!("{counts:?}, {}", ledger["cut"]);
                Probe::when(settled, counts, seen)
            })
        },
    )
    .await
}
