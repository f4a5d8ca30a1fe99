//! Makes or checks a sink's `JetStream` stream, and says what came of it in the words of conditions.

mod connect;
mod denial;
mod refusal;

use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream;
use async_nats::jetstream::context::Context;
use tokio_util::sync::CancellationToken;
use weir_profile::api::{ConditionReason, Manage};
use weir_runtime::error::chain;
use weir_runtime::stream::{Ensured, Silence, StreamError, StreamSettings, ensure, verify};

pub use connect::Access;
use denial::Denial;
use refusal::{NO_JETSTREAM, Refusal, refusal};

/// Time for everything: a server that does not answer must not hold up other sinks.
const TIMEOUT: Duration = Duration::from_secs(20);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for what has begun when the operator is to stop: half of what it has until it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// What is known of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It was made, grown, or found as asked for.
    Seen(Ensured),
    /// The server was reached, and does not let the user look. The stream is somebody else's to make, and what agents
    /// deliver shows whether it is there. The text says what would have to be allowed.
    Unverified(String),
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

/// Connects, then creates, grows or checks the stream. `None` when the operator is to stop before an answer came.
pub async fn settle(
    access: &Access,
    wanted: &StreamSettings,
    manage: Manage,
    stop: &CancellationToken,
) -> Option<Result<Settled, StreamTrouble>> {
    let late = async {
        stop.cancelled().await;
        tokio::time::sleep(STOP_TIMEOUT).await;
    };
    let work = tokio::time::timeout(TIMEOUT, attempt(access, wanted, manage));
    tokio::select! {
        biased;
        result = work => Some(result.unwrap_or_else(|_elapsed| {
            let message = format!(
                "the server did not answer within {} s; check it and network policies",
                TIMEOUT.as_secs()
            );
            Err(StreamTrouble::new(ConditionReason::SinkUnreachable, false, message))
        })),
        () = late => None,
    }
}

async fn attempt(access: &Access, wanted: &StreamSettings, manage: Manage) -> Result<Settled, StreamTrouble> {
    let mut connection = access.connect().await?;
    let mut context = jetstream::new(connection.client.clone());
    context.set_timeout(REQUEST_TIMEOUT);
    let outcome = tokio::select! {
        biased;
        outcome = act(&context, wanted, manage) => outcome,
        // No answer follows a denial.
        denial = connection.denial.told() => return denied(&denial, &wanted.name, manage),
    };
    let error = match outcome {
        Ok(ensured) => return Ok(Settled::Seen(ensured)),
        Err(error) => error,
    };
    let connected = connection.client.connection_state() == State::Connected;
    if manage == Manage::External && connected && error.silence() == Some(Silence::TimedOut) {
        return Ok(unverified(&wanted.name, "the server does not say"));
    }
    Err(trouble(&error))
}

async fn act(context: &Context, wanted: &StreamSettings, manage: Manage) -> Result<Ensured, StreamError> {
    match manage {
        Manage::Ensure => ensure(context, wanted).await,
        Manage::External => verify(context, &wanted.name, &wanted.subjects)
            .await
            .map(|()| Ensured::Present),
    }
}

fn denied(denial: &Denial, stream: &str, manage: Manage) -> Result<Settled, StreamTrouble> {
    let remedy = match (manage, denial) {
        // Acknowledgements come to such a subject, too: without it nothing is delivered.
        (_, Denial::Subscribe(_)) => "allow it, and to agents as well",
        (Manage::External, Denial::Publish(_)) => return Ok(unverified(stream, "the user may not look")),
        (Manage::Ensure, Denial::Publish(_)) => {
            "allow it, name a user that may in stream.adminCredentialsSecretRef, or set stream.manage: External"
        }
    };
    Err(StreamTrouble::new(
        ConditionReason::AuthenticationFailed,
        true,
        format!("{denial}; {remedy}"),
    ))
}

fn unverified(stream: &str, why: &str) -> Settled {
    Settled::Unverified(format!(
        "connected, and whether stream '{stream}' is there is not known: {why}; allow it to publish \
         `$JS.API.STREAM.INFO.{stream}`, or name a user that may in stream.adminCredentialsSecretRef"
    ))
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
        StreamError::Look { .. } | StreamError::Create { .. } | StreamError::Grow { .. } => {
            match (error.code(), error.silence()) {
                (Some(code), _) => {
                    let Refusal {
                        reason,
                        permanent,
                        remedy,
                    } = refusal(code);
                    (reason, permanent, remedy)
                }
                // It may be on its way: a server that starts, or whose cluster has no leader yet, is as silent.
                (None, Some(Silence::NoResponders)) => (ConditionReason::StreamRefused, false, NO_JETSTREAM),
                (None, Some(Silence::TimedOut)) => (
                    ConditionReason::SinkUnreachable,
                    false,
                    "the server did not answer: look at its load and log",
                ),
                (None, None) => (ConditionReason::SinkUnreachable, false, "see the server's log"),
            }
        }
    };
    StreamTrouble::new(reason, permanent, format!("{text}; {remedy}"))
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
    fn denied_to_look_is_unverified_only_where_somebody_else_makes_the_stream() {
        let look = Denial::Publish("$JS.API.STREAM.INFO.WEIR".to_owned());
        let Ok(Settled::Unverified(text)) = denied(&look, "WEIR", Manage::External) else {
            panic!("is no trouble");
        };
        assert!(text.contains("`$JS.API.STREAM.INFO.WEIR`"), "{text}");
        for (denial, manage) in [
            (look, Manage::Ensure),
            (Denial::Subscribe("_INBOX.>".to_owned()), Manage::External),
        ] {
            let trouble = denied(&denial, "WEIR", manage).unwrap_err();
            assert_eq!(
                (trouble.reason, trouble.permanent),
                (ConditionReason::AuthenticationFailed, true)
            );
        }
    }

    /// *Scenario:* a server takes the connection and says nothing; then the operator is to stop.
    /// *Guarantees:* what has begun ends within five seconds of that, not with its own limits.
    #[tokio::test(start_paused = true)]
    async fn settle_ends_soon_after_the_operator_is_to_stop() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let access = Access {
            servers: (0..4)
                .map(|_| format!("nats://{}", silent.local_addr().unwrap()))
                .collect(),
            ..Access::default()
        };
        let wanted = StreamSettings {
            name: "WEIR".to_owned(),
            subjects: vec!["weir.events.>".to_owned()],
            replicas: 1,
            storage: weir_profile::api::Storage::File,
            max_bytes: None,
            max_age: None,
            duplicate_window: Duration::from_mins(2),
        };
        let stop = CancellationToken::new();
        stop.cancel();
        let start = tokio::time::Instant::now();
        assert_eq!(settle(&access, &wanted, Manage::Ensure, &stop).await, None);
        assert!(start.elapsed() <= STOP_TIMEOUT, "{:?}", start.elapsed());
    }
}
