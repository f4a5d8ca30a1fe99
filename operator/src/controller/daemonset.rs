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

use tokio_util::sync::CancellationToken;

use super::SETTLE;
use crate::context::Context;
use crate::error::{ApiError, chain};
use crate::retry::Retries;

pub use build::{Resources, build};
pub use dereference::Inputs;
pub use template::pod_template;
pub use validate::{AgentsInvalid, ValidatedAgents, validate};

/// There is one of it.
const ONE: &str = "agents";

/// Why a visit failed.
#[derive(Debug, thiserror::Error)]
pub enum AgentsError {
    /// The API server refused something.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// What was gathered cannot be used.
    #[error(transparent)]
    Invalid(#[from] AgentsInvalid),
    /// The CRDs are of another version. Agents of this one would not be understood.
    #[error("agents are left as they are: {0}")]
    Crds(String),
}

/// Visits the agents' objects until `stop`.
pub async fn run(context: Arc<Context>, stop: CancellationToken) {
    let retries = Retries::default();
    context.dirty.agents.add([ONE.to_owned()]);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _names = context.dirty.agents.take(SETTLE) => {}
        }
        match visit_once(&context).await {
            Ok(()) => retries.forget(ONE),
            Err(error) => {
                let wait = retries.failed(ONE, rand::random());
                tracing::warn!(
                    error = chain(&error),
                    wait_seconds = wait.as_secs(),
                    "the agents' objects could not be applied"
                );
                let dirty = context.dirty.agents.clone();
                let stop = stop.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = tokio::time::sleep(wait) => dirty.add([ONE.to_owned()]),
                    }
                });
            }
        }
    }
}

/// One visit with its outcome told.
pub(super) async fn visit_once(context: &Context) -> Result<(), AgentsError> {
    let result = reconcile(context).await;
    update_status::update_status(context, result.as_ref()).await;
    result.map(drop)
}

async fn reconcile(context: &Context) -> Result<Resources<super::Applied>, AgentsError> {
    if let Some(trouble) = context.crds_trouble() {
        return Err(AgentsError::Crds(trouble));
    }
    let inputs = dereference::dereference(context).await?;
    let validated = validate(&inputs)?;
    let resources = build(
        &context.settings,
        &context.image,
        &context.namespaces.agents,
        &validated,
    );
    Ok(apply::apply(context, resources).await?)
}

#[cfg(test)]
mod tests;
