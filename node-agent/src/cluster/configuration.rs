//! Keeps the desired configuration up to date from metadata watches of profiles and sinks, and from the disk.

use std::path::PathBuf;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use kube::api::{Api, DynamicObject, PartialObjectMeta};
use kube::runtime::watcher::Event;
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use weir_profile::{CollectorProfile, CollectorSink};
use weir_runtime::backoff::Backoff;

use super::cache::{Cache, CacheError};
use super::fleet::Fleet;
use super::objects::{Fetched, Kind, Meta, Objects, Saved, Wanted};
use super::watching;
use crate::config::Desired;

/// Longest wait for one GET.
const GET_TIMEOUT: Duration = Duration::from_secs(30);
const RETRY_FIRST: Duration = Duration::from_millis(500);

/// The task.
pub struct Configuration {
    client: Client,
    cache: Cache,
    /// Where the fleet's size is mounted.
    credentials: PathBuf,
    /// What the start waits, so that a fleet does not start at once; by itself if nobody says.
    delay: Option<Duration>,
    desired: watch::Sender<Option<Desired>>,
    objects: Objects,
    saved: Option<Saved>,
}

impl Configuration {
    /// Starts from the last good configuration, if there is one: the receiver has it at once. It has `None` until a
    /// configuration, possibly empty, is known.
    ///
    /// Blocks on reading the cache's file.
    #[must_use]
    pub fn new(
        client: Client,
        cache: Cache,
        credentials: PathBuf,
    ) -> (Self, watch::Receiver<Option<Desired>>) {
        let saved = cache.load().unwrap_or_else(|error| {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "starting without the last good configuration"
            );
            None
        });
        let mut objects = saved.clone().map(Objects::restore).unwrap_or_default();
        let initial = saved.is_some().then(|| objects.desired());
        let (desired, receiver) = watch::channel(initial);
        (
            Self {
                client,
                cache,
                credentials,
                delay: None,
                desired,
                objects,
                saved,
            },
            receiver,
        )
    }

    /// Asks the API server for nothing before this long.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// Runs until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let fleet = Fleet::read(&self.credentials);
        let delayed = async {
            let delay = self.delay.unwrap_or_else(|| fleet.spread(rand::random()));
            tokio::time::sleep(delay).await;
            let profiles = metas::<CollectorProfile>("profiles", &self.client, fleet).boxed();
            let sinks = metas::<CollectorSink>("sinks", &self.client, fleet).boxed();
            (profiles, sinks)
        };
        let streams = tokio::select! {
            () = stop.cancelled() => return,
            streams = delayed => streams,
        };
        stop.run_until_cancelled(self.follow(streams)).await;
    }

    async fn follow<P, S>(&mut self, (mut profiles, mut sinks): (P, S))
    where
        P: Stream<Item = Event<Meta>> + Unpin,
        S: Stream<Item = Event<Meta>> + Unpin,
    {
        let (mut listed_profiles, mut listed_sinks) = (Vec::new(), Vec::new());
        let mut retry = Backoff::new(RETRY_FIRST, Fleet::read(&self.credentials).retry_cap());
        let mut fetch_at: Option<Instant> = None;
        loop {
            let due = fetch_at.unwrap_or_else(Instant::now);
            tokio::select! {
                event = profiles.next() => self.take(Kind::Profile, event, &mut listed_profiles),
                event = sinks.next() => self.take(Kind::Sink, event, &mut listed_sinks),
                () = sleep_until(due), if fetch_at.is_some() => {
                    fetch_at = None;
                    if self.fetch_all().await {
                        retry.reset();
                    } else {
                        // One object that cannot be had must not hold up the others.
                        fetch_at = Some(Instant::now() + retry.next(rand::random()));
                        self.publish().await;
                    }
                }
            }
            if self.objects.wanted().is_empty() {
                fetch_at = None;
                self.publish().await;
            } else if fetch_at.is_none() {
                fetch_at = Some(Instant::now() + Fleet::read(&self.credentials).spread(rand::random()));
            }
        }
    }

    fn take(&mut self, kind: Kind, event: Option<Event<Meta>>, listed: &mut Vec<Meta>) {
        match event {
            Some(Event::Init) => listed.clear(),
            Some(Event::InitApply(meta)) => listed.push(meta),
            Some(Event::InitDone) => self.objects.listed(kind, std::mem::take(listed)),
            Some(Event::Apply(meta)) => self.objects.seen(kind, meta),
            Some(Event::Delete(meta)) => self.objects.deleted(kind, &meta.name, &meta.uid),
            // A watch never ends.
            None => {}
        }
    }

    /// Fetches everything that is wanted; false if something could not be had.
    async fn fetch_all(&mut self) -> bool {
        let mut complete = true;
        for wanted in self.objects.wanted() {
            let answer = timeout(GET_TIMEOUT, get(&self.client, &wanted)).await;
            match answer {
                Ok(Ok(raw)) => match self.objects.fetched(wanted.kind, raw) {
                    Fetched::Taken => {
                        tracing::info!(kind = ?wanted.kind, name = wanted.name, "configuration changed");
                    }
                    Fetched::Refused => {
                        tracing::warn!(kind = ?wanted.kind, name = wanted.name, "this agent cannot read it; is it too old?");
                    }
                    Fetched::Outdated => complete = false,
                },
                Ok(Err(error)) => {
                    complete = false;
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        kind = ?wanted.kind,
                        name = wanted.name,
                        "cannot be fetched; what holds stays, and it is tried again"
                    );
                }
                Err(_elapsed) => {
                    complete = false;
                    tracing::warn!(kind = ?wanted.kind, name = wanted.name, "the API server does not answer; it is tried again");
                }
            }
        }
        complete
    }

    /// Hands the configuration over and keeps it, if it is complete and changed.
    async fn publish(&mut self) {
        if !self.objects.is_listed() {
            return;
        }
        let desired = self.objects.desired();
        self.desired.send_if_modified(|known| {
            let changed = known.as_ref() != Some(&desired);
            if changed {
                for error in &desired.errors {
                    tracing::warn!(error, "a profile is not collected as it asks");
                }
                *known = Some(desired);
            }
            changed
        });
        let saved = self.objects.save();
        if self.saved.as_ref() != Some(&saved) {
            let cache = self.cache.clone();
            let keep = saved.clone();
            let empty = keep.profiles.is_empty();
            let store = move || if empty { cache.purge() } else { cache.store(&keep) };
            match tokio::task::spawn_blocking(store).await {
                Ok(Ok(())) => self.saved = Some(saved),
                Ok(Err(error)) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the configuration is not kept"
                    );
                    // Only another configuration can be kept.
                    if matches!(error, CacheError::TooLarge { .. }) {
                        self.saved = Some(saved);
                    }
                }
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the configuration is not kept"
                ),
            }
        }
    }
}

/// Watches a kind's metadata; the stream never ends.
fn metas<K>(
    what: &'static str,
    client: &Client,
    fleet: Fleet,
) -> impl Stream<Item = Event<Meta>> + Send + use<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + Sync + 'static,
{
    watching::events(
        what,
        Api::<PartialObjectMeta<K>>::all(client.clone()),
        watching::config(),
        fleet,
    )
    .map(|event| event.map_object(meta))
}

fn meta<K>(object: PartialObjectMeta<K>) -> Meta {
    let metadata = object.metadata;
    Meta {
        name: metadata.name.unwrap_or_default(),
        uid: metadata.uid.unwrap_or_default(),
        generation: metadata.generation.unwrap_or(0),
    }
}

/// Maps an event's object.
trait MapObject<K> {
    fn map_object<U>(self, f: impl FnOnce(K) -> U) -> Event<U>;
}

impl<K> MapObject<K> for Event<K> {
    fn map_object<U>(self, f: impl FnOnce(K) -> U) -> Event<U> {
        match self {
            Self::Apply(object) => Event::Apply(f(object)),
            Self::Delete(object) => Event::Delete(f(object)),
            Self::Init => Event::Init,
            Self::InitApply(object) => Event::InitApply(f(object)),
            Self::InitDone => Event::InitDone,
        }
    }
}

async fn get(client: &Client, wanted: &Wanted) -> Result<Value, kube::Error> {
    let resource = match wanted.kind {
        Kind::Profile => kube::api::ApiResource::erase::<CollectorProfile>(&()),
        Kind::Sink => kube::api::ApiResource::erase::<CollectorSink>(&()),
    };
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let object = api.get(&wanted.name).await?;
    serde_json::to_value(object).map_err(kube::Error::SerdeError)
}

#[cfg(test)]
mod tests;
