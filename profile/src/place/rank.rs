//! Decides what fits on the node: highest priority first, then by name, whatever was placed before.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    IdleProfile, MAX_KEYED_TABLES, MAX_PROFILES, MAX_SLOTS, MAX_SLOTS_PER_KIND, NodeFacts, Refusal,
    UnsupportedEvent,
};
use crate::api::{ConditionReason, Mode, Per};
use crate::kind::EventKind;
use crate::plan::{Plan, PlannedEvent};

/// A profile that fits, with those of its events that do.
pub(super) struct Admitted<'a> {
    pub(super) plan: &'a Plan,
    pub(super) events: Vec<&'a PlannedEvent>,
}

#[derive(Default)]
pub(super) struct Ranked<'a> {
    /// By rank.
    pub(super) admitted: Vec<Admitted<'a>>,
    pub(super) refused: Vec<Refusal>,
    pub(super) unsupported: Vec<UnsupportedEvent>,
    pub(super) idle: Vec<IdleProfile>,
    pub(super) priorities: BTreeMap<String, u16>,
}

#[derive(Default)]
struct Room {
    slots: usize,
    of_kind: BTreeMap<EventKind, usize>,
    tables: usize,
}

pub(super) fn rank<'a>(plans: &'a [Plan], facts: &NodeFacts) -> Ranked<'a> {
    let mut ranked = Ranked::default();
    let mut room = Room::default();
    let mut candidates: Vec<&Plan> = plans
        .iter()
        .filter(|plan| {
            plan.nodes
                .as_ref()
                .zip(facts.labels.as_ref())
                .is_none_or(|(nodes, labels)| nodes.matches(labels))
        })
        .collect();
    candidates.sort_by(|a, b| {
        b.priority
            .cmp(&a.priority)
            .then_with(|| a.name.cmp(&b.name))
            .then_with(|| a.uid.cmp(&b.uid))
            .then_with(|| b.generation.cmp(&a.generation))
            .then_with(|| a.digest.cmp(&b.digest))
    });
    // One UID is one profile: of two plans of it, the first by rank (then the newer) counts.
    let mut seen = BTreeSet::new();
    candidates.retain(|plan| seen.insert(plan.uid.as_str()));
    for plan in candidates {
        ranked.priorities.insert(plan.uid.clone(), plan.priority);
        if let Some(refusal) = wait_for_labels(plan, facts) {
            ranked.refused.push(refusal);
        } else if let Some(reason) = idle_reason(plan, facts) {
            ranked.idle.push(IdleProfile {
                name: plan.name.clone(),
                uid: plan.uid.clone(),
                generation: plan.generation,
                digest: plan.digest.clone(),
                reason,
            });
        } else if let Some(refusal) = refuse_profile(plan, ranked.admitted.len(), &room) {
            ranked.refused.push(refusal);
        } else {
            room.tables += usize::from(plan.per_workload.is_some());
            let events = admit_events(
                plan,
                facts,
                &mut room,
                &mut ranked.refused,
                &mut ranked.unsupported,
            );
            ranked.admitted.push(Admitted { plan, events });
        }
    }
    ranked
}

fn idle_reason(plan: &Plan, facts: &NodeFacts) -> Option<ConditionReason> {
    if plan.mode == Mode::Suspended {
        Some(ConditionReason::Suspended)
    } else if has_ended(plan, facts) {
        Some(ConditionReason::Expired)
    } else {
        None
    }
}

fn has_ended(plan: &Plan, facts: &NodeFacts) -> bool {
    plan.expires_at.is_some_and(|expires_at| {
        expires_at <= facts.now
            || facts
                .ended
                .get(&plan.uid)
                .is_some_and(|&ended| plan.generation <= ended)
    })
}

/// A selector may exclude the node by a label that is not known yet: nothing of it runs before.
fn wait_for_labels(plan: &Plan, facts: &NodeFacts) -> Option<Refusal> {
    (plan.nodes.is_some() && facts.labels.is_none()).then(|| {
        let message =
            "it selects nodes by label and this node's labels are not known yet; it follows by itself";
        refusal(plan, None, ConditionReason::Pending, message.to_owned())
    })
}

fn refuse_profile(plan: &Plan, admitted: usize, room: &Room) -> Option<Refusal> {
    if admitted >= MAX_PROFILES {
        let message = format!(
            "a node takes at most {MAX_PROFILES} profiles and this one ranks below them; merge profiles, narrow their nodes or raise its priority"
        );
        return Some(refusal(plan, None, ConditionReason::TooManyProfiles, message));
    }
    // Without its per-workload limit the profile would collect more than was asked for.
    if plan.per_workload.is_some() && room.tables >= MAX_KEYED_TABLES {
        return Some(refusal(
            plan,
            None,
            ConditionReason::TooManyKeyedLimits,
            too_many_tables("limits.perWorkload"),
        ));
    }
    None
}

fn admit_events<'a>(
    plan: &'a Plan,
    facts: &NodeFacts,
    room: &mut Room,
    refused: &mut Vec<Refusal>,
    unsupported: &mut Vec<UnsupportedEvent>,
) -> Vec<&'a PlannedEvent> {
    let mut events = Vec::with_capacity(plan.events.len());
    for event in &plan.events {
        let keyed = event.limit.is_some_and(|limit| limit.per != Per::Node);
        let of_kind = room.of_kind.entry(event.kind).or_default();
        if !facts.supported.contains(&event.kind) {
            unsupported.push(UnsupportedEvent {
                profile: plan.name.clone(),
                uid: plan.uid.clone(),
                generation: plan.generation,
                event: event.name.clone(),
                kind: event.kind,
            });
        } else if room.slots >= MAX_SLOTS || *of_kind >= MAX_SLOTS_PER_KIND {
            let kind = event.kind;
            let message = format!(
                "a node takes at most {MAX_SLOTS} events, {MAX_SLOTS_PER_KIND} of them {kind}, and this one ranks below them; merge events, narrow their nodes or raise the profile's priority"
            );
            refused.push(refusal(plan, Some(event), ConditionReason::TooManySlots, message));
        } else if keyed && room.tables >= MAX_KEYED_TABLES {
            refused.push(refusal(
                plan,
                Some(event),
                ConditionReason::TooManyKeyedLimits,
                too_many_tables("limit.per"),
            ));
        } else {
            room.slots += 1;
            *of_kind += 1;
            room.tables += usize::from(keyed);
            events.push(event);
        }
    }
    events
}

fn too_many_tables(field: &str) -> String {
    format!(
        "a node takes at most {MAX_KEYED_TABLES} limits per pod or container and {field} asks for one more; use per: Node, drop one or raise the profile's priority"
    )
}

pub(super) fn refusal(
    plan: &Plan,
    event: Option<&PlannedEvent>,
    reason: ConditionReason,
    message: String,
) -> Refusal {
    Refusal {
        profile: plan.name.clone(),
        uid: plan.uid.clone(),
        generation: plan.generation,
        event: event.map(|event| event.name.clone()),
        reason,
        message,
    }
}
