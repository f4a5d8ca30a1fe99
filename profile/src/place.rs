//! Gives the plans of a node their places in its kernel maps: stable across edits, bounded, refusing by name.
//!
//! Pure and total. What a node's kernel holds follows from the plans, the node's facts and what was placed before; the
//! order of the plans does not matter. It must not know how the maps are written.

mod allot;
mod facts;
mod rank;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::api::{ConditionReason, Mode, Per};
use crate::kind::EventKind;
use crate::plan::{Matches, Plan, RateLimit, Sample, ScopeRule, SinkPlan, digest_of};

pub use allot::{Assignment, Place, Quarantine, SlotKey, TableKey};
pub use facts::NodeFacts;

/// Profiles on a node: the bits of a scope mask.
pub const MAX_PROFILES: usize = 64;
/// Slots of one kind: the bits of a record's mask.
pub const MAX_SLOTS_PER_KIND: usize = 64;
/// Slots on a node.
pub const MAX_SLOTS: usize = 256;
/// Limiter tables keyed by workload.
pub const MAX_KEYED_TABLES: usize = 16;

/// What a node's kernel maps must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NodeConfig {
    /// The profiles, by index.
    pub profiles: Vec<PlacedProfile>,
    /// Hash of the above, as 16 hexadecimal digits; generations are a part of it, since events carry them.
    pub digest: String,
}

/// One profile and its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlacedProfile {
    /// Bit of the scope mask, 0 to 63.
    pub index: u8,
    /// The profile's UID.
    pub uid: String,
    /// The profile's name.
    pub name: String,
    /// The generation that is placed.
    pub generation: i64,
    /// Digest of its plan.
    pub digest: String,
    /// Active or `DryRun`.
    pub mode: Mode,
    /// Who gives way first: 0 first, 1000 last.
    pub priority: u16,
    /// Which workloads.
    pub scope: ScopeRule,
    /// Limit of all slots together.
    pub limit: Option<RateLimit>,
    /// Limit of each pod.
    pub per_workload: Option<KeyedLimit>,
    /// Where events go.
    pub sink: SinkPlan,
    /// Its events, by slot; those that were refused or unsupported are not among them.
    pub slots: Vec<PlacedSlot>,
}

/// One event and its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlacedSlot {
    /// Node-wide slot, 0 to 255: counters and bucket.
    pub slot: u16,
    /// Bit within its kind, 0 to 63.
    pub bit: u8,
    /// Name of the event within the profile.
    pub event: String,
    /// What is collected.
    pub kind: EventKind,
    /// What must hold.
    pub matches: Matches,
    /// What part is kept; `None` is all.
    pub sample: Option<Sample>,
    /// How much at most.
    pub limit: Option<PlacedLimit>,
}

/// A rate for each workload, and the table with its buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct KeyedLimit {
    /// Events per second, 1 to 1000000.
    pub rate: u32,
    /// Events at once, 1 to 1000000.
    pub burst: u32,
    /// Keyed table, 0 to 15.
    pub table: u8,
}

/// An event's own limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct PlacedLimit {
    /// Events per second, 1 to 1000000.
    pub rate: u32,
    /// Events at once, 1 to 1000000.
    pub burst: u32,
    /// What one bucket covers.
    pub per: Per,
    /// Keyed table, 0 to 15, where `per` is Pod or Container.
    pub table: Option<u8>,
}

/// What became of all plans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// What the kernel maps must hold.
    pub config: NodeConfig,
    /// What must be handed to the next call. Its quarantine holds what this call freed, too.
    pub assignment: Assignment,
    /// What did not fit, and what waits for a place that is not yet reusable.
    pub refused: Vec<Refusal>,
    /// Events whose kind has no hook here.
    pub unsupported: Vec<UnsupportedEvent>,
    /// Profiles that select this node and do nothing now.
    pub idle: Vec<IdleProfile>,
    /// The priority of each profile that selects this node, by UID.
    pub priorities: BTreeMap<String, u16>,
}

/// A profile or event without a place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    /// The profile's name.
    pub profile: String,
    /// The profile's UID.
    pub uid: String,
    /// The generation that asked for it.
    pub generation: i64,
    /// The event; `None` is the profile as a whole.
    pub event: Option<String>,
    /// `TooManyProfiles`, `TooManySlots`, `TooManyKeyedLimits`, or `Pending` while a freed place is not yet reusable or the
    /// node's labels are not known.
    pub reason: ConditionReason,
    /// The same for a human: the bound and the remedy.
    pub message: String,
}

/// An event whose kind has no hook on the node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnsupportedEvent {
    /// The profile's name.
    pub profile: String,
    /// The profile's UID.
    pub uid: String,
    /// The generation that asked for it.
    pub generation: i64,
    /// The event.
    pub event: String,
    /// Its kind.
    pub kind: EventKind,
}

/// A profile that does nothing now.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IdleProfile {
    /// The profile's name.
    pub name: String,
    /// The profile's UID.
    pub uid: String,
    /// The generation that says so.
    pub generation: i64,
    /// Digest of its plan.
    pub digest: String,
    /// `Suspended` or `Expired`.
    pub reason: ConditionReason,
}

/// Places plans on a node. `before` is the assignment of the last call (empty at the start of an epoch), from whose
/// quarantine the caller has taken what may be used again.
#[must_use]
pub fn place(plans: &[Plan], facts: &NodeFacts, before: &Assignment) -> Placement {
    let ranked = rank::rank(plans, facts);
    let allotted = allot::allot(&ranked.admitted, before);
    let mut profiles: Vec<PlacedProfile> = ranked
        .admitted
        .iter()
        .filter_map(|admitted| placed(admitted, &allotted.assignment))
        .collect();
    profiles.sort_by_key(|profile| profile.index);
    let digest = digest_of("node", &profiles);
    let mut refused = ranked.refused;
    refused.extend(allotted.waiting);
    refused.sort();
    Placement {
        config: NodeConfig { profiles, digest },
        assignment: allotted.assignment,
        refused,
        unsupported: ranked.unsupported,
        idle: ranked.idle,
        priorities: ranked.priorities,
    }
}

/// `None` while the profile waits for an index or for the table of its per-workload limit.
fn placed(admitted: &rank::Admitted<'_>, assignment: &Assignment) -> Option<PlacedProfile> {
    let plan = admitted.plan;
    let index = *assignment.profiles.get(&plan.uid)?;
    let per_workload = match plan.per_workload {
        Some(RateLimit { rate, burst }) => {
            let table = *assignment.tables.get(&TableKey::workload(plan))?;
            Some(KeyedLimit { rate, burst, table })
        }
        None => None,
    };
    let mut slots: Vec<PlacedSlot> = admitted
        .events
        .iter()
        .filter_map(|event| placed_slot(plan, event, assignment))
        .collect();
    slots.sort_by_key(|slot| slot.slot);
    Some(PlacedProfile {
        index,
        uid: plan.uid.clone(),
        name: plan.name.clone(),
        generation: plan.generation,
        digest: plan.digest.clone(),
        mode: plan.mode,
        priority: plan.priority,
        scope: plan.scope.clone(),
        limit: plan.limit,
        per_workload,
        sink: plan.sink.clone(),
        slots,
    })
}

/// `None` while the event waits for a slot or a table.
fn placed_slot(
    plan: &Plan,
    event: &crate::plan::PlannedEvent,
    assignment: &Assignment,
) -> Option<PlacedSlot> {
    let place = *assignment.slots.get(&SlotKey::of(plan, event))?;
    let limit = match event.limit {
        Some(limit) => {
            let table = match TableKey::event(plan, event) {
                Some(key) => Some(*assignment.tables.get(&key)?),
                None => None,
            };
            Some(PlacedLimit {
                rate: limit.rate,
                burst: limit.burst,
                per: limit.per,
                table,
            })
        }
        None => None,
    };
    Some(PlacedSlot {
        slot: place.slot,
        bit: place.bit,
        event: event.name.clone(),
        kind: event.kind,
        matches: event.matches.clone(),
        sample: event.sample,
        limit,
    })
}

#[cfg(test)]
mod tests;
