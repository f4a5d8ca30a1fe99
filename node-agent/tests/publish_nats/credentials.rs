//! Who may publish: credentials, permissions and certificates, read again when their files change.

use std::sync::atomic::Ordering;

use weir_node_agent::publish::TroubleKind;
use weir_node_agent::publish::settings::{NatsSettings, TlsSettings};

use crate::rig::{EVENTS, Rig, STREAM, nats};
use crate::server::{Server, create_stream};
use crate::wait::until_value;
use crate::{SUBJECTS, events, nats_target, wanted_stream};

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

/// *Scenario:* the user may only publish events and subscribe to its inbox, as the manual says; no stream takes a batch, so
/// that the agent asks the server why, which it may not either; then the stream is made.
/// *Guarantees:* the state says that no stream takes it, and never that the user lacks a permission; it is live once there are
/// acknowledgements.
#[tokio::test]
async fn publish_by_a_user_that_may_only_publish_is_live_once_there_is_a_stream() {
    let config = r#"authorization { users: [
        {user: weir, password: right, permissions: {publish: ["weir.events.>"], subscribe: "_INBOX.>"}},
        {user: admin, password: admin}] }"#;
    let Some(server) = Server::start(config).await else {
        return;
    };
    let (dir, settings) = with_credentials(&server);
    write_user(dir.path(), "weir", "right");
    let rig = Rig::start(nats_target(settings)).await;
    rig.push_many(1);
    rig.until_degraded(TroubleKind::StreamMissing).await;
    // The refusal of the question comes with it, or is looked for within a second.
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    let options = async_nats::ConnectOptions::with_user_and_password("admin".into(), "admin".into());
    let client = options.connect(server.url()).await.expect("connects");
    create_stream(&async_nats::jetstream::new(client), STREAM, SUBJECTS).await;
    rig.until_acked(1).await;
    rig.until_live().await;
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
