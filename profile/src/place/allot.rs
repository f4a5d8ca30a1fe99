//! Hands out indices: whoever had one keeps it, newcomers get the lowest that is neither taken nor quarantined.

use std::collections::{BTreeMap, BTreeSet};

use super::rank::{Admitted, refusal};
use super::{MAX_KEYED_TABLES, MAX_PROFILES, MAX_SLOTS, MAX_SLOTS_PER_KIND, Refusal};
use crate::api::{ConditionReason, Per};
use crate::kind::EventKind;
use crate::plan::{Plan, PlannedEvent};

/// Identity of a slot: its counters follow it across edits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotKey {
    /// The profile's UID.
    pub uid: String,
    /// The event's name within the profile.
    pub event: String,
    /// The event's kind.
    pub kind: EventKind,
}

impl SlotKey {
    pub(super) fn of(plan: &Plan, event: &PlannedEvent) -> Self {
        Self {
            uid: plan.uid.clone(),
            event: event.name.clone(),
            kind: event.kind,
        }
    }
}

/// Identity of a keyed limiter table: its buckets follow it across edits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableKey {
    /// The profile's UID.
    pub uid: String,
    /// The event with kind; `None` is the profile's per-workload limit.
    pub event: Option<(String, EventKind)>,
    /// What its buckets are keyed by: another key needs another table.
    pub per: Per,
}

impl TableKey {
    pub(super) fn workload(plan: &Plan) -> Self {
        Self {
            uid: plan.uid.clone(),
            event: None,
            per: Per::Pod,
        }
    }

    pub(super) fn event(plan: &Plan, event: &PlannedEvent) -> Option<Self> {
        let per = event
            .limit
            .map(|limit| limit.per)
            .filter(|per| *per != Per::Node)?;
        Some(Self {
            uid: plan.uid.clone(),
            event: Some((event.name.clone(), event.kind)),
            per,
        })
    }
}

/// Place of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Node-wide, 0 to 255.
    pub slot: u16,
    /// Within its kind, 0 to 63.
    pub bit: u8,
}

/// Places that were freed and may still stand in a record or a bucket: not to be handed out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quarantine {
    /// Slots with their kind and bit.
    pub slots: BTreeSet<(EventKind, Place)>,
    /// Profile indices.
    pub profiles: BTreeSet<u8>,
    /// Keyed tables.
    pub tables: BTreeSet<u8>,
}

impl Quarantine {
    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.profiles.is_empty() && self.tables.is_empty()
    }

    /// Takes out what `done` holds: after `grace()`, and once its last record is drained.
    pub fn release(&mut self, done: &Self) {
        self.slots.retain(|slot| !done.slots.contains(slot));
        self.profiles.retain(|index| !done.profiles.contains(index));
        self.tables.retain(|table| !done.tables.contains(table));
    }
}

/// Who has which place. Starts empty with each epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    /// Slots in use.
    pub slots: BTreeMap<SlotKey, Place>,
    /// Profile indices in use, by UID.
    pub profiles: BTreeMap<String, u8>,
    /// Keyed tables in use.
    pub tables: BTreeMap<TableKey, u8>,
    /// What was freed and must not be handed out yet.
    pub quarantined: Quarantine,
}

pub(super) struct Allotted {
    pub(super) assignment: Assignment,
    pub(super) waiting: Vec<Refusal>,
}

pub(super) fn allot(admitted: &[Admitted<'_>], before: &Assignment) -> Allotted {
    let mut next = keep(admitted, before);
    let mut waiting = Vec::new();
    for Admitted { plan, events } in admitted {
        if !take_profile(plan, &mut next) {
            waiting.push(wait(plan, None));
            continue;
        }
        for event in events {
            if !take_event(plan, event, &mut next) {
                waiting.push(wait(plan, Some(event)));
            }
        }
    }
    Allotted {
        assignment: next,
        waiting,
    }
}

/// What stays where it was; all else that was in use goes to the quarantine.
fn keep(admitted: &[Admitted<'_>], before: &Assignment) -> Assignment {
    let mut profiles = BTreeSet::new();
    let mut slots = BTreeSet::new();
    let mut tables = BTreeSet::new();
    for Admitted { plan, events } in admitted {
        profiles.insert(plan.uid.as_str());
        tables.extend(plan.per_workload.map(|_| TableKey::workload(plan)));
        for event in events {
            slots.insert(SlotKey::of(plan, event));
            tables.extend(TableKey::event(plan, event));
        }
    }
    let mut next = Assignment {
        quarantined: before.quarantined.clone(),
        ..Assignment::default()
    };
    // What an assignment cannot hold (out of bounds, or twice) is handed out anew rather than believed.
    let mut seen = Seen::default();
    for (uid, index) in &before.profiles {
        if usize::from(*index) >= MAX_PROFILES || !seen.profiles.insert(*index) {
            continue;
        }
        if profiles.contains(uid.as_str()) {
            next.profiles.insert(uid.clone(), *index);
        } else {
            next.quarantined.profiles.insert(*index);
        }
    }
    for (key, place) in &before.slots {
        if !seen.place(key.kind, *place) {
            continue;
        }
        if slots.contains(key) {
            next.slots.insert(key.clone(), *place);
        } else {
            next.quarantined.slots.insert((key.kind, *place));
        }
    }
    for (key, table) in &before.tables {
        if usize::from(*table) >= MAX_KEYED_TABLES || !seen.tables.insert(*table) {
            continue;
        }
        if tables.contains(key) {
            next.tables.insert(key.clone(), *table);
        } else {
            next.quarantined.tables.insert(*table);
        }
    }
    next
}

#[derive(Default)]
struct Seen {
    profiles: BTreeSet<u8>,
    slots: BTreeSet<u16>,
    bits: BTreeSet<(EventKind, u8)>,
    tables: BTreeSet<u8>,
}

impl Seen {
    /// Whether a place is within bounds and was not seen before.
    fn place(&mut self, kind: EventKind, place: Place) -> bool {
        usize::from(place.slot) < MAX_SLOTS
            && usize::from(place.bit) < MAX_SLOTS_PER_KIND
            && !self.slots.contains(&place.slot)
            && !self.bits.contains(&(kind, place.bit))
            && self.slots.insert(place.slot)
            && self.bits.insert((kind, place.bit))
    }
}

/// An index, and the table of the per-workload limit where there is one.
fn take_profile(plan: &Plan, next: &mut Assignment) -> bool {
    if !next.profiles.contains_key(&plan.uid) {
        let taken = next
            .profiles
            .values()
            .chain(&next.quarantined.profiles)
            .copied()
            .collect();
        let Some(index) = lowest(&taken, MAX_PROFILES) else {
            return false;
        };
        next.profiles.insert(plan.uid.clone(), index);
    }
    plan.per_workload.is_none() || take_table(TableKey::workload(plan), next)
}

fn take_event(plan: &Plan, event: &PlannedEvent, next: &mut Assignment) -> bool {
    let key = SlotKey::of(plan, event);
    if !next.slots.contains_key(&key) {
        let Some(place) = free_place(event.kind, next) else {
            return false;
        };
        next.slots.insert(key, place);
    }
    TableKey::event(plan, event).is_none_or(|key| take_table(key, next))
}

fn free_place(kind: EventKind, next: &Assignment) -> Option<Place> {
    let used = next
        .slots
        .iter()
        .map(|(key, place)| (key.kind, *place))
        .chain(next.quarantined.slots.iter().copied());
    let mut slots = BTreeSet::new();
    let mut bits = BTreeSet::new();
    for (of, place) in used {
        slots.insert(place.slot);
        if of == kind {
            bits.insert(place.bit);
        }
    }
    Some(Place {
        slot: lowest(&slots, MAX_SLOTS)?,
        bit: lowest(&bits, MAX_SLOTS_PER_KIND)?,
    })
}

fn take_table(key: TableKey, next: &mut Assignment) -> bool {
    if next.tables.contains_key(&key) {
        return true;
    }
    let taken = next
        .tables
        .values()
        .chain(&next.quarantined.tables)
        .copied()
        .collect();
    let Some(table) = lowest(&taken, MAX_KEYED_TABLES) else {
        return false;
    };
    next.tables.insert(key, table);
    true
}

/// The lowest number below `bound` that is not taken.
fn lowest<T: Copy + Ord + TryFrom<usize>>(taken: &BTreeSet<T>, bound: usize) -> Option<T> {
    (0..bound)
        .filter_map(|number| T::try_from(number).ok())
        .find(|number| !taken.contains(number))
}

fn wait(plan: &Plan, event: Option<&PlannedEvent>) -> Refusal {
    let message =
        "every place it could have was freed moments ago and is not yet reusable; it follows by itself";
    refusal(plan, event, ConditionReason::Pending, message.to_owned())
}
