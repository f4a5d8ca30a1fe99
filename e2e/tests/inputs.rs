//! What users get wrong, and what the status, the Events and the log say of it. Nothing here disturbs other profiles.

use std::time::Duration;

use serde_json::{Value, json};
use weir_e2e::profile::condition;
use weir_e2e::scenario::{self, TestResult, World};
use weir_e2e::told::until_told;
use weir_e2e::wait::{Probe, until};

/// An API server that was restarted just before is reached by a node's pods only once that node's kube-proxy has looked at
/// its service again, which may take half a minute: seen.
const TOLD_LIMIT: Duration = Duration::from_secs(90);
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
        until_told(
            &world.cluster,
            &sink,
            "SinkUnreachable",
            "nowhere.invalid",
            TOLD_LIMIT,
        )
        .await?;
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
            TOLD_LIMIT,
        )
        .await?;
        Ok(())
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
        until_told(&world.cluster, &sink, "SecretNotFound", SECRET, TOLD_LIMIT).await?;

        world.cluster.apply(&secret(json!({"other": "x"}))).await?;
        let message = until_sink(world, &sink, "SecretKeyMissing").await?;
        assert!(message.contains("user.creds") && message.contains("add the key"), "{message}");
        until_told(&world.cluster, &sink, "SecretKeyMissing", "user.creds", TOLD_LIMIT).await?;

        world.cluster.apply(&secret(json!({"user.creds": "a-token"}))).await?;
        until_sink(world, &sink, "StreamReady").await?;
        world.cluster.kubectl(delete).await?;
        Ok(())
    })
    .await
}

/// Base64 of what the unlabelled Secret holds, so that it would be found whatever key it came under.
const BYTES: &str = "bm90LWZvci13ZWly";

/// Scenario: a sink names a Secret of the operator's namespace that lacks the label; then the label is set.
/// Guarantees: the refusal is told by its own reason, with the remedy, and the Secret's bytes are not in what agents mount;
/// with the label they are.
#[tokio::test]
async fn secret_without_the_label_is_refused_and_its_bytes_stay_where_they_are() -> TestResult {
    scenario::run("unlabelled", async |world| {
        let name = world.named("theirs");
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": name, "namespace": "weir-system", "labels": world.labels()},
            "data": {"user.creds": BYTES},
        });
        world.cluster.apply(&secret.to_string()).await?;
        let sink = json!({"nats": {
            "servers": [NATS],
            "credentialsSecretRef": {"name": name, "key": "user.creds"},
            "stream": {"name": "WEIR", "manage": "External"},
        }});
        let sink = world.sink("s", sink).await?;
        // A sink that is in use, so that its credentials would be wanted.
        world.profile("p", spec(&sink)).await?;
        let message = until_sink(world, &sink, "SecretNotLabelled").await?;
        let label = "weir.dev/sink-credentials=true";
        assert!(message.contains(&name) && message.contains(label), "{message}");
        until_told(&world.cluster, &sink, "SecretNotLabelled", label, TOLD_LIMIT).await?;
        let gathered = "/api/v1/namespaces/weir-agents/secrets/weir-agent-sinks";
        let now = world.cluster.get_json(gathered).await?["data"].to_string();
        assert!(!now.contains(BYTES) && !now.contains(&sink), "{now}");

        let set = ["label", "secret", &name, "--namespace=weir-system", label];
        world.cluster.kubectl(set).await?;
        until("the labelled Secret to be gathered", TOLD_LIMIT, || async {
            let now = world.cluster.get_json(gathered).await;
            now.map(|now| {
                let data = now["data"].as_object();
                let there = data
                    .into_iter()
                    .flatten()
                    .any(|(key, value)| key.starts_with(&sink) && value == BYTES);
                Probe::when(there, (), now["data"].to_string())
            })
        })
        .await?;
        Ok(())
    })
    .await
}
