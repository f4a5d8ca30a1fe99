//! A sink's visit: is it acceptable, are its Secrets there, and is its stream as asked for?

mod apply;
mod build;
mod dereference;
mod update_status;
mod validate;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::ResourceExt;
use kube::runtime::controller::Action;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weir_profile::CollectorSinkStatus;
use weir_profile::api::ConditionReason;

use super::profile::Meta;
use crate::budget::WriteBudget;
use crate::context::{Context, GuardedSink};
use crate::error::{ApiError, chain};
use crate::retry::Retries;
use dereference::Looks;
use update_status::Written;

pub use apply::Outcome;
pub use build::{Resources, build};
pub use dereference::{FoundSecret, Inputs};
pub use update_status::status;
pub use validate::{MAX_KEY_BYTES, Refusal, ValidatedSink, validate};

/// A stream that was found in order is looked at again this often, spread by up to as much again.
const RECHECK: Duration = Duration::from_mins(5);

/// The sinks' controller.
pub struct Sinks {
    context: Arc<Context>,
    retries: Retries,
    looks: Looks,
    memory: Mutex<HashMap<String, Memory>>,
    start: Instant,
    stop: CancellationToken,
}

/// What is remembered of each sink between visits, by UID.
#[derive(Debug)]
struct Memory {
    budget: WriteBudget,
    /// What was last written.
    written: Option<Written>,
    /// What was last ensured: the same is not asked of the server again before its time.
    ensured: Option<Ensured>,
}

#[derive(Clone, Debug)]
struct Ensured {
    resources: Resources<super::Prepared>,
    outcome: Outcome,
    again: Instant,
}

/// Visits sinks until `stop`.
pub async fn run(context: Arc<Context>, stop: CancellationToken) {
    let sinks = Arc::new(Sinks::new(Arc::clone(&context), stop.clone()));
    context.dirty.sinks.add(context.sink_names());
    super::visit(
        "sink",
        context.dirty.sinks.stream(|| super::SETTLE),
        context.stores.sinks.clone(),
        sinks,
        stop.cancelled_owned(),
        |sink, sinks: Arc<Sinks>| Box::pin(async move { sinks.reconcile(&sink).await }),
        |sink, error: &ApiError, sinks| {
            if error.is_forbidden() {
                // Where the status itself is refused, no condition can say so.
                let reason = ConditionReason::PermissionDenied.as_str();
                sinks.context.tell_of_operator(reason, &chain(error));
            }
            Action::requeue(sinks.retries.failed(&sink.name_any(), rand::random()))
        },
    )
    .await;
}

impl Sinks {
    pub(super) fn new(context: Arc<Context>, stop: CancellationToken) -> Self {
        Self {
            context,
            retries: Retries::default(),
            looks: Looks::default(),
            memory: Mutex::default(),
            start: Instant::now(),
            stop,
        }
    }

    pub(super) async fn reconcile(&self, sink: &GuardedSink) -> Result<Action, ApiError> {
        if sink.metadata_deleted() {
            return Ok(Action::await_change());
        }
        let (name, uid) = (sink.name_any(), sink.meta_uid());
        let inputs = dereference::dereference(&self.context, &self.looks, sink).await?;
        let validated = validate(sink, &inputs);
        let (outcome, wait) = match &validated {
            // Nothing to try until the sink or a Secret changes, and both are watched.
            Err(_) => {
                self.retries.forget(&name);
                (None, RECHECK)
            }
            Ok(validated) => match self.ensure(&name, &uid, build(validated)).await {
                Some((outcome, wait)) => (Some(outcome), wait),
                // The operator ends, and the next one asks anew.
                None => return Ok(Action::await_change()),
            },
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
        let rest = update_status::update_status(self, sink, &uid, current.as_ref(), wanted).await?;
        Ok(Action::requeue(rest.map_or(wait, |rest| rest.min(wait))))
    }

    /// Asks the server, unless the same was asked and answered a short while ago. `None` when the operator is to stop.
    async fn ensure(
        &self,
        name: &str,
        uid: &str,
        resources: Resources<super::Prepared>,
    ) -> Option<(Outcome, Duration)> {
        let now = Instant::now();
        let known = self.with_memory(uid, |memory, _| memory.ensured.clone());
        if let Some(known) = known
            && known.resources == resources
            && now < known.again
        {
            return Some((known.outcome, known.again - now));
        }
        let outcome = apply::apply(&resources, &self.stop).await?;
        let wait = if outcome.result.is_ok() {
            self.retries.forget(name);
            RECHECK + RECHECK.mul_f64(f64::from(rand::random::<u16>()) / f64::from(u16::MAX))
        } else {
            self.retries
                .failed(name, rand::random())
                .max(Duration::from_secs(1))
        };
        let ensured = Ensured {
            resources,
            outcome: outcome.clone(),
            again: now + wait,
        };
        self.with_memory(uid, |memory, _| memory.ensured = Some(ensured));
        Some((outcome, wait))
    }

    /// The status as it is. What was last written counts until the watch brings something later, and of a sink that cannot
    /// be read for as long as we know nothing else.
    fn current(&self, sink: &GuardedSink, uid: &str) -> Option<CollectorSinkStatus> {
        let seen = kube::Resource::meta(sink).resource_version.as_deref();
        let written = self.with_memory(uid, |memory, _| memory.written.clone());
        match (written, &sink.0) {
            (Some(written), Err(_)) => Some(written.status),
            (Some(written), Ok(_)) if written.is_last_of(seen) => Some(written.status),
            (_, sink) => sink.as_ref().ok().and_then(|sink| sink.status.clone()),
        }
    }

    fn with_memory<T>(&self, uid: &str, with: impl FnOnce(&mut Memory, Duration) -> T) -> T {
        let now = self.start.elapsed();
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let sinks = &self.context.stores.sinks;
        if memory.len() > 2 * sinks.len() + 16 {
            // Deleted sinks are forgotten together; nobody needs to tell of each.
            let known: HashSet<String> = sinks.state().iter().map(|sink| sink.meta_uid()).collect();
            memory.retain(|uid, _| known.contains(uid));
        }
        let entry = memory.entry(uid.to_owned()).or_insert_with(|| Memory {
            budget: WriteBudget::new(now),
            written: None,
            ensured: None,
        });
        with(entry, now)
    }
}

#[cfg(test)]
mod tests;
