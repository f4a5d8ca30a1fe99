//! A sink that looks after its stream.

use weir_node_agent::publish::TroubleKind;
use weir_node_agent::publish::settings::NatsSettings;
use weir_runtime::stream::StreamSettings;

use crate::rig::{Rig, STREAM, nats, sink};
use crate::server::{Server, create_stream};
use crate::wait::until_async;
use crate::{SUBJECTS, nats_target, wanted_stream};

/// *Scenario:* the sink ensures its stream: it is missing; then deleted while publishing; then asked for larger, then
/// smaller.
/// *Guarantees:* it is created, created again, grown, and never shrunk: `StreamConflict` names the fields while events
/// still are acked.
#[tokio::test]
async fn publish_ensuring_its_stream_creates_and_grows_but_never_shrinks_it() {
    let Some(server) = Server::start("").await else {
        return;
    };
    let jetstream = server.jetstream().await;
    let with = |stream| {
        nats_target(NatsSettings {
            ensure: Some(stream),
            ..nats(&server.url())
        })
    };
    let rig = Rig::start(with(wanted_stream())).await;
    rig.push_many(2);
    rig.until_acked(2).await;
    jetstream.delete_stream(STREAM).await.expect("deletes");
    rig.push_many(2);
    rig.until_acked(4).await;

    let larger = StreamSettings {
        max_bytes: Some(128 * 1024 * 1024),
        ..wanted_stream()
    };
    rig.publisher
        .set_sinks(vec![sink(with(larger))])
        .await
        .expect("runs");
    let max_bytes = || async {
        jetstream
            .get_stream(STREAM)
            .await
            .expect("is there")
            .cached_info()
            .config
            .max_bytes
    };
    until_async("the stream has grown", max_bytes, |bytes| {
        *bytes == 128 * 1024 * 1024
    })
    .await;

    rig.publisher
        .set_sinks(vec![sink(with(wanted_stream()))])
        .await
        .expect("runs");
    let remedy = rig.until_degraded(TroubleKind::StreamConflict).await;
    assert!(
        remedy.contains("maxBytes is 134217728, asked for is 67108864"),
        "{remedy}"
    );
    rig.push_many(2);
    rig.until_acked(6).await;
    assert_eq!(max_bytes().await, 128 * 1024 * 1024);
}

/// *Scenario:* the stream that the sink ensures exists, is larger than asked for, and lacks the sink's subjects.
/// *Guarantees:* `StreamConflict` names the size, which stays; the subject is added, and events are acked.
#[tokio::test]
async fn publish_ensuring_a_larger_stream_adds_the_missing_subject() {
    let Some(server) = Server::start("").await else {
        return;
    };
    let jetstream = server.jetstream().await;
    create_stream(&jetstream, STREAM, &["other.>"]).await;
    let rig = Rig::start(nats_target(NatsSettings {
        ensure: Some(wanted_stream()),
        ..nats(&server.url())
    }))
    .await;
    rig.push_many(2);
    let remedy = rig.until_degraded(TroubleKind::StreamConflict).await;
    assert!(remedy.contains("maxBytes is unbounded"), "{remedy}");
    rig.until_acked(2).await;
    let stream = jetstream.get_stream(STREAM).await.expect("is there");
    let config = &stream.cached_info().config;
    assert_eq!(config.subjects, ["other.>", SUBJECTS[0]]);
    assert_eq!(config.max_bytes, -1);
}

/// *Scenario:* `JetStream` is off on the server.
/// *Guarantees:* the sink says so, whether or not it ensures its stream.
#[tokio::test]
async fn publish_without_jetstream_says_how_to_enable_it() {
    let Some(server) =
        Server::start("accounts { A { users: [{user: a, password: a}] } }\nno_auth_user: a").await
    else {
        return;
    };
    let ensuring = NatsSettings {
        ensure: Some(wanted_stream()),
        ..nats(&server.url())
    };
    let rig = Rig::start(nats_target(ensuring)).await;
    rig.push_many(1);
    let remedy = rig.until_degraded(TroubleKind::JetStreamOff).await;
    assert!(remedy.contains("-js"), "{remedy}");
}
