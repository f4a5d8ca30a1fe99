//! Watches a kind for ever: what to do after an error is decided here, once for everything that the agent watches.

use std::fmt::Debug;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _, stream};
use kube::Resource;
use kube::api::Api;
use kube::runtime::watcher as watch;
use kube::runtime::watcher::{self, Event, ListSemantic};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};
use weir_runtime::patience::Patience;

use super::fleet::{Fleet, watch_timeout_seconds};

/// How everything is watched that the agent watches.
pub(super) fn config() -> watcher::Config {
    watcher::Config {
        timeout: Some(watch_timeout_seconds(rand::random())),
        list_semantic: ListSemantic::Any,
        // With a page size the client drops `resourceVersion=0`, and every list would be a quorum read of etcd.
        page_size: None,
        ..watcher::Config::default()
    }
}

struct Watch<K> {
    api: Api<K>,
    config: watcher::Config,
    events: BoxStream<'static, watcher::Result<Event<K>>>,
    patience: Patience,
    start: Instant,
    wait: Duration,
}

/// Events of a kind. The stream never ends: an error is followed by a pause, which grows to what suits `fleet` and is
/// none when only a new list can help.
pub(super) fn events<K>(
    api: Api<K>,
    config: watcher::Config,
    fleet: Fleet,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let watch = Watch {
        events: watch(api.clone(), config.clone()).boxed(),
        api,
        config,
        patience: Patience::new(fleet.retry_cap()),
        start: Instant::now(),
        wait: Duration::ZERO,
    };
    stream::unfold(watch, |mut watch| async move {
        sleep(std::mem::take(&mut watch.wait)).await;
        let event = watch.events.next().await?;
        if let Err(error) = &event {
            let now = watch.start.elapsed();
            watch.wait = if is_outdated(error) {
                // The client itself would ask for the same version for ever when the refusal is not a watch's event.
                watch.events = self::watch(watch.api.clone(), watch.config.clone()).boxed();
                watch.patience.outdated(now, rand::random())
            } else {
                watch.patience.failed(now, rand::random())
            };
        }
        Some((event, watch))
    })
}

/// 410: the version that the watch would go on from is forgotten.
fn is_outdated(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchError(status)
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => status.code == 410,
        _ => false,
    }
}
