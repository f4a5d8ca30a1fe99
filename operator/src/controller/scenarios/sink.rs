use serde_json::{Value, json};

use super::rig::{Rig, World, play, profile, secret, sink, sink_with_credentials};
use crate::controller::sink::Sinks;

const STATUS: &str = "/apis/weir.dev/v1alpha1/collectorsinks/default/status";
const SECRET: &str = "/api/v1/namespaces/weir-system/secrets/nats";

fn ready(status: &Value) -> (&str, &str) {
    let found = status["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|condition| condition["type"] == "Ready")
        .unwrap();
    (
        found["status"].as_str().unwrap(),
        found["reason"].as_str().unwrap(),
    )
}

/// *Scenario:* the Secret that a sink names is missing, is there without the label, or lacks the key.
/// *Guarantees:* each has its reason and a warning, only metadata of an unlabelled Secret is read, and no server is
/// contacted.
#[tokio::test]
async fn sink_whose_secret_cannot_be_used_says_why() {
    for (labelled, answer, reason) in [
        (false, None, "SecretNotFound"),
        (false, Some(()), "SecretNotLabelled"),
        (true, None, "SecretKeyMissing"),
    ] {
        let mut secret = secret();
        secret["data"] = json!({"other": "eA=="});
        let secrets = if labelled { vec![secret] } else { Vec::new() };
        let mut rig = Rig::new(World {
            profiles: vec![profile()],
            sinks: vec![sink_with_credentials()],
            secrets,
            ..World::default()
        });
        let sinks = Sinks::new(rig.context.clone());
        let object = rig.context.stores.sinks.state().remove(0);
        let server = &mut rig.server;
        let (action, status) = play(sinks.reconcile(&object), async {
            let metadata = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {"name": "nats"}});
            match (labelled, answer) {
                (true, _) => {}
                (false, Some(())) => drop(server.give("GET", SECRET, &metadata).await),
                (false, None) => drop(server.refuse("GET", SECRET, 404, "NotFound").await),
            }
            let call = server.accept("PATCH", STATUS).await;
            server.event("default", reason).await;
            call.body["status"].clone()
        })
        .await;
        action.unwrap();
        assert_eq!(ready(&status), ("False", reason));
        assert_eq!(status["profiles"], 1);
        let message = status["conditions"][0]["message"].as_str().unwrap();
        assert!(
            message.contains("credentialsSecretRef") && message.contains("nats"),
            "{message}"
        );
    }
}

/// *Scenario:* nothing listens where the sink points, visit after visit.
/// *Guarantees:* accepted, not ready, tried again; the status is written once.
#[tokio::test]
async fn sink_that_cannot_be_reached_is_a_condition_and_no_crash() {
    let mut rig = Rig::new(World {
        sinks: vec![sink()],
        ..World::default()
    });
    let sinks = Sinks::new(rig.context.clone());
    let object = rig.context.stores.sinks.state().remove(0);
    let server = &mut rig.server;
    let (action, status) = play(sinks.reconcile(&object), async {
        let call = server.accept("PATCH", STATUS).await;
        server.event("default", "SinkUnreachable").await;
        call.body["status"].clone()
    })
    .await;
    action.unwrap();
    assert_eq!(ready(&status), ("False", "SinkUnreachable"));
    let reconciling = status["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|found| found["type"] == "Reconciling")
        .unwrap();
    assert_eq!(reconciling["status"], "True");
    sinks.reconcile(&object).await.unwrap();
    assert!(rig.server.is_silent());
}
