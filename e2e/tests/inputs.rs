//! What users get wrong, and what the status, the Events and the log say of it. Nothing here disturbs other profiles.

use std::time::Duration;

use serde_json::{Value, json};
use weir_e2e::cluster::{Cluster, ClusterError};
use weir_e2e::profile::condition;
use weir_e2e::scenario::{self, TestResult, World};
use weir_e2e::wait::{Probe, until};

const TOLD_LIMIT: Duration = Duration::from_secs(30);
const NATS: &str = "nats://nats.weir-nats.svc:4222";
const SECRET: &str = "e2e-inputs";

fn spec(sink: &str) -> Value {
    json!({
        "workloads": {"namespaces": ["nowhere"], "host": "Exclude"},
        "events": [{"name": "execs", "kind": "process.exec"}],
        "sinkRef": {"name": sink},
    })
}

/// Waits until a sink's `Ready` has a reason; returns its message.
async fn until_sink(world: &World, name: &str, reason: &str) -> TestResult<String> {
    let path = format!("/apis/weir.dev/v1alpha1/collectorsinks/{name}");
    let message = until(&format!("{name}: {reason}"), TOLD_LIMIT, || async {
        let sink = world.cluster.get_json(&path).await;
        sink.map(|sink| {
            let ready = condition(&sink, "Ready");
            let message = ready["message"].as_str().unwrap_or_default().to_owned();
            Probe::when(ready["reason"] == reason, message, ready)
        })
    })
    .await?;
    Ok(message)
}

/// Waits for an Event about an object, and for a line with the same words in the log of an operator.
async fn until_told(cluster: &Cluster, name: &str, reason: &str, words: &str) -> TestResult {
    let selector = format!("--field-selector=involvedObject.name={name},reason={reason}");
    until(&format!("an Event {reason} about {name}"), TOLD_LIMIT, || async {
        let events = [
            "get",
            "events",
            &selector,
            "--output=jsonpath={.items[*].message}",
        ];
        let notes = cluster.kubectl(events).await;
        notes.map(|notes| Probe::when(notes.contains(words), (), notes))
    })
    .await?;
    until(&format!("a log line about {name}"), TOLD_LIMIT, || async {
        let log = operators_log(cluster).await;
        log.map(|log| {
            let line = log
                .lines()
                .any(|line| line.contains(name) && line.contains(words));
            Probe::when(line, (), "no such line")
        })
    })
    .await?;
    Ok(())
}

async fn operators_log(cluster: &Cluster) -> Result<String, ClusterError> {
    let selector = "--selector=app.kubernetes.io/name=weir-operator";
    let arguments = [
        "logs",
        "--namespace=weir-system",
        selector,
        "--since=5m",
        "--tail=-1",
    ];
    cluster.kubectl(arguments).await
}

/// Scenario: a sink names a server that does not exist.
/// Guarantees: the sink and the profile say so with the name and the remedy, in conditions, Events and the log; the
/// profile runs all the same.
#[tokio::test]
async fn unresolvable_server_is_told_by_sink_and_profile() -> TestResult {
    scenario::run("unresolvable", async |world| {
        let sink = json!({"nats": {
            "servers": ["nats://nowhere.invalid:4222"],
            "stream": {"name": "NOWHERE", "manage": "Ensure", "maxBytes": "1Mi"},
        }});
        let sink = world.sink("s", sink).await?;
        let profile = world.profile("p", spec(&sink)).await?;
        let message = until_sink(world, &sink, "SinkUnreachable").await?;
        assert!(
            message.contains("nowhere.invalid") && message.contains("correct"),
            "{message}"
        );
        until_told(&world.cluster, &sink, "SinkUnreachable", "nowhere.invalid").await?;
        let object = profile
            .until_condition("Delivering", "False", Some("SinkUnreachable"), TOLD_LIMIT)
            .await?;
        let delivering = condition(&object, "Delivering")["message"].to_string();
        assert!(delivering.contains("nowhere.invalid"), "{delivering}");
        profile.until_ready(TOLD_LIMIT).await?;
        until_told(
            &world.cluster,
            &profile.name,
            "SinkUnreachable",
            "nowhere.invalid",
        )
        .await
    })
    .await
}

/// Scenario: a sink names a Secret that is not there; it is made without the key; then with it.
/// Guarantees: each is told by its own reason, with the Secret's name and the remedy; then the sink is ready.
#[tokio::test]
async fn missing_secret_and_missing_key_are_told_by_name() -> TestResult {
    scenario::run("secrets", async |world| {
        let delete = [
            "delete",
            "secret",
            SECRET,
            "--namespace=weir-system",
            "--ignore-not-found",
        ];
        world.cluster.kubectl(delete).await?;
        let secret = |data: Value| {
            json!({
                "apiVersion": "v1", "kind": "Secret",
                "metadata": {"name": SECRET, "namespace": "weir-system", "labels": {"weir.dev/sink-credentials": "true"}},
                "stringData": data,
            })
            .to_string()
        };
        let sink = json!({"nats": {
            "servers": [NATS],
            "credentialsSecretRef": {"name": SECRET, "key": "user.creds"},
            "stream": {"name": "WEIR", "manage": "External"},
        }});
        let sink = world.sink("s", sink).await?;
        let message = until_sink(world, &sink, "SecretNotFound").await?;
        assert!(message.contains(SECRET) && message.contains("create it"), "{message}");
        until_told(&world.cluster, &sink, "SecretNotFound", SECRET).await?;

        world.cluster.apply(&secret(json!({"other": "x"}))).await?;
        let message = until_sink(world, &sink, "SecretKeyMissing").await?;
        assert!(message.contains("user.creds") && message.contains("add the key"), "{message}");
        until_told(&world.cluster, &sink, "SecretKeyMissing", "user.creds").await?;

        world.cluster.apply(&secret(json!({"user.creds": "a-token"}))).await?;
        until_sink(world, &sink, "StreamReady").await?;
        world.cluster.kubectl(delete).await?;
        Ok(())
    })
    .await
}
