//! What a server's refusal of a stream means: the table of `JetStream` error codes.
//!
//! A code decides whether waiting helps. The server's own words are always shown beside what is said here.

use async_nats::jetstream::ErrorCode;
use weir_profile::api::ConditionReason;

/// What to say of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) reason: ConditionReason,
    /// Only a person can end it.
    pub(super) permanent: bool,
    pub(super) remedy: &'static str,
}

/// The meaning of an answer's code.
pub(super) fn refusal(code: ErrorCode) -> Refusal {
    use ConditionReason as R;
    let (reason, permanent, remedy) = match code {
        ErrorCode::STREAM_SUBJECT_OVERLAP => (
            R::StreamConflict,
            true,
            "another stream takes the same subjects: change subjectPrefix or that stream",
        ),
        // Somebody made it between our look and our request: the next look shows how it differs.
        ErrorCode::STREAM_NAME_EXIST => (R::StreamConflict, false, "it is looked at again"),
        ErrorCode::STREAM_NOT_FOUND => (R::StreamMissing, false, "it went meanwhile, and is made again"),
        ErrorCode::JETSTREAM_NOT_ENABLED
        | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT
        | ErrorCode::NO_ACCOUNT => (R::StreamRefused, true, NO_JETSTREAM),
        ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED => (
            R::StreamRefused,
            true,
            "lower stream.replicas, or run nats-server as a cluster",
        ),
        // A server that comes back may be what is missing.
        ErrorCode::CLUSTER_NO_PEERS | ErrorCode::INSUFFICIENT_RESOURCES => (
            R::StreamRefused,
            false,
            "lower stream.replicas or stream.maxBytes, or add servers or room for JetStream",
        ),
        ErrorCode::STORAGE_RESOURCES_EXCEEDED
        | ErrorCode::MEMORY_RESOURCES_EXCEEDED
        | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED
        | ErrorCode::NO_LIMITS
        | ErrorCode::MAXIMUM_STREAMS_LIMIT
        | ErrorCode::STREAM_LIMITS
        | ErrorCode::STREAM_MAX_BYTES_REQUIRED
        | ErrorCode::STREAM_MAX_STREAM_BYTES_EXCEEDED => (
            R::StreamRefused,
            true,
            "lower stream.maxBytes, or raise the JetStream limits of the account or server",
        ),
        ErrorCode::STREAM_INVALID_CONFIG
        | ErrorCode::STREAM_INVALID
        | ErrorCode::STREAM_SEALED
        | ErrorCode::STREAM_REPLICAS_NOT_UPDATABLE
        | ErrorCode::STREAM_MIRROR_NOT_UPDATABLE
        | ErrorCode::REQUIRED_API_LEVEL
        | ErrorCode::BAD_REQUEST => (R::StreamRefused, true, "change the sink's stream, or the server"),
        ErrorCode::CLUSTER_NOT_AVAILABLE
        | ErrorCode::CLUSTER_NOT_LEADER
        | ErrorCode::CLUSTER_NOT_ACTIVE
        | ErrorCode::CLUSTER_NOT_ASSIGNED
        | ErrorCode::CLUSTER_INCOMPLETE
        | ErrorCode::STREAM_OFFLINE
        | ErrorCode::STREAM_OFFLINE_REASON => (
            R::SinkUnreachable,
            false,
            "the servers' cluster is not complete: wait, or look at its servers",
        ),
        _ => (R::StreamRefused, false, "see the server's log; it is tried again"),
    };
    Refusal {
        reason,
        permanent,
        remedy,
    }
}

/// What to do about a server or account without `JetStream`.
pub(super) const NO_JETSTREAM: &str = "start nats-server with JetStream (-js), or enable it for the account";

#[cfg(test)]
mod tests {
    use super::*;

    fn code(number: u64) -> ErrorCode {
        serde_json::from_value(number.into()).unwrap()
    }

    #[test]
    fn refusal_says_of_each_code_whether_waiting_helps() {
        use ConditionReason as R;
        for (number, reason, permanent) in [
            (10065, R::StreamConflict, true),
            (10074, R::StreamRefused, true),
            (10005, R::StreamRefused, false),
            (10047, R::StreamRefused, true),
            (10002, R::StreamRefused, true),
            (10122, R::StreamRefused, true),
            (10052, R::StreamRefused, true),
            (10039, R::StreamRefused, true),
            (10008, R::SinkUnreachable, false),
            (10059, R::StreamMissing, false),
            (65_000, R::StreamRefused, false),
        ] {
            let found = refusal(code(number));
            assert_eq!((found.reason, found.permanent), (reason, permanent), "{number}");
            assert!(!found.remedy.is_empty());
        }
    }
}
