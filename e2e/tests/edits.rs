//! Edits are seamless: under a steady flood, nothing restarts, nothing is lost, and each event names who admitted it.

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

/// Odd generations admit `true`, even ones `false`.
fn spec(namespace: &str, generation: usize) -> Value {
    let comm = program(generation as u64);
    json!({
        "workloads": {"namespaces": [namespace], "host": "Exclude"},
        "events": [{"name": "execs", "kind": "process.exec", "match": {"comm": [comm]}}],
    })
}

fn program(generation: u64) -> &'static str {
    if generation % 2 == 1 { "true" } else { "false" }
}

/// Scenario: a pod on each node starts two programs in turn, without end; the profile is edited 100 times, and each
/// generation admits the other program.
/// Guarantees: no agent restarts; each event's generation admits its program; the ledger's identities hold on every
/// node; what it counts as acknowledged is what the stream holds, without gap and without a second copy.
#[tokio::test]
async fn hundred_edits_under_a_flood_lose_nothing_and_restart_nothing() -> TestResult {
    scenario::run("edits", async |world| {
        let namespace = world.namespace("ns", &json!({})).await?.name;
        let flood = "trap exit TERM; while [ ! -e /tmp/stop ]; do /bin/true; /bin/false; usleep 20000; done; sleep 3600 & wait $!";
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
        println!("{acked} events of {EDITS} edits");
        let mut generations = std::collections::BTreeSet::new();
        for event in &events.all {
            let generation: u64 = event.data["generation"].as_str().unwrap_or_default().parse()?;
            assert_eq!(event.data["process"]["comm"], program(generation), "{}", event.data);
            generations.insert(generation);
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
