//! Makes or checks a sink's `JetStream` stream. An existing stream is never shrunk or replaced.

mod connect;
mod plan;

use std::time::Duration;

use async_nats::jetstream::context::{Context, GetStreamError, GetStreamErrorKind};
use async_nats::jetstream::{self, ErrorCode};
use weir_profile::api::{ConditionReason, Manage};

pub use connect::{Access, Login};
pub use plan::{Difference, Plan, Wanted, covers, plan};

use crate::error::chain;

/// Time for everything: a server that does not answer must not hold up other sinks.
const TIMEOUT: Duration = Duration::from_secs(20);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// What was found or done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ensured {
    /// It was missing, and is there now.
    Created,
    /// It was smaller, and is as asked for now.
    Grown,
    /// It was as asked for.
    Present,
}

/// Why the stream is not as asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StreamTrouble {
    /// For a condition.
    pub reason: ConditionReason,
    /// With the server's own words and a remedy.
    pub message: String,
    /// Whether only a person can end it.
    pub permanent: bool,
}

impl StreamTrouble {
    fn new(reason: ConditionReason, permanent: bool, message: String) -> Self {
        Self {
            reason,
            message,
            permanent,
        }
    }
}

/// Connects, then creates, grows or checks the stream.
pub async fn ensure(access: &Access, wanted: &Wanted, manage: Manage) -> Result<Ensured, StreamTrouble> {
    let work = async {
        let client = access.connect().await?;
        let mut context = jetstream::new(client.clone());
        context.set_timeout(REQUEST_TIMEOUT);
        let outcome = settle(&context, wanted, manage).await;
        // The connection is closed with the client; what it still had to say is of no interest.
        drop(client);
        outcome
    };
    tokio::time::timeout(TIMEOUT, work)
        .await
        .unwrap_or_else(|_elapsed| {
            let message = format!(
                "the server did not answer within {} s; check it and network policies",
                TIMEOUT.as_secs()
            );
            Err(StreamTrouble::new(
                ConditionReason::SinkUnreachable,
                false,
                message,
            ))
        })
}

async fn settle(context: &Context, wanted: &Wanted, manage: Manage) -> Result<Ensured, StreamTrouble> {
    let name = &wanted.name;
    let has = match context.get_stream(name).await {
        Ok(stream) => stream.cached_info().config.clone(),
        Err(error) if is_missing(&error) && manage == Manage::External => {
            let message = format!("stream '{name}' is not there; create it, or set stream.manage to Ensure");
            return Err(StreamTrouble::new(ConditionReason::StreamMissing, true, message));
        }
        Err(error) if is_missing(&error) => {
            return match context.create_stream(wanted.fresh()).await {
                Ok(_) => Ok(Ensured::Created),
                Err(error) => Err(refused("create", name, &error)),
            };
        }
        Err(error) => return Err(refused("look at", name, &error)),
    };
    match (plan(&has, wanted), manage) {
        (Plan::Keep, _) => Ok(Ensured::Present),
        (Plan::Grow(config), Manage::Ensure) => match context.update_stream(config.as_ref()).await {
            Ok(_) => Ok(Ensured::Grown),
            Err(error) => Err(refused("grow", name, &error)),
        },
        // Somebody else's stream may be of any size, as long as it takes the subjects.
        (Plan::Grow(_) | Plan::Conflict(_), Manage::External) => {
            let missing: Vec<&str> = wanted.uncovered(&has).collect();
            if missing.is_empty() {
                return Ok(Ensured::Present);
            }
            let message = format!(
                "stream '{name}' does not take {}; add the subject to it",
                missing.join(", ")
            );
            Err(StreamTrouble::new(ConditionReason::StreamConflict, true, message))
        }
        (Plan::Conflict(differences), Manage::Ensure) => {
            let list = differences
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; ");
            let message = format!(
                "stream '{name}' exists with other settings, and is never shrunk or replaced: {list}; change the stream or the sink"
            );
            Err(StreamTrouble::new(ConditionReason::StreamConflict, true, message))
        }
    }
}

fn refused(action: &str, name: &str, error: &(dyn std::error::Error + 'static)) -> StreamTrouble {
    let text = chain(error);
    let lower = text.to_lowercase();
    let (reason, permanent, remedy) = if lower.contains("overlap") {
        (
            ConditionReason::StreamConflict,
            true,
            "another stream takes the same subjects: change subjectPrefix or that stream",
        )
    } else if lower.contains("permission") || lower.contains("authorization") {
        (
            ConditionReason::AuthenticationFailed,
            true,
            "allow the user $JS.API.STREAM.>, or name other adminCredentialsSecretRef",
        )
    } else if lower.contains("no responders") || lower.contains("not enabled") {
        (
            ConditionReason::SinkUnreachable,
            false,
            "start nats-server with JetStream enabled",
        )
    } else if lower.contains("timed out") || lower.contains("timeout") {
        (
            ConditionReason::SinkUnreachable,
            false,
            "the server did not answer: check it, and the user's permissions",
        )
    } else {
        (ConditionReason::SinkUnreachable, false, "see the server's log")
    };
    StreamTrouble::new(
        reason,
        permanent,
        format!("cannot {action} stream '{name}': {text}; {remedy}"),
    )
}

fn is_missing(error: &GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}
