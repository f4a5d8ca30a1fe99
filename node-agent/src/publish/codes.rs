//! Which `JetStream` answers are final: the table of error codes.
//!
//! Only what can never succeed with the same bytes is final. Everything else, and every code not listed, is
//! retried until it is acknowledged or shed.

use async_nats::jetstream::ErrorCode;

use super::outcome::LossReason;
use super::state::TroubleKind;

/// What to do after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Final.
    Reject(LossReason),
    /// Try the same bytes again; meanwhile the sink is degraded for this reason.
    Retry(TroubleKind),
}

/// The verdict on an error code of a publish answer.
#[must_use]
pub fn verdict(code: ErrorCode) -> Verdict {
    use Verdict::{Reject, Retry};
    match code {
        ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM => Reject(LossReason::TooLarge),
        // Another stream than `Nats-Expected-Stream` takes the subject.
        ErrorCode::STREAM_NOT_MATCH | ErrorCode::STREAM_MISMATCH => Reject(LossReason::SubjectRefused),
        ErrorCode::STREAM_SEALED => Reject(LossReason::StreamSealed),
        // Preconditions and headers that this agent never sets: a mapping on the way does, and will again.
        ErrorCode::STREAM_WRONG_LAST_SEQUENCE
        | ErrorCode::STREAM_WRONG_LAST_MESSAGE_ID
        | ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT
        | ErrorCode::STREAM_ROLLUP_FAILED
        | ErrorCode::MESSAGE_TTL_INVALID
        | ErrorCode::MESSAGE_TTL_DISABLED
        | ErrorCode::MESSAGE_INCR_MISSING
        | ErrorCode::MESSAGE_INCR_INVALID
        | ErrorCode::BAD_REQUEST => Reject(LossReason::Refused),
        ErrorCode::STREAM_NOT_FOUND => Retry(TroubleKind::StreamMissing),
        ErrorCode::JETSTREAM_NOT_ENABLED
        | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT
        | ErrorCode::NO_ACCOUNT
        | ErrorCode::NO_LIMITS => Retry(TroubleKind::JetStreamOff),
        ErrorCode::STREAM_STORE_FAILED
        | ErrorCode::STORAGE_RESOURCES_EXCEEDED
        | ErrorCode::MEMORY_RESOURCES_EXCEEDED
        | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED
        | ErrorCode::INSUFFICIENT_RESOURCES
        | ErrorCode::STREAM_LIMITS
        | ErrorCode::STREAM_MAX_STREAM_BYTES_EXCEEDED => Retry(TroubleKind::StreamFull),
        _ => Retry(TroubleKind::Unavailable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(number: u64) -> ErrorCode {
        serde_json::from_value(number.into()).expect("a number is a code")
    }

    #[test]
    fn verdict_is_final_only_for_what_can_never_succeed() {
        let table = [
            (10054, Verdict::Reject(LossReason::TooLarge)),
            (10060, Verdict::Reject(LossReason::SubjectRefused)),
            (10109, Verdict::Reject(LossReason::StreamSealed)),
            (10071, Verdict::Reject(LossReason::Refused)),
            (10059, Verdict::Retry(TroubleKind::StreamMissing)),
            (10039, Verdict::Retry(TroubleKind::JetStreamOff)),
            (10077, Verdict::Retry(TroubleKind::StreamFull)),
            (10047, Verdict::Retry(TroubleKind::StreamFull)),
            (10167, Verdict::Retry(TroubleKind::Unavailable)),
            (10158, Verdict::Retry(TroubleKind::Unavailable)),
            (10008, Verdict::Retry(TroubleKind::Unavailable)),
            (65_000, Verdict::Retry(TroubleKind::Unavailable)),
        ];
        for (number, expected) in table {
            assert_eq!(verdict(code(number)), expected, "code {number}");
        }
    }
}
