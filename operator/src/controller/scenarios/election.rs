use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;
use serde_json::{Value, json};

use super::rig::{Rig, World, play};
use crate::election::{self, ElectionError, Turn};

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/weir-system/leases";
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/weir-system/leases/weir-operator";

fn held(holder: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "weir-operator", "namespace": "weir-system", "resourceVersion": "5"},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:00:00.000000Z", "leaseTransitions": 2},
    })
}

/// For elections in which no second instance shows up.
fn nobody(second: Option<&str>) {
    assert_eq!(second, None);
}

/// *Scenario:* there is no Lease yet; it is made, renewed, and given up at the end.
/// *Guarantees:* leading begins only after the write; the Lease is released only after the controllers are idle.
#[tokio::test(start_paused = true)]
async fn election_takes_renews_and_releases() {
    let mut rig = Rig::new(World::default());
    let api: Api<Lease> = Api::namespaced(rig.context.client.clone(), "weir-system");
    let turn = Turn::default();
    let elected = election::run(api, "me".to_owned(), turn.clone(), nobody);
    let Turn { leading, idle, stop } = turn;
    let server = &mut rig.server;
    let (result, ()) = play(elected, async {
        server.refuse("GET", LEASE, 404, "NotFound").await;
        assert!(!leading.is_cancelled());
        let made = server.accept("POST", LEASES).await;
        assert_eq!(made.body["spec"]["holderIdentity"], "me");
        leading.cancelled().await;
        server.give("GET", LEASE, &held("me")).await;
        stop.cancel();
        let renewed = server.accept("PUT", LEASE).await;
        assert_eq!(
            renewed.body["metadata"]["resourceVersion"], "5",
            "somebody faster must win"
        );
        assert!(server.is_silent(), "not released before the controllers are idle");
        idle.cancel();
        server.give("GET", LEASE, &held("me")).await;
        let released = server.accept("PUT", LEASE).await;
        assert_eq!(released.body["spec"].get("holderIdentity"), None);
    })
    .await;
    result.unwrap();
}

/// *Scenario:* another instance took the Lease while this one led.
/// *Guarantees:* it ends at once with an error.
#[tokio::test(start_paused = true)]
async fn election_lost_ends_the_process() {
    let mut rig = Rig::new(World::default());
    let api: Api<Lease> = Api::namespaced(rig.context.client.clone(), "weir-system");
    let elected = election::run(api, "me".to_owned(), Turn::default(), nobody);
    let server = &mut rig.server;
    let (result, ()) = play(elected, async {
        server.give("GET", LEASE, &held("me")).await;
        server.accept("PUT", LEASE).await;
        server.give("GET", LEASE, &held("other")).await;
    })
    .await;
    assert!(matches!(result, Err(ElectionError::Lost { holder }) if holder == "other"));
}

/// *Scenario:* the API server stops answering after this instance led.
/// *Guarantees:* it ends before anybody else may lead.
#[tokio::test(start_paused = true)]
async fn election_without_the_api_server_ends_in_time() {
    let mut rig = Rig::new(World::default());
    let api: Api<Lease> = Api::namespaced(rig.context.client.clone(), "weir-system");
    let start = tokio::time::Instant::now();
    let elected = election::run(api, "me".to_owned(), Turn::default(), nobody);
    let server = &mut rig.server;
    let (result, ()) = tokio::join!(elected, async {
        server.give("GET", LEASE, &held("me")).await;
        server.accept("PUT", LEASE).await;
    });
    assert!(matches!(result, Err(ElectionError::Expired)));
    assert!(
        start.elapsed() < std::time::Duration::from_secs(15),
        "{:?}",
        start.elapsed()
    );
}

/// *Scenario:* an instance without election finds the Lease held; the holder renews and reads what that instance wrote;
/// then the instance ends.
/// *Guarantees:* each tells of the other; the holder tells that it is over once the word is taken back.
#[tokio::test(start_paused = true)]
async fn election_and_an_instance_without_it_tell_of_each_other() {
    let mut rig = Rig::new(World::default());
    let api: Api<Lease> = Api::namespaced(rig.context.client.clone(), "weir-system");
    let server = &mut rig.server;

    let (told, mut tells) = tokio::sync::mpsc::unbounded_channel();
    let tell = |told: tokio::sync::mpsc::UnboundedSender<_>| {
        move |second: Option<&str>| told.send(second.map(str::to_owned)).unwrap()
    };
    let stop = Turn::default().stop;
    let looks = election::look_out(api.clone(), "second".to_owned(), tell(told.clone()), stop.clone());
    let ((), announced) = play(looks, async {
        server.give("GET", LEASE, &held("leader")).await;
        let announced = server.accept("PUT", LEASE).await.body;
        assert_eq!(
            announced["spec"],
            held("leader")["spec"],
            "the Lease itself is not touched"
        );
        stop.cancel();
        server.give("GET", LEASE, &announced).await;
        let taken_back = server.accept("PUT", LEASE).await.body;
        assert_eq!(taken_back["metadata"].get("annotations"), Some(&json!({})));
        assert_eq!(taken_back["spec"], held("leader")["spec"]);
        announced
    })
    .await;
    assert_eq!(tells.recv().await.unwrap(), Some("leader".to_owned()));

    let turn = Turn::default();
    let leads = election::run(api, "leader".to_owned(), turn.clone(), tell(told));
    let (result, ()) = play(leads, async {
        server.give("GET", LEASE, &announced).await;
        let renewed = server.accept("PUT", LEASE).await.body;
        assert_eq!(
            renewed["metadata"]["annotations"],
            announced["metadata"]["annotations"]
        );
        assert_eq!(tells.recv().await.unwrap(), Some("second".to_owned()));
        server.give("GET", LEASE, &held("leader")).await;
        server.accept("PUT", LEASE).await;
        assert_eq!(tells.recv().await.unwrap(), None);
        turn.stop.cancel();
        turn.idle.cancel();
        server.give("GET", LEASE, &held("leader")).await;
        server.accept("PUT", LEASE).await;
    })
    .await;
    result.unwrap();
}
