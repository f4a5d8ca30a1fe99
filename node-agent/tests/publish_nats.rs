//! Publishing to a real nats-server: what is acked is in the stream once, and what is not acked is counted.

#![expect(
    clippy::expect_used,
    reason = "a test helper that cannot go on fails its test"
)]
#![expect(
    unreachable_pub,
    reason = "the helper modules of a test have no public interface"
)]

#[path = "publish_nats/book.rs"]
mod book;
#[path = "publish_nats/rig.rs"]
mod rig;
#[path = "publish_nats/server.rs"]
mod server;
#[path = "publish_nats/wait.rs"]
mod wait;

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::jetstream::stream::Config;
use weir_node_agent::publish::settings::{NatsSettings, TlsSettings};
use weir_node_agent::publish::{AgentEvent, AgentSlot, DrainReport, LossReason, Target, TroubleKind};
use weir_profile::api::Storage;
use weir_runtime::stream::StreamSettings;

use crate::rig::{EVENTS, PREFIX, Rig, SINK, STREAM, agent_message, nats};
use crate::server::{Server, create_stream, stored};
use crate::wait::{until_async, until_value};

const GRACE: Duration = Duration::from_secs(10);
const SUBJECTS: &[&str] = &["weir.events.>"];

fn nats_target(settings: NatsSettings) -> Target {
    Target::Nats(Box::new(settings))
}

fn events(batches: usize) -> u64 {
    u64::try_from(batches).expect("is small") * u64::from(EVENTS)
}

fn ids(messages: &[server::Stored]) -> Vec<&str> {
    messages
        .iter()
        .filter(|message| !message.subject.contains("_agent"))
        .map(|message| message.id.as_str())
        .collect()
}

/// Each pushed id is stored, and stored once.
fn assert_once_each(messages: &[server::Stored], pushed: &BTreeSet<String>) {
    let ids = ids(messages);
    let distinct: BTreeSet<String> = ids.iter().map(|id| (*id).to_owned()).collect();
    assert_eq!(ids.len(), distinct.len(), "the stream holds duplicates");
    assert_eq!(&distinct, pushed);
}

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

fn with_credentials(server: &Server) -> (tempfile::TempDir, NatsSettings) {
    let dir = tempfile::tempdir().expect("makes a directory");
    let settings = NatsSettings {
        credentials_dir: Some(dir.path().to_path_buf()),
        credentials_required: true,
        ..nats(&server.url())
    };
    (dir, settings)
}

fn write_user(dir: &std::path::Path, user: &str, password: &str) {
    std::fs::write(dir.join("default.username"), user).expect("writes");
    std::fs::write(dir.join("default.password"), password).expect("writes");
}

/// *Scenario:* no credentials, then wrong ones, then right ones; then they are rotated on the server and in the file.
/// *Guarantees:* each state is named; right credentials are picked up without a restart, before and while connected.
#[tokio::test]
async fn publish_with_credentials_follows_the_files() {
    let config = "authorization { users: [{user: weir, password: right}, {user: next, password: next}] }";
    let Some(server) = Server::start(config).await else {
        return;
    };
    let options = async_nats::ConnectOptions::with_user_and_password("weir".into(), "right".into());
    let client = options.connect(server.url()).await.expect("connects");
    create_stream(&async_nats::jetstream::new(client.clone()), STREAM, SUBJECTS).await;
    let (dir, settings) = with_credentials(&server);
    let rig = Rig::start(nats_target(settings)).await;
    rig.push_many(3);
    rig.until_degraded(TroubleKind::CredentialsMissing).await;
    write_user(dir.path(), "weir", "wrong");
    let remedy = rig.until_degraded(TroubleKind::WrongCredentials).await;
    assert!(remedy.contains("read again within a second"), "{remedy}");
    write_user(dir.path(), "weir", "right");
    rig.until_acked(3).await;
    let before = client.statistics().connects.load(Ordering::Relaxed);
    write_user(dir.path(), "next", "next");
    let connections = || rig.metrics.encode().expect("encodes");
    let twice = "weir_agent_publish_connections_total{sink_type=\"nats\"} 2";
    until_value("it connects anew", connections, |text| text.contains(twice)).await;
    rig.push_many(3);
    rig.until_acked(6).await;
    assert_eq!(
        client.statistics().connects.load(Ordering::Relaxed),
        before,
        "the server was not restarted"
    );
}

/// *Scenario:* the user may publish one profile's subjects and not another's.
/// *Guarantees:* the state names the subject and the remedy; the permitted ones are acked meanwhile; the others are kept.
#[tokio::test]
async fn publish_without_permission_says_so_and_keeps_the_batch() {
    let config = r#"authorization { users: [
        {user: weir, password: right, permissions: {publish: ["weir.events.p.>"], subscribe: "_INBOX.>"}},
        {user: admin, password: admin}] }"#;
    let Some(server) = Server::start(config).await else {
        return;
    };
    let options = async_nats::ConnectOptions::with_user_and_password("admin".into(), "admin".into());
    let client = options.connect(server.url()).await.expect("connects");
    create_stream(&async_nats::jetstream::new(client), STREAM, SUBJECTS).await;
    let (dir, settings) = with_credentials(&server);
    write_user(dir.path(), "weir", "right");
    let rig = Rig::start(nats_target(settings)).await;
    rig.push_to("q.process.exec", 100, 10);
    rig.push_many(3);
    rig.until_acked(3).await;
    let remedy = rig.until_degraded(TroubleKind::NotPermitted).await;
    assert!(remedy.contains("weir.events.q.process.exec"), "{remedy}");
    let counts = rig.book.counts();
    assert_eq!(counts.queued + counts.unacked, u64::from(EVENTS));
}

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

fn wanted_stream() -> StreamSettings {
    StreamSettings {
        name: STREAM.to_owned(),
        subjects: vec![format!("{PREFIX}.>")],
        replicas: 1,
        storage: Storage::File,
        max_bytes: Some(64 * 1024 * 1024),
        max_age: Some(Duration::from_hours(1)),
        duplicate_window: Duration::from_mins(2),
    }
}

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
        .set_sinks(vec![rig::sink(with(larger))])
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
        .set_sinks(vec![rig::sink(with(wanted_stream()))])
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

/// *Scenario:* the server takes one NKEY; the sink's one credentials file holds its seed.
/// *Guarantees:* it is recognised and accepted.
#[tokio::test]
async fn publish_with_an_nkey_seed_in_the_creds_file_is_accepted() {
    // The example pair of the NATS documentation.
    let (seed, public) = (
        "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY",
        "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4",
    );
    let config = format!("authorization {{ users: [{{nkey: {public}}}] }}");
    let Some(server) = Server::start(&config).await else {
        return;
    };
    let (dir, settings) = with_credentials(&server);
    std::fs::write(dir.path().join("default.creds"), seed).expect("writes");
    let rig = Rig::start(nats_target(NatsSettings {
        ensure: Some(wanted_stream()),
        ..settings
    }))
    .await;
    rig.push_many(1);
    rig.until_acked(1).await;
}

/// *Scenario:* a server with TLS and a certificate of its own authority; the sink first lacks the authority's file, then has
/// another authority's, then the right one.
/// *Guarantees:* each state is named, nothing is sent meanwhile, and the right file is picked up without a restart.
#[tokio::test]
async fn publish_over_tls_trusts_only_the_given_authority() {
    let tls = tempfile::tempdir().expect("makes a directory");
    let path = |name: &str| tls.path().join(name);
    let right = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("certifies");
    let wrong = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("certifies");
    std::fs::write(path("server.crt"), right.cert.pem()).expect("writes");
    std::fs::write(path("server.key"), right.signing_key.serialize_pem()).expect("writes");
    let config = format!(
        "tls {{ cert_file: {:?}, key_file: {:?} }}",
        path("server.crt"),
        path("server.key")
    );
    let Some(server) = Server::start(&config).await else {
        return;
    };
    let ca = path("default.ca.crt");
    let settings = NatsSettings {
        tls: TlsSettings {
            required: true,
            ca: Some(ca.clone()),
            ..TlsSettings::default()
        },
        credentials_dir: Some(tls.path().to_path_buf()),
        ensure: Some(wanted_stream()),
        ..nats(&server.url())
    };
    let rig = Rig::start(nats_target(settings)).await;
    rig.push_many(1);
    let remedy = rig.until_degraded(TroubleKind::CredentialsMissing).await;
    assert!(remedy.contains("default.ca.crt"), "{remedy}");
    std::fs::write(&ca, wrong.cert.pem()).expect("writes");
    rig.until_degraded(TroubleKind::Tls).await;
    assert_eq!(rig.book.counts().queued, events(1));
    std::fs::write(&ca, right.cert.pem()).expect("writes");
    rig.until_acked(1).await;
}
