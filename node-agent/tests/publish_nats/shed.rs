//! What is given up, when memory or time is up.

use std::collections::BTreeSet;
use std::time::Duration;

use weir_node_agent::publish::{LossReason, TroubleKind};

use crate::rig::{Rig, STREAM, nats};
use crate::server::{Server, create_stream, stored};
use crate::{GRACE, SUBJECTS, assert_once_each, events, nats_target};

/// *Scenario:* the server is away while more is pushed than memory allows, of two priorities; then it comes.
/// *Guarantees:* what is shed is the lower priority, oldest first; the rest is acked; the stream's announcement of the loss
/// and what it received make up exactly what was pushed.
#[tokio::test]
async fn publish_beyond_memory_sheds_the_lowest_priority_and_announces_it() {
    let Some(mut server) = Server::prepare("") else {
        return;
    };
    let rig = Rig::with_memory(nats_target(nats(&server.url())), 100 * 1024).await;
    let low: Vec<String> = (0..60)
        .map(|_| rig.push_to("low.process.exec", 1, 4096))
        .collect();
    let high: BTreeSet<String> = (0..20)
        .map(|_| rig.push_to("high.process.exec", 900, 4096))
        .collect();
    let losses = rig.book.losses();
    assert!(
        losses
            .iter()
            .all(|loss| &*loss.profile == "low" && loss.reason == LossReason::QueueFull)
    );
    let counts = rig.book.counts();
    assert_eq!(counts.shed, events(losses.len()));
    assert_eq!(counts.sum(), events(80));
    let kept = 80 - losses.len();
    assert_eq!(kept, 100 * 1024 / (4096 + 512), "memory is used up to its bound");

    server.run().await;
    let jetstream = server.jetstream().await;
    create_stream(&jetstream, STREAM, SUBJECTS).await;
    rig.until_acked(kept).await;
    assert_eq!(rig.finish(GRACE).await.agent_events_left, 0);
    let messages = stored(&jetstream, STREAM).await;
    let mut expected = high;
    expected.extend(low[60 - (kept - 20)..].iter().cloned());
    assert_once_each(&messages, &expected);
    let announced = messages
        .iter()
        .find(|message| message.subject == "weir.events._agent.agent.loss");
    let text = format!("low queue_full 0+{}", events(losses.len()));
    assert_eq!(announced.expect("is announced").payload, text.as_bytes());
}

/// *Scenario:* a sink whose server never comes is drained.
/// *Guarantees:* the drain ends at its deadline; everything is counted shed, by reason; late pushes are too.
#[tokio::test]
async fn publish_drained_without_a_server_sheds_by_the_deadline() {
    let Some(server) = Server::prepare("") else { return };
    let rig = Rig::start(nats_target(nats(&server.url()))).await;
    rig.push_many(10);
    rig.until_degraded(TroubleKind::Unreachable).await;
    let start = std::time::Instant::now();
    let within = Duration::from_millis(300);
    let report = rig.publisher.drain(tokio::time::Instant::now() + within).await;
    assert_eq!(report.shed_events, events(10));
    rig.push_many(1);
    assert_eq!(rig.book.counts().shed, events(11));
    let book = rig.book.clone();
    assert_eq!(
        rig.finish(within).await.agent_events_left,
        1,
        "the coalesced announcement of the loss"
    );
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let losses = book.losses();
    assert_eq!(losses.len(), 11);
    assert!(losses.iter().all(|loss| loss.reason == LossReason::Shutdown));
}
