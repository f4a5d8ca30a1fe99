//! What a server takes: each batch once, whatever happens to the server meanwhile.

use std::collections::BTreeSet;

use weir_node_agent::publish::settings::NatsSettings;
use weir_node_agent::publish::{AgentEvent, AgentSlot, DrainReport, TroubleKind};

use crate::rig::{Rig, SINK, STREAM, agent_message, nats, sink};
use crate::server::{Server, create_stream, stored};
use crate::wait::{until_async, until_value};
use crate::{GRACE, SUBJECTS, assert_once_each, events, nats_target};

/// *Scenario:* 500 batches and an agent event to a server that is well.
/// *Guarantees:* each is stored once with its subject, id, headers and bytes; every event is counted acked; nothing is
/// lost; metrics and `/readyz` say so; the drain has nothing to shed.
#[tokio::test]
async fn publish_to_a_healthy_server_acks_each_batch_once() {
    let Some(server) = Server::start("").await else {
        return;
    };
    let jetstream = server.jetstream().await;
    create_stream(&jetstream, STREAM, SUBJECTS).await;
    let rig = Rig::start(nats_target(nats(&server.url()))).await;
    let pushed = rig.push_many(500);
    let ledger = |slot: AgentSlot<'_>| agent_message("agent.ledger", slot, "{}");
    assert!(rig.handle.agent_event(
        SINK,
        AgentEvent {
            key: "ledger".to_owned(),
            encode: Box::new(ledger)
        }
    ));
    rig.until_acked(500).await;

    let (book, metrics, readiness) = (rig.book.clone(), rig.metrics.clone(), rig.readiness.clone());
    rig.until_live().await;
    let report = readiness.report(std::time::SystemTime::now());
    assert!(
        report.text().contains("[+] sink/default: live"),
        "{}",
        report.text()
    );
    assert_eq!(rig.finish(GRACE).await, DrainReport::default());
    assert_eq!(book.counts().sum(), events(500));
    assert!(book.losses().is_empty());

    let messages = stored(&jetstream, STREAM).await;
    assert_once_each(&messages, &pushed);
    let first = messages
        .iter()
        .find(|message| message.id == "c/n/1/p/0")
        .expect("is stored");
    assert_eq!(first.subject, "weir.events.p.process.exec");
    assert_eq!(
        first.content_type.as_deref(),
        Some("application/cloudevents-batch+json")
    );
    assert_eq!(first.encoding, None);
    assert!(first.payload.starts_with(b"[\"c/n/1/p/0\"]"));
    assert!(
        messages
            .iter()
            .any(|message| message.subject == "weir.events._agent.agent.ledger")
    );

    let text = metrics.encode().expect("encodes");
    for line in [
        "weir_agent_publish_batches_total{sink_type=\"nats\",outcome=\"acked\"} 500",
        "weir_agent_publish_events_total{sink_type=\"nats\",outcome=\"acked\"} 5000",
        "weir_agent_publish_queue_bytes{sink_type=\"nats\"} 0",
        "weir_agent_publish_in_flight_batches{sink_type=\"nats\"} 0",
        "weir_agent_publish_ack_duration_seconds_count{sink_type=\"nats\"} 500",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

/// *Scenario:* the server is killed while batches flow, more are pushed while it is away, and it comes back with its
/// store; all that three times.
/// *Guarantees:* every batch is acked once the server is back, and the stream holds each once.
#[tokio::test]
async fn publish_through_a_killed_server_loses_and_doubles_nothing() {
    let Some(mut server) = Server::start("").await else {
        return;
    };
    create_stream(&server.jetstream().await, STREAM, SUBJECTS).await;
    let rig = Rig::start(nats_target(nats(&server.url()))).await;
    rig.until_live().await;
    let mut pushed = BTreeSet::new();
    for round in 1..=3_usize {
        pushed.extend(rig.push_many(300));
        let some = events(pushed.len() - 250);
        until_value(
            "some batches are acked",
            || rig.book.counts(),
            |counts| counts.acked >= some,
        )
        .await;
        server.kill();
        pushed.extend(rig.push_many(100));
        let remedy = rig.until_degraded(TroubleKind::Unreachable).await;
        assert!(remedy.contains("start nats-server"), "{remedy}");
        let counts = rig.book.counts();
        assert_eq!(
            (counts.sum(), counts.unacked),
            (events(pushed.len()), 0),
            "what was sent is queued again"
        );
        server.run().await;
        rig.until_acked(round * 400).await;
    }
    assert!(rig.book.losses().is_empty());
    assert_once_each(&stored(&server.jetstream().await, STREAM).await, &pushed);
}

/// *Scenario:* nothing listens at first; then the server starts without the stream; then the stream is created.
/// *Guarantees:* starting never fails; each state names its remedy; in the end everything is acked.
#[tokio::test]
async fn publish_before_server_and_stream_exist_waits_for_both() {
    let Some(mut server) = Server::prepare("") else {
        return;
    };
    let rig = Rig::start(nats_target(nats(&server.url()))).await;
    let pushed = rig.push_many(20);
    rig.until_degraded(TroubleKind::Unreachable).await;
    server.run().await;
    let remedy = rig.until_degraded(TroubleKind::StreamMissing).await;
    assert!(remedy.contains("create the stream `WEIR`"), "{remedy}");
    let jetstream = server.jetstream().await;
    create_stream(&jetstream, STREAM, SUBJECTS).await;
    rig.until_acked(20).await;
    rig.until_live().await;
    assert_once_each(&stored(&jetstream, STREAM).await, &pushed);
}

/// *Scenario:* a sink that compresses.
/// *Guarantees:* payloads are stored compressed, marked, and decompress to what was pushed.
#[tokio::test]
async fn publish_compressed_stores_zstd_and_says_so() {
    let Some(server) = Server::start("").await else {
        return;
    };
    let jetstream = server.jetstream().await;
    create_stream(&jetstream, STREAM, SUBJECTS).await;
    let rig = Rig::start(nats_target(NatsSettings {
        compress: true,
        ..nats(&server.url())
    }))
    .await;
    let id = rig.push(100, 10_000);
    rig.until_acked(1).await;
    let messages = stored(&jetstream, STREAM).await;
    assert_eq!(messages[0].encoding.as_deref(), Some("zstd"));
    assert!(messages[0].payload.len() < 1000);
    let payload = zstd::bulk::decompress(&messages[0].payload, 20_000).expect("is zstd");
    assert!(payload.starts_with(format!("[\"{id}\"]").as_bytes()));
    assert_eq!(payload.len(), 10_000);
}

/// *Scenario:* a sink is edited to another server, which is away; the old one answers, and has a batch left that it cannot
/// take.
/// *Guarantees:* the agent's own events wait for the new server, and the old one gets none of them.
#[tokio::test]
async fn publish_to_a_new_server_takes_the_agents_own_events_along() {
    let (Some(old), Some(mut new)) = (Server::start("").await, Server::prepare("")) else {
        return;
    };
    let old_stream = old.jetstream().await;
    create_stream(&old_stream, STREAM, &["weir.events._agent.>"]).await;
    let rig = Rig::start(nats_target(nats(&old.url()))).await;
    rig.push(100, 10);
    rig.until_degraded(TroubleKind::SubjectNotTaken).await;
    rig.publisher
        .set_sinks(vec![sink(nats_target(nats(&new.url())))])
        .await
        .expect("runs");
    let ledger = |slot: AgentSlot<'_>| agent_message("agent.ledger", slot, "{}");
    assert!(rig.handle.agent_event(
        SINK,
        AgentEvent {
            key: "ledger".to_owned(),
            encode: Box::new(ledger)
        }
    ));
    // The old sink has given up by then.
    until_value(
        "the batch is shed",
        || rig.book.counts(),
        |counts| counts.shed == events(1),
    )
    .await;
    new.run().await;
    let jetstream = new.jetstream().await;
    create_stream(&jetstream, STREAM, SUBJECTS).await;
    let subjects = || async {
        let messages = stored(&jetstream, STREAM).await;
        messages
            .into_iter()
            .map(|message| message.subject)
            .collect::<BTreeSet<_>>()
    };
    let both = ["weir.events._agent.agent.ledger", "weir.events._agent.agent.loss"];
    until_async("the ledger and the loss are there", subjects, |found| {
        both.iter().all(|subject| found.contains(*subject))
    })
    .await;
    assert!(stored(&old_stream, STREAM).await.is_empty());
}
