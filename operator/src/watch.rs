//! Follows one kind of object for ever: events go to one handler, errors to the log with their remedy.

pub mod slim;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::api::Api;
use kube::runtime::watcher as watch;
use kube::runtime::watcher::{self, Event};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weir_profile::api::ConditionReason;
use weir_runtime::error::chain;
use weir_runtime::patience::Patience;
use weir_runtime::readiness::Gate;

use crate::context::Context;
use crate::metrics::Failing;
use crate::trouble::Concern;

/// Longest wait before a watch that failed is taken up again.
const RETRY_CAP: Duration = Duration::from_secs(5);
/// The API server ends a watch after this time. Of a connection that is dead without a word nobody hears before: a leader
/// must not take the silence of its fleet for health.
pub const WATCH_SECONDS: u32 = 45;
/// A list that takes longer than this is asked for again, on a new connection.
const LIST_TIMEOUT: Duration = Duration::from_mins(1);

/// Follows until `stop`. It is established once a first complete list was read.
pub async fn follow<K>(
    api: Api<K>,
    config: watcher::Config,
    what: &'static str,
    context: Arc<Context>,
    established: Established,
    stop: CancellationToken,
    mut handle: impl FnMut(Event<K>),
) where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut stream = watch(api.clone(), config.clone()).boxed();
    let (mut patience, start) = (Patience::new(RETRY_CAP), Instant::now());
    let mut wait = Duration::ZERO;
    let mut complaint: Option<String> = None;
    // From the first request to the end of the list.
    let mut listing = true;
    loop {
        let limit = if listing { LIST_TIMEOUT } else { Duration::MAX };
        let next = async {
            // A sleep of nothing lasts a millisecond, and a list of a large fleet is thousands of events.
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            tokio::time::timeout(limit, stream.next()).await
        };
        let event = tokio::select! {
            () = stop.cancelled() => return,
            event = next => event,
        };
        wait = Duration::ZERO;
        let Ok(event) = event else {
            context.failures.count(Failing::Watch);
            tracing::warn!(what, "a list did not end in time; asking again");
            stream = watch(api.clone(), config.clone()).boxed();
            wait = patience.failed(start.elapsed(), rand::random());
            continue;
        };
        match event {
            // A watcher's stream has no end.
            None => return,
            Some(Err(error)) => {
                let now = start.elapsed();
                if [403, 410].contains(&code(&error)) {
                    // 410: the client itself would ask for the same version for ever when the refusal is no watch's
                    // event. 403: what happened meanwhile must be known as a whole before anything is claimed again.
                    stream = watch(api.clone(), config.clone()).boxed();
                    listing = true;
                }
                wait = if code(&error) == 410 {
                    patience.outdated(now, rand::random())
                } else {
                    patience.failed(now, rand::random())
                };
                context.failures.count(Failing::Watch);
                let text = format!("{}{}", chain(&error), remedy(&error));
                if complaint.as_ref() == Some(&text) {
                    tracing::debug!(what, error = text, "watching failed again");
                } else {
                    tracing::warn!(what, error = text, "watching failed; trying again");
                    if code(&error) == 403 {
                        let (reason, note) = (ConditionReason::PermissionDenied, format!("{what}: {text}"));
                        context.tell_of_operator(reason.as_str(), &note);
                        context.set_trouble(Concern::Watch(what), Some((reason, note)));
                    }
                    complaint = Some(text);
                }
            }
            Some(Ok(event)) => {
                // `Init` only says that a list will be asked for.
                if !matches!(event, Event::Init) && complaint.take().is_some() {
                    tracing::info!(what, "watching again");
                }
                match &event {
                    Event::Init => listing = true,
                    Event::InitDone => listing = false,
                    _ => {}
                }
                let complete = matches!(event, Event::InitDone);
                handle(event);
                if complete {
                    established.now();
                    context.set_trouble(Concern::Watch(what), None);
                }
            }
        }
    }
}

/// Tells that a first complete list was read.
#[derive(Clone, Debug)]
pub struct Established {
    gate: Gate,
    token: CancellationToken,
}

impl Established {
    /// Not yet.
    #[must_use]
    pub fn new(gate: Gate) -> Self {
        Self {
            gate,
            token: CancellationToken::new(),
        }
    }

    /// Waits for it.
    pub async fn wait(&self) {
        self.token.cancelled().await;
    }

    fn now(&self) {
        self.gate.open();
        self.token.cancel();
    }
}

/// What the API server answered; 0 when it did not.
fn code(error: &watcher::Error) -> u16 {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => status.code,
        _ => 0,
    }
}

fn remedy(error: &watcher::Error) -> &'static str {
    match code(error) {
        401 => "; the token is not accepted: check the ServiceAccount",
        403 => "; the operator's role does not allow it: apply the manifests' RBAC again",
        404 => "; the definition is not installed: apply the CRDs",
        _ => "",
    }
}

/// What an event says to an index of last words. Absence is said only of complete lists.
#[derive(Debug)]
pub enum Seen<K> {
    /// The object is there, new or changed.
    There(K),
    /// The object was deleted.
    Gone(K),
    /// A complete list was read; these are all names in it.
    Listed(BTreeSet<String>),
}

/// Turns a watcher's events into [`Seen`].
#[derive(Debug, Default)]
pub struct Lists(BTreeSet<String>);

impl Lists {
    /// `None` when there is nothing to do.
    pub fn see<K: Resource>(&mut self, event: Event<K>) -> Option<Seen<K>> {
        match event {
            Event::Init => {
                self.0.clear();
                None
            }
            Event::InitApply(object) => {
                self.0.insert(object.name_any());
                Some(Seen::There(object))
            }
            Event::InitDone => Some(Seen::Listed(std::mem::take(&mut self.0))),
            Event::Apply(object) => Some(Seen::There(object)),
            Event::Delete(object) => Some(Seen::Gone(object)),
        }
    }
}
