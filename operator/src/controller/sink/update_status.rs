//! A sink's conditions from what was judged and ensured, written when they differ.

use kube::api::Api;
use kube::{Resource, ResourceExt};
use weir_profile::api::{Condition, ConditionReason, ConditionStatus, ConditionType, Timestamp};
use weir_profile::{CollectorSink, CollectorSinkStatus};

use super::{Outcome, Refusal, Sinks};
use crate::context::GuardedSink;
use crate::error::ApiError;
use crate::rollup::conditions::Draft;
use crate::rollup::status::merge;

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
    let accepted = Draft::new(
        T::Accepted,
        true,
        R::Accepted,
        "the spec is valid and its Secrets are there",
    );
    let drafts = match (refusal, outcome.map(|outcome| (&outcome.stream, &outcome.result))) {
        (Some(Refusal { reason, message }), _) => vec![
            Draft::new(T::Ready, false, *reason, message),
            Draft::new(T::Accepted, false, *reason, message),
            Draft::new(
                T::Reconciling,
                false,
                *reason,
                "nothing is tried until the sink is accepted",
            ),
            Draft::new(T::Stalled, true, *reason, message),
        ],
        (None, Some((stream, Ok(_)))) => vec![
            Draft::new(
                T::Ready,
                true,
                R::StreamReady,
                format!("stream '{stream}' is there as asked for"),
            ),
            accepted,
            Draft::new(T::Reconciling, false, R::UpToDate, "nothing is left to do"),
            Draft::new(T::Stalled, false, R::Healthy, "progress needs nobody"),
        ],
        (None, Some((_, Err(trouble)))) => vec![
            Draft::new(T::Ready, false, trouble.reason, &trouble.message),
            accepted,
            Draft::new(
                T::Reconciling,
                !trouble.permanent && !settled,
                trouble.reason,
                "the server is tried again, ever less often",
            ),
            Draft::new(T::Stalled, trouble.permanent, trouble.reason, &trouble.message),
        ],
        (None, None) => vec![
            Draft::new(T::Ready, false, R::Pending, "the stream was not looked at yet"),
            accepted,
            Draft::new(
                T::Reconciling,
                true,
                R::Pending,
                "the stream was not looked at yet",
            ),
            Draft::new(T::Stalled, false, R::Healthy, "progress needs nobody"),
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

pub(super) async fn update_status(
    sinks: &Sinks,
    sink: &GuardedSink,
    uid: &str,
    current: Option<&CollectorSinkStatus>,
    wanted: CollectorSinkStatus,
) -> Result<(), ApiError> {
    if current.map(ordered) == Some(ordered(&wanted)) {
        return Ok(());
    }
    let context = &sinks.context;
    let name = sink.name_any();
    let api: Api<CollectorSink> = Api::all(context.client.clone());
    let version = match context.writer.apply_status(&api, &name, &wanted).await {
        Ok(version) => version,
        Err(error) if error.is_not_found() => return Ok(()),
        Err(error) => return Err(error),
    };
    let find = |status: Option<&CollectorSinkStatus>| {
        let found = status?
            .conditions
            .iter()
            .find(|condition| condition.type_ == ConditionType::Ready)?;
        Some((found.status, found.reason, found.message.clone()))
    };
    let before = find(current).map(|(status, reason, _)| (status, reason));
    if let Some((state, reason, message)) = find(Some(&wanted))
        && before != Some((state, reason))
    {
        let about = sink.object_ref(&());
        if state == ConditionStatus::True {
            context
                .events
                .normal(&about, "EnsureStream", reason.as_str(), &message);
        } else {
            context
                .events
                .warning(&about, "EnsureStream", reason.as_str(), &message);
        }
    }
    let mut ensured = sinks
        .ensured
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(ensured) = ensured.get_mut(uid) {
        ensured.status = Some((wanted, version));
    }
    Ok(())
}

/// The API server merges conditions as a map and keeps an order of its own.
fn ordered(status: &CollectorSinkStatus) -> (Option<i64>, Vec<Condition>, Option<i32>) {
    let mut conditions = status.conditions.clone();
    conditions.sort_by_key(|condition| condition.type_);
    (status.observed_generation, conditions, status.profiles)
}
