//! Makes a profile's status from what was judged and what its nodes do. Pure.

use weir_profile::CollectorProfileStatus;
use weir_profile::api::Timestamp;

use super::{Inputs, ValidatedProfile, Written};
use crate::rollup::Index;
use crate::rollup::status::{Input, status};

/// A status, what it replaces, and when it changes by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// As it should be.
    pub wanted: CollectorProfileStatus,
    /// As it is.
    pub current: Option<CollectorProfileStatus>,
    /// The second at which it changes without anybody doing anything.
    pub changes_at: Option<i64>,
}

/// Builds the status at `now`, in seconds since 1970. What was last written counts as current until
/// the watch brings something later: the watch may be behind, and of an object that cannot be read only we know the status.
#[must_use]
pub fn build(
    index: &Index,
    validated: &ValidatedProfile,
    inputs: &Inputs,
    written: Option<&Written>,
    now: i64,
) -> Status {
    let current = match written {
        Some(written) if written.is_last_of(validated.resource_version.as_deref()) => {
            Some(written.status.clone())
        }
        _ => validated.status.clone(),
    };
    let tally = index.tally(&validated.subject, now);
    let input = Input {
        subject: &validated.subject,
        verdict: &validated.verdict,
        tally: &tally,
        ready_percent: validated.ready_percent,
        trouble: inputs.trouble.as_ref(),
        blindness: inputs.blindness.as_ref(),
    };
    let time = Timestamp::from_unix_seconds(now).unwrap_or_default();
    Status {
        wanted: status(&input, current.as_ref(), time),
        current,
        changes_at: tally.changes_at,
    }
}
