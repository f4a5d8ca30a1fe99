//! What a failed publish means: for the batch, for the sink, and in words.

use std::error::Error;
use std::time::Duration;

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::{self, Context};
use weir_runtime::error::chain;
use weir_runtime::stream::{StreamError, verify};

use crate::publish::codes::{Verdict, verdict};
use crate::publish::metrics::Retry;
use crate::publish::outcome::LossReason;
use crate::publish::state::{Trouble, TroubleKind};

/// How long an acknowledgement is waited for: `JetStream`'s own clients use the same.
pub(super) const ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// What asking the server about the stream found.
pub(super) enum Diagnosis {
    /// The stream is there and takes the subject.
    Fine,
    /// What is wrong.
    Trouble(Trouble),
    /// It cannot be told.
    Unknown,
}

/// What to do after a failed publish.
pub(super) enum Failure {
    /// Final for the batch; the sink as a whole answers.
    Reject(LossReason),
    /// Try again.
    Retry(TroubleKind, Retry),
    /// The connection is gone.
    Lost,
}

/// What a person is told while a publish is retried. `prefix` is the first tokens of the sink's subjects.
pub(super) fn trouble(
    kind: TroubleKind,
    subject: &str,
    (stream, prefix): (Option<&str>, &str),
    error: &PublishError,
) -> Trouble {
    let stream = stream.unwrap_or("(any)");
    let (message, remedy) = match kind {
        TroubleKind::StreamMissing => (
            format!("no stream takes `{subject}`; expected is the stream `{stream}`"),
            format!("create the stream `{stream}` with the subject `{prefix}.>`"),
        ),
        TroubleKind::JetStreamOff => (
            chain(error),
            "start nats-server with JetStream (-js), or enable it for the account".to_owned(),
        ),
        TroubleKind::StreamFull => (
            chain(error),
            format!(
                "raise the limits of the stream `{stream}` or of its account, or free disk on the server"
            ),
        ),
        TroubleKind::NoAck => (
            format!(
                "no acknowledgement for `{subject}` within {} s",
                ACK_TIMEOUT.as_secs()
            ),
            "look at the server's load and disk, and at the user's publish permissions".to_owned(),
        ),
        _ => (
            chain(error),
            "look at the server's log; sending is tried again".to_owned(),
        ),
    };
    Trouble {
        kind,
        message,
        remedy,
    }
}

pub(super) async fn look_at_stream(jetstream: &Context, stream: &str, subject: &str) -> Diagnosis {
    let error = match verify(jetstream, stream, &[subject.to_owned()]).await {
        Ok(()) => return Diagnosis::Fine,
        Err(error) => error,
    };
    let (kind, remedy) = match &error {
        StreamError::Missing { .. } => (
            TroubleKind::StreamMissing,
            format!("create the stream `{stream}`, or let the sink manage it (`stream.manage: Ensure`)"),
        ),
        StreamError::NotTaken { .. } => (
            TroubleKind::SubjectNotTaken,
            format!("add the subject to the stream `{stream}`, or change the sink's subject prefix"),
        ),
        // A publish-only user may not look; the first trouble stands.
        StreamError::Look { .. }
        | StreamError::Create { .. }
        | StreamError::Grow { .. }
        | StreamError::Conflict { .. } => return Diagnosis::Unknown,
    };
    Diagnosis::Trouble(Trouble {
        kind,
        message: chain(&error),
        remedy,
    })
}

pub(super) fn not_permitted(text: &str) -> Trouble {
    Trouble {
        kind: TroubleKind::NotPermitted,
        message: text.to_owned(),
        remedy: "allow the user to publish the subject, and to subscribe to its inbox `_INBOX.>`".to_owned(),
    }
}

pub(super) fn ensure_trouble(error: &StreamError) -> Trouble {
    let (kind, remedy) = match (error, error.code().map(verdict)) {
        (StreamError::Conflict { .. }, _) => (
            TroubleKind::StreamConflict,
            "ask for what the stream has, or change the stream by hand; Weir never shrinks or replaces one",
        ),
        (_, Some(Verdict::Retry(TroubleKind::JetStreamOff))) => (
            TroubleKind::JetStreamOff,
            "start nats-server with JetStream (-js), or enable it for the account",
        ),
        (_, Some(Verdict::Retry(TroubleKind::StreamFull))) => (
            TroubleKind::StreamFull,
            "ask for a smaller stream, or raise the limits of the account or server",
        ),
        (StreamError::Look { .. }, None) => (
            TroubleKind::JetStreamOff,
            "start nats-server with JetStream (-js), or let the user publish to `$JS.API.>`",
        ),
        _ => (
            TroubleKind::StreamMissing,
            "create the stream by hand, or correct the sink's stream settings",
        ),
    };
    Trouble {
        kind,
        message: chain(error),
        remedy: remedy.to_owned(),
    }
}

pub(super) fn failure(error: &PublishError) -> Failure {
    let source = error.source();
    let answered = source.and_then(|source| source.downcast_ref::<jetstream::Error>());
    let refused = source.and_then(|source| source.downcast_ref::<async_nats::PublishError>());
    match (error.kind(), answered) {
        (_, Some(answer)) => match verdict(answer.error_code()) {
            Verdict::Reject(reason) => Failure::Reject(reason),
            Verdict::Retry(kind) => Failure::Retry(kind, Retry::refused),
        },
        (PublishErrorKind::BrokenPipe, None) => Failure::Lost,
        (PublishErrorKind::TimedOut, None) => Failure::Retry(TroubleKind::NoAck, Retry::timeout),
        (PublishErrorKind::StreamNotFound, None) => {
            Failure::Retry(TroubleKind::StreamMissing, Retry::refused)
        }
        (PublishErrorKind::MaxPayloadExceeded, None) => Failure::Reject(LossReason::TooLarge),
        _ if refused
            .is_some_and(|error| error.kind() == async_nats::client::PublishErrorKind::InvalidSubject) =>
        {
            Failure::Reject(LossReason::SubjectRefused)
        }
        _ => Failure::Retry(TroubleKind::Unavailable, Retry::refused),
    }
}
