//! The ledger as `GET /ledger` shows it, and the identities that every cut must keep.

use std::fmt;

use serde_json::Value;

/// The parts of `matched`.
const OUTCOMES: [&str; 9] = [
    "sampled_out",
    "limited_event",
    "limited_profile",
    "limited_workload",
    "ring_full",
    "dry_run",
    "throttled",
    "suppressed",
    "ringed",
];
/// The parts of `ringed`.
const ARRIVED: [&str; 6] = [
    "in_ring",
    "malformed",
    "out_of_scope",
    "filtered",
    "held",
    "accepted",
];
/// The parts of `accepted`.
const SENT: [&str; 6] = ["acked", "shed", "rejected", "queued", "spooled", "unacked"];

pub struct Ledger(Value);

/// One row.
#[derive(Clone)]
pub struct Slot(Value);

impl Slot {
    pub fn count(&self, name: &str) -> u64 {
        self.0[name]
            .as_u64()
            .unwrap_or_else(|| panic!("{name} is missing in {}", self.0))
    }

    fn sum(&self, names: &[&str]) -> u64 {
        names.iter().map(|name| self.count(name)).sum()
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl Ledger {
    pub const fn new(value: Value) -> Self {
        Self(value)
    }

    pub fn slots(&self) -> Vec<Slot> {
        let profiles = self.0["profiles"].as_array().expect("has profiles");
        profiles
            .iter()
            .flat_map(|profile| profile["slots"].as_array().expect("has slots"))
            .cloned()
            .map(Slot)
            .collect()
    }

    /// The one row of this event.
    pub fn slot(&self, event: &str) -> Slot {
        let mut found = self.rows(event);
        assert_eq!(found.len(), 1, "rows of event {event} in {self:?}");
        found.remove(0)
    }

    /// The rows of this event, one for each profile that has it.
    pub fn rows(&self, event: &str) -> Vec<Slot> {
        self.slots()
            .into_iter()
            .filter(|slot| slot.0["event"] == event)
            .collect()
    }

    pub fn hook(&self, hook: &str, counter: &str) -> u64 {
        let hooks = self.0["hooks"].as_array().expect("has hooks");
        let row = hooks
            .iter()
            .find(|row| row["hook"].as_str().is_some_and(|name| name.contains(hook)));
        let row = row.unwrap_or_else(|| panic!("no hook {hook} in {self:?}"));
        row[counter].as_u64().expect("is a number")
    }

    /// Everything that hooks failed to do.
    pub fn hook_errors(&self) -> u64 {
        let hooks = self.0["hooks"].as_array().expect("has hooks");
        let sum = |hook: &Value| {
            ["missed", "hook_error", "untracked"]
                .iter()
                .filter_map(|name| hook[*name].as_u64())
                .sum::<u64>()
        };
        hooks.iter().map(sum).sum()
    }

    pub fn total(&self, name: &str) -> u64 {
        self.slots().iter().map(|slot| slot.count(name)).sum()
    }

    pub fn under_way(&self) -> u64 {
        ["in_ring", "held", "queued", "spooled", "unacked"]
            .iter()
            .map(|name| self.total(name))
            .sum()
    }

    pub fn id(&self) -> u64 {
        self.0["cut"]["id"].as_u64().expect("has an id")
    }

    pub fn epoch(&self) -> u64 {
        self.0["epoch"].as_u64().expect("has an epoch")
    }

    pub fn is_final(&self) -> bool {
        self.0["cut"]["final"] == true
    }

    /// The identities, and that the cut is closed: nothing is in a ring at a cut.
    pub fn assert_exact(&self) {
        assert_eq!(self.0["cut"]["closed"], true, "the cut is not closed: {self:?}");
        for slot in self.slots() {
            assert_eq!(slot.count("matched"), slot.sum(&OUTCOMES), "matched: {slot:?}");
            assert_eq!(slot.count("ringed"), slot.sum(&ARRIVED), "ringed: {slot:?}");
            assert_eq!(slot.count("accepted"), slot.sum(&SENT), "accepted: {slot:?}");
            assert_eq!(slot.count("in_ring"), 0, "in the ring at a cut: {slot:?}");
        }
    }
}
