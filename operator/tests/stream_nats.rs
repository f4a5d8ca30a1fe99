//! Streams on a real nats-server: each way in which making or checking one ends has its reason and a remedy.

#![expect(
    clippy::expect_used,
    reason = "a test helper that cannot go on fails its test"
)]

#[path = "support/server.rs"]
mod server;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::stream::{Config, RetentionPolicy};
use tokio_util::sync::CancellationToken;
use weir_operator::stream::{Access, Settled, StreamTrouble, settle};
use weir_profile::api::{ConditionReason, Manage, Storage};
use weir_runtime::login::Login;
use weir_runtime::stream::{Ensured, StreamSettings};

use crate::server::Server;

const USERS: &str = r#"authorization { users: [
    {user: admin, password: admin},
    {user: agent, password: agent, permissions: {publish: ["weir.events.>"], subscribe: "_INBOX.>"}},
    {user: deaf, password: deaf, permissions: {publish: ">", subscribe: "none"}}] }"#;

fn wanted() -> StreamSettings {
    StreamSettings {
        name: "WEIR".to_owned(),
        subjects: vec!["weir.events.>".to_owned()],
        replicas: 1,
        storage: Storage::File,
        max_bytes: Some(1 << 20),
        max_age: None,
        duplicate_window: Duration::from_mins(2),
    }
}

fn access(server: &Server) -> Access {
    Access {
        servers: vec![server.url("nats")],
        ..Access::default()
    }
}

fn user(server: &Server, name: &str) -> Access {
    Access {
        login: Login::User(name.to_owned(), name.to_owned()),
        ..access(server)
    }
}

async fn outcome(access: &Access, wanted: &StreamSettings, manage: Manage) -> Result<Settled, StreamTrouble> {
    settle(access, wanted, manage, &CancellationToken::new())
        .await
        .expect("nobody stops it")
}

async fn create(server: &Server, config: Config) {
    let client = async_nats::connect(server.url("nats")).await.expect("connects");
    jetstream::new(client)
        .create_stream(config)
        .await
        .expect("creates");
}

/// Reason, permanence, and words that the message must have.
fn assert_trouble(
    found: Result<Settled, StreamTrouble>,
    (reason, permanent): (ConditionReason, bool),
    words: &[&str],
) {
    let trouble = found.expect_err("is a trouble");
    assert_eq!(
        (trouble.reason, trouble.permanent),
        (reason, permanent),
        "{trouble}"
    );
    for word in words {
        assert!(trouble.message.contains(word), "{word}: {trouble}");
    }
}

/// *Scenario:* the stream is not there, by turns ours and somebody else's to make.
/// *Guarantees:* ours is made once and then found; the other's absence has a reason that waits for a person.
#[tokio::test]
async fn stream_that_is_missing_is_made_or_told() {
    let Some(server) = Server::start("jetstream") else {
        return;
    };
    let access = access(&server);
    assert_trouble(
        outcome(&access, &wanted(), Manage::External).await,
        (ConditionReason::StreamMissing, true),
        &["`WEIR`", "stream.manage"],
    );
    for expected in [Ensured::Created, Ensured::Present] {
        let found = outcome(&access, &wanted(), Manage::Ensure).await;
        assert_eq!(found, Ok(Settled::Seen(expected)));
    }
    let found = outcome(&access, &wanted(), Manage::External).await;
    assert_eq!(found, Ok(Settled::Seen(Ensured::Present)));
}

/// *Scenario:* a stream of that name is of another kind; another stream takes the subjects.
/// *Guarantees:* both are conflicts that name what differs, and nothing is changed.
#[tokio::test]
async fn stream_of_somebody_else_is_a_conflict() {
    let Some(server) = Server::start("jetstream") else {
        return;
    };
    let other = Config {
        name: "WEIR".to_owned(),
        subjects: vec!["weir.events.>".to_owned()],
        retention: RetentionPolicy::WorkQueue,
        ..Config::default()
    };
    create(&server, other).await;
    assert_trouble(
        outcome(&access(&server), &wanted(), Manage::Ensure).await,
        (ConditionReason::StreamConflict, true),
        &["retention", "never shrunk"],
    );
    let overlapping = StreamSettings {
        name: "SECOND".to_owned(),
        ..wanted()
    };
    assert_trouble(
        outcome(&access(&server), &overlapping, Manage::Ensure).await,
        (ConditionReason::StreamConflict, true),
        &["overlap", "subjectPrefix"],
    );
}

/// *Scenario:* credentials that may only publish, and a stream that somebody else makes; then a user that may look.
/// *Guarantees:* at once, and without a word of an unreachable server, what would have to be allowed is named.
#[tokio::test]
async fn stream_external_with_publish_only_credentials_is_unverified() {
    let Some(server) = Server::start(&format!("jetstream: enabled\n{USERS}")) else {
        return;
    };
    let start = std::time::Instant::now();
    let found = outcome(&user(&server, "agent"), &wanted(), Manage::External).await;
    let Ok(Settled::Unverified(text)) = found else {
        panic!("{found:?}");
    };
    for word in ["`$JS.API.STREAM.INFO.WEIR`", "stream.adminCredentialsSecretRef"] {
        assert!(text.contains(word), "{text}");
    }
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "a denial is no time-out"
    );
    assert_trouble(
        outcome(&user(&server, "admin"), &wanted(), Manage::External).await,
        (ConditionReason::StreamMissing, true),
        &[],
    );
}

/// *Scenario:* the stream is ours to make, with a user that may not; a user that hears no answer; a wrong password.
/// *Guarantees:* each is the user's lack, with the subject that is denied, and waits for a person.
#[tokio::test]
async fn stream_with_credentials_that_may_not_is_their_failure() {
    let Some(server) = Server::start(&format!("jetstream: enabled\n{USERS}")) else {
        return;
    };
    let refused = (ConditionReason::AuthenticationFailed, true);
    assert_trouble(
        outcome(&user(&server, "agent"), &wanted(), Manage::Ensure).await,
        refused,
        &["`$JS.API.STREAM.INFO.WEIR`", "stream.manage: External"],
    );
    for manage in [Manage::Ensure, Manage::External] {
        assert_trouble(
            outcome(&user(&server, "deaf"), &wanted(), manage).await,
            refused,
            &["`_INBOX.>`"],
        );
        assert_trouble(
            outcome(&user(&server, "nobody"), &wanted(), manage).await,
            refused,
            &["Secret's content"],
        );
    }
}

/// *Scenario:* three copies of one server; more bytes than it has; no `JetStream` at all.
/// *Guarantees:* the server is not called unreachable: its words and a remedy are told.
#[tokio::test]
async fn stream_that_the_server_refuses_has_its_words_and_a_remedy() {
    let Some(server) = Server::start("jetstream { max_file_store: 64M }") else {
        return;
    };
    let three = StreamSettings {
        replicas: 3,
        ..wanted()
    };
    assert_trouble(
        outcome(&access(&server), &three, Manage::Ensure).await,
        (ConditionReason::StreamRefused, true),
        &["replicas > 1 not supported", "lower stream.replicas"],
    );
    let large = StreamSettings {
        max_bytes: Some(1 << 30),
        ..wanted()
    };
    assert_trouble(
        outcome(&access(&server), &large, Manage::Ensure).await,
        (ConditionReason::StreamRefused, true),
        &["insufficient storage", "lower stream.maxBytes"],
    );
    let Some(server) = Server::start("") else { return };
    for manage in [Manage::Ensure, Manage::External] {
        let trouble = outcome(&access(&server), &wanted(), manage)
            .await
            .expect_err("is a trouble");
        assert_eq!(trouble.reason, ConditionReason::StreamRefused, "{trouble}");
        assert!(
            trouble.message.contains("start nats-server with JetStream"),
            "{trouble}"
        );
    }
}

/// *Scenario:* of two servers one is down, whichever is tried first.
/// *Guarantees:* the other is used.
#[tokio::test]
async fn stream_on_a_server_beside_one_that_is_down_is_found() {
    let Some(server) = Server::start("jetstream") else {
        return;
    };
    let access = Access {
        servers: vec![
            "nats://127.0.0.1:1".to_owned(),
            server.url("nats"),
            "nats://127.0.0.1:2".to_owned(),
        ],
        ..Access::default()
    };
    for _ in 0..6 {
        let found = outcome(&access, &wanted(), Manage::Ensure).await;
        assert!(matches!(found, Ok(Settled::Seen(_))), "{found:?}");
    }
}

fn certificate(dir: &Path, name: &str) -> String {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("certifies");
    let pem = made.cert.pem();
    std::fs::write(dir.join(format!("{name}.crt")), &pem).expect("writes");
    std::fs::write(dir.join(format!("{name}.key")), made.signing_key.serialize_pem()).expect("writes");
    pem
}

fn read(dir: &Path, name: &str) -> Vec<u8> {
    std::fs::read(dir.join(name)).expect("reads")
}

/// A server with TLS that asks for a client's certificate.
fn tls_server(dir: &Path) -> Option<Server> {
    for name in ["server", "client"] {
        certificate(dir, name);
    }
    let path = |name: &str| dir.join(name).display().to_string();
    Server::start(&format!(
        "jetstream: enabled\ntls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}",
        path("server.crt"),
        path("server.key"),
        path("client.crt")
    ))
}

/// *Scenario:* a server with TLS and a certificate of its own authority, which wants the client's, too.
/// *Guarantees:* the right authority is trusted and the right certificate taken; another or none fails, and says what to
/// look at.
#[tokio::test]
async fn stream_over_tls_trusts_the_given_authority_and_no_other() {
    let dir = tempfile::tempdir().expect("makes a directory");
    let Some(server) = tls_server(dir.path()) else {
        return;
    };
    let right = Access {
        servers: vec![server.url("tls")],
        require_tls: true,
        ca: Some(read(dir.path(), "server.crt")),
        client: Some((read(dir.path(), "client.crt"), read(dir.path(), "client.key"))),
        ..Access::default()
    };
    let found = outcome(&right, &wanted(), Manage::Ensure).await;
    assert_eq!(found, Ok(Settled::Seen(Ensured::Created)));
    let other = certificate(dir.path(), "other").into_bytes();
    for wrong in [
        Access {
            ca: Some(other),
            ..right.clone()
        },
        Access {
            ca: None,
            ..right.clone()
        },
        Access {
            client: None,
            ..right.clone()
        },
    ] {
        assert_trouble(
            outcome(&wrong, &wanted(), Manage::Ensure).await,
            (ConditionReason::SinkUnreachable, false),
            &["check the server's certificate"],
        );
    }
    assert_trouble(
        outcome(
            &Access {
                ca: Some(b"no certificate".to_vec()),
                ..right
            },
            &wanted(),
            Manage::Ensure,
        )
        .await,
        (ConditionReason::AuthenticationFailed, true),
        &["caSecretRef", "no PEM certificate"],
    );
}

const URL: &str = "WEIR_TEST_URL";
const DIR: &str = "WEIR_TEST_DIR";

/// *Scenario:* the sink names a client's certificate and no authority; the server's is one of the system's.
/// *Guarantees:* the system's authorities are trusted, as they are without a client's certificate.
#[tokio::test]
async fn stream_over_tls_with_only_a_client_certificate_trusts_the_system() {
    let dir = tempfile::tempdir().expect("makes a directory");
    let Some(server) = tls_server(dir.path()) else {
        return;
    };
    // A process of its own: which authorities are the system's is read from its environment.
    let output = Command::new(std::env::current_exe().expect("is known"))
        .args(["--exact", "as_a_process_with_its_own_authorities", "--ignored"])
        .env("SSL_CERT_FILE", dir.path().join("server.crt"))
        .env(URL, server.url("tls"))
        .env(DIR, dir.path())
        .output()
        .expect("runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[tokio::test]
#[ignore = "run by another test, with an environment of its own"]
async fn as_a_process_with_its_own_authorities() {
    let (Ok(url), Some(dir)) = (std::env::var(URL), std::env::var_os(DIR)) else {
        return;
    };
    let dir = Path::new(&dir);
    let access = Access {
        servers: vec![url],
        require_tls: true,
        client: Some((read(dir, "client.crt"), read(dir, "client.key"))),
        ..Access::default()
    };
    let found = outcome(&access, &wanted(), Manage::Ensure).await;
    assert_eq!(found, Ok(Settled::Seen(Ensured::Created)));
}
