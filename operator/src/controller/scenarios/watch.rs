use kube::api::Api;
use kube::runtime::watcher::Config;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use weir_profile::api::ConditionReason;
use weir_runtime::readiness::Readiness;

use super::rig::{Rig, World, play};
use crate::trouble::Concern;
use crate::watch::slim::{SlimNode, node_resource};
use crate::watch::{Established, follow};

const NODES: &str = "/api/v1/nodes";
const WATCH: &str = "watch-nodes";

/// *Scenario:* a list is refused twice; then the role is mended.
/// *Guarantees:* one Event and every profile's trouble say which watch and what to do; the trouble ends with a complete
/// list, and only then is the watch established.
#[tokio::test(start_paused = true)]
async fn watch_that_is_refused_is_told_until_a_complete_list_was_read() {
    let mut rig = Rig::new(World::default());
    let context = rig.context.clone();
    let api = Api::<SlimNode>::all_with(context.client.clone(), &node_resource());
    let established = Established::new(Readiness::new().gate(WATCH));
    let stop = CancellationToken::new();
    let follows = follow(
        api,
        Config::default(),
        WATCH,
        context.clone(),
        established.clone(),
        stop.clone(),
        |_event| {},
    );
    let server = &mut rig.server;
    play(follows, async {
        let message = "nodes is forbidden: User \"operator\" cannot list resource \"nodes\"";
        server.refuse("GET", NODES, 403, message).await;
        let event = server.event("default", "PermissionDenied").await;
        let note = event.body["note"].as_str().unwrap();
        assert!(note.contains(WATCH) && note.contains("apply the manifests' RBAC again"), "{note}");
        server.refuse("GET", NODES, 403, message).await;
        let trouble = context.troubles.of(Concern::Watch(WATCH)).unwrap();
        assert_eq!(trouble.0, ConditionReason::PermissionDenied);

        let empty = json!({"apiVersion": "v1", "kind": "NodeList", "metadata": {"resourceVersion": "7"}, "items": []});
        server.give("GET", NODES, &empty).await;
        established.wait().await;
        assert_eq!(context.troubles.first(), None);
        let (call, _open) = server.next().await;
        assert!(call.query.contains("watch=true"), "{}", call.query);
        stop.cancel();
    })
    .await;
}
