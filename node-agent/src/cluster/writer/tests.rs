use std::collections::BTreeMap;

use weir_profile::api::Window;
use weir_runtime::readiness::Readiness;

use super::super::script::{Script, failure};
use super::*;

const OBJECT: &str = "/apis/weir.dev/v1alpha1/collectornodes/node1";
const STATUS: &str = "/apis/weir.dev/v1alpha1/collectornodes/node1/status";

fn object() -> serde_json::Value {
    json!({"apiVersion": "weir.dev/v1alpha1", "kind": "CollectorNode", "metadata": {"name": "node1"}, "spec": {}})
}

fn status(epoch: i64, rate: i64) -> CollectorNodeStatus {
    let window = Window {
        events_per_second: rate,
        limited_per_second: 0,
        lost_per_second: 0,
    };
    CollectorNodeStatus {
        epoch: Some(epoch),
        window: Some(window),
        ..CollectorNodeStatus::default()
    }
}

struct Scene {
    script: Script,
    status: watch::Sender<Option<CollectorNodeStatus>>,
    readiness: Readiness,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<()>,
    node: watch::Sender<Option<NodeMeta>>,
}

impl Scene {
    fn new(script: impl FnOnce(&Script)) -> Self {
        let (client, server) = Script::start();
        script(&server);
        let node = NodeMeta {
            uid: "node-uid".into(),
            labels: BTreeMap::new(),
        };
        let (node, node_receiver) = watch::channel(Some(node));
        let (status, status_receiver) = watch::channel(None);
        let readiness = Readiness::new();
        let gate = readiness.gate("report");
        let stop = CancellationToken::new();
        let writer = Writer::new(
            client,
            "node1".into(),
            "/nonexistent".into(),
            node_receiver,
            status_receiver,
            gate,
        );
        let running = tokio::spawn(writer.run(stop.clone()));
        Self {
            script: server,
            status,
            readiness,
            stop,
            running,
            node,
        }
    }

    async fn end(self) {
        self.stop.cancel();
        self.running.await.unwrap();
    }
}

/// Scenario: the first state, then an hour in which rates move within their step, then a new state.
/// Guarantees: the object is made once, owned by its Node; a quiet hour writes nothing (it only reads its own report);
/// the new state is written at once, with every field applied by one manager.
#[tokio::test(start_paused = true)]
async fn state_is_written_at_once_and_a_quiet_hour_writes_nothing() {
    let scene = Scene::new(|script| {
        script.answer("PATCH", OBJECT, 200, object());
        script.answer("PATCH", STATUS, 200, object());
        let mut found = object();
        found["status"] = serde_json::to_value(status(1, 500)).unwrap();
        script.answer("GET", OBJECT, 200, found);
    });
    assert!(!scene.readiness.is_ready());
    scene.status.send(Some(status(1, 480))).unwrap();
    let asked = scene
        .script
        .wait("object and status", |asked| asked.len() >= 2)
        .await;
    assert_eq!(asked[0].path, OBJECT);
    assert_eq!(asked[0].body["metadata"]["ownerReferences"][0]["uid"], "node-uid");
    assert_eq!(asked[1].path, STATUS);
    assert!(asked[1].query.contains("fieldManager=weir-agent"), "{asked:?}");
    assert_eq!(asked[1].body["status"]["window"]["eventsPerSecond"], 500);
    for second in 0..3_600 {
        scene.status.send(Some(status(1, 450 + second % 90))).unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let writes = |asked: &Vec<super::super::script::Asked>| {
        asked.iter().filter(|asked| asked.method == "PATCH").count()
    };
    assert_eq!(writes(&scene.script.asked()), 2);
    assert!(
        scene.script.asked().iter().any(|asked| asked.method == "GET"),
        "it reads its own report now and then"
    );
    assert!(scene.readiness.is_ready());
    scene.status.send(Some(status(2, 480))).unwrap();
    let asked = scene
        .script
        .wait("the new state", |asked| writes(asked) == 3)
        .await;
    assert_eq!(asked.last().unwrap().body["status"]["epoch"], 2);
    scene.end().await;
}

/// Scenario: the API server refuses for a minute.
/// Guarantees: attempts go on with pauses; readiness closes only after 30 s, and opens again with the write.
#[tokio::test(start_paused = true)]
async fn refused_report_closes_readiness_after_half_a_minute() {
    let scene = Scene::new(|script| {
        script.answer("PATCH", OBJECT, 200, object());
        script.answer("PATCH", STATUS, 200, object());
        script.answer("PATCH", STATUS, 500, failure(500));
    });
    scene.status.send(Some(status(1, 0))).unwrap();
    scene
        .script
        .wait("the first report", |asked| asked.len() >= 2)
        .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(scene.readiness.is_ready());
    scene.status.send(Some(status(2, 0))).unwrap();
    tokio::time::sleep(Duration::from_secs(25)).await;
    assert!(scene.readiness.is_ready());
    tokio::time::sleep(Duration::from_secs(35)).await;
    assert!(!scene.readiness.is_ready());
    let attempts = scene.script.asked().len() - 2;
    assert!((2..=40).contains(&attempts), "{attempts} attempts in a minute");
    scene.script.answer("PATCH", STATUS, 200, object());
    tokio::time::sleep(Duration::from_secs(70)).await;
    assert!(scene.readiness.is_ready());
    scene.end().await;
}

/// Scenario: somebody deletes the object while the agent runs.
/// Guarantees: the next write makes it again.
#[tokio::test(start_paused = true)]
async fn deleted_object_is_made_again() {
    let scene = Scene::new(|script| {
        script.answer("PATCH", OBJECT, 200, object());
        script.answer("PATCH", STATUS, 200, object());
        script.answer("PATCH", STATUS, 404, failure(404));
        script.answer("PATCH", STATUS, 200, object());
    });
    scene.status.send(Some(status(1, 0))).unwrap();
    scene
        .script
        .wait("the first report", |asked| asked.len() >= 2)
        .await;
    scene.status.send(Some(status(2, 0))).unwrap();
    let asked = scene.script.wait("made again", |asked| asked.len() >= 5).await;
    let paths: Vec<&str> = asked.iter().map(|asked| asked.path.as_str()).collect();
    assert_eq!(paths, [OBJECT, STATUS, STATUS, OBJECT, STATUS]);
    scene.end().await;
}

/// Scenario: the Node is deleted and registers again, which takes the report with it.
/// Guarantees: the report is made again for the new Node at once, and a change of the Node's labels writes nothing.
#[tokio::test(start_paused = true)]
async fn node_made_anew_gets_a_report_at_once() {
    let scene = Scene::new(|script| {
        script.answer("PATCH", OBJECT, 200, object());
        script.answer("PATCH", STATUS, 200, object());
    });
    scene.status.send(Some(status(1, 0))).unwrap();
    scene
        .script
        .wait("the first report", |asked| asked.len() >= 2)
        .await;
    let node = |uid: &str, pool: &str| NodeMeta {
        uid: uid.into(),
        labels: [("pool".to_owned(), pool.to_owned())].into(),
    };
    scene.node.send(Some(node("node-uid", "web"))).unwrap();
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(scene.script.asked().len(), 2, "labels are not in the report");
    scene.node.send(Some(node("another-uid", "web"))).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let asked = scene.script.asked();
    let paths: Vec<&str> = asked.iter().map(|asked| asked.path.as_str()).collect();
    assert_eq!(paths, [OBJECT, STATUS, OBJECT, STATUS]);
    assert_eq!(
        asked[2].body["metadata"]["ownerReferences"][0]["uid"],
        "another-uid"
    );
    assert!(scene.readiness.is_ready());
    scene.end().await;
}
