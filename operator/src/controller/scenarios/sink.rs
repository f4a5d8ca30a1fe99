use std::time::Duration;

use kube::runtime::controller::Action;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::rig::{Rig, World, play, profile, secret, sink, sink_with_credentials};
use crate::context::GuardedSink;
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
        let sinks = Sinks::new(rig.context.clone(), CancellationToken::new());
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
    let sinks = Sinks::new(rig.context.clone(), CancellationToken::new());
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

/// *Scenario:* a sink whose spec this operator cannot read, which every change of any profile visits again.
/// *Guarantees:* its status is written once, not again and again with a new time.
#[tokio::test]
async fn sink_that_cannot_be_read_is_written_once() {
    let mut unreadable = sink();
    unreadable["spec"]["nats"]["stream"]["manage"] = json!("Magic");
    let mut rig = Rig::new(World {
        sinks: vec![unreadable],
        ..World::default()
    });
    let sinks = Sinks::new(rig.context.clone(), CancellationToken::new());
    let object = rig.context.stores.sinks.state().remove(0);
    let server = &mut rig.server;
    let (action, status) = play(sinks.reconcile(&object), async {
        let call = server.accept("PATCH", STATUS).await;
        server.event("default", "InvalidSpec").await;
        call.body["status"].clone()
    })
    .await;
    action.unwrap();
    assert_eq!(ready(&status), ("False", "InvalidSpec"));
    // Times are whole seconds: a status of its own would differ by then.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    for _ in 0..3 {
        sinks.reconcile(&object).await.unwrap();
    }
    assert!(rig.server.is_silent());
}

/// *Scenario:* a Secret is missing; profiles come and go, and each of their changes visits the sink.
/// *Guarantees:* the API server is asked for the Secret once, and again after half a minute; the number of profiles waits
/// for its minute.
#[tokio::test(start_paused = true)]
async fn sink_whose_secret_is_missing_asks_for_it_rarely() {
    let mut rig = Rig::new(World {
        sinks: vec![sink_with_credentials()],
        ..World::default()
    });
    let sinks = Sinks::new(rig.context.clone(), CancellationToken::new());
    let object = rig.context.stores.sinks.state().remove(0);
    let server = &mut rig.server;
    let (action, ()) = play(sinks.reconcile(&object), async {
        server.refuse("GET", SECRET, 404, "not found").await;
        server.accept("PATCH", STATUS).await;
        server.event("default", "SecretNotFound").await;
    })
    .await;
    action.unwrap();
    rig.bring(&profile());
    for _ in 0..5 {
        sinks.reconcile(&object).await.unwrap();
        tokio::time::advance(Duration::from_secs(5)).await;
    }
    assert!(rig.server.is_silent());
    tokio::time::advance(Duration::from_secs(40)).await;
    let server = &mut rig.server;
    let (action, status) = play(sinks.reconcile(&object), async {
        server.refuse("GET", SECRET, 404, "not found").await;
        server.accept("PATCH", STATUS).await.body["status"].clone()
    })
    .await;
    action.unwrap();
    assert_eq!(status["profiles"], 1);
}

/// *Scenario:* the Secret goes and comes again, over and over.
/// *Guarantees:* writes come from a bucket of two; the rest waits, and is written then.
#[tokio::test(start_paused = true)]
async fn sink_that_flaps_is_written_at_a_bounded_rate() {
    let text = [sink_with_credentials(), {
        let mut other = sink_with_credentials();
        other["spec"]["nats"]["credentialsSecretRef"]["key"] = json!("none");
        other["metadata"]["generation"] = json!(2);
        other
    }];
    let [first, second] = text.map(|text| serde_json::from_value::<GuardedSink>(text).unwrap());
    let mut secret = secret();
    secret["data"] = json!({"other": "eA=="});
    let mut rig = Rig::new(World {
        secrets: vec![secret],
        ..World::default()
    });
    let sinks = Sinks::new(rig.context.clone(), CancellationToken::new());
    for (object, told) in [(&first, true), (&second, false)] {
        let (action, _) = play(sinks.reconcile(object), rig.server.accept("PATCH", STATUS)).await;
        action.unwrap();
        if told {
            rig.server.event("default", "SecretKeyMissing").await;
        }
    }
    let action = sinks.reconcile(&first).await.unwrap();
    assert!(rig.server.is_silent(), "the bucket is empty");
    assert_eq!(action, Action::requeue(Duration::from_secs(5)));
    tokio::time::advance(Duration::from_secs(5)).await;
    let (action, _) = play(sinks.reconcile(&first), rig.server.accept("PATCH", STATUS)).await;
    action.unwrap();
}
