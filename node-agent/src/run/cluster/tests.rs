use tokio::time::Instant as Time;

use super::*;
use crate::control::requests;

struct Scene {
    asked: mpsc::Receiver<Request>,
    listed: watch::Sender<bool>,
    desired: watch::Sender<Option<Desired>>,
    readiness: Readiness,
    start: Time,
}

impl Scene {
    fn new(desired: Option<Desired>) -> Self {
        let (requests, asked) = requests();
        let readiness = Readiness::new();
        let applier = Applier {
            requests,
            configured: readiness.gate("configuration"),
            readiness: readiness.clone(),
            problems: watch::Sender::new(Vec::new()),
        };
        let (listed, metadata) = watch::channel(false);
        let (desired, wanted) = watch::channel(desired);
        tokio::spawn(applier.run([("u".to_owned(), 3)].into(), metadata, wanted));
        Self {
            asked,
            listed,
            desired,
            readiness,
            start: Time::now(),
        }
    }

    /// The next request must be that of the first plans.
    async fn applied_after(&mut self) -> Duration {
        let next = self.asked.recv().await;
        assert!(matches!(next, Some(Request::Apply(_))), "{next:?}");
        self.start.elapsed()
    }
}

/// Scenario: an agent starts from its cached profiles; the API server answers after half a second, or not at all.
/// Guarantees: what expired before is told first; profiles start once pods are listed, and after 2 s at the latest; the
/// gate stays closed until then.
#[tokio::test(start_paused = true)]
async fn first_profiles_wait_for_pods_and_not_for_ever() {
    for listed_after in [Some(500), None] {
        let mut scene = Scene::new(Some(Desired::default()));
        let first = scene.asked.recv().await;
        assert!(
            matches!(&first, Some(Request::Ended(ended)) if ended["u"] == 3),
            "{first:?}"
        );
        let expected = if let Some(after) = listed_after {
            let after = Duration::from_millis(after);
            tokio::time::sleep(after).await;
            assert!(!scene.readiness.is_ready());
            scene.listed.send(true).unwrap();
            after
        } else {
            METADATA_WAIT
        };
        let applied = scene.applied_after().await;
        assert!(
            applied.abs_diff(expected) < Duration::from_millis(10),
            "{applied:?}"
        );
        tokio::task::yield_now().await;
        assert!(scene.readiness.is_ready());
    }
}

/// Scenario: nothing is cached, and the profiles come long after the pods; then they change.
/// Guarantees: neither the first nor later ones wait.
#[tokio::test(start_paused = true)]
async fn profiles_that_come_after_the_pods_do_not_wait() {
    let mut scene = Scene::new(None);
    scene.listed.send(true).unwrap();
    assert!(matches!(scene.asked.recv().await, Some(Request::Ended(_))));
    for seconds in [30, 60] {
        tokio::time::sleep_until(scene.start + Duration::from_secs(seconds)).await;
        scene.desired.send(Some(Desired::default())).unwrap();
        let applied = scene.applied_after().await;
        assert!(
            applied.abs_diff(Duration::from_secs(seconds)) < Duration::from_millis(10),
            "{applied:?}"
        );
    }
}

/// Scenario: pods and namespaces as they were kept, then the lists of this life, one after the other.
/// Guarantees: the drain thread is told in this order, and only the lists of this life, both of them, count as listed.
#[tokio::test]
async fn kept_metadata_comes_first_and_does_not_count_as_listed() {
    let (commands, received, _wake) = crate::drain::channel().unwrap();
    let (changes, told) = mpsc::channel(4);
    let (listed, mut is_listed) = watch::channel(false);
    let kept = vec![Change::Namespaces(BTreeMap::new()), Change::Pods(Vec::new())];
    let stop = CancellationToken::new();
    let running = tokio::spawn(hand_over(kept, told, commands, listed, stop.clone()));
    let next = async || loop {
        match received.try_recv() {
            Ok(Command::Metadata(change)) => return change,
            Ok(_) => panic!("no metadata"),
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    };
    assert!(matches!(next().await, Change::Namespaces(_)));
    assert!(matches!(next().await, Change::Pods(_)));
    changes.send(Change::Pods(Vec::new())).await.unwrap();
    next().await;
    assert!(!*is_listed.borrow());
    changes.send(Change::Namespaces(BTreeMap::new())).await.unwrap();
    is_listed.wait_for(|listed| *listed).await.unwrap();
    next().await;
    stop.cancel();
    running.await.unwrap();
}
