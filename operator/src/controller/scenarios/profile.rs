use kube::runtime::controller::Action;
use serde_json::json;

use super::rig::{Rig, World, play, profile, sink};
use crate::controller::profile::Profiles;
use crate::rollup::samples::{add, entry};
use crate::rollup::{Index, NodeFacts};
use crate::trouble::Concern;
use weir_profile::api::{ConditionReason, NodeProfileState};

const STATUS: &str = "/apis/weir.dev/v1alpha1/collectorprofiles/baseline/status";

fn planned() -> weir_profile::Plan {
    let (profile, sink) = (
        serde_json::from_value(profile()).unwrap(),
        serde_json::from_value(sink()).unwrap(),
    );
    weir_profile::plan(&profile, Some(&sink)).unwrap()
}

fn live() -> Index {
    let mut index = Index::default();
    let mut row = entry(NodeProfileState::Live, None);
    row.digest = Some(planned().digest);
    add(&mut index, "n1", row);
    index
}

fn condition<'a>(status: &'a serde_json::Value, type_: &str) -> (&'a str, &'a str) {
    let found = status["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|condition| condition["type"] == type_)
        .unwrap();
    (
        found["status"].as_str().unwrap(),
        found["reason"].as_str().unwrap(),
    )
}

/// *Scenario:* a profile that every node already runs is visited for the first time, then again and again.
/// *Guarantees:* one status write with our field manager and an Event; afterwards silence, whether or not the watch has
/// brought the write back.
#[tokio::test]
async fn profile_steady_is_written_once() {
    let mut rig = Rig::new(World {
        profiles: vec![profile()],
        sinks: vec![sink()],
        index: live(),
        ..World::default()
    });
    let profiles = Profiles::new(rig.context.clone());
    let object = rig.bring(&profile());
    let server = &mut rig.server;
    let (action, written) = play(profiles.reconcile(&object), async {
        let call = server.accept("PATCH", STATUS).await;
        server.event("default", "Live").await;
        call
    })
    .await;
    action.unwrap();
    assert!(
        written.query.contains("fieldManager=weir-operator-status") && written.query.contains("force=true")
    );
    let status = &written.body["status"];
    assert_eq!(condition(status, "Ready"), ("True", "Live"));
    assert_eq!(status["conditions"].as_array().unwrap().len(), 8);
    assert_eq!(status["digest"], planned().digest);
    assert_eq!(written.body.get("spec"), None);

    profiles.reconcile(&object).await.unwrap();
    assert!(rig.server.is_silent(), "the watch is late");
    let mut seen = profile();
    seen["metadata"]["resourceVersion"] = json!("1000");
    seen["status"] = status.clone();
    // The API server keeps an order of its own.
    seen["status"]["conditions"].as_array_mut().unwrap().reverse();
    let object = rig.bring(&seen);
    profiles.reconcile(&object).await.unwrap();
    assert!(rig.server.is_silent());
}

/// *Scenario:* the installed CRD lacks a field of the status, because it is older than the operator.
/// *Guarantees:* the conditions are written all the same.
#[tokio::test]
async fn profile_of_an_older_definition_still_has_conditions() {
    let mut rig = Rig::new(World {
        profiles: vec![profile()],
        sinks: vec![sink()],
        index: live(),
        ..World::default()
    });
    let profiles = Profiles::new(rig.context.clone());
    let object = rig.bring(&profile());
    let server = &mut rig.server;
    let refusal = "failed to create typed patch object: .status.window: field not declared in schema";
    let (action, written) = play(profiles.reconcile(&object), async {
        server.refuse("PATCH", STATUS, 500, refusal).await;
        let call = server.accept("PATCH", STATUS).await;
        server.event("default", "Live").await;
        call
    })
    .await;
    action.unwrap();
    let status = written.body["status"].as_object().unwrap();
    assert_eq!(
        status.keys().collect::<Vec<_>>(),
        ["conditions", "observedGeneration"]
    );
    assert_eq!(condition(&written.body["status"], "Ready"), ("True", "Live"));
}

/// *Scenario:* the sink that a profile names is not there, and appears.
/// *Guarantees:* not accepted with reason and a warning; accepted at the next visit.
#[tokio::test]
async fn profile_without_its_sink_is_refused_and_recovers() {
    let mut rig = Rig::new(World {
        index: live(),
        ..World::default()
    });
    let profiles = Profiles::new(rig.context.clone());
    let object = rig.bring(&profile());
    let server = &mut rig.server;
    let (action, written) = play(profiles.reconcile(&object), async {
        let call = server.accept("PATCH", STATUS).await;
        let event = server.event("default", "SinkNotFound").await;
        assert_eq!(event.body["type"], "Warning");
        call
    })
    .await;
    action.unwrap();
    for (type_, status) in [("Accepted", "False"), ("Ready", "False"), ("Stalled", "True")] {
        assert_eq!(
            condition(&written.body["status"], type_),
            (status, "SinkNotFound")
        );
    }

    let mut rig = Rig::new(World {
        sinks: vec![sink()],
        index: live(),
        ..World::default()
    });
    let profiles = Profiles::new(rig.context.clone());
    let mut refused = profile();
    refused["status"] = written.body["status"].clone();
    let object = rig.bring(&refused);
    let server = &mut rig.server;
    let (action, written) = play(profiles.reconcile(&object), async {
        let call = server.accept("PATCH", STATUS).await;
        server.event("default", "Accepted").await;
        server.event("default", "Live").await;
        call
    })
    .await;
    action.unwrap();
    assert_eq!(
        condition(&written.body["status"], "Accepted"),
        ("True", "Accepted")
    );
}

/// *Scenario:* the spec has a kind that this operator does not know.
/// *Guarantees:* a condition that says so, and no error that would be retried for ever.
#[tokio::test]
async fn profile_that_cannot_be_read_is_refused() {
    let mut rig = Rig::new(World {
        sinks: vec![sink()],
        ..World::default()
    });
    let profiles = Profiles::new(rig.context.clone());
    let mut unreadable = profile();
    unreadable["spec"]["events"][0]["kind"] = json!("quantum.flip");
    let object = rig.bring(&unreadable);
    let server = &mut rig.server;
    let (action, written) = play(profiles.reconcile(&object), async {
        let call = server.accept("PATCH", STATUS).await;
        server.event("default", "InvalidSpec").await;
        call
    })
    .await;
    action.unwrap();
    assert_eq!(
        condition(&written.body["status"], "Stalled"),
        ("True", "InvalidSpec")
    );
    assert!(
        written.body["status"]["conditions"][0]["message"]
            .as_str()
            .unwrap()
            .contains("quantum.flip")
    );
}

/// *Scenario:* a profile that cannot be read is visited again, a while after the watch has brought the written status back.
/// *Guarantees:* it is written once: what the operator cannot read there, it remembers.
#[tokio::test(start_paused = true)]
async fn profile_that_cannot_be_read_is_written_once() {
    let mut rig = Rig::new(World {
        sinks: vec![sink()],
        ..World::default()
    });
    let profiles = Profiles::new(rig.context.clone());
    let mut unreadable = profile();
    unreadable["spec"]["events"][0]["kind"] = json!("quantum.flip");
    let object = rig.bring(&unreadable);
    let server = &mut rig.server;
    let (action, written) = play(profiles.reconcile(&object), async {
        let call = server.accept("PATCH", STATUS).await;
        server.event("default", "InvalidSpec").await;
        call
    })
    .await;
    action.unwrap();
    unreadable["status"] = written.body["status"].clone();
    // The version that the write was answered with.
    unreadable["metadata"]["resourceVersion"] = json!("1000");
    let object = rig.bring(&unreadable);
    for _ in 0..3 {
        tokio::time::sleep(std::time::Duration::from_mins(2)).await;
        profiles.reconcile(&object).await.unwrap();
        assert!(rig.server.is_silent());
    }
}

/// *Scenario:* what nodes do may not be watched any more; later it may again.
/// *Guarantees:* the profile's status claims nothing meanwhile, and says why; then it tells what the nodes do.
#[tokio::test]
async fn profile_of_nodes_that_may_not_be_watched_is_unknown() {
    let mut rig = Rig::new(World {
        sinks: vec![sink()],
        index: live(),
        ..World::default()
    });
    let denied = (ConditionReason::PermissionDenied, "watch-reports: no".to_owned());
    let concern = Concern::Watch("watch-reports");
    rig.context.set_trouble(concern, Some(denied));
    let profiles = Profiles::new(rig.context.clone());
    let object = rig.bring(&profile());
    let server = &mut rig.server;
    let (action, written) = play(profiles.reconcile(&object), async {
        let call = server.accept("PATCH", STATUS).await;
        server.event("default", "PermissionDenied").await;
        call
    })
    .await;
    action.unwrap();
    let status = &written.body["status"];
    assert_eq!(condition(status, "Ready"), ("Unknown", "PermissionDenied"));
    assert_eq!(condition(status, "Degraded"), ("True", "PermissionDenied"));

    rig.context.set_trouble(concern, None);
    let server = &mut rig.server;
    let (action, written) = play(profiles.reconcile(&object), async {
        let call = server.accept("PATCH", STATUS).await;
        server.event("default", "Live").await;
        call
    })
    .await;
    action.unwrap();
    assert_eq!(condition(&written.body["status"], "Ready"), ("True", "Live"));
}

/// *Scenario:* the API server takes the status, and leaves the Event about it unanswered.
/// *Guarantees:* the visit ends all the same, and so does the next one.
#[tokio::test]
async fn profile_visit_never_waits_for_an_event() {
    let mut rig = Rig::new(World {
        sinks: vec![sink()],
        index: live(),
        ..World::default()
    });
    let profiles = Profiles::new(rig.context.clone());
    let object = rig.bring(&profile());
    let server = &mut rig.server;
    let (action, _) = play(profiles.reconcile(&object), server.accept("PATCH", STATUS)).await;
    action.unwrap();
    let (event, _unanswered) = rig.server.next().await;
    assert_eq!(event.body["reason"], "Live", "{:#}", event.body);
    profiles.reconcile(&object).await.unwrap();
    assert!(rig.server.is_silent());
}

/// *Scenario:* a node fails, recovers and fails again within a second.
/// *Guarantees:* the first two changes are written at once; the third waits for the bucket, at most 5 s.
#[tokio::test]
async fn profile_flapping_is_written_within_its_budget() {
    let mut rig = Rig::new(World {
        sinks: vec![sink()],
        index: live(),
        ..World::default()
    });
    let profiles = Profiles::new(rig.context.clone());
    let object = rig.bring(&profile());
    let server = &mut rig.server;
    play(profiles.reconcile(&object), async {
        server.accept("PATCH", STATUS).await;
        server.event("default", "Live").await;
    })
    .await
    .0
    .unwrap();
    let mut row = entry(NodeProfileState::Failed, Some(ConditionReason::ProgrammingFailed));
    row.digest = Some(planned().digest);
    add(&mut rig.context.index(), "n1", row);
    let server = &mut rig.server;
    play(profiles.reconcile(&object), async {
        let call = server.accept("PATCH", STATUS).await;
        assert_eq!(condition(&call.body["status"], "Ready"), ("False", "NodesFailed"));
        server.event("default", "NodesFailed").await;
    })
    .await
    .0
    .unwrap();
    *rig.context.index() = live();
    let action = profiles.reconcile(&object).await.unwrap();
    assert!(rig.server.is_silent());
    let within = (1..=50)
        .map(|tenths| std::time::Duration::from_millis(tenths * 100))
        .any(|later| {
            // An action shows its time in its debug form alone.
            format!("{action:?}") <= format!("{:?}", Action::requeue(later))
        });
    assert!(within, "{action:?}");
}

/// *Scenario:* the profile is deleted between the visit and the write.
/// *Guarantees:* that is no error.
#[tokio::test]
async fn profile_deleted_meanwhile_is_no_error() {
    let mut index = Index::default();
    index.set_node(
        "n1",
        Some(NodeFacts {
            labels: [].into(),
            created: 0,
            eligible: true,
        }),
    );
    let mut rig = Rig::new(World {
        sinks: vec![sink()],
        index,
        ..World::default()
    });
    let profiles = Profiles::new(rig.context.clone());
    let object = rig.bring(&profile());
    let server = &mut rig.server;
    let (action, _) = play(
        profiles.reconcile(&object),
        server.refuse("PATCH", STATUS, 404, "NotFound"),
    )
    .await;
    action.unwrap();
    assert!(rig.server.is_silent());
}
