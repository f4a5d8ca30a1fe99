//! A sink's conditions from what was judged and ensured, written when they differ.

use std::time::Duration;

use kube::api::Api;
use kube::{Resource, ResourceExt};
use weir_profile::api::{Condition, ConditionReason, ConditionStatus, ConditionType, Timestamp};
use weir_profile::{CollectorSink, CollectorSinkStatus};

use super::{Outcome, Refusal, Sinks};
use crate::budget::Change;
use crate::context::GuardedSink;
use crate::error::ApiError;
use crate::rollup::conditions::Draft;
use crate::rollup::status::merge;
use crate::stream::Settled;

/// Characters of a condition's message; the definition allows 1024.
const MESSAGE_CHARS: usize = 800;

/// The last status that was written, and the version of the object that has it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Written {
    pub(super) status: CollectorSinkStatus,
    resource_version: String,
}

impl Written {
    /// Whether an object of that version holds nothing later than the write.
    pub(super) fn is_last_of(&self, resource_version: Option<&str>) -> bool {
        let number = |text: &str| text.parse::<u64>().ok();
        match (number(&self.resource_version), resource_version.and_then(number)) {
            (Some(written), Some(seen)) => written >= seen,
            _ => false,
        }
    }
}

/// The status at `now`, in seconds since 1970. Pure.
#[must_use]
pub fn status(
    sink: &GuardedSink,
    refusal: Option<&Refusal>,
    outcome: Option<&Outcome>,
    profiles: usize,
    current: Option<&CollectorSinkStatus>,
    now: i64,
) -> CollectorSinkStatus {
    use ConditionReason as R;
    use ConditionType as T;
    let generation = sink.meta().generation.unwrap_or(1);
    let old = current.map_or(&[][..], |current| &current.conditions);
    let settled = old.iter().any(|condition| {
        condition.type_ == T::Reconciling
            && condition.status == ConditionStatus::False
            && condition.observed_generation == Some(generation)
    });
    let accepted = draft(
        T::Accepted,
        true,
        R::Accepted,
        "the spec is valid and its Secrets are there",
    );
    let drafts = match (refusal, outcome.map(|outcome| (&outcome.stream, &outcome.result))) {
        (Some(Refusal { reason, message }), _) => vec![
            draft(T::Ready, false, *reason, message),
            draft(T::Accepted, false, *reason, message),
            draft(
                T::Reconciling,
                false,
                *reason,
                "nothing is tried until the sink is accepted",
            ),
            draft(T::Stalled, true, *reason, message),
        ],
        (None, Some((stream, Ok(settled)))) => vec![
            match settled {
                Settled::Seen(_) => draft(
                    T::Ready,
                    true,
                    R::StreamReady,
                    format!("stream '{stream}' is there as asked for"),
                ),
                // Nothing that the operator could wait for would come: whoever waits for the sink must not, either.
                Settled::Unverified(why) => draft(T::Ready, true, R::StreamUnverified, why),
            },
            accepted,
            draft(T::Reconciling, false, R::UpToDate, "nothing is left to do"),
            draft(T::Stalled, false, R::Healthy, "progress needs nobody"),
        ],
        (None, Some((_, Err(trouble)))) => vec![
            draft(T::Ready, false, trouble.reason, &trouble.message),
            accepted,
            draft(
                T::Reconciling,
                !trouble.permanent && !settled,
                trouble.reason,
                "the server is tried again, ever less often",
            ),
            draft(T::Stalled, trouble.permanent, trouble.reason, &trouble.message),
        ],
        (None, None) => vec![
            draft(T::Ready, false, R::Pending, "the stream was not looked at yet"),
            accepted,
            draft(
                T::Reconciling,
                true,
                R::Pending,
                "the stream was not looked at yet",
            ),
            draft(T::Stalled, false, R::Healthy, "progress needs nobody"),
        ],
    };
    CollectorSinkStatus {
        observed_generation: Some(generation),
        conditions: merge(
            drafts,
            old,
            generation,
            Timestamp::from_unix_seconds(now).unwrap_or_default(),
        ),
        profiles: Some(i32::try_from(profiles).unwrap_or(i32::MAX)),
    }
}

/// A server's words with names and a remedy need more room than a profile's, which has twice as many conditions.
fn draft(type_: ConditionType, status: bool, reason: ConditionReason, message: impl AsRef<str>) -> Draft {
    let mut draft = Draft::new(type_, status, reason, "");
    draft.message = message.as_ref().chars().take(MESSAGE_CHARS).collect();
    draft
}

/// What a new status changes; `None` is nothing.
fn change(old: Option<&CollectorSinkStatus>, new: &CollectorSinkStatus) -> Option<Change> {
    let Some(old) = old else {
        return Some(Change::Condition);
    };
    if ordered(old) == ordered(new) {
        return None;
    }
    let keys = |status: &CollectorSinkStatus| {
        let mut keys: Vec<_> = status
            .conditions
            .iter()
            .map(|condition| (condition.type_, condition.status, condition.reason))
            .collect();
        keys.sort_unstable_by_key(|(type_, ..)| *type_);
        (status.observed_generation, keys)
    };
    Some(if keys(old) == keys(new) {
        Change::Numbers
    } else {
        Change::Condition
    })
}

/// How long to wait before the rest may be written; `None` when nothing is left.
pub(super) async fn update_status(
    sinks: &Sinks,
    sink: &GuardedSink,
    uid: &str,
    current: Option<&CollectorSinkStatus>,
    wanted: CollectorSinkStatus,
) -> Result<Option<Duration>, ApiError> {
    let Some(change) = change(current, &wanted) else {
        return Ok(None);
    };
    if let Err(wait) = sinks.with_memory(uid, |memory, now| memory.budget.take(change, now)) {
        return Ok(Some(wait));
    }
    let context = &sinks.context;
    let name = sink.name_any();
    let api: Api<CollectorSink> = Api::all(context.client.clone());
    let resource_version = match context.writer.apply_status(&api, &name, &wanted).await {
        Ok(version) => version,
        // Deleted meanwhile.
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    };
    tell(sinks, sink, current, &wanted);
    let written = Written {
        status: wanted,
        resource_version,
    };
    sinks.with_memory(uid, |memory, _| memory.written = Some(written));
    Ok(None)
}

/// An Event tells when the sink becomes ready, or ceases to be, or why it is not changes.
fn tell(
    sinks: &Sinks,
    sink: &GuardedSink,
    current: Option<&CollectorSinkStatus>,
    wanted: &CollectorSinkStatus,
) {
    let ready = |status: &'_ CollectorSinkStatus| {
        status
            .conditions
            .iter()
            .find(|condition| condition.type_ == ConditionType::Ready)
            .cloned()
    };
    let before = current
        .and_then(ready)
        .map(|condition| (condition.status, condition.reason));
    let Some(now) = ready(wanted).filter(|now| before != Some((now.status, now.reason))) else {
        return;
    };
    let (about, events) = (sink.object_ref(&()), &sinks.context.events);
    let (action, reason) = ("EnsureStream", now.reason.as_str());
    if now.status == ConditionStatus::True {
        events.normal(&about, action, reason, &now.message);
    } else {
        events.warning(&about, action, reason, &now.message);
    }
}

/// The API server merges conditions as a map and keeps an order of its own.
fn ordered(status: &CollectorSinkStatus) -> (Option<i64>, Vec<Condition>, Option<i32>) {
    let mut conditions = status.conditions.clone();
    conditions.sort_by_key(|condition| condition.type_);
    (status.observed_generation, conditions, status.profiles)
}
