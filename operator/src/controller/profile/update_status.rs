//! Writes a profile's status when it differs and the budget allows it, and tells of what changed.

use std::time::Duration;

use kube::api::Api;
use kube::{Resource, ResourceExt};
use weir_profile::api::{Condition, ConditionStatus, ConditionType};
use weir_profile::{CollectorProfile, CollectorProfileStatus};

use super::{Profiles, Status};
use crate::budget::Change;
use crate::context::GuardedProfile;
use crate::error::ApiError;

/// The last status that was written, and the version of the object that has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// What was written.
    pub status: CollectorProfileStatus,
    /// Version of the object afterwards.
    pub resource_version: String,
}

impl Written {
    /// Whether an object of that version holds nothing later than the write.
    #[must_use]
    pub fn is_last_of(&self, resource_version: Option<&str>) -> bool {
        let number = |text: &str| text.parse::<u64>().ok();
        match (number(&self.resource_version), resource_version.and_then(number)) {
            (Some(written), Some(seen)) => written >= seen,
            _ => false,
        }
    }
}

/// What a new status changes; `None` is nothing.
#[must_use]
pub fn change(old: Option<&CollectorProfileStatus>, new: &CollectorProfileStatus) -> Option<Change> {
    let Some(old) = old else {
        return Some(Change::Condition);
    };
    if ordered(old) == ordered(new) {
        return None;
    }
    let key = |condition: &Condition| (condition.type_, condition.status, condition.reason);
    let same = old.observed_generation == new.observed_generation
        && old.conditions.len() == new.conditions.len()
        && new
            .conditions
            .iter()
            .all(|condition| old.conditions.iter().any(|old| key(old) == key(condition)));
    Some(if same { Change::Numbers } else { Change::Condition })
}

/// The API server merges conditions as a map and keeps an order of its own.
fn ordered(status: &CollectorProfileStatus) -> CollectorProfileStatus {
    let mut status = status.clone();
    status.conditions.sort_by_key(|condition| condition.type_);
    status
}

/// How long to wait before the rest may be written; `None` when nothing is left.
pub(super) async fn update_status(
    profiles: &Profiles,
    profile: &GuardedProfile,
    uid: &str,
    status: &Status,
) -> Result<Option<Duration>, ApiError> {
    let Some(change) = change(status.current.as_ref(), &status.wanted) else {
        return Ok(None);
    };
    if let Err(wait) = profiles.with_memory(uid, |memory, now| memory.budget.take(change, now)) {
        return Ok(Some(wait));
    }
    let context = &profiles.context;
    let name = profile.name_any();
    let api: Api<CollectorProfile> = Api::all(context.client.clone());
    let mut applied = context.writer.apply_status(&api, &name, &status.wanted).await;
    if applied.as_ref().is_err_and(ApiError::is_unknown_field) {
        // An older definition: every version has conditions, and they say so.
        let conditions = CollectorProfileStatus {
            observed_generation: status.wanted.observed_generation,
            conditions: status.wanted.conditions.clone(),
            ..CollectorProfileStatus::default()
        };
        applied = context.writer.apply_status(&api, &name, &conditions).await;
    }
    match applied {
        Ok(resource_version) => {
            let written = Written {
                status: status.wanted.clone(),
                resource_version,
            };
            profiles.with_memory(uid, |memory, _| memory.written = Some(written));
        }
        // Deleted meanwhile.
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    }
    let about = profile.object_ref(&());
    for (condition, bad) in told(status) {
        let (reason, note) = (
            condition.reason.as_str(),
            format!("{}: {}", condition.type_, condition.message),
        );
        // Events of one reason are counted together only when they speak of the same condition.
        let action = condition.type_.as_str();
        if bad {
            context.events.warning(&about, action, reason, &note);
        } else {
            context.events.normal(&about, action, reason, &note);
        }
    }
    Ok(None)
}

/// Conditions whose change an Event tells of, and whether it is bad news.
fn told(status: &Status) -> Vec<(&Condition, bool)> {
    let old = status
        .current
        .as_ref()
        .map_or(&[][..], |status| &status.conditions);
    let news = |type_: ConditionType| {
        let new = status
            .wanted
            .conditions
            .iter()
            .find(|condition| condition.type_ == type_)?;
        let old = old.iter().find(|condition| condition.type_ == type_);
        old.is_none_or(|old| (old.status, old.reason) != (new.status, new.reason))
            .then_some(new)
    };
    let first = |type_| !old.iter().any(|condition| condition.type_ == type_);
    let mut told = Vec::new();
    if let Some(accepted) = news(ConditionType::Accepted)
        && !(first(ConditionType::Accepted) && accepted.status == ConditionStatus::True)
    {
        told.push((accepted, accepted.status != ConditionStatus::True));
    }
    let refused = |condition: &Condition| {
        condition.type_ == ConditionType::Accepted && condition.status == ConditionStatus::False
    };
    if status.wanted.conditions.iter().any(refused) {
        return told;
    }
    if let Some(ready) = news(ConditionType::Ready) {
        let reconciling =
            status.wanted.conditions.iter().any(|other| {
                other.type_ == ConditionType::Reconciling && other.status == ConditionStatus::True
            });
        let is_ready = ready.status == ConditionStatus::True;
        // Not being ready while a change is still on its way is no news.
        if is_ready || !reconciling {
            told.push((ready, !is_ready));
        }
    }
    if let Some(degraded) = news(ConditionType::Degraded)
        && degraded.status == ConditionStatus::True
        && !told.iter().any(|(other, _)| other.reason == degraded.reason)
    {
        told.push((degraded, true));
    }
    if let Some(delivering) = news(ConditionType::Delivering)
        && delivering.status == ConditionStatus::True
        && !first(ConditionType::Delivering)
    {
        told.push((delivering, false));
    }
    told
}
