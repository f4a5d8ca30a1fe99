//! Publishing to files: order, swapping at run time, and a medium that refuses.

#![expect(
    clippy::expect_used,
    reason = "a test helper that cannot go on fails its test"
)]
#![expect(
    unreachable_pub,
    reason = "the helper modules of a test have no public interface"
)]
#![expect(dead_code, reason = "the helper modules serve other tests too")]

#[path = "support/book.rs"]
mod book;
#[path = "support/rig.rs"]
mod rig;
#[path = "support/wait.rs"]
mod wait;

use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;
use weir_node_agent::publish::{AgentEvent, DrainReport, LossReason, SinkSettings, Target, TroubleKind};

use crate::rig::{EVENTS, Rig, agent_message, sink};
use crate::wait::until_value;

/// A second sink.
const OTHER: &str = "other";
const GRACE: Duration = Duration::from_secs(10);

fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).expect("the file is there");
    text.lines().map(|line| line.trim_end().to_owned()).collect()
}

fn line_of(id: &str) -> String {
    format!("[\"{id}\"]")
}

/// *Scenario:* batches to a file, then the sink is changed to another file while batches wait.
/// *Guarantees:* each batch is a line, in order, in the file that was the sink when it was pushed; all are acked.
#[tokio::test]
async fn file_sink_swapped_keeps_each_batch_with_its_sink() {
    let dir = tempfile::tempdir().expect("makes a directory");
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    let rig = Rig::start(Target::File(first.clone())).await;
    let to_first: Vec<String> = (0..50).map(|_| line_of(&rig.push(100, 10))).collect();
    rig.publisher
        .set_sinks(vec![sink(Target::File(second.clone()))])
        .await
        .expect("runs");
    let to_second: Vec<String> = (0..50).map(|_| line_of(&rig.push(100, 10))).collect();
    rig.until_acked(100).await;
    assert_eq!(rig.finish(GRACE).await, DrainReport::default());
    assert_eq!(lines(&first), to_first);
    assert_eq!(lines(&second), to_second);
}

/// *Scenario:* the disk is full, and the agent ends.
/// *Guarantees:* the state says so with a remedy; batches are kept, then shed by the bound and by the deadline; the counts
/// close.
#[tokio::test]
async fn file_sink_on_a_full_disk_is_degraded_then_sheds() {
    let rig = Rig::with_memory(Target::File("/dev/full".into()), 20 * 1024).await;
    for _ in 0..10 {
        rig.push(100, 4096);
    }
    let remedy = rig.until_degraded(TroubleKind::DiskFull).await;
    assert!(
        remedy.contains("/dev/full") && remedy.contains("free space"),
        "{remedy}"
    );
    let book = rig.book.clone();
    assert_eq!(
        book.counts().shed,
        6 * u64::from(EVENTS),
        "4 of 10 fit into memory"
    );
    let report = rig.finish(Duration::from_millis(100)).await;
    assert_eq!(report.shed_events, 4 * u64::from(EVENTS));
    let counts = book.counts();
    assert_eq!(
        (counts.shed, counts.sum()),
        (10 * u64::from(EVENTS), 10 * u64::from(EVENTS))
    );
    let shutdown = book
        .losses()
        .iter()
        .filter(|loss| loss.reason == LossReason::Shutdown)
        .count();
    assert_eq!(shutdown, 4);
}

fn other(target: Target) -> SinkSettings {
    SinkSettings {
        name: OTHER.into(),
        ..sink(target)
    }
}

/// *Scenario:* a sink is away and its batches use up the memory; another one, away too, is added and gets batches.
/// *Guarantees:* to add it costs nothing; what is then shed is what the new sink needs of its share, and no more.
#[tokio::test]
async fn sink_added_in_an_outage_costs_no_event_that_it_needs_no_room_of() {
    let full = || Target::File("/dev/full".into());
    let rig = Rig::with_memory(full(), 20 * 1024).await;
    for _ in 0..4 {
        rig.push(100, 4096);
    }
    rig.publisher
        .set_sinks(vec![sink(full()), other(full())])
        .await
        .expect("runs");
    let shed = || rig.book.counts().shed / u64::from(EVENTS);
    assert_eq!(shed(), 0, "4 of 4 fit");
    for (pushed, expected) in [(1, 1), (2, 2), (3, 3)] {
        rig.push_for(OTHER, "p.process.exec", 100, 4096);
        assert_eq!(shed(), expected, "{pushed} for the other sink");
    }
    let of = |sink: &str| {
        let losses = rig.book.losses();
        losses.iter().filter(|loss| &*loss.sink == sink).count()
    };
    assert_eq!((of(rig::SINK), of(OTHER)), (2, 1), "each has its half in the end");
}

/// *Scenario:* the agent ends while one sink is away and another one answers; what it has to tell last of itself comes only
/// after the drain.
/// *Guarantees:* the sink that answers gets it in time.
#[tokio::test]
async fn agent_event_after_a_drain_that_used_its_time_reaches_the_sink_that_answers() {
    let dir = tempfile::tempdir().expect("makes a directory");
    let events = dir.path().join("events");
    let rig = Rig::start(Target::File("/dev/full".into())).await;
    let sinks = vec![
        sink(Target::File("/dev/full".into())),
        other(Target::File(events.clone())),
    ];
    rig.publisher.set_sinks(sinks).await.expect("runs");
    rig.push(100, 10);
    rig.until_degraded(TroubleKind::DiskFull).await;
    let deadline = Instant::now() + Duration::from_secs(2);
    assert_eq!(rig.publisher.drain(deadline).await.shed_events, u64::from(EVENTS));
    let event = AgentEvent {
        key: "ledger".into(),
        encode: Box::new(|slot| agent_message("agent.ledger", slot, "last")),
    };
    assert!(rig.handle.agent_event(OTHER, event));
    let report = rig.publisher.finish(deadline).await;
    assert_eq!(
        report.agent_events_left, 1,
        "the other sink's announcement of its loss"
    );
    assert_eq!(lines(&events), ["last"]);
}

/// *Scenario:* the sink is removed and a batch for it still comes.
/// *Guarantees:* it is counted shed, with the reason.
#[tokio::test]
async fn batch_for_a_removed_sink_is_counted() {
    let dir = tempfile::tempdir().expect("makes a directory");
    let rig = Rig::start(Target::File(dir.path().join("events"))).await;
    rig.push(100, 10);
    rig.until_acked(1).await;
    rig.publisher.set_sinks(Vec::new()).await.expect("runs");
    rig.push(100, 10);
    let losses = rig.book.losses();
    assert_eq!(losses.len(), 1);
    assert_eq!(losses[0].reason, LossReason::SinkRemoved);
    assert_eq!(rig.book.counts().shed, u64::from(EVENTS));
    assert!(rig.handle.max_payload(rig::SINK).is_none());
}

/// *Scenario:* a sink that cannot write is removed while batches wait for it.
/// *Guarantees:* it is given its grace period, then what is left is counted shed for that reason, and it no longer shows
/// in `/readyz` nor among the degraded.
#[tokio::test]
async fn sink_removed_while_it_cannot_write_sheds_after_its_grace() {
    let rig = Rig::start(Target::File("/dev/full".into())).await;
    for _ in 0..3 {
        rig.push(100, 10);
    }
    rig.until_degraded(TroubleKind::DiskFull).await;
    let degraded = "weir_agent_publish_degraded_sinks{sink_type=\"file\"}";
    let text = rig.metrics.encode().expect("encodes");
    assert!(text.contains(&format!("{degraded} 1")), "{text}");
    rig.publisher.set_sinks(Vec::new()).await.expect("runs");
    assert_eq!(rig.book.counts().shed, 0, "it still has its grace period");
    let shed = 3 * u64::from(EVENTS);
    until_value(
        "everything is shed",
        || rig.book.counts(),
        |counts| counts.shed == shed,
    )
    .await;
    assert!(
        rig.book
            .losses()
            .iter()
            .all(|loss| loss.reason == LossReason::SinkRemoved)
    );
    let gone = |report: &String| !report.contains("sink/default");
    let report = || rig.readiness.report(std::time::SystemTime::now()).text();
    until_value("it no longer shows", report, gone).await;
    let text = rig.metrics.encode().expect("encodes");
    assert!(text.contains(&format!("{degraded} 0")), "{text}");
}
