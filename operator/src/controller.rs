//! The three reconcilers. Each is `dereference -> validate -> build -> apply -> update_status`, a file per step.
//!
//! `build` is pure. What a status says comes from [`Applied`] alone: the type system keeps it from being told of
//! something that was never applied.

pub mod daemonset;
pub mod profile;
pub mod sink;

#[cfg(test)]
mod scenarios;

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, TryStreamExt};
use kube::Resource;
use kube::runtime::controller::{Action, Config, Error as RunError};
use kube::runtime::reflector::{ObjectRef, Store};

use crate::error::chain;

/// Objects of one kind that are visited at once.
const CONCURRENCY: u16 = 8;
/// Changes that come together are answered together.
pub const SETTLE: Duration = Duration::from_millis(200);
/// Each node adds to the cost of a profile's visit, and some node of a large fleet always changes: at 15 000 nodes
/// profiles are visited about once a second.
const SETTLE_PER_NODE: Duration = Duration::from_micros(50);

/// How long changes of nodes are collected before profiles are visited.
pub(crate) fn settle(nodes: usize) -> Duration {
    let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
    (SETTLE + SETTLE_PER_NODE.saturating_mul(nodes)).min(Duration::from_secs(2))
}

/// Built, and not yet sent to anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prepared;
/// The API server (or the broker) has confirmed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied;

/// Visits whatever is named, until `stop`; visits that have begun are finished.
pub(crate) async fn visit<K, C, F>(
    what: &'static str,
    names: impl Stream<Item = String> + Send,
    store: Store<K>,
    context: Arc<C>,
    stop: impl Future<Output = ()> + Send + 'static,
    reconcile: impl FnMut(Arc<K>, Arc<C>) -> F,
    on_error: impl Fn(Arc<K>, &F::Error, Arc<C>) -> Action,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
    C: Send + Sync,
    F: futures::TryFuture<Ok = Action> + Unpin,
    F::Error: std::error::Error + Send + 'static,
{
    let queue = requests::<K>(names).take_until(stop);
    let config = Config::default().concurrency(CONCURRENCY);
    kube::runtime::applier(reconcile, on_error, context, store, queue, config)
        .for_each(|result| {
            report(what, result);
            std::future::ready(())
        })
        .await;
}

fn requests<K>(
    names: impl Stream<Item = String>,
) -> impl Stream<Item = Result<ObjectRef<K>, std::convert::Infallible>>
where
    K: Resource<DynamicType = ()>,
{
    names.map(|name| ObjectRef::new(&name)).map(Ok).into_stream()
}

fn report<K, E, Q>(what: &'static str, result: Result<(ObjectRef<K>, Action), RunError<E, Q>>)
where
    K: Resource,
    K::DynamicType: Debug + Eq + Hash + Clone,
    E: std::error::Error + 'static,
    Q: std::error::Error + 'static,
{
    match result {
        Ok((object, _)) => tracing::debug!(what, name = object.name, "visited"),
        // Deleted before its turn.
        Err(RunError::ObjectNotFound(object)) => tracing::debug!(what, name = object.name, "is gone"),
        Err(RunError::ReconcilerFailed(error, object)) => {
            tracing::warn!(
                what,
                name = object.name,
                error = chain(&error),
                "visit failed; trying again later"
            );
        }
        Err(error) => tracing::error!(what, error = chain(&error), "the queue failed"),
    }
}
