use serde_json::{Value, json};

use super::rig::{Rig, Server, World, play, profile, secret, sink_with_credentials};
use crate::controller::daemonset::{follow, visit_once};
use weir_profile::api::ConditionReason;

const SECRET: &str = "/api/v1/namespaces/weir-agents/secrets/weir-agent-sinks";
const DAEMON_SET: &str = "/apis/apps/v1/namespaces/weir-agents/daemonsets/weir-agent";
const PROFILES: &str = "/apis/weir.dev/v1alpha1/collectorprofiles";

fn world() -> World {
    World {
        profiles: vec![profile()],
        sinks: vec![sink_with_credentials()],
        secrets: vec![secret()],
        ..World::default()
    }
}

/// The Secret as it is once the `DaemonSet` is there, which then owns it.
fn owned(mut secret: Value) -> Value {
    secret["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "weir-agent", "uid": "uid-of-it"}]);
    stored(secret)
}

async fn both(server: &mut Server) -> (Value, Value) {
    let secret = server.accept("PATCH", SECRET).await;
    let daemon_set = server.accept("PATCH", DAEMON_SET).await;
    for call in [&secret, &daemon_set] {
        assert!(
            call.query.contains("fieldManager=weir-operator&")
                || call.query.ends_with("fieldManager=weir-operator"),
            "{}",
            call.query
        );
    }
    (secret.body, daemon_set.body)
}

/// What the API server makes of an applied object: defaults, other writers' fields, quantities of its own form.
fn stored(mut object: Value) -> Value {
    object["metadata"]["uid"] = json!("uid-of-it");
    object["metadata"]["resourceVersion"] = json!("77");
    object["metadata"]["labels"]["someone/else"] = json!("was here");
    if object["kind"] == "DaemonSet" {
        object["status"] = json!({"currentNumberScheduled": 2, "desiredNumberScheduled": 2, "numberMisscheduled": 0, "numberReady": 2});
        object["spec"]["template"]["spec"]["dnsPolicy"] = json!("ClusterFirst");
        object["spec"]["template"]["spec"]["containers"][0]["terminationMessagePath"] =
            json!("/dev/termination-log");
        object["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"] =
            json!("0.25Gi");
    }
    object
}

/// *Scenario:* a first profile exists; later nothing changes; later a credential rotates.
/// *Guarantees:* the Secret is applied before who mounts it; then silence; a rotation touches the Secret alone.
#[tokio::test]
async fn agents_are_applied_once_and_a_rotation_touches_no_template() {
    let mut rig = Rig::new(world());
    let (result, (applied_secret, applied_set)) =
        play(visit_once(&rig.context, 0), both(&mut rig.server)).await;
    result.unwrap();
    assert_eq!(applied_secret["data"]["default.creds"], "czNjcmV0");
    assert_eq!(
        applied_secret["data"].as_object().unwrap().len(),
        2,
        "only what sinks name, and the fleet's size"
    );
    for object in [&applied_secret, &applied_set] {
        assert_eq!(object["metadata"]["ownerReferences"][0]["uid"], "profile-uid");
        assert_eq!(
            object["metadata"]["labels"]["app.kubernetes.io/managed-by"],
            "weir-operator"
        );
    }

    let live = || {
        (
            vec![owned(applied_secret.clone())],
            vec![stored(applied_set.clone())],
        )
    };
    let (gathered, daemon_sets) = live();
    let mut rig = Rig::new(World {
        gathered,
        daemon_sets,
        ..world()
    });
    visit_once(&rig.context, 0).await.unwrap();
    assert!(rig.server.is_silent(), "a steady state causes no write");

    let mut rotated = secret();
    rotated["data"]["user.creds"] = json!("bmV3");
    let (gathered, daemon_sets) = live();
    let mut rig = Rig::new(World {
        secrets: vec![rotated],
        gathered,
        daemon_sets,
        ..world()
    });
    let (result, call) = play(visit_once(&rig.context, 0), rig.server.accept("PATCH", SECRET)).await;
    result.unwrap();
    assert_eq!(call.body["data"]["default.creds"], "bmV3");
    assert!(rig.server.is_silent());
}

/// *Scenario:* somebody changes a field that is ours, and somebody else one that is not.
/// *Guarantees:* ours is set right, theirs is left alone.
#[tokio::test]
async fn agents_changed_by_hand_are_set_right() {
    let mut rig = Rig::new(world());
    let (_, (secret, set)) = play(visit_once(&rig.context, 0), both(&mut rig.server)).await;
    let mut changed = stored(set);
    changed["spec"]["template"]["spec"]["containers"][0]["image"] = json!("evil.example/agent:1");
    let mut rig = Rig::new(World {
        gathered: vec![owned(secret)],
        daemon_sets: vec![changed],
        ..world()
    });
    let (result, call) = play(
        visit_once(&rig.context, 0),
        rig.server.accept("PATCH", DAEMON_SET),
    )
    .await;
    result.unwrap();
    assert_eq!(
        call.body["spec"]["template"]["spec"]["containers"][0]["image"],
        "r.example/weir-agent:1"
    );
    assert_eq!(call.body["metadata"]["labels"].get("someone/else"), None);
}

/// *Scenario:* the cache holds no profile, and the API server says there is none.
/// *Guarantees:* both objects are deleted, and only those that were seen.
#[tokio::test]
async fn agents_go_with_the_last_profile() {
    let mut rig = Rig::new(world());
    let (_, (secret, set)) = play(visit_once(&rig.context, 0), both(&mut rig.server)).await;
    let mut rig = Rig::new(World {
        gathered: vec![owned(secret)],
        daemon_sets: vec![stored(set)],
        ..World::default()
    });
    let server = &mut rig.server;
    let empty = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": {}, "items": []});
    let gone = json!({"apiVersion": "v1", "kind": "Status", "status": "Success"});
    let (result, ()) = play(visit_once(&rig.context, 0), async {
        server.give("GET", PROFILES, &empty).await;
        for path in [SECRET, DAEMON_SET] {
            let call = server.give("DELETE", path, &gone).await;
            assert_eq!(call.body["preconditions"]["uid"], "uid-of-it");
        }
    })
    .await;
    result.unwrap();
}

/// *Scenario:* the cache holds no profile, but the API server has one.
/// *Guarantees:* absence from a cache deletes nothing.
#[tokio::test]
async fn agents_stay_when_only_the_cache_is_empty() {
    let mut rig = Rig::new(world());
    let (_, (secret, set)) = play(visit_once(&rig.context, 0), both(&mut rig.server)).await;
    let mut rig = Rig::new(World {
        profiles: Vec::new(),
        gathered: vec![owned(secret)],
        daemon_sets: vec![stored(set)],
        ..world()
    });
    let one = json!({
        "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": {},
        "items": [{"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {"name": "baseline", "uid": "profile-uid"}}],
    });
    let (result, _) = play(
        visit_once(&rig.context, 0),
        rig.server.give("GET", PROFILES, &one),
    )
    .await;
    result.unwrap();
    assert!(rig.server.is_silent());
}

/// *Scenario:* the operator's role does not let it apply the `DaemonSet`.
/// *Guarantees:* an Event with the remedy, and the trouble is every profile's.
#[tokio::test]
async fn agents_forbidden_is_told() {
    let mut rig = Rig::new(world());
    let server = &mut rig.server;
    let (result, event) = play(visit_once(&rig.context, 0), async {
        server.accept("PATCH", SECRET).await;
        let message = "daemonsets.apps \"weir-agent\" is forbidden: User \"operator\" cannot patch resource";
        server.refuse("PATCH", DAEMON_SET, 403, message).await;
        server.event("weir-agents", "PermissionDenied").await
    })
    .await;
    result.unwrap_err();
    assert!(
        event.body["note"]
            .as_str()
            .unwrap()
            .contains("apply the manifests' RBAC again")
    );
    assert_eq!(
        rig.context.troubles.first().unwrap().0,
        ConditionReason::PermissionDenied
    );
}

/// *Scenario:* the sink that a profile names is deleted.
/// *Guarantees:* its credentials stay with the agents, which go on delivering to the last good one.
#[tokio::test]
async fn agents_keep_the_credentials_of_a_deleted_sink_in_use() {
    let mut rig = Rig::new(world());
    let (_, (secret, set)) = play(visit_once(&rig.context, 0), both(&mut rig.server)).await;
    let gone = |gathered: &Value, profile: Value| World {
        profiles: vec![profile],
        sinks: Vec::new(),
        gathered: vec![owned(gathered.clone())],
        daemon_sets: vec![stored(set.clone())],
        ..world()
    };
    let mut rig = Rig::new(gone(&secret, profile()));
    visit_once(&rig.context, 0).await.unwrap();
    assert!(rig.server.is_silent());

    let mut other = profile();
    other["spec"]["sinkRef"] = json!({"name": "another"});
    let mut rig = Rig::new(gone(&secret, other));
    let (result, call) = play(visit_once(&rig.context, 0), rig.server.accept("PATCH", SECRET)).await;
    result.unwrap();
    assert_eq!(
        call.body["data"].get("default.creds"),
        None,
        "nobody uses it any more"
    );
}

/// *Scenario:* the installed CRDs are of another version; then the right ones are applied.
/// *Guarantees:* agents are left as they are, credentials reach them all the same, an Event and every profile's status say
/// why; then they are applied.
#[tokio::test]
async fn agents_wait_for_crds_of_their_version() {
    let mut rig = Rig::new(world());
    rig.context
        .set_crds_trouble(Some("apply the crds of one version".to_owned()));
    let server = &mut rig.server;
    let (result, event) = play(visit_once(&rig.context, 0), async {
        server.accept("PATCH", SECRET).await;
        server.event("weir-agents", "CrdTooOld").await
    })
    .await;
    result.unwrap_err();
    assert!(event.body["note"].as_str().unwrap().contains("of one version"));
    assert_eq!(
        rig.context.troubles.first().unwrap().0,
        ConditionReason::CrdTooOld
    );

    rig.context.set_crds_trouble(None);
    let (result, _) = play(visit_once(&rig.context, 0), both(&mut rig.server)).await;
    result.unwrap();
    assert_eq!(rig.context.troubles.first(), None);
}

/// *Scenario:* the API server refuses the agents' objects for a minute, in which something happens ten times a second.
/// *Guarantees:* attempts stay 5 s apart but for the first ones, however much happens, and breed no more of themselves.
#[tokio::test(start_paused = true)]
async fn agents_that_are_refused_are_not_tried_the_more_the_more_happens() {
    let mut rig = Rig::new(world());
    let context = rig.context.clone();
    let busy = async {
        loop {
            context.dirty.agents.add(["agents".to_owned()]);
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    let mut attempts = 0;
    let refuses = async {
        loop {
            let (call, answer) = rig.server.next().await;
            attempts += usize::from(call.path == SECRET);
            let status = json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": 422, "reason": "Invalid", "message": "no"});
            answer.send_response(super::rig::respond(422, &status));
        }
    };
    let all = async { tokio::join!(follow(&context), busy, refuses) };
    let minute = std::time::Duration::from_mins(1);
    assert!(tokio::time::timeout(minute, Box::pin(all)).await.is_err());
    assert!((8..=16).contains(&attempts), "{attempts} attempts");
}
