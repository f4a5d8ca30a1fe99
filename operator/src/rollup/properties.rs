//! What holds for every fleet: order does not matter, counts add up, and the status stays small.

use proptest::prelude::*;
use weir_profile::api::{ConditionReason, NodeProfileState, Timestamp};

use super::samples::{NOW, entry, facts, pod, report, subject};
use super::status::Input;
use super::{Index, MAX_STATUS_BYTES, NodeFacts, Verdict, status};

#[derive(Clone, Debug)]
enum Step {
    Node(String, Option<(i64, bool)>),
    Pod(String, Option<bool>),
    Report(String, Option<(NodeProfileState, Option<ConditionReason>, i64)>),
}

impl Step {
    /// Steps with equal keys overwrite each other: only the last counts.
    fn key(&self) -> (u8, &str) {
        match self {
            Self::Node(name, _) => (0, name),
            Self::Pod(name, _) => (1, name),
            Self::Report(name, _) => (2, name),
        }
    }

    fn take(&self, index: &mut Index) {
        match self.clone() {
            Self::Node(name, facts_) => {
                index.set_node(
                    &name,
                    facts_.map(|(age, eligible)| NodeFacts {
                        created: NOW - age,
                        eligible,
                        ..facts()
                    }),
                );
            }
            Self::Pod(node, ready) => {
                index.set_pod(
                    &format!("weir-agent-{node}"),
                    ready.map(|ready| pod(&node, ready)),
                );
            }
            Self::Report(node, row) => {
                let row = row.map(|(state, reason, generation)| weir_profile::api::NodeProfile {
                    generation,
                    ..entry(state, reason)
                });
                index.set_report(&node, row.and_then(|row| report(&node, vec![row])));
            }
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let name = || (0..12_u8).prop_map(|number| format!("n{number}"));
    let state = proptest::sample::select(NodeProfileState::ALL);
    let reason = proptest::option::of(proptest::sample::select(ConditionReason::ALL));
    prop_oneof![
        (
            name(),
            proptest::option::weighted(0.9, (0..300_i64, proptest::bool::weighted(0.9)))
        )
            .prop_map(|(name, facts)| Step::Node(name, facts)),
        (name(), proptest::option::weighted(0.9, any::<bool>()))
            .prop_map(|(name, ready)| Step::Pod(name, ready)),
        (name(), proptest::option::weighted(0.9, (state, reason, 2..4_i64)))
            .prop_map(|(name, row)| Step::Report(name, row)),
    ]
}

fn roll(index: &Index, percent: u32) -> weir_profile::CollectorProfileStatus {
    let (subject, verdict) = (
        subject(),
        Verdict::Accepted {
            digest: "d3".to_owned(),
        },
    );
    let tally = index.tally(&subject, NOW);
    let input = Input {
        subject: &subject,
        verdict: &verdict,
        tally: &tally,
        ready_percent: percent,
        trouble: None,
        blindness: None,
    };
    status(&input, None, Timestamp::from_unix_seconds(NOW).unwrap())
}

proptest! {
    #[test]
    fn rollup_in_any_order_is_the_same(steps in proptest::collection::vec(step(), 0..80), seed: u64) {
        let mut forward = Index::default();
        for step in &steps {
            step.take(&mut forward);
        }
        // The last word of each key, in an order of its own.
        let mut last: Vec<&Step> = Vec::new();
        for step in &steps {
            last.retain(|other| other.key() != step.key());
            last.push(step);
        }
        last.sort_by_key(|step| {
            let (kind, name) = step.key();
            let text = format!("{seed}{kind}{name}");
            text.bytes().fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
        });
        let mut shuffled = Index::default();
        for step in last {
            step.take(&mut shuffled);
        }
        prop_assert_eq!(forward.tally(&subject(), NOW), shuffled.tally(&subject(), NOW));
        prop_assert_eq!(roll(&forward, 100), roll(&shuffled, 100));
    }

    #[test]
    fn rollup_counts_every_expected_node_once(steps in proptest::collection::vec(step(), 0..80), percent in 1_u32..=100) {
        let mut index = Index::default();
        for step in &steps {
            step.take(&mut index);
        }
        let tally = index.tally(&subject(), NOW);
        let sum = tally.live + tally.pending + tally.degraded + tally.failed + tally.unsupported + tally.stale;
        prop_assert_eq!(sum, tally.expected);
        prop_assert!(tally.expected + tally.excluded <= tally.matched);
        prop_assert_eq!(tally.matched as usize, index.node_count());
        prop_assert!(tally.reported <= tally.expected && tally.delivering <= tally.connected);

        let status = roll(&index, percent);
        let ready = status.conditions.iter().find(|condition| condition.type_.as_str() == "Ready").unwrap();
        let enough = tally.reported > 0 && u64::from(tally.live) * 100 >= u64::from(percent) * u64::from(tally.expected);
        prop_assert_eq!(ready.status.as_str() == "True", enough, "{:?}", tally);
        prop_assert!(status.problems.len() <= 10);
        prop_assert!(status.problems.iter().all(|problem| problem.examples.len() <= 3));
    }

    #[test]
    fn rollup_with_complete_lists_forgets_exactly_what_is_not_listed(steps in proptest::collection::vec(step(), 0..60), keep in 0..12_u8) {
        let mut index = Index::default();
        for step in &steps {
            step.take(&mut index);
        }
        let listed: std::collections::BTreeSet<String> = (0..keep).map(|number| format!("n{number}")).collect();
        let pods = listed.iter().map(|node| format!("weir-agent-{node}")).collect();
        index.retain_nodes(&listed);
        index.retain_pods(&pods);
        index.retain_reports(&listed);
        let mut fresh = Index::default();
        for step in steps.iter().filter(|step| listed.contains(step.key().1)) {
            step.take(&mut fresh);
        }
        prop_assert_eq!(index.tally(&subject(), NOW), fresh.tally(&subject(), NOW));
    }
}

#[test]
fn rollup_of_15_000_failing_nodes_is_fast_and_below_8_kib() {
    let mut index = Index::default();
    let reasons = ConditionReason::ALL;
    for number in 0..15_000_usize {
        // Names as long as Kubernetes allows, with every reason and messages as long as the schema allows.
        let node = format!("node-{number:05}-{}", "x".repeat(253 - 11));
        let reason = reasons[number % reasons.len()];
        let mut row = entry(NodeProfileState::Failed, Some(reason));
        row.message = Some("é".repeat(128));
        index.set_node(&node, Some(facts()));
        index.set_pod(&format!("weir-agent-{node}"), Some(pod(&node, true)));
        index.set_report(&node, report(&node, vec![row]));
    }
    let start = std::time::Instant::now();
    let status = roll(&index, 95);
    let elapsed = start.elapsed();
    let bytes = serde_json::to_vec(&status).unwrap().len();
    assert!(bytes <= MAX_STATUS_BYTES, "{bytes} bytes");
    assert_eq!(status.nodes.unwrap().failed, 15_000);
    assert_eq!(
        status.problems.len(),
        10,
        "room is made by dropping examples first"
    );
    // Unoptimised; a release build needs a small part of it. Each of 100 profiles must follow within 5 s.
    assert!(elapsed < std::time::Duration::from_secs(2), "{elapsed:?}");
}
