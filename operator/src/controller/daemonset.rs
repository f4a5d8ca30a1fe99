//! The agents' visit: one `DaemonSet` and one Secret of gathered credentials, while any profile exists.
//!
//! The template depends on the operator's settings alone: applying or editing profiles and sinks restarts no agent.

mod apply;
mod build;
mod dereference;
mod template;
mod update_status;
mod validate;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::SETTLE;
use crate::context::Context;
use crate::error::{ApiError, chain};
use crate::metrics::Failing;
use crate::retry::Retries;

pub use build::{Resources, build};
pub use dereference::Inputs;
pub use template::pod_template;
pub use validate::{ValidatedAgents, validate};

/// There is one of it.
const ONE: &str = "agents";

/// Least time between two attempts while they fail, whatever else happens.
const RETRY_LEAST: Duration = Duration::from_secs(5);

/// Why a visit failed.
#[derive(Debug, thiserror::Error)]
pub enum AgentsError {
    /// The API server refused something.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The CRDs are of another version. Agents of this one would not be understood.
    #[error("agents are left as they are: {0}")]
    Crds(String),
}

/// Visits the agents' objects until `stop`. After a failure it tries again by itself, later each time; what happens
/// meanwhile brings the next attempt forward, to 5 s after the last one.
pub async fn run(context: Arc<Context>, stop: CancellationToken) {
    stop.run_until_cancelled(Box::pin(follow(&context))).await;
}

pub(super) async fn follow(context: &Context) {
    let retries = Retries::default();
    let mut failures = 0;
    context.dirty.agents.add([ONE.to_owned()]);
    let mut retry: Option<Instant> = None;
    loop {
        let last = Instant::now();
        tokio::select! {
            _names = context.dirty.agents.take(SETTLE) => {
                if let Some(retry) = retry {
                    sleep_until(retry.min(last + RETRY_LEAST)).await;
                }
            }
            () = sleep_until(retry.unwrap_or(last)), if retry.is_some() => {}
        }
        match visit_once(context, failures).await {
            Ok(()) => {
                retries.forget(ONE);
                (failures, retry) = (0, None);
            }
            Err(error) => {
                let wait = retries.failed(ONE, rand::random());
                tracing::warn!(
                    error = chain(&error),
                    wait_seconds = wait.as_secs(),
                    "the agents' objects could not be applied"
                );
                context.failures.count(Failing::Agents);
                failures += 1;
                retry = Some(Instant::now() + wait);
            }
        }
    }
}

/// One visit with its outcome told; `failures` is how often visits have failed in a row before.
pub(super) async fn visit_once(context: &Context, failures: u32) -> Result<(), AgentsError> {
    let result = reconcile(context).await;
    update_status::update_status(context, result.as_ref(), failures + 1);
    result.map(drop)
}

async fn reconcile(context: &Context) -> Result<Resources<super::Applied>, AgentsError> {
    let inputs = dereference::dereference(context).await?;
    let validated = validate(&inputs);
    let resources = build(
        &context.settings,
        &context.image,
        &context.namespaces.agents,
        &validated,
    );
    let Some(trouble) = context.crds_trouble() else {
        return Ok(apply::apply(context, resources).await?);
    };
    // Only the agents themselves wait for definitions of their version: credentials rotate meanwhile.
    apply::apply_secret(context, resources.secret.as_ref()).await?;
    Err(AgentsError::Crds(trouble))
}

#[cfg(test)]
mod tests;
