use serde_json::json;

use super::super::script::{DEADLINE, Script, failure, list};
use super::*;

const PROFILES: &str = "/apis/weir.dev/v1alpha1/collectorprofiles";
const SINKS: &str = "/apis/weir.dev/v1alpha1/collectorsinks";

fn profile(name: &str) -> Value {
    json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "CollectorProfile",
        "metadata": {"name": name, "uid": format!("uid-{name}"), "generation": 3, "resourceVersion": "7"},
        "spec": {"events": [{"name": "a", "kind": "process.exec"}]},
    })
}

fn sink() -> Value {
    json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "CollectorSink",
        "metadata": {"name": "default", "uid": "uid-sink", "generation": 1, "resourceVersion": "8"},
        "spec": {"nats": {"servers": ["nats://nats:4222"], "stream": {"name": "WEIR"}}},
    })
}

async fn names(desired: &mut watch::Receiver<Option<Desired>>, expected: &[&str]) {
    let matches = |desired: &Option<Desired>| {
        desired.as_ref().is_some_and(|desired| {
            desired
                .plans
                .iter()
                .map(|plan| plan.name.as_str())
                .eq(expected.iter().copied())
        })
    };
    let outcome = tokio::time::timeout(DEADLINE, desired.wait_for(matches)).await;
    assert!(outcome.is_ok(), "expected {expected:?}");
}

/// Waits until the disk has what a condition wants.
async fn kept(cache: &Cache, condition: impl Fn(Option<&Saved>) -> bool) {
    let poll = async {
        while !condition(cache.load().unwrap().as_ref()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(
        tokio::time::timeout(DEADLINE, poll).await.is_ok(),
        "{:?}",
        cache.load()
    );
}

/// Scenario: a profile and its sink exist when the agent starts, then the API server goes away and the agent restarts.
/// Guarantees: only metadata is listed; each object is fetched once; the configuration is on disk and comes back
/// without the API server.
#[tokio::test(start_paused = true)]
async fn start_lists_metadata_fetches_once_and_keeps_it_across_a_restart() {
    let state = tempfile::tempdir().unwrap();
    let (client, script) = Script::start();
    script.answer("GET", PROFILES, 200, list(&[profile("a")]));
    script.answer("GET", SINKS, 200, list(&[sink()]));
    script.answer("GET", &format!("{PROFILES}/a"), 200, profile("a"));
    script.answer("GET", &format!("{SINKS}/default"), 200, sink());
    let stop = CancellationToken::new();
    let (task, mut desired) =
        Configuration::new(client, Cache::new(state.path()), state.path().to_path_buf());
    assert!(desired.borrow().is_none(), "nothing is known yet");
    let running = tokio::spawn(task.run(stop.clone()));
    names(&mut desired, &["a"]).await;
    let asked = script.asked();
    for object in [format!("{PROFILES}/a"), format!("{SINKS}/default")] {
        assert_eq!(
            asked.iter().filter(|asked| asked.path == object).count(),
            1,
            "{asked:#?}"
        );
    }
    kept(&Cache::new(state.path()), |saved| saved.is_some()).await;
    stop.cancel();
    running.await.unwrap();

    let (client, script) = Script::start();
    script.answer("GET", PROFILES, 503, failure(503));
    script.answer("GET", SINKS, 503, failure(503));
    let stop = CancellationToken::new();
    let (task, mut desired) =
        Configuration::new(client, Cache::new(state.path()), state.path().to_path_buf());
    names(&mut desired, &["a"]).await;
    let running = tokio::spawn(task.run(stop.clone()));
    script
        .wait("lists are tried again", |asked| asked.len() >= 6)
        .await;
    names(&mut desired, &["a"]).await;
    stop.cancel();
    running.await.unwrap();
}

/// Scenario: the kinds are forbidden, then not found (their CRDs are gone), then listed empty.
/// Guarantees: neither refusal deletes anything; the complete empty list does, on disk, too.
#[tokio::test(start_paused = true)]
async fn refusals_delete_nothing_and_a_complete_list_does() {
    let state = tempfile::tempdir().unwrap();
    let cache = Cache::new(state.path());
    cache
        .store(&Saved {
            profiles: vec![profile("a")],
            sinks: vec![sink()],
        })
        .unwrap();
    let (client, script) = Script::start();
    for path in [PROFILES, SINKS] {
        script.answer("GET", path, 403, failure(403));
        script.answer("GET", path, 404, failure(404));
        script.answer("GET", path, 200, list(&[]));
    }
    let stop = CancellationToken::new();
    let (task, mut desired) = Configuration::new(client, cache.clone(), state.path().to_path_buf());
    let running = tokio::spawn(task.run(stop.clone()));
    script.wait("both refusals", |asked| asked.len() >= 4).await;
    names(&mut desired, &["a"]).await;
    names(&mut desired, &[]).await;
    let asked = script.asked();
    assert!(
        asked
            .iter()
            .all(|asked| [PROFILES, SINKS].contains(&asked.path.as_str())),
        "{asked:#?}"
    );
    kept(&cache, |saved| saved.is_none()).await;
    stop.cancel();
    running.await.unwrap();
}

/// Scenario: one of two profiles cannot be fetched.
/// Guarantees: the other one is collected meanwhile; the missing one follows.
#[tokio::test(start_paused = true)]
async fn object_that_cannot_be_fetched_does_not_hold_up_the_others() {
    let state = tempfile::tempdir().unwrap();
    let (client, script) = Script::start();
    script.answer("GET", PROFILES, 200, list(&[profile("a"), profile("b")]));
    script.answer("GET", SINKS, 200, list(&[sink()]));
    script.answer("GET", &format!("{PROFILES}/a"), 500, failure(500));
    script.answer("GET", &format!("{PROFILES}/b"), 200, profile("b"));
    script.answer("GET", &format!("{SINKS}/default"), 200, sink());
    let stop = CancellationToken::new();
    let (task, mut desired) =
        Configuration::new(client, Cache::new(state.path()), state.path().to_path_buf());
    let running = tokio::spawn(task.run(stop.clone()));
    names(&mut desired, &["b"]).await;
    script.answer("GET", &format!("{PROFILES}/a"), 200, profile("a"));
    names(&mut desired, &["a", "b"]).await;
    stop.cancel();
    running.await.unwrap();
}
