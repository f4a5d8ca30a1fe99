//! A sink's visit: is it acceptable, are its Secrets there, and is its stream as asked for?

mod apply;
mod build;
mod dereference;
mod update_status;
mod validate;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::ResourceExt;
use kube::runtime::controller::Action;
use tokio_util::sync::CancellationToken;
use weir_profile::CollectorSinkStatus;

use super::profile::Meta;
use crate::context::{Context, GuardedSink};
use crate::error::ApiError;
use crate::retry::Retries;

pub use apply::Outcome;
pub use build::{Resources, build};
pub use dereference::{FoundSecret, Inputs};
pub use update_status::status;
pub use validate::{Refusal, ValidatedSink, validate};

/// A stream that was found in order is looked at again this often, spread by up to as much again.
const RECHECK: Duration = Duration::from_mins(5);

/// The sinks' controller.
pub struct Sinks {
    context: Arc<Context>,
    retries: Retries,
    /// What was last ensured, by UID: the same is not asked of the server again before its time.
    ensured: Mutex<HashMap<String, Ensured>>,
}

#[derive(Clone, Debug)]
struct Ensured {
    resources: Resources<super::Prepared>,
    outcome: Outcome,
    again: tokio::time::Instant,
    /// Written, and perhaps not seen by the watch yet.
    status: Option<(CollectorSinkStatus, String)>,
}

/// Visits sinks until `stop`.
pub async fn run(context: Arc<Context>, stop: CancellationToken) {
    let sinks = Arc::new(Sinks::new(Arc::clone(&context)));
    context.dirty.sinks.add(context.sink_names());
    super::visit(
        "sink",
        context.dirty.sinks.stream(|| super::SETTLE),
        context.stores.sinks.clone(),
        sinks,
        stop.cancelled_owned(),
        |sink, sinks: Arc<Sinks>| Box::pin(async move { sinks.reconcile(&sink).await }),
        |sink, _error: &ApiError, sinks| {
            Action::requeue(sinks.retries.failed(&sink.name_any(), rand::random()))
        },
    )
    .await;
}

impl Sinks {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self {
            context,
            retries: Retries::default(),
            ensured: Mutex::default(),
        }
    }

    pub(super) async fn reconcile(&self, sink: &GuardedSink) -> Result<Action, ApiError> {
        if sink.metadata_deleted() {
            return Ok(Action::await_change());
        }
        let (name, uid) = (sink.name_any(), sink.meta_uid());
        let inputs = dereference::dereference(&self.context, sink).await?;
        let validated = validate(sink, &inputs);
        let (outcome, wait) = match &validated {
            // Nothing to try until the sink or a Secret changes, and both are watched.
            Err(_) => (None, RECHECK),
            Ok(validated) => self.ensure(&name, &uid, build(validated)).await,
        };
        let now = jiff::Timestamp::now().as_second();
        let current = self.current(sink, &uid);
        let wanted = status(
            sink,
            validated.as_ref().err(),
            outcome.as_ref(),
            inputs.profiles,
            current.as_ref(),
            now,
        );
        update_status::update_status(self, sink, &uid, current.as_ref(), wanted).await?;
        Ok(Action::requeue(wait))
    }

    /// Asks the server, unless the same was asked and answered a short while ago.
    async fn ensure(
        &self,
        name: &str,
        uid: &str,
        resources: Resources<super::Prepared>,
    ) -> (Option<Outcome>, Duration) {
        let now = tokio::time::Instant::now();
        let known = self
            .ensured
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(uid)
            .cloned();
        if let Some(known) = &known
            && known.resources == resources
            && now < known.again
        {
            return (Some(known.outcome.clone()), known.again - now);
        }
        let outcome = apply::apply(&resources).await;
        let wait = if outcome.result.is_ok() {
            self.retries.forget(name);
            RECHECK + RECHECK.mul_f64(f64::from(rand::random::<u16>()) / f64::from(u16::MAX))
        } else {
            self.retries
                .failed(name, rand::random())
                .max(Duration::from_secs(1))
        };
        let status = known.and_then(|known| known.status);
        let ensured = Ensured {
            resources,
            outcome: outcome.clone(),
            again: now + wait,
            status,
        };
        let mut all = self.ensured.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() > 2 * self.context.stores.sinks.len() + 16 {
            let uids: std::collections::HashSet<String> = self
                .context
                .stores
                .sinks
                .state()
                .iter()
                .map(|sink| sink.meta_uid())
                .collect();
            all.retain(|uid, _| uids.contains(uid));
        }
        all.insert(uid.to_owned(), ensured);
        (Some(outcome), wait)
    }

    /// The status as it is: what was last written, while the watch has not brought it yet.
    fn current(&self, sink: &GuardedSink, uid: &str) -> Option<CollectorSinkStatus> {
        let ensured = self.ensured.lock().unwrap_or_else(PoisonError::into_inner);
        let written = ensured.get(uid).and_then(|ensured| ensured.status.as_ref());
        let number = |text: &str| text.parse::<u64>().ok();
        let seen = kube::Resource::meta(sink)
            .resource_version
            .as_deref()
            .and_then(number);
        match written {
            Some((status, version)) if number(version) > seen => Some(status.clone()),
            _ => sink.0.as_ref().ok().and_then(|sink| sink.status.clone()),
        }
    }
}

#[cfg(test)]
mod tests;
