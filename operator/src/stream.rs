//! Makes or checks a sink's `JetStream` stream, and says what came of it in the words of conditions.

mod connect;

use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::context::Context;
use weir_profile::api::{ConditionReason, Manage};
use weir_runtime::error::chain;
use weir_runtime::stream::{Ensured, StreamError, StreamSettings, ensure, verify};

pub use connect::Access;

/// Time for everything: a server that does not answer must not hold up other sinks.
const TIMEOUT: Duration = Duration::from_secs(20);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

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
pub async fn settle(
    access: &Access,
    wanted: &StreamSettings,
    manage: Manage,
) -> Result<Ensured, StreamTrouble> {
    let work = async {
        let client = access.connect().await?;
        let mut context = jetstream::new(client.clone());
        context.set_timeout(REQUEST_TIMEOUT);
        let outcome = act(&context, wanted, manage).await;
        // The connection is closed with the client; what it still had to say is of no interest.
        drop(client);
        outcome.map_err(|error| trouble(&error))
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

async fn act(context: &Context, wanted: &StreamSettings, manage: Manage) -> Result<Ensured, StreamError> {
    match manage {
        Manage::Ensure => ensure(context, wanted).await,
        Manage::External => verify(context, &wanted.name, &wanted.subjects)
            .await
            .map(|()| Ensured::Present),
    }
}

fn trouble(error: &StreamError) -> StreamTrouble {
    let text = chain(error);
    let (reason, permanent, remedy) = match error {
        StreamError::Missing { .. } => (
            ConditionReason::StreamMissing,
            true,
            "create it, or set stream.manage to Ensure",
        ),
        StreamError::NotTaken { .. } => (ConditionReason::StreamConflict, true, "add the subject to it"),
        StreamError::Conflict { .. } => (
            ConditionReason::StreamConflict,
            true,
            "it is never shrunk or replaced: change the stream or the sink",
        ),
        StreamError::Look { .. } | StreamError::Create { .. } | StreamError::Grow { .. } => refusal(&text),
    };
    StreamTrouble::new(reason, permanent, format!("{text}; {remedy}"))
}

/// What the server's words mean: its codes do not tell a right that is missing from a server that is.
fn refusal(text: &str) -> (ConditionReason, bool, &'static str) {
    let lower = text.to_lowercase();
    if lower.contains("overlap") {
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
    }
}

#[cfg(test)]
mod tests {
    use weir_runtime::stream::Difference;

    use super::*;

    #[test]
    fn trouble_names_stream_difference_and_remedy() {
        let conflict = StreamError::Conflict {
            name: "WEIR".to_owned(),
            differences: vec![Difference {
                field: "maxBytes",
                has: "unbounded".to_owned(),
                wanted: "5".to_owned(),
            }],
        };
        let trouble = trouble(&conflict);
        assert_eq!(
            (trouble.reason, trouble.permanent),
            (ConditionReason::StreamConflict, true)
        );
        for word in ["`WEIR`", "maxBytes is unbounded, asked for is 5", "never shrunk"] {
            assert!(trouble.message.contains(word), "{trouble}");
        }
        let missing = super::trouble(&StreamError::Missing {
            name: "WEIR".to_owned(),
        });
        assert_eq!(missing.reason, ConditionReason::StreamMissing);
        assert!(missing.message.contains("stream.manage"), "{missing}");
    }

    #[test]
    fn refusal_is_told_by_the_servers_words() {
        for (text, reason, permanent) in [
            (
                "subjects overlap with an existing stream",
                ConditionReason::StreamConflict,
                true,
            ),
            (
                "Permissions Violation",
                ConditionReason::AuthenticationFailed,
                true,
            ),
            ("request timed out", ConditionReason::SinkUnreachable, false),
            ("no responders", ConditionReason::SinkUnreachable, false),
        ] {
            let (found, stays, _) = refusal(text);
            assert_eq!((found, stays), (reason, permanent), "{text}");
        }
    }
}
