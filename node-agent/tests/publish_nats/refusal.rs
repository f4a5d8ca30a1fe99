//! What a server or its stream refuses: final for a batch, or waited out, and said.

use std::sync::atomic::Ordering;

use async_nats::jetstream::stream::Config;
use weir_node_agent::publish::{LossReason, TroubleKind};

use crate::rig::{EVENTS, Rig, SINK, STREAM, nats};
use crate::server::{Server, create_stream, stored};
use crate::wait::until_value;
use crate::{GRACE, SUBJECTS, nats_target};

/// *Scenario:* the stream exists and does not take the subject; nobody else does; then it is extended.
/// *Guarantees:* the state says which subject is missing where; afterwards everything is acked.
#[tokio::test]
async fn publish_of_a_subject_that_the_stream_lacks_waits_for_it() {
    let Some(server) = Server::start("").await else {
        return;
    };
    let jetstream = server.jetstream().await;
    create_stream(&jetstream, STREAM, &["other.>"]).await;
    let rig = Rig::start(nats_target(nats(&server.url()))).await;
    rig.push_many(5);
    let remedy = rig.until_degraded(TroubleKind::SubjectNotTaken).await;
    assert!(remedy.contains("weir.events.p.process.exec"), "{remedy}");
    let subjects = vec!["weir.events.>".to_owned()];
    let config = Config {
        name: STREAM.to_owned(),
        subjects,
        ..Config::default()
    };
    jetstream.update_stream(config).await.expect("updates");
    rig.until_acked(5).await;
}

/// *Scenario:* another stream than the expected one takes one of two subjects.
/// *Guarantees:* its batches are rejected and announced; the others are acked; nothing is retried for ever.
#[tokio::test]
async fn publish_of_a_subject_of_another_stream_is_rejected() {
    let Some(server) = Server::start("").await else {
        return;
    };
    let jetstream = server.jetstream().await;
    create_stream(&jetstream, STREAM, &["weir.events.p.>", "weir.events._agent.>"]).await;
    create_stream(&jetstream, "OTHER", &["weir.events.q.>"]).await;
    let rig = Rig::start(nats_target(nats(&server.url()))).await;
    rig.push(100, 10);
    rig.push_to("q.process.exec", 100, 10);
    rig.until_acked(1).await;
    until_value(
        "one batch is rejected",
        || rig.book.counts(),
        |counts| counts.rejected == u64::from(EVENTS),
    )
    .await;
    let losses = rig.book.losses();
    assert_eq!(losses.len(), 1);
    assert_eq!(
        (losses[0].reason, losses[0].base),
        (LossReason::SubjectRefused, u64::from(EVENTS))
    );
    assert_eq!(rig.finish(GRACE).await.agent_events_left, 0);
    let messages = stored(&jetstream, STREAM).await;
    let announced = messages
        .iter()
        .find(|message| message.subject == "weir.events._agent.agent.loss");
    assert_eq!(
        announced.expect("is announced").payload,
        b"q subject_refused 10+10"
    );
    assert!(stored(&jetstream, "OTHER").await.is_empty());
}

/// *Scenario:* the stream is sealed.
/// *Guarantees:* a batch is rejected with that reason.
#[tokio::test]
async fn publish_to_a_sealed_stream_is_rejected() {
    let Some(server) = Server::start("").await else {
        return;
    };
    let jetstream = server.jetstream().await;
    let stream = create_stream(&jetstream, STREAM, SUBJECTS).await;
    let sealed = Config {
        sealed: true,
        ..stream.cached_info().config.clone()
    };
    jetstream.update_stream(sealed).await.expect("seals");
    let rig = Rig::start(nats_target(nats(&server.url()))).await;
    rig.push(100, 10);
    until_value(
        "the batch is rejected",
        || rig.book.counts(),
        |counts| counts.rejected == u64::from(EVENTS),
    )
    .await;
    assert_eq!(rig.book.losses()[0].reason, LossReason::StreamSealed);
}

/// *Scenario:* the server allows 64 KiB, the stream 32 KiB; a batch of 100 KiB and one of 40 KiB.
/// *Guarantees:* the drain thread is told the server's limit less the reserve; both are rejected as too large.
#[tokio::test]
async fn publish_of_more_than_the_server_allows_is_rejected() {
    let Some(server) = Server::start("max_payload: 65536").await else {
        return;
    };
    let config = Config {
        name: STREAM.to_owned(),
        subjects: vec!["weir.events.>".to_owned()],
        max_message_size: 32 * 1024,
        ..Config::default()
    };
    server
        .jetstream()
        .await
        .create_stream(config)
        .await
        .expect("creates");
    let rig = Rig::start(nats_target(nats(&server.url()))).await;
    rig.until_live().await;
    let limit = rig.handle.max_payload(SINK).expect("the sink is there");
    assert_eq!(limit.load(Ordering::Relaxed), 65_536 - 4096);
    rig.push(100, 100 * 1024);
    rig.push(100, 40 * 1024);
    rig.push(100, 10);
    until_value(
        "two are rejected",
        || rig.book.counts(),
        |counts| counts.rejected == 2 * u64::from(EVENTS),
    )
    .await;
    rig.until_acked(1).await;
    assert!(
        rig.book
            .losses()
            .iter()
            .all(|loss| loss.reason == LossReason::TooLarge)
    );
}
