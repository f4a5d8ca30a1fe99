//! Keeps the ledger that goes into the stream small enough for a message, however long the epoch. Pure.
//!
//! Rows of removed events stay for the epoch. Beyond a bound the oldest of them are summed up, one row per kind; the
//! ledger that `GET /ledger` serves stays whole.

use std::collections::BTreeSet;

use weir_events::agent::{AgentLedger, LedgerProfile, LedgerSlot};

use super::Row;
use super::report::add;

/// Rows that are told one by one: the 256 that a node has at most, and as many removed ones. In JSON, with the longest
/// names and numbers, a row and its profile take less than 1.6 KiB; NATS takes messages of 1 MiB.
pub const TOLD_ROWS: usize = 512;
/// Profile and event of sums. No profile can have the name: it is no DNS label.
pub const REMOVED: &str = "_removed";

/// What a row is known by in the ledger: profile, event, kind.
type Key = (String, String, String);

/// The rows to tell one by one: all that have a slot, and of the others the newest.
pub fn told<'a>(rows: impl DoubleEndedIterator<Item = &'a Row> + Clone) -> BTreeSet<Key> {
    let key = |row: &Row| {
        let info = &row.info;
        (info.profile.clone(), info.event.clone(), info.kind.to_owned())
    };
    let mut told: BTreeSet<Key> = rows.clone().filter(|row| row.live).map(key).collect();
    for row in rows.rev() {
        if told.len() >= TOLD_ROWS {
            break;
        }
        told.insert(key(row));
    }
    told
}

/// The first rows, for a ledger of which no more is known.
#[must_use]
pub fn first(ledger: &AgentLedger) -> BTreeSet<Key> {
    let keys = ledger.profiles.iter().flat_map(|profile| {
        let key = |slot: &LedgerSlot| (profile.name.clone(), slot.event.clone(), slot.kind.clone());
        profile.slots.iter().map(key)
    });
    keys.take(TOLD_ROWS).collect()
}

/// The ledger with rows that are not `told` summed up, by kind. Every identity that holds for each holds for the sum.
#[must_use]
pub fn fold(ledger: &AgentLedger, told: &BTreeSet<Key>) -> AgentLedger {
    let mut sums: Vec<LedgerSlot> = Vec::new();
    let mut profiles = Vec::new();
    for profile in &ledger.profiles {
        let mut slots = Vec::new();
        for slot in &profile.slots {
            let key = (profile.name.clone(), slot.event.clone(), slot.kind.clone());
            if told.contains(&key) {
                slots.push(slot.clone());
            } else if let Some(sum) = sums.iter_mut().find(|sum| sum.kind == slot.kind) {
                add(sum, slot);
            } else {
                sums.push(LedgerSlot {
                    event: REMOVED.to_owned(),
                    ..slot.clone()
                });
            }
        }
        if !slots.is_empty() {
            profiles.push(LedgerProfile {
                slots,
                ..profile.clone()
            });
        }
    }
    if !sums.is_empty() {
        profiles.push(LedgerProfile {
            name: REMOVED.to_owned(),
            slots: sums,
            ..LedgerProfile::default()
        });
    }
    AgentLedger {
        profiles,
        ..ledger.clone()
    }
}

#[cfg(test)]
#[path = "fold_tests.rs"]
mod tests;
