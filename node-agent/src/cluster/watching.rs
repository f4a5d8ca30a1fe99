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
use weir_runtime::error::chain;
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
    what: &'static str,
    api: Api<K>,
    config: watcher::Config,
    events: BoxStream<'static, watcher::Result<Event<K>>>,
    patience: Patience,
    start: Instant,
    /// The error that was told last, while it lasts.
    complaint: Option<String>,
}

/// Events of a kind, for ever. An error is told once; a pause follows it, which grows to what suits `fleet` and is none
/// when only a new list can help.
pub(super) fn events<K>(
    what: &'static str,
    api: Api<K>,
    config: watcher::Config,
    fleet: Fleet,
) -> impl Stream<Item = Event<K>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let watch = Watch {
        what,
        events: watch(api.clone(), config.clone()).boxed(),
        api,
        config,
        patience: Patience::new(fleet.retry_cap()),
        start: Instant::now(),
        complaint: None,
    };
    stream::unfold(watch, |mut watch| async move {
        loop {
            match watch.events.next().await? {
                Ok(event) => {
                    watch.works(&event);
                    return Some((event, watch));
                }
                Err(error) => {
                    watch.complain(&error);
                    sleep(watch.recover(&error)).await;
                }
            }
        }
    })
}

impl<K> Watch<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    /// What to wait before the next attempt.
    fn recover(&mut self, error: &watcher::Error) -> Duration {
        let now = self.start.elapsed();
        if is_outdated(error) {
            // The client itself would ask for the same version for ever when the refusal is not a watch's event.
            self.events = watch(self.api.clone(), self.config.clone()).boxed();
            self.patience.outdated(now, rand::random())
        } else {
            self.patience.failed(now, rand::random())
        }
    }

    fn complain(&mut self, error: &watcher::Error) {
        let text = chain(error);
        if self.complaint.as_ref() == Some(&text) {
            tracing::debug!(error = text, what = self.what, "the watch failed again");
        } else {
            let what = self.what;
            tracing::warn!(
                error = text,
                what,
                "the watch failed; what is known still holds, and it is tried again"
            );
            self.complaint = Some(text);
        }
    }

    fn works(&mut self, event: &Event<K>) {
        // `Init` only says that a list will be asked for.
        if !matches!(event, Event::Init) && self.complaint.take().is_some() {
            tracing::info!(what = self.what, "watching again");
        }
    }
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
