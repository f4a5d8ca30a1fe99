//! The control side with a drain thread, a generator and a file as its sink. That the kernel follows is proven elsewhere.

use tokio_util::sync::CancellationToken;
use weir_profile::plan::SinkPlan;
use weir_profile::{Document, load, plan_with_sink};
use weir_runtime::metrics::Metrics;

use super::*;
use crate::drain::source::Source;
use crate::drain::synthetic::{Generator, Running, Shared};
use crate::drain::{Drain, DrainParts, channel};
use crate::enrich::{CgroupRoot, Index, Processes};
use crate::publish::PublisherParts;
use crate::publish::metrics::PublishMetrics;

/// Far above anything that a test waits for.
const DEADLINE: Duration = Duration::from_secs(20);

struct Scene {
    requests: Requests,
    view: View,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<()>,
    drain: std::thread::JoinHandle<()>,
    sink: SinkPlan,
    _dir: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let sink = SinkPlan::from_url(&format!("file:{}", dir.path().join("events.json").display())).unwrap();
        let identity = Arc::new(AgentIdentity {
            cluster: "c".into(),
            node: "n".into(),
            epoch: 1,
        });
        let (ledger, readiness) = (Arc::new(Ledger::default()), Readiness::new());
        let publisher = Publisher::start(PublisherParts {
            memory_bytes: crate::publish::publisher::DEFAULT_MEMORY_BYTES,
            outcomes: Arc::clone(&ledger) as Arc<dyn crate::publish::Outcomes>,
            encode_losses: identity.losses(),
            retire_grace: crate::publish::publisher::DEFAULT_RETIRE_GRACE,
            readiness: readiness.clone(),
            metrics: PublishMetrics::register(&Metrics::new("agent", "0")),
        })
        .unwrap();
        let (commands, received, wake) = channel().unwrap();
        let shared = Arc::new(Shared::default());
        let stop = CancellationToken::new();
        let drain = Drain::new(DrainParts {
            source: Source::Synthetic(Box::new(Generator::new(100, Arc::clone(&shared))), wake),
            scope: None,
            index: Index::new(CgroupRoot::new("/sys/fs/cgroup".into(), b"", 1)),
            processes: Processes::new(16),
            identity: crate::drain::Identity {
                cluster: "c".into(),
                node: "n".into(),
                epoch: 1,
            },
            publish: publisher.handle(),
            ledger: Arc::clone(&ledger),
            commands: received,
            stop: stop.clone(),
        })
        .unwrap();
        let beat = readiness.beat("drain");
        let drain = std::thread::spawn(move || drain.run(&beat).unwrap());
        let view = View::default();
        let mut control = Control::new(ControlParts {
            side: Side::Synthetic(shared, Running::default()),
            commands,
            publisher,
            ledger,
            identity,
            boot_id: String::new(),
            sinks: SinkOptions {
                credentials_dir: None,
                manage_streams: false,
                client_name: "test".into(),
            },
            readiness,
            view: view.clone(),
        });
        let (requests, mut asked) = requests();
        let ended = stop.clone();
        let running = tokio::spawn(async move { control.run(&mut asked, &ended).await.unwrap() });
        Self {
            requests,
            view,
            stop,
            running,
            drain,
            sink,
            _dir: dir,
        }
    }

    fn plan(&self, generation: i64, expires_at: Option<i64>) -> Plan {
        let text = "apiVersion: weir.dev/v1alpha1\nkind: CollectorProfile\nmetadata: {name: p, uid: u}\n\
                    spec: {events: [{name: a, kind: process.exec}]}\n";
        let Some(Document::Profile(profile)) = load(text).unwrap().pop() else {
            panic!("{text}")
        };
        Plan {
            uid: "u".into(),
            generation,
            expires_at,
            ..plan_with_sink(&profile, self.sink.clone()).unwrap()
        }
    }

    async fn ask(&self, request: Request) {
        self.requests.send(request).await.unwrap();
    }

    /// Waits until exactly these generations run and these reasons stand for what does not.
    async fn shown(&self, runs: &[i64], waits: &[ConditionReason]) {
        let mut changes = self.view.changes();
        let is = || {
            let shown = self.view.shown();
            let generations: Vec<i64> = shown.profiles.iter().map(|profile| profile.generation).collect();
            let idle = shown.placement.idle.iter().map(|idle| idle.reason);
            let refused = shown.placement.refused.iter().map(|refusal| refusal.reason);
            generations == runs && idle.chain(refused).eq(waits.iter().copied())
        };
        let followed = tokio::time::timeout(DEADLINE, async {
            while !is() {
                changes.changed().await.unwrap();
            }
        });
        assert!(
            followed.await.is_ok(),
            "expected {runs:?} and {waits:?}: {:?}",
            self.view.shown()
        );
    }

    async fn end(self) {
        self.stop.cancel();
        self.running.await.unwrap();
        self.drain.join().unwrap();
    }
}

/// Scenario: a profile runs for two seconds by its time. Then the clock is as if it had been set back: the same generation
/// asks for an hour from now; then it is edited. An agent that is told of it starts anew and is asked the same.
/// Guarantees: it ends by itself, and is told as ended; neither life runs that generation again; both run the edit.
#[tokio::test(flavor = "multi_thread")]
async fn expired_generation_ends_by_itself_and_never_runs_again() {
    let scene = Scene::new();
    let soon = unix_now() + 2;
    scene.ask(Request::Apply(vec![scene.plan(1, Some(soon))])).await;
    scene.shown(&[1], &[]).await;
    scene.shown(&[], &[ConditionReason::Expired]).await;
    assert!(unix_now() >= soon);
    let ended = scene.view.ends().borrow().clone();
    assert_eq!(ended, [("u".to_owned(), 1)].into());
    let later = unix_now() + 3_600;
    scene.ask(Request::Apply(vec![scene.plan(1, Some(later))])).await;
    scene.ask(Request::Labels(BTreeMap::new())).await;
    scene.shown(&[], &[ConditionReason::Expired]).await;
    scene.ask(Request::Apply(vec![scene.plan(2, Some(later))])).await;
    scene.shown(&[2], &[]).await;
    scene.end().await;

    let next_life = Scene::new();
    next_life.ask(Request::Ended(ended)).await;
    next_life
        .ask(Request::Apply(vec![next_life.plan(1, Some(later))]))
        .await;
    next_life.shown(&[], &[ConditionReason::Expired]).await;
    next_life
        .ask(Request::Apply(vec![next_life.plan(2, Some(later))]))
        .await;
    next_life.shown(&[2], &[]).await;
    next_life.end().await;
}

/// Scenario: a profile that must not run on nodes with a label, on a node whose labels come later.
/// Guarantees: it waits for them, and runs where they allow it.
#[tokio::test(flavor = "multi_thread")]
async fn profile_with_a_node_selector_waits_for_the_labels() {
    let scene = Scene::new();
    let selector =
        serde_json::json!({"matchExpressions": [{"key": "sensitive", "operator": "DoesNotExist"}]});
    let plan = Plan {
        nodes: Some(serde_json::from_value(selector).unwrap()),
        ..scene.plan(1, None)
    };
    scene.ask(Request::Apply(vec![plan])).await;
    scene.shown(&[], &[ConditionReason::Pending]).await;
    scene.ask(Request::Labels(BTreeMap::new())).await;
    scene.shown(&[1], &[]).await;
    let sensitive = [("sensitive".to_owned(), String::new())].into();
    scene.ask(Request::Labels(sensitive)).await;
    scene.shown(&[], &[]).await;
    scene.end().await;
}
